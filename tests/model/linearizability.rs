//! Concurrent operations are linearizable.
//!
//! Random commands run on several threads. Then the test searches for an order of them that
//! respects real time, in which a plain model of the documented API returns the same results and
//! ends in the same state. Each set of commands runs many times: freely, and with the threads
//! taking turns at every access to the store.
//!
//! `PROPTEST_CASES` sets the number of random sets. By default a few fixed ones run.

use std::{collections::BTreeSet, panic::resume_unwind, sync::atomic::AtomicU64, thread};

use crate::common::{HookAction, HookedStore, async_manager, dawn};
use crate::history::{
    CallResult, Caller,
    Command::{self, *},
    Event, Rule, explains,
};
use crate::reference::{BEDROCK, CODECOMMIT, Model, milliseconds};
use crate::turns::Pace;
use proptest::{
    prelude::*,
    sample::{select, subsequence},
    test_runner::{Config, RngSeed, TestRunner},
};
use service_specific_credentials::{Policy, Status, store::SyncAdapter};

/// Sequential commands, and the concurrent commands that follow.
#[derive(Clone, Debug)]
struct Scenario {
    policy: Policy,
    first: Vec<Command>,
    threads: Vec<Vec<Command>>,
}

/// The observations of many runs of a scenario.
#[derive(Default)]
struct Outcomes {
    /// The results of the threads, abbreviated.
    seen: BTreeSet<String>,
    /// The results that no strict order explains.
    loose: BTreeSet<String>,
}

impl Scenario {
    fn new<const N: usize>(policy: Policy, first: &[Command], threads: [&[Command]; N]) -> Self {
        let threads = threads.map(<[Command]>::to_vec).to_vec();
        Self { policy, first: first.to_vec(), threads }
    }

    /// Runs the scenario `times` times in turns, and as often freely. Every run must be explained.
    fn run(&self, times: u64) -> Outcomes {
        let mut outcomes = Outcomes::default();
        let threads = self.threads.len();
        let turns = (0..times).map(|seed| Pace::turns(threads, seed));
        let free = (0..times).map(|_| Pace::free(threads));
        for pace in turns.chain(free) {
            let events = self.play(&pace);
            let start = Model::new(milliseconds(dawn()), self.policy.numbering());
            let outcome = self.outcome(&events);
            if !explains(&start, &events, Rule::Strict) {
                assert!(
                    explains(&start, &events, Rule::Loose),
                    "no order explains\n{}",
                    lines(&events)
                );
                outcomes.loose.insert(outcome.clone());
            }
            outcomes.seen.insert(outcome);
        }
        outcomes
    }

    /// Runs all commands, and finally reads everything that is observable.
    fn play(&self, pace: &Pace) -> Vec<Event> {
        let store = HookedStore::new(|_| {
            pace.pause();
            HookAction::Proceed
        });
        let iam = async_manager(SyncAdapter::new(store), self.policy.clone());
        let clock = AtomicU64::new(0);
        let mut first = Caller::new(&iam, &clock);
        self.first.iter().for_each(|command| first.call(command));
        let callers: Vec<_> = thread::scope(|scope| {
            let threads = self.threads.iter().enumerate().map(|(thread, commands)| {
                let mut caller = first.fork();
                scope.spawn(move || {
                    let _seat = pace.start(thread);
                    for command in commands {
                        pace.pause();
                        caller.call(command);
                    }
                    caller
                })
            });
            let threads: Vec<_> = threads.collect();
            let join = |thread: thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        });
        let mut last = first.fork();
        let mut events = first.events;
        for caller in callers {
            last.known.extend_from_slice(&caller.known[first.known.len()..]);
            events.extend(caller.events);
        }
        last.call(&Users);
        last.call(&All);
        (0..last.known.len()).for_each(|index| last.call(&Authenticate(index)));
        events.extend(last.events);
        events
    }

    fn outcome(&self, events: &[Event]) -> String {
        let mut events = events[self.first.len()..].iter();
        let words = self.threads.iter().map(|thread| {
            let words = events.by_ref().take(thread.len()).map(|event| word(&event.outcome));
            words.collect::<Vec<_>>().join(" ")
        });
        words.collect::<Vec<_>>().join(" | ")
    }
}

fn lines(events: &[Event]) -> String {
    let lines: Vec<_> = events.iter().map(|event| format!("{event:?}")).collect();
    lines.join("\n")
}

