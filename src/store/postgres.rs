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
    names::account_id::AccountId,
    record::{
        UserRecord,
        codec::DecodeError,
        key::{Key, accounts_after},
    },
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

/// Stores all users in a PostgreSQL database, which any number of processes and machines share.
///
/// Finding a user takes one round trip, and so does a page of a listing. A change takes two: it
/// reads the record, and replaces it with one statement, which has an effect only if the record
/// still has that revision. Statements are prepared once per connection. After a deadlock or a
/// serialization failure the store sends the statement again, at most 64 times.
///
/// An acknowledged change is as durable as the server's commits: with `synchronous_commit` on,
/// PostgreSQL's default, it survives a crash of the server; with synchronous standbys, the loss of
/// the server. A standby shows an earlier state, so the store must be connected to the primary.
/// Each new connection is checked to accept writes (`target_session_attrs=read-write`, regardless
/// of the URL), and is closed if it does not. If the URL names several hosts, or a name has several
/// addresses, the store uses the one that accepts writes, and finds the new primary after a
/// failover.
///
/// The store needs a Tokio runtime, because its database client does. Clones share the pool.
///
/// # The connection
///
/// The URL is PostgreSQL's: `postgres://user:password@host:port/database?sslmode=verify-full`. The
/// supported parameters are those of [`tokio_postgres::Config`], a subset of `libpq`'s. An error
/// names an unsupported parameter.
///
/// | `sslmode` | |
/// |---|---|
/// | `disable` | not encrypted |
/// | `prefer`, the default | encrypted if the server can; an attacker in between can deny it |
/// | `verify-full`, `verify-ca`, `require` | encrypted, or the connection fails |
///
/// An encrypted connection always verifies the server's certificate: it must be for the host that
/// the URL names, and issued by an authority that the system trusts, or by one of the [configured
/// ones](PostgresOptions::authorities). In `libpq` only `verify-full` does so; here the other two
/// modes are as strict. Client certificates are not supported.
///
/// # The tables
///
/// [`migrate`](Self::migrate) creates three tables, `credential_users`, `credential_keys` and
/// `credential_schema`, in the [schema](PostgresOptions::schema) that the options name. Every
/// statement names the schema. If the options name none, the server finds the tables by the
/// `search_path` of the session.
///
/// The `options` of the URL are settings that the server applies when a connection starts. One of
/// them, `search_path`, is not sent; it determines the schema of the tables instead
/// (`?options=-csearch_path%3Dcredentials`). Each new connection is checked for the other settings.
/// If one is missing, a pooler dropped it, and the store fails with [`PostgresError::SettingLost`].
///
/// # Connection poolers
///
/// The store keeps no session state except prepared statements. A change sends its settings, the
/// [timeout](PostgresOptions::statement_timeout) and the [isolation
/// level](PostgresOptions::isolation), in its own transaction: `BEGIN`, `SET LOCAL`, the statement
/// and `COMMIT` are sent at once, in one round trip. So the store works behind PgBouncer:
///
/// | `pool_mode` | |
/// |---|---|
/// | `session` | supported; tested with 1.18 |
/// | `transaction` | from 1.21 on, with `max_prepared_statements` above 0; tested with 1.24 |
/// | `statement` | not supported |
///
/// ```ini
/// [databases]
/// git = host=db.example.com dbname=git
///
/// [pgbouncer]
/// pool_mode = transaction
/// max_prepared_statements = 100
/// ```
///
/// - PgBouncer rejects `options` in the URL, apart from `search_path`, which is not sent. Set
///   everything else for the role: `ALTER ROLE git SET …`. Do not let PgBouncer ignore `options`
///   (`ignore_startup_parameters`).
/// - Set the [schema](PostgresOptions::schema). Another client may have changed the session's
///   `search_path`.
/// - With `ALTER ROLE git SET statement_timeout = '10s'` and
///   [`statement_timeout(None)`](PostgresOptions::statement_timeout), changes need no transaction
///   for their settings, and the limit holds for reads, too.
/// - PgBouncer must connect to the primary. A connection of the store survives a failover behind
///   PgBouncer, and is not checked for writes again.
///
/// With other settings, prepared statements are lost. A read is then retried; a change may fail
/// with [`PostgresError::StatementsLost`], and has changed nothing.
///
/// # Failures
///
/// A [`StoreError`] contains a [`PostgresError`], which states what failed and whether a retry may
/// help. After a lost connection, the store repeats a read once. A change whose response does not
/// arrive is still atomic, and fails with [`PostgresError::Unknown`]. If the future of a change is
/// dropped before the response arrives, the outcome is unknown too, and the connection is closed.
///
/// ```no_run
/// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
/// use service_specific_credentials::{
///     AsyncCredentialManager,
///     store::{PostgresOptions, PostgresStore},
/// };
///
/// let options = PostgresOptions::new().schema("credentials");
/// let url = "postgres://git@db.example.com/git?sslmode=verify-full";
/// let store = PostgresStore::connect_with(&options, url).await?;
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

    /// Connects to the database that `url` names: opens one connection of the pool, and reads the
    /// version of the tables. Missing tables are not an error: see [`migrate`](Self::migrate).
    ///
    /// # Errors
    ///
    /// Each of these has its own variant: the URL or the schema's name is invalid, the server
    /// cannot be reached, does not accept writes, denies the user, or has no such database, the
    /// connection cannot be encrypted as required, or a later release created the tables.
    pub async fn connect_with(options: &PostgresOptions, url: &str) -> Result<Self, PostgresError> {
        let connections = options.connect(url)?;
        migrations::check(&connections).await?;
        Ok(Self(connections))
    }

    /// Uses an existing pool, with its own limits, encryption and settings. It must connect to the
    /// primary, which `TargetSessionAttrs::ReadWrite` ensures.
    ///
    /// The options are those of [`from_pool_with`](Self::from_pool_with) without a schema and
    /// without a statement timeout.
    #[must_use]
    pub fn from_pool(pool: Pool) -> Self {
        let options = PostgresOptions::new().statement_timeout(None);
        Self(Connections::new(pool, None, &options))
    }

    /// Uses an existing pool, with the [schema](PostgresOptions::schema), the [isolation
    /// level](PostgresOptions::isolation), the [statement
    /// timeout](PostgresOptions::statement_timeout) and the [response
    /// timeout](PostgresOptions::response_timeout) of the options. The other options are about
    /// connecting, which the pool does, and are ignored.
    ///
    /// # Errors
    ///
    /// [`PostgresError::SchemaName`].
    pub fn from_pool_with(options: &PostgresOptions, pool: Pool) -> Result<Self, PostgresError> {
        Ok(Self(Connections::new(pool, options.own_schema()?, options)))
    }

    /// Creates the tables, or brings those of an earlier release up to date. Has no effect if they
    /// are up to date. Any number of processes may migrate at the same time.
    ///
    /// The role needs the privilege to create tables in the schema, which must exist. It becomes
    /// the owner of the tables, and must be the role of later migrations. A service may use another
    /// role, which needs the privileges to select, insert, update and delete, and does not call
    /// this.
    ///
    /// # Errors
    ///
    /// - [`PostgresError::ForeignTable`] if another role owns one of the tables, or a view of that
    ///   name. Its owner could read and change everything, and attach triggers.
    /// - [`PostgresError::LaterSchema`] if a later release created the tables. Nothing is changed.
    /// - [`PostgresError::NoSchema`] if the schema does not exist.
    /// - Otherwise what the server reports.
    pub async fn migrate(&self) -> Result<(), PostgresError> {
        migrations::migrate(&self.0).await
    }

    /// The accounts that have users, in order: for [`CopyUsers`](super::CopyUsers). Costs one round
    /// trip per account.
    ///
    /// # Errors
    ///
    /// As [`find`](AsyncStore::find).
    pub async fn accounts(&self) -> Result<Vec<AccountId>, StoreError> {
        let mut accounts: Vec<AccountId> = Vec::new();
        loop {
            let start = accounts_after(accounts.last().copied());
            // After the keys of every account.
            let (end, limit) = (vec![u8::MAX], 1_i64);
            let found = self.read(&self.0.statements.scan, &[&start, &end, &limit]).await;
            let found = found.map_err(StoreError::new)?;
            let Some(record) = found.first() else { return Ok(accounts) };
            accounts.push(record.account());
        }
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
            // A user holds the id, under this name or another one.
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

/// Identifies a state of a record: the user's id and the number of changes.
fn state(record: &UserRecord) -> (Uuid, i64) {
    let revision = record.revision();
    // The count of a record that can be decoded is below 2^63.
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
            // The next key in order is this one with a zero byte appended.
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
