use std::{fs::File, io, path::Path, time::Duration};

use redb::{Builder, Database, StorageBackend};

use super::{RedbStore, connection::Connect, database, error::OpenError, file, guard};

/// Options of a [`RedbStore`], and constructors that apply them.
///
/// ```no_run
/// use service_specific_credentials::store::RedbOptions;
///
/// let store = RedbOptions::new().cache_bytes(64 << 20).open("credentials.redb")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct RedbOptions {
    cache_bytes: Option<usize>,
    check_on_open: bool,
    retry_interval: Duration,
}

impl Default for RedbOptions {
    fn default() -> Self {
        Self { cache_bytes: None, check_on_open: false, retry_interval: Duration::from_secs(1) }
    }
}

impl RedbOptions {
    /// The default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many bytes of the file are cached in memory. Default: redb's, which is 1 GiB.
    #[must_use]
    pub const fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = Some(bytes);
        self
    }

    /// Checks the file on opening, as [`RedbStore::check_integrity`] does. Default: `false`.
    ///
    /// Without the check, damage is noticed when a damaged part of the file is read, and some
    /// damage is not noticed at all: a correct password can be denied because its digest is
    /// damaged.
    #[must_use]
    pub const fn check_on_open(mut self, check: bool) -> Self {
        self.check_on_open = check;
        self
    }

    /// Sets how long the store waits between attempts to recover that fail repeatedly. Default: one
    /// second. Zero is no wait. The first attempts [do not wait](RedbStore#failures).
    #[must_use]
    pub const fn retry_interval(mut self, interval: Duration) -> Self {
        self.retry_interval = interval;
        self
    }

    /// Opens the file at `path` as [`RedbStore::create`] does.
    ///
    /// # Errors
    ///
    /// As [`RedbStore::create`].
    pub fn create(&self, path: impl AsRef<Path>) -> Result<RedbStore, OpenError> {
        let path = path.as_ref();
        match self.open(path) {
            Err(OpenError::Missing(_)) => {}
            opened => return opened,
        }
        match file::create(self, path, |_| Ok(())) {
            Ok((database, file)) => RedbStore::start(self, database, self.connect_file(file)),
            // Another caller was faster.
            Err(OpenError::Exists(_)) => self.open(path),
            Err(error) => Err(error),
        }
    }

    /// Opens the file at `path` as [`RedbStore::open`] does.
    ///
    /// # Errors
    ///
    /// As [`RedbStore::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<RedbStore, OpenError> {
        let connect = self.connect_file(file::open(path.as_ref())?);
        RedbStore::start(self, connect()?, connect)
    }

    /// Opens the store in custom storage, and creates it if the storage is empty. Use it for
    /// storage that encrypts, or for tests of storage failures.
    ///
    /// `connect` returns a backend that accesses the storage. It is called again to
    /// [reopen](RedbStore#failures) the store after a failure, once the previous backend has been
    /// closed and dropped.
    ///
    /// Storage in which an earlier creation was interrupted counts as empty.
    ///
    /// # Errors
    ///
    /// As [`RedbStore::open`], and if `connect` fails.
    pub fn create_with_backend<B: StorageBackend>(
        &self,
        connect: impl Fn() -> io::Result<B> + Send + Sync + 'static,
    ) -> Result<RedbStore, OpenError> {
        let database = guard::call(|| database::create_if_empty(&self.builder(), connect()?))?;
        RedbStore::start(self, database, self.connect_backend(connect))
    }

    /// Opens an existing store in custom storage, as
    /// [`create_with_backend`](Self::create_with_backend) does.
    ///
    /// # Errors
    ///
    /// As [`RedbStore::open`], and if `connect` fails.
    pub fn open_with_backend<B: StorageBackend>(
        &self,
        connect: impl Fn() -> io::Result<B> + Send + Sync + 'static,
    ) -> Result<RedbStore, OpenError> {
        let connect = self.connect_backend(connect);
        RedbStore::start(self, connect()?, connect)
    }

    fn connect_file(&self, file: File) -> Connect {
        let options = self.clone();
        Box::new(move || database::open(&options.builder(), file::backend(&file)?))
    }

    fn connect_backend<B: StorageBackend>(
        &self,
        connect: impl Fn() -> io::Result<B> + Send + Sync + 'static,
    ) -> Connect {
        let options = self.clone();
        Box::new(move || guard::call(|| database::open(&options.builder(), connect()?)))
    }

    pub(super) const fn checks_on_open(&self) -> bool {
        self.check_on_open
    }

    pub(super) const fn interval(&self) -> Duration {
        self.retry_interval
    }

    pub(super) fn builder(&self) -> Builder {
        let mut builder = Database::builder();
        builder.set_check_integrity_on_open(self.check_on_open);
        if let Some(bytes) = self.cache_bytes {
            builder.set_cache_size(bytes);
        }
        builder
    }
}
