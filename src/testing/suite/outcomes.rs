//! The outcomes of changes.

use std::sync::Arc;

use super::{
    subject::{Checked, Subject, ensure},
    world::{GIT, GIT_COM, MAIL, World, after, delete, keys, remove, rename},
};
use crate::{
    record::{
        UserRecord,
        key::{Key, Listing},
    },
    store::{
        AsyncStore,
        CommitOutcome::{Applied, KeyTaken, Stale},
        change::Change,
    },
};

/// Changes from `record` that claim no taken key.
fn harmless(world: &World, record: &Arc<UserRecord>, name: &str) -> Vec<Change> {
    let mut changes = vec![
        rename(record, name),
        remove(record),
        rename(record, &record.name().as_str().to_ascii_uppercase()),
    ];
    if record.credential_count() > 0 {
        changes.extend([world.reset(record), delete(record)]);
    }
    changes
}

pub(super) fn stale_is_rejected<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let life = world.life();
    let records: Vec<_> = life.iter().filter_map(Change::record).collect();
    let stale = |record| {
        let changes = harmless(&world, record, "unknown");
        changes.iter().try_for_each(|change| subject.expect_outcome(change, Stale))
    };
    // No user is registered yet.
    records.iter().copied().try_for_each(stale)?;
    for (place, change) in life.iter().enumerate() {
        subject.expect_outcome(change, Applied)?;
        for (_, record) in records.iter().enumerate().filter(|(other, _)| *other != place) {
            stale(record)?;
        }
    }
    Ok(())
}

pub(super) fn revisions_are_unique<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let lived = || {
        let registered = world.register("anika");
        let created = world.create(after(&registered), GIT);
        let reset = world.reset(after(&created));
        [registered, created, reset]
    };
    let old = lived();
    let [.., last] = &old;
    subject.applies(&old)?;
    subject.applies([&remove(after(last))])?;
    for now in &lived() {
        subject.applies([now])?;
        for record in old.iter().map(after) {
            for change in harmless(&world, record, "unknown") {
                subject.expect_outcome(&change, Stale)?;
            }
        }
        subject.keeps(after(now))?;
    }
    Ok(())
}

pub(super) fn taken_keys_are_rejected<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let a = world.register("a");
    let created = world.create(after(&a), GIT);
    let (b, c) = (world.register("b"), world.register("c"));
    let away = rename(after(&c), "d");
    subject.applies([&a, &created, &b, &c, &away])?;

    let b = after(&b);
    let id = after(&created).credentials().first().expect("it was created").id().as_str();
    for change in [
        rename(b, "a"),
        rename(b, "d"),
        // Only the name is taken, then only the id.
        world.create_as(b, GIT, "a"),
        world.create_id(b, GIT_COM, id),
    ] {
        subject.expect_outcome(&change, KeyTaken)?;
    }
    // The name of the credential stays taken after its user is renamed.
    let renamed = rename(after(&created), "e");
    subject.applies([&renamed])?;
    subject.expect_outcome(&world.create_as(b, GIT, "a"), KeyTaken)
}

pub(super) fn taken_names_are_rejected<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let first = world.register("anika");
    subject.applies([&first])?;
    let taken = |name: &str| subject.expect_outcome(&world.register(name), KeyTaken);
    taken("anika")?;
    subject.expect_outcome(&first, KeyTaken)?;
    let renamed = rename(after(&first), "bela");
    subject.applies([&renamed])?;
    taken("bela")?;
    let created = world.create(after(&renamed), GIT);
    subject.applies([&created])?;
    taken("bela")?;
    subject.keeps(after(&created))
}

pub(super) fn held_ids_are_rejected<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let (here, there) = (World::new(), World::elsewhere());
    let life = here.life();
    let other = here.register("other");
    subject.applies([&other])?;
    // The id is held until its holder is removed.
    let records = life.iter().map_while(Change::record);
    for (change, held) in life.iter().zip(records) {
        subject.applies([change])?;
        for (world, name) in [(&here, "x"), (&here, held.name().as_str()), (&there, "x")] {
            let doubled = world.register_id(held.id(), name);
            subject.expect_outcome(&doubled, KeyTaken)?;
            let mut free = doubled.claimed().filter(|key| !held.holds(key));
            free.try_for_each(|key| subject.finds_nothing(&key))?;
            subject.keeps(held)?;
            subject.lists(here.account, Listing::Users, &[held, after(&other)])?;
            subject.lists(there.account, Listing::Users, &[])?;
        }
    }
    Ok(())
}

pub(super) fn stale_takes_precedence<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let a = world.register("a");
    let created = world.create(after(&a), GIT);
    let b = world.register("b");
    let id = after(&created).credentials().first().expect("it was created").id().as_str();
    let taking = [
        rename(after(&b), "a"),
        world.create_as(after(&b), GIT, "a"),
        world.create_id(after(&b), GIT_COM, id),
    ];
    let all_have =
        |expected| taking.iter().try_for_each(|claim| subject.expect_outcome(claim, expected));
    subject.applies([&a, &created])?;
    // The user does not exist.
    all_have(Stale)?;
    subject.applies([&b])?;
    all_have(KeyTaken)?;
    let changed = world.create(after(&b), MAIL);
    subject.applies([&changed])?;
    all_have(Stale)?;
    let renamed = rename(after(&changed), "t");
    subject.applies([&renamed])?;
    all_have(Stale)?;
    subject.applies([&remove(after(&renamed))])?;
    all_have(Stale)?;
    // Another user has the same name and the same number of changes.
    subject.applies([&world.register("b")])?;
    all_have(Stale)
}

pub(super) fn applied_once<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let life = World::new().life();
    let mut made: Vec<&Change> = Vec::new();
    for change in &life {
        subject.applies([change])?;
        // A registration is excluded: it has no previous record.
        made.extend(change.previous().map(|_| change));
        made.iter().try_for_each(|change| subject.expect_outcome(change, Stale))?;
    }
    Ok(())
}

pub(super) fn rejected_changes_have_no_effect<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let a = world.register("a");
    let created = world.create(after(&a), GIT);
    let b = world.register("b");
    let second = world.create(after(&b), GIT_COM);
    let third = world.create(after(&second), GIT);
    subject.applies([&a, &created, &b, &second, &third])?;

    let (a, b, old) = (after(&created), after(&third), after(&second));
    let id = a.credentials().first().expect("it was created").id().as_str();
    let unknown = world.register("x");
    for (change, expected) in [
        (world.register("a"), KeyTaken),
        (rename(b, "a"), KeyTaken),
        (world.create_as(b, GIT, "a"), KeyTaken),
        (world.create_id(b, GIT_COM, id), KeyTaken),
        (rename(old, "x"), Stale),
        (rename(old, "a"), Stale),
        (world.create_as(old, GIT, "x"), Stale),
        (world.reset(old), Stale),
        (delete(old), Stale),
        (remove(old), Stale),
        (world.create(after(&unknown), GIT), Stale),
        (remove(after(&unknown)), Stale),
    ] {
        let all: Vec<Key<'_>> =
            keys(&change).chain(a.keys()).chain(b.keys()).chain(old.keys()).collect();
        let before = subject.view(world.account, &all)?;
        subject.expect_outcome(&change, expected)?;
        let now = subject.view(world.account, &all)?;
        if let Some((key, seen)) = now.difference(&before).next() {
            let expected = before.iter().find(|(other, _)| other == key);
            let expected = expected.map_or("nothing", |(_, state)| state);
            ensure(false, || {
                format!("{key} gave {expected} before a change was rejected, and {seen} after")
            })?;
        }
    }
    Ok(())
}
