//! The example command-line tool, as a process.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    sync::LazyLock,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};
use serde_json::Value;
use service_specific_credentials::{
    CreateOptions, CredentialManager, Lifetime, MemoryStore, Policy, ServiceName, Tags, UserName,
    store::RedbStore, testing::FixedClock,
};
use time::{Duration, OffsetDateTime};

#[path = "../../examples/support/password.rs"]
mod password;
#[path = "../../examples/support/words.rs"]
mod words;

use self::words::relative;
use crate::common::{
    ACCOUNT, BEDROCK, CASSANDRA, CODECOMMIT, Folder, dawn, example, manager, name,
};

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| example("credentials"));

/// A store in a file, and the tool.
struct Tool {
    folder: Folder,
}

/// The result of running the tool.
#[derive(Debug)]
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl Tool {
    fn new(test: &str) -> Self {
        Self { folder: Folder::new(&format!("tool-{test}")) }
    }

    fn store(&self) -> String {
        format!("redb:{}", self.folder.file("credentials.redb").display())
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&*PROGRAM);
        command.args(["--store", &self.store()]).args(line.split_whitespace());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, line: &str) -> Outcome {
        self.run_with(line, "")
    }

    /// Runs the tool with arguments and standard input.
    fn run_with(&self, line: &str, input: &str) -> Outcome {
        let mut child = self.command(line).spawn().unwrap();
        // A tool that does not read its input may have ended by now.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        Outcome {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command that succeeds, and returns its output.
    fn succeeds(&self, line: &str) -> String {
        let done = self.run(line);
        assert_eq!(done.code, 0, "{line}: {done:?}");
        done.out
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.succeeds(&format!("--json {line}"))).unwrap()
    }

    /// Runs a command that fails and prints only its error, on one line.
    fn fails(&self, line: &str, why: &str) {
        let done = self.run(line);
        assert_eq!((done.code, &*done.out), (1, ""), "{line}: {done:?}");
        assert_eq!(done.err, format!("credentials: {why}\n"));
    }

    /// The exit code and the output of `verify`.
    fn verify(&self, login: &str, password: &str) -> Outcome {
        self.run_with(&format!("verify {login}"), &format!("{password}\n"))
    }

    fn iam_at(&self, date: OffsetDateTime) -> CredentialManager<RedbStore> {
        let store = RedbStore::create(self.folder.file("credentials.redb")).unwrap();
        CredentialManager::builder(name(ACCOUNT), store).clock(FixedClock::new(date)).build()
    }
}

const FIRST: &str = "anika+1-at-123456789012";
const SECOND: &str = "anika+2-at-123456789012";

#[test]
fn the_life_cycle_of_a_credential() {
    let tool = Tool::new("life");
    assert_eq!(tool.succeeds("user add anika"), "registered anika\n");

    // The password goes to standard output, for pipes; the rest to standard error.
    let created = tool.run("create anika");
    let password = created.out.strip_suffix('\n').unwrap();
    assert_eq!((created.code, password.len()), (0, 44));
    let id = tool.json("list")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        created.err,
        format!(
            "created {FIRST} ({id}), for codecommit.amazonaws.com\n\
             This is the only time that its password is shown:\n"
        )
    );
    let done = tool.verify(FIRST, password);
    assert_eq!((done.code, &*done.out), (0, "accepted: anika+1-at-123456789012 is anika\n"));
    // With any line ending.
    assert_eq!(tool.run_with(&format!("verify {FIRST}"), password).code, 0);
    assert_eq!(tool.run_with(&format!("verify {FIRST}"), &format!("{password}\r\n")).code, 0);

    let denied = |password: &str, reason: &str| {
        let done = tool.verify(FIRST, password);
        let why = "credentials: denied: the credential is not valid for this service";
        assert_eq!((done.code, &*done.out), (1, ""));
        assert_eq!(done.err, format!("{why} ({reason})\n"));
    };
    denied("wrong", "wrong-secret");
    denied("", "wrong-secret");
    assert_eq!(tool.succeeds(&format!("disable anika {id}")), format!("{id} is Inactive now\n"));
    denied(password, "inactive");
    assert_eq!(tool.succeeds(&format!("enable anika {id}")), format!("{id} is Active now\n"));
    assert_eq!(tool.verify(FIRST, password).code, 0);

    let reset = tool.run(&format!("reset anika {id} --url-safe"));
    let renewed = reset.out.strip_suffix('\n').unwrap();
    assert!(reset.err.starts_with(&format!("reset {FIRST} ({id})")), "{}", reset.err);
    assert!(renewed.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    denied(password, "wrong-secret");
    assert_eq!(tool.verify(FIRST, renewed).code, 0);

    assert_eq!(tool.succeeds(&format!("delete anika {id}")), format!("deleted {id}\n"));
    denied(renewed, "unknown-name");
    assert_eq!(tool.json("list"), serde_json::json!([]));
}

