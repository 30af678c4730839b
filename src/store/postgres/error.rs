use std::{error::Error as StdError, io};

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::{DbError, Severity, SqlState};

use super::DecodeError;
use crate::causes::Causes;

/// Why a [`PostgresStore`](super::PostgresStore) failed.
///
/// It is also what the store puts into a [`StoreError`](crate::store::StoreError), to be had by
/// [`get_ref`](crate::store::StoreError::get_ref) and `downcast_ref`. No password
/// is ever in it; the names of the host, the user and the database may be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// The connection URL is not valid.
    #[error("the connection URL is not valid: {problem}")]
    #[non_exhaustive]
    Url {
        /// The part that is not understood. It repeats nothing that may be a part of the password.
        problem: String,
    },
    /// The name of a [schema](super::PostgresOptions::schema) is empty, longer than 63 bytes, or
    /// has a character NUL in it.
    #[error("the name of the schema is not valid")]
    SchemaName,
    /// A new connection does not have a setting that the `options` of the URL make. A connection
    /// pooler dropped it.
    #[error("the connection lacks the setting `{name}` of the URL: a pooler dropped it")]
    #[non_exhaustive]
    SettingLost {
        /// The setting.
        name: String,
    },
    /// No server answered. Try again.
    #[error("the server cannot be reached")]
    Unreachable(#[source] io::Error),
    /// Every connection of the pool was in use for as long as one may wait. Try again.
    #[error("no connection of the pool became free in time")]
    PoolFull,
    /// The server takes no more connections. Try again.
    #[error("the server takes no more connections")]
    ServerFull,
    /// The server does not know the user, or the password is another, or the user may not come from
    /// here.
    #[error("the server refused the user or the password")]
    WrongCredentials,
    /// The server has no database of that name.
    #[error("there is no such database")]
    NoDatabase,
    /// The connection cannot be encrypted as it should be: the server cannot do so, or its
    /// certificate is not trusted, or is another host's.
    #[error("the connection cannot be encrypted as it should be")]
    Tls(#[source] Box<dyn StdError + Send + Sync>),
    /// The connection broke. Try again.
    #[error("the connection was lost")]
    ConnectionLost,
    /// The connection lost the statements that were prepared on it, and was closed; nothing was
    /// changed. Try again. If it happens often, a connection pooler is not set up as the store
    /// [needs](super::PostgresStore#connection-poolers).
    #[error("the connection lost its prepared statements")]
    StatementsLost,
    /// The server gave the statement up, as it was told to after some time, and did nothing. Try
    /// again.
    #[error("the statement took too long, and the server gave it up")]
    TimedOut,
    /// The server did not answer within the time that it is given. Try again.
    #[error("the server did not answer in time")]
    Unanswered,
    /// The tables are not there: see [`migrate`](super::PostgresStore::migrate).
    #[error("the schema is missing, and has to be made by a migration")]
    SchemaMissing,
    /// The database has no schema of the name that is [set](super::PostgresOptions::schema), or
    /// none in the `search_path`. A migration does not create it.
    #[error("there is no such schema in the database")]
    NoSchema,
    /// Another role owns a table. A [migration](super::PostgresStore::migrate) uses only tables of
    /// the role that it runs as, since the owner of a table can read and change it, and attach
    /// triggers to it.
    #[error("the table `{table}` belongs to the role `{owner}`")]
    #[non_exhaustive]
    ForeignTable {
        /// The table.
        table: String,
        /// The role that owns it.
        owner: String,
    },
    /// A later release made the tables.
    #[error("the schema has version {0}, which a later release made")]
    LaterSchema(u64),
    /// Several processes migrated at once, and got in each other's way again and again. Try again.
    #[error("other migrations got in the way")]
    MigrationContended,
    /// The server takes no changes: it is a standby, for one. A connection to such a server is
    /// refused; one that there was before may lead to one later. Where there are several, it is
    /// the last that says so. Try again, once there is a primary.
    #[error("the server is read-only")]
    ReadOnly,
    /// The user lacks a privilege.
    #[error("the user of the database lacks a privilege")]
    Denied,
    /// Other transactions came first again and again. Nothing was changed. Try again.
    #[error("other transactions came first again and again")]
    Contended,
    /// A record in the database cannot be read.
    #[error("a record in the database cannot be read")]
    Record(#[source] DecodeError),
    /// The index names a record that is not there.
    #[error("the index names a record that is not there")]
    Index,
    /// The change was made, wholly, or it was not, and nobody can say which. Look before trying
    /// again.
    #[error("it is not known whether the change was made")]
    Unknown(#[source] Box<Self>),
    /// The server reports something else.
    #[error("the server reports {code}: {message}")]
    #[non_exhaustive]
    Server {
        /// The five characters of its SQLSTATE.
        code: String,
        /// What it says.
        message: String,
    },
    /// The pool, or the client of the database, cannot go on.
    #[error("the client of the database failed: {0}")]
    Client(String),
}

impl PostgresError {
    /// Whether the very same call may succeed later, though nobody changes anything about the
    /// program, the database or its users. Not so where it is [not known](Self::Unknown) what
    /// became of a change: what was made once is not to be made again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::PoolFull
            | Self::ServerFull
            | Self::ConnectionLost
            | Self::StatementsLost
            | Self::TimedOut
            | Self::Unanswered
            | Self::MigrationContended
            | Self::ReadOnly
            | Self::Contended => true,
            Self::Url { .. }
            | Self::SchemaName
            | Self::SettingLost { .. }
            | Self::WrongCredentials
            | Self::NoDatabase
            | Self::Tls(_)
            | Self::SchemaMissing
            | Self::NoSchema
            | Self::ForeignTable { .. }
            | Self::LaterSchema(_)
            | Self::Denied
            | Self::Record(_)
            | Self::Index
            | Self::Unknown(_)
            | Self::Server { .. }
            | Self::Client(_) => false,
        }
    }
}

/// A statement failed: what is to be done about it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: PostgresError,
    pub(super) kind: Kind,
    /// Whether what was sent may have been done all the same.
    pub(super) perhaps_done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Another transaction came first. Starting over may help.
    Conflict,
    /// A unique constraint.
    Taken,
    /// The connection is of no use any more.
    Broken,
    /// Two definitions of the same thing met.
    Defined,
    Other,
}

