//! The examples with `--store`, on a shared table.

use std::{
    process::{Command, Output},
    sync::Barrier,
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    client::Client,
    common::{CODECOMMIT, example},
    emulator::Server,
    local::{Table, shared, wait},
};

const CREATE: &str = "Action=CreateServiceSpecificCredential&ServiceName=codecommit.amazonaws.com";

/// The environment of a program that uses the server of a table.
fn environment(table: &Table) -> [(&'static str, String); 5] {
    [
        ("AWS_ENDPOINT_URL_DYNAMODB", format!("http://127.0.0.1:{}", table.port)),
        ("AWS_REGION", "eu-central-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "hunter2hunter2".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}

/// An emulator on a free port.
fn emulator(table: &Table) -> Server {
    let store = format!("dynamodb:{}", table.name);
    let mut command = Command::new(example("emulator"));
    command.args(["--listen", "127.0.0.1:0", "--store", &store]).envs(environment(table));
    Server::run(&mut command)
}

/// The status of `/authenticate` for a name and a password.
fn sign_in(client: &mut Client, name: &str, password: &str) -> u16 {
    let pair = STANDARD.encode(format!("{name}:{password}"));
    let header = format!("Authorization: Basic {pair}");
    client.request(&format!("GET /authenticate/{CODECOMMIT}"), &[&header], b"").status
}

#[test]
fn two_emulators_on_one_table_behave_as_one() {
    let Some(server) = shared() else { return };
    // The first one creates the table.
    let table = server.unused();
    let servers = [emulator(&table), emulator(&table)];
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
    assert_eq!(wait(table.check()).len(), 2);
}

/// Runs the command-line tool.
fn tool(table: &Table, line: &str, environment: &[(&str, String)]) -> Output {
    let store = format!("dynamodb:{}", table.name);
    let mut command = Command::new(example("credentials"));
    command.env_clear().envs(environment.iter().cloned());
    command.args(["--store", &store]).args(line.split(' ')).output().unwrap()
}

#[test]
fn the_tool_works_on_a_table_and_takes_the_standard_environment() {
    let Some(server) = shared() else { return };
    let table = server.unused();
    let environment = environment(&table);
    for line in ["user add anika", "create anika"] {
        let done = tool(&table, line, &environment);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    let listed = String::from_utf8(tool(&table, "list anika", &environment).stdout).unwrap();
    assert!(listed.contains("anika+1-at-123456789012"), "{listed}");
    assert_eq!(wait(table.check()).len(), 1);

    let failed = |without: &str| {
        let mut environment = environment.to_vec();
        environment.retain(|(name, _)| *name != without);
        let done = tool(&table, "list anika", &environment);
        assert_eq!(done.status.code(), Some(3));
        let printed = String::from_utf8(done.stderr).unwrap();
        assert!(printed.contains("dynamodb:table-") && !printed.contains("hunter2"), "{printed}");
        assert_eq!(printed.lines().count(), 1, "{printed}");
        printed
    };
    assert!(failed("AWS_REGION").contains("no region is configured"));
    failed("AWS_SECRET_ACCESS_KEY");
}
