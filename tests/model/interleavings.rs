//! Every interleaving of two and of three operations over an async store.
//!
//! Each access to the store is a step. The futures of the operations are polled in every possible
//! order, and one of them is dropped after each of its steps. Then the test searches for an order
//! of the operations in which a plain model of the documented API returns the same results and ends
//! in the same state. An operation that was dropped was executed completely or had no effect.
//!
//! An operation is deterministic: what it does next depends only on what the store has returned to
//! it. Orders that lead to the same state, that is the same records in the store and the same
//! responses to each operation, therefore go on in the same ways. They are explored once.
//!
//! `SSC_INTERLEAVINGS` sets how many sets of three operations are explored, and `SSC_SEED` the
//! first.

use std::{
    collections::HashMap,
    future::poll_fn,
    hash::{DefaultHasher, Hash, Hasher as _},
    mem,
    num::NonZeroUsize,
    ops::{AddAssign, Bound},
    pin::{Pin, pin},
    sync::{Arc, Mutex, atomic::AtomicU64},
    task::{Context, Poll, Waker},
};

use service_specific_credentials::{
    AsyncCredentialManager, MemoryStore, Policy, Status,
    store::{
        AsyncStore, Change, CommitOutcome, Key, Listing, ScanRange, Store as _, StoreError,
        UserRecord,
    },
    testing::{FixedClock, SeededEntropy},
};

use crate::{
    common::{ACCOUNT, dawn, name},
    history::{
        CallResult, Caller,
        Command::{self, *},
        Event, Rule, explains,
    },
    progress::Run,
    reference::{CODECOMMIT, Model, milliseconds},
};

/// A store as one operation sees it. It waits before each access. It also waits after each commit,
/// so that an operation can be dropped before it learns the outcome.
#[derive(Debug)]
struct Stepped {
    inner: Arc<MemoryStore>,
    /// A hash of all steps and responses.
    seen: Mutex<DefaultHasher>,
}

impl Stepped {
    fn saw(&self, response: impl Hash) {
        response.hash(&mut *self.seen.lock().unwrap());
    }

    /// Is pending once.
    async fn step(&self) {
        self.saw("step");
        let mut waited = false;
        let pending_once = |_: &mut Context<'_>| {
            if mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
        };
        poll_fn(pending_once).await;
    }
}

impl AsyncStore for Stepped {
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.step().await;
        let found = self.inner.find(key)?;
        self.saw(found.as_ref().map(|record| record.encode()));
        Ok(found)
    }

    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.step().await;
        let outcome = self.inner.commit(change)?;
        self.saw(outcome);
        self.step().await;
        Ok(outcome)
    }

    async fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.step().await;
        let found = self.inner.scan(range)?;
        self.saw(encoded(&found));
        Ok(found)
    }
}

fn encoded(records: &[Arc<UserRecord>]) -> Vec<Vec<u8>> {
    records.iter().map(|record| record.encode()).collect()
}

type Manager = AsyncCredentialManager<Stepped>;

/// A manager whose random values are its own, so that they do not depend on what other operations
/// do.
fn manager(store: Stepped, policy: &Policy, seed: u64) -> Manager {
    AsyncCredentialManager::builder(name(ACCOUNT), store)
        .policy(policy.clone())
        .clock(FixedClock::new(dawn()))
        .entropy(SeededEntropy::new(seed))
        .build_async()
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Executes a command without an interruption.
fn execute(iam: &Manager, caller: &mut Caller<'_, Stepped>, command: &Command) {
    let call = caller.begin(command);
    let outcome = {
        let mut future = pin!(call.run(iam));
        loop {
            if let Poll::Ready(outcome) = poll(future.as_mut()) {
                break outcome;
            }
        }
    };
    caller.end(call, outcome);
}

/// What precedes the concurrent operations.
struct Scenario {
    policy: Policy,
    first: &'static [Command],
}

/// One operation is polled and, if it is pending then, perhaps dropped.
#[derive(Clone, Copy, Debug)]
struct Turn {
    operation: usize,
    dropped: bool,
}

/// Whether an operation still runs. A result depends on the responses alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Progress {
    Running,
    Returned,
    Dropped,
}

/// What the rest of the operations depends on.
#[derive(PartialEq, Eq, Hash)]
struct State {
    records: Vec<Vec<u8>>,
    /// How far each operation is, and a hash of what it has seen.
    operations: Vec<(Progress, u64)>,
}

/// Where a sequence of turns leads.
enum Position {
    Running(State),
    Over(Vec<Event>),
    /// The last turn drops an operation that has returned.
    Impossible,
}

#[derive(Clone, Copy, Default)]
struct Explored {
    orders: u128,
    states: usize,
}

impl AddAssign for Explored {
    fn add_assign(&mut self, other: Self) {
        self.orders += other.orders;
        self.states += other.states;
    }
}

/// Operations to run in every order. At most one of them is dropped.
struct Set<'a> {
    scenario: &'a Scenario,
    commands: Vec<&'a Command>,
}

