//! `credentials copy`: all accounts of a file, again after an interruption, and the progress bar.

#![cfg(unix)]

use std::{
    ffi::OsStr,
    fs::File,
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::LazyLock,
};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use service_specific_credentials::{
    CredentialManager, IssuedCredential, ListRequest, ListUsersRequest, UserName, store::RedbStore,
};

use crate::common::{ACCOUNT, CODECOMMIT, Folder, example, name};

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| example("credentials"));

const ACCOUNTS: [&str; 2] = [ACCOUNT, "210987654321"];

/// A file with users in two accounts, the first of whom has a credential.
fn populate(folder: &Folder, users: usize) -> IssuedCredential {
    let store = RedbStore::create(folder.file("from.redb")).unwrap();
    let iam = CredentialManager::new(name(ACCOUNT), store);
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let iam = &iam;
            scope.spawn(move || {
                for number in (thread..users).step_by(16) {
                    let user: UserName = name(&format!("user-{number:05}"));
                    for account in ACCOUNTS {
                        iam.for_account(name(account)).register_user(&user).unwrap();
                    }
                }
            });
        }
    });
    iam.create(&name("user-00000"), &name(CODECOMMIT)).unwrap()
}

fn copy(folder: &Folder) -> Command {
    let store = |file| format!("redb:{}", folder.file(file).display());
    let mut command = Command::new(&*PROGRAM);
    command.args(["copy", "--from", &store("from.redb"), "--to", &store("to.redb")]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(output: &Output) -> (Option<i32>, &str, &str) {
    let text = |bytes| str::from_utf8(bytes).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// All that a listing shows of both accounts.
fn dump(folder: &Folder, file: &str) -> Vec<String> {
    let store = RedbStore::open(folder.file(file)).unwrap();
    let of = |account| {
        let iam = CredentialManager::new(name(account), &store);
        let users: Vec<_> = iam.users(ListUsersRequest::new()).map(Result::unwrap).collect();
        let credentials = iam.credentials(ListRequest::all_users());
        format!("{users:?} {:?}", credentials.map(Result::unwrap).collect::<Vec<_>>())
    };
    ACCOUNTS.map(of).to_vec()
}

#[test]
fn all_accounts_are_copied_and_a_second_copy_changes_nothing() {
    let folder = Folder::new("copy");
    let issued = populate(&folder, 120);
    let output = copy(&folder).output().unwrap();
    assert_eq!(text(&output), (Some(0), "copied users: 240; accounts: 2\n", ""));
    assert_eq!(dump(&folder, "to.redb"), dump(&folder, "from.redb"));
    let store = RedbStore::open(folder.file("to.redb")).unwrap();
    let iam = CredentialManager::new(name(ACCOUNT), store);
    let (login, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
    iam.authenticate(&name(CODECOMMIT), login, secret).unwrap();
    drop(iam);

    let output = copy(&folder).arg("--json").output().unwrap();
    let (code, out, err) = text(&output);
    let json: serde_json::Value = serde_json::from_str(out).unwrap();
    assert_eq!((code, err), (Some(0), ""));
    assert_eq!(json, serde_json::json!({ "copied": 0, "present": 240, "accounts": 2 }));
}

#[test]
fn one_account_is_copied() {
    let folder = Folder::new("copy-one");
    let _issued = populate(&folder, 3);
    let output = copy(&folder).args(["--only", ACCOUNTS[1]]).output().unwrap();
    assert_eq!(text(&output), (Some(0), "copied users: 3; accounts: 1\n", ""));
    let store = RedbStore::open(folder.file("to.redb")).unwrap();
    assert_eq!(store.accounts().unwrap(), [name(ACCOUNTS[1])]);
}

#[test]
fn a_user_that_differs_ends_the_copy() {
    let folder = Folder::new("copy-differs");
    let _issued = populate(&folder, 1);
    let other = RedbStore::create(folder.file("to.redb")).unwrap();
    CredentialManager::new(name(ACCOUNT), other).register_user(&name("user-00000")).unwrap();
    let output = copy(&folder).output().unwrap();
    let why = "credentials: the store to copy to has a conflict on a key of the user user-00000\n";
    assert_eq!(text(&output), (Some(3), "", why));
}

#[test]
fn the_command_line_is_checked() {
    let folder = Folder::new("copy-usage");
    let from = format!("redb:{}", folder.file("from.redb").display());
    for (to, code, why) in [
        (from.as_str(), 2, "credentials: --from and --to are two stores that last\n"),
        ("memory", 2, "credentials: --from and --to are two stores that last\n"),
    ] {
        let output =
            Command::new(&*PROGRAM).args(["copy", "--from", &from, "--to", to]).output().unwrap();
        assert_eq!(text(&output), (Some(code), "", why));
    }
    let output = copy(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "a file that does not exist is not created");
    assert!(!folder.file("from.redb").exists());
}

/// Runs a copy whose standard error is a terminal, until the terminal shows `shown`. Returns what
/// it has shown.
fn at_a_terminal(folder: &Folder, shown: &str) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap();
    let inside = File::options().read(true).write(true).open(OsStr::from_bytes(path.as_bytes()));
    let mut command = copy(folder);
    command.env("TERM", "xterm").stderr(inside.unwrap());
    let mut child = command.spawn().unwrap();
    // The command holds the inside of the terminal open too.
    drop(command);
    let (mut terminal, mut seen, mut buffer) = (File::from(terminal), Vec::new(), [0; 4096]);
    // Reading fails once the program has ended.
    while let Ok(1..) = terminal.read(&mut buffer).inspect(|&read| seen.extend(&buffer[..read])) {
        if String::from_utf8_lossy(&seen).contains(shown) {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    String::from_utf8_lossy(&seen).into_owned()
}

#[test]
fn a_terminal_shows_progress_and_an_interrupted_copy_is_repeated() {
    const USERS: usize = 2_000;
    let folder = Folder::new("copy-terminal");
    let _issued = populate(&folder, USERS);
    let shown = at_a_terminal(&folder, " of 4000 users");
    assert!(shown.contains(" of 4000 users"), "{shown}");

    let output = copy(&folder).arg("--json").output().unwrap();
    let (code, out, err) = text(&output);
    assert_eq!((code, err), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_str(out).unwrap();
    let count = |name: &str| json[name].as_u64().unwrap();
    assert_eq!(count("copied") + count("present"), 2 * USERS as u64);
    assert_eq!(dump(&folder, "to.redb"), dump(&folder, "from.redb"));
}
