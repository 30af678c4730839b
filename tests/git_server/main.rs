//! The example Git server, as a program, and the real `git`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, kill_process_group, prlimit};
use service_specific_credentials::{
    Alphabet, CreateOptions, CredentialManager, Lifetime, Policy, Status, UserName,
    testing::FixedClock,
};

#[path = "../common/mod.rs"]
mod common;
mod rotation;
mod world;

use crate::common::{ACCOUNT, CASSANDRA, CODECOMMIT, dawn, name};
use world::{
    Server, World, basic, element, encoded, err, raw, request, status, wait_for_the_end_of,
    wait_until_read,
};

#[test]
fn git_clones_commits_pushes_and_fetches_with_a_credential_in_the_url() {
    let world = World::new("url");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo.git");

    world.work("work");
    world.does("work", &["push", &url, "main"]);
    world.does("", &["clone", "--quiet", &url, "clone"]);
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));

    world.commit("work", "again", b"again");
    world.does("work", &["push", &url, "main"]);
    world.does("clone", &["fetch", "--quiet"]);
    assert_eq!(world.head("clone", "origin/main"), world.head("work", "HEAD"));

    // With the ending of its folder or without: it is one repository.
    world.does("", &["clone", "--quiet", &server.url_of(&issued, "demo"), "other"]);
    assert_eq!(world.head("other", "HEAD"), world.head("work", "HEAD"));
    // The protocol of today and the one of old, as the client wants it.
    for (number, spoken) in [("2", true), ("0", false)] {
        let version = format!("protocol.version={number}");
        let mut asking = world.git("work", &["-c", &version, "ls-remote", &url]);
        let asked = asking.env("GIT_TRACE_PACKET", "1").output().unwrap();
        assert!(asked.status.success(), "{}", err(&asked));
        assert_eq!(err(&asked).contains("< version 2"), spoken, "{}", err(&asked));
        world.does("", &["-c", &version, "clone", "--quiet", &url, number]);
        assert_eq!(world.head(number, "HEAD"), world.head("work", "HEAD"));
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn git_asks_a_credential_helper_and_forgets_what_is_refused() {
    let world = World::new("helper");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.bare_url("team/demo.git");
    world.remember(&server, issued.service_user_name().as_str(), issued.secret().expose());
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    // Git writes it anew each time that it was accepted.
    let remembered = fs::read_to_string(world.remembered()).unwrap();
    assert_eq!(remembered.lines().count(), 1);
    world.does("", &["clone", "--quiet", &url, "clone"]);
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));
    assert_eq!(fs::read_to_string(world.remembered()).unwrap(), remembered);

    world.remember(&server, issued.service_user_name().as_str(), "wrong");
    let complaint = world.fails("clone", &["fetch"]);
    assert!(complaint.contains("Authentication failed"), "{complaint}");
    assert!(complaint.contains("the credential is not valid for this service"), "{complaint}");
    assert_eq!(fs::read_to_string(world.remembered()).unwrap(), "");
}

#[test]
fn users_are_told_apart() {
    let world = World::new("users");
    let iam = world.iam();
    let users = ["anika", "jane"].map(|user| {
        let user = iam.register_user(&name(user)).unwrap();
        let issued = iam.create(user.name(), &name(CODECOMMIT)).unwrap();
        (user, issued)
    });
    drop(iam);
    let server = world.serve(&["--create"]);
    world.work("work");
    let first = server.url_of(&users[0].1, "demo");
    world.does("work", &["push", &first, "main"]);
    // A hook sees who it is.
    let seen = world.folder.file("seen");
    let script = format!("echo $REMOTE_USER $REMOTE_USER_ID >> {}", seen.display());
    world.hook("demo.git", "post-receive", &script);

    let mut expected = String::new();
    for (user, issued) in &users {
        world.commit("work", user.name().as_str(), b"hello");
        world.does("work", &["push", &server.url_of(issued, "demo"), "main"]);
        writeln!(expected, "{} {}", user.name(), user.id()).unwrap();
    }
    assert_eq!(fs::read_to_string(seen).unwrap(), expected);

    // One's name with the other's password opens nothing.
    let mixed =
        server.url(users[0].1.service_user_name().as_str(), users[1].1.secret().expose(), "demo");
    let complaint = world.fails("", &["clone", &mixed, "clone"]);
    assert!(complaint.contains("Authentication failed"), "{complaint}");
}