impl Failure {
    /// Before anything was sent that could be done.
    pub(super) fn harmless(error: PostgresError) -> Self {
        Self { error, kind: Kind::Other, perhaps_done: false }
    }

    /// The connection is not to be used, and nothing was sent over it.
    pub(super) const fn unusable(error: PostgresError) -> Self {
        Self { error, kind: Kind::Broken, perhaps_done: false }
    }

    /// The server said nothing for too long.
    pub(super) const fn unanswered(sent: bool) -> Self {
        Self { error: PostgresError::Unanswered, kind: Kind::Broken, perhaps_done: sent }
    }

    /// What a statement failed of that was `sent`, or was being prepared.
    pub(super) fn of_statement(error: &tokio_postgres::Error, sent: bool) -> Self {
        let Some(reported) = error.as_db_error() else {
            return if error.is_closed() || cause::<io::Error>(error).is_some() {
                Self {
                    error: PostgresError::ConnectionLost,
                    kind: Kind::Broken,
                    perhaps_done: sent,
                }
            } else {
                let error = PostgresError::Client(Causes(error).to_string());
                Self { error, kind: Kind::Broken, perhaps_done: sent }
            };
        };
        let code = reported.code();
        let kind = match *code {
            // Whatever the code is: what the connection ends with says nothing about what was done.
            _ if is_final(reported) || is_unprepared(reported) => Kind::Broken,
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Kind::Conflict,
            SqlState::UNIQUE_VIOLATION => Kind::Taken,
            SqlState::DUPLICATE_TABLE | SqlState::DUPLICATE_OBJECT => Kind::Defined,
            // One that was opened on a primary, which is none any more.
            SqlState::READ_ONLY_SQL_TRANSACTION => Kind::Broken,
            _ => Kind::Other,
        };
        Self {
            error: PostgresError::reported(reported),
            kind,
            perhaps_done: sent && !is_undone(reported),
        }
    }
}

