//! Where the examples that take `--store` keep credentials. A further kind of store is added here,
//! and only here.

use std::{error::Error, fmt, path::PathBuf, str::FromStr};

use service_specific_credentials::{
    MemoryStore,
    store::{AnyStore, Immediate, OpenError, PostgresStore, RedbStore},
};

/// The value of `--store`: `memory`, `redb:` and the path of a file, or the URL of a PostgreSQL
/// database, also after another `postgres:`. Without a URL it is that of `DATABASE_URL`, where it can
/// hold a password that a command line would show to everybody on the machine.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    Memory,
    Redb(PathBuf),
    Postgres(String),
}

impl FromStr for StoreUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "memory" => Ok(Self::Memory),
            Some(("redb", path)) if !path.is_empty() => Ok(Self::Redb(path.into())),
            None if text == "postgres" => {
                let url = std::env::var("DATABASE_URL");
                url.map(Self::Postgres).map_err(|_| "`postgres` needs a URL in DATABASE_URL")
            }
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                Ok(Self::Postgres(text.to_owned()))
            }
            Some(("postgres", url)) if !url.is_empty() => Ok(Self::Postgres(url.to_owned())),
            _ => Err("a store is `memory`, `redb:PATH` or `postgres:URL`"),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Redb(path) => write!(f, "redb:{}", path.display()),
            // There may be a password in the URL.
            Self::Postgres(_) => f.write_str("postgres"),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StoreUrl {
    /// Opens the store, and makes the file or the tables if they are not there.
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
            Self::Postgres(url) => {
                let store = PostgresStore::connect(&url).await.map_err(NotOpened::other)?;
                store.migrate().await.map_err(NotOpened::other)?;
                Ok(AnyStore::new(store))
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
