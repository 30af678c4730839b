//! Runs the examples with `--store` on a table.

use std::process::{Command, Output};

use service_specific_credentials::store::RedbStore;

use super::{
    cases::two_emulators_behave_as_one,
    common::{ACCOUNT, Folder, example, name},
    emulator::Server,
    local::{Table, shared, wait},
};

/// The environment variables of a program that connects to the server of a table.
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

#[test]
fn two_emulators_share_a_table() {
    let Some(server) = shared() else { return };
    // The first emulator creates the table.
    let table = server.unused();
    let servers = [emulator(&table), emulator(&table)];
    two_emulators_behave_as_one(&servers);
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
fn the_command_line_tool_uses_the_standard_aws_environment_variables() {
    let Some(server) = shared() else { return };
    let table = server.unused();
    let environment = environment(&table);
    for line in ["user add anika", "create anika"] {
        let output = tool(&table, line, &environment);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let listed = String::from_utf8(tool(&table, "list anika", &environment).stdout).unwrap();
    assert!(listed.contains("anika+1-at-123456789012"), "{listed}");
    assert_eq!(wait(table.check()).len(), 1);

    let folder = Folder::new("dynamodb-copy");
    let to = format!("copy --from dynamodb:{} --to redb:{}", table.name, folder.0.display());
    let copied = tool(&table, &format!("{to}/copy.redb"), &environment);
    assert_eq!(str::from_utf8(&copied.stdout), Ok("copied users: 1; accounts: 1\n"));
    let copy = RedbStore::open(folder.file("copy.redb")).unwrap();
    assert_eq!(copy.accounts().unwrap(), [name(ACCOUNT)]);

    let error_without = |variable: &str| {
        let mut environment = environment.to_vec();
        environment.retain(|(name, _)| *name != variable);
        let output = tool(&table, "list anika", &environment);
        assert_eq!(output.status.code(), Some(3));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("dynamodb:table-") && !error.contains("hunter2"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    };
    assert!(error_without("AWS_REGION").contains("no region is configured"));
    error_without("AWS_SECRET_ACCESS_KEY");
}
