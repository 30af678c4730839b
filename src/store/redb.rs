use std::{path::Path, sync::Arc};

use redb::Database;

use self::{
    connection::{Connect, Connection},
    guard::Guarded,
    overlay::Overlay,
    writer::Writer,
};
use crate::record::{UserRecord, key::Key};
use crate::{
    store::{
        AsyncStore, Store,
        change::{Change, CommitOutcome},
        scan_range::ScanRange,
    },
    store_error::StoreError,
};

pub use error::{OpenError, RedbError};
pub use health::RedbHealth;
pub use options::RedbOptions;

mod connection;
mod database;
mod error;
mod file;
mod guard;
mod health;
mod options;
mod overlay;
mod tables;
mod writer;

/// Keeps everything in one file, in the embedded database [redb](https://docs.rs/redb).
///
/// An acknowledged change is durable: it survives a crash of the process, a crash of the system,
/// and a loss of power, as far as the disk keeps what it says it has flushed. A change that was not
/// acknowledged is applied completely or not at all.
///
/// A commit costs two flushes, since it is made in two phases. Concurrent commits share them: one
/// caller, or a thread of the store, writes a batch for all. Reads wait for no commit, and see
/// every change that was acknowledged before they began.
///
/// One process at a time has the file open. Clones share it; dropping the last one writes what was
/// handed over and closes the file.
///
/// ```no_run
/// use service_specific_credentials::{CredentialManager, store::RedbStore};
///
/// let store = RedbStore::create("credentials.redb")?;
/// let iam = CredentialManager::new("123456789012".parse()?, store);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Failures
///
/// If storage fails, every change of the batch fails with [`RedbError::Unknown`], and the database
/// is closed. The next call, of any kind and through any clone, reopens the same file, or connects
/// to the same [backend](RedbOptions::create_with_backend), and continues: every acknowledged
/// change is there, and a change with an unknown outcome has been applied or never will be. So a
/// store whose disk was full works again as soon as there is space. To reopen, redb reads the whole
/// file.
///
/// Concurrent calls share one attempt to reopen the store. After two attempts in a row without a
/// successful write, and likewise after two failed writes, there is one attempt [a
/// second](RedbOptions::retry_interval). Calls in between fail with [`RedbError::Stopped`]; reads
/// work in between if it is writing that fails. [`health`](Self::health) returns the state for a
/// health check.
///
/// After an I/O error of the device, as opposed to a full disk, run
/// [`check_integrity`](Self::check_integrity) once the disk works: a system can report such an
/// error once, and drop the data that it could not write.
///
/// # Damaged files
///
/// redb trusts a file that was closed cleanly. If the file was damaged since, redb returns an error
/// or panics when it reads a damaged part. A panic is caught and returned as
/// [`RedbError::Panicked`] or [`OpenError::Damaged`]; the panic hook still prints it. Programs
/// built with `panic = "abort"` abort instead. Damage can go unnoticed by reads: a damaged digest
/// denies a correct password. [`check_integrity`](Self::check_integrity) finds all of it, before
/// every use with [`RedbOptions::check_on_open`].
///
/// In rare cases damage ends the process: redb panics while another panic unwinds, or exhausts the
/// stack. If a process does not start, or ends again and again, while it opens or reads a file, run
/// `check_integrity` on a copy of the file in a process of its own. If that ends too, or finds
/// damage, replace the file by a [`backup`](Self::backup).
#[derive(Clone, Debug)]
pub struct RedbStore(Arc<Writer>);

