//! Names and creation of repositories, endpoints, and features of Git.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use crate::world::{World, kill, wait_for_exit};

#[test]
fn concurrent_pushes_that_create_one_repository_succeed() {
    let world = World::new("at-once");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "a/b/demo");
    world.create_work_tree("work");
    thread::scope(|scope| {
        for number in 0..8 {
            let (world, url) = (&world, &url);
            let refspec = format!("main:branch-{number}");
            scope.spawn(move || world.run_git("work", &["push", "--quiet", url, &refspec]));
        }
    });
    let branches = world.run_git("", &["ls-remote", "--heads", &url]);
    assert_eq!(branches.lines().count(), 8, "{branches}");
    // No temporary repository remains.
    let root: Vec<_> = fs::read_dir(world.repository(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(root, ["a"]);
}

#[test]
fn invalid_repository_names_are_rejected() {
    let world = World::new("names");
    let issued = world.issue_credential();
    let outside = world.folder.file("outside.git");
    world.run_git("", &["init", "--quiet", "--bare", "outside.git"]);
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.create_work_tree("work");
    world.run_git("work", &["push", &url, "main"]);
    // Symbolic links in the folder of the repositories are not followed.
    std::os::unix::fs::symlink(&outside, world.repository("link.git")).unwrap();
    std::os::unix::fs::symlink(&world.folder.0, world.repository("way")).unwrap();
    let before = tree(&world.folder.0);

    let long = "x".repeat(101);
    for repository in [
        "../../etc",
        "../outside",
        "../outside.git",
        "demo/../demo",
        "demo/../../outside",
        "%2e%2e/outside",
        "..%2foutside.git",
        "demo%2egit",
        "--upload-pack=x",
        "-x",
        "a/--upload-pack=x",
        "a//b",
        "/demo",
        "a/",
        "",
        ".",
        "..",
        ".git",
        ".hidden",
        "a/.git",
        "demo.git/x",
        "demo.GIT/x",
        "demo.git.git",
        "demo.git/hooks/post-receive",
        "a/b/c/d/e",
        "a b",
        "a+b",
        "a;b",
        "a\\b",
        "~root",
        "d\u{e9}mo",
        "link",
        "link.git",
        "way/outside",
        "way/new",
        &long,
    ] {
        for (method, path) in [
            ("GET", format!("/{repository}/info/refs?service=git-upload-pack")),
            ("GET", format!("/{repository}/info/refs?service=git-receive-pack")),
            ("POST", format!("/{repository}/git-upload-pack")),
            ("POST", format!("/{repository}/git-receive-pack")),
        ] {
            let status = server.status(method, &path, &issued);
            // The HTTP parser rejects some of these URLs with 400.
            let rejected = if repository.is_ascii() && !repository.contains(' ') {
                status == 404 || (status == 400 && repository.contains('\\'))
            } else {
                status == 400 || status == 404
            };
            assert!(rejected, "{method} {path}: {status}");
        }
    }
    assert_eq!(tree(&world.folder.0), before);
    assert!(!world.log().contains("ERROR"), "{}", world.log());
    assert_eq!(server.status("GET", "/demo/info/refs?service=git-upload-pack", &issued), 200);

    // Git sends this name unchanged.
    let complaint =
        world.git_fails("work", &["push", &server.url_of(&issued, "--upload-pack=x"), "main"]);
    assert!(complaint.contains("not found"), "{complaint}");
    assert_eq!(tree(&world.folder.0), before);
}

#[test]
fn temporary_repositories_of_other_servers_are_kept() {
    let world = World::new("shared");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    // Another server that shares the folder is creating a repository.
    let temporary = ".new-0123456789abcdef";
    world.run_git(world.repository(""), &["init", "--quiet", "--bare", temporary]);
    let before = tree(&world.repository(temporary));
    world.create_work_tree("work");
    world.run_git("work", &["push", &server.url_of(&issued, "demo"), "main"]);
    assert_eq!(tree(&world.repository(temporary)), before);
    // Only this repository and `demo.git` remain.
    assert_eq!(fs::read_dir(world.repository("")).unwrap().count(), 2);
}

/// All paths under a folder.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            paths.extend(tree(&entry.path()));
        }
        paths.push(entry.path());
    }
    paths.sort();
    paths
}

