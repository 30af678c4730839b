//! Logins and denials in each version of the protocol.

use std::{fs, path::PathBuf, thread};

use service_specific_credentials::{
    Alphabet, CreateOptions, CredentialManager, IssuedCredential, Lifetime, Policy, ServiceName,
    Status, UserName, store::RedbStore, testing::FixedClock,
};

use crate::{
    common::{ACCOUNT, CASSANDRA, CODECOMMIT, dawn, name},
    database::Installation,
    world::{
        AUTHENTICATE, BAD_CREDENTIALS, BATCH, Client, DENIED, EXECUTE, INVALID, OPTIONS,
        OVERLOADED, PREPARE, PROTOCOL, QUERY, READY, REGISTER, RESULT, STARTUP, SUPPORTED, World,
        bytes, element, query, startup, string, write_certificate,
    },
};

/// The Rust driver `scylla` requests 4.0.0.
#[test]
fn any_cql_version_from_3_0_0_on_is_accepted() {
    let world = World::new("cql-versions");
    let gateway = world.serve(&[]);
    for version in 3..=5 {
        for cql in ["3.0.0", "3.4.7", "3.99.0", "4.0.0", "10.0.0"] {
            let response = gateway.connect(version).ask(STARTUP, &startup(&[("CQL_VERSION", cql)]));
            assert_eq!(response.opcode, AUTHENTICATE, "{cql}: {response:?}");
        }
    }
}

#[test]
fn a_client_logs_in_in_every_version_and_its_first_requests_succeed() {
    let world = World::new("versions");
    let issued = world.anika();
    let gateway = world.serve(&[]);
    for version in 3..=5 {
        let mut client = gateway.connect(version);
        let supported = client.ask(OPTIONS, &[]);
        assert_eq!(supported.opcode, SUPPORTED);
        let expected = [
            &[0, 3][..],
            &string("CQL_VERSION"),
            &[0, 1],
            &string("3.4.7"),
            &string("COMPRESSION"),
            &[0, 0],
            &string("PROTOCOL_VERSIONS"),
            &[0, 3],
            &["3/v3", "4/v4", "5/v5"].map(string).concat(),
        ];
        assert_eq!(supported.body, expected.concat());
        client.start();
        // A request between the two messages of the login gets a response too.
        assert_eq!(client.ask(OPTIONS, &[]), supported);
        let token = format!("\0{}\0{}", issued.service_user_name(), issued.secret().expose());
        client.authenticate(token.as_bytes()).unwrap();
        assert_eq!(client.ask(OPTIONS, &[]), supported);
        assert_eq!(client.ask(REGISTER, &[]).opcode, READY);

        for (statement, found) in [
            ("SELECT release_version FROM system.local", &b"5.0.0"[..]),
            ("select\n*\tfrom System.Local where key = 'local' ;", b"cassandra_gateway"),
            ("SELECT rack, Rpc_Address FROM system.local", &[0, 0, 0, 4, 127, 0, 0, 1]),
            ("SELECT * FROM system.peers", b"\0\0\0\0"),
            ("SELECT keyspace_name FROM system_schema.tables WHERE a = 'b'", b"\0\0\0\0"),
        ] {
            let rows = client.ask(QUERY, &query(statement));
            assert_eq!(rows.opcode, RESULT, "{statement}");
            assert_eq!(rows.body[..4], [0, 0, 0, 2], "{statement}");
            assert!(rows.body.windows(found.len()).any(|part| part == found), "{statement}");

            let prepared = client.ask(PREPARE, &bytes(statement.as_bytes()));
            assert_eq!(prepared.opcode, RESULT, "{statement}");
            let id = string(statement);
            assert_eq!(prepared.body[..4 + id.len()], [&[0, 0, 0, 4], &id[..]].concat());
            assert_eq!(client.ask(EXECUTE, &id).body, rows.body, "{statement}");
        }
        for statement in [
            "",
            "SELECT",
            "SELECT * FROM",
            "SELECT * FROM system.local WHERE key = 'other'",
            "SELECT * FROM system.local LIMIT 1",
            "SELECT password FROM system.local",
            "SELECT * FROM system_schema.tables WHERE keyspace_name IN ?",
            "SELECT * FROM anika.secrets",
            "USE system",
            "DROP KEYSPACE system",
        ] {
            let (code, _) = client.ask(QUERY, &query(statement)).error();
            assert_eq!(code, INVALID, "{statement}");
        }
        assert!(client.works());
        // A message that is not a statement ends the connection.
        assert_eq!(client.ask(BATCH, &[]).error().0, PROTOCOL);
        assert_eq!(client.receive(), None);
    }
}

