//! A store in a file: what it keeps, what it refuses to open, and what failing storage leaves.

#![allow(clippy::unwrap_used, reason = "a helper of tests may fail as a test does")]

use std::path::PathBuf;

use service_specific_credentials::{
    CredentialManager,
    store::{OpenError, RedbStore},
};

mod common;

use common::{ACCOUNT, CODECOMMIT, name};

/// A folder that is removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("ssc-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_was_acknowledged_is_there_when_the_file_is_opened_again() {
    let folder = Folder::new("reopen");
    let path = folder.file("store.redb");
    let open = || CredentialManager::new(name(ACCOUNT), RedbStore::open(&path).unwrap());
    let (anika, codecommit) = (name("anika"), name(CODECOMMIT));
    let issued = {
        let iam = open();
        iam.register_user(&anika).unwrap();
        iam.create(&anika, &codecommit).unwrap()
    };
    let iam = open();
    let who =
        iam.authenticate(&codecommit, issued.name().as_str(), issued.secret().expose()).unwrap();
    assert_eq!(who.credential_id(), issued.id());
    assert!(matches!(RedbStore::open(&path), Err(OpenError::Held)));
    let copy = folder.file("copy.redb");
    iam.store().backup(&copy).unwrap();
    drop(iam);
    assert!(RedbStore::check_integrity(&copy).unwrap());
    assert!(RedbStore::check_integrity(&path).unwrap());
    RedbStore::compact(&path).unwrap();
    assert_eq!(open().list(&anika).unwrap(), [issued.credential().clone()]);
}

#[test]
fn a_file_that_was_only_begun_is_made_anew_and_a_foreign_one_is_left_alone() {
    let folder = Folder::new("begun");
    let path = folder.file("store.redb");
    let begun = vec![0; 2 << 20];
    std::fs::write(&path, &begun).unwrap();
    drop(RedbStore::open(&path).unwrap());
    assert!(RedbStore::check_integrity(&path).unwrap());

    let mut foreign = begun;
    *foreign.last_mut().unwrap() = 1;
    for bytes in [&foreign[..], &[0; 4096]] {
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(RedbStore::open(&path), Err(OpenError::NotADatabase)));
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}
