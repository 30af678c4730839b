//! The examples with `--store`, on a shared database.

use std::process::{Command, Output};

use super::{
    cases::two_emulators_behave_as_one,
    common::example,
    database::{Space, shared, wait},
    emulator::Server,
};

/// An emulator on a free port.
fn emulator(space: &Space) -> Server {
    let options = ["--listen", "127.0.0.1:0", "--store", &format!("postgres:{}", space.url())];
    Server::start(&example("emulator"), &options)
}

#[test]
fn two_emulators_on_one_database_behave_as_one() {
    let Some(server) = shared() else { return };
    let space = wait(server.space());
    let servers = [emulator(&space), emulator(&space)];
    two_emulators_behave_as_one(&servers);
    assert_eq!(wait(space.check()).len(), 2);
}

/// Runs the command-line tool on the database in `DATABASE_URL`.
fn tool(url: &str, line: &str) -> Output {
    let mut command = Command::new(example("credentials"));
    command.env("DATABASE_URL", url).args(["--store", "postgres"]).args(line.split(' '));
    command.output().unwrap()
}

#[test]
fn the_tool_works_on_a_database_and_never_prints_its_password() {
    let Some(server) = shared() else { return };
    let space = wait(server.space());
    for line in ["user add anika", "create anika"] {
        let done = tool(&space.url(), line);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let listed = String::from_utf8(tool(&space.url(), "list anika").stdout).unwrap();
    assert!(listed.contains("anika+1-at-123456789012"), "{listed}");
    assert_eq!(wait(space.check()).len(), 1);

    let nowhere = "postgres://anika:hunter2hunter2@127.0.0.1:1/postgres?sslmode=disable";
    let done = tool(nowhere, "list anika");
    assert_eq!(done.status.code(), Some(3));
    let message = String::from_utf8(done.stderr).unwrap();
    assert!(message.contains("postgres: ") && !message.contains("hunter2"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}
