//! Where the examples that take `--store` keep credentials. A further kind of store is added here,
//! and only here.

use std::{error::Error, fmt, path::PathBuf, str::FromStr};

use service_specific_credentials::{
    MemoryStore,
    store::{AnyStore, Immediate, OpenError, RedbStore},
};

/// The value of `--store`: `memory`, or `redb:` and the path of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    Memory,
    Redb(PathBuf),
}

impl FromStr for StoreUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("redb", path)) if !path.is_empty() => Ok(Self::Redb(path.into())),
            _ => Err("a store is `memory` or `redb:PATH`"),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Redb(path) => write!(f, "redb:{}", path.display()),
        }
    }
}

impl StoreUrl {
    /// Opens the store, and makes it if it is a file that is not there.
    pub(crate) async fn open(&self) -> Result<AnyStore, NotOpened> {
        match self.clone() {
            Self::Memory => Ok(AnyStore::new(Immediate::new(MemoryStore::new()))),
            Self::Redb(path) => {
                // After a crash this reads the whole file: not on a thread that serves others.
                let opening = tokio::task::spawn_blocking(|| RedbStore::open(path));
                match opening.await.map_err(NotOpened::other)? {
                    Ok(store) => Ok(AnyStore::new(store.asynchronous())),
                    Err(OpenError::Held) => Err(NotOpened::Held),
                    Err(error) => Err(NotOpened::other(error)),
                }
            }
        }
    }
}

/// Why a store is not open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotOpened {
    #[error("another process holds the file")]
    Held,
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}

impl NotOpened {
    fn other(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Other(Box::new(error))
    }
}