impl Set<'_> {
    fn explore(&self) -> Explored {
        let mut orders_from = HashMap::new();
        let orders = self.explore_after(&mut Vec::new(), &mut orders_from);
        Explored { orders, states: orders_from.len() }
    }

    /// Explores what can follow these turns. Returns the number of orders.
    fn explore_after(&self, turns: &mut Vec<Turn>, orders_from: &mut HashMap<State, u128>) -> u128 {
        let state = match self.play(turns) {
            Position::Running(state) => state,
            Position::Impossible => return 0,
            Position::Over(events) => {
                let policy = &self.scenario.policy;
                let start = Model::new(milliseconds(dawn()), policy.numbering());
                let explained = explains(&start, &events, Rule::Loose);
                assert!(explained, "no order explains\n{turns:?}\n{events:#?}");
                return 1;
            }
        };
        if let Some(&orders) = orders_from.get(&state) {
            return orders;
        }
        let may_drop = state.operations.iter().all(|(progress, _)| *progress != Progress::Dropped);
        let mut orders = 0;
        for (operation, (progress, _)) in state.operations.iter().enumerate() {
            if *progress == Progress::Running {
                for &dropped in if may_drop { &[false, true][..] } else { &[false] } {
                    turns.push(Turn { operation, dropped });
                    orders += self.explore_after(turns, orders_from);
                    turns.pop();
                }
            }
        }
        orders_from.insert(state, orders);
        orders
    }

    fn play(&self, turns: &[Turn]) -> Position {
        let (store, policy) = (Arc::new(MemoryStore::new()), &self.scenario.policy);
        let manager = |seed| {
            let store = Stepped { inner: Arc::clone(&store), seen: Mutex::default() };
            manager(store, policy, seed)
        };
        let (iam, clock) = (manager(0), AtomicU64::new(0));
        let mut caller = Caller::new(&iam, &clock);
        for command in self.scenario.first {
            execute(&iam, &mut caller, command);
        }

        let managers: Vec<_> = (1..).take(self.commands.len()).map(manager).collect();
        // What each operation knows is what was known before all of them.
        let calls: Vec<_> = self.commands.iter().map(|command| caller.begin(command)).collect();
        let mut futures: Vec<_> = calls
            .iter()
            .zip(&managers)
            .map(|(call, iam)| (Progress::Running, Box::pin(call.run(iam))))
            .collect();
        for (index, turn) in turns.iter().enumerate() {
            let (progress, future) = &mut futures[turn.operation];
            let outcome = match poll(future.as_mut()) {
                // This is the turn that does not drop it.
                Poll::Ready(_) if turn.dropped => {
                    assert_eq!(index + 1, turns.len(), "the operations are not deterministic");
                    return Position::Impossible;
                }
                Poll::Ready(outcome) => {
                    *progress = Progress::Returned;
                    outcome
                }
                // To drop it later makes no difference: between its steps it does nothing.
                Poll::Pending if turn.dropped => {
                    *progress = Progress::Dropped;
                    CallResult::Cancelled
                }
                Poll::Pending => continue,
            };
            caller.end(calls[turn.operation].clone(), outcome);
        }

        if futures.iter().any(|(progress, _)| *progress == Progress::Running) {
            let all =
                ScanRange::new(name(ACCOUNT), Listing::Users, Bound::Unbounded, NonZeroUsize::MAX);
            let records = store.scan(&all).unwrap();
            let operations = futures.iter().zip(&managers);
            let operations = operations
                .map(|((progress, _), iam)| (*progress, iam.store().seen.lock().unwrap().finish()));
            let operations = operations.collect();
            return Position::Running(State { records: encoded(&records), operations });
        }
        drop(futures);
        execute(&iam, &mut caller, &Users);
        execute(&iam, &mut caller, &All);
        for index in 0..caller.known.len() {
            execute(&iam, &mut caller, &Authenticate(index));
        }
        Position::Over(caller.events)
    }
}

/// All multisets of operations of this size.
fn multisets(commands: &[Command], size: usize) -> Vec<Vec<&Command>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let starts = (0..commands.len()).flat_map(|start| {
        let rest = multisets(&commands[start..], size - 1);
        rest.into_iter().map(move |mut chosen| {
            chosen.push(&commands[start]);
            chosen
        })
    });
    starts.collect()
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

impl Scenario {
    /// All sets of this many of the commands, each of which may occur more than once.
    fn sets<'a>(&'a self, commands: &'a [Command], size: usize) -> impl Iterator<Item = Set<'a>> {
        let sets = multisets(commands, size).into_iter();
        sets.map(move |commands| Set { scenario: self, commands })
    }
}

#[test]
fn every_interleaving_of_two_operations_is_linearizable() {
    let mut explored = Explored::default();
    for (scenario, commands) in scenarios() {
        for set in scenario.sets(commands, 2) {
            explored += set.explore();
        }
    }
    let Explored { orders, states } = explored;
    assert!(orders > 1_000_000 && states > 10_000, "{orders} orders, {states} states");
}

#[test]
fn every_interleaving_of_three_operations_is_linearizable() {
    let scenarios: Vec<_> = scenarios().collect();
    let sets: Vec<_> =
        scenarios.iter().flat_map(|(scenario, commands)| scenario.sets(commands, 3)).collect();
    let run = Run::start("sets of operations", "SSC_INTERLEAVINGS", 2);
    let Explored { orders, states } = run.each_seed(|seed| {
        let set = usize::try_from(seed).unwrap() % sets.len();
        let explored = sets[set].explore();
        run.advance(1);
        explored
    });
    let all = sets.len();
    run.finish(format_args!("all as in the model, {orders} orders, {states} states, {all} sets"));
}
