//! Where the examples that take `--store` keep credentials. A further kind of store is added here,
//! and only here.

use std::{convert::Infallible, error::Error, fmt, path::PathBuf, str::FromStr};

#[cfg(feature = "dynamodb")]
use service_specific_credentials::store::DynamoDbStore;
use service_specific_credentials::{
    AccountId, MemoryStore,
    store::{DynAsyncStore, OpenError, PostgresStore, RedbStore, SyncAdapter},
};

/// The value of `--store`: `memory`, `redb:` and the path of a file, or the URL of a PostgreSQL
/// database, also after another `postgres:`. Without a URL it is that of `DATABASE_URL`, where it
/// can hold a password that a command line would show to everybody on the machine. With
/// the feature `dynamodb`, also `dynamodb:` and the name of a table of Amazon DynamoDB.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum StoreUrl {
    Memory,
    Redb(PathBuf),
    Postgres(String),
    #[cfg(feature = "dynamodb")]
    DynamoDb(String),
    /// None of these, and why not. Told when it is to be opened: what reads a command line repeats
    /// what it cannot read, and that may be a password.
    Unknown(&'static str),
}

impl FromStr for StoreUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        Ok(match (&*kind.to_ascii_lowercase(), rest) {
            ("memory", "") => Self::Memory,
            ("redb", path) if !path.is_empty() => Self::Redb(path.into()),
            ("postgres", "") => match std::env::var("DATABASE_URL") {
                Ok(url) => Self::Postgres(url),
                Err(_) => Self::Unknown("`postgres` needs a URL in DATABASE_URL"),
            },
            ("postgres" | "postgresql", rest) if rest.starts_with("//") => {
                Self::Postgres(format!("postgres:{rest}"))
            }
            ("postgres", url) => Self::Postgres(url.to_owned()),
            #[cfg(feature = "dynamodb")]
            ("dynamodb", table) if !table.is_empty() => Self::DynamoDb(table.to_owned()),
            #[cfg(not(feature = "dynamodb"))]
            ("dynamodb", _) => Self::Unknown("`dynamodb` needs a build with `--features dynamodb`"),
            _ => Self::Unknown(
                "a store is `memory`, `redb:PATH`, `postgres:URL` or `dynamodb:TABLE`",
            ),
        })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Redb(path) => write!(f, "redb:{}", path.display()),
            // There may be a password in the URL.
            Self::Postgres(_) => f.write_str("postgres"),
            #[cfg(feature = "dynamodb")]
            Self::DynamoDb(table) => write!(f, "dynamodb:{table}"),
            Self::Unknown(_) => f.write_str("--store"),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StoreUrl {
    /// Opens the store: a file with `open_file`, which is `RedbStore::open`, or `RedbStore::create`
    /// if a missing file is to be created. Missing tables are created.
    pub(crate) async fn open(
        &self,
        open_file: fn(PathBuf) -> Result<RedbStore, OpenError>,
    ) -> Result<DynAsyncStore, NotOpened> {
        self.open_listed(open_file, false).await.map(|(store, _)| store)
    }

    /// The same, with the accounts that have users, if `lists`. DynamoDB then reads the whole
    /// table.
    pub(crate) async fn open_listed(
        &self,
        open_file: fn(PathBuf) -> Result<RedbStore, OpenError>,
        lists: bool,
    ) -> Result<(DynAsyncStore, Vec<AccountId>), NotOpened> {
        let mut accounts = Vec::new();
        match self.clone() {
            Self::Unknown(why) => Err(NotOpened::Unknown(why)),
            Self::Memory => {
                let store = DynAsyncStore::new(SyncAdapter::new(MemoryStore::new()));
                Ok((store, accounts))
            }
            Self::Redb(path) => {
                // After a crash this reads the whole file: not on a thread that serves others.
                let opening = tokio::task::spawn_blocking(move || open_file(path));
                match opening.await.map_err(NotOpened::other)? {
                    Ok(store) => {
                        if lists {
                            accounts = store.accounts().map_err(NotOpened::other)?;
                        }
                        Ok((DynAsyncStore::new(store.into_async()), accounts))
                    }
                    Err(OpenError::Held) => Err(NotOpened::Held),
                    Err(OpenError::Missing(_)) => Err(NotOpened::Missing),
                    Err(error) => Err(NotOpened::other(error)),
                }
            }
            Self::Postgres(url) => {
                let store = PostgresStore::connect(&url).await.map_err(NotOpened::other)?;
                store.migrate().await.map_err(NotOpened::other)?;
                if lists {
                    accounts = store.accounts().await.map_err(NotOpened::other)?;
                }
                Ok((DynAsyncStore::new(store), accounts))
            }
            #[cfg(feature = "dynamodb")]
            Self::DynamoDb(table) => {
                let store = DynamoDbStore::connect(&table).await.map_err(NotOpened::other)?;
                store.create_table().await.map_err(NotOpened::other)?;
                if lists {
                    accounts = store.accounts().await.map_err(NotOpened::other)?;
                }
                Ok((DynAsyncStore::new(store), accounts))
            }
        }
    }
}

/// Why a store is not open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotOpened {
    #[error("{0}")]
    Unknown(&'static str),
    #[error("another process holds the file")]
    Held,
    #[error("the file does not exist: `credentials user add` creates it")]
    Missing,
    #[error(transparent)]
    Other(Box<dyn Error + Send + Sync>),
}

impl NotOpened {
    fn other(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Other(Box::new(error))
    }
}
