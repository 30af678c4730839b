//! The tables, and how they came to be.
//!
//! A migration is a list of definitions, each of which does nothing if what it defines is there, and
//! a note that it was finished. Any number of processes may carry it out at the same time, and one
//! that stops in the middle leaves nothing that the next could not go on from. There is nothing to
//! be locked, and no definition shares a transaction with anything else.

use tokio_postgres::types::ToSql;

use super::{
    Connections, PostgresError,
    error::{Failure, Kind},
    statements::{CREATE_KEYS, CREATE_SCHEMA, CREATE_USERS, FINISH_MIGRATION, VERSION},
};

/// What leads from each version of the schema to the next.
const MIGRATIONS: &[&[&str]] = &[&[CREATE_USERS, CREATE_KEYS]];

/// How often to look again after others got in the way.
const ATTEMPTS: u32 = 32;

/// The version that this release makes.
const fn latest() -> u64 {
    MIGRATIONS.len() as u64
}

/// Refuses a schema that a later release made. One that is missing is none of those.
pub(super) async fn check(connections: &Connections) -> Result<(), PostgresError> {
    version(connections).await.map(drop)
}

pub(super) async fn migrate(connections: &Connections) -> Result<(), PostgresError> {
    let done = version(connections).await?;
    if done == latest() {
        return Ok(());
    }
    define(connections, CREATE_SCHEMA).await?;
    for (number, definitions) in (1..).zip(MIGRATIONS) {
        if number <= done {
            continue;
        }
        for definition in *definitions {
            define(connections, definition).await?;
        }
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        settle(connections, FINISH_MIGRATION, &[&number]).await?;
    }
    // A later release may have come by meanwhile.
    check(connections).await
}

/// Which version there is: 0 where there is none.
async fn version(connections: &Connections) -> Result<u64, PostgresError> {
    let rows = match connections.read(VERSION, &[]).await {
        Err(PostgresError::SchemaMissing) => return Ok(0),
        rows => rows?,
    };
    let version: Option<i64> = match rows.first() {
        Some(row) => row.try_get(0).map_err(|error| PostgresError::Client(error.to_string()))?,
        None => None,
    };
    let version = version.and_then(|version| u64::try_from(version).ok()).unwrap_or(0);
    if version > latest() { Err(PostgresError::LaterSchema(version)) } else { Ok(version) }
}

async fn define(connections: &Connections, definition: &str) -> Result<(), PostgresError> {
    settle(connections, definition, &[]).await
}

/// Has it done, by whoever does it: `IF NOT EXISTS` does not keep two from making the same table,
/// and the second one is then refused in one way or another.
async fn settle(
    connections: &Connections,
    statement: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<(), PostgresError> {
    let mut attempt = 0;
    loop {
        let sent = connections.attempt(statement, parameters).await;
        let Err(Failure { error, kind, .. }) = sent else { return Ok(()) };
        attempt += 1;
        match kind {
            Kind::Conflict | Kind::Taken | Kind::Defined if attempt < ATTEMPTS => {
                super::pause(attempt).await;
            }
            Kind::Conflict | Kind::Taken | Kind::Defined => {
                return Err(PostgresError::MigrationContended);
            }
            Kind::Broken | Kind::Other => return Err(error),
        }
    }
}
