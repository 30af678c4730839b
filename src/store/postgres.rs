use std::{fmt, ops::Bound, sync::Arc};

use deadpool_postgres::Pool;
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use self::connections::Connections;
pub use self::{
    error::PostgresError,
    options::{Isolation, PostgresOptions},
};
use crate::{
    record::{UserRecord, codec::DecodeError, key::Key},
    store::{
        AsyncStore,
        change::{Change, CommitOutcome},
        scan_range::ScanRange,
    },
    store_error::StoreError,
};

mod connections;
mod error;
mod migrations;
mod options;
mod startup;
mod statements;
mod tls;
mod url;

/// Keeps everything in a PostgreSQL database, which any number of processes on any number of
/// machines share.
///
/// Looking a user up is one round trip, and so is a page of a listing. Changing something is two,
/// of which the second is one statement: it makes the change if nobody else came first, in one
/// transaction, or does nothing. Statements are prepared once a connection. Under the isolation
/// levels at which the server gives up one of two transactions that cross, the store starts over.
///
/// What was acknowledged is as safe as the server's commits are: with `synchronous_commit` on, as
/// it is unless it was turned off, it survives a crash of the server; with synchronous standbys,
/// the loss of the server. The store reads what the server shows it, and a standby shows what was
/// some time ago: it must be connected to the primary. So each connection is asked whether it takes
/// changes (`target_session_attrs=read-write`, whatever the URL says), and none that does not is
/// used. Where the URL names several hosts, or a name has several addresses, the store looks for
/// the one that does, and finds the new primary after a failover.
///
/// It needs a Tokio runtime, as the client of the database does. Clones share the pool.
///
/// # The connection
///
/// The URL is PostgreSQL's: `postgres://user:password@host:port/database?sslmode=require`. What it
/// says about encryption (`sslmode`) holds:
///
/// | | |
/// |---|---|
/// | `disable` | not encrypted |
/// | `prefer` (or nothing) | encrypted if the server can. Whoever is between can pretend that it cannot |
/// | `require` | encrypted, or there is no connection |
///
/// Where it is encrypted, the server's certificate is verified: an authority that the system
/// trusts, or one of those [given](PostgresOptions::authorities), must vouch for it, and it must be
/// one for the host that the URL names. That is what `libpq` calls `verify-full`; nothing weaker is
/// to be had. Certificates of clients are not supported.
///
/// A URL's `options` set up each connection, and the table names are looked up in its
/// `search_path`: `?options=-csearch_path%3Dcredentials`.
///
/// # Failures
///
/// A [`StoreError`] holds a [`PostgresError`], which says what failed and whether to try again. The
/// store makes up for a lost connection by itself where it only reads. A change whose answer does
/// not arrive was made wholly or not at all, and is reported as [`PostgresError::Unknown`]. So it
/// is with one whose future is dropped before the answer arrives; the connection is closed then.
///
/// ```no_run
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// use service_specific_credentials::{AsyncCredentialManager, store::PostgresStore};
///
/// let store = PostgresStore::connect("postgres://git@db.example.com/git?sslmode=require").await?;
/// store.migrate().await?;
/// let iam = AsyncCredentialManager::new("123456789012".parse()?, store);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PostgresStore(Connections);

impl PostgresStore {
    /// Connects with the default [options](PostgresOptions).
    ///
    /// # Errors
    ///
    /// As [`connect_with`](Self::connect_with).
    pub async fn connect(url: &str) -> Result<Self, PostgresError> {
        Self::connect_with(&PostgresOptions::default(), url).await
    }

    /// Connects to the database that `url` names: opens one connection of the pool, and looks at
    /// the schema. One that is [missing](Self::migrate) is no error yet.
    ///
    /// # Errors
    ///
    /// If the URL is not valid, the server cannot be reached, takes no changes, does not let the
    /// user in or has no such database, the connection cannot be encrypted as it should be, or a
    /// later release made the schema: each by a variant of its own.
    pub async fn connect_with(options: &PostgresOptions, url: &str) -> Result<Self, PostgresError> {
        let connections = options.connect(url)?;
        migrations::check(&connections).await?;
        Ok(Self(connections))
    }

    /// Uses a pool, with its own limits, encryption and settings. It must lead to the primary,
    /// which `TargetSessionAttrs::ReadWrite` ensures.
    ///
    /// The options are those of [`from_pool_with`](Self::from_pool_with) without a schema and
    /// without a statement timeout.
    #[must_use]
    pub fn from_pool(pool: Pool) -> Self {
        let options = PostgresOptions::new().statement_timeout(None);
        Self(Connections::new(pool, None, &options))
    }