#[test]
fn every_invalid_credential_is_denied_with_one_message() {
    let world = World::new("denied");
    let (anika, cassandra) = (name::<UserName>("anika"), name::<ServiceName>(CASSANDRA));
    let iam = world.iam();
    iam.register_user(&anika).unwrap();
    let inactive = iam.create(&anika, &cassandra).unwrap();
    iam.set_status(&anika, inactive.id(), Status::Inactive).unwrap();
    let reset = iam.create(&anika, &cassandra).unwrap();
    let valid = iam.reset(&anika, reset.id()).unwrap();
    let of_git = iam.create(&anika, &name(CODECOMMIT)).unwrap();
    let jane = name("jane");
    iam.register_user(&jane).unwrap();
    let deleted = iam.create(&jane, &cassandra).unwrap();
    iam.delete(&jane, deleted.id()).unwrap();
    // This credential was created long ago.
    let past = CredentialManager::builder(name(ACCOUNT), iam.store().clone())
        .clock(FixedClock::new(dawn()))
        .build();
    let expired = past
        .create_with_options(
            &jane,
            &cassandra,
            &CreateOptions::new().lifetime(Lifetime::days(1).unwrap()),
        )
        .unwrap();
    // A user with the same name in another account.
    let elsewhere = iam.for_account(name("210987654321"));
    elsewhere.register_user(&anika).unwrap();
    let foreign = elsewhere.create(&anika, &cassandra).unwrap();
    drop((iam, past, elsewhere));

    let gateway = world.serve(&["--failed-logins", "1000"]);
    let denied = || Err((BAD_CREDENTIALS, DENIED.to_owned()));
    let (user, password) = (valid.service_user_name().as_str(), valid.secret().expose());
    for version in 3..=5 {
        for issued in [&inactive, &reset, &deleted, &expired, &of_git, &foreign] {
            assert_eq!(gateway.log_in_as(version, issued).map(drop), denied());
        }
        for (user, password) in [
            (user, "wrong"),
            (user, ""),
            ("", password),
            ("", ""),
            ("anika", password),
            (password, user),
            (user, &"x".repeat(513)),
            (&"x".repeat(2000), &"x".repeat(2000)),
        ] {
            assert_eq!(gateway.log_in(version, user, password).map(drop), denied());
        }
        // A token that is not SASL PLAIN, or that requests another identity, is denied in the same
        // way.
        let with = |separators: [&str; 3]| {
            let [start, middle, end] = separators;
            [start, user, middle, password, end].concat().into_bytes()
        };
        for token in [
            Vec::new(),
            b"\0".to_vec(),
            b"\0\0".to_vec(),
            b"\0\0\0".to_vec(),
            with(["", "", ""]),
            with(["", "\0", ""]),
            with(["\0", "", ""]),
            with(["\0\0", "\0", ""]),
            with(["\0", "\0\0", ""]),
            with(["\0", "\0", "\0"]),
            with(["\0", "\0", "\0x"]),
            with(["anika\0", "\0", ""]),
            with(["jane+1-at-123456789012\0", "\0", ""]),
            b"\0\xff\0\xff".to_vec(),
            [&with(["\0", "\0", ""])[..], b"\xff"].concat(),
        ] {
            let mut client = gateway.connect(version);
            client.start();
            assert_eq!(client.authenticate(&token), denied(), "{token:?}");
        }
        let mut client = gateway.log_in(version, user, password).unwrap();
        assert!(client.works());
        // A user may request its own identity.
        let mut client = gateway.connect(version);
        client.start();
        client.authenticate(&with([&format!("{user}\0"), "\0", ""])).unwrap();
        assert!(client.works());
    }
    // The log has the reasons, and nothing that clients sent.
    let log = world.log();
    for reason in ["unknown-name", "wrong-secret", "inactive", "expired", "too-long"] {
        assert!(log.contains(&format!("denied: {reason}\n")), "{log}");
    }
    for presented in [password, "anika", "jane", "xxx"] {
        assert!(!log.contains(presented), "{log}");
    }
    assert_eq!(log.matches("logged in: user ").count(), 6);
    assert!(log.contains(&format!("credential {}\n", valid.id())), "{log}");
}

