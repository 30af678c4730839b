//! Look-ups by key.

use std::sync::Arc;

use super::{
    subject::{Checked, Subject, ensure},
    world::{
        GIT, GIT_COM, MAIL, World, after, credential, delete, empty, remove, rename, service, user,
    },
};
use crate::{
    names::service_name::ServiceName,
    record::{
        UserRecord,
        key::{Key, Listing},
    },
    store::{AsyncStore, change::CommitOutcome},
};

pub(super) fn claimed_keys_find<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    for change in World::new().life() {
        subject.applies([&change])?;
        let record = change.record();
        change.claimed().try_for_each(|key| subject.finds(&key, record.expect("it claims")))?;
    }
    Ok(())
}

pub(super) fn kept_keys_follow<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    for change in World::new().life() {
        subject.applies([&change])?;
        if let (Some(before), Some(after)) = (change.previous(), change.record()) {
            let mut kept = after.keys().filter(|key| before.holds(key));
            kept.try_for_each(|key| subject.finds(&key, after))?;
        }
    }
    Ok(())
}

pub(super) fn released_keys_find_nothing<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    for change in World::new().life() {
        subject.applies([&change])?;
        change.released().try_for_each(|key| subject.finds_nothing(&key))?;
    }
    Ok(())
}

pub(super) fn released_keys_are_free<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    // Renamed: the user's name is free, but not the name of the credential.
    let first = world.register("anika");
    let created = world.create(after(&first), GIT);
    let away = rename(after(&created), "bela");
    let second = world.register("Anika");
    subject.applies([&first, &created, &away, &second])?;
    // Deleted: now the name of the credential is free.
    let deleted = delete(after(&away));
    let same = world.create_as(after(&second), GIT, "ANIKA");
    subject.applies([&deleted, &same])?;
    subject.keeps(after(&same))?;
    subject.keeps(after(&deleted))?;
    // Removed: all names are free, and so is the id.
    let gone = remove(after(&same));
    let third = world.register("anika");
    let held = after(&same).credentials().first().expect("it was created").id();
    let again = world.create_id(after(&third), GIT, held.as_str());
    subject.applies([&gone, &third, &again])?;
    subject.keeps(after(&again))
}

pub(super) fn unknown_keys_find_nothing<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let (account, at) = (world.account, &service(GIT));
    let first = world.register("kiss_1");
    let created = world.create(after(&first), GIT);
    subject.applies([&first, &created])?;

    for name in ["kiss", "kissx1", "kiss_", "kiss_11", "_", "0", &"x".repeat(64)] {
        let user = user(name);
        subject.finds_nothing(&Key::User { account, name: &user })?;
        subject.finds_nothing(&Key::Holder { account, service: Some(at), user: &user })?;
        subject.finds_nothing(&Key::Holder { account, service: None, user: &user })?;
    }
    let held = "kiss_1+1-at-123456789012";
    subject.finds(&Key::ServiceUser { account, service: at, name: held }, after(&created))?;
    let like = [held.replace('_', "%"), held.replace("kiss", "____"), "%".to_owned()];
    // Unicode's Kelvin sign and long s have ASCII letters as their lower or upper case.
    let unicode = [held.replace('k', "\u{212a}"), held.replace("ss", "\u{17f}\u{17f}")];
    let others = ["", " ", "kiss_1", "\0", "\n", "'", "\"", "\\", "' or 1=1 --", "é", "日本", "😀"];
    let around = [format!("{held} "), format!(" {held}"), format!("{held}\0"), "x".repeat(512)];
    let others = others.map(str::to_owned);
    for name in like.iter().chain(&unicode).chain(&others).chain(&around) {
        subject.finds_nothing(&Key::ServiceUser { account, service: at, name })?;
    }
    let id = &credential("ACCAXXXXXXXXXXXXXXXXX");
    subject.finds_nothing(&Key::Credential { account, id })
}

pub(super) fn names_ignore_case<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let (account, at) = (world.account, &service(GIT));
    let first = world.register("Anika");
    let created = world.create(after(&first), GIT);
    subject.applies([&first, &created])?;

    for name in ["Anika", "anika", "ANIKA", "aNIKA"] {
        let record = after(&created);
        let user = &user(name);
        subject.finds(&Key::User { account, name: user }, record)?;
        subject.finds(&Key::Holder { account, service: None, user }, record)?;
        subject.finds(&Key::Holder { account, service: Some(at), user }, record)?;
        let name = &format!("{name}+1-aT-123456789012");
        subject.finds(&Key::ServiceUser { account, service: at, name }, record)?;
    }
    let other = world.register("bela");
    subject.applies([&other])?;
    subject.expect_outcome(&world.register("ANIKA"), CommitOutcome::KeyTaken)?;
    subject.expect_outcome(&rename(after(&other), "ANIKA"), CommitOutcome::KeyTaken)?;
    subject.expect_outcome(&world.create_as(after(&other), GIT, "aNIKa"), CommitOutcome::KeyTaken)
}

pub(super) fn ids_keep_case<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let account = world.account;
    let (a, b) = (world.register("a"), world.register("b"));
    let [upper, lower] = ["ACCAABCDEFGHIJKLMNOPQ", "ACCAabcdefghijklmnopq"];
    let first = world.create_id(after(&a), GIT, upper);
    let second = world.create_id(after(&b), GIT, lower);
    subject.applies([&a, &b, &first])?;
    subject.finds_nothing(&Key::Credential { account, id: &credential(lower) })?;
    subject.applies([&second])?;
    subject.keeps(after(&first))?;
    subject.keeps(after(&second))
}

