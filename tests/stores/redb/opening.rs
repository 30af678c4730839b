//! Which files open as a store, and the errors for other files.

use std::{
    error::Error as _,
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use redb::TableDefinition;
use service_specific_credentials::store::{OpenError, RedbOptions, RedbStore};

use super::{Folder, META, create, edit_tables, name};

/// The error of opening the file. Every operation returns the same, and leaves the file unchanged.
fn rejected(path: &Path) -> OpenError {
    let before = fs::read(path).ok();
    let error = RedbStore::open(path).unwrap_err();
    let message = error.to_string();
    let checked = RedbOptions::new().check_on_open(true);
    assert_eq!(checked.open(path).unwrap_err().to_string(), message);
    assert_eq!(RedbStore::compact(path).unwrap_err().to_string(), message);
    assert_eq!(RedbStore::check_integrity(path).unwrap_err().to_string(), message);
    if !matches!(error, OpenError::Missing(_)) {
        assert_eq!(RedbStore::create(path).unwrap_err().to_string(), message);
    }
    assert!(fs::read(path).ok() == before);
    error
}

/// The child of the next test: opens a file, reports it, and keeps it open until its input ends.
#[test]
fn child_that_keeps_a_file_open() {
    let Some(path) = std::env::var_os("SSC_HOLD") else { return };
    let _store = RedbStore::create(path).unwrap();
    io::stdout().write_all(b"\nheld\n").unwrap();
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_file_that_another_process_has_open_is_rejected() {
    let folder = Folder::new("held");
    let path = folder.file("store.redb");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "redb::opening::child_that_keeps_a_file_open", "--nocapture"])
        .env("SSC_HOLD", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "held"));
    let error = rejected(&path);
    assert!(matches!(error, OpenError::Held), "{error:?}");
    assert_eq!(error.to_string(), "the file is open elsewhere");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    RedbStore::open(&path).unwrap();
}

#[test]
fn a_file_that_this_process_has_open_is_rejected() {
    let folder = Folder::new("held-here");
    let path = folder.file("store.redb");
    let store = RedbStore::create(&path).unwrap();
    let clone = store.clone();
    drop(store);
    assert!(matches!(rejected(&path), OpenError::Held));
    drop(clone);
    RedbStore::open(&path).unwrap();
}

#[test]
fn a_missing_file_is_not_created() {
    let folder = Folder::new("absent");
    let path = folder.file("store.redb");
    let error = rejected(&path);
    assert!(matches!(&error, OpenError::Missing(named) if *named == path), "{error:?}");
    assert_eq!(error.to_string(), format!("`{}` does not exist", path.display()));
    assert!(!path.exists());
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
}

#[test]
fn an_empty_file_is_not_a_store() {
    let folder = Folder::new("empty");
    let path = folder.file("store.redb");
    fs::write(&path, "").unwrap();
    let error = rejected(&path);
    assert!(matches!(error, OpenError::NotAStore), "{error:?}");
    assert_eq!(error.to_string(), "the file is not a credential store");
}

#[test]
fn a_file_that_is_not_a_database_is_rejected() {
    let folder = Folder::new("no-database");
    let path = folder.file("notes");
    for bytes in [b"Dear diary".repeat(1000), b"x".to_vec(), vec![0; 1 << 20]] {
        fs::write(&path, &bytes).unwrap();
        let error = rejected(&path);
        assert!(matches!(error, OpenError::NotADatabase), "{error:?}");
        assert_eq!(error.to_string(), "the file is no database");
    }
}

#[cfg(unix)]
#[test]
fn a_path_that_is_not_a_regular_file_is_rejected() {
    let folder = Folder::new("pipe");
    let path = folder.file("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    for path in [&*path, Path::new("/dev/null")] {
        let error = RedbStore::open(path).unwrap_err();
        assert!(matches!(error, OpenError::NotADatabase), "{error:?}");
        let error = RedbStore::check_integrity(path).unwrap_err();
        assert!(matches!(error, OpenError::NotADatabase), "{error:?}");
    }
}