#[test]
fn after_a_reset_the_old_password_is_denied_and_the_new_one_accepted() {
    let world = World::new("reset");
    let issued = world.anika();
    let gateway = world.serve(&[]);
    for version in 3..=5 {
        let id = ("ServiceSpecificCredentialId", issued.id().as_str());
        let reset = |what| {
            let xml = gateway.admin("ResetServiceSpecificCredential", &[("UserName", "anika"), id]);
            element(&xml, what).to_owned()
        };
        let password = reset("ServicePassword");
        let mut session =
            gateway.log_in(version, issued.service_user_name().as_str(), &password).unwrap();
        let renewed = reset("ServicePassword");
        let denied =
            gateway.log_in(version, issued.service_user_name().as_str(), &password).map(drop);
        assert_eq!(denied, Err((BAD_CREDENTIALS, DENIED.to_owned())));
        assert!(
            gateway.log_in(version, issued.service_user_name().as_str(), &renewed).unwrap().works()
        );
        // A recheck closes the old session later.
        assert!(session.works());
    }
}

/// Two user names that together have every permitted character.
fn every_character() -> [String; 2] {
    let lower = ('a'..='z').chain("+=,.@-_".chars());
    [lower.collect(), ('A'..='Z').chain('0'..='9').collect()]
}

#[test]
fn every_user_name_character_and_both_password_alphabets_are_accepted() {
    let world = World::new("characters");
    let [first, second] = every_character();
    let users = [&*first, &second, "+=,.@-_", "+1-at-123456789012", &"_".repeat(64)];
    let issue = |alphabet, users: &[&str]| -> Vec<IssuedCredential> {
        let iam = world.iam_by(Policy::builder().alphabet(alphabet).build().unwrap());
        let issue = |user: &&str| {
            iam.ensure_user(&name(user)).unwrap();
            iam.create(&name(user), &name(CASSANDRA)).unwrap()
        };
        users.iter().map(issue).collect()
    };
    let mut all = issue(Alphabet::Standard, &users);
    all.extend(issue(Alphabet::UrlSafe, &users));
    let gateway = world.serve(&[]);
    for issued in &all {
        for version in 3..=5 {
            assert!(
                gateway.log_in_as(version, issued).unwrap().works(),
                "{}",
                issued.service_user_name()
            );
        }
        // Names are case-insensitive.
        let (upper_case, password) =
            (issued.service_user_name().as_str().to_uppercase(), issued.secret());
        gateway.log_in(4, &upper_case, password.expose()).map(drop).unwrap();
    }
}

#[test]
fn a_custom_service_is_served_and_one_with_api_keys_is_rejected() {
    let world = World::new("service");
    let service = name::<ServiceName>("db.example.com");
    let policy = Policy::builder().password_service(service.clone()).build().unwrap();
    let iam = world.iam_by(policy);
    let (anika, jane) = (name("anika"), name("jane"));
    iam.register_user(&anika).unwrap();
    let issued = iam.create(&anika, &service).unwrap();
    let default = iam.create(&anika, &name(CASSANDRA)).unwrap();
    let elsewhere = iam.for_account(name("210987654321"));
    elsewhere.register_user(&jane).unwrap();
    let foreign = elsewhere.create(&jane, &service).unwrap();
    drop((iam, elsewhere));

    let gateway = world.serve(&["--service", "db.example.com"]);
    assert!(gateway.log_in_as(4, &issued).unwrap().works());
    let denied = || Err((BAD_CREDENTIALS, DENIED.to_owned()));
    assert_eq!(gateway.log_in_as(4, &default).map(drop), denied());
    assert_eq!(gateway.log_in_as(4, &foreign).map(drop), denied());
    drop(gateway);
    let gateway = world.serve(&["--service", "db.example.com", "--account", "210987654321"]);
    assert!(gateway.log_in_as(4, &foreign).unwrap().works());
    assert_eq!(gateway.log_in_as(4, &issued).map(drop), denied());
    drop(gateway);

    let complaint = world.fails(&["--service", "bedrock.amazonaws.com"]);
    assert!(complaint.contains("bedrock.amazonaws.com takes API keys"), "{complaint}");
}

