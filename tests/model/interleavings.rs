//! Every interleaving of two and of three operations over an async store.
//!
//! Each access to the store is a step. An executor polls the futures of the operations in every
//! possible order, and drops one of them after each of its steps. Then the test searches for an
//! order of the operations in which a plain model of the documented API returns the same results
//! and ends in the same state. An operation that was dropped was executed completely or not at all.
//!
//! `SSC_INTERLEAVINGS=3` adds all triples of operations, and all pairs of which one is dropped.

use std::{
    env,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll, Waker},
};

use service_specific_credentials::{
    AsyncCredentialManager, MemoryStore, Policy, Status,
    store::{
        AsyncStore, Change, CommitOutcome, Key, ScanRange, Store as _, StoreError, UserRecord,
    },
};

use crate::{
    common::{async_manager, dawn},
    history::{
        CallResult, Caller,
        Command::{self, *},
        Event, Rule, explains,
    },
    reference::{CODECOMMIT, Model, milliseconds},
};

/// A store that waits before each access. If operations are dropped, it also waits after each
/// commit, so that one can be dropped before it learns the outcome.
#[derive(Debug)]
struct Stepped {
    inner: MemoryStore,
    drops: Drops,
}

/// Is pending once.
async fn step() {
    let mut waited = false;
    poll_fn(|_| if mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

impl AsyncStore for Stepped {
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        step().await;
        self.inner.find(key)
    }

    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        step().await;
        let outcome = self.inner.commit(change);
        if self.drops == Drops::One {
            step().await;
        }
        outcome
    }

    async fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        step().await;
        self.inner.scan(range)
    }
}

/// Enumerates sequences of choices, depth first.
#[derive(Default)]
struct Choices {
    /// The choices of this sequence, and the number of options of each.
    path: Vec<(usize, usize)>,
    next: usize,
}

impl Choices {
    fn choose(&mut self, options: usize) -> usize {
        if self.next == self.path.len() {
            self.path.push((0, options));
        }
        let (chosen, expected) = self.path[self.next];
        assert_eq!(options, expected, "the operations are not deterministic");
        self.next += 1;
        chosen
    }

    /// Goes to the next sequence. `false` if there is none.
    fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((chosen, options)) = self.path.pop() {
            if chosen + 1 < options {
                self.path.push((chosen + 1, options));
                return true;
            }
        }
        false
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    loop {
        if let Poll::Ready(output) = poll(future.as_mut()) {
            return output;
        }
    }
}

/// What precedes the concurrent operations.
struct Scenario {
    policy: Policy,
    first: &'static [Command],
}

/// Whether one of the operations is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drops {
    None,
    One,
}

impl Scenario {
    /// Runs the operations in every order, and returns the number of orders.
    fn explore(&self, commands: &[&Command], drops: Drops) -> usize {
        let start = Model::new(milliseconds(dawn()), self.policy.numbering());
        let mut choices = Choices::default();
        let mut orders = 0;
        loop {
            let events = self.play(commands, drops, &mut choices);
            assert!(explains(&start, &events, Rule::Loose), "no order explains\n{events:#?}");
            orders += 1;
            if !choices.advance() {
                return orders;
            }
        }
    }

    fn play(&self, commands: &[&Command], drops: Drops, choices: &mut Choices) -> Vec<Event> {
        let iam = async_manager(Stepped { inner: MemoryStore::new(), drops }, self.policy.clone());
        let clock = AtomicU64::new(0);
        let mut caller = Caller::new(&iam, &clock);
        for command in self.first {
            execute(&iam, &mut caller, command);
        }

        // What each operation knows is what was known before all of them.
        let calls: Vec<_> = commands.iter().map(|command| caller.begin(command)).collect();
        let mut running: Vec<_> =
            calls.iter().map(|call| (call, Box::pin(call.run(&iam)))).collect();
        let mut may_drop = drops == Drops::One;
        while !running.is_empty() {
            let index = choices.choose(running.len());
            let (call, future) = &mut running[index];
            let outcome = match poll(future.as_mut()) {
                Poll::Ready(outcome) => outcome,
                // To drop it later makes no difference: between its steps it does nothing.
                Poll::Pending if may_drop && choices.choose(2) == 1 => {
                    may_drop = false;
                    CallResult::Cancelled
                }
                Poll::Pending => continue,
            };
            let call = call.clone();
            drop(running.remove(index));
            caller.end(call, outcome);
        }

        execute(&iam, &mut caller, &Users);
        execute(&iam, &mut caller, &All);
        for index in 0..caller.known.len() {
            execute(&iam, &mut caller, &Authenticate(index));
        }
        caller.events
    }

