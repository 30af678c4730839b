//! The pool, and sending statements over its connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use deadpool_postgres::{ClientWrapper, Object, Pool};
use tokio::time::timeout;
use tokio_postgres::{
    Row, Statement,
    types::{ToSql, Type},
};

use super::{
    PostgresError, PostgresOptions,
    error::{Failure, Kind},
    startup::StartupSettings,
    statements::{Schema, Statements, qualify},
};
use crate::store::{change::CommitOutcome, pause::pause};

/// The maximum number of attempts of a statement that conflicts with other transactions.
const ATTEMPTS: u32 = 64;
/// The maximum number of attempts of a read whose connection is lost.
const CONNECTIONS: u32 = 2;

/// The purpose of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Read,
    Change,
}

/// A pool of connections, and the statements for one schema.
///
/// The store sets nothing on a session, because a connection pooler may share one among clients: a
/// change is sent in a transaction with its settings, and a read needs none.
#[derive(Clone)]
pub(super) struct Connections {
    pub(super) pool: Pool,
    pub(super) statements: Arc<Statements>,
    schema: Option<Schema>,
    /// How long to wait for the response to a statement.
    response_timeout: Duration,
    /// Begins the transaction of a change, with the settings of the options. `None` without
    /// settings: then the statement is a transaction by itself.
    begin: Option<Arc<str>>,
    /// Whether a statement got no response (it timed out, or its future was dropped) and no read
    /// has succeeded since. If so, reads are sent with the settings of changes. Otherwise, while a
    /// table is locked, each abandoned read would occupy another process of the server.
    response_missing: Arc<AtomicBool>,
    /// The settings that each new connection must have.
    pub(super) startup: Arc<StartupSettings>,
}

impl Connections {
    /// Uses the timeouts and the settings of `options`.
    pub(super) fn new(pool: Pool, schema: Option<Schema>, options: &PostgresOptions) -> Self {
        Self {
            pool,
            statements: Arc::new(Statements::new(schema.as_ref())),
            schema,
            response_timeout: options.response_timeout,
            begin: options.begin().map(Into::into),
            response_missing: Arc::default(),
            startup: Arc::default(),
        }
    }

    /// The name of a table, with its schema.
    pub(super) fn qualify(&self, table: &str) -> String {
        qualify(table, self.schema.as_ref())
    }

    /// Sends a statement that changes nothing. Retries after a conflict, and once after a lost
    /// connection.
    pub(super) async fn read(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        let (mut attempt, mut lost) = (0, 0);
        loop {
            let failure = match self.attempt(Purpose::Read, statement, parameters).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
            };
            attempt += 1;
            let late = matches!(failure.error, PostgresError::NoResponse);
            match failure.kind {
                Kind::Conflict if attempt < ATTEMPTS => pause(longest_pause(attempt)).await,
                // The next connection is a new one.
                Kind::Broken if !late && lost + 1 < CONNECTIONS => {
                    lost += 1;
                }
                _ => return Err(failure.error),
            }
        }
    }

    /// Sends a statement that makes a change. Retries after a conflict. If the statement returns no
    /// row, it has changed nothing, and the result is `otherwise`.
    pub(super) async fn write(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
        otherwise: CommitOutcome,
    ) -> Result<CommitOutcome, PostgresError> {
        let mut attempt = 0;
        loop {
            let failure = match self.attempt(Purpose::Change, statement, parameters).await {
                Ok(rows) if rows.is_empty() => return Ok(otherwise),
                Ok(_) => return Ok(CommitOutcome::Applied),
                Err(failure) => failure,
            };
            attempt += 1;
            match failure.kind {
                // Only the index has a unique constraint that no statement checks beforehand. The
                // statement reached the index, so the record had the expected revision.
                Kind::Taken => return Ok(CommitOutcome::KeyTaken),
                Kind::Conflict if attempt < ATTEMPTS => pause(longest_pause(attempt)).await,
                _ if failure.perhaps_done => {
                    return Err(PostgresError::Unknown(Box::new(failure.error)));
                }
                _ => return Err(failure.error),
            }
        }
    }

    /// Sends a statement once.
    pub(super) async fn attempt(
        &self,
        purpose: Purpose,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failure> {
        let connection = self.pool.get().await;
        let connection =
            connection.map_err(|error| Failure::harmless(PostgresError::of_pool(error)))?;
        let is_new = Object::metrics(&connection).recycle_count == 0;
        let mut in_use = InUse { connection: None, response_missing: &self.response_missing };
        let connection = in_use.connection.insert(connection);
        let limited = purpose == Purpose::Change || self.response_missing.load(Relaxed);
        let begin = self.begin.as_deref().filter(|_| limited);
        let query = Query { connection, statement, parameters, sent: AtomicBool::new(false) };
        let result = timeout(self.response_timeout, async {
            if is_new {
                self.verify_settings(connection).await?;
            }
            match begin {
                Some(begin) => query.send_in_transaction(begin).await,
                None => query.send().await,
            }
        });
        let result = match result.await {
            Ok(result) => result,
            Err(_) => Err(Failure::no_response(query.sent.into_inner())),
        };
        if matches!(&result, Err(failure) if failure.kind == Kind::Broken) {
            // The cause may have broken the idle connections too, which is noticed only when they
            // are used. The next attempt gets a new one.
            self.pool.retain(|_, _| false);
        } else {
            in_use.give_back();
        }
        if result.is_ok() && purpose == Purpose::Read {
            self.response_missing.store(false, Relaxed);
        }
        result
    }

    /// Fails if a new connection lacks a setting that the URL makes.
    async fn verify_settings(&self, connection: &ClientWrapper) -> Result<(), Failure> {
        let names = self.startup.names();
        if names.is_empty() {
            return Ok(());
        }
        let statement = &self.statements.lost_settings;
        let rows = connection.query_typed(statement, &[(&names, Type::TEXT_ARRAY)]).await;
        let rows = rows.map_err(|error| Failure::of_statement(&error, false))?;
        let Some(row) = rows.first() else { return Ok(()) };
        let lost = match row.try_get(0) {
            Ok(name) => PostgresError::SettingLost { name },
            Err(error) => PostgresError::of_column(&error),
        };
        Err(Failure::unusable(lost))
    }
}

