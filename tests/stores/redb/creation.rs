//! Creation of files: exclusive, complete, and accessible by the owner only.

use std::{collections::HashSet, fs, thread};

use service_specific_credentials::{
    CredentialManager,
    store::{OpenError, RedbStore},
};

use super::{ACCOUNT, Folder, create, name, open};

/// The names of all files in the folder.
fn names(folder: &Folder) -> HashSet<String> {
    let files = fs::read_dir(&folder.0).unwrap();
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn creation_leaves_no_temporary_file_and_changes_no_other() {
    let folder = Folder::new("alone");
    let (path, other) = (folder.file("store.redb"), folder.file("store.redb.new"));
    fs::write(&other, "of someone else").unwrap();
    let iam = create(&path);
    iam.store().backup(folder.file("copy.redb")).unwrap();
    assert!(matches!(iam.store().backup(&path), Err(OpenError::Exists(_))));
    let expected = ["store.redb", "copy.redb", "store.redb.new"].map(str::to_owned);
    assert_eq!(names(&folder), expected.into());
    assert_eq!(fs::read(&other).unwrap(), b"of someone else");
}

#[test]
fn create_opens_an_existing_file() {
    let folder = Folder::new("exists");
    let path = folder.file("store.redb");
    create(&path).register_user(&name("anika")).unwrap();
    create(&path).user(&name("anika")).unwrap();
}

#[test]
fn of_concurrent_creations_of_a_file_exactly_one_succeeds() {
    let folder = Folder::new("making");
    for round in 0..20 {
        let path = folder.file(&format!("{round}.redb"));
        let results: Vec<_> = thread::scope(|scope| {
            let create = || scope.spawn(|| RedbStore::create(&path));
            let threads: Vec<_> = std::iter::repeat_with(create).take(8).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (mine, others): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(mine.len(), 1);
        assert!(others.iter().all(|other| matches!(other, Err(OpenError::Held))), "{others:?}");
        for store in mine {
            let iam = CredentialManager::new(name(ACCOUNT), store.unwrap());
            iam.register_user(&name("anika")).unwrap();
        }
        open(&path).user(&name("anika")).unwrap();
    }
    assert_eq!(names(&folder), (0..20).map(|round| format!("{round}.redb")).collect());
}

#[cfg(unix)]
mod unix {
    use std::{
        os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
        path::Path,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    };

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn new_files_and_backups_have_mode_0600() {
        let folder = Folder::new("mode");
        let (path, copy) = (folder.file("store.redb"), folder.file("copy.redb"));
        RedbStore::create(&path).unwrap().backup(&copy).unwrap();
        for path in [path, copy] {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    /// An attacker who can write to the folder plants a file under the next random name.
    #[test]
    fn planted_links_and_files_are_neither_written_nor_used() {
        let folder = Folder::new("planted");
        let (path, copy, target) =
            (folder.file("store.redb"), folder.file("copy.redb"), folder.file("precious"));
        fs::write(&target, "precious").unwrap();
        for path in [&path, &copy] {
            let unfinished = format!("{}.new", path.display());
            symlink(&target, unfinished).unwrap();
        }
        create(&path).store().backup(&copy).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"precious");
        assert_eq!([mode(&path), mode(&copy)], [0o600; 2]);
    }

    /// Lists the folder while backups are written to it, and collects the temporary names.
    #[test]
    fn an_incomplete_file_has_a_random_name_and_mode_0600() {
        let folder = Folder::new("unfinished");
        let iam = create(&folder.file("store.redb"));
        for number in 0..100 {
            iam.register_user(&name(&format!("user{number}"))).unwrap();
        }
        let seen = AtomicUsize::new(0);
        let done = AtomicBool::new(false);
        let names = thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let mut unfinished = HashSet::new();
                while !done.load(Ordering::Relaxed) {
                    for file in fs::read_dir(&folder.0).unwrap() {
                        let file = file.unwrap();
                        let name = file.file_name().into_string().unwrap();
                        if let Ok(metadata) = file.metadata() {
                            assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
                        }
                        if name.starts_with(".new-store-") {
                            unfinished.insert(name);
                            seen.store(unfinished.len(), Ordering::Relaxed);
                        }
                    }
                }
                unfinished
            });
            for number in 0..10_000 {
                let copy = folder.file("copy.redb");
                iam.store().backup(&copy).unwrap();
                fs::remove_file(&copy).unwrap();
                if number >= 20 && seen.load(Ordering::Relaxed) >= 5 {
                    break;
                }
            }
            done.store(true, Ordering::Relaxed);
            watching.join().unwrap()
        });
        assert!(names.len() >= 5, "{names:?}");
        let random = names
            .iter()
            .map(|name| name.strip_prefix(".new-store-").unwrap().strip_suffix(".redb").unwrap());
        assert!(random.clone().all(|random| random.len() == 12), "{names:?}");
        assert_eq!(super::names(&folder), ["store.redb".to_owned()].into());
    }

    #[test]
    fn no_file_is_created_through_a_link() {
        let folder = Folder::new("dangling");
        let (link, target) = (folder.file("link.redb"), folder.file("target.redb"));
        symlink(&target, &link).unwrap();
        for result in [RedbStore::create(&link), RedbStore::open(&link)] {
            let error = result.unwrap_err();
            assert!(matches!(&error, OpenError::DanglingLink(named) if *named == link));
            let message = "is a symbolic link to a file that does not exist";
            assert_eq!(error.to_string(), format!("`{}` {message}", link.display()));
        }
        let checked = RedbStore::check_integrity(&link);
        assert!(matches!(checked, Err(OpenError::DanglingLink(_))), "{checked:?}");
        let store = RedbStore::create(folder.file("store.redb")).unwrap();
        assert!(matches!(store.backup(&link), Err(OpenError::Exists(_))));
        assert!(!target.exists());
        assert_eq!(names(&folder), ["link.redb", "store.redb"].map(str::to_owned).into());
    }

    #[test]
    fn a_link_to_an_existing_file_is_followed() {
        let folder = Folder::new("link");
        let (link, target) = (folder.file("link.redb"), folder.file("target.redb"));
        create(&target).register_user(&name("anika")).unwrap();
        symlink(&target, &link).unwrap();
        create(&link).user(&name("anika")).unwrap();
        open(&link).user(&name("anika")).unwrap();
        assert!(link.is_symlink());
        let inode = |path: &Path| path.metadata().unwrap().ino();
        assert_eq!(inode(&link), inode(&target));
    }
}
