use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{Database, DatabaseError, StorageBackend, StorageError, backends::FileBackend};

use self::writer::Writer;
use super::{AsyncStore, Change, Commit, DecodeError, Key, Range, Store, StoreError, UserRecord};

mod database;
mod writer;

/// Keeps everything in one file, in the embedded database [redb](https://docs.rs/redb).
///
/// What was acknowledged is on the disk: it survives a crash of the process, of the system, and a
/// loss of power, as far as the disk keeps what it says it has flushed. A change that was not
/// acknowledged is there wholly or not at all.
///
/// A commit costs two flushes, since it is made in two phases. Callers that commit at the same time
/// share them: one of them, or a thread of the store's, writes for all, a batch at a time. Reading waits for nobody, and sees
/// everything that was acknowledged before it began.
///
/// One process at a time has the file open. Clones share it; dropping the last one finishes what was
/// accepted and closes the file.
///
/// # Failures
///
/// If the file cannot be written, everybody in the batch is told that the outcome is unknown, and
/// the store stops: reading and writing fail, with [`RedbError::Stopped`], until it is opened again.
/// Everything that was acknowledged is there then.
///
/// ```no_run
/// use service_specific_credentials::{CredentialManager, store::RedbStore};
///
/// let store = RedbStore::open("credentials.redb")?;
/// let iam = CredentialManager::new("123456789012".parse()?, store);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RedbStore(Arc<Writer>);

impl RedbStore {
    /// Opens the file at `path`, and makes it if there is none: as `path` and `.new`, to give it its
    /// own name once it is whole. A file without a byte in it is made a store where it is. On Unix, a
    /// new file is its owner's alone to read and write.
    ///
    /// After a crash this checks the whole file and takes longer than otherwise.
    ///
    /// # Errors
    ///
    /// As [`OpenError`] says, each case by a variant of its own.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::open_with(&RedbOptions::default(), path)
    }

    /// Opens a file with options of one's own.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with(options: &RedbOptions, path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::start(open_file(options, path.as_ref())?)
    }

    /// Opens a database in storage of one's own, in place of a file: for tests of what happens when
    /// storage fails, and for storage that encrypts.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_backend(
        options: &RedbOptions,
        backend: impl StorageBackend,
    ) -> Result<Self, OpenError> {
        Self::start(database::open(&options.builder(), backend)?)
    }

    fn start(database: Database) -> Result<Self, OpenError> {
        database::prepare(&database)?;
        Ok(Self(Arc::new(Writer::start(database)?)))
    }

    /// The same store for an [`AsyncCredentialManager`](crate::AsyncCredentialManager), on any
    /// runtime. Reads are brief and made directly; commits wait for the writing thread without
    /// blocking the executor.
    #[must_use]
    pub fn asynchronous(&self) -> AsyncRedbStore {
        AsyncRedbStore(self.clone())
    }

    /// Copies everything that was acknowledged by now into a new file, while this one goes on being
    /// used. The copy is complete and flushed when this returns, and a store of its own.
    ///
    /// # Errors
    ///
    /// [`OpenError::Exists`] if there is a file already; otherwise as [`open`](Self::open).
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<(), OpenError> {
        let path = path.as_ref();
        let snapshot = self.0.snapshot()?;
        let copy = make(&RedbOptions::default(), path, |copy| Ok(snapshot.copy_to(copy)?))?;
        copy.map(drop).ok_or_else(|| OpenError::Exists(path.to_owned()))
    }

    /// Makes a file that no store has open as small as it can be. Returns whether that changed it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn compact(path: impl AsRef<Path>) -> Result<bool, OpenError> {
        let mut database = open_existing(path.as_ref())?;
        database::prepare(&database)?;
        Ok(database.compact().map_err(redb::Error::from)?)
    }

    /// Checks every page of a file that no store has open, and that index and records agree.
    /// Returns whether all is well; what the database could repair, it has repaired.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn check_integrity(path: impl AsRef<Path>) -> Result<bool, OpenError> {
        let mut database = open_existing(path.as_ref())?;
        database::prepare(&database)?;
        let whole = database.check_integrity()?;
        Ok(whole && database::Snapshot::take(&database)?.agrees()?)
    }
}

