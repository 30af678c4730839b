//! Random operations on a manager, compared step by step with a plain model of the documented API.
//!
//! `SSC_MODEL_OPERATIONS` sets the number of random operations on each store. By default a few
//! fixed sequences run. The result of each operation is compared. So is everything that is
//! observable: after each operation, or, in a long run on a server, after each sequence.

#[cfg(unix)]
use crate::common::Folder;
use crate::machine::{
    Command::{self, *},
    Compare, Pick, Shape, run,
};
use crate::progress::Run;
use crate::reference::{ACCOUNTS, At, BEDROCK, CASSANDRA, CODECOMMIT, Query, Tagging, UNSUPPORTED};
use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, RngSeed, TestRunner},
};
use service_specific_credentials::{
    MemoryStore, Policy, Status,
    store::{RedbStore, Store},
    testing::Fault,
};
use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Names that collide: in case, and in the service user names generated from them.
const NAMES: [&str; 6] = ["a", "A", "a+1", "a+2", "b", "B"];
const DAY: i64 = 86_400_000;

/// Runs the commands with both policies, each on a new store. Returns the service user names that
/// the default policy and the recorded policy generated.
fn both_policies<S: Store>(store: impl Fn() -> S, commands: &[Command]) -> [Vec<String>; 2] {
    [Policy::default(), Policy::recorded()]
        .map(|policy| run(store(), policy, commands, Compare::AfterEach).names)
}

/// The number of sequences with the same seed, on stores with the same origin.
const SEQUENCES: u32 = 300;

/// Runs random commands, each sequence on an empty store, until `operations` of them have run.
/// `origin` returns what empty stores are made with. A long run compares as `compare` says, a short
/// one after each operation.
fn random<S: Store, F: Fn() -> S>(
    store: &str,
    operations: u64,
    compare: Compare,
    origin: impl Fn() -> F + Sync,
) {
    let what = format!("operations on {store}");
    let run = Run::start(&what, "SSC_MODEL_OPERATIONS", operations);
    let compare = if run.is_long() { compare } else { Compare::AfterEach };
    let faults: u64 = run.each_seed(|seed| {
        let (empty_store, faults) = (origin(), Cell::new(0));
        let config = Config {
            cases: SEQUENCES,
            rng_seed: RngSeed::Fixed(seed),
            failure_persistence: None,
            ..Config::default()
        };
        let commands = prop::collection::vec(command(), 1..60);
        let policy = prop_oneof![Just(Policy::default()), Just(Policy::recorded())];
        let tested = TestRunner::new(config).run(&(policy, commands), |(policy, commands)| {
            if !run.is_done() {
                let ran = self::run(empty_store(), policy, &commands, compare);
                faults.set(faults.get() + ran.faults);
                run.advance(commands.len() as u64);
            }
            Ok(())
        });
        tested.unwrap_or_else(|error| panic!("{error}"));
        faults.get()
    });
    run.finish(format_args!("all results as in the model; {faults} faults injected"));
}

fn at() -> impl Strategy<Value = At> {
    prop_oneof![4 => Just(0), 1 => Just(1)]
}

fn name() -> impl Strategy<Value = &'static str> {
    select(&NAMES[..])
}

fn service() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        6 => Just(CODECOMMIT),
        3 => Just(BEDROCK),
        2 => Just(CASSANDRA),
        1 => Just(UNSUPPORTED),
    ]
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        8 => (0..4_usize).prop_map(Pick::Own),
        2 => (0..30_usize).prop_map(Pick::Issued),
        1 => Just(Pick::Unknown),
    ]
}

fn query() -> impl Strategy<Value = Query> {
    let days = || prop_oneof![3 => Just(None), 1 => (1..3_u32).prop_map(Some)];
    let service = prop_oneof![Just(None), service().prop_map(Some)];
    (at(), prop::option::of(name()), service, days(), days()).prop_map(
        |(at, user, service, days, secret_days)| Query { at, user, service, days, secret_days },
    )
}

fn path() -> impl Strategy<Value = &'static str> {
    select(&["/", "/a/", "/a/b/", "/ab/"][..])
}