#[test]
fn tables_are_aligned_and_json_has_the_same_data() {
    let tool = Tool::new("tables");
    let now = dawn();
    let (anika, longer) = (name("anika"), name("somebody.with.a.longer.name"));
    let iam = tool.iam_at(now);
    let users = [&anika, &longer].map(|user| iam.register_user(user).unwrap());
    let ids = [
        iam.create(&anika, &name(CODECOMMIT)).unwrap().id().to_string(),
        iam.create(&longer, &name(CASSANDRA)).unwrap().id().to_string(),
    ];
    drop(iam);
    // Years later.
    let [first, second] = &ids;
    let listed = tool.succeeds("list");
    let lines: Vec<_> = listed.lines().collect();
    let age = lines[1].split("Active  ").nth(1).unwrap().split("  ").next().unwrap().to_owned();
    assert!(age.ends_with(" years ago"), "{age}");
    let created = format!("{:w$}", "CREATED", w = age.len());
    assert_eq!(
        listed,
        [
            format!(
                "USER                         NAME                                           \
                 SERVICE                   STATUS  {created}  EXPIRES  ID\n"
            ),
            format!(
                "anika                        anika+1-at-123456789012                        \
                 codecommit.amazonaws.com  Active  {age}  never    {first}\n"
            ),
            format!(
                "somebody.with.a.longer.name  somebody.with.a.longer.name+1-at-123456789012  \
                 cassandra.amazonaws.com   Active  {age}  never    {second}\n"
            ),
        ]
        .concat()
    );
    assert_eq!(tool.succeeds("list somebody.with.a.longer.name").lines().count(), 2);
    assert_eq!(tool.succeeds("list --service cassandra.amazonaws.com").lines().count(), 2);
    assert_eq!(tool.succeeds("list anika --service cassandra.amazonaws.com").lines().count(), 1);

    let json = tool.json("list anika");
    let expected = serde_json::json!([{
        "id": first, "service_user_name": FIRST, "user_name": "anika", "service": CODECOMMIT,
        "kind": "password", "status": "Active", "created": "2016-11-01T17:47:22.382Z",
        "expires": null, "secret_changed": "2016-11-01T17:47:22.382Z",
    }]);
    assert_eq!(json, expected);

    let registered = tool.succeeds("user list");
    let lines: Vec<_> = registered.lines().map(|line| line.split("  ").next().unwrap()).collect();
    assert_eq!(lines, ["USER", "anika", "somebody.with.a.longer.name"]);
    let expected = users.map(|user| {
        serde_json::json!({
            "user_name": user.name().as_str(), "id": user.id().to_string(),
            "created": "2016-11-01T17:47:22.382Z",
        })
    });
    assert_eq!(tool.json("user list"), serde_json::json!(expected));

    let issued = tool.json("create anika --days 90");
    assert_eq!(
        (&issued["service_user_name"], &issued["status"]),
        (&SECOND.into(), &"Active".into())
    );
    assert_eq!(tool.verify(SECOND, issued["password"].as_str().unwrap()).code, 0);
    let listed = tool.succeeds("list anika");
    let cells: Vec<_> = listed.lines().nth(2).unwrap().split("  ").collect();
    let cells: Vec<_> =
        cells.iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells[3..6], ["Active", "just now", "in 90 days"]);
}

#[test]
fn an_audit_lists_old_credentials_of_all_users() {
    let tool = Tool::new("audit");
    let iam = tool.iam_at(dawn());
    let codecommit = name(CODECOMMIT);
    // More users than fit on a page.
    for number in 0..130 {
        let user = name(&format!("user-{number}"));
        iam.register_user(&user).unwrap();
        let _ = iam.create(&user, &codecommit).unwrap();
        let _ = iam.create(&user, &name(CASSANDRA)).unwrap();
    }
    drop(iam);
    tool.succeeds("user add anika");
    tool.succeeds("create anika");
    let audited = tool.json("audit --older-than 90");
    let audited = audited.as_array().unwrap();
    assert_eq!(audited.len(), 260);
    assert!(audited.iter().all(|one| one["user_name"] != "anika"));
    assert_eq!(tool.json("list").as_array().unwrap().len(), 261);
    assert_eq!(tool.json("user list").as_array().unwrap().len(), 131);
    let filtered = tool.json("audit --older-than 90 --service cassandra.amazonaws.com");
    assert_eq!(filtered.as_array().unwrap().len(), 130);
    assert_eq!(tool.succeeds("audit --older-than 90").lines().count(), 261);
    assert_eq!(tool.json("audit --older-than 36600"), serde_json::json!([]));
}

