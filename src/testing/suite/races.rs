//! Obligations under concurrency: many threads, or many futures, use one store.

use std::{
    num::NonZeroUsize,
    ops::Bound,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};

use super::{
    drive::wait,
    subject::{ALL, Checked, Fault, Subject, ensure, state, states},
    world::{GIT, GIT_COM, MAIL, World, after, delete, delete_last, remove, rename, service, user},
};
use crate::{
    names::user_name::UserName,
    record::{
        UserRecord,
        key::{Key, Listing},
    },
    store::{
        AsyncStore,
        CommitOutcome::{self, Applied, KeyTaken, Stale},
        change::Change,
    },
};

const THREADS: usize = 8;
const ROUNDS: usize = 40;

/// Polls `future` a number of times, regardless of wake-ups.
fn poll<T>(mut future: Pin<&mut impl Future<Output = T>>, times: usize) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    (0..times).find_map(|_| match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    })
}

pub(super) fn dropped_commits_are_atomic<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    for (round, polls) in (0..4).cycle().take(ROUNDS).enumerate() {
        let name = |who: &str| format!("{who}{round}");
        let (a, b) = (world.register(&name("a")), world.register(&name("b")));
        subject.applies([&a, &b])?;
        let created = world.create(after(&a), GIT);
        subject.applies([&created])?;
        let dropped = rename(after(&created), &name("d"));
        let others = world.create(after(&b), GIT);

        // Another commit is in flight on the same thread.
        let mut other = pin!(subject.store().commit(&others));
        let begun = poll(other.as_mut(), 1);
        drop(poll(pin!(subject.store().commit(&dropped)), polls));
        let outcome = begun.map_or_else(|| wait(other), Ok)?;
        let outcome = outcome.map_err(|error| Fault(format!("`commit` failed: {error}")))?;
        ensure(outcome == Applied, || {
            format!("another commit had the outcome {outcome:?} after one was dropped")
        })?;
        subject.keeps(after(&others))?;

        // The outcome is unknown. After the next change of the record, it has been applied or never
        // will be.
        let next = rename(after(&created), &name("c"));
        let now = match subject.commit(&next)? {
            Applied => after(&next),
            Stale => after(&dropped),
            KeyTaken => {
                return Err(Fault("a free name is taken after a commit was dropped".to_owned()));
            }
        };
        subject.keeps(now)?;
        let mut others = dropped.released().chain(dropped.claimed()).filter(|key| !now.holds(key));
        others.try_for_each(|key| subject.finds_nothing(&key))?;
        let last = remove(now);
        subject.applies([&last])?;
    }
    Ok(())
}

/// The progress of one writing thread and several reading threads.
#[derive(Default)]
struct Progress {
    made: AtomicU64,
    read: AtomicU64,
    done: AtomicBool,
}

/// Ends all threads when one of them ends, also by a fault or a panic.
struct EndsAll<'a>(&'a AtomicBool);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

impl Progress {
    /// Runs a writing thread, step by step, and reading threads, until there were enough of both.
    fn while_writing<S: AsyncStore>(
        &self,
        subject: &Subject<'_, S>,
        write: impl Fn(u64) -> Checked + Sync,
        read: impl Fn() -> Checked + Sync,
    ) -> Checked {
        const STEPS: u64 = 200;
        const READS: u64 = 200;
        let is_done = || self.done.load(SeqCst);
        let write_all = || {
            let mut steps = (0..)
                .take_while(|&step| !is_done() && (step < STEPS || self.read.load(SeqCst) < READS));
            steps.try_for_each(&write)
        };
        let read_all = || {
            while !is_done() {
                read()?;
                self.read.fetch_add(1, SeqCst);
            }
            Ok(())
        };
        let act = |place| {
            let _ends = EndsAll(&self.done);
            if place == 0 { write_all() } else { read_all() }
        };
        subject.race(4, act).map(drop)
    }
}