#[test]
fn a_credential_that_is_not_valid_is_refused_in_the_form_that_git_understands() {
    let world = World::new("refused");
    let (anika, codecommit) = (name::<UserName>("anika"), name(CODECOMMIT));
    let iam = world.iam();
    iam.register_user(&anika).unwrap();
    let inactive = iam.create(&anika, &codecommit).unwrap();
    iam.set_status(&anika, inactive.id(), Status::Inactive).unwrap();
    let reset = iam.create(&anika, &codecommit).unwrap();
    let valid = iam.reset(&anika, reset.id()).unwrap();
    let elsewhere = iam.create(&anika, &name(CASSANDRA)).unwrap();
    let jane = name("jane");
    iam.register_user(&jane).unwrap();
    let deleted = iam.create(&jane, &codecommit).unwrap();
    iam.delete(&jane, deleted.id()).unwrap();
    // This one was made long ago.
    let past = CredentialManager::builder(name(ACCOUNT), iam.store().clone())
        .clock(FixedClock::new(dawn()))
        .build();
    let expired = past
        .create_with_options(
            &jane,
            &codecommit,
            &CreateOptions::new().lifetime(Lifetime::days(1).unwrap()),
        )
        .unwrap();
    // A user of the same name in another account.
    let other = iam.for_account(name("210987654321"));
    other.register_user(&anika).unwrap();
    let foreign = other.create(&anika, &codecommit).unwrap();
    drop((iam, past, other));

    let server = world.serve(&["--create"]);
    world.work("work");
    let path = "/demo/info/refs?service=git-receive-pack";
    for issued in [&inactive, &reset, &elsewhere, &deleted, &expired, &foreign] {
        let complaint = world.fails("work", &["push", &server.url_of(issued, "demo"), "main"]);
        assert!(complaint.contains("Authentication failed"), "{complaint}");
        assert_eq!(server.status("GET", path, issued), 401);
        assert!(!world.repository("demo.git").exists());
    }
    let password = valid.secret().expose();
    for header in [
        "X: no credential at all".to_owned(),
        basic(valid.service_user_name().as_str(), "wrong"),
        basic(valid.service_user_name().as_str(), ""),
        basic("", ""),
        basic("nobody", password),
        basic(valid.service_user_name().as_str(), &"x".repeat(5000)),
        "Authorization: Basic".to_owned(),
        "Authorization: Basic !".to_owned(),
        format!("Authorization: Basic {}", STANDARD.encode("no colon")),
        format!("Authorization: Basic {}", STANDARD.encode(b"\xff:\xff")),
        format!("Authorization: Bearer {password}"),
    ] {
        let close = "Connection: close";
        let answer = raw(
            server.address,
            &format!("GET {path} HTTP/1.1\r\nHost: git\r\n{header}\r\n{close}\r\n\r\n"),
        );
        assert_eq!(status(&answer), 401, "{header}");
        let challenge =
            "www-authenticate: Basic realm=\"codecommit.amazonaws.com\", charset=\"UTF-8\"";
        assert!(answer.contains(challenge), "{answer}");
        assert!(!world.repository("demo.git").exists());
    }
    // Nobody learns what there is without a credential: not even that there is nothing.
    assert_eq!(server.status("GET", "/../../etc/passwd", &deleted), 401);
    assert_eq!(server.status("GET", path, &valid), 200);
}

#[test]
fn a_credential_that_is_disabled_between_two_pushes_is_refused_until_it_is_enabled() {
    let world = World::new("disabled");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    let set = |to| {
        let id = ("ServiceSpecificCredentialId", issued.id().as_str());
        let parameters = [("UserName", "anika"), id, ("Status", to)];
        let answer = server.admin("UpdateServiceSpecificCredential", &parameters);
        assert_eq!(status(&answer), 200, "{answer}");
    };
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    let first = world.head("work", "HEAD");
    world.commit("work", "again", b"again");
    set("Inactive");
    let complaint = world.fails("work", &["push", &url, "main"]);
    assert!(complaint.contains("Authentication failed"), "{complaint}");
    assert_eq!(world.head(world.repository("demo.git"), "main"), first);
    // Whoever runs the server sees why; and no secret.
    assert!(world.log().contains("refused: inactive") && world.log().lines().count() == 1);
    set("Active");
    world.does("work", &["push", &url, "main"]);
    assert_eq!(world.head(world.repository("demo.git"), "main"), world.head("work", "HEAD"));
}