impl RedbStore {
    /// Opens the file at `path`, and creates it if it does not exist.
    ///
    /// A new file is complete and flushed before it gets its name; until then it is named
    /// `.new-store-`, 12 random characters, and `.redb`, in the same folder. A crash can leave such
    /// a file; it can be deleted when nothing is creating a store or a backup. On Unix only the
    /// owner may read and write a new file. A symbolic link to an existing file is followed, but no
    /// file is created through one.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open). [`OpenError::NoFolder`] if the folder does not exist.
    /// [`OpenError::DanglingLink`] if `path` is a symbolic link to a file that does not exist.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        RedbOptions::default().create(path)
    }

    /// Opens the existing file at `path`.
    ///
    /// After a crash this checks the checksum of every page of the file, and takes longer than
    /// otherwise.
    ///
    /// # Errors
    ///
    /// [`OpenError::Missing`] if there is no file: a misspelt path does not become an empty store.
    /// [`OpenError::NotAStore`] if the file is empty. Each other cause has its own variant too.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        RedbOptions::default().open(path)
    }

    fn start(
        options: &RedbOptions,
        database: Guarded<Database>,
        connect: Connect,
    ) -> Result<Self, OpenError> {
        let connection = Connection::new(connect, database, options.interval());
        if options.checks_on_open() && !connection.snapshot()?.is_consistent()? {
            return Err(RedbError::Index.into());
        }
        Ok(Self(Arc::new(Writer::start(connection)?)))
    }

    /// The same store for an [`AsyncCredentialManager`](crate::AsyncCredentialManager), on any
    /// runtime. Reads are brief and access the file on the thread of the caller. Commits, and reads
    /// that wait until the database is reopened, do not block it.
    #[must_use]
    pub fn into_async(self) -> AsyncRedbStore {
        AsyncRedbStore(self)
    }

    /// What the store can do now, without accessing the file. It tries nothing: a store that is
    /// [closed](RedbHealth::Closed) stays closed until the next call reads or writes.
    #[must_use]
    pub fn health(&self) -> RedbHealth {
        self.0.health()
    }

    /// Copies everything that was acknowledged by now into a new file, while the store is in use.
    /// The copy is complete and flushed when this returns, and is a store of its own.
    ///
    /// The file is created as [`create`](Self::create) does. Nothing is replaced.
    ///
    /// # Errors
    ///
    /// [`OpenError::Exists`] if there is a file, a folder or a symbolic link at `path`; otherwise
    /// as [`create`](Self::create).
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<(), OpenError> {
        let path = path.as_ref();
        if path.symlink_metadata().is_ok() {
            return Err(OpenError::Exists(path.to_owned()));
        }
        let snapshot = self.0.read(|snapshot| Ok(Arc::clone(snapshot)))?;
        let copy = |database: &Database| Ok(snapshot.copy_to(database)?);
        file::create(&RedbOptions::default(), path, copy).map(drop)
    }

    /// Makes a file that no store has open as small as it can be. Returns whether that changed it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn compact(path: impl AsRef<Path>) -> Result<bool, OpenError> {
        let file = file::open(path.as_ref())?;
        guard::call(|| {
            let storage = file::backend(&file)?;
            let mut database =
                database::open_unguarded(&RedbOptions::default().builder(), storage)?;
            Ok(database.compact().map_err(redb::Error::from)?)
        })
    }

    /// Checks a file that no store has open: the checksums of all pages, that every record can be
    /// decoded, and that index and records agree. Returns `false` if the file is damaged and opens
    /// nevertheless.
    ///
    /// The file is only read, and may be read-only. After a crash, it is checked as it will be when
    /// it is opened next.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open). [`OpenError::Damaged`] if the damage does not permit to open the
    /// file.
    pub fn check_integrity(path: impl AsRef<Path>) -> Result<bool, OpenError> {
        let file = file::open_for_reading(path.as_ref())?;
        guard::call(|| {
            let storage = Overlay::new(file::backend(&file)?)?;
            let mut database =
                database::open_unguarded(&RedbOptions::default().builder(), storage)?;
            Ok(database.check_integrity()?
                && tables::Snapshot::take(&database, 0)?.is_consistent()?)
        })
    }
}

impl Store for RedbStore {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.0.read(|snapshot| snapshot.find(key)).map_err(StoreError::new)
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.0.commit(change).map_err(StoreError::new)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.0.read(|snapshot| snapshot.scan(range)).map_err(StoreError::new)
    }
}

/// [`RedbStore`] for an [`AsyncCredentialManager`](crate::AsyncCredentialManager).
///
/// A change is written even if its future is dropped, once the future was polled.
#[derive(Clone, Debug)]
pub struct AsyncRedbStore(RedbStore);

impl AsyncStore for AsyncRedbStore {
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.0.0.read_async(|snapshot| snapshot.find(key)).await.map_err(StoreError::new)
    }

    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.0.0.commit_async(change).await.map_err(StoreError::new)
    }

    async fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.0.0.read_async(|snapshot| snapshot.scan(range)).await.map_err(StoreError::new)
    }
}