/// Whether the connection ends with this.
fn is_final(reported: &DbError) -> bool {
    matches!(reported.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        || reported.severity() == "FATAL"
}

/// Whether what was prepared on the connection is not there any more, or not as it was. The
/// statement did nothing, and would do nothing on this connection ever again.
fn is_unprepared(reported: &DbError) -> bool {
    match *reported.code() {
        // Another client's statement has the name, or none has it.
        SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PSTATEMENT => true,
        // PostgreSQL's message is in its language, and so the place that it comes from is looked
        // at.
        SqlState::FEATURE_NOT_SUPPORTED => {
            reported.routine() == Some("RevalidateCachedQuery")
                || reported.message() == "cached plan must not change result type"
        }
        _ => false,
    }
}

/// Whether a statement that is answered so was certainly not carried out. An error in the middle of
/// a transaction undoes it; but a server that goes down reports so by an error too, and may have
/// committed before.
fn is_undone(reported: &DbError) -> bool {
    let class = reported.code().code().get(..2).unwrap_or_default();
    !is_final(reported)
        && *reported.code() != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
        && (*reported.code() == SqlState::QUERY_CANCELED
            || !matches!(class, "08" | "57" | "58" | "XX"))
}

impl PostgresError {
    /// What the server reports.
    fn reported(reported: &DbError) -> Self {
        let code = reported.code();
        if is_unprepared(reported) {
            return Self::StatementsLost;
        }
        match *code {
            SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                Self::WrongCredentials
            }
            SqlState::INVALID_CATALOG_NAME => Self::NoDatabase,
            SqlState::TOO_MANY_CONNECTIONS => Self::ServerFull,
            SqlState::CANNOT_CONNECT_NOW => {
                Self::Unreachable(io::Error::new(io::ErrorKind::ConnectionRefused, "starting up"))
            }
            SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => Self::ConnectionLost,
            SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => Self::TimedOut,
            SqlState::UNDEFINED_TABLE => Self::SchemaMissing,
            SqlState::INVALID_SCHEMA_NAME => Self::NoSchema,
            SqlState::READ_ONLY_SQL_TRANSACTION => Self::ReadOnly,
            SqlState::INSUFFICIENT_PRIVILEGE => Self::Denied,
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
                Self::Contended
            }
            _ => Self::Server {
                code: code.code().to_owned(),
                message: reported.message().to_owned(),
            },
        }
    }

    /// A connection could not be had.
    pub(super) fn of_pool(error: PoolError) -> Self {
        match error {
            PoolError::Timeout(TimeoutType::Wait) => Self::PoolFull,
            PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
                Self::Unreachable(io::ErrorKind::TimedOut.into())
            }
            PoolError::Backend(error) => Self::of_connecting(&error),
            PoolError::Closed => Self::Client("the pool is closed".to_owned()),
            PoolError::NoRuntimeSpecified => {
                Self::Client("the pool has limits of time, and no runtime".to_owned())
            }
            PoolError::PostCreateHook(_) => {
                Self::Client("what the pool does with new connections failed".to_owned())
            }
        }
    }

    fn of_connecting(error: &tokio_postgres::Error) -> Self {
        if let Some(reported) = error.as_db_error() {
            return Self::reported(reported);
        }
        let message = error.to_string();
        if message.starts_with("error performing TLS") {
            return Self::Tls(Causes(error).to_string().into());
        }
        if let Some(error) = cause::<io::Error>(error) {
            // The client of the database says so itself, after it asked. No system does.
            if error.to_string() == "database does not allow writes" {
                return Self::ReadOnly;
            }
            return Self::Unreachable(io::Error::new(error.kind(), error.to_string()));
        }
        if error.is_closed() || message.starts_with("timeout") {
            return Self::Unreachable(io::ErrorKind::ConnectionAborted.into());
        }
        let text = Causes(error).to_string();
        // A password is asked for and there is none, or the server is none that knows it.
        if message.starts_with("authentication") || text.contains("password") {
            return Self::WrongCredentials;
        }
        if message.starts_with("invalid configuration") {
            return Self::Url { problem: text };
        }
        Self::Client(text)
    }

    /// A column of an answer could not be read.
    pub(super) fn of_column(error: &tokio_postgres::Error) -> Self {
        Self::Client(Causes(error).to_string())
    }
}

fn cause<T: StdError + 'static>(error: &tokio_postgres::Error) -> Option<&T> {
    error.source()?.downcast_ref()
}