    /// Uses a pool, with the [schema](PostgresOptions::schema), the [isolation
    /// level](PostgresOptions::isolation), the [statement
    /// timeout](PostgresOptions::statement_timeout) and the [answer
    /// timeout](PostgresOptions::answer_timeout) of the options. The others say how to connect,
    /// which the pool does. A read whose answer is late is not cancelled.
    ///
    /// # Errors
    ///
    /// [`PostgresError::SchemaName`].
    pub fn from_pool_with(options: &PostgresOptions, pool: Pool) -> Result<Self, PostgresError> {
        Ok(Self(Connections::new(pool, options.own_schema()?, options)))
    }

    /// Makes the tables, or brings those of an earlier release up to date. Nothing is done where
    /// that has been done. Any number of processes may migrate at once.
    ///
    /// The user needs the privilege to create tables; all else needs only that to select, insert,
    /// update and delete.
    ///
    /// # Errors
    ///
    /// [`PostgresError::LaterSchema`], and nothing is changed, if a later release made the schema;
    /// otherwise what the server reports.
    pub async fn migrate(&self) -> Result<(), PostgresError> {
        migrations::migrate(&self.0).await
    }

    async fn read(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Arc<UserRecord>>, PostgresError> {
        let rows = self.0.read(statement, parameters).await?;
        rows.iter().map(record).collect()
    }

    async fn make(&self, change: &Change) -> Result<CommitOutcome, PostgresError> {
        let statements = &self.0.statements;
        let encode = |key: Key<'_>| key.encode();
        let released: Vec<_> = change.released().map(encode).collect();
        let claimed: Vec<_> = change.claimed().map(encode).collect();
        let Some(after) = change.record() else {
            let Some(before) = change.previous() else { return Ok(CommitOutcome::Applied) };
            let (id, revision) = state(before);
            return self
                .0
                .write(&statements.remove, &[&id, &revision, &released], CommitOutcome::Stale)
                .await;
        };
        let (id, revision) = state(after);
        let (name, record) = (after.name().as_str(), after.encode());
        let credentials = i32::try_from(after.credential_count()).unwrap_or(i32::MAX);
        let Some(before) = change.previous() else {
            let account = after.account().to_string();
            let parameters: [&(dyn ToSql + Sync); 7] =
                [&id, &account, &name, &revision, &credentials, &record, &claimed];
            // Whoever has the id has registered before, under this name or one that came later.
            return self.0.write(&statements.register, &parameters, CommitOutcome::KeyTaken).await;
        };
        let (id, from) = state(before);
        let mut parameters: Vec<&(dyn ToSql + Sync)> =
            vec![&id, &from, &name, &revision, &credentials, &record];
        let statement = match (released.len(), claimed.len()) {
            (0, 0) => &statements.replace,
            (0, _) => {
                parameters.push(&claimed);
                &statements.replace_and_claim
            }
            (_, 0) => {
                parameters.push(&released);
                &statements.replace_and_release
            }
            (some, others) => {
                parameters.extend([&released as &(dyn ToSql + Sync), &claimed]);
                if some == others {
                    &statements.replace_and_move
                } else {
                    &statements.replace_and_exchange
                }
            }
        };
        self.0.write(statement, &parameters, CommitOutcome::Stale).await
    }
}

/// What names a state of a record: the user's id, and the number of its changes.
fn state(record: &UserRecord) -> (Uuid, i64) {
    let revision = record.revision();
    // A record that can be read has had at most half of the changes that a count can name.
    let count = i64::try_from(revision.count()).unwrap_or(i64::MAX);
    (Uuid::from_bytes(*revision.user().as_bytes()), count)
}

fn record(row: &Row) -> Result<Arc<UserRecord>, PostgresError> {
    let bytes: Option<&[u8]> = row.try_get(0).map_err(|error| PostgresError::of_column(&error))?;
    let bytes = bytes.ok_or(PostgresError::Index)?;
    UserRecord::decode(bytes).map(Arc::new).map_err(PostgresError::Record)
}

impl AsyncStore for PostgresStore {
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        let found =
            self.read(&self.0.statements.find, &[&key.encode()]).await.map_err(StoreError::new)?;
        Ok(found.into_iter().next())
    }

    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.make(change).await.map_err(StoreError::new)
    }

    async fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        let (start, end) = range.encode();
        let start = match start {
            // The next of all keys is this one with the lowest byte at its end.
            Bound::Excluded(mut key) => {
                key.push(0);
                key
            }
            Bound::Included(key) => key,
            Bound::Unbounded => Vec::new(),
        };
        let (Bound::Excluded(end) | Bound::Included(end)) = end else {
            return Ok(Vec::new());
        };
        let limit = i64::try_from(range.limit()).unwrap_or(i64::MAX);
        self.read(&self.0.statements.scan, &[&start, &end, &limit]).await.map_err(StoreError::new)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("pool", &self.0.pool.status()).finish_non_exhaustive()
    }
}