#[test]
fn users_are_renamed_and_removed() {
    let tool = Tool::new("users");
    tool.succeeds("user add anika");
    tool.fails("user add ANIKA", "User with name ANIKA already exists.");
    tool.succeeds("create anika");
    assert_eq!(tool.succeeds("user rename anika jane"), "anika is now jane\n");
    assert_eq!(tool.json("list jane")[0]["service_user_name"], FIRST);
    tool.fails(
        "user remove jane",
        "the user has credentials: delete them first, or use --with-credentials",
    );
    let removed = tool.succeeds("user remove jane --with-credentials");
    assert_eq!(removed, "removed jane, and deleted credentials: 1\n");
    tool.fails("user remove jane", "The user with name jane cannot be found.");
    tool.succeeds("user add jane");
    assert_eq!(tool.succeeds("user remove jane"), "removed jane\n");
}

#[test]
fn custom_services_and_api_keys_are_supported() {
    let tool = Tool::new("services");
    tool.succeeds("user add anika");
    let at = "--service git.example.com";
    let password = tool.succeeds(&format!("create anika {at}"));
    assert_eq!(tool.run_with(&format!("verify {FIRST} {at}"), &password).code, 0);
    assert_eq!(tool.run_with(&format!("verify {FIRST}"), &password).code, 1);
    // The id determines the service.
    let id = tool.json(&format!("list {at}"))[0]["id"].as_str().unwrap().to_owned();
    let renewed = tool.succeeds(&format!("reset anika {id}"));
    assert_eq!(tool.run_with(&format!("verify {FIRST} {at}"), &renewed).code, 0);

    let at = format!("--service {BEDROCK}");
    let key = tool.succeeds(&format!("create anika {at}"));
    assert!(key.starts_with("ABSK"));
    assert_eq!(tool.run_with(&format!("verify {FIRST} {at}"), &key).code, 0);
    assert_eq!(tool.run_with(&format!("verify {SECOND} {at}"), &key).code, 1);
    assert_eq!(tool.run_with(&format!("verify {FIRST} {at}"), "ABSK").code, 1);
}

#[test]
fn exit_codes_distinguish_rejections_usage_errors_and_store_failures() {
    let tool = Tool::new("codes");
    let code = |line: &str| tool.run(line).code;
    // The store does not exist. A mistyped path succeeds not create one.
    let path = tool.folder.file("credentials.redb");
    let done = tool.run("list");
    let missing =
        format!("credentials: redb:{} does not exist: `user add` makes it\n", path.display());
    assert_eq!((done.code, done.err), (3, missing));
    assert!(!path.exists());

    tool.succeeds("user add anika");
    tool.succeeds("create anika");
    tool.succeeds("create anika");
    tool.fails(
        "create anika",
        "user anika has reached the limit of 2 credentials at codecommit.amazonaws.com",
    );
    tool.fails("create jane", "The user with name jane cannot be found.");
    let unknown = "ACCA7DMBL7IBDT3HXW6NI";
    for line in ["disable anika", "enable anika", "reset anika", "delete anika"] {
        tool.fails(&format!("{line} {unknown}"), &format!("No such credential {unknown} exists"));
    }
    assert_eq!(code("--account 210987654321 list anika"), 1);

    for line in [
        "",
        "user",
        "unknown",
        "user add",
        "user add d\u{e9}mo",
        "disable anika short",
        "create anika --days 0",
        "create anika --days soon",
        "audit",
        "audit --older-than 0",
        "--account 12 list",
        "--store memory list",
        "--store file list",
        "--store redb: list",
        // A password on the command line is rejected.
        "verify anika+1-at-123456789012 secret",
    ] {
        let done = tool.run(line);
        assert_eq!((done.code, &*done.out), (2, ""), "{line}: {done:?}");
    }
    let storeless = Command::new(&*PROGRAM).arg("list").output().unwrap();
    assert_eq!(storeless.status.code(), Some(2));

    let holder = RedbStore::open(&path).unwrap();
    let locked = tool.run("list");
    assert_eq!((locked.code, &*locked.out), (3, ""));
    assert!(locked.err.contains("is held by another process: stop it, or"), "{}", locked.err);
    drop(holder);
    fs::write(&path, "this is no database").unwrap();
    let broken = tool.run("list");
    assert_eq!((broken.code, broken.err.contains("the file is no database")), (3, true));

    let help = tool.succeeds("--help");
    for code in ["  0  ", "  1  ", "  2  ", "  3  "] {
        assert!(help.contains(code), "{help}");
    }
}

