//! The store in a file: what it keeps, which files it opens, and how it recovers.

use std::{fs, path::Path, process::Command};

use redb::{Database, TableDefinition};
use service_specific_credentials::{
    AsyncCredentialManager, AuthenticationError, CredentialManager, IssuedCredential,
    ListUsersRequest, MaxItems,
    store::{AsyncRedbStore, RedbStore, SyncAdapter},
    testing::{SeededEntropy, Suite},
};

mod backends;
mod creation;
mod maintenance;
mod opening;
mod recovery;
mod secrets;
mod tasks;

use crate::common::{ACCOUNT, CODECOMMIT, Folder, example, name};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const INDEX: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

fn create(path: &Path) -> CredentialManager<RedbStore> {
    CredentialManager::new(name(ACCOUNT), RedbStore::create(path).unwrap())
}

fn open(path: &Path) -> CredentialManager<RedbStore> {
    CredentialManager::new(name(ACCOUNT), RedbStore::open(path).unwrap())
}

fn async_manager(store: &RedbStore) -> AsyncCredentialManager<AsyncRedbStore> {
    AsyncCredentialManager::new(name(ACCOUNT), store.clone().into_async())
}

fn executor() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

/// Changes a file without the store.
fn edit_tables(path: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

fn is_denied<T>(result: &Result<T, AuthenticationError>) -> bool {
    matches!(result, Err(AuthenticationError::Denied(_)))
}

#[test]
fn a_reopened_file_holds_what_was_acknowledged() {
    let folder = Folder::new("reopen");
    let path = folder.file("store.redb");
    let (anika, codecommit) = (name("anika"), name(CODECOMMIT));
    let issued = {
        let iam = create(&path);
        iam.register_user(&anika).unwrap();
        iam.create(&anika, &codecommit).unwrap()
    };
    let iam = open(&path);
    let identity = iam
        .authenticate(&codecommit, issued.service_user_name().as_str(), issued.secret().expose())
        .unwrap();
    assert_eq!(identity.credential_id(), issued.id());
    drop(iam);
    assert!(RedbStore::check_integrity(&path).unwrap());
    assert_eq!(open(&path).list(&anika).unwrap(), [issued.credential().clone()]);
}

#[test]
fn a_reopened_file_denies_old_passwords() {
    let folder = Folder::new("old-passwords");
    let path = folder.file("store.redb");
    let (anika, codecommit) = (name("anika"), name(CODECOMMIT));
    let (first, renewed, deleted) = {
        let iam = create(&path);
        iam.register_user(&anika).unwrap();
        let first = iam.create(&anika, &codecommit).unwrap();
        let renewed = iam.reset(&anika, first.id()).unwrap();
        let deleted = iam.create(&anika, &codecommit).unwrap();
        iam.delete(&anika, deleted.id()).unwrap();
        (first, renewed, deleted)
    };
    let iam = open(&path);
    let presented = |issued: &IssuedCredential| {
        iam.authenticate(&codecommit, issued.service_user_name().as_str(), issued.secret().expose())
    };
    assert!(is_denied(&presented(&first)));
    assert!(is_denied(&presented(&deleted)));
    assert_eq!(presented(&renewed).unwrap().credential_id(), first.id());
}

/// A source of ids that repeats must not overwrite the record of another user.
#[test]
fn a_registration_with_a_repeated_id_replaces_no_user() {
    let folder = Folder::new("user-id");
    let path = folder.file("store.redb");
    let store = RedbStore::create(&path).unwrap();
    let register = |user: &str| {
        // Every manager draws the same id first.
        let builder = CredentialManager::builder(name(ACCOUNT), store.clone());
        builder.entropy(SeededEntropy::new(7)).build().register_user(&name(user)).unwrap()
    };
    let users = [register("anika"), register("berta"), register("carla")];
    let iam = CredentialManager::new(name(ACCOUNT), store.clone());
    assert_eq!(
        iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).unwrap().items,
        users
    );
    drop((iam, store));
    assert!(RedbStore::check_integrity(&path).unwrap());
}

#[test]
fn the_example_finds_the_data_of_its_first_run_on_the_second() {
    let folder = Folder::new("example");
    let path = folder.file("store.redb");
    let program = example("durable");
    let run = || {
        let run = Command::new(&program).arg(&path).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap()
    };
    let first = run();
    assert!(first.starts_with("created "), "{first}");
    assert!(first.contains("credentials  0 of anika"), "{first}");
    assert!(first.contains("created      anika+1-at-123456789012"), "{first}");
    let noted = fs::read_to_string(folder.file("store.password")).unwrap();
    let password = noted.lines().last().unwrap();
    assert!(!first.contains(password));
    let second = run();
    assert!(second.contains("found "), "{second}");
    assert!(second.contains("credentials  1 of anika"), "{second}");
    assert!(second.contains("accepted     the password of an earlier run"), "{second}");
    fs::remove_file(folder.file("store.password")).unwrap();
    let third = run();
    assert!(third.contains("only its owner has it"), "{third}");
}

#[test]
fn blocking_and_async_stores_pass_the_suite() {
    let create = |test: &str| {
        let folder = Folder::new(test);
        (RedbStore::create(folder.file("store.redb")).unwrap(), folder)
    };
    Suite::test_all(async || {
        let (store, folder) = create("suite");
        (SyncAdapter::new(store), folder)
    });
    Suite::test_all(async || {
        let (store, folder) = create("async-suite");
        (store.into_async(), folder)
    });
}
