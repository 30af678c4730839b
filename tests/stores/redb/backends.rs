//! Stores in custom storage backends.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
    sync::Arc,
};

use redb::{StorageBackend, backends::FileBackend, backends::InMemoryBackend};
use service_specific_credentials::{
    CredentialManager,
    store::{OpenError, RedbOptions, RedbStore},
};

use super::{ACCOUNT, Folder, create, name, open};

/// Storage in memory. Clones share it.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<InMemoryBackend>);

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

#[test]
fn opening_empty_storage_writes_nothing() {
    let memory = Memory::default();
    let connect = {
        let memory = memory.clone();
        move || Ok(memory.clone())
    };
    let options = RedbOptions::new();
    let error = options.open_with_backend(connect.clone()).unwrap_err();
    assert!(matches!(error, OpenError::NotAStore), "{error:?}");
    assert_eq!(memory.len().unwrap(), 0);
    let iam = CredentialManager::new(
        name(ACCOUNT),
        options.create_with_backend(connect.clone()).unwrap(),
    );
    iam.register_user(&name("anika")).unwrap();
    drop(iam);
    for store in [options.open_with_backend(connect.clone()), options.create_with_backend(connect)]
    {
        let iam = CredentialManager::new(name(ACCOUNT), store.unwrap());
        iam.user(&name("anika")).unwrap();
    }
}

#[test]
fn a_connection_that_fails_or_panics_is_an_error() {
    let options = RedbOptions::new();
    let fails = || Err::<Memory, _>(io::Error::other("no route to the storage"));
    let panics = || -> io::Result<Memory> { panic!("no route to the storage") };
    assert!(matches!(options.open_with_backend(fails), Err(OpenError::Other(_))));
    assert!(matches!(options.create_with_backend(fails), Err(OpenError::Other(_))));
    assert!(matches!(options.open_with_backend(panics), Err(OpenError::Damaged(_))));
    assert!(matches!(options.create_with_backend(panics), Err(OpenError::Damaged(_))));
}

/// The file of a store can be used as a backend, and is locked.
#[test]
fn a_file_is_a_backend() {
    let folder = Folder::new("backend");
    let (path, new) = (folder.file("store.redb"), folder.file("new.redb"));
    let connect = |path: &PathBuf| {
        let path = path.clone();
        move || {
            let file = File::options().read(true).write(true).open(&path)?;
            FileBackend::new(file).map_err(io::Error::other)
        }
    };
    let options = RedbOptions::new();
    let iam = create(&path);
    iam.register_user(&name("anika")).unwrap();
    assert!(matches!(options.open_with_backend(connect(&path)), Err(OpenError::Held)));
    assert!(matches!(options.create_with_backend(connect(&path)), Err(OpenError::Held)));
    drop(iam);
    let store = options.open_with_backend(connect(&path)).unwrap();
    assert!(matches!(RedbStore::open(&path), Err(OpenError::Held)));
    CredentialManager::new(name(ACCOUNT), store).user(&name("anika")).unwrap();
    open(&path).user(&name("anika")).unwrap();

    fs::write(&new, "").unwrap();
    drop(options.create_with_backend(connect(&new)).unwrap());
    assert!(RedbStore::check_integrity(&new).unwrap());
    open(&new).register_user(&name("anika")).unwrap();
}