/// A statement that is sent over a connection.
struct Query<'a> {
    connection: &'a ClientWrapper,
    statement: &'a str,
    parameters: &'a [&'a (dyn ToSql + Sync)],
    /// Whether the statement was sent, rather than only prepared.
    sent: AtomicBool,
}

impl Query<'_> {
    async fn prepare(&self) -> Result<Statement, Failure> {
        let prepared = self.connection.prepare_cached(self.statement).await;
        prepared.map_err(|error| Failure::of_statement(&error, false))
    }

    async fn execute(&self, prepared: &Statement) -> Result<Vec<Row>, Failure> {
        self.sent.store(true, Relaxed);
        let rows = self.connection.query(prepared, self.parameters).await;
        rows.map_err(|error| Failure::of_statement(&error, true))
    }

    /// Sends the statement as a transaction by itself.
    async fn send(&self) -> Result<Vec<Row>, Failure> {
        let prepared = self.prepare().await?;
        self.execute(&prepared).await
    }

    /// Sends the statement in a transaction that `begin` begins. It is prepared inside of the
    /// transaction, because preparing waits for locks too.
    ///
    /// Messages are sent in the order in which their futures are polled first. If the statement is
    /// already prepared, all messages are sent before the first response arrives: one round trip.
    async fn send_in_transaction(&self, begin: &str) -> Result<Vec<Row>, Failure> {
        let execution = async {
            let commit = self.connection.batch_execute("COMMIT");
            match self.prepare().await {
                Ok(prepared) => tokio::join!(biased; self.execute(&prepared), commit),
                // The commit ends the transaction, which is aborted.
                Err(failure) => (Err(failure), commit.await),
            }
        };
        let start = self.connection.batch_execute(begin);
        let (transaction, (rows, committed)) = tokio::join!(biased; start, execution);
        if let Err(error) = transaction {
            // Without a transaction, the statement is its own transaction and may have been
            // executed.
            let perhaps_done = rows.err().is_none_or(|failure| failure.perhaps_done);
            return Err(Failure { perhaps_done, ..Failure::of_statement(&error, true) });
        }
        let rows = rows?;
        committed.map_err(|error| Failure::of_statement(&error, true))?;
        Ok(rows)
    }
}

/// A connection while a statement is sent over it. It is closed on drop unless it was given back:
/// if the future is dropped before the response arrives, the server still executes the statement.
struct InUse<'a> {
    connection: Option<Object>,
    response_missing: &'a AtomicBool,
}

impl InUse<'_> {
    /// Returns the connection to the pool. All responses must have arrived.
    fn give_back(mut self) {
        drop(self.connection.take());
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take().map(Object::take) else { return };
        if !connection.is_closed() {
            self.response_missing.store(true, Relaxed);
        }
    }
}

/// The longest pause after a failed attempt, in milliseconds: none after the first one, then 1, 3,
/// 7 … 63.
pub(super) fn longest_pause(attempt: u32) -> u32 {
    (1 << attempt.saturating_sub(1).min(6)) - 1
}

#[cfg(test)]
mod tests {
    use super::longest_pause;

    #[test]
    fn pauses_become_longer() {
        let pauses = [1, 2, 3, 4, 7, 8, 64].map(longest_pause);
        assert_eq!(pauses, [0, 1, 3, 7, 63, 63, 63]);
    }
}