/// Opens a file to look after it: there is nothing to look after in one that has to be made.
fn open_existing(path: &Path) -> Result<Database, OpenError> {
    if folder(path).is_dir() && !is_there(path) {
        return Err(OpenError::Missing(path.to_owned()));
    }
    open_file(&RedbOptions::default(), path)
}

fn open_file(options: &RedbOptions, path: &Path) -> Result<Database, OpenError> {
    if path.is_dir() {
        return Err(OpenError::Directory(path.to_owned()));
    }
    if path.metadata().is_ok_and(|metadata| metadata.permissions().readonly()) {
        return Err(OpenError::ReadOnly(path.to_owned()));
    }
    if !is_there(path)
        && let Some(made) = make(options, path, database::prepare)?
    {
        return Ok(made);
    }
    options.builder().create(path).map_err(|error| match error {
        DatabaseError::Storage(StorageError::Io(error)) => OpenError::io(error, path),
        error => error.into(),
    })
}

fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Makes a new file under another name, and only then gives it its own: a crash leaves
/// the whole of it or none, and never one that opens as something else or not at all. Returns
/// nothing if the file was there already.
fn make(
    options: &RedbOptions,
    path: &Path,
    write: impl FnOnce(&Database) -> Result<(), OpenError>,
) -> Result<Option<Database>, OpenError> {
    let failed = |error| OpenError::io(error, path);
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    // What a crash left of an earlier one is overwritten, but not what somebody is making now.
    let mut how = File::options();
    how.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut how, 0o600);
    let file = how.open(unfinished).map_err(failed)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(OpenError::Held),
        Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => {
            return Err(failed(error));
        }
        _ => {}
    }
    let made = (|| {
        // Before the lock was had, the file may have been finished and got its own name.
        if is_there(path) {
            return Ok(None);
        }
        file.set_len(0).map_err(failed)?;
        let database = options.builder().create_with_backend(FileBackend::new(file)?)?;
        write(&database)?;
        fs::rename(unfinished, path).map_err(failed)?;
        sync_folder(path).map_err(failed)?;
        Ok(Some(database))
    })();
    if !matches!(made, Ok(Some(_))) {
        let _ = fs::remove_file(unfinished);
    }
    made
}

/// Makes the name of a new file as durable as what is in it.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

impl Store for RedbStore {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.0.snapshot().and_then(|snapshot| snapshot.find(key)).map_err(StoreError::new)
    }

    fn commit(&self, change: &Change) -> Result<Commit, StoreError> {
        self.0.commit(change)
    }

    fn scan(&self, range: &Range<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.0.snapshot().and_then(|snapshot| snapshot.scan(range)).map_err(StoreError::new)
    }
}

/// [`RedbStore`] for an [`AsyncCredentialManager`](crate::AsyncCredentialManager).
///
/// A change whose future is dropped is made all the same if it was handed over.
#[derive(Clone, Debug)]
pub struct AsyncRedbStore(RedbStore);

impl AsyncStore for AsyncRedbStore {
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.0.find(key)
    }

    async fn commit(&self, change: &Change) -> Result<Commit, StoreError> {
        self.0.0.submit(change).await
    }

    async fn scan(&self, range: &Range<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.0.scan(range)
    }
}

/// How a [`RedbStore`] uses its file.
#[derive(Clone, Debug, Default)]
pub struct RedbOptions {
    cache_bytes: Option<usize>,
}

impl RedbOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes of the file to keep in memory, instead of what redb takes by default.
    #[must_use]
    pub const fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = Some(bytes);
        self
    }

    fn builder(&self) -> redb::Builder {
        let mut builder = Database::builder();
        if let Some(bytes) = self.cache_bytes {
            builder.set_cache_size(bytes);
        }
        builder
    }
}