pub(super) fn spelling_is_kept<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let first = world.register("anika");
    let created = world.create(after(&first), GIT);
    let respelled = rename(after(&created), "AniKa");
    subject.applies([&first, &created, &respelled])?;

    let record = after(&respelled);
    subject.keeps(record)?;
    subject.expect_outcome(&rename(after(&created), "bela"), CommitOutcome::Stale)?;
    subject.expect_outcome(&world.register("anika"), CommitOutcome::KeyTaken)?;
    for listing in [Listing::Users, Listing::Holders { service: None }] {
        subject.lists(world.account, listing, &[record])?;
    }
    let found = subject.find(&Key::User { account: world.account, name: &user("ANIKA") })?;
    let spelling = found.as_ref().map(|found| found.name().as_str());
    ensure(spelling == Some("AniKa"), || {
        format!("the name was spelled `AniKa` last, and is spelled {spelling:?}")
    })?;
    // All keys with that spelling are released as well.
    let renamed = rename(record, "bela");
    subject.applies([&renamed])?;
    renamed.released().try_for_each(|key| subject.finds_nothing(&key))
}

pub(super) fn accounts_are_isolated<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let (here, there) = (World::new(), World::elsewhere());
    for (ours, theirs) in here.life().iter().zip(&there.life()) {
        subject.applies([ours])?;
        // The state is unchanged until the same change is made in the other account.
        if let Some(record) = theirs.previous() {
            subject.keeps(record)?;
        }
        subject.lists(there.account, Listing::Users, theirs.previous().as_slice())?;
        subject.applies([theirs])?;
        for (world, change) in [(&here, ours), (&there, theirs)] {
            if let Some(record) = change.record() {
                subject.keeps(record)?;
            }
            let record = change.record().map(|record| &**record);
            subject.lists(world.account, Listing::Users, record.as_slice())?;
            let members = record.filter(|record| record.credential_count() > 0);
            let listing = Listing::Holders { service: None };
            subject.lists(world.account, listing, members.as_slice())?;
        }
    }
    subject.lists("000000000001".parse().unwrap(), Listing::Users, &[])
}

pub(super) fn services_are_isolated<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let account = world.account;
    let (a, b) = (world.register("a"), world.register("b"));
    let first = world.create_as(after(&a), GIT, "x");
    let second = world.create_as(after(&b), GIT_COM, "x");
    subject.applies([&a, &b, &first, &second])?;

    let lists = |at: &str, records: &[&UserRecord]| {
        subject.lists(account, Listing::Holders { service: Some(&service(at)) }, records)
    };
    for change in [&first, &second] {
        subject.keeps(after(change))?;
    }
    lists(GIT, &[after(&first)])?;
    lists(GIT_COM, &[after(&second)])?;
    lists(MAIL, &[])?;
    let name = world.name("x");
    let (at, name) = (&service(MAIL), name.as_str());
    subject.finds_nothing(&Key::ServiceUser { account, service: at, name })?;
    for (held, not) in [(&first, GIT_COM), (&second, GIT)] {
        let (at, user) = (service(not), after(held).name());
        subject.finds_nothing(&Key::Holder { account, service: Some(&at), user })?;
    }
    let deleted = delete(after(&first));
    subject.applies([&deleted])?;
    subject.keeps(after(&second))?;
    lists(GIT, &[])?;
    lists(GIT_COM, &[after(&second)])
}

/// Looks up only a sample of the keys: a store of encoded records decodes the whole record for
/// each.
pub(super) fn largest_record<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    const SAMPLE: usize = 211;
    const EACH: usize = 10;
    let services: Vec<ServiceName> =
        (0..100).map(|place| service(&format!("{place:03}{}", ".example".repeat(15)))).collect();
    let name = "x".repeat(64);
    let world = World::with(services.iter().cloned());
    // The keys of the user and of the holder at any service, and for each service the keys of its
    // credentials and of the holder there.
    let at_once = subject
        .keys_per_change()
        .map_or(services.len(), |keys| (keys.get().saturating_sub(2) / (2 * EACH + 1)).max(1));
    let first = world.register(&name);
    subject.applies([&first])?;
    let mut full = Arc::clone(after(&first));
    for services in services.chunks(at_once) {
        let filled = world.fill(&full, services, EACH);
        subject.applies([&filled])?;
        full = Arc::clone(after(&filled));
    }

    let holds = |record: &Arc<UserRecord>| {
        let last = record.keys().last();
        let mut sample = record.keys().step_by(SAMPLE).chain(last);
        sample.try_for_each(|key| subject.finds(&key, record))?;
        let listing = Listing::Holders { service: services.last() };
        subject.lists(world.account, listing, &[record])
    };
    holds(&full)?;
    let reset = world.reset(&full);
    let deleted = delete(after(&reset));
    for change in [&reset, &deleted] {
        subject.applies([change])?;
        holds(after(change))?;
    }

    let mut left = Arc::clone(after(&deleted));
    // The remaining ones are deleted with the user.
    for services in services.chunks(at_once).rev().skip(1) {
        let emptied = empty(&left, services);
        subject.applies([&emptied])?;
        left = Arc::clone(after(&emptied));
    }
    subject.applies([&remove(&left)])?;
    full.keys().step_by(SAMPLE).try_for_each(|key| subject.finds_nothing(&key))?;
    subject.lists(world.account, Listing::Holders { service: services.first() }, &[])
}
