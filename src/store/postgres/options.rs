use std::{fmt::Write as _, sync::Arc, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::NoTls;

use super::{PostgresError, connections::Connections, statements::Schema, tls, url::ConnectionUrl};

const NAME: &str = "service-specific-credentials";

/// Options of a [`PostgresStore`](super::PostgresStore).
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    max_connections: usize,
    pool_wait: Duration,
    connect_timeout: Duration,
    statement_timeout: Option<Duration>,
    pub(super) response_timeout: Duration,
    isolation: Option<Isolation>,
    authorities: Option<Vec<u8>>,
    schema: Option<String>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            max_connections: 16,
            pool_wait: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Some(Duration::from_secs(10)),
            response_timeout: Duration::from_secs(15),
            isolation: None,
            authorities: None,
            schema: None,
        }
    }
}

impl PostgresOptions {
    /// The default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the maximum number of open connections: at least 1. Default: 16.
    #[must_use]
    pub const fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = if connections == 0 { 1 } else { connections };
        self
    }

    /// Sets how long to wait for a connection of the pool. Default: 5 seconds. After
    /// that time, the call fails with [`PostgresError::PoolFull`].
    #[must_use]
    pub const fn pool_wait(mut self, wait: Duration) -> Self {
        self.pool_wait = wait;
        self
    }

    /// Sets how long to wait until a host accepts a connection. Default: 5 seconds. A
    /// `connect_timeout` in the URL takes precedence. After that time, the next host of the URL
    /// is tried.
    ///
    /// Opening a connection, including authentication, may take this long for each host of the URL,
    /// plus once more. After that it fails with [`PostgresError::Unreachable`]. A host that accepts
    /// the connection and then sends nothing may use up all of that time, and so may the addresses
    /// of one name: then the next host is not tried.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets how long the server may work on a change. Default: 10 seconds. After that time, the
    /// server rolls the change back, and the call fails with [`PostgresError::TimedOut`]. Waiting
    /// until a change is durable, such as for a standby, is not counted. The time is rounded down
    /// to whole milliseconds, and is at least one.
    ///
    /// It is a setting of the change's transaction. A read is a single statement without settings,
    /// which costs the server less. But after a statement without a response, because it [timed
    /// out](Self::response_timeout) or its future was dropped, reads are limited as changes are
    /// until one succeeds.
    ///
    /// `None` sets no limit: the `statement_timeout` of the role, the database or the server
    /// applies. If no [isolation](Self::isolation) is set either, a change is a single statement
    /// too.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.statement_timeout = timeout.into();
        self
    }

    /// Sets how long to wait for the response to a statement. Default: 15 seconds. After that time,
    /// the connection is closed, and a read fails with [`PostgresError::NoResponse`]; the outcome
    /// of a change is [unknown](PostgresError::Unknown). The time should exceed the [server's
    /// timeout](Self::statement_timeout).
    #[must_use]
    pub const fn response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }

    /// Sets the isolation level of the transactions that make changes. Default: that of the role,
    /// the database or the server. The store's guarantees hold at every level. A read is a single
    /// statement, and is the same at every level.
    #[must_use]
    pub const fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }

    /// Sets the certificate authorities that may issue the server's certificate, in PEM. Default:
    /// those that the system trusts.
    #[must_use]
    pub fn authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Some(pem.into());
        self
    }

    /// Sets the schema of the tables. Default: the schema that the server finds by its
    /// `search_path`. The name is case-sensitive and is not unquoted.
    ///
    /// Every statement names the schema, so neither a setting of the session nor a connection
    /// pooler can direct it to other tables. A `search_path` in the URL's `options` has the same
    /// effect, and must not name another schema.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// Builds a pool for the database that a URL names.
    pub(super) fn connect(&self, url: &str) -> Result<Connections, PostgresError> {
        let mut url = ConnectionUrl::parse(url)?;
        let is_encrypted = url.is_encrypted();
        if let (Some(ours), Some(other)) = (&self.schema, &url.schema)
            && ours != other
        {
            let problem = "`search_path` in `options` names another schema than the options";
            return Err(PostgresError::Url { problem: problem.to_owned() });
        }
        let config = &mut url.config;
        if config.get_application_name().is_none() {
            config.application_name(NAME);
        }
        let one = config.get_connect_timeout().copied().unwrap_or(self.connect_timeout);
        config.connect_timeout(one);
        // The pool's timeout covers all hosts in turn, and the queries on the last one.
        let hosts = u32::try_from(url.hosts).unwrap_or(u32::MAX);
        let all = one.saturating_mul(hosts.saturating_add(1));
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let authorities = self.authorities.as_deref();
        let manager = if is_encrypted {
            Manager::from_config(url.config, tls::connector(authorities)?, recycling)
        } else {
            Manager::from_config(url.config, NoTls, recycling)
        };
        let pool = Pool::builder(manager)
            .runtime(Runtime::Tokio1)
            .max_size(self.max_connections)
            .wait_timeout(Some(self.pool_wait))
            .create_timeout(Some(all))
            .build()
            .map_err(|error| PostgresError::Client(error.to_string()))?;
        let schema = match url.schema {
            Some(schema) => Some(Schema::new(&schema)?),
            None => self.own_schema()?,
        };
        let mut connections = Connections::new(pool, schema, self);
        connections.startup = Arc::new(url.startup);
        Ok(connections)
    }

    pub(super) fn own_schema(&self) -> Result<Option<Schema>, PostgresError> {
        self.schema.as_deref().map(Schema::new).transpose()
    }

    /// The statements that begin a transaction with the settings, if there are any.
    pub(super) fn begin(&self) -> Option<String> {
        let level = self.isolation.map(Isolation::level);
        // Zero would disable the limit.
        let timeout = self.statement_timeout.map(|timeout| timeout.as_millis().max(1));
        if level.is_none() && timeout.is_none() {
            return None;
        }
        let mut begin = "BEGIN".to_owned();
        if let Some(level) = level {
            begin.push_str(" ISOLATION LEVEL ");
            begin.push_str(level);
        }
        if let Some(timeout) = timeout {
            let _ = write!(begin, "; SET LOCAL statement_timeout = {timeout}");
        }
        Some(begin)
    }
}