/// A file could not be opened as a [`RedbStore`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another store of this one, has the file open.
    #[error("the file is open elsewhere")]
    Held,
    /// The file is no redb database.
    #[error("the file is no database")]
    NotADatabase,
    /// The file is a redb database, and damaged: a part of it is missing, for one.
    #[error("the file is damaged")]
    Damaged(#[source] RedbError),
    /// The file is a redb database, but of something else.
    #[error("the database holds something other than credentials")]
    NotAStore,
    /// A later release made the file.
    #[error("the file has format {0}, which a later release made")]
    LaterFormat(u64),
    /// An earlier release of redb made the file.
    #[error("the file has the format of redb {0}, and needs to be upgraded")]
    EarlierRedb(u8),
    /// A folder was named.
    #[error("`{}` is a folder", .0.display())]
    Directory(PathBuf),
    /// There is no such folder for the file to be in.
    #[error("there is no folder for `{}`", .0.display())]
    NoFolder(PathBuf),
    /// The file cannot be written.
    #[error("`{}` is read-only", .0.display())]
    ReadOnly(PathBuf),
    /// A file that was to be compacted or checked is not there.
    #[error("`{}` does not exist", .0.display())]
    Missing(PathBuf),
    /// A file that was to be made is there already.
    #[error("`{}` exists already", .0.display())]
    Exists(PathBuf),
    /// Anything else that the database or the system reports.
    #[error("the file cannot be opened")]
    Other(#[source] RedbError),
}

impl From<DatabaseError> for OpenError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::Held,
            DatabaseError::UpgradeRequired(version) => Self::EarlierRedb(version),
            DatabaseError::Storage(error @ StorageError::Corrupted(_)) => {
                Self::Damaged(redb::Error::from(error).into())
            }
            DatabaseError::Storage(StorageError::Io(error))
                if error.kind() == io::ErrorKind::InvalidData =>
            {
                Self::NotADatabase
            }
            DatabaseError::Storage(StorageError::Io(error))
                if error.kind() == io::ErrorKind::UnexpectedEof =>
            {
                Self::Damaged(redb::Error::Io(error).into())
            }
            error => redb::Error::from(error).into(),
        }
    }
}

impl OpenError {
    fn io(error: io::Error, path: &Path) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::NotADatabase,
            io::ErrorKind::UnexpectedEof => Self::Damaged(redb::Error::Io(error).into()),
            io::ErrorKind::IsADirectory => Self::Directory(path.to_owned()),
            io::ErrorKind::NotFound => Self::NoFolder(path.to_owned()),
            io::ErrorKind::PermissionDenied => Self::ReadOnly(path.to_owned()),
            io::ErrorKind::AlreadyExists => Self::Exists(path.to_owned()),
            _ => redb::Error::Io(error).into(),
        }
    }
}

impl From<redb::Error> for OpenError {
    fn from(error: redb::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<RedbError> for OpenError {
    fn from(error: RedbError) -> Self {
        Self::Other(error)
    }
}

/// What a [`RedbStore`] puts into a [`StoreError`], to be had by
/// [`get_ref`](StoreError::get_ref) and `downcast_ref`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedbError {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] redb::Error),
    /// A record in the file cannot be read.
    #[error("a record in the file cannot be read")]
    Record(#[source] DecodeError),
    /// The index names a record that is not there.
    #[error("the index names a record that is not there")]
    Index,
    /// The change, or another of its batch, could not be written. Whether it was made is not known.
    #[error("writing failed, and it is not known whether the change was made")]
    Unknown(#[source] Arc<Self>),
    /// An earlier write failed. The store works again once it is opened anew.
    #[error("the store stopped when an earlier write failed, until it is opened again")]
    Stopped(#[source] Arc<Self>),
    /// The database panicked while it was writing.
    #[error("the database panicked while it was writing")]
    Panicked,
}
