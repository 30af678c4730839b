use std::{path::Path, sync::Arc};

use redb::Database;

use self::{
    connection::{Connect, Connection},
    guard::Guarded,
    overlay::Overlay,
    writer::Writer,
};
use crate::{
    names::account_id::AccountId,
    record::{
        UserRecord,
        key::{Key, accounts_after},
    },
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

/// Stores all users in one file, with the embedded database [redb](https://docs.rs/redb).
///
/// An acknowledged change is durable: it survives a crash of the process, a crash of the system,
/// and a loss of power, provided that the disk keeps what it reports as flushed. A change that was
/// not acknowledged is applied completely or has no effect.
///
/// A commit costs two flushes, because it has two phases. Concurrent commits share them: one
/// caller, or a thread of the store, writes a batch for all. Reads do not wait for commits, and see
/// every change that was acknowledged before they began.
///
/// Only one process at a time can have the file open. Clones share it. Dropping the last one writes
/// the submitted changes and closes the file.
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
/// to the same [backend](RedbOptions::create_with_backend), and continues. Every acknowledged
/// change is there, and a change with an unknown outcome has been applied or never will be. So a
/// store whose disk was full works again as soon as there is space. To reopen the file, redb reads
/// all of it.
///
/// Concurrent calls share one attempt to reopen the store. After two consecutive attempts without a
/// successful write, or two failed writes, the store makes one attempt [a
/// second](RedbOptions::retry_interval). Calls in between fail with [`RedbError::Stopped`]; if only
/// writing fails, reads in between succeed. [`health`](Self::health) returns the state for a health
/// check.
///
/// After an I/O error of the device, as opposed to a full disk, run
/// [`check_integrity`](Self::check_integrity) once the disk works: an operating system can report
/// such an error once and drop the data that it could not write.
///
/// # Damaged files
///
/// redb trusts a file that was closed cleanly. If the file was damaged since, redb returns an error
/// or panics when it reads a damaged part. A panic is caught and returned as
/// [`RedbError::Panicked`] or [`OpenError::Damaged`]; the panic hook still prints it. Programs
/// built with `panic = "abort"` abort instead. Reads can miss damage: with a damaged digest, a
/// correct password is denied. [`check_integrity`](Self::check_integrity) finds all damage; with
/// [`RedbOptions::check_on_open`] it runs whenever the file is opened.
///
/// In rare cases damage ends the process: redb panics while another panic unwinds, or overflows the
/// stack. If a process repeatedly ends while it opens or reads a file, run `check_integrity` on a
/// copy of the file in a separate process. If that process ends too, or reports damage, replace the
/// file by a [`backup`](Self::backup).
#[derive(Clone, Debug)]
pub struct RedbStore(Arc<Writer>);

impl RedbStore {
    /// Opens the file at `path`, and creates it if it does not exist.
    ///
    /// A new file is complete and flushed before it gets its name. Until then its name is
    /// `.new-store-`, 12 random characters, and `.redb`, in the same folder. A crash can leave such
    /// a file behind; it can be deleted while no store and no backup is being created. On Unix only
    /// the owner may read and write a new file. A symbolic link to an existing file is followed,
    /// but no file is created through a link.
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
    /// After a crash this verifies the checksum of every page of the file, which takes longer.
    ///
    /// # Errors
    ///
    /// [`OpenError::Missing`] if there is no file: a misspelt path does not create an empty store.
    /// [`OpenError::NotAStore`] if the file is empty. Every other cause has its own variant too.
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

    /// The accounts that have users, in order: for [`CopyUsers`](super::CopyUsers). Costs one
    /// lookup per account.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn accounts(&self) -> Result<Vec<AccountId>, StoreError> {
        let mut accounts = Vec::new();
        loop {
            let start = accounts_after(accounts.last().copied());
            let found = self.0.read(|snapshot| snapshot.first_from(&start));
            let Some(record) = found.map_err(StoreError::new)? else { return Ok(accounts) };
            accounts.push(record.account());
        }
    }

    /// The same store for an [`AsyncCredentialManager`](crate::AsyncCredentialManager), on any
    /// runtime. Reads are brief and access the file on the thread of the caller. Commits do not
    /// block the thread, nor do reads that wait until the database is reopened.
    #[must_use]
    pub fn into_async(self) -> AsyncRedbStore {
        AsyncRedbStore(self)
    }

    /// The present state of the store, without access to the file. A [closed](RedbHealth::Closed)
    /// store stays closed until the next call that reads or writes.
    #[must_use]
    pub fn health(&self) -> RedbHealth {
        self.0.health()
    }

    /// Copies everything acknowledged so far into a new file, while the store is in use. The copy
    /// is complete and flushed when this returns, and is an independent store.
    ///
    /// The file is created as [`create`](Self::create) does. No existing file is replaced.
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

    /// Compacts a file that no store has open. Returns whether the file was changed.
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
    /// decoded, and that index and records agree. Returns `false` if the file is damaged but can be
    /// opened.
    ///
    /// The file is only read, and may be read-only. After a crash, the check covers the state to
    /// which the next opening will recover it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open). [`OpenError::Damaged`] if the file is too damaged to be opened.
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
/// Once its future was polled, a change is written even if the future is dropped.
#[derive(Clone, Debug)]
pub struct AsyncRedbStore(RedbStore);

impl AsyncRedbStore {
    /// The accounts that have users: see [`RedbStore::accounts`].
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub async fn accounts(&self) -> Result<Vec<AccountId>, StoreError> {
        let mut accounts = Vec::new();
        loop {
            let start = accounts_after(accounts.last().copied());
            let found = self.0.0.read_async(|snapshot| snapshot.first_from(&start)).await;
            let Some(record) = found.map_err(StoreError::new)? else { return Ok(accounts) };
            accounts.push(record.account());
        }
    }
}

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
