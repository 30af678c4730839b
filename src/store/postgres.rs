use std::{fmt, ops::Bound, sync::Arc, time::Duration};

use deadpool_postgres::{Object, Pool};
use tokio::time::{sleep, timeout};
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

pub use self::{
    error::PostgresError,
    options::{Isolation, PostgresOptions},
};
use self::{
    error::{Failure, Kind},
    statements::{
        FIND, REGISTER, REMOVE, REPLACE, REPLACE_AND_CLAIM, REPLACE_AND_EXCHANGE, REPLACE_AND_MOVE,
        REPLACE_AND_RELEASE, SCAN,
    },
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

mod error;
mod options;
mod schema;
mod statements;
mod tls;

/// Keeps everything in a PostgreSQL database, which any number of processes on any number of
/// machines share.
///
/// Looking a user up is one round trip, and so is a page of a listing. Changing something is two,
/// of which the second is one statement: it makes the change if nobody else came first, in one
/// transaction, or does nothing. Statements are prepared once a connection. Under the isolation
/// levels at which the server gives up one of two transactions that cross, the store starts over.
///
/// What was acknowledged is as safe as the server's commits are: with `synchronous_commit` on, as it
/// is unless it was turned off, it survives a crash of the server; with synchronous standbys, the
/// loss of the server. The store reads what the server shows it, and a standby shows what was some
/// time ago: it must be connected to the primary. So each connection is asked whether it takes changes
/// (`target_session_attrs=read-write`, whatever the URL says), and none that does not is used. Where
/// the URL names several hosts, or a name has several addresses, the store looks for the one that
/// does, and finds the new primary after a failover.
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
/// Where it is encrypted, the server's certificate is verified: an authority that the system trusts,
/// or one of those [given](PostgresOptions::authorities), must vouch for it, and it must be one for
/// the host that the URL names. That is what `libpq` calls `verify-full`; nothing weaker is to be
/// had. Certificates of clients are not supported.
///
/// A URL's `options` set up each connection, and the table names are looked up in its `search_path`:
/// `?options=-csearch_path%3Dcredentials`.
///
/// # Failures
///
/// A [`StoreError`] holds a [`PostgresError`], which says what failed and whether to try again. The
/// store makes up for a lost connection by itself where it only reads. A change whose answer does not
/// arrive was made wholly or not at all, and is reported as [`PostgresError::Unknown`]. So it is with
/// one whose future is dropped before the answer arrives; the connection is closed then.
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

    /// Connects to the database that `url` names: opens one connection of the pool, and looks at the
    /// schema. One that is [missing](Self::migrate) is no error yet.
    ///
    /// # Errors
    ///
    /// If the URL is not valid, the server cannot be reached, takes no changes, does not let the user
    /// in or has no such database, the connection cannot be encrypted as it should be, or a later
    /// release made the schema: each by a variant of its own.
    pub async fn connect_with(options: &PostgresOptions, url: &str) -> Result<Self, PostgresError> {
        let connections =
            Connections { pool: options.pool(url)?, patience: options.answer_timeout };
        schema::check(&connections).await?;
        Ok(Self(connections))
    }

    /// Uses a pool of one's own, with its limits, its encryption and its settings of connections. It
    /// must lead to the primary, for which `TargetSessionAttrs::ReadWrite` sees, and connections must
    /// keep the statements that are prepared on them.
    #[must_use]
    pub fn from_pool(pool: Pool) -> Self {
        let patience = PostgresOptions::default().answer_timeout;
        Self(Connections { pool, patience })
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
        schema::migrate(&self.0).await
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
        let encode = |key: Key<'_>| key.encode();
        let released: Vec<_> = change.released().map(encode).collect();
        let claimed: Vec<_> = change.claimed().map(encode).collect();
        let Some(after) = change.record() else {
            let Some(before) = change.previous() else { return Ok(CommitOutcome::Applied) };
            let (id, revision) = state(before);
            return self.0.write(REMOVE, &[&id, &revision, &released], CommitOutcome::Stale).await;
        };
        let (id, revision) = state(after);
        let (name, record) = (after.name().as_str(), after.encode());
        let credentials = i32::try_from(after.credential_count()).unwrap_or(i32::MAX);
        let Some(before) = change.previous() else {
            let account = after.account().to_string();
            let parameters: [&(dyn ToSql + Sync); 7] =
                [&id, &account, &name, &revision, &credentials, &record, &claimed];
            // Whoever has the id has registered before, under this name or one that came later.
            return self.0.write(REGISTER, &parameters, CommitOutcome::KeyTaken).await;
        };
        let (id, from) = state(before);
        let mut parameters: Vec<&(dyn ToSql + Sync)> =
            vec![&id, &from, &name, &revision, &credentials, &record];
        let statement = match (released.len(), claimed.len()) {
            (0, 0) => REPLACE,
            (0, _) => {
                parameters.push(&claimed);
                REPLACE_AND_CLAIM
            }
            (_, 0) => {
                parameters.push(&released);
                REPLACE_AND_RELEASE
            }
            (some, others) => {
                parameters.extend([&released as &(dyn ToSql + Sync), &claimed]);
                if some == others { REPLACE_AND_MOVE } else { REPLACE_AND_EXCHANGE }
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
    let bytes: Option<&[u8]> =
        row.try_get(0).map_err(|error| PostgresError::Client(error.to_string()))?;
    let bytes = bytes.ok_or(PostgresError::Index)?;
    UserRecord::decode(bytes).map(Arc::new).map_err(PostgresError::Record)
}

impl AsyncStore for PostgresStore {
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        let found = self.read(FIND, &[&key.encode()]).await.map_err(StoreError::new)?;
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
        self.read(SCAN, &[&start, &end, &limit]).await.map_err(StoreError::new)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("pool", &self.0.pool.status()).finish_non_exhaustive()
    }
}

/// The pool, and how statements are sent over it.
#[derive(Clone)]
struct Connections {
    pool: Pool,
    /// How long to wait for an answer.
    patience: Duration,
}

/// How often a statement is begun that other transactions cross.
const ATTEMPTS: u32 = 64;
/// How often one is begun that only reads, and loses its connection.
const CONNECTIONS: u32 = 2;

impl Connections {
    /// Sends a statement that changes nothing, as often as it takes.
    async fn read(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        let (mut attempt, mut lost) = (0, 0);
        loop {
            let failure = match self.attempt(statement, parameters).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
            };
            attempt += 1;
            let late = matches!(failure.error, PostgresError::Unanswered);
            match failure.kind {
                Kind::Conflict if attempt < ATTEMPTS => pause(attempt).await,
                // The next connection is a new one.
                Kind::Broken if !late && lost + 1 < CONNECTIONS => {
                    lost += 1;
                }
                _ => return Err(failure.error),
            }
        }
    }

    /// Sends a statement that makes a change, until it is made or cannot be made. One without a row
    /// did nothing, which means `otherwise`.
    async fn write(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
        otherwise: CommitOutcome,
    ) -> Result<CommitOutcome, PostgresError> {
        let mut attempt = 0;
        loop {
            let failure = match self.attempt(statement, parameters).await {
                Ok(rows) if rows.is_empty() => return Ok(otherwise),
                Ok(_) => return Ok(CommitOutcome::Applied),
                Err(failure) => failure,
            };
            attempt += 1;
            match failure.kind {
                // The index is all that has a unique constraint and is not asked first. It was
                // reached, and so the record was the one that the change starts from.
                Kind::Taken => return Ok(CommitOutcome::KeyTaken),
                Kind::Conflict if attempt < ATTEMPTS => pause(attempt).await,
                _ if failure.perhaps_done => {
                    return Err(PostgresError::Unknown(Box::new(failure.error)));
                }
                _ => return Err(failure.error),
            }
        }
    }

    /// Sends a statement once.
    async fn attempt(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failure> {
        let connection = self.pool.get().await;
        let connection =
            connection.map_err(|error| Failure::harmless(PostgresError::of_pool(error)))?;
        let mut in_use = InUse(None);
        let connection = in_use.0.insert(connection);
        let mut sent = false;
        let answer = timeout(self.patience, async {
            let prepared = connection.prepare_cached(statement).await?;
            sent = true;
            connection.query(&prepared, parameters).await
        });
        let answer = match answer.await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(Failure::of_statement(&error, sent)),
            Err(_) => Err(Failure::unanswered(sent)),
        };
        if matches!(&answer, Err(failure) if failure.kind == Kind::Broken) {
            // What broke this one may have broken those that wait for somebody, which nobody notices
            // before they are used. Who tries again shall have a new one.
            self.pool.retain(|_, _| false);
        } else {
            in_use.give_back();
        }
        answer
    }
}

/// A connection that a statement is sent over. It is closed, and nobody else has it, unless it is
/// given back: whoever waits for the answer may stop to, and the server would be at work on that
/// statement while the next one waits.
struct InUse(Option<Object>);

impl InUse {
    /// Leaves it to the others. The answer arrived whole.
    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        drop(self.0.take().map(Object::take));
    }
}

/// Lets others finish: not at all before the second attempt, and longer before each that follows.
async fn pause(attempt: u32) {
    let longest = 1_u32 << attempt.saturating_sub(1).min(6);
    // Without a random number all wait for as long, which is no worse than not to wait.
    let random = getrandom::u32().unwrap_or(longest / 2) % longest;
    sleep(Duration::from_millis(random.into())).await;
}
