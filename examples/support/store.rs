//! Stores by the text that a command line names them with.

use std::{error::Error, path::PathBuf, str::FromStr};

use service_specific_credentials::{
    MemoryStore,
    store::{AnyStore, Immediate, RedbStore},
};

/// Which store to use: `memory`, or `redb:` and the path of a file.
#[derive(Clone, Debug)]
pub(crate) enum StoreUrl {
    Memory,
    Redb(PathBuf),
}

impl StoreUrl {
    /// Opens the store.
    #[allow(clippy::unused_async, reason = "a store on a network has to wait here")]
    pub(crate) async fn open(&self) -> Result<AnyStore, Box<dyn Error>> {
        Ok(match self {
            Self::Memory => AnyStore::new(Immediate::new(MemoryStore::new())),
            Self::Redb(path) => AnyStore::new(RedbStore::open(path)?.asynchronous()),
        })
    }
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
