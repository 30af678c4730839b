//! The events that operations emit through `tracing`.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use redb::{StorageBackend, backends::InMemoryBackend};
use regex::Regex;
use service_specific_credentials::{
    CredentialManager, Entropy, EntropyError, Error, ErrorCode, ListRequest, ListUsersRequest,
    Marker, MaxItems, Policy, ServiceName, Status, Tags, UpdateOptions, UserName,
    http::HttpAuthenticator,
    store::{CommitOutcome, RedbOptions, Store},
    testing::FixedClock,
};

use crate::common::{ACCOUNT, CODECOMMIT, HookAction, HookedStore, StoreCall, name};

/// The target of every event.
const TARGET: &str = "service_specific_credentials";

fn codecommit() -> ServiceName {
    name(CODECOMMIT)
}

thread_local! {
    /// The output of this thread's logs.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One subscriber for all threads, installed before the first event: an event that is first reached
/// while another thread installs a subscriber may stay disabled.
static SUBSCRIBER: LazyLock<()> = LazyLock::new(|| {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(|| Log)
        .with_ansi(false)
        .without_time()
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
});

fn manager<S: Store>(store: S) -> (CredentialManager<S>, Arc<FixedClock>) {
    LazyLock::force(&SUBSCRIBER);
    crate::common::manager(store, Policy::default())
}

/// Returns the result of `operation`, and the lines that it logs, at every level.
fn logged<T>(operation: impl FnOnce() -> T) -> (T, Vec<String>) {
    LOG.take();
    let result = operation();
    let text = String::from_utf8(LOG.take()).unwrap();
    (result, text.lines().map(|line| line.trim().to_owned()).collect())
}

/// A manager of a controlled store, the user `anika`, and a function that controls the store.
fn controlled() -> (CredentialManager<impl Store>, UserName, impl Fn(HookAction)) {
    let does = Arc::new(Mutex::new(HookAction::Proceed));
    let next = Arc::clone(&does);
    let (iam, _) = manager(HookedStore::new(move |_: StoreCall<'_>| *next.lock().unwrap()));
    let anika = name("anika");
    iam.register_user(&anika).unwrap();
    (iam, anika, move |order| *does.lock().unwrap() = order)
}

fn assert_logs<T>(line: &str, operation: impl FnOnce() -> T) {
    let (_, lines) = logged(operation);
    assert_eq!(lines, [line]);
}

#[test]
fn an_operation_logs_one_event_with_its_user_service_and_credential() {
    let (iam, anika, _) = controlled();
    let [bo, nobody] = ["bo", "nobody"].map(name::<UserName>);
    let event = |operation: &str, rest: &str, outcome: &str| {
        let here = "account=123456789012";
        format!("INFO {TARGET}: operation=\"{operation}\" {here}{rest} outcome=\"{outcome}\"")
    };
    let at = |user: &str| format!(" user={user} service=codecommit.amazonaws.com");
    let (issued, lines) = logged(|| iam.create(&anika, &codecommit()).unwrap());
    let id = issued.id();
    assert_eq!(lines, [event("create", &format!("{} id={id}", at("anika")), "ok")]);
    let of = |user: &str| format!(" user={user} id={id}");
    let found = format!("{} id={id}", at("anika"));
    let check = |operation: &str, rest: &str, outcome: &str, result: &dyn Fn() -> Option<Error>| {
        let line = event(operation, rest, outcome);
        let (error, lines) = logged(result);
        assert_eq!(lines, [line]);
        assert_eq!(error.map_or("ok", |error| error.code().as_str()), outcome);
    };

    check("register_user", " user=bo", "ok", &|| iam.register_user(&bo).err());
    let exists = "EntityAlreadyExists";
    check("register_user", " user=anika", exists, &|| iam.register_user(&anika).err());
    check("ensure_user", " user=bo", "ok", &|| iam.ensure_user(&bo).err());
    check("user", " user=nobody", "NoSuchEntity", &|| iam.user(&nobody).err());
    check("list_users_page", "", "ok", &|| {
        iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).err()
    });
    let missing = || iam.create(&nobody, &codecommit()).err();
    check("create", &at("nobody"), "NoSuchEntity", &missing);
    check("reset", &of("bo"), "NoSuchEntity", &|| iam.reset(&bo, id).err());
    check("reset", &found, "ok", &|| iam.reset(&anika, id).err());
    let set = |status| iam.set_status(&anika, id, status).err();
    check("set_status", &found, "ok", &|| set(Status::Inactive));
    check("set_status", &of("anika"), "InvalidInput", &|| set(Status::Expired));
    check("list", " user=anika", "ok", &|| iam.list(&anika).err());
    let filtered = || iam.list_for_service(&anika, &codecommit()).err();
    check("list", &at("anika"), "ok", &filtered);
    let all = ListRequest::all_users();
    check("list_page", "", "ok", &|| iam.list_page(&all).err());
    let one = ListRequest::of(anika.clone()).service(codecommit());
    check("list_page", &at("anika"), "ok", &|| iam.list_page(&one).err());
    let renaming = " user=bo new_name=anika";
    check("rename_user", renaming, exists, &|| iam.rename_user(&bo, &anika).err());
    check("remove_user", " user=anika", "DeleteConflict", &|| iam.remove_user(&anika).err());
    check("delete", &found, "ok", &|| iam.delete(&anika, id).err());
    check("remove_user", " user=bo", "ok", &|| iam.remove_user(&bo).err());
    let remove = || iam.remove_user_with_credentials(&anika).err();
    check("remove_user_with_credentials", " user=anika", "ok", &remove);
}

#[test]
fn an_authentication_logs_one_event_without_untrusted_input() {
    let (iam, anika, order) = controlled();
    let issued = iam.create(&anika, &codecommit()).unwrap();
    let (alias, password) = (issued.service_user_name().as_str(), issued.secret().expose());
    let event = |account: &str, whose: &str, outcome: &str| {
        let service = "service=codecommit.amazonaws.com";
        let level = if outcome.contains("unavailable") { "WARN" } else { "INFO" };
        format!("{level} {TARGET}: operation=\"authenticate\"{account}{whose}{outcome}")
            .replace("SERVICE", service)
    };
    let here = " account=123456789012";
    let known = format!(" user=anika SERVICE id={}", issued.id());
    let denied = |reason: &str| format!(" outcome=\"denied\" reason=\"{reason}\"");
    let authenticate = |name: &str, password: &str| iam.authenticate(&codecommit(), name, password);
    let door = iam.authenticator();
    let anywhere = |name: &str| door.authenticate(&codecommit(), name, password);

    let accepted = event(here, &known, " outcome=\"ok\"");
    assert_logs(&accepted, || authenticate(alias, password).unwrap());
    assert_logs(&accepted, || anywhere(alias).unwrap());
    let wrong = event(here, &known, &denied("wrong-secret"));
    assert_logs(&wrong, || authenticate(alias, "guess").unwrap_err());
    assert_logs(&wrong, || door.authenticate(&codecommit(), alias, "guess").unwrap_err());
    let connected = authenticate(alias, password).unwrap();
    let rechecked = |event: &str| event.replace("authenticate", "recheck");
    assert_logs(&rechecked(&accepted), || iam.recheck(&connected).unwrap());
    iam.set_status(&anika, issued.id(), Status::Inactive).unwrap();
    let inactive = event(here, &known, &denied("inactive"));
    assert_logs(&inactive, || authenticate(alias, password).unwrap_err());
    assert_logs(&rechecked(&inactive), || iam.recheck(&connected).unwrap_err());
    let unknown = |account, reason: &str| event(account, " SERVICE", &denied(reason));
    assert_logs(&unknown(here, "unknown-name"), || authenticate(password, password).unwrap_err());
    assert_logs(&unknown("", "unknown-name"), || anywhere(password).unwrap_err());
    assert_logs(&unknown(here, "too-long"), || authenticate(&"a".repeat(513), "").unwrap_err());
    assert_logs(&unknown(here, "unsupported-service"), || {
        iam.authenticate_api_key(&codecommit(), password).unwrap_err()
    });
    // An invalid header emits an event too. A missing header does not.
    let authorization = |value: String| {
        http::HeaderMap::from_iter([(http::header::AUTHORIZATION, value.parse().unwrap())])
    };
    let http = HttpAuthenticator::new(&iam, codecommit()).unwrap();
    let http_of_all_accounts = HttpAuthenticator::all_accounts(&door, codecommit()).unwrap();
    let digest = authorization(format!("Digest {password}"));
    let unsupported = "unsupported-scheme";
    assert_logs(&unknown(here, unsupported), || http.authenticate(&digest).unwrap_err());
    assert_logs(&unknown("", unsupported), || {
        http_of_all_accounts.authenticate(&digest).unwrap_err()
    });
    let (_, lines) = logged(|| http.authenticate(&http::HeaderMap::new()).unwrap_err());
    assert!(lines.is_empty(), "{lines:?}");
    let guess = authorization(format!("Basic {}", STANDARD.encode(format!("{alias}:guess"))));
    assert_logs(&wrong, || http.authenticate(&guess).unwrap_err());
    order(HookAction::Fail);
    let outcome = " outcome=\"unavailable\" cause=the disk is on fire";
    let unavailable = event(here, " SERVICE", outcome);
    assert_logs(&unavailable, || authenticate(alias, password).unwrap_err());
    let unavailable = event("", " SERVICE", outcome);
    assert_logs(&unavailable, || anywhere(alias).unwrap_err());
}

/// Entropy that always fails.
#[derive(Debug)]
struct FailingEntropy;

impl Entropy for FailingEntropy {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError::new("drained"))
    }
}

