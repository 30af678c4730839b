//! The structure of the project: dependencies between modules point one way, lines fit 100 columns,
//! and the paths that CONTRIBUTING.md names exist.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The top-level modules in the order of their dependencies: a module depends only on modules of
/// earlier lines.
const LAYERS: &[&[&str]] = &[
    &["causes", "constraint"],
    &["clock", "entropy", "lifetime", "store_error", "timestamp"],
    &["names"],
    &["paging", "secret", "tags"],
    &["user"],
    &["credential"],
    &["policy"],
    &["error"],
    &["record"],
    &["store"],
    &["manager"],
    &["http", "query", "testing"],
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    files_of_type(folder, "rs")
}

fn files_of_type(folder: &str, extension: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|its| its == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The path of the module that a file defines: `["store", "memory"]`.
fn module(path: &Path) -> Vec<String> {
    let path = path.strip_prefix(root().join("src")).unwrap().with_extension("");
    path.iter().map(|part| part.to_str().unwrap().to_owned()).collect()
}

/// The code of a module without its comments and its unit tests, which may use anything.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let text = text.split("#[cfg(test)]\npub(crate) mod tests").next().unwrap();
    let text = text.split("#![cfg(all(test, shuttle))]").next().unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The paths after each `crate::`, with the braces of `use` items expanded.
fn crate_paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (start, _) in code.match_indices("crate::") {
        if code.get(..start).is_some_and(|before| before.ends_with('$')) {
            continue;
        }
        expand(code.get(start + "crate::".len()..).unwrap(), Vec::new(), &mut paths);
    }
    paths
}

/// Reads one path tree at the start of `text`. Returns what follows it.
fn expand<'t>(text: &'t str, prefix: Vec<String>, paths: &mut Vec<Vec<String>>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if let Some(rest) = rest.strip_prefix('}') {
                return rest;
            }
            rest = expand(rest, prefix.clone(), paths);
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    let mut path = prefix;
    if name.is_empty() {
        // A glob, or something that is no path.
        paths.push(path);
        return rest.get(rest.chars().next().map_or(0, char::len_utf8)..).unwrap();
    }
    path.push(name.to_owned());
    if let Some(rest) = rest.strip_prefix("::") {
        expand(rest, path, paths)
    } else {
        if let Some(renamed) = rest.trim_start().strip_prefix("as ") {
            rest = renamed.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        }
        paths.push(path);
        rest
    }
}

/// The modules that each module uses, by whole paths. The module of an item is the longest prefix
/// of its path that is a module.
fn dependencies() -> Dependencies {
    let files = files("src");
    let modules: BTreeSet<_> = files.iter().map(|path| module(path)).collect();
    let mut dependencies = BTreeMap::new();
    for path in &files {
        let from = module(path);
        if from == ["lib"] {
            continue;
        }
        let used = crate_paths(&code(path)).into_iter().filter_map(|path| {
            let prefixes = (1..=path.len()).rev().map(|length| path.iter().take(length).cloned());
            prefixes.map(Iterator::collect::<Vec<_>>).find(|prefix| modules.contains(prefix))
        });
        let used: BTreeSet<_> = used.filter(|to| *to != from).collect();
        dependencies.insert(from, used);
    }
    dependencies
}

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| panic!("`{module}` is in no layer"))
}

#[test]
fn dependencies_between_modules_point_one_way() {
    let mut wrong = BTreeSet::new();
    for (from, used) in dependencies() {
        let from = from.first().unwrap();
        if from == "guides" {
            continue;
        }
        for to in used.iter().map(|to| to.first().unwrap()).filter(|to| *to != from) {
            if layer(to) >= layer(from) {
                wrong.insert((from.clone(), to.clone()));
            }
        }
    }
    assert!(wrong.is_empty(), "these modules depend on later ones: {wrong:?}");
}

type Dependencies = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

/// Searches depth first for a module that is reached again on one path.
fn visit<'d>(
    module: &'d Vec<String>,
    dependencies: &'d Dependencies,
    path: &mut Vec<&'d Vec<String>>,
    done: &mut BTreeSet<&'d Vec<String>>,
) {
    if done.contains(module) {
        return;
    }
    assert!(!path.contains(&module), "a cycle: {path:?} leads to {module:?}");
    path.push(module);
    for used in dependencies.get(module).into_iter().flatten() {
        visit(used, dependencies, path, done);
    }
    path.pop();
    done.insert(module);
}

#[test]
fn modules_form_no_cycle() {
    let (dependencies, mut done) = (dependencies(), BTreeSet::new());
    for module in dependencies.keys() {
        visit(module, &dependencies, &mut Vec::new(), &mut done);
    }
}

#[test]
fn no_line_exceeds_100_columns() {
    let mut long = Vec::new();
    let in_root = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"].map(|name| root().join(name));
    let in_folders = ["src", "tests", "examples", "benches"].into_iter().flat_map(|folder| {
        ["rs", "py", "md"].into_iter().flat_map(|extension| files_of_type(folder, extension))
    });
    for path in in_root.into_iter().chain(in_folders) {
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            // What has no place for a line break: a literal that a program prints, a row of a
            // table, the target of a link, a command.
            let is_whole = line.trim_start().starts_with(['"', '|', '$'])
                || line.starts_with('[') && line.contains("]: ");
            if line.chars().count() > 100 && !is_whole {
                long.push(format!("{}:{}", relative(&path), number + 1));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn every_path_in_the_contributing_guide_exists() {
    let guide = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let mut count = 0;
    for word in guide.split('`').skip(1).step_by(2) {
        let is_path = ["src/", "tests/", "examples/", "benches/", ".ci/"]
            .iter()
            .any(|folder| word.starts_with(folder))
            && !word.contains(' ');
        if is_path {
            count += 1;
            assert!(root().join(word).exists(), "CONTRIBUTING.md names `{word}`");
        }
    }
    assert!(count > 40, "only {count} paths");
}
