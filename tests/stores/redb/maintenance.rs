//! Backups, compaction and integrity checks.

use std::{
    fs,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use redb::ReadableTable as _;
use service_specific_credentials::{
    Error, ListUsersRequest, MaxItems, ServiceName, UserName,
    store::{OpenError, RedbStore},
};

use super::{CODECOMMIT, Folder, INDEX, RECORDS, create, edit_tables, name, open};

#[test]
fn a_backup_replaces_nothing() {
    let folder = Folder::new("backup-exists");
    let [path, notes, inner] = ["store.redb", "notes", "inner"].map(|name| folder.file(name));
    let iam = create(&path);
    fs::write(&notes, "Dear diary").unwrap();
    fs::create_dir(&inner).unwrap();
    for taken in [&path, &notes, &inner] {
        let error = iam.store().backup(taken).unwrap_err();
        assert!(matches!(&error, OpenError::Exists(named) if named == taken), "{error:?}");
        assert_eq!(error.to_string(), format!("`{}` exists already", taken.display()));
    }
    assert_eq!(fs::read(&notes).unwrap(), b"Dear diary");
    iam.register_user(&name("anika")).unwrap();
}

#[test]
fn a_backup_during_writes_is_a_consistent_snapshot() {
    let folder = Folder::new("backup");
    let iam = create(&folder.file("store.redb"));
    let codecommit: ServiceName = name(CODECOMMIT);
    let done = AtomicBool::new(false);
    let (made, more) = mpsc::channel();
    thread::scope(|scope| {
        for writer in 0..4 {
            let (iam, codecommit, done, made) = (&iam, &codecommit, &done, made.clone());
            scope.spawn(move || {
                for number in 0.. {
                    let user: UserName = name(&format!("u{writer}-{number:06}"));
                    iam.register_user(&user).unwrap();
                    let issued = iam.create(&user, codecommit).unwrap();
                    made.send((writer, number, issued)).unwrap();
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        let mut known = Vec::new();
        for copy in 0..5 {
            known.extend(more.iter().take(50));
            let path = folder.file(&format!("copy-{copy}"));
            iam.store().backup(&path).unwrap();
            assert!(RedbStore::check_integrity(&path).unwrap());
            let copy = open(&path);
            for (writer, number, issued) in &known {
                let (name, password) =
                    (issued.service_user_name().as_str(), issued.secret().expose());
                copy.authenticate(&codecommit, name, password).unwrap();
                // The users of each writer have no gap: the backup shows one moment.
                let user: UserName = super::name(&format!("u{writer}-{number:06}"));
                assert_eq!(copy.list(&user).unwrap(), [issued.credential().clone()]);
            }
            copy.register_user(&name("its-own")).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(matches!(iam.user(&name("its-own")), Err(Error::NoSuchUser { .. })));
}

#[test]
fn the_check_detects_an_inconsistent_index() {
    let folder = Folder::new("integrity");
    let path = folder.file("store.redb");
    let harm = |harm: fn(&redb::WriteTransaction)| {
        let _ = fs::remove_file(&path);
        let iam = create(&path);
        for user in ["anika", "berta"] {
            iam.register_user(&name(user)).unwrap();
            let _ = iam.create(&name(user), &name(CODECOMMIT)).unwrap();
        }
        drop(iam);
        assert!(RedbStore::check_integrity(&path).unwrap());
        edit_tables(&path, harm);
        assert!(!RedbStore::check_integrity(&path).unwrap());
    };
    harm(|transaction| {
        let mut index = transaction.open_table(INDEX).unwrap();
        index.pop_first().unwrap();
    });
    harm(|transaction| {
        let mut index = transaction.open_table(INDEX).unwrap();
        let key = index.last().unwrap().unwrap().0.value().to_owned();
        index.insert(&key[..], &[7; 16][..]).unwrap();
    });
    harm(|transaction| {
        let mut index = transaction.open_table(INDEX).unwrap();
        index.insert(&b"nobody's"[..], &[7; 16][..]).unwrap();
    });
    harm(|transaction| {
        let mut records = transaction.open_table(RECORDS).unwrap();
        records.pop_first().unwrap();
    });
    harm(|transaction| {
        // Swap two records.
        let mut records = transaction.open_table(RECORDS).unwrap();
        let first = records
            .pop_first()
            .unwrap()
            .map(|(id, record)| (id.value().to_owned(), record.value().to_owned()))
            .unwrap();
        let last = records
            .pop_last()
            .unwrap()
            .map(|(id, record)| (id.value().to_owned(), record.value().to_owned()))
            .unwrap();
        records.insert(&first.0[..], &last.1[..]).unwrap();
        records.insert(&last.0[..], &first.1[..]).unwrap();
    });
}

#[test]
fn compacting_frees_the_space_of_deleted_users() {
    let folder = Folder::new("compact");
    let path = folder.file("store.redb");
    let iam = create(&path);
    let users: Vec<UserName> = (0..1_200).map(|user| name(&format!("u{user:0>60}"))).collect();
    let each = |work: &(dyn Fn(&UserName) + Sync), users: &[UserName]| {
        thread::scope(|scope| {
            for users in users.chunks(users.len().div_ceil(16)) {
                scope.spawn(move || users.iter().for_each(work));
            }
        });
    };
    each(
        &|user| {
            iam.register_user(user).unwrap();
            let _ = iam.create(user, &name(CODECOMMIT)).unwrap();
        },
        &users,
    );
    // All users exist before any is removed.
    each(&|user| drop(iam.remove_user_with_credentials(user).unwrap()), &users[16..]);
    let left =
        iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).unwrap();
    drop(iam);
    let before = fs::metadata(&path).unwrap().len();
    assert!(RedbStore::compact(&path).unwrap());
    let after = fs::metadata(&path).unwrap().len();
    assert!(after < before / 2, "{before} {after}");
    assert!(RedbStore::check_integrity(&path).unwrap());
    let kept = open(&path)
        .list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
        .unwrap();
    assert_eq!(kept.items, left.items);
}

/// A check is read-only: it changes neither the length nor a byte of the file.
#[test]
fn a_check_does_not_change_the_file() {
    let folder = Folder::new("unchanged");
    let (path, crashed) = (folder.file("store.redb"), folder.file("crashed.redb"));
    let iam = create(&path);
    for number in 0..300 {
        iam.register_user(&name(&format!("user{number}"))).unwrap();
        if number % 50 == 0 {
            // The file as a crash leaves it.
            fs::copy(&path, &crashed).unwrap();
            let before = fs::read(&crashed).unwrap();
            assert!(RedbStore::check_integrity(&crashed).unwrap());
            assert!(fs::read(&crashed).unwrap() == before, "{number} users");
        }
    }
    drop(iam);
    let before = fs::read(&path).unwrap();
    assert!(RedbStore::check_integrity(&path).unwrap());
    assert!(fs::read(&path).unwrap() == before);
    open(&path).user(&name("user299")).unwrap();
}

#[test]
fn check_on_open_rejects_an_inconsistent_index() {
    use service_specific_credentials::store::RedbOptions;

    let folder = Folder::new("checked");
    let path = folder.file("store.redb");
    create(&path).register_user(&name("anika")).unwrap();
    let options = RedbOptions::new().check_on_open(true);
    drop(options.open(&path).unwrap());
    edit_tables(&path, |transaction| {
        transaction.open_table(INDEX).unwrap().pop_first().unwrap();
    });
    drop(open(&path));
    let error = options.open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Damaged(_)), "{error:?}");
    assert!(matches!(options.create(&path), Err(OpenError::Damaged(_))));
}

/// A backup does not change its source either.
#[test]
fn compacting_never_makes_a_file_larger() {
    let folder = Folder::new("compact-small");
    for users in [0, 1, 2, 5, 10, 50, 200] {
        let path = folder.file(&format!("{users}.redb"));
        let iam = create(&path);
        for number in 0..users {
            iam.register_user(&name(&format!("user{number}"))).unwrap();
        }
        let before = fs::read(&path).unwrap();
        iam.store().backup(folder.file(&format!("{users}.copy"))).unwrap();
        assert!(fs::read(&path).unwrap() == before);
        drop(iam);
        let mut len = fs::metadata(&path).unwrap().len();
        for _ in 0..3 {
            let _ = RedbStore::compact(&path).unwrap();
            let compacted = fs::metadata(&path).unwrap().len();
            assert!(compacted <= len, "{users} users: {len} bytes, {compacted} then");
            len = compacted;
        }
    }
}
