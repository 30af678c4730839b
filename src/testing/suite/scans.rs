//! Listings.

use std::{num::NonZeroUsize, ops::Bound};

use super::{
    subject::{ALL, Checked, Subject, ensure},
    world::{GIT, GIT_COM, SERVICES, World, after, service, user},
};
use crate::{
    names::{service_name::ServiceName, user_name::UserName},
    record::{
        UserRecord,
        key::{Key, Listing},
    },
    store::{AsyncStore, change::Change},
};

pub(super) fn listings_follow<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    let services = SERVICES.map(service);
    let listings = [
        Listing::Users,
        Listing::Holders { service: None },
        Listing::Holders { service: services.first() },
        Listing::Holders { service: services.get(1) },
        Listing::Holders { service: services.get(2) },
    ];
    let first = world.register("other");
    let other = world.create(after(&first), GIT);
    subject.applies([&first, &other])?;
    for change in world.life() {
        subject.applies([&change])?;
        for listing in listings {
            let all = [Some(&**after(&other)), change.record().map(|record| &**record)];
            let listed: Vec<&UserRecord> = all
                .into_iter()
                .flatten()
                .filter(|record| record.holds(&key(&world, listing, record.name())))
                .collect();
            subject.lists(world.account, listing, &listed)?;
        }
    }
    Ok(())
}

const fn key<'a>(world: &World, listing: Listing<'a>, name: &'a UserName) -> Key<'a> {
    let account = world.account;
    match listing {
        Listing::Users => Key::User { account, name },
        Listing::Holders { service } => Key::Holder { account, service, user: name },
    }
}

/// Names in the order of a scan.
const ORDERED: [&str; 25] = [
    "+", "+1", ",", "-", ".", "0", "10", "9", "=", "@", "_", "_a", "_Z", "A", "a+1", "A-B", "a.b",
    "a0", "A_", "aa", "AB", "aBc", "b", "Z", "zz",
];

/// Registers users of those names in another order, each with a credential at `git.example`.
fn people<S: AsyncStore>(subject: &Subject<'_, S>, world: &World) -> Checked {
    // The step 7 is coprime to the number of names.
    for name in ORDERED.iter().cycle().step_by(7).take(ORDERED.len()) {
        let first = world.register(name);
        subject.applies([&first, &world.create(after(&first), GIT)])?;
    }
    Ok(())
}

/// Each kind of listing that contains those users.
const fn listings(at: &ServiceName) -> [Listing<'_>; 3] {
    [Listing::Users, Listing::Holders { service: None }, Listing::Holders { service: Some(at) }]
}

fn scanned<S: AsyncStore>(
    subject: &Subject<'_, S>,
    world: &World,
    listing: Listing<'_>,
    start: Bound<&UserName>,
    limit: NonZeroUsize,
) -> Checked<Vec<String>> {
    let records = subject.scan(world.account, listing, start, limit)?;
    Ok(records.iter().map(|record| record.name().to_string()).collect())
}

pub(super) fn scans_are_ordered<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    people(subject, &world)?;
    for listing in listings(&service(GIT)) {
        let seen = scanned(subject, &world, listing, Bound::Unbounded, ALL)?;
        ensure(seen == ORDERED, || {
            format!("a scan of {listing:?} must return {ORDERED:?} and returned {seen:?}")
        })?;
    }
    Ok(())
}

pub(super) fn scans_start<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    people(subject, &world)?;
    let unknown = ["++", "00", "1", "_0", "__", "a,", "AA0", "c", "Y", "zzz"];
    let spelled = ORDERED.iter().chain(&unknown).flat_map(|name| {
        [(*name).to_owned(), name.to_ascii_lowercase(), name.to_ascii_uppercase()]
    });
    for name in spelled.map(|name| user(&name)) {
        let from = |included: bool| -> Vec<&str> {
            let holds = |other: &&str| {
                let other = user(other);
                other > name || (included && other == name)
            };
            ORDERED.iter().copied().filter(holds).collect()
        };
        for listing in listings(&service(GIT)) {
            for (start, expected) in
                [(Bound::Included(&name), from(true)), (Bound::Excluded(&name), from(false))]
            {
                let seen = scanned(subject, &world, listing, start, ALL)?;
                ensure(seen == expected, || {
                    format!(
                        "a scan of {listing:?} from {start:?} must return {expected:?} and \
                         returned {seen:?}"
                    )
                })?;
            }
        }
    }
    Ok(())
}

pub(super) fn scans_are_limited<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    let world = World::new();
    people(subject, &world)?;
    // Other users in between, who are in one listing but not in the other.
    for name in ["a1", "a2", "a3"] {
        let first = world.register(name);
        subject.applies([&first, &world.create(after(&first), GIT_COM)])?;
    }
    let (at, start) = (service(GIT), user("a"));
    let listing = Listing::Holders { service: Some(&at) };
    for limit in (1..=ORDERED.len() + 1).filter_map(NonZeroUsize::new) {
        for (start, skipped) in
            [(Bound::Unbounded, 0), (Bound::Included(&start), 13), (Bound::Excluded(&start), 14)]
        {
            let expected: Vec<_> =
                ORDERED.iter().copied().skip(skipped).take(limit.get()).collect();
            let seen = scanned(subject, &world, listing, start, limit)?;
            ensure(seen == expected, || {
                format!(
                    "a scan of at most {limit} from {start:?} must return {expected:?} and \
                     returned {seen:?}"
                )
            })?;
        }
    }
    Ok(())
}

pub(super) fn many_users<S: AsyncStore>(subject: &Subject<'_, S>) -> Checked {
    const USERS: usize = 2400;
    const THREADS: usize = 16;
    let world = World::new();
    let names: Vec<String> = (0..USERS).map(|place| format!("user{place:04}")).collect();
    // On many threads, for stores that commit the changes of several callers in one batch.
    let shares: Vec<Vec<Change>> = (0..THREADS)
        .map(|place| names.iter().skip(place).step_by(THREADS))
        .map(|names| names.map(|name| world.register(name)).collect())
        .collect();
    subject.race(THREADS, |place| subject.applies(shares.get(place).into_iter().flatten()))?;
    for change in shares.iter().flatten().step_by(7) {
        subject.keeps(after(change))?;
    }
    for size in [97, 1000, USERS, USERS + 1].into_iter().filter_map(NonZeroUsize::new) {
        let mut seen: Vec<UserName> = Vec::new();
        loop {
            let start = seen.last().map_or(Bound::Unbounded, Bound::Excluded);
            let page = subject.scan(world.account, Listing::Users, start, size)?;
            let end = page.len() < size.get();
            seen.extend(page.iter().map(|record| record.name().clone()));
            if end || seen.len() > USERS {
                break;
            }
        }
        ensure(seen.iter().map(UserName::as_str).eq(names.iter().map(String::as_str)), || {
            let counted = seen.len();
            format!("pages of {size} must hold {USERS} users in order, and held {counted}")
        })?;
    }
    Ok(())
}