#[test]
fn failed_reads_unknown_outcomes_and_failed_entropy_have_distinct_outcomes() {
    for (on, does, outcome) in [
        ("find", HookAction::Fail, "unavailable"),
        ("scan", HookAction::Fail, "unavailable"),
        ("commit", HookAction::Fail, "unknown"),
        ("commit", HookAction::FailAfterwards, "unknown"),
    ] {
        let failing = Arc::new(Mutex::new(false));
        let fails = Arc::clone(&failing);
        let store = HookedStore::new(move |asked: StoreCall<'_>| {
            let asked = match asked {
                StoreCall::Find => "find",
                StoreCall::Scan(_) => "scan",
                StoreCall::Commit(_) => "commit",
            };
            if asked == on && *fails.lock().unwrap() { does } else { HookAction::Proceed }
        });
        let (iam, _) = manager(store);
        let (anika, bo) = (name("anika"), name("bo"));
        iam.register_user(&anika).unwrap();
        let issued = iam.create(&anika, &codecommit()).unwrap();
        let id = issued.id();
        *failing.lock().unwrap() = true;
        let expect = |operation: &str, rest: &str| {
            format!(
                "WARN {TARGET}: operation=\"{operation}\" account={ACCOUNT}{rest} \
                 outcome=\"{outcome}\" cause=the disk is on fire"
            )
        };
        if on == "scan" {
            let page = ListRequest::all_users();
            assert_logs(&expect("list_page", ""), || iam.list_page(&page).unwrap_err());
            let users = || {
                iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
                    .unwrap_err()
            };
            assert_logs(&expect("list_users_page", ""), users);
            continue;
        }
        let of = format!(" user=anika id={id}");
        assert_logs(&expect("reset", &of), || iam.reset(&anika, id).unwrap_err());
        let set = || iam.set_status(&anika, id, Status::Inactive).unwrap_err();
        assert_logs(&expect("set_status", &of), set);
        assert_logs(&expect("register_user", " user=bo"), || iam.register_user(&bo).unwrap_err());
        // The id of a new credential that may exist is logged.
        let (error, lines) = logged(|| iam.create(&anika, &codecommit()).unwrap_err());
        let at = " user=anika service=codecommit.amazonaws.com";
        let named = match error {
            Error::OutcomeUnknown { credential, .. } => {
                format!(" id={}", credential.unwrap().id())
            }
            _ => String::new(),
        };
        assert_eq!(named.is_empty(), outcome == "unavailable");
        assert_eq!(lines, [expect("create", &format!("{at}{named}"))]);
    }

    let (iam, anika, _) = controlled();
    let iam =
        CredentialManager::builder(iam.account(), iam.store()).entropy(FailingEntropy).build();
    let at = " user=anika service=codecommit.amazonaws.com";
    let drained = format!(
        "WARN {TARGET}: operation=\"create\" account={ACCOUNT}{at} outcome=\"entropy\" \
         cause=drained"
    );
    assert_logs(&drained, || iam.create(&anika, &codecommit()).unwrap_err());
}