pub(super) fn reads_see_changes<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let registered = world.register("anika");
    let created = world.create(after(&registered), GIT);
    subject.applies([&registered, &created])?;
    let start = after(&created);
    let at = &service(GIT);
    let progress = Progress::default();
    let now = Now::new(start);
    progress.made.store(start.revision().count(), SeqCst);

    let write = |_| {
        let change = now.step(|now| world.reset(now));
        subject.applies([&change])?;
        progress.made.store(after(&change).revision().count(), SeqCst);
        Ok(())
    };
    let read = || {
        let recent = |what: &str, read: &dyn Fn() -> Checked<Option<Arc<UserRecord>>>| {
            let made = progress.made.load(SeqCst);
            let seen = read()?;
            let count = seen.as_ref().map(|record| record.revision().count());
            ensure(count.is_some_and(|count| count >= made), || {
                let seen = state(seen.as_deref());
                format!("{what} gave {seen} after revision {made} was made")
            })
        };
        start.keys().try_for_each(|key| recent("a find", &|| subject.find(&key)))?;
        for listing in [Listing::Users, Listing::Holders { service: Some(at) }] {
            recent("a scan", &|| {
                let listed = subject.scan(world.account, listing, Bound::Unbounded, ALL)?;
                Ok(listed.into_iter().next())
            })?;
        }
        Ok(())
    };
    progress.while_writing(subject, write, read)
}

/// The last record that the writing thread committed.
struct Now(Mutex<Arc<UserRecord>>);

impl Now {
    fn new(record: &Arc<UserRecord>) -> Self {
        Self(Mutex::new(Arc::clone(record)))
    }

    /// Makes the next change.
    fn step(&self, change: impl FnOnce(&Arc<UserRecord>) -> Change) -> Change {
        let mut now = self.0.lock().unwrap();
        let change = change(&now);
        *now = Arc::clone(after(&change));
        change
    }
}

/// Commits each change on a thread of its own. Requires that exactly one is applied, and returns
/// it. The others must have the expected outcome.
fn one_wins<'c, S: AsyncStore>(
    subject: &Subject<'_, S>,
    changes: &'c [Change],
    expected: CommitOutcome,
) -> Checked<&'c Change> {
    let outcomes = subject.race(changes.len(), |place| {
        changes.get(place).map_or(Ok(expected), |change| subject.commit(change))
    })?;
    let won = outcomes.iter().filter(|outcome| **outcome == Applied).count();
    let lost = outcomes.iter().filter(|outcome| **outcome == expected).count();
    ensure(won == 1 && won + lost == changes.len(), || {
        format!("of changes at once one must be Applied, the rest {expected:?}: {outcomes:?}")
    })?;
    let winner = changes.iter().zip(&outcomes).find(|(_, outcome)| **outcome == Applied);
    winner.map(|(change, _)| change).ok_or_else(|| Fault("no change was applied".to_owned()))
}

pub(super) fn one_change_wins<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let mut now = world.register("anika");
    subject.applies([&now])?;
    for _ in 0..ROUNDS {
        let changes: Vec<_> = (0..THREADS).map(|_| world.create(after(&now), GIT)).collect();
        let winner = one_wins(subject, &changes, Stale)?;
        subject.keeps(after(winner))?;
        let claimed = changes.iter().flat_map(Change::claimed);
        let mut lost = claimed.filter(|key| !after(winner).holds(key));
        lost.try_for_each(|key| subject.finds_nothing(&key))?;
        now = delete(after(winner));
        subject.applies([&now])?;
    }
    // Now each thread retries at its own pace.
    let account = world.account;
    let first = world.create(after(&now), GIT);
    subject.applies([&first])?;
    let name = user("anika");
    let made = subject.race(THREADS / 2, |_| {
        let mut made = 0;
        while made < 25_u64 {
            let found = subject.find(&Key::User { account, name: &name })?;
            let found = found.ok_or_else(|| Fault("the user is gone".to_owned()))?;
            match subject.commit(&world.reset(&found))? {
                Applied => made += 1,
                Stale => {}
                KeyTaken => return Err(Fault("a key is taken that no change claims".to_owned())),
            }
        }
        Ok(made)
    })?;
    let expected = after(&first).revision().count() + made.iter().sum::<u64>();
    let found = subject.find(&Key::User { account, name: &name })?;
    ensure(found.as_ref().is_some_and(|found| found.revision().count() == expected), || {
        format!("{expected} changes were made, and what is there is {}", state(found.as_deref()))
    })
}

