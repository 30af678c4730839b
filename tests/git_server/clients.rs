//! The real `git`, with credentials that work.

use std::{fs, thread};

use service_specific_credentials::{Alphabet, Policy};

use crate::{
    common::{CODECOMMIT, name},
    world::{Server, World, err},
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
fn git_asks_a_credential_helper_and_forgets_a_denied_password() {
    let world = World::new("helper");
    let issued = world.anika();
    let server = world.serve(&["--create"]);
    let url = server.bare_url("team/demo.git");
    world.remember(&server, issued.service_user_name().as_str(), issued.secret().expose());
    world.work("work");
    world.does("work", &["push", &url, "main"]);
    // Git writes it again each time that it was accepted.
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
pub(crate) fn peak(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}