/// A disk that can become full.
#[derive(Clone, Debug)]
struct Disk {
    memory: Arc<InMemoryBackend>,
    is_full: Arc<AtomicBool>,
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.is_full.load(SeqCst) {
            // The text is the system's.
            return Err(io::Error::from(rustix::io::Errno::NOSPC));
        }
        self.memory.write(offset, data)
    }
}

#[test]
fn a_full_disk_is_reported_once_in_the_event_and_in_the_error() {
    let disk = Disk { memory: Arc::default(), is_full: Arc::default() };
    let store = RedbOptions::new()
        .create_with_backend({
            let disk = disk.clone();
            move || Ok(disk.clone())
        })
        .unwrap();
    let (iam, _) = manager(store);
    let anika: UserName = name("anika");
    iam.register_user(&anika).unwrap();
    disk.is_full.store(true, SeqCst);
    let (error, lines) = logged(|| iam.create(&anika, &codecommit()).unwrap_err());
    let full = io::Error::from(rustix::io::Errno::NOSPC).to_string();
    assert!(full.contains("No space left on device"), "{full}");
    let Error::OutcomeUnknown { source, .. } = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains(&full), "{source}");
    assert!(lines.iter().any(|line| line.contains(&full)), "{lines:?}");
    // A walk through the chain of sources reads it once.
    let mut chain = vec![error.to_string()];
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        chain.push(cause.to_string());
        next = cause.source();
    }
    let chain = chain.join(": ");
    assert_eq!(chain.matches(&full).count(), 1, "{chain}");
}