pub(super) fn one_claim_wins<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let users: Vec<_> = (0..THREADS).map(|place| world.register(&format!("u{place}"))).collect();
    subject.applies(&users)?;
    let mut now: Vec<_> = users.iter().map(|change| Arc::clone(after(change))).collect();
    for round in 0..ROUNDS {
        // A service user name.
        let changes: Vec<_> =
            now.iter().map(|record| world.create_as(record, GIT, "contested")).collect();
        let winner = after(one_wins(subject, &changes, KeyTaken)?);
        let mut others = now.iter().filter(|record| record.id() != winner.id());
        others.try_for_each(|record| subject.keeps(record))?;
        subject.keeps(winner)?;
        let deleted = delete(winner);
        subject.applies([&deleted])?;
        for record in &mut now {
            if record.id() == winner.id() {
                *record = Arc::clone(after(&deleted));
            }
        }
        // The name of a user, in two spellings.
        let spelled = ["new", "NEW"].map(|name| format!("{name}{round}"));
        let spelled = spelled.iter().cycle().take(THREADS);
        let changes: Vec<_> = spelled.map(|name| world.register(name)).collect();
        let winner = after(one_wins(subject, &changes, KeyTaken)?);
        subject.keeps(winner)?;
        let mut listed: Vec<&UserRecord> = now.iter().map(|record| &**record).collect();
        listed.push(winner);
        subject.lists(world.account, Listing::Users, &listed)?;
        subject.applies([&remove(winner)])?;
    }
    Ok(())
}

/// One user is renamed back and forth, and gains and loses credentials. Another user, whose name is
/// between the two names, exists throughout.
pub(super) fn changes_are_atomic<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let bystander = world.register("b");
    let member = world.create(after(&bystander), GIT);
    let registered = world.register("a");
    let created = world.create(after(&registered), GIT);
    subject.applies([&bystander, &member, &registered, &created])?;
    let (start, account) = (after(&created), world.account);
    let id = start.credentials().first().expect("it was created").id().clone();
    let (names, services) = (["a", "c"].map(user), [GIT, GIT_COM, MAIL].map(service));
    let progress = Progress::default();

    let now = Now::new(start);
    let write = |step| {
        let change = now.step(|now| match step % 4 {
            0 => rename(now, "c"),
            1 => world.create(now, GIT_COM),
            2 => rename(now, "a"),
            _ => delete_last(now),
        });
        subject.applies([&change])
    };
    let read = || {
        let anchor = || {
            let found = subject.find(&Key::Credential { account, id: &id })?;
            found.ok_or_else(|| Fault("a key that is always held found nothing".to_owned()))
        };
        // What is read between two reads of one revision must belong to that revision.
        let consistent = |key: &Key<'_>| {
            let earlier = anchor()?;
            let seen = subject.find(key)?;
            let later = anchor()?;
            in_order(&earlier, &later)?;
            if let Some(seen) = &seen {
                in_order(&earlier, seen)?;
                in_order(seen, &later)?;
            }
            let unchanged = earlier.revision() == later.revision();
            ensure(!unchanged || seen.is_some() == earlier.holds(key), || {
                let (seen, earlier) = (state(seen.as_deref()), state(Some(&earlier)));
                format!("{} found {seen} while there was {earlier}", super::subject::print(key))
            })
        };
        for name in &names {
            consistent(&Key::User { account, name })?;
            for service in [None, services.first(), services.get(1)] {
                consistent(&Key::Holder { account, service, user: name })?;
            }
            for listing in [Listing::Users, Listing::Holders { service: services.first() }] {
                let earlier = anchor()?;
                let listed = subject.scan(account, listing, Bound::Unbounded, ALL)?;
                let later = anchor()?;
                let steady = (earlier.revision() == later.revision()).then_some(&*earlier);
                listing_is_whole(&listed, after(&member), steady)?;
            }
        }
        Ok(())
    };
    progress.while_writing(subject, write, read)
}