#[test]
fn a_password_that_is_reset_between_two_pushes_is_refused_and_the_new_one_works() {
    let world = World::new("reset");
    let issued = world.anika();
    let server = world.serve(&["--create", "--url-safe"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    world.commit("work", "again", b"again");
    let id = ("ServiceSpecificCredentialId", issued.id().as_str());
    let answer = server.admin("ResetServiceSpecificCredential", &[("UserName", "anika"), id]);
    let complaint = world.fails("work", &["push", &url, "main"]);
    assert!(complaint.contains("Authentication failed"), "{complaint}");
    // As it is, since it is asked for in a form that can stand in a URL.
    let (user, password) =
        (element(&answer, "ServiceUserName"), element(&answer, "ServicePassword"));
    assert_eq!(password, encoded(password).replace("%2D", "-").replace("%5F", "_"));
    let url = format!("http://{user}:{password}@{}/demo", server.address);
    world.does("work", &["push", &url, "main"]);
}

#[test]
fn a_server_that_holds_a_new_store_is_set_up_through_its_admin_address() {
    let world = World::new("admin");
    let server = world.serve(&["--create", "--store", "memory"]);
    server.admin("CreateUser", &[("UserName", "anika")]);
    let at = ("ServiceName", CODECOMMIT);
    let issued = server.admin("CreateServiceSpecificCredential", &[("UserName", "anika"), at]);
    let (user, password) =
        (element(&issued, "ServiceUserName"), element(&issued, "ServicePassword"));
    world.work("work");
    world.does("work", &["push", &server.url(user, password, "demo"), "main"]);
    assert!(!world.folder.file("credentials.redb").exists());
}

#[test]
fn the_admin_address_serves_programs_on_this_machine_alone() {
    let world = World::new("guard");
    let server = world.serve(&[]);
    let (admin, own) = (server.admin, server.admin.to_string());
    let get = "/?Action=CreateUser&Version=2010-05-08&UserName=";
    let post = "Action=CreateUser&Version=2010-05-08&UserName=";
    for (number, (host, other, served)) in [
        ("localhost", "", true),
        ("LOCALHOST:1234", "", true),
        (&*own, "", true),
        ("127.0.0.1", "", true),
        ("127.0.0.1", "Sec-Fetch-Site: none", false),
        ("127.0.0.1", "Sec-Fetch-Site: cross-site", false),
        ("127.0.0.1", "Sec-Fetch-Site: same-site", false),
        ("127.0.0.1", "Referer: https://example.com/", false),
        ("localhost", "Origin: http://localhost", false),
        ("localhost", "Origin: null", false),
        ("localhost", "Host: evil.example", false),
        ("evil.example", "", false),
        ("evil.example:80", "", false),
        ("localhost.evil.example", "", false),
        ("localhost:80@evil.example", "", false),
        ("127.0.0.2", "", false),
        ("[::1]:80", "", true),
        ("[::2]", "", false),
        ("", "", false),
    ]
    .into_iter()
    .enumerate()
    {
        let other = if other.is_empty() { String::new() } else { format!("\r\n{other}") };
        let headers = format!("Host: {host}{other}");
        let expected: &[u16] = if served { &[200] } else { &[400, 403] };
        for answer in [
            server.admin_raw("GET", &format!("{get}got-{number}"), &headers, ""),
            server.admin_raw("POST", "/", &headers, &format!("{post}posted-{number}")),
        ] {
            assert!(expected.contains(&status(&answer)), "{headers}: {answer}");
            assert!(status(&answer) != 403 || element(&answer, "Code") == "AccessDenied");
        }
    }
    // A request of before there were hosts.
    assert_eq!(status(&raw(admin, &format!("GET {get}old HTTP/1.0\r\n\r\n"))), 403);
    let users = server.admin("ListUsers", &[]);
    assert_eq!(users.matches("<UserName>").count(), 10, "{users}");
    // More than can be meant.
    let long = server.admin("CreateUser", &[("UserName", &"x".repeat(1 << 20))]);
    assert_eq!((status(&long), element(&long, "Code")), (413, "MalformedInput"));

    let abroad =
        world.command().args(["--store", "memory", "--admin", "0.0.0.0:0"]).output().unwrap();
    assert_eq!(abroad.status.code(), Some(1));
    assert!(err(&abroad).contains("--insecure"), "{}", err(&abroad));
    let open = world.serve(&["--store", "memory", "--admin", "0.0.0.0:0", "--insecure"]);
    let reached = SocketAddr::from(([127, 0, 0, 1], open.admin.port()));
    let list = "/?Action=ListUsers&Version=2010-05-08";
    let page = format!("GET {list} HTTP/1.1\r\nHost: x\r\nOrigin: y\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&raw(reached, &page)), 200);
}

#[test]
fn a_url_safe_password_stands_in_a_url_as_it_is() {
    let world = World::new("url-safe");
    let iam = world.iam_by(Policy::builder().alphabet(Alphabet::UrlSafe).build().unwrap());
    let anika = name("anika");
    iam.register_user(&anika).unwrap();
    // Until there is one with each of the characters that the other alphabet has not.
    let mut issued = iam.create(&anika, &name(CODECOMMIT)).unwrap();
    while !['-', '_'].iter().all(|special| issued.secret().expose().contains(*special)) {
        issued = iam.reset(&anika, issued.id()).unwrap();
    }
    drop(iam);
    let server = world.serve(&["--create"]);
    let (user, password) = (issued.service_user_name(), issued.secret().expose());
    let url = format!("http://{user}:{password}@{}/demo", server.address);
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    world.does("", &["clone", "--quiet", &url, "clone"]);
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));
}

#[test]
fn a_service_and_an_account_of_ones_own_work_too() {
    let world = World::new("own");
    let service = name("git.example.com");
    let iam =
        world.iam_by(Policy::builder().password_service(name("git.example.com")).build().unwrap());
    let own = iam.for_account(name("210987654321"));
    let anika = name("anika");
    own.register_user(&anika).unwrap();
    let issued = own.create(&anika, &service).unwrap();
    let elsewhere = own.create(&anika, &name(CODECOMMIT)).unwrap();
    drop((iam, own));
    let options = ["--create", "--service", "git.example.com", "--account", "210987654321"];
    let server = world.serve(&options);
    world.work("work");
    world.does("work", &["push", &server.url_of(&issued, "demo"), "main"]);
    world.fails("work", &["push", &server.url_of(&elsewhere, "demo"), "main"]);
}

#[test]
fn a_large_push_and_a_large_clone_pass_through_a_small_server() {
    let world = World::new("large");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    world.work("work");
    world.commit_noise("work", 50 << 20);
    let url = server.url_of(&issued, "demo");
    world.does("work", &["push", "--quiet", &url, "main"]);
    let pushed = peak(&server);
    world.does("", &["clone", "--quiet", "--bare", &url, "clone"]);
    let cloned = peak(&server);
    println!(
        "peak of the server's memory: {pushed} KiB after the push, {cloned} KiB after the clone"
    );
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));
    assert!(pushed < 64 << 10 && cloned < 64 << 10, "{pushed} KiB, {cloned} KiB");
}