/// The isolation level of transactions.
///
/// The store behaves the same at all levels, because a change is one statement. *Read committed*
/// costs the least. At the other levels the server aborts one of two conflicting transactions, and
/// the store sends the statement again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isolation {
    /// `READ COMMITTED`, the default of PostgreSQL.
    ReadCommitted,
    /// `REPEATABLE READ`, the only level of some distributed databases.
    RepeatableRead,
    /// `SERIALIZABLE`, the default of other distributed databases.
    Serializable,
}

impl Isolation {
    const fn level(self) -> &'static str {
        match self {
            Self::ReadCommitted => "READ COMMITTED",
            Self::RepeatableRead => "REPEATABLE READ",
            Self::Serializable => "SERIALIZABLE",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_connection_may_take_the_timeout_of_each_host_and_one_more() {
        let options = PostgresOptions::new().connect_timeout(Duration::from_secs(3));
        for (url, seconds) in [
            ("postgres://one/x?sslmode=disable", 6),
            ("postgres://one,two/x?sslmode=disable", 9),
            ("postgres://one,two,three/x?sslmode=disable&connect_timeout=7", 28),
        ] {
            let timeouts = options.connect(url).unwrap().pool.timeouts();
            assert_eq!(timeouts.create, Some(Duration::from_secs(seconds)), "{url}");
        }
    }

    #[test]
    fn a_statement_timeout_is_at_least_a_millisecond() {
        let options = PostgresOptions::new().statement_timeout(Duration::from_micros(10));
        assert_eq!(options.begin().unwrap(), "BEGIN; SET LOCAL statement_timeout = 1");
    }
}
