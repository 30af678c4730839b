//! The real `git` client with valid credentials.

use std::{fs, thread};

use service_specific_credentials::{Alphabet, Policy};

use crate::{
    common::{CODECOMMIT, name},
    world::{Server, World, err},
};

#[test]
fn git_clones_pushes_and_fetches_with_a_credential_in_the_url() {
    let world = World::new("url");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo.git");

    world.create_work_tree("work");
    world.run_git("work", &["push", &url, "main"]);
    world.run_git("", &["clone", "--quiet", &url, "clone"]);
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));

    world.commit("work", "again", b"again");
    world.run_git("work", &["push", &url, "main"]);
    world.run_git("clone", &["fetch", "--quiet"]);
    assert_eq!(world.head("clone", "origin/main"), world.head("work", "HEAD"));

    // `demo` and `demo.git` name the same repository.
    world.run_git("", &["clone", "--quiet", &server.url_of(&issued, "demo"), "other"]);
    assert_eq!(world.head("other", "HEAD"), world.head("work", "HEAD"));
    // The client chooses version 2 or version 0 of the Git protocol.
    for (number, is_version_2) in [("2", true), ("0", false)] {
        let version = format!("protocol.version={number}");
        let mut ls_remote = world.git("work", &["-c", &version, "ls-remote", &url]);
        let output = ls_remote.env("GIT_TRACE_PACKET", "1").output().unwrap();
        assert!(output.status.success(), "{}", err(&output));
        assert_eq!(err(&output).contains("< version 2"), is_version_2, "{}", err(&output));
        world.run_git("", &["-c", &version, "clone", "--quiet", &url, number]);
        assert_eq!(world.head(number, "HEAD"), world.head("work", "HEAD"));
    }
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn git_uses_a_credential_helper_and_erases_a_denied_password() {
    let world = World::new("helper");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    let url = server.bare_url("team/demo.git");
    world.store_login(&server, issued.service_user_name().as_str(), issued.secret().expose());
    world.create_work_tree("work");
    world.run_git("work", &["push", &url, "main"]);
    // Git stores an accepted password again. The file still contains one entry.
    let stored = fs::read_to_string(world.login_file()).unwrap();
    assert_eq!(stored.lines().count(), 1);
    world.run_git("", &["clone", "--quiet", &url, "clone"]);
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));
    assert_eq!(fs::read_to_string(world.login_file()).unwrap(), stored);

    world.store_login(&server, issued.service_user_name().as_str(), "wrong");
    let stderr = world.git_fails("clone", &["fetch"]);
    assert!(stderr.contains("Authentication failed"), "{stderr}");
    assert!(stderr.contains("the credential is not valid for this service"), "{stderr}");
    assert_eq!(fs::read_to_string(world.login_file()).unwrap(), "");
}

#[test]
fn a_url_safe_password_needs_no_encoding_in_a_url() {
    let world = World::new("url-safe");
    let iam = world.iam_with_policy(Policy::builder().alphabet(Alphabet::UrlSafe).build().unwrap());
    let anika = name("anika");
    iam.register_user(&anika).unwrap();
    // Resets the credential until the password contains `-` and `_`, which only the URL-safe
    // alphabet contains.
    let mut issued = iam.create(&anika, &name(CODECOMMIT)).unwrap();
    while !['-', '_'].iter().all(|special| issued.secret().expose().contains(*special)) {
        issued = iam.reset(&anika, issued.id()).unwrap();
    }
    drop(iam);
    let server = world.serve(&["--create"]);
    let (user, password) = (issued.service_user_name(), issued.secret().expose());
    let url = format!("http://{user}:{password}@{}/demo", server.address);
    world.create_work_tree("work");
    world.run_git("work", &["push", &url, "main"]);
    world.run_git("", &["clone", "--quiet", &url, "clone"]);
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));
}

#[test]
fn a_custom_service_and_a_custom_account_are_supported() {
    let world = World::new("custom");
    let service = name("git.example.com");
    let iam = world.iam_with_policy(
        Policy::builder().password_service(name("git.example.com")).build().unwrap(),
    );
    let manager = iam.for_account(name("210987654321"));
    let anika = name("anika");
    manager.register_user(&anika).unwrap();
    let issued = manager.create(&anika, &service).unwrap();
    let of_other_service = manager.create(&anika, &name(CODECOMMIT)).unwrap();
    drop((iam, manager));
    let options = ["--create", "--service", "git.example.com", "--account", "210987654321"];
    let server = world.serve(&options);
    world.create_work_tree("work");
    world.run_git("work", &["push", &server.url_of(&issued, "demo"), "main"]);
    world.git_fails("work", &["push", &server.url_of(&of_other_service, "demo"), "main"]);
}

#[test]
fn sixteen_concurrent_clones_are_complete() {
    let world = World::new("sixteen");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    let url = server.url_of(&issued, "demo");
    world.create_work_tree("work");
    world.commit_noise("work", 1 << 20);
    world.run_git("work", &["push", "--quiet", &url, "main"]);
    let head = world.head("work", "HEAD");
    thread::scope(|scope| {
        for number in 0..16 {
            let (world, url, head) = (&world, &url, &head);
            scope.spawn(move || {
                let clone = format!("clone-{number}");
                world.run_git("", &["clone", "--quiet", url, &clone]);
                assert_eq!(world.head(&clone, "HEAD"), *head);
                world.run_git(&clone, &["fsck", "--strict"]);
            });
        }
    });
}

#[test]
fn memory_is_bounded_during_a_large_push_and_a_large_clone() {
    let world = World::new("large");
    let issued = world.issue_credential();
    let server = world.serve(&["--create"]);
    world.create_work_tree("work");
    world.commit_noise("work", 50 << 20);
    let url = server.url_of(&issued, "demo");
    world.run_git("work", &["push", "--quiet", &url, "main"]);
    let pushed = peak(&server);
    world.run_git("", &["clone", "--quiet", "--bare", &url, "clone"]);
    let cloned = peak(&server);
    println!(
        "peak memory of the server: {pushed} KiB after the push, {cloned} KiB after the clone"
    );
    assert_eq!(world.head("clone", "HEAD"), world.head("work", "HEAD"));
    assert!(pushed < 64 << 10 && cloned < 64 << 10, "{pushed} KiB, {cloned} KiB");
}

/// The peak resident memory of the server, in KiB.
pub(crate) fn peak(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
