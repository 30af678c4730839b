//! Where the examples that take `--store` keep credentials. A further kind of store is added here,
//! and only here.

use std::{fmt, path::PathBuf, str::FromStr};

use service_specific_credentials::{
    MemoryStore,
    store::{AnyStore, Immediate, OpenError, RedbStore},
};

/// The value of `--store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreChoice {
    Memory,
    Redb(PathBuf),
}

impl FromStr for StoreChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("redb", path)) if !path.is_empty() => Ok(Self::Redb(path.into())),
            _ => Err("a store is `memory` or `redb:PATH`"),
        }
    }
}

impl fmt::Display for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Redb(path) => write!(f, "redb:{}", path.display()),
        }
    }
}

impl StoreChoice {
    /// Opens the store, and makes it if it is a file that is not there.
    pub(crate) async fn open(&self) -> Result<AnyStore, OpenError> {
        match self.clone() {
            Self::Memory => Ok(AnyStore::new(Immediate::new(MemoryStore::new()))),
            Self::Redb(path) => {
                // After a crash this reads the whole file: not on a thread that serves others.
                let opened = tokio::task::spawn_blocking(|| RedbStore::open(path)).await;
                let store =
                    opened.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
                Ok(AnyStore::new(store.asynchronous()))
            }
        }
    }
}