/// A result in one word.
fn word(outcome: &CallResult) -> String {
    let short = |name: &str| name.split("-at-").next().unwrap().to_owned();
    match outcome {
        CallResult::User(user) => user.name.clone(),
        CallResult::Issued(seen, _) | CallResult::Authenticated(_, _, seen) => short(&seen.name),
        CallResult::Credentials(all) => format!("{}", all.len()),
        CallResult::Users(all) => format!("{}", all.len()),
        CallResult::Denied(reason) => format!("{reason:?}"),
        CallResult::Done => "Done".to_owned(),
        CallResult::Cancelled => "Cancelled".to_owned(),
        CallResult::Failed(error) => format!("{error:?}").split('(').next().unwrap().to_owned(),
    }
}

/// The number of runs of each scenario, in turns and freely.
const TIMES: u64 = 60;

/// Runs the scenario with many orders of accesses to the store. Returns the observations.
fn outcomes<const N: usize>(
    policy: Policy,
    first: &[Command],
    threads: [&[Command]; N],
) -> BTreeSet<String> {
    let Outcomes { seen, loose } = Scenario::new(policy, first, threads).run(TIMES);
    assert_eq!(loose, BTreeSet::new(), "no strict order explains these");
    seen
}

fn set(outcomes: &[&str]) -> BTreeSet<String> {
    outcomes.iter().map(ToString::to_string).collect()
}

fn name() -> impl Strategy<Value = &'static str> {
    select(&["a", "A", "a+1", "b"][..])
}

fn service() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just(CODECOMMIT), 1 => Just(BEDROCK)]
}

fn command() -> impl Strategy<Value = Command> {
    let user_name = || prop_oneof![2 => Just(None), 1 => name().prop_map(Some)];
    let status = select(&[Status::Active, Status::Inactive, Status::Expired][..]);
    let known = || 0..6_usize;
    prop_oneof![
        2 => name().prop_map(Register),
        4 => (name(), name()).prop_map(|(name, new)| Rename(name, new)),
        1 => name().prop_map(Remove),
        1 => name().prop_map(RemoveWithCredentials),
        6 => (name(), service()).prop_map(|(name, service)| Create(name, service)),
        3 => (user_name(), known()).prop_map(|(user_name, known)| Reset(user_name, known)),
        2 => (user_name(), known(), status)
            .prop_map(|(user_name, known, status)| SetStatus(user_name, known, status)),
        4 => (user_name(), known()).prop_map(|(user_name, known)| Delete(user_name, known)),
        2 => name().prop_map(List),
        2 => known().prop_map(Authenticate),
    ]
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let policy = prop_oneof![Just(Policy::default()), Just(Policy::recorded())];
    let registered = subsequence(vec![Register("a"), Register("a+1"), Register("b")], 1..=3);
    let created = prop::collection::vec(
        (name(), service()).prop_map(|(name, service)| Create(name, service)),
        0..4,
    );
    let more = prop::collection::vec(command(), 0..3);
    let swap =
        (name(), name()).prop_map(|(a, b)| vec![Rename(a, "t"), Rename(b, a), Rename("t", b)]);
    let thread = prop_oneof![4 => prop::collection::vec(command(), 1..=3), 1 => swap];
    let threads = prop::collection::vec(thread, 2..=3);
    (policy, registered, created, more, threads).prop_map(
        |(policy, registered, created, more, threads)| Scenario {
            policy,
            first: [registered, created, more].concat(),
            threads,
        },
    )
}

#[test]
fn random_concurrent_commands_are_linearizable() {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 100;
        config.rng_seed = RngSeed::Fixed(7);
    }
    let tested = TestRunner::new(config).run(&scenario(), |scenario| {
        scenario.run(8);
        Ok(())
    });
    tested.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn of_two_concurrent_creations_below_the_limit_one_succeeds() {
    let create = &[Create("a", CODECOMMIT)][..];
    let first = [Register("a"), Create("a", CODECOMMIT)];
    assert_eq!(
        outcomes(Policy::default(), &first, [create, create]),
        set(&["a+2 | LimitExceeded", "LimitExceeded | a+2"]),
    );
}