#[test]
fn only_the_smart_http_endpoints_are_served() {
    let world = World::new("endpoints");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    world.create_work_tree("work");
    world.run_git("work", &["push", &server.url_of(&issued, "demo"), "main"]);
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/demo"),
        ("GET", "/demo.git"),
        ("GET", "/demo.git/HEAD"),
        ("GET", "/demo.git/config"),
        ("GET", "/demo.git/objects/info/packs"),
        ("GET", "/demo.git/info/refs"),
        ("GET", "/demo.git/info/refs?service="),
        ("GET", "/demo.git/info/refs?service=git-upload-archive"),
        ("GET", "/demo.git/info/refs?service=upload-pack"),
        ("GET", "/demo.git/info/refs?service=git-upload-pack&x=y"),
        ("GET", "/demo.git/info/refs?x=y&service=git-upload-pack"),
        ("POST", "/demo.git/info/refs?service=git-upload-pack"),
        ("HEAD", "/demo.git/info/refs?service=git-upload-pack"),
        ("GET", "/demo.git/git-upload-pack"),
        ("PUT", "/demo.git/git-receive-pack"),
        ("POST", "/demo.git/git-upload-archive"),
        ("PROPFIND", "/demo.git/"),
    ] {
        assert_eq!(server.status(method, path, &issued), 404, "{method} {path}");
    }
    // Git rejects a request without a `Content-Type`.
    assert_eq!(server.status("POST", "/demo.git/git-upload-pack", &issued), 415);
}

#[test]
fn only_a_push_with_the_create_option_creates_a_repository() {
    let world = World::new("create");
    let issued = world.issue_credential();
    let server = world.serve(&[]);
    let url = server.url_of(&issued, "demo");
    world.create_work_tree("work");
    let complaint = world.git_fails("work", &["push", &url, "main"]);
    assert!(complaint.contains("not found"), "{complaint}");
    assert!(tree(&world.repository("")).is_empty());
    assert_eq!(server.stop(), Some(0));

    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    // A clone creates no repository.
    world.git_fails("", &["clone", &url, "clone"]);
    assert!(tree(&world.repository("")).is_empty());
    world.run_git("work", &["push", &url, "main"]);
    assert!(world.repository("demo.git/HEAD").exists());
}

#[test]
fn the_receivepack_setting_of_a_repository_disables_pushes() {
    let world = World::new("read-only");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.create_work_tree("work");
    world.run_git("work", &["push", &url, "main"]);
    let first = world.head("work", "HEAD");
    world.run_git(world.repository("demo.git"), &["config", "http.receivepack", "false"]);
    world.commit("work", "again", b"again");
    let complaint = world.git_fails("work", &["push", &url, "main"]);
    assert!(complaint.contains("403"), "{complaint}");
    assert_eq!(server.status("POST", "/demo/git-receive-pack", &issued), 403);
    world.run_git("", &["clone", "--quiet", &url, "clone"]);
    assert_eq!(world.head("clone", "HEAD"), first);
}

#[test]
fn head_follows_the_first_branch_pushed() {
    let world = World::new("head-follows");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    world.create_work_tree("work");
    let push = |repository: &str, refspecs: &[&str]| {
        let url = server.url_of(&issued, repository);
        world.run_git("work", &[&["push", "--quiet", &url], refspecs].concat());
    };
    let head = |repository: &str| {
        let head = world.run_git(world.repository(repository), &["symbolic-ref", "HEAD"]);
        head.trim_end().to_owned()
    };
    for (number, (refspecs, expected)) in [
        (&["main:master"][..], "master"),
        (&["main:trunk"], "trunk"),
        (&["main:main"], "main"),
        (&["main:a", "main:main"], "main"),
        (&["main:develop", "main:master"], "master"),
        (&["main:b", "main:a"], "a"),
        (&["main:topic/one"], "topic/one"),
    ]
    .into_iter()
    .enumerate()
    {
        let repository = format!("head-{number}.git");
        push(&repository, refspecs);
        assert_eq!(head(&repository), format!("refs/heads/{expected}"), "{refspecs:?}");
        let clone = format!("clone-{number}");
        world.run_git("", &["clone", "--quiet", &server.url_of(&issued, &repository), &clone]);
        assert!(world.folder.file(&clone).join("hello").exists(), "{refspecs:?}");
        // Later pushes do not change HEAD.
        push(&repository, &["main:master", "main:other", "main:main"]);
        assert_eq!(head(&repository), format!("refs/heads/{expected}"), "{refspecs:?}");
    }
    // A tag does not change HEAD.
    push("tag.git", &["main:refs/tags/one"]);
    assert_eq!(head("tag.git"), "refs/heads/main");
    push("tag.git", &["main:master"]);
    assert_eq!(head("tag.git"), "refs/heads/master");
    // The HEAD of a repository that was created by hand is updated, too.
    world.run_git(world.repository(""), &["init", "--quiet", "--bare", "-b", "x", "by-hand.git"]);
    push("by-hand.git", &["main:master"]);
    assert_eq!(head("by-hand.git"), "refs/heads/master");
}