/// The most memory that the server ever had, in KiB.
fn peak(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn sixteen_clones_at_once_are_all_whole() {
    let world = World::new("sixteen");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.commit_noise("work", 1 << 20);
    world.does("work", &["push", "--quiet", &url, "main"]);
    let head = world.head("work", "HEAD");
    thread::scope(|scope| {
        for number in 0..16 {
            let (world, url, head) = (&world, &url, &head);
            scope.spawn(move || {
                let clone = format!("clone-{number}");
                world.does("", &["clone", "--quiet", url, &clone]);
                assert_eq!(world.head(&clone, "HEAD"), *head);
                world.does(&clone, &["fsck", "--strict"]);
            });
        }
    });
}

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
            let refused = if repository.is_ascii() && !repository.contains(' ') {
                status == 404 || (status == 400 && repository.contains('\\'))
            } else {
                status == 400 || status == 404
            };
            assert!(refused, "{method} {path}: {status}");
        }
    }
    assert_eq!(tree(&world.folder.0), before);
    assert!(world.log().is_empty(), "{}", world.log());
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
fn a_fetch_whose_question_is_compressed_is_understood() {
    let world = World::new("gzip");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    world.does("", &["clone", "--quiet", &url, "clone"]);
    // The more it has to ask for, the longer its question.
    for number in 0..40 {
        let branch = format!("branch-{number}");
        world.does("work", &["checkout", "--quiet", "-b", &branch]);
        world.commit("work", &branch, b"");
    }
    world.does("work", &["push", "--quiet", "--all", &url]);
    let fetch = world.git("clone", &["fetch"]).env("GIT_TRACE_CURL", "1").output().unwrap();
    assert!(fetch.status.success(), "{}", err(&fetch));
    assert!(err(&fetch).contains("Send header: Content-Encoding: gzip"), "{}", err(&fetch));
    assert_eq!(world.head("clone", "origin/branch-39"), world.head("work", "HEAD"));
}