#[test]
fn a_credential_that_exists_throughout_is_never_reported_as_missing() {
    let first =
        [Register("anika"), Register("bo"), Create("bo", CODECOMMIT), Create("bo", CODECOMMIT)];
    let swap = [Rename("anika", "t"), Rename("bo", "anika")];
    assert_eq!(
        outcomes(Policy::default(), &first, [&[Delete(Some("anika"), 0)], &swap]),
        // The reset runs before the swap, in the middle of it, or after it.
        set(&["CredentialOfAnotherUser | t anika", "NoSuchUser | t anika", "Done | t anika"]),
    );
}

#[test]
fn a_creation_takes_a_name_that_was_the_lowest_during_the_call() {
    let first = [Register("a"), Create("a", CODECOMMIT), Rename("a", "b"), Register("a")];
    let delete = &[Delete(Some("b"), 0)][..];
    assert_eq!(
        outcomes(Policy::default(), &first, [&[Create("a", CODECOMMIT)], delete]),
        set(&["a+1 | Done", "a+2 | Done"]),
    );
}

#[test]
fn a_creation_may_skip_a_name_that_is_freed_during_the_call() {
    let first = [Register("a"), Create("a", CODECOMMIT), Rename("a", "b"), Register("a")];
    let delete_and_look = &[Delete(Some("b"), 0), List("a")][..];
    let scenario =
        Scenario::new(Policy::default(), &first, [&[Create("a", CODECOMMIT)], delete_and_look]);
    let Outcomes { seen, loose } = scenario.run(TIMES);
    assert_eq!(seen, set(&["a+1 | Done 0", "a+1 | Done 1", "a+2 | Done 0", "a+2 | Done 1"]));
    // The name was free when it was checked, before the credential existed, but was not taken.
    assert_eq!(loose, set(&["a+2 | Done 0"]));
}

#[test]
fn an_old_password_is_denied_once_a_reset_has_returned() {
    let first = [Register("a"), Create("a", CODECOMMIT)];
    let reset = &[Reset(Some("a"), 0), Authenticate(0), Authenticate(1)][..];
    let present = &[Authenticate(0), Authenticate(0)][..];
    assert_eq!(
        outcomes(Policy::default(), &first, [reset, present]),
        set(&[
            "a+1 WrongSecret a+1 | a+1 a+1",
            "a+1 WrongSecret a+1 | a+1 WrongSecret",
            "a+1 WrongSecret a+1 | WrongSecret WrongSecret",
        ]),
    );
}

#[test]
fn equal_names_of_two_users_are_distinguished_during_renames() {
    let first = [Register("a"), Register("a+1"), Create("a", CODECOMMIT)];
    let threads: [&[Command]; 3] = [
        &[Create("a", CODECOMMIT)],
        &[Create("a+1", CODECOMMIT)],
        &[Rename("a", "b"), Rename("a+1", "a")],
    ];
    assert_eq!(
        outcomes(Policy::recorded(), &first, threads),
        set(&[
            "NoSuchUser | NoSuchUser | b a",
            "NoSuchUser | a+1 | b a",
            "a+1 | NoSuchUser | b a",
            "a+1 | a+1+1 | b a",
            "a+2 | a+1 | b a",
        ]),
    );
}

#[test]
fn a_credential_is_deleted_only_once() {
    let first = [Register("a"), Create("a", CODECOMMIT)];
    assert_eq!(
        outcomes(
            Policy::default(),
            &first,
            [
                &[Delete(None, 0)],
                &[RemoveWithCredentials("a")],
                &[SetStatus(None, 0, Status::Inactive)]
            ],
        ),
        set(&[
            "Done | 0 | Done",
            "Done | 0 | NoSuchCredential",
            "Done | 0 | NoSuchUser",
            "NoSuchUser | 1 | Done",
            "NoSuchUser | 1 | NoSuchUser",
        ]),
    );
}

/// Finding the owner of a credential takes a second read, and the user may be removed by then.
#[test]
fn no_such_credential_may_be_reported_for_a_user_removed_during_the_call() {
    let first = [Register("a"), Register("b"), Create("b", CODECOMMIT)];
    let leave = &[Remove("a"), Delete(Some("b"), 0)][..];
    let scenario = Scenario::new(Policy::default(), &first, [&[Delete(Some("a"), 0)], leave]);
    let Outcomes { seen, loose } = scenario.run(TIMES);
    let strict = set(&["CredentialOfAnotherUser | Done Done", "NoSuchUser | Done Done"]);
    assert!(strict.is_subset(&seen));
    assert!(loose.is_subset(&set(&["NoSuchCredential | Done Done"])), "{loose:?}");
}
