use std::{error::Error as StdError, io};

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::error::{DbError, Severity, SqlState};

use super::DecodeError;
use crate::causes::Causes;

/// The error of a [`PostgresStore`](super::PostgresStore).
///
/// A [`StoreError`](crate::store::StoreError) of the store contains it: use
/// [`get_ref`](crate::store::StoreError::get_ref) and `downcast_ref`. It never contains a password.
/// It may contain the names of the host, the user and the database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// The connection URL is not valid.
    #[error("the connection URL is not valid: {problem}")]
    #[non_exhaustive]
    Url {
        /// Describes the invalid part, without any text that may belong to the password.
        problem: String,
    },
    /// The name of a [schema](super::PostgresOptions::schema) is empty, is longer than 63 bytes, or
    /// contains a NUL character.
    #[error("the name of the schema is not valid")]
    SchemaName,
    /// A new connection lacks a setting that the `options` of the URL make. A connection pooler
    /// dropped it.
    #[error("the connection lacks the setting `{name}` of the URL: a pooler dropped it")]
    #[non_exhaustive]
    SettingLost {
        /// The setting.
        name: String,
    },
    /// The server cannot be reached. Try again.
    #[error("the server cannot be reached")]
    Unreachable(#[source] io::Error),
    /// No connection of the pool became free within the [limit](super::PostgresOptions::pool_wait).
    /// Try again.
    #[error("no connection of the pool became free in time")]
    PoolFull,
    /// The server accepts no more connections. Try again.
    #[error("the server accepts no more connections")]
    ServerFull,
    /// The server denied the login: the user does not exist, the password is wrong, or the user may
    /// not connect from this host.
    #[error("the server denied the login")]
    WrongCredentials,
    /// The server has no database of that name.
    #[error("there is no such database")]
    NoDatabase,
    /// The connection cannot be encrypted as required: the server does not support encryption, or
    /// its certificate is not trusted or belongs to another host.
    #[error("the connection cannot be encrypted as required")]
    Tls(#[source] Box<dyn StdError + Send + Sync>),
    /// The connection broke. Try again.
    #[error("the connection was lost")]
    ConnectionLost,
    /// The connection lost its prepared statements and was closed. Nothing was changed. Try again.
    /// If it happens often, check that the connection pooler is [set
    /// up](super::PostgresStore#connection-poolers) as the store needs it.
    #[error("the connection lost its prepared statements")]
    StatementsLost,
    /// The server cancelled the statement after the
    /// [timeout](super::PostgresOptions::statement_timeout). Nothing was changed. Try again.
    #[error("the server cancelled the statement after its timeout")]
    TimedOut,
    /// No response arrived within the [timeout](super::PostgresOptions::response_timeout). Try
    /// again.
    #[error("no response arrived in time")]
    NoResponse,
    /// The tables are missing: see [`migrate`](super::PostgresStore::migrate).
    #[error("the tables are missing: run a migration")]
    SchemaMissing,
    /// The database does not have the [configured schema](super::PostgresOptions::schema), or no
    /// schema of the `search_path`. A migration does not create it.
    #[error("there is no such schema in the database")]
    NoSchema,
    /// Another role owns a table. A [migration](super::PostgresStore::migrate) uses only tables of
    /// its own role, because the owner of a table can read it, change it, and attach triggers to
    /// it.
    #[error("the table `{table}` belongs to the role `{owner}`")]
    #[non_exhaustive]
    ForeignTable {
        /// The table.
        table: String,
        /// The role that owns it.
        owner: String,
    },
    /// A later release created the tables.
    #[error("the tables have version {0}, which a later release created")]
    LaterSchema(u64),
    /// Concurrent migrations conflicted too many times. Try again.
    #[error("each attempt conflicted with another migration")]
    MigrationContended,
    /// The server accepts no changes, for example because it is a standby. The store does not keep
    /// a connection to such a server, but a server can become read-only while it is connected. If
    /// the URL names several servers, all were tried, and the last one is read-only. Try again once
    /// there is a primary.
    #[error("the server is read-only")]
    ReadOnly,
    /// The user lacks a privilege.
    #[error("the database user lacks a privilege")]
    Denied,
    /// Every attempt conflicted with other transactions. Nothing was changed. Try again.
    #[error("each attempt conflicted with another transaction")]
    Contended,
    /// A record in the database cannot be decoded.
    #[error("a record in the database cannot be decoded")]
    Record(#[source] DecodeError),
    /// The index refers to a record that does not exist.
    #[error("the index refers to a record that does not exist")]
    Index,
    /// It is not known whether the change was applied. Read before trying again.
    #[error("it is not known whether the change was applied")]
    Unknown(#[source] Box<Self>),
    /// The server reported another error.
    #[error("the server reports {code}: {message}")]
    #[non_exhaustive]
    Server {
        /// The five characters of its SQLSTATE.
        code: String,
        /// The message.
        message: String,
    },
    /// The pool or the database client failed.
    #[error("the database client failed: {0}")]
    Client(String),
}

impl PostgresError {
    /// Whether the same call may succeed later without any change to the program, the database or
    /// its users. `false` if the outcome is [not known](Self::Unknown): a change that was applied
    /// must not be made again.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(_)
            | Self::PoolFull
            | Self::ServerFull
            | Self::ConnectionLost
            | Self::StatementsLost
            | Self::TimedOut
            | Self::NoResponse
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

/// The failure of a statement, and how to proceed after it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: PostgresError,
    pub(super) kind: Kind,
    /// Whether the statement may have been executed despite the failure.
    pub(super) perhaps_done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The statement conflicted with another transaction. A retry may succeed.
    Conflict,
    /// The statement violated a unique constraint.
    Taken,
    /// The connection is unusable.
    Broken,
    /// Two sessions defined the same object at once.
    Defined,
    Other,
}

impl Failure {
    /// Failed before anything was sent that could take effect.
    pub(super) fn harmless(error: PostgresError) -> Self {
        Self { error, kind: Kind::Other, perhaps_done: false }
    }

    /// The connection is unusable, and nothing was sent over it.
    pub(super) const fn unusable(error: PostgresError) -> Self {
        Self { error, kind: Kind::Broken, perhaps_done: false }
    }

    /// The response timed out.
    pub(super) const fn no_response(sent: bool) -> Self {
        Self { error: PostgresError::NoResponse, kind: Kind::Broken, perhaps_done: sent }
    }

    /// Failed while a statement was executed (`sent`) or prepared.
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
            // Independent of the code: the error that ends a connection does not tell what was
            // executed.
            _ if is_final(reported) || is_unprepared(reported) => Kind::Broken,
            SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Kind::Conflict,
            SqlState::UNIQUE_VIOLATION => Kind::Taken,
            SqlState::DUPLICATE_TABLE | SqlState::DUPLICATE_OBJECT => Kind::Defined,
            // The connection was opened to a primary that has become read-only.
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

/// Whether this error ends the connection.
fn is_final(reported: &DbError) -> bool {
    matches!(reported.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        || reported.severity() == "FATAL"
}

/// Whether the prepared statement is missing on the connection, or no longer valid. The statement
/// did nothing, and cannot succeed on this connection again.
fn is_unprepared(reported: &DbError) -> bool {
    match *reported.code() {
        // Another client's statement has the name, or no statement has it.
        SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::DUPLICATE_PSTATEMENT => true,
        // PostgreSQL translates its messages, so the routine that reported the error is compared.
        SqlState::FEATURE_NOT_SUPPORTED => {
            reported.routine() == Some("RevalidateCachedQuery")
                || reported.message() == "cached plan must not change result type"
        }
        _ => false,
    }
}

/// Whether a statement with this error was certainly not executed. An error inside a transaction
/// rolls it back. But a server that shuts down also reports an error, and may have committed
/// before.
fn is_undone(reported: &DbError) -> bool {
    let class = reported.code().code().get(..2).unwrap_or_default();
    !is_final(reported)
        && *reported.code() != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
        && (*reported.code() == SqlState::QUERY_CANCELED
            || !matches!(class, "08" | "57" | "58" | "XX"))
}

impl PostgresError {
    /// Converts an error that the server reports.
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

    /// Converts an error of obtaining a connection.
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
            // The database client reports this itself, after it asked the server. It is no error of
            // the operating system.
            if error.to_string() == "database does not allow writes" {
                return Self::ReadOnly;
            }
            return Self::Unreachable(io::Error::new(error.kind(), error.to_string()));
        }
        if error.is_closed() || message.starts_with("timeout") {
            return Self::Unreachable(io::ErrorKind::ConnectionAborted.into());
        }
        let text = Causes(error).to_string();
        // The server asks for a password and there is none, or the authentication method is not
        // supported.
        if message.starts_with("authentication") || text.contains("password") {
            return Self::WrongCredentials;
        }
        if message.starts_with("invalid configuration") {
            return Self::Url { problem: text };
        }
        Self::Client(text)
    }

    /// Converts an error of reading a column.
    pub(super) fn of_column(error: &tokio_postgres::Error) -> Self {
        Self::Client(Causes(error).to_string())
    }
}

fn cause<T: StdError + 'static>(error: &tokio_postgres::Error) -> Option<&T> {
    error.source()?.downcast_ref()
}