/// The first column of each table of a document, without its header and without code marks.
fn tables(document: &str) -> Vec<BTreeSet<String>> {
    let mut tables = vec![BTreeSet::new()];
    for line in document.lines() {
        match line.strip_prefix("| ").and_then(|row| row.split(" | ").next()) {
            Some(cell) => drop(tables.last_mut().unwrap().insert(cell.replace('`', ""))),
            None if line.starts_with('|') => tables.last_mut().unwrap().clear(),
            None => tables.push(BTreeSet::new()),
        }
    }
    tables.retain(|table| !table.is_empty());
    tables
}

/// The events of [`every_operation`], without level and target, account and quotes. `GIT` is
/// CodeCommit, and `ID` the id of a credential.
const EVENTS: [&str; 38] = [
    "create user=anika service=GIT id=ID outcome=ok",
    "authenticate user=anika service=GIT id=ID outcome=ok",
    "authenticate user=anika service=GIT id=ID outcome=denied reason=wrong-secret",
    "ensure_user user=bo outcome=ok",
    "register_user user=bo outcome=EntityAlreadyExists",
    "rename_user user=anika new_name=bo outcome=EntityAlreadyExists",
    "user user=nobody outcome=NoSuchEntity",
    "list_users_page outcome=ok",
    "list user=anika outcome=ok",
    "list_page user=nobody outcome=NoSuchEntity",
    "list_page user=anika outcome=ValidationError",
    "list user=anika service=git.example.com outcome=NotSupportedService",
    "create user=anika service=GIT id=ID outcome=ok",
    "create user=anika service=GIT outcome=LimitExceeded",
    "set_status user=anika service=GIT id=ID outcome=ok",
    "set_status user=anika id=ID outcome=InvalidInput",
    "reset user=anika service=GIT id=ID outcome=ok",
    "credential user=anika service=GIT id=ID outcome=ok",
    "credential_by_name user=anika service=GIT id=ID outcome=ok",
    "credential_by_name service=GIT outcome=NoSuchEntity",
    "set_user_tags user=anika outcome=ok",
    "tag_user user=anika outcome=ok",
    "untag_user user=anika outcome=ok",
    "set_credential_tags user=anika service=GIT id=ID outcome=ok",
    "tag_credential user=anika service=GIT id=ID outcome=ok",
    "untag_credential user=anika service=GIT id=ID outcome=ok",
    "update_user user=bo new_name=ben outcome=ok",
    "update_user user=ben new_name=bo outcome=ok",
    "disable user=anika service=GIT id=ID outcome=ok",
    "disable_all user=anika outcome=ok",
    "fence user=anika outcome=ok",
    "delete user=anika service=GIT id=ID outcome=ok",
    "remove_user user=anika outcome=DeleteConflict",
    "remove_user_with_credentials user=anika outcome=ok",
    "create user=anika service=GIT outcome=ConcurrentModification",
    "register_user user=anika outcome=unknown cause=the disk is on fire",
    "register_user user=anika outcome=entropy cause=drained",
    "user user=bo outcome=unavailable cause=the disk is on fire",
];