#[test]
fn a_store_that_fails_is_no_refusal() {
    let world = World::new("unavailable");
    let issued = world.anika();
    // The signal that a file grows too large would end the server. It is told of it as an error.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    let server = world.command();
    command.arg(server.get_program()).args(server.get_args());
    command.args(["--create", "--admin", "127.0.0.1:0"]);
    let server = world.start(&mut command);
    // Nothing can be written any more, as on a full disk. The store stops when it notices.
    let full = Rlimit { current: Some(0), maximum: Some(0) };
    prlimit(Some(server.pid()), Resource::Fsize, full).unwrap();
    let answer = server.admin("CreateUser", &[("UserName", "jane")]);
    assert_eq!((status(&answer), element(&answer, "Code")), (500, "ServiceFailure"));

    world.remember(&server, issued.service_user_name().as_str(), issued.secret().expose());
    let remembered = fs::read_to_string(world.remembered()).unwrap();
    world.work("work");
    let complaint = world.fails("work", &["push", &server.bare_url("demo"), "main"]);
    assert!(complaint.contains("503"), "{complaint}");
    // Git keeps the password, which is right.
    assert_eq!(fs::read_to_string(world.remembered()).unwrap(), remembered);
    drop(server);

    let server = world.serve(&["--create"]);
    world.remember(&server, issued.service_user_name().as_str(), issued.secret().expose());
    world.does("work", &["push", &server.bare_url("demo"), "main"]);
}

#[test]
fn a_clone_that_was_begun_is_finished_before_the_server_ends() {
    let world = World::new("stop");
    let issued = world.anika();
    let mut server = world.serve(&["--create"]);
    world.work("work");
    world.commit_noise("work", 30 << 20);
    world.does("work", &["push", "--quiet", &server.url_of(&issued, "demo"), "main"]);

    // Git clones through a relay, which holds back the most of the answer until the server was told
    // to end and lets nobody in any more.
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let (through, address) = (relay.local_addr().unwrap(), server.address);
    let (pid, (begun, has_begun)) = (server.pid(), mpsc::channel());
    thread::spawn(move || {
        for client in relay.incoming() {
            let (client, begun) = (client.unwrap(), begun.clone());
            let Ok(upstream) = TcpStream::connect(address) else { continue };
            let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut to));
            thread::spawn(move || {
                let (mut from, mut to) = (upstream, client);
                std::io::copy(&mut (&mut from).take(1 << 20), &mut to).unwrap();
                let mut first = [0];
                // Only of the clone itself is there more.
                if from.read(&mut first).unwrap() == 1 {
                    kill_process(pid, Signal::TERM).unwrap();
                    while TcpStream::connect(address).is_ok() {
                        thread::yield_now();
                    }
                    begun.send(()).unwrap();
                    to.write_all(&first).unwrap();
                    std::io::copy(&mut from, &mut to).unwrap();
                }
                to.shutdown(std::net::Shutdown::Both).unwrap();
            });
        }
    });
    let url = server.url_of(&issued, "demo").replace(&address.to_string(), &through.to_string());
    world.does("", &["clone", "--quiet", &url, "clone"]);
    has_begun.try_recv().unwrap();
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));
    world.does("clone", &["fsck"]);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_push_that_stops_in_its_midst_changes_nothing() {
    let world = World::new("midst");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", &url, "main"]);

    let head = "Content-Type: application/x-git-receive-pack-request\r\nTransfer-Encoding: chunked";
    let mut push = TcpStream::connect(server.address).unwrap();
    let request = request("POST", "/demo/git-receive-pack", &issued, head);
    push.write_all(request.as_bytes()).unwrap();
    push.write_all(b"4\r\n00a0\r\n").unwrap();
    let started = server.wait_for(|git| git.contains("receive-pack"));
    drop(push);
    wait_for_the_end_of(&started);
    world.commit("work", "again", b"again");
    world.does("work", &["push", &url, "main"]);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn git_runs_for_no_more_requests_at_a_time_than_it_may() {
    let world = World::new("processes");
    let issued = world.anika();
    let server = world.serve(&["--create", "--processes", "1"]);
    let url = server.url_of(&issued, "demo");
    // One after the other, requests never see that there is a limit.
    world.work("work");
    world.does("work", &["push", &url, "main"]);

    let head = "Content-Type: application/x-git-receive-pack-request\r\nTransfer-Encoding: chunked";
    let mut stalled = TcpStream::connect(server.address).unwrap();
    let post = request("POST", "/demo/git-receive-pack", &issued, head);
    stalled.write_all(post.as_bytes()).unwrap();
    server.wait_for(|git| git.contains("receive-pack"));
    let path = "/demo/info/refs?service=git-upload-pack";
    let answer = raw(server.address, &request("GET", path, &issued, "Connection: close"));
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ntoo many requests are under way\n"), "{answer}");
    // Nor is a repository made for somebody who is not served.
    let new = "/new/info/refs?service=git-receive-pack";
    assert_eq!(server.status("GET", new, &issued), 503);
    assert!(!world.repository("new.git").exists());

    drop(stalled);
    while server.status("GET", path, &issued) == 503 {
        thread::yield_now();
    }
    world.does("", &["clone", "--quiet", &url, "clone"]);
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));
}