#[test]
fn an_expired_credential_is_reported_as_expired() {
    let tool = Tool::new("expired");
    let iam = tool.iam_at(dawn());
    let anika = name("anika");
    iam.register_user(&anika).unwrap();
    let day = Lifetime::days(1).unwrap();
    let issued = iam
        .create_with_options(&anika, &name(CODECOMMIT), &CreateOptions::new().lifetime(day))
        .unwrap();
    assert_eq!(*iam.policy(), Policy::default());
    drop(iam);
    let listed = tool.succeeds("list");
    assert!(listed.contains("Expired") && listed.matches("years ago").count() == 2, "{listed}");
    let done = tool.verify(FIRST, issued.secret().expose());
    assert_eq!((done.code, done.err.contains("(expired)")), (1, true));
    let reset = format!(
        "the credential {} of user anika at codecommit.amazonaws.com has expired and can only be \
         deleted",
        issued.id()
    );
    tool.fails(&format!("reset anika {}", issued.id()), &reset);
}

/// Runs the tool with a terminal as its standard input, and types a response at a prompt. Returns
/// the result, and what the terminal echoed.
fn at_a_terminal(tool: &Tool, line: &str, prompt: &str, response: &str) -> (Outcome, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let path = ptsname(&terminal, Vec::new()).unwrap();
    let inside = File::options().read(true).write(true).open(OsStr::from_bytes(path.as_bytes()));
    let mut child = tool.command(line).stdin(inside.unwrap()).spawn().unwrap();
    let (mut terminal, mut stderr) = (File::from(terminal), child.stderr.take().unwrap());
    let mut err = Vec::new();
    while !err.ends_with(prompt.as_bytes()) {
        let mut byte = [0];
        assert_eq!(stderr.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&err));
        err.push(byte[0]);
    }
    writeln!(terminal, "{response}").unwrap();
    stderr.read_to_end(&mut err).unwrap();
    let output = child.wait_with_output().unwrap();
    // The tool restores the modes of the terminal, however it ends.
    let modes = tcgetattr(&terminal).unwrap().local_modes;
    assert!(modes.contains(LocalModes::ECHO | LocalModes::ISIG));
    let (mut shown, mut piece) = (Vec::new(), [0; 64]);
    // The other end is closed: after everything was read, reading fails.
    while let Ok(read @ 1..) = terminal.read(&mut piece) {
        shown.extend(&piece[..read]);
    }
    let done = Outcome {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(err).unwrap(),
    };
    (done, String::from_utf8(shown).unwrap())
}

#[test]
fn irreversible_commands_ask_for_confirmation() {
    let tool = Tool::new("confirm");
    tool.succeeds("user add anika");
    let password = tool.succeeds("create anika");
    let id = tool.json("list")[0]["id"].as_str().unwrap().to_owned();
    for line in [
        format!("reset anika {id}"),
        format!("delete anika {id}"),
        "user remove anika --with-credentials".to_owned(),
    ] {
        for response in ["n", "", "maybe"] {
            let (done, _) = at_a_terminal(&tool, &line, "[y/N] ", response);
            assert_eq!((done.code, &*done.out), (1, ""), "{done:?}");
            assert!(done.err.ends_with("credentials: nothing was changed\n"), "{}", done.err);
        }
    }
    assert_eq!(tool.run_with(&format!("verify {FIRST}"), &password).code, 0);
    let (done, shown) = at_a_terminal(&tool, &format!("reset anika {id}"), "[y/N] ", "y");
    assert_eq!((done.code, done.out.len()), (0, 45));
    assert!(shown.contains('y'));
    // `--yes` skips the prompt.
    let (done, _) = at_a_terminal(&tool, &format!("delete anika {id} --yes"), "", "");
    assert_eq!((done.code, &*done.err), (0, ""));
}

#[test]
fn an_interrupt_at_the_password_prompt_restores_the_terminal() {
    let tool = Tool::new("interrupt");
    tool.succeeds("user add anika");
    let (done, shown) = at_a_terminal(&tool, &format!("verify {FIRST}"), "Password: ", "half\u{3}");
    assert_eq!((done.code, &*done.out), (1, ""));
    assert_eq!(done.err, "Password: credentials: interrupted\n");
    assert!(!shown.contains("half"), "{shown}");
}