/// What every operation logs, with every outcome.
fn every_operation() -> Vec<String> {
    let (iam, anika, order) = controlled();
    let drained =
        CredentialManager::builder(iam.account(), iam.store()).entropy(FailingEntropy).build();
    let bo: UserName = name("bo");
    let rejects = Arc::new(Mutex::new(false));
    let rejecting = Arc::clone(&rejects);
    let (stuck, _) = manager(HookedStore::new(move |asked: StoreCall<'_>| match asked {
        StoreCall::Commit(_) if *rejecting.lock().unwrap() => {
            HookAction::Return(CommitOutcome::Stale)
        }
        _ => HookAction::Proceed,
    }));
    stuck.register_user(&anika).unwrap();
    *rejects.lock().unwrap() = true;
    let unsure = HookedStore::new(|asked: StoreCall<'_>| match asked {
        StoreCall::Commit(_) => HookAction::FailAfterwards,
        StoreCall::Find | StoreCall::Scan(_) => HookAction::Proceed,
    });
    let (unsure, _) = manager(unsure);
    let ((), lines) = logged(|| {
        let issued = iam.create(&anika, &codecommit()).unwrap();
        let (id, login) = (issued.id(), issued.service_user_name().as_str());
        iam.authenticate(&codecommit(), login, issued.secret().expose()).unwrap();
        iam.authenticate(&codecommit(), login, "guess").unwrap_err();
        iam.ensure_user(&bo).unwrap();
        iam.register_user(&bo).unwrap_err();
        iam.rename_user(&anika, &bo).unwrap_err();
        iam.user(&name("nobody")).unwrap_err();
        iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).unwrap();
        iam.list(&anika).unwrap();
        iam.list_page(&ListRequest::of(name("nobody"))).unwrap_err();
        iam.list_page(&ListRequest::of(anika.clone()).marker(name::<Marker>("forged")))
            .unwrap_err();
        iam.list_for_service(&anika, &name("git.example.com")).unwrap_err();
        drop(iam.create(&anika, &codecommit()).unwrap());
        iam.create(&anika, &codecommit()).unwrap_err();
        iam.set_status(&anika, id, Status::Inactive).unwrap();
        iam.set_status(&anika, id, Status::Expired).unwrap_err();
        drop(iam.reset(&anika, id).unwrap());
        iam.credential(id).unwrap();
        iam.credential_by_name(&codecommit(), issued.service_user_name()).unwrap();
        iam.credential_by_name(&codecommit(), &name("nobody-at-123456789012")).unwrap_err();
        let tags = Tags::from_pairs([("team", "a")]).unwrap();
        iam.set_user_tags(&anika, &tags).unwrap();
        iam.tag_user(&anika, &tags).unwrap();
        iam.untag_user(&anika, &["team"]).unwrap();
        iam.set_credential_tags(&anika, id, &tags).unwrap();
        iam.tag_credential(&anika, id, &tags).unwrap();
        iam.untag_credential(&anika, id, &["team"]).unwrap();
        iam.update_user(&bo, &UpdateOptions::new().name(name("ben"))).unwrap();
        iam.update_user(&name("ben"), &UpdateOptions::new().name(bo.clone())).unwrap();
        iam.disable(id).unwrap();
        iam.disable_all(&anika).unwrap();
        iam.fence(&anika).unwrap();
        iam.delete(&anika, id).unwrap();
        iam.remove_user(&anika).unwrap_err();
        iam.remove_user_with_credentials(&anika).unwrap();
        stuck.create(&anika, &codecommit()).unwrap_err();
        unsure.register_user(&anika).unwrap_err();
        drained.register_user(&anika).unwrap_err();
        order(HookAction::Fail);
        iam.user(&bo).unwrap_err();
    });
    lines
}