fn in_order(earlier: &UserRecord, later: &UserRecord) -> Checked {
    ensure(earlier.revision().count() <= later.revision().count(), || {
        format!("{} was read before {}", state(Some(earlier)), state(Some(later)))
    })
}

/// Requires that a listing is in order, contains a user who exists throughout, and contains
/// `steady` once if that user did not change during the scan.
fn listing_is_whole(
    listed: &[Arc<UserRecord>],
    bystander: &UserRecord,
    steady: Option<&UserRecord>,
) -> Checked {
    let names: Vec<&UserName> = listed.iter().map(|record| record.name()).collect();
    let has = |record: &UserRecord| {
        let same = listed.iter().filter(|listed| listed.revision() == record.revision());
        same.count() == 1
    };
    let exact = steady.is_none_or(|steady| has(steady) && listed.len() == 2);
    let ordered = names.is_sorted_by(|left, right| left < right);
    ensure(ordered && has(bystander) && exact, || {
        let seen = states(listed.iter().map(|record| &**record));
        let expected = steady.map_or_else(String::new, |steady| {
            format!(", while there was {}", state(Some(steady)))
        });
        format!("a scan during a race returned {seen}{expected}")
    })
}

pub(super) fn names_move_between_users<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let account = world.account;
    let registered = ["a", "b"].map(|name| world.register(name));
    let created = registered.each_ref().map(|change| world.create(after(change), GIT));
    subject.applies(registered.iter().chain(&created))?;

    // One after the other: they swap their names, and keep their credentials.
    let [a, b] = created.each_ref().map(after);
    let swap = [rename(a, "t"), rename(b, "a")];
    let [a, b] = swap.each_ref().map(after);
    let back = rename(a, "b");
    subject.applies(swap.iter().chain([&back]))?;
    let swapped = [after(&back), b];
    for record in swapped {
        subject.keeps(record)?;
    }
    let name = user("t");
    subject.finds_nothing(&Key::User { account, name: &name })?;

    // Crossing: each thread moves the holder of one name to another.
    let names = ["a", "b", "t"].map(user);
    let moves = [("a", "b"), ("b", "a"), ("a", "t"), ("t", "a"), ("b", "t"), ("t", "b")];
    let made = subject.race(moves.len(), |place| {
        let mut made = 0_u64;
        let moves = moves.iter().cycle().skip(place);
        for (from, to) in moves.take(ROUNDS * 2) {
            if let Some(found) = subject.find(&Key::User { account, name: &user(from) })? {
                made += u64::from(subject.commit(&rename(&found, to))? == Applied);
            }
            subject.scan(account, Listing::Users, Bound::Unbounded, NonZeroUsize::MIN)?;
        }
        Ok(made)
    })?;
    let mut standing = Vec::new();
    for name in &names {
        standing.extend(subject.find(&Key::User { account, name })?);
    }
    let records: Vec<&UserRecord> = standing.iter().map(|record| &**record).collect();
    subject.lists(account, Listing::Users, &records)?;
    records.iter().try_for_each(|record| subject.keeps(record))?;
    let count = |records: &[&UserRecord]| -> u64 {
        records.iter().map(|record| record.revision().count()).sum()
    };
    let expected = count(&swapped.map(|record| &**record)) + made.iter().sum::<u64>();
    ensure(records.len() == 2 && count(&records) == expected, || {
        let seen = states(records.iter().copied());
        format!("two users with {expected} changes must be there, and there is {seen}")
    })
}
