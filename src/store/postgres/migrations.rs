//! Creates the tables and brings them up to date.
//!
//! A migration is a list of definitions, each of which has no effect if its table exists, and a
//! row that records the migration as finished. Any number of processes may run the migrations at
//! the same time, and an interrupted run is continued by the next. No lock is taken, and no
//! definition shares a transaction with another statement.

use tokio_postgres::types::ToSql;

use super::{
    PostgresError,
    connections::{Connections, Purpose, longest_pause},
    error::{Failure, Kind},
    statements::{Statements, TABLES},
};
use crate::store::pause::pause;

/// The definitions that upgrade the tables from each version to the next.
const MIGRATIONS: &[fn(&Statements) -> [&str; 2]] =
    &[|statements| [&statements.create_users, &statements.create_keys]];

/// The maximum number of attempts of a statement that conflicts with another migration.
const ATTEMPTS: u32 = 32;

/// The version that this release creates.
const fn latest() -> u64 {
    MIGRATIONS.len() as u64
}

/// Fails if a later release created the tables. Missing tables are not an error.
pub(super) async fn check(connections: &Connections) -> Result<(), PostgresError> {
    version(connections).await.map(drop)
}

pub(super) async fn migrate(connections: &Connections) -> Result<(), PostgresError> {
    check_owners(connections).await?;
    let done = version(connections).await?;
    if done == latest() {
        return Ok(());
    }
    let statements = &connections.statements;
    define(connections, &statements.create_schema).await?;
    for (number, definitions) in (1..).zip(MIGRATIONS) {
        if number <= done {
            continue;
        }
        for definition in definitions(statements) {
            define(connections, definition).await?;
        }
        // Another role may have created a table since the first check.
        check_owners(connections).await?;
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        settle(connections, &statements.finish_migration, &[&number]).await?;
    }
    // A later release may have migrated meanwhile.
    check(connections).await
}

/// Fails if another role owns one of the tables: the owner of a table can read it, and attach
/// triggers that run with the privileges of the role that changes it.
async fn check_owners(connections: &Connections) -> Result<(), PostgresError> {
    let tables = TABLES.map(|table| connections.qualify(table));
    let rows = connections.read(&connections.statements.owners, &[&tables.as_slice()]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let column =
        |index| row.try_get::<_, String>(index).map_err(|error| PostgresError::of_column(&error));
    Err(PostgresError::ForeignTable { table: column(0)?, owner: column(1)? })
}

/// The version of the tables: 0 if there are none.
async fn version(connections: &Connections) -> Result<u64, PostgresError> {
    let rows = match connections.read(&connections.statements.version, &[]).await {
        Err(PostgresError::SchemaMissing) => return Ok(0),
        rows => rows?,
    };
    let version: Option<i64> = match rows.first() {
        Some(row) => row.try_get(0).map_err(|error| PostgresError::of_column(&error))?,
        None => None,
    };
    let version = version.and_then(|version| u64::try_from(version).ok()).unwrap_or(0);
    if version > latest() { Err(PostgresError::LaterSchema(version)) } else { Ok(version) }
}

async fn define(connections: &Connections, definition: &str) -> Result<(), PostgresError> {
    settle(connections, definition, &[]).await
}

/// Sends a statement until this or a concurrent migration has executed it. `IF NOT EXISTS` does not
/// prevent two sessions from creating the same table; the second one then fails in one of several
/// ways.
async fn settle(
    connections: &Connections,
    statement: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<(), PostgresError> {
    let mut attempt = 0;
    loop {
        let sent = connections.attempt(Purpose::Change, statement, parameters).await;
        let Err(Failure { error, kind, .. }) = sent else { return Ok(()) };
        attempt += 1;
        match kind {
            Kind::Conflict | Kind::Taken | Kind::Defined if attempt < ATTEMPTS => {
                pause(longest_pause(attempt)).await;
            }
            Kind::Conflict | Kind::Taken | Kind::Defined => {
                return Err(PostgresError::MigrationContended);
            }
            Kind::Broken | Kind::Other => return Err(error),
        }
    }
}