#[test]
fn a_truncated_file_is_rejected_as_damaged() {
    let folder = Folder::new("truncated");
    let path = folder.file("store.redb");
    drop(create(&path));
    let whole = fs::read(&path).unwrap();
    for length in [whole.len() / 4, whole.len() / 2, whole.len() - 4096, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = rejected(&path);
        assert!(matches!(error, OpenError::Damaged(_)), "{length}: {error:?}");
        assert_eq!(error.to_string(), "the file is damaged");
        assert!(error.source().is_some());
    }
    // So short a file may not be recognized as a database.
    for length in 1..500 {
        fs::write(&path, &whole[..length]).unwrap();
        let error = rejected(&path);
        assert!(matches!(error, OpenError::Damaged(_) | OpenError::NotADatabase), "{error:?}");
    }
}

#[test]
fn another_redb_database_is_rejected() {
    let folder = Folder::new("foreign");
    let [none, other, numbers, same] =
        ["none", "other", "numbers", "same"].map(|name| folder.file(name));
    edit_tables(&none, |_| ());
    edit_tables(&other, |transaction| {
        transaction.open_table(TableDefinition::<&str, &str>::new("orders")).unwrap();
    });
    // Other types under the names of our tables.
    edit_tables(&numbers, |transaction| {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("version", 1).unwrap();
    });
    edit_tables(&same, |transaction| {
        transaction.open_table(TableDefinition::<u32, &str>::new("meta")).unwrap();
    });
    for path in [none, other, numbers, same] {
        let error = RedbStore::open(&path).unwrap_err();
        assert!(matches!(error, OpenError::NotAStore), "{error:?}");
        assert_eq!(error.to_string(), "the file is not a credential store");
        assert!(matches!(RedbStore::check_integrity(&path), Err(OpenError::NotAStore)));
        assert!(matches!(RedbStore::compact(&path), Err(OpenError::NotAStore)));
        assert!(matches!(RedbStore::create(&path), Err(OpenError::NotAStore)));
    }
}

#[test]
fn a_file_of_a_later_format_is_rejected() {
    let folder = Folder::new("later");
    let path = folder.file("store.redb");
    drop(create(&path));
    edit_tables(&path, |transaction| {
        transaction.open_table(META).unwrap().insert("format", 2).unwrap();
    });
    let error = RedbStore::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::LaterFormat(2)), "{error:?}");
    assert_eq!(error.to_string(), "the file has format 2, which a later release created");
    assert!(matches!(RedbStore::check_integrity(&path), Err(OpenError::LaterFormat(2))));
}

#[test]
fn a_folder_is_rejected() {
    let folder = Folder::new("folder");
    let path = folder.file("store.redb");
    fs::create_dir(&path).unwrap();
    let error = rejected(&path);
    assert!(matches!(&error, OpenError::Directory(named) if *named == path), "{error:?}");
    assert_eq!(error.to_string(), format!("`{}` is a folder", path.display()));
}

#[test]
fn a_missing_folder_is_not_created() {
    let folder = Folder::new("missing");
    let path = folder.file("none").join("store.redb");
    let error = rejected(&path);
    assert!(matches!(&error, OpenError::NoFolder(named) if *named == path), "{error:?}");
    assert_eq!(error.to_string(), format!("there is no folder for `{}`", path.display()));
    let store = RedbStore::create(folder.file("store.redb")).unwrap();
    assert!(matches!(store.backup(&path), Err(OpenError::NoFolder(_))));
}

/// Also for the superuser, who may write to the file.
#[test]
fn a_read_only_file_can_be_checked_but_not_opened() {
    let folder = Folder::new("read-only");
    let path = folder.file("store.redb");
    let iam = create(&path);
    iam.register_user(&name("anika")).unwrap();
    drop(iam);
    let writable = fs::metadata(&path).unwrap().permissions();
    let mut permissions = writable.clone();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    for result in [RedbStore::open(&path), RedbStore::create(&path)] {
        let error = result.unwrap_err();
        assert!(matches!(&error, OpenError::ReadOnly(named) if *named == path), "{error:?}");
        assert_eq!(error.to_string(), format!("`{}` is read-only", path.display()));
    }
    assert!(matches!(RedbStore::compact(&path), Err(OpenError::ReadOnly(_))));
    assert!(RedbStore::check_integrity(&path).unwrap());
    fs::set_permissions(&path, writable).unwrap();
    RedbStore::open(&path).unwrap();
}
