//! The examples with `--store`, on a shared database.

use std::{
    process::{Command, Output},
    sync::Barrier,
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    client::Client,
    common::{CODECOMMIT, example},
    database::{Space, shared, wait},
    emulator::Server,
};

const CREATE: &str = "Action=CreateServiceSpecificCredential&ServiceName=codecommit.amazonaws.com";

/// An emulator on a free port.
fn emulator(space: &Space) -> Server {
    let options = ["--listen", "127.0.0.1:0", "--store", &format!("postgres:{}", space.url())];
    Server::start(&example("emulator"), &options)
}

/// The status of `/authenticate` for a name and a password.
fn sign_in(client: &mut Client, name: &str, password: &str) -> u16 {
    let pair = STANDARD.encode(format!("{name}:{password}"));
    let header = format!("Authorization: Basic {pair}");
    client.request(&format!("GET /authenticate/{CODECOMMIT}"), &[&header], b"").status
}

#[test]
fn two_emulators_on_one_database_behave_as_one() {
    let Some(server) = shared() else { return };
    let space = wait(server.space());
    let servers = [emulator(&space), emulator(&space)];
    let [mut here, mut there] = [&servers[0], &servers[1]].map(|it| Client::new(it.address));

    assert_eq!(here.post("Action=CreateUser&UserName=anika").status, 200);
    let issued = there.post(&format!("{CREATE}&UserName=Anika"));
    let id = issued.element("ServiceSpecificCredentialId").to_owned();
    let name = issued.element("ServiceUserName").to_owned();
    assert_eq!(name, "anika+1-at-123456789012");
    let password = issued.element("ServicePassword").to_owned();
    assert_eq!(sign_in(&mut here, &name, &password), 200);
    let listed = here.post("Action=ListServiceSpecificCredentials&UserName=anika");
    assert_eq!(listed.element("ServiceSpecificCredentialId"), id);

    let reset = format!(
        "Action=ResetServiceSpecificCredential&UserName=anika&ServiceSpecificCredentialId={id}"
    );
    let renewed = here.post(&reset).element("ServicePassword").to_owned();
    assert_eq!(sign_in(&mut there, &name, &password), 401);
    assert_eq!(sign_in(&mut there, &name, &renewed), 200);

    here.post("Action=CreateUser&UserName=ben");
    let barrier = Barrier::new(16);
    let answers: Vec<_> = thread::scope(|scope| {
        let callers: Vec<_> = (0..16)
            .map(|number| {
                let (barrier, server) = (&barrier, &servers[number % 2]);
                scope.spawn(move || {
                    let mut client = Client::new(server.address);
                    barrier.wait();
                    client.post(&format!("{CREATE}&UserName=ben"))
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let mut names: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.element("ServiceUserName"))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["ben+1-at-123456789012", "ben+2-at-123456789012"]);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(answer.refusal(), (409, "LimitExceeded"));
    }
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
