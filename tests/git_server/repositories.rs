//! Which repositories and requests there are.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use crate::world::{World, kill, wait_for_the_end_of};

#[test]
fn pushes_that_make_the_same_repository_at_once_all_arrive() {
    let world = World::new("at-once");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "a/b/demo");
    world.work("work");
    thread::scope(|scope| {
        for number in 0..8 {
            let (world, url) = (&world, &url);
            let refspec = format!("main:branch-{number}");
            scope.spawn(move || world.does("work", &["push", "--quiet", url, &refspec]));
        }
    });
    let branches = world.does("", &["ls-remote", "--heads", &url]);
    assert_eq!(branches.lines().count(), 8, "{branches}");
    // Nothing unfinished stays behind.
    let root: Vec<_> = fs::read_dir(world.repository(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(root, ["a"]);
}

#[test]
fn names_lead_nowhere_but_to_repositories() {
    let world = World::new("names");
    let issued = world.anika();
    let outside = world.folder.file("outside.git");
    world.does("", &["init", "--quiet", "--bare", "outside.git"]);
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    // Somebody with access to the folder has put links there.
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
            // What is no request at all does not come as far as to a name.
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

    // And git itself, where it sends such a name as it is.
    let complaint =
        world.fails("work", &["push", &server.url_of(&issued, "--upload-pack=x"), "main"]);
    assert!(complaint.contains("not found"), "{complaint}");
    assert_eq!(tree(&world.folder.0), before);
}

#[test]
fn servers_that_share_a_folder_leave_each_others_unfinished_repositories_alone() {
    let world = World::new("shared");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    // As another server has begun it that has the same process id, in a container of its own.
    let begun = format!(".new-{}-0", server.child.id());
    world.does(world.repository(""), &["init", "--quiet", "--bare", &begun]);
    let before = tree(&world.repository(&begun));
    world.work("work");
    world.does("work", &["push", &server.url_of(&issued, "demo"), "main"]);
    assert_eq!(tree(&world.repository(&begun)), before);
    // Nothing else is left there.
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
fn nothing_is_served_but_gits_three_requests() {
    let world = World::new("endpoints");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    world.work("work");
    world.does("work", &["push", &server.url_of(&issued, "demo"), "main"]);
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
    // Git itself looks at what it is sent.
    assert_eq!(server.status("POST", "/demo.git/git-upload-pack", &issued), 415);
}

#[test]
fn no_repository_is_made_unless_that_is_wanted() {
    let world = World::new("create");
    let issued = world.anika();
    let server = world.serve(&[]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    let complaint = world.fails("work", &["push", &url, "main"]);
    assert!(complaint.contains("not found"), "{complaint}");
    assert!(tree(&world.repository("")).is_empty());
    assert_eq!(server.stop(), Some(0));

    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    // Not by looking, either.
    world.fails("", &["clone", &url, "clone"]);
    assert!(tree(&world.repository("")).is_empty());
    world.does("work", &["push", &url, "main"]);
    assert!(world.repository("demo.git/HEAD").exists());
}

#[test]
fn a_repository_takes_no_pushes_if_its_own_configuration_says_so() {
    let world = World::new("read-only");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    let first = world.head("work", "HEAD");
    world.does(world.repository("demo.git"), &["config", "http.receivepack", "false"]);
    world.commit("work", "again", b"again");
    let complaint = world.fails("work", &["push", &url, "main"]);
    assert!(complaint.contains("403"), "{complaint}");
    assert_eq!(server.status("POST", "/demo/git-receive-pack", &issued), 403);
    world.does("", &["clone", "--quiet", &url, "clone"]);
    assert_eq!(world.head("clone", "HEAD"), first);
}

#[test]
fn head_follows_the_first_branch_pushed() {
    let world = World::new("head-follows");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    world.work("work");
    let push = |repository: &str, refspecs: &[&str]| {
        let url = server.url_of(&issued, repository);
        world.does("work", &[&["push", "--quiet", &url], refspecs].concat());
    };
    let head = |repository: &str| {
        let head = world.does(world.repository(repository), &["symbolic-ref", "HEAD"]);
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
        world.does("", &["clone", "--quiet", &server.url_of(&issued, &repository), &clone]);
        assert!(world.folder.file(&clone).join("hello").exists(), "{refspecs:?}");
        // It stays there.
        push(&repository, &["main:master", "main:other", "main:main"]);
        assert_eq!(head(&repository), format!("refs/heads/{expected}"), "{refspecs:?}");
    }
    // A tag is no branch.
    push("tag.git", &["main:refs/tags/one"]);
    assert_eq!(head("tag.git"), "refs/heads/main");
    push("tag.git", &["main:master"]);
    assert_eq!(head("tag.git"), "refs/heads/master");
    // One that was made by hand.
    world.does(world.repository(""), &["init", "--quiet", "--bare", "-b", "x", "by-hand.git"]);
    push("by-hand.git", &["main:master"]);
    assert_eq!(head("by-hand.git"), "refs/heads/master");
}

#[test]
fn head_follows_a_branch_whose_client_did_not_wait_for_the_end() {
    let world = World::new("head-gone");
    let issued = world.anika();
    let server = world.serve(&["--create", "--processes", "1"]);
    world.work("work");
    let url = server.url_of(&issued, "demo");
    world.does("work", &["push", "--quiet", &url, "main:refs/tags/one"]);
    let hook = world.hook("demo.git", "post-receive", "exec tail -f /dev/null");
    let push = world.begins("work", &["push", &url, "main:master"]);
    let started = server.wait_for(|git| git.contains("tail"));
    kill(push);
    wait_for_the_end_of(&started);
    // HEAD is part of the request.
    server.wait_for_a_slot(&issued);
    fs::remove_file(hook).unwrap();
    world.does("", &["clone", "--quiet", &url, "clone"]);
    assert!(world.folder.file("clone/hello").exists());
}

#[test]
fn partial_clones_fetch_later_what_they_left_out() {
    let world = World::new("partial");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.commit("work", "hello", b"hello again");
    world.does("work", &["push", "--quiet", &url, "main"]);
    for version in ["0", "1", "2"] {
        for filter in ["blob:none", "blob:limit=1", "tree:0"] {
            let clone = format!("{version}-{}", filter.replace([':', '='], "-"));
            let protocol = format!("protocol.version={version}");
            let filter = format!("--filter={filter}");
            let arguments =
                ["-c", &protocol, "clone", "--quiet", "--no-checkout", &filter, &url, &clone];
            world.does("", &arguments);
            let list = ["rev-list", "--objects", "--missing=print", "HEAD"];
            let missing = || world.does(&clone, &list).matches("\n?").count();
            assert!(missing() >= 2, "{clone}");
            // What is needed, and no more.
            world.does(&clone, &["-c", &protocol, "checkout", "--quiet", "main"]);
            assert_eq!(fs::read(world.folder.file(&clone).join("hello")).unwrap(), b"hello again");
            assert!(missing() >= 1, "{clone}");
            world.does(&clone, &["-c", &protocol, "log", "-p"]);
            assert_eq!(missing(), 0, "{clone}");
        }
    }
}

#[test]
fn shallow_clones_deepen() {
    let world = World::new("shallow");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    for number in 0..5 {
        world.commit("work", "hello", format!("{number}").as_bytes());
    }
    world.does("work", &["push", "--quiet", &url, "main"]);
    for version in ["0", "1", "2"] {
        let protocol = format!("protocol.version={version}");
        let count = || world.does(version, &["rev-list", "--count", "HEAD"]);
        world.does("", &["-c", &protocol, "clone", "--quiet", "--depth=1", &url, version]);
        assert_eq!(count(), "1\n");
        world.does(version, &["-c", &protocol, "fetch", "--quiet", "--deepen=2"]);
        assert_eq!(count(), "3\n");
        world.does(version, &["-c", &protocol, "fetch", "--quiet", "--unshallow"]);
        assert_eq!(count(), "6\n");
    }
}

#[test]
fn an_object_that_is_not_there_is_named() {
    let world = World::new("no-object");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", "--quiet", &url, "main"]);
    world.does("", &["init", "--quiet", "other"]);
    for version in ["0", "2"] {
        let protocol = format!("protocol.version={version}");
        let missing = "1".repeat(40);
        let complaint = world.fails("other", &["-c", &protocol, "fetch", &url, &missing]);
        assert!(complaint.contains("not our ref 111"), "{complaint}");
    }
}

#[test]
fn garbage_collection_is_part_of_the_push_that_starts_it() {
    let world = World::new("gc");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", "--quiet", &url, "main"]);
    // Each push becomes a pack, and two packs are one too many.
    let demo = world.repository("demo.git");
    world.does(&demo, &["config", "receive.unpackLimit", "1"]);
    world.does(&demo, &["config", "gc.autoPackLimit", "1"]);
    for content in ["one", "two"] {
        world.commit("work", "hello", content.as_bytes());
        world.does("work", &["push", "--quiet", &url, "main"]);
    }
    let objects = world.does(&demo, &["count-objects", "-v"]);
    assert!(objects.contains("count: 0\n") && objects.contains("packs: 1\n"), "{objects}");
}