#[test]
fn two_hundred_concurrent_sessions() {
    let world = World::new("sessions");
    let issued = world.anika();
    let gateway = world.serve(&[]);
    let mut sessions: Vec<_> = thread::scope(|scope| {
        let log_in = |number: u8| {
            let (gateway, issued) = (&gateway, &issued);
            scope.spawn(move || gateway.log_in_as(3 + number % 3, issued).unwrap())
        };
        let threads: Vec<_> = (0..200).map(log_in).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(sessions.iter_mut().all(Client::works));
}

#[test]
fn an_unavailable_store_is_not_a_denial_and_closes_no_session() {
    let Some(installation) = Installation::find() else { return };
    let server = installation.server(&["fsync=off"]);
    let world = World::new("unavailable");
    let gateway = world.serve(&["--store", &server.url(), "--recheck", "1"]);
    gateway.admin("CreateUser", &[("UserName", "anika")]);
    let parameters = [("UserName", "anika"), ("ServiceName", CASSANDRA)];
    let issued = gateway.admin("CreateServiceSpecificCredential", &parameters);
    let (user, password) =
        (element(&issued, "ServiceUserName"), element(&issued, "ServicePassword"));
    let mut session = gateway.log_in(5, user, password).unwrap();
    server.crash();
    for version in 3..=5 {
        for password in [password, "wrong"] {
            let (code, message) = gateway.log_in(version, user, password).map(drop).unwrap_err();
            assert_eq!(
                (code, &*message),
                (OVERLOADED, "credentials are unavailable, try again later")
            );
        }
    }
    world.wait_for_log(&format!(
        "cannot recheck credential {}",
        element(&issued, "ServiceSpecificCredentialId")
    ));
    assert!(session.works());
}

#[test]
#[cfg(target_os = "linux")]
fn no_password_stays_in_the_memory_of_the_gateway() {
    use std::{fs::File, os::unix::fs::FileExt as _};

    let world = World::new("memory");
    let issued = world.anika();
    let mut gateway = world.serve(&[]);
    // Right and wrong passwords, in every version, over closed and open connections.
    let wrong = "wrong-password-0123456789";
    let lasting: Vec<_> = (3..=5)
        .map(|version| {
            gateway.log_in_as(version, &issued).map(drop).unwrap();
            gateway
                .log_in(version, issued.service_user_name().as_str(), wrong)
                .map(drop)
                .unwrap_err();
            gateway.log_in_as(version, &issued).unwrap()
        })
        .collect();
    let pid = gateway.process().id();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut seen = false;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        let mut part = vec![0; usize::try_from(end - start).unwrap()];
        memory.read_exact_at(&mut part, start).unwrap();
        let holds = |text: &str| part.windows(text.len()).any(|part| part == text.as_bytes());
        seen |= holds("credentials.redb");
        assert!(!holds(issued.secret().expose()) && !holds(wrong), "in {line}");
    }
    assert!(seen, "the search does not even find an option of the gateway");
    drop(lasting);
}

/// Not a test: writes a store, credentials and a certificate for `tests/cassandra`.
#[test]
#[ignore = "for the tests of real drivers"]
fn write_a_store_for_the_drivers() {
    let folder = PathBuf::from(std::env::var_os("SSC_DRIVERS_FOLDER").unwrap());
    let store = RedbStore::create(folder.join("credentials.redb")).unwrap();
    let iam = CredentialManager::builder(name(ACCOUNT), store).build();
    let past = CredentialManager::builder(name(ACCOUNT), iam.store().clone())
        .clock(FixedClock::new(dawn()))
        .build();
    let (cassandra, day) = (name::<ServiceName>(CASSANDRA), Lifetime::days(1).unwrap());
    let [first, second] = every_character();
    let user = |user: &str| {
        iam.register_user(&name(user)).unwrap();
        name::<UserName>(user)
    };
    let (anika, jane) = (user("anika"), user("jane"));
    let valid = iam.create(&anika, &cassandra).unwrap();
    let inactive = iam.create(&anika, &cassandra).unwrap();
    iam.set_status(&anika, inactive.id(), Status::Inactive).unwrap();
    let expired =
        past.create_with_options(&jane, &cassandra, &CreateOptions::new().lifetime(day)).unwrap();
    let reset = iam.create(&jane, &cassandra).unwrap();
    let _ = iam.reset(&jane, reset.id()).unwrap();
    let of_git = iam.create(&anika, &name(CODECOMMIT)).unwrap();
    let deleted = iam.create(&user("deleted"), &cassandra).unwrap();
    iam.delete(&name("deleted"), deleted.id()).unwrap();
    let first = iam.create(&user(&first), &cassandra).unwrap();
    let second = iam.create(&user(&second), &cassandra).unwrap();

    let of = |issued: &IssuedCredential, valid: bool| {
        serde_json::json!([issued.service_user_name().as_str(), issued.secret().expose(), valid])
    };
    let cases = serde_json::json!({
        "valid": of(&valid, true),
        "some characters": of(&first, true),
        "the other characters": of(&second, true),
        "wrong": [valid.service_user_name().as_str(), "wrong", false],
        "of another user": [valid.service_user_name().as_str(), first.secret().expose(), false],
        "unknown": ["nobody+1-at-123456789012", valid.secret().expose(), false],
        "inactive": of(&inactive, false),
        "expired": of(&expired, false),
        "reset": of(&reset, false),
        "deleted": of(&deleted, false),
        "of another service": of(&of_git, false),
    });
    fs::write(folder.join("credentials.json"), cases.to_string()).unwrap();
    write_certificate(&folder, "gateway");
}