    /// Explores all multisets of operations of this size.
    fn explore_all(&self, commands: &[Command], size: usize, drops: Drops) -> usize {
        fn choose(commands: &[Command], size: usize) -> Vec<Vec<&Command>> {
            if size == 0 {
                return vec![Vec::new()];
            }
            let starts = (0..commands.len()).flat_map(|start| {
                let rest = choose(&commands[start..], size - 1);
                rest.into_iter().map(move |mut chosen| {
                    chosen.push(&commands[start]);
                    chosen
                })
            });
            starts.collect()
        }
        choose(commands, size).iter().map(|commands| self.explore(commands, drops)).sum()
    }
}

fn execute(
    iam: &AsyncCredentialManager<Stepped>,
    caller: &mut Caller<'_, Stepped>,
    command: &Command,
) {
    let call = caller.begin(command);
    let outcome = wait(call.run(iam));
    caller.end(call, outcome);
}

/// The operations on one record.
const ON_ONE_RECORD: [Command; 9] = [
    Create("a", CODECOMMIT),
    Reset(None, 0),
    SetStatus(None, 0, Status::Inactive),
    Delete(None, 0),
    Rename("a", "b"),
    Remove("a"),
    RemoveWithCredentials("a"),
    List("a"),
    Authenticate(0),
];

/// Operations on two records that compete for the name of a user, and for a service user name: `b`
/// was called `a`, and has the credential of that name.
const ON_TWO_RECORDS: [Command; 8] = [
    Create("a", CODECOMMIT),
    Create("b", CODECOMMIT),
    Delete(None, 0),
    Rename("a", "c"),
    Rename("b", "c"),
    Rename("b", "a"),
    Register("c"),
    RemoveWithCredentials("b"),
];

fn scenarios() -> impl Iterator<Item = (Scenario, &'static [Command])> {
    let one: &[Command] = &[Register("a"), Create("a", CODECOMMIT)];
    let two: &[Command] =
        &[Register("a"), Create("a", CODECOMMIT), Rename("a", "b"), Register("a")];
    let policies = [Policy::default(), Policy::recorded()].into_iter();
    policies.flat_map(move |policy| {
        [
            (Scenario { policy: policy.clone(), first: one }, &ON_ONE_RECORD[..]),
            (Scenario { policy, first: two }, &ON_TWO_RECORDS[..]),
        ]
    })
}

#[test]
fn every_interleaving_of_two_operations_is_linearizable() {
    let orders: usize = scenarios()
        .map(|(scenario, commands)| scenario.explore_all(commands, 2, Drops::None))
        .sum();
    println!("{orders} orders of pairs");
    assert!(orders > 2_000, "{orders}");
}

#[test]
fn an_operation_that_is_dropped_was_executed_or_not() {
    let (scenario, commands) = scenarios().next().unwrap();
    // The first four: a creation, a reset, a change of status and a deletion.
    let orders = scenario.explore_all(&commands[..4], 2, Drops::One);
    println!("{orders} orders of pairs, of which one operation may be dropped");
    assert!(orders > 1_000, "{orders}");
}

#[test]
fn every_interleaving_of_three_operations_is_linearizable() {
    if env::var("SSC_INTERLEAVINGS").is_ok_and(|size| size == "3") {
        for (scenario, commands) in scenarios() {
            let triples = scenario.explore_all(commands, 3, Drops::None);
            let dropped = scenario.explore_all(commands, 2, Drops::One);
            println!("{triples} orders of triples of {} operations", commands.len());
            println!("{dropped} orders of pairs, of which one operation may be dropped");
        }
    }
}