#[test]
fn every_operation_emits_its_event() {
    let lines = every_operation();
    let id = Regex::new("ACCA[A-Z0-9]+").unwrap();
    for (line, expected) in lines.iter().zip(EVENTS) {
        let (level, line) = line.split_once(&format!(" {TARGET}: operation=")).unwrap();
        assert_eq!(level, if line.contains(" cause=") { "WARN" } else { "INFO" });
        let line = line.replace(" account=123456789012", "").replace('"', "");
        assert_eq!(id.replace_all(&line.replace(CODECOMMIT, "GIT"), "ID"), expected);
    }
    assert_eq!(lines.len(), EVENTS.len());
}

#[test]
fn every_operation_field_and_outcome_is_documented() {
    let lines = every_operation();
    let [mut fields, mut outcomes, mut operations] = [(); 3].map(|()| BTreeSet::new());
    for line in &lines {
        // The cause is last, and may contain anything.
        let (line, cause) = line.split_once(" cause=").unwrap_or((line, ""));
        fields.extend((!cause.is_empty()).then(|| "cause".to_owned()));
        for field in line.split(' ').filter_map(|word| word.split_once('=')) {
            let value = field.1.trim_matches('"').to_owned();
            match field.0 {
                "outcome" => drop(outcomes.insert(value)),
                "operation" => drop(operations.insert(value)),
                _ => {}
            }
            fields.insert(field.0.to_owned());
        }
    }
    let codes = [
        ErrorCode::ConcurrentModification,
        ErrorCode::DeleteConflict,
        ErrorCode::EntityAlreadyExists,
        ErrorCode::InvalidInput,
        ErrorCode::LimitExceeded,
        ErrorCode::NoSuchEntity,
        ErrorCode::NotSupportedService,
        ErrorCode::ValidationError,
    ];
    for code in codes {
        assert!(outcomes.remove(code.as_str()), "no test case fails with {code}");
    }
    outcomes.insert("an [ErrorCode](crate::ErrorCode)".to_owned());

    let document = include_str!("../../src/guides/events.md");
    let [documented_fields, documented_outcomes] = tables(document).try_into().unwrap();
    assert_eq!(fields, documented_fields);
    assert_eq!(outcomes, documented_outcomes);
    for operation in &operations {
        assert!(document.contains(&format!("`{operation}`")), "{operation}");
    }
    assert_eq!(operations.len(), 26);
    assert!(document.contains(&format!("`{TARGET}`")));
}