/// Keys that differ in case, and none that do not exist.
fn tagging() -> impl Strategy<Value = Tagging> {
    const PAIRS: &[&[(&str, &str)]] =
        &[&[("t", "1")], &[("T", ""), ("u", "é")], &[("u", "2")], &[]];
    const KEYS: &[&[&str]] = &[&["t"], &["U", "v"], &[]];
    let pairs = || select(PAIRS);
    prop_oneof![
        2 => pairs().prop_map(Tagging::Set),
        4 => pairs().prop_map(Tagging::Add),
        2 => select(KEYS).prop_map(Tagging::Remove),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let status = || select(&[Status::Active, Status::Inactive, Status::Expired][..]);
    let shape = select(
        &[
            Shape::Whole,
            Shape::OtherPassword,
            Shape::UpperCaseAlias,
            Shape::Truncated,
            Shape::InnerPassword,
        ][..],
    );
    let size = || 1..4_u32;
    let fault = || select(&[Fault::CommitBefore, Fault::CommitAfter][..]);
    let moved = select(&[0, 1, -1, DAY - 1, DAY, 2 * DAY, -DAY][..]);
    prop_oneof![
        2 => (at(), name()).prop_map(|(at, name)| Register(at, name)),
        5 => (at(), name()).prop_map(|(at, name)| Ensure(at, name)),
        1 => (at(), name()).prop_map(|(at, name)| User(at, name)),
        1 => (at(), size()).prop_map(|(at, size)| Users(at, size)),
        4 => (at(), name(), name()).prop_map(|(at, name, new)| Rename(at, name, new)),
        1 => (at(), name(), path()).prop_map(|(at, name, path)| RegisterAt(at, name, path)),
        3 => (at(), name(), prop::option::of(name()), prop::option::of(path()))
            .prop_map(|(at, name, new, path)| Update(at, name, new, path)),
        1 => (at(), select(&["/", "/a", "/a/", "/c"][..]), size())
            .prop_map(|(at, prefix, size)| UsersAt(at, prefix, size)),
        2 => (at(), name(), tagging()).prop_map(|(at, name, tagging)| TagUser(at, name, tagging)),
        3 => (at(), name(), pick(), tagging())
            .prop_map(|(at, name, pick, tagging)| TagCredential(at, name, pick, tagging)),
        2 => (at(), name()).prop_map(|(at, name)| Remove(at, name)),
        1 => (at(), name()).prop_map(|(at, name)| RemoveWithCredentials(at, name)),
        10 => (at(), name(), service()).prop_map(|(at, name, service)| Create(at, name, service)),
        4 => (at(), name(), service(), 1..3_u32)
            .prop_map(|(at, name, service, days)| CreateWith(at, name, service, days)),
        4 => (at(), name(), pick()).prop_map(|(at, name, pick)| Reset(at, name, pick)),
        3 => (at(), name(), pick(), status())
            .prop_map(|(at, name, pick, status)| SetStatus(at, name, pick, status)),
        4 => (at(), name(), pick()).prop_map(|(at, name, pick)| Delete(at, name, pick)),
        2 => (at(), name(), pick()).prop_map(|(at, name, pick)| Disable(at, name, pick)),
        1 => (at(), name()).prop_map(|(at, name)| DisableAll(at, name)),
        3 => (at(), name(), service(), fault())
            .prop_map(|(at, name, service, fault)| CreateUnknown(at, name, service, fault)),
        2 => (at(), name(), pick(), fault())
            .prop_map(|(at, name, pick, fault)| ResetUnknown(at, name, pick, fault)),
        2 => (at(), name(), pick()).prop_map(|(at, name, pick)| Unreadable(at, name, pick)),
        1 => (at(), name()).prop_map(|(at, name)| List(at, name)),
        1 => (at(), name(), service())
            .prop_map(|(at, name, service)| ListForService(at, name, service)),
        2 => (query(), size()).prop_map(|(query, size)| Pages(query, size)),
        2 => (query(), size()).prop_map(|(query, size)| Page(query, size)),
        3 => size().prop_map(More),
        1 => query().prop_map(WrongQueryMarker),
        2 => (at(), service(), 0..30_usize, 0..30_usize)
            .prop_map(|(at, service, named, secret)| Authenticate(at, service, named, secret)),
        3 => (at(), service(), 0..30_usize, shape)
            .prop_map(|(at, service, key, shape)| AuthenticateKey(at, service, key, shape)),
        4 => moved.prop_map(Advance),
    ]
}

/// Service user names in the first account.
fn names(users: &[&str]) -> Vec<String> {
    users.iter().map(|user| format!("{user}-at-{}", ACCOUNTS[0])).collect()
}

#[test]
fn random_operations_in_memory_agree_with_the_model() {
    random("MemoryStore", 9_000, Compare::AfterEach, || MemoryStore::new);
}

#[test]
fn random_operations_on_a_file_agree_with_the_model() {
    let folder = Folder::new("model");
    let next = AtomicU64::new(0);
    random("RedbStore", 450, Compare::AfterEach, || {
        let path = folder.file(&format!("{}.redb", next.fetch_add(1, Relaxed)));
        move || {
            // The store of the previous sequence is closed.
            let _ = std::fs::remove_file(&path);
            RedbStore::create(&path).unwrap()
        }
    });
}

#[cfg(unix)]
#[test]
fn random_operations_in_a_database_agree_with_the_model() {
    use crate::database::{Blocking, shared, wait};
    use service_specific_credentials::store::{Isolation, PostgresOptions};

    let levels = [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable];
    let Some(server) = shared() else { return };
    random("PostgresStore", 1_000, Compare::AtTheEnd, || {
        let space = wait(server.space());
        let stores = levels.map(|level| {
            let options = PostgresOptions::new().isolation(level).max_connections(1);
            wait(space.store(&options))
        });
        let (client, turn) = (wait(space.client()), Cell::new(0));
        move || {
            // A sequence leaves a few rows, which `TRUNCATE` takes longer to remove.
            let empty = "DELETE FROM credential_keys; DELETE FROM credential_users";
            wait(client.batch_execute(empty)).unwrap();
            turn.set(turn.get() + 1);
            Blocking(stores[turn.get() % stores.len()].clone())
        }
    });
}

#[cfg(all(unix, feature = "dynamodb"))]
#[test]
fn random_operations_in_a_table_agree_with_the_model() {
    use crate::local::{Blocking, shared, wait};

    let Some(server) = shared() else { return };
    // Each sequence has its own table.
    random("DynamoDbStore", 360, Compare::AtTheEnd, || {
        || wait(async { Blocking(server.table().await.store()) })
    });
}

#[test]
fn equal_names_of_two_users_are_distinguished() {
    let [numbered, bare] = both_policies(
        MemoryStore::new,
        &[
            Register(0, "a"),
            Register(0, "a+1"),
            Create(0, "a+1", CODECOMMIT),
            Create(0, "a", CODECOMMIT),
            Create(0, "a", CODECOMMIT),
            Create(0, "a+1", CODECOMMIT),
            Create(0, "a", BEDROCK),
            Create(0, "a", BEDROCK),
            Create(0, "a+1", BEDROCK),
        ],
    );
    assert_eq!(numbered, names(&["a+1+1", "a+1", "a+2", "a+1+2", "a+1", "a+2", "a+1+1"]));
    assert_eq!(bare, names(&["a+1", "a", "a+2", "a+1+1", "a", "a+1", "a+1+1"]));
}

#[test]
fn a_name_kept_by_a_renamed_user_is_taken_in_any_spelling() {
    let [numbered, bare] = both_policies(
        MemoryStore::new,
        &[
            Register(0, "Anika"),
            Create(0, "anika", CODECOMMIT),
            Rename(0, "ANIKA", "b"),
            Register(0, "anika"),
            Create(0, "Anika", CODECOMMIT),
            Authenticate(0, CODECOMMIT, 0, 0),
            Authenticate(0, CODECOMMIT, 1, 0),
            List(0, "B"),
        ],
    );
    assert_eq!(numbered, names(&["Anika+1", "anika+2"]));
    assert_eq!(bare, names(&["Anika", "anika+1"]));
}

#[test]
fn a_new_user_with_a_reused_name_gets_the_next_names() {
    let [numbered, bare] = both_policies(
        MemoryStore::new,
        &[
            Register(0, "a"),
            Create(0, "a", CODECOMMIT),
            Rename(0, "a", "b"),
            Register(0, "a"),
            Create(0, "a", CODECOMMIT),
            Create(0, "b", CODECOMMIT),
            Delete(0, "b", Pick::Issued(0)),
            Create(0, "a", CODECOMMIT),
            Remove(0, "a"),
            RemoveWithCredentials(0, "a"),
            Create(0, "b", CODECOMMIT),
        ],
    );
    assert_eq!(numbered, names(&["a+1", "a+2", "b+1", "a+1", "b+2"]));
    assert_eq!(bare, names(&["a", "a+1", "b", "a", "b+1"]));
}

#[test]
fn users_can_swap_their_names_and_keep_their_credentials() {
    let [numbered, _] = both_policies(
        MemoryStore::new,
        &[
            Register(0, "a"),
            Register(0, "b"),
            Create(0, "a", CODECOMMIT),
            Create(0, "b", CODECOMMIT),
            Rename(0, "a", "b"),
            Rename(0, "a", "t"),
            Rename(0, "b", "a"),
            Rename(0, "t", "b"),
            Create(0, "a", CODECOMMIT),
            Create(0, "b", CODECOMMIT),
            Reset(0, "a", Pick::Issued(0)),
            Reset(0, "b", Pick::Issued(0)),
            List(0, "a"),
            List(0, "b"),
            Pages(Query::default(), 1),
        ],
    );
    assert_eq!(numbered, names(&["a+1", "b+1", "a+2", "b+2"]));
}

#[test]
fn respelling_a_user_changes_only_the_spelling_of_later_names() {
    let [numbered, bare] = both_policies(
        MemoryStore::new,
        &[
            Register(0, "a"),
            Create(0, "a", CODECOMMIT),
            Rename(0, "a", "A"),
            Rename(0, "a", "A"),
            User(0, "a"),
            Create(0, "a", CODECOMMIT),
            Create(0, "a", CASSANDRA),
            List(0, "a"),
        ],
    );
    assert_eq!(numbered, names(&["a+1", "A+2", "A+1"]));
    assert_eq!(bare, names(&["a", "A+1", "A"]));
}

#[test]
fn the_first_name_is_reused_after_both_are_deleted() {
    let [numbered, bare] = both_policies(
        MemoryStore::new,
        &[
            Register(0, "a"),
            Create(0, "a", CODECOMMIT),
            Create(0, "a", CODECOMMIT),
            Create(0, "a", CODECOMMIT),
            Delete(0, "a", Pick::Issued(0)),
            Delete(0, "a", Pick::Issued(1)),
            Create(0, "a", CODECOMMIT),
            Authenticate(0, CODECOMMIT, 0, 0),
        ],
    );
    assert_eq!(numbered, names(&["a+1", "a+2", "a+1"]));
    assert_eq!(bare, names(&["a", "a+1", "a"]));
}

#[test]
fn expired_credentials_count_and_can_only_be_deleted() {
    let [numbered, _] = both_policies(
        MemoryStore::new,
        &[
            Register(0, "a"),
            CreateWith(0, "a", CODECOMMIT, 1),
            CreateWith(0, "a", CODECOMMIT, 1),
            SetStatus(0, "a", Pick::Issued(0), Status::Inactive),
            Advance(DAY - 1),
            Reset(0, "a", Pick::Issued(0)),
            Advance(1),
            Create(0, "a", CODECOMMIT),
            Reset(0, "a", Pick::Issued(0)),
            SetStatus(0, "a", Pick::Issued(0), Status::Inactive),
            SetStatus(0, "a", Pick::Issued(0), Status::Expired),
            Remove(0, "a"),
            Advance(-1),
            SetStatus(0, "a", Pick::Issued(0), Status::Active),
            Advance(1),
            Delete(0, "a", Pick::Issued(0)),
            Create(0, "a", CODECOMMIT),
        ],
    );
    assert_eq!(numbered, names(&["a+1", "a+2", "a+1"]));
}

#[test]
fn a_clock_that_steps_back_orders_later_credentials_first() {
    let all = Query::default();
    both_policies(
        MemoryStore::new,
        &[
            Register(0, "a"),
            Create(0, "a", CODECOMMIT),
            Page(all.clone(), 1),
            Advance(-DAY),
            Create(0, "a", CODECOMMIT),
            Create(0, "a", CASSANDRA),
            Create(0, "a", BEDROCK),
            Page(all.clone(), 2),
            Advance(2 * DAY),
            Create(0, "a", CASSANDRA),
            More(1),
            More(1),
            Pages(all, 1),
        ],
    );
}

#[test]
fn well_over_64_taken_names_are_skipped() {
    let others: Vec<&str> = (0..35).map(|i| &*format!("u{i}").leak()).collect();
    let mut commands = Vec::new();
    for &other in &others {
        commands.extend([
            Register(0, "a"),
            Create(0, "a", CODECOMMIT),
            Create(0, "a", CODECOMMIT),
            Rename(0, "a", other),
        ]);
    }
    commands.extend([
        Register(0, "A"),
        Create(0, "a", CODECOMMIT),
        Create(0, "a", CASSANDRA),
        Delete(0, "u20", Pick::Own(0)),
        Create(0, "a", CODECOMMIT),
    ]);
    let [numbered, bare] = both_policies(MemoryStore::new, &commands);
    // A name that was freed in between is the lowest again, and is taken first.
    assert_eq!(numbered[70..72], names(&["A+71", "A+1"]));
    assert_eq!(bare[70..72], names(&["A+70", "A"]));
    assert!(["A+41", "A+42"].iter().any(|free| numbered[72] == names(&[free])[0]));
}
