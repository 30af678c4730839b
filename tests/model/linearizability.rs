//! Threads that ask at once are answered as if they had asked one after another.
//!
//! Random commands run on several threads. Then an order of them is searched for, in keeping with
//! which had returned before which was called, in which a plain model of the documented interface
//! gives the same answers and ends in the same state. Each set of commands is run many times: with
//! the threads let loose, and with the threads taking turns at every access to the store.
//!
//! `PROPTEST_CASES` sets how many random sets are run. Without it a few are, always the same.

use std::{collections::BTreeSet, panic::resume_unwind, sync::atomic::AtomicU64, thread};

use crate::common::{HookAction, HookedStore, dawn, manager};
use crate::history::{
    Answer, Caller,
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
use service_specific_credentials::{Policy, Status};

/// What happens first, and what then happens at once.
#[derive(Clone, Debug)]
struct Scenario {
    policy: Policy,
    first: Vec<Command>,
    threads: Vec<Vec<Command>>,
}

/// What was seen in many runs of a scenario.
#[derive(Default)]
struct Outcomes {
    /// The answers to the threads, in a few words.
    seen: BTreeSet<String>,
    /// Those that no strict order explains.
    loose: BTreeSet<String>,
}

impl Scenario {
    fn new<const N: usize>(policy: Policy, first: &[Command], threads: [&[Command]; N]) -> Self {
        let threads = threads.map(<[Command]>::to_vec).to_vec();
        Self { policy, first: first.to_vec(), threads }
    }

    /// Runs the scenario this many times in turns, and as many times freely. Every run must be
    /// explained.
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

    /// Carries everything out, and ends by looking at all there is to see.
    fn play(&self, pace: &Pace) -> Vec<Event> {
        let store = HookedStore::new(|_| {
            pace.pause();
            HookAction::Proceed
        });
        let (iam, _) = manager(store, self.policy.clone());
        let clock = AtomicU64::new(0);
        let mut first = Caller::new(&iam, &clock);
        self.first.iter().for_each(|command| first.call(command));
        let callers: Vec<_> = thread::scope(|scope| {
            let threads = self.threads.iter().enumerate().map(|(seat, commands)| {
                let mut caller = first.fork();
                scope.spawn(move || {
                    let _seat = pace.sit(seat);
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
        (0..last.known.len()).for_each(|place| last.call(&Authenticate(place)));
        events.extend(last.events);
        events
    }

    fn outcome(&self, events: &[Event]) -> String {
        let mut events = events[self.first.len()..].iter();
        let words = self.threads.iter().map(|thread| {
            let words = events.by_ref().take(thread.len()).map(|event| word(&event.answer));
            words.collect::<Vec<_>>().join(" ")
        });
        words.collect::<Vec<_>>().join(" | ")
    }
}

fn lines(events: &[Event]) -> String {
    let lines: Vec<_> = events.iter().map(|event| format!("{event:?}")).collect();
    lines.join("\n")
}

/// An answer in a word.
fn word(answer: &Answer) -> String {
    let short = |name: &str| name.split("-at-").next().unwrap().to_owned();
    match answer {
        Answer::User(user) => user.name.clone(),
        Answer::Issued(seen, _) | Answer::Who(_, _, seen) => short(&seen.name),
        Answer::Credentials(all) => format!("{}", all.len()),
        Answer::Users(all) => format!("{}", all.len()),
        Answer::Stranger(reason) => format!("{reason:?}"),
        Answer::Done => "Done".to_owned(),
        Answer::Refused(refused) => format!("{refused:?}").split('(').next().unwrap().to_owned(),
    }
}

/// How often the threads of each scenario run, in turns and freely.
const TIMES: u64 = 60;

/// Runs the scenario with each order of accesses to the store. Returns what the threads saw.
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
    let whose = || prop_oneof![2 => Just(None), 1 => name().prop_map(Some)];
    let status = select(&[Status::Active, Status::Inactive, Status::Expired][..]);
    let known = || 0..6_usize;
    prop_oneof![
        2 => name().prop_map(Register),
        4 => (name(), name()).prop_map(|(name, new)| Rename(name, new)),
        1 => name().prop_map(Remove),
        1 => name().prop_map(RemoveWithCredentials),
        6 => (name(), service()).prop_map(|(name, service)| Create(name, service)),
        3 => (whose(), known()).prop_map(|(whose, known)| Reset(whose, known)),
        2 => (whose(), known(), status)
            .prop_map(|(whose, known, status)| SetStatus(whose, known, status)),
        4 => (whose(), known()).prop_map(|(whose, known)| Delete(whose, known)),
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
fn random_commands_at_once_are_answered_as_if_one_came_after_another() {
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
fn of_two_that_create_for_the_last_place_one_succeeds() {
    let create = &[Create("a", CODECOMMIT)][..];
    let first = [Register("a"), Create("a", CODECOMMIT)];
    assert_eq!(
        outcomes(Policy::default(), &first, [create, create]),
        set(&["a+2 | LimitExceeded", "LimitExceeded | a+2"]),
    );
}

#[test]
fn a_credential_that_stands_throughout_is_never_said_not_to_exist() {
    let first =
        [Register("anika"), Register("bo"), Create("bo", CODECOMMIT), Create("bo", CODECOMMIT)];
    let swap = [Rename("anika", "t"), Rename("bo", "anika")];
    assert_eq!(
        outcomes(Policy::default(), &first, [&[Delete(Some("anika"), 0)], &swap]),
        // In turn before the swap, in the middle of it, and after it.
        set(&["CredentialOfAnotherUser | t anika", "NoSuchUser | t anika", "Done | t anika"]),
    );
}

#[test]
fn a_create_takes_a_name_that_was_the_lowest_while_it_ran() {
    let first = [Register("a"), Create("a", CODECOMMIT), Rename("a", "b"), Register("a")];
    let delete = &[Delete(Some("b"), 0)][..];
    assert_eq!(
        outcomes(Policy::default(), &first, [&[Create("a", CODECOMMIT)], delete]),
        set(&["a+1 | Done", "a+2 | Done"]),
    );
}

#[test]
fn a_create_may_pass_over_a_name_that_is_freed_while_it_runs() {
    let first = [Register("a"), Create("a", CODECOMMIT), Rename("a", "b"), Register("a")];
    let delete_and_look = &[Delete(Some("b"), 0), List("a")][..];
    let scenario =
        Scenario::new(Policy::default(), &first, [&[Create("a", CODECOMMIT)], delete_and_look]);
    let Outcomes { seen, loose } = scenario.run(TIMES);
    assert_eq!(seen, set(&["a+1 | Done 0", "a+1 | Done 1", "a+2 | Done 0", "a+2 | Done 1"]));
    // The name was seen to be free before the credential was there, and yet it was not taken.
    assert_eq!(loose, set(&["a+2 | Done 0"]));
}

#[test]
fn an_old_password_is_refused_from_the_moment_that_a_reset_returns() {
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
fn names_that_are_the_same_text_are_told_apart_while_users_are_renamed() {
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
fn one_credential_is_not_taken_away_twice() {
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

/// Whose a credential is takes a second look, and the user may be gone by then.
#[test]
fn no_such_credential_is_said_of_a_user_who_left_before_the_credential_did_at_worst() {
    let first = [Register("a"), Register("b"), Create("b", CODECOMMIT)];
    let leave = &[Remove("a"), Delete(Some("b"), 0)][..];
    let scenario = Scenario::new(Policy::default(), &first, [&[Delete(Some("a"), 0)], leave]);
    let Outcomes { seen, loose } = scenario.run(TIMES);
    let strict = set(&["CredentialOfAnotherUser | Done Done", "NoSuchUser | Done Done"]);
    assert!(strict.is_subset(&seen));
    assert!(loose.is_subset(&set(&["NoSuchCredential | Done Done"])), "{loose:?}");
}