#[test]
fn an_invalid_store_argument_is_not_echoed() {
    let tool = Tool::new("mistyped");
    for store in ["postgre://git:hunter2@db/git", "host=db password=hunter2", "hunter2"] {
        let done = tool.run(&format!("--store {} list", store.replace(' ', "_")));
        assert_eq!((done.code, &*done.out), (2, ""));
        assert!(!done.err.contains("hunter2"), "{}", done.err);
    }
}

#[test]
fn a_name_is_verified_in_any_case() {
    let tool = Tool::new("case");
    tool.succeeds("user add anika");
    let password = tool.succeeds("create anika");
    assert_eq!(tool.run_with(&format!("verify {}", FIRST.to_uppercase()), &password).code, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_password_that_cannot_be_printed_is_reported_as_lost() {
    let tool = Tool::new("full");
    tool.succeeds("user add anika");
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let output = tool.command("create anika").stdout(full()).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    let id = tool.json("list")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        message.contains(&format!("created {id}, but its password could not be printed")),
        "{message}"
    );
    // A failure to print the message does not withhold the password.
    let output = tool.command(&format!("reset anika {id}")).stderr(full()).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 45));
}

#[test]
fn a_typed_password_is_not_echoed() {
    let tool = Tool::new("typed");
    tool.succeeds("user add anika");
    let password = tool.succeeds("create anika");
    let (verify, prompt) = (format!("verify {FIRST}"), "Password: ");
    let (done, shown) = at_a_terminal(&tool, &verify, prompt, password.trim_end());
    assert_eq!((done.code, done.out.contains("accepted")), (0, true));
    assert!(!shown.contains(password.trim_end()), "{shown}");
    assert!(!done.err.contains(password.trim_end()));
}

#[test]
fn relative_times_have_one_unit() {
    let now = dawn();
    for (apart, past, future) in [
        (Duration::ZERO, "just now", "just now"),
        (Duration::SECOND, "just now", "in 1 minute"),
        (Duration::seconds(59), "just now", "in 1 minute"),
        (Duration::minutes(1), "1 minute ago", "in 2 minutes"),
        (Duration::minutes(59), "59 minutes ago", "in 1 hour"),
        (Duration::hours(1), "1 hour ago", "in 1 hour"),
        (Duration::hours(23), "23 hours ago", "in 23 hours"),
        (Duration::days(1) - Duration::SECOND, "23 hours ago", "in 1 day"),
        (Duration::days(1), "1 day ago", "in 1 day"),
        (Duration::days(90) - Duration::SECOND, "89 days ago", "in 90 days"),
        (Duration::days(90), "90 days ago", "in 90 days"),
        (Duration::days(729), "729 days ago", "in 729 days"),
        (Duration::days(730), "2 years ago", "in 2 years"),
        (Duration::days(3650), "10 years ago", "in 10 years"),
    ] {
        assert_eq!(relative(now - apart, now), past);
        assert_eq!(relative(now + apart, now), future);
    }
}

/// A buffer that moves leaves a copy of the password behind.
#[test]
fn the_buffer_of_a_password_is_not_moved_by_the_largest_credential() {
    let service = "s".repeat(ServiceName::MAX_LENGTH);
    let (git, key) = (format!("g{}", &service[1..]), format!("k{}", &service[1..]));
    let policy = Policy::builder()
        .password_service(name(&git))
        .api_key_service(name(&key), "p".repeat(32))
        .password_bytes(Policy::MAX_PASSWORD_BYTES);
    let (iam, _) = manager(MemoryStore::new(), policy.build().unwrap());
    let user: UserName = name(&"u".repeat(UserName::MAX_LENGTH));
    iam.register_user(&user).unwrap();
    // Letters of four bytes.
    let pairs = (10..60).map(|number| (format!("{number}{}", "𐐀".repeat(126)), "𐐀".repeat(256)));
    let largest = CreateOptions::new()
        .lifetime(Lifetime::days(36_600).unwrap())
        .tags(Tags::from_pairs(pairs).unwrap());
    for service in [git, key] {
        for options in [CreateOptions::new(), largest.clone()] {
            let issued = iam.create_with_options(&user, &name(&service), &options).unwrap();
            let (credential, secret) = (issued.credential(), issued.secret().expose());
            // No alphabet has characters that are escaped.
            for password in [secret, &"\"".repeat(secret.len())] {
                for json in [false, true] {
                    let mut text = password::buffer(credential, password).unwrap();
                    let (start, capacity) = (text.as_ptr(), text.capacity());
                    password::write(&mut text, credential, password, json).unwrap();
                    assert_eq!((text.as_ptr(), text.capacity()), (start, capacity));
                }
            }
        }
    }
}