#[test]
fn what_a_client_has_started_ends_when_the_client_goes_away() {
    let world = World::new("gone");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    // Left to itself, this push would never end.
    let hook = world.hook("demo.git", "pre-receive", "exec tail -f /dev/null");
    world.commit("work", "again", b"again");
    let mut push = world.git("work", &["push", &url, "main"]).process_group(0).spawn().unwrap();
    let started = server.wait_for(|git| git.contains("tail"));
    kill_process_group(Pid::from_child(&push), Signal::KILL).unwrap();
    push.wait().unwrap();
    wait_for_the_end_of(&started);
    // It has left no lock behind.
    fs::remove_file(hook).unwrap();
    world.does("work", &["push", &url, "main"]);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn a_client_that_asks_for_nothing_does_not_keep_the_server() {
    let world = World::new("idle");
    let issued = world.anika();
    let server = world.serve(&[]);
    let silent = TcpStream::connect(server.address).unwrap();
    // One that has been answered, and holds on to its connection.
    let mut answered = TcpStream::connect(server.address).unwrap();
    let kept = request("GET", "/", &issued, "Connection: keep-alive");
    answered.write_all(kept.as_bytes()).unwrap();
    let mut first = [0; 12];
    answered.read_exact(&mut first).unwrap();
    assert_eq!(first, *b"HTTP/1.1 404");
    assert_eq!(server.stop(), Some(0));
    drop((silent, answered));

    // By Ctrl-C, too.
    let mut server = world.serve(&[]);
    kill_process(server.pid(), Signal::INT).unwrap();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_client_that_never_finishes_does_not_keep_the_server_for_longer_than_its_patience() {
    let given_up = "git_server: what is not finished by now is given up\n";
    let world = World::new("patience");
    let issued = world.anika();
    let server = world.serve(&["--patience", "0"]);
    let mut half = TcpStream::connect(server.address).unwrap();
    half.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    wait_until_read(&half);
    assert_eq!(server.stop(), Some(0));
    assert_eq!(world.log(), given_up);
    drop(half);

    // What was started for somebody who is given up ends, too.
    let server = world.serve(&["--create", "--patience", "0"]);
    let url = server.url_of(&issued, "demo");
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    world.hook("demo.git", "pre-receive", "exec tail -f /dev/null");
    world.commit("work", "again", b"again");
    let mut push = world.git("work", &["push", &url, "main"]);
    let mut push = push.stderr(Stdio::null()).spawn().unwrap();
    let started = server.wait_for(|git| git.contains("tail"));
    assert_eq!(server.stop(), Some(0));
    wait_for_the_end_of(&started);
    assert!(!push.wait().unwrap().success());
    assert_eq!(world.log(), given_up.repeat(2));
}

#[test]
fn a_server_that_cannot_start_says_why_on_one_line() {
    let world = World::new("start");
    let _ = world.anika();
    let said = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let said = err(&output);
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    let server = world.serve(&[]);
    assert!(said(&mut world.command()).contains("another process holds the file"));
    drop(server);

    let api_keys = said(world.command().args(["--service", "bedrock.amazonaws.com"]));
    assert!(api_keys.contains("bedrock.amazonaws.com takes API keys"), "{api_keys}");
    assert!(said(world.command().env("PATH", "/nowhere")).contains("git cannot be run"));
    fs::remove_dir(world.repository("")).unwrap();
    assert!(said(&mut world.command()).contains("No such file or directory"));
    fs::create_dir(world.repository("")).unwrap();
    fs::write(world.folder.file("credentials.redb"), "this is no database").unwrap();
    assert!(said(&mut world.command()).contains("the file is no database"));
}