#[test]
fn head_follows_the_first_branch_if_the_client_disconnects() {
    let world = World::new("head-gone");
    let issued = world.issue_credential();
    let server = world.serve(&["--create", "--processes", "1"]);
    world.create_work_tree("work");
    let url = server.url_of(&issued, "demo");
    world.run_git("work", &["push", "--quiet", &url, "main:refs/tags/one"]);
    let hook = world.hook("demo.git", "post-receive", "exec tail -f /dev/null");
    let push = world.spawn_git("work", &["push", &url, "main:master"]);
    let started = server.wait_for_process(|git| git.contains("tail"));
    kill(push);
    wait_for_exit(&started);
    // The server updates HEAD before it frees the slot.
    server.wait_for_a_slot(&issued);
    fs::remove_file(hook).unwrap();
    world.run_git("", &["clone", "--quiet", &url, "clone"]);
    assert!(world.folder.file("clone/hello").exists());
}

#[test]
fn partial_clones_fetch_missing_objects_on_demand() {
    let world = World::new("partial");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.create_work_tree("work");
    world.commit("work", "hello", b"hello again");
    world.run_git("work", &["push", "--quiet", &url, "main"]);
    for version in ["0", "1", "2"] {
        for filter in ["blob:none", "blob:limit=1", "tree:0"] {
            let clone = format!("{version}-{}", filter.replace([':', '='], "-"));
            let protocol = format!("protocol.version={version}");
            let filter = format!("--filter={filter}");
            let arguments =
                ["-c", &protocol, "clone", "--quiet", "--no-checkout", &filter, &url, &clone];
            world.run_git("", &arguments);
            let list = ["rev-list", "--objects", "--missing=print", "HEAD"];
            let missing = || world.run_git(&clone, &list).matches("\n?").count();
            assert!(missing() >= 2, "{clone}");
            // A checkout fetches only the objects that it needs.
            world.run_git(&clone, &["-c", &protocol, "checkout", "--quiet", "main"]);
            assert_eq!(fs::read(world.folder.file(&clone).join("hello")).unwrap(), b"hello again");
            assert!(missing() >= 1, "{clone}");
            world.run_git(&clone, &["-c", &protocol, "log", "-p"]);
            assert_eq!(missing(), 0, "{clone}");
        }
    }
}

#[test]
fn shallow_clones_can_be_deepened() {
    let world = World::new("shallow");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.create_work_tree("work");
    for number in 0..5 {
        world.commit("work", "hello", format!("{number}").as_bytes());
    }
    world.run_git("work", &["push", "--quiet", &url, "main"]);
    for version in ["0", "1", "2"] {
        let protocol = format!("protocol.version={version}");
        let count = || world.run_git(version, &["rev-list", "--count", "HEAD"]);
        world.run_git("", &["-c", &protocol, "clone", "--quiet", "--depth=1", &url, version]);
        assert_eq!(count(), "1\n");
        world.run_git(version, &["-c", &protocol, "fetch", "--quiet", "--deepen=2"]);
        assert_eq!(count(), "3\n");
        world.run_git(version, &["-c", &protocol, "fetch", "--quiet", "--unshallow"]);
        assert_eq!(count(), "6\n");
    }
}

#[test]
fn the_error_for_a_missing_object_contains_its_id() {
    let world = World::new("no-object");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.create_work_tree("work");
    world.run_git("work", &["push", "--quiet", &url, "main"]);
    world.run_git("", &["init", "--quiet", "other"]);
    for version in ["0", "2"] {
        let protocol = format!("protocol.version={version}");
        let missing = "1".repeat(40);
        let complaint = world.git_fails("other", &["-c", &protocol, "fetch", &url, &missing]);
        assert!(complaint.contains("not our ref 111"), "{complaint}");
    }
}

#[test]
fn a_push_waits_for_the_garbage_collection_that_it_starts() {
    let world = World::new("gc");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.create_work_tree("work");
    world.run_git("work", &["push", "--quiet", &url, "main"]);
    // Each push is kept as a pack. Two packs start a garbage collection.
    let demo = world.repository("demo.git");
    world.run_git(&demo, &["config", "receive.unpackLimit", "1"]);
    world.run_git(&demo, &["config", "gc.autoPackLimit", "1"]);
    for content in ["one", "two"] {
        world.commit("work", "hello", content.as_bytes());
        world.run_git("work", &["push", "--quiet", &url, "main"]);
    }
    let objects = world.run_git(&demo, &["count-objects", "-v"]);
    assert!(objects.contains("count: 0\n") && objects.contains("packs: 1\n"), "{objects}");
}
