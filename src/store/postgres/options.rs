use std::{fmt::Write as _, time::Duration};

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use tokio_postgres::{
    Config, NoTls,
    config::{SslMode, TargetSessionAttrs},
};

use super::{PostgresError, tls};

const NAME: &str = "service-specific-credentials";

/// How a [`PostgresStore`](super::PostgresStore) uses its database.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    max_connections: usize,
    pool_wait: Duration,
    connect_timeout: Duration,
    statement_timeout: Duration,
    pub(super) answer_timeout: Duration,
    isolation: Option<Isolation>,
    authorities: Option<Vec<u8>>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            max_connections: 16,
            pool_wait: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(15),
            isolation: None,
            authorities: None,
        }
    }
}

impl PostgresOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many connections the store has open at most, instead of 16. At least one.
    #[must_use]
    pub const fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = if connections == 0 { 1 } else { connections };
        self
    }

    /// How long to wait for one of them to be free, instead of 5 seconds. After that:
    /// [`PostgresError::PoolFull`].
    #[must_use]
    pub const fn pool_wait(mut self, wait: Duration) -> Self {
        self.pool_wait = wait;
        self
    }

    /// How long a host may take to let the store connect, instead of 5 seconds; what the URL says
    /// (`connect_timeout`) comes first. After that the next host of the URL is tried.
    ///
    /// To open a connection, with all that the server asks then, may take this long for each host of
    /// the URL, and once more. After that: [`PostgresError::Unreachable`]. A host that lets the store
    /// connect and then says nothing may use up all of it, and so may the addresses of one name: then
    /// the next host is not tried.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the server may work on a statement, instead of 10 seconds, in whole milliseconds,
    /// of which it is at least one. After that it undoes what it did: [`PostgresError::TimedOut`]. What it waits for in order to
    /// make a change safe, such as a standby, is not counted.
    #[must_use]
    pub const fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// How long to wait for the answer to a statement, instead of 15 seconds: longer than the
    /// [server](Self::statement_timeout) may take. After that: [`PostgresError::Unanswered`]. The
    /// connection is closed then, and whether a change was made is not known.
    #[must_use]
    pub const fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout;
        self
    }

    /// How transactions are kept apart, instead of as the server, the user or the database is set
    /// up. The store does as it must at each level.
    #[must_use]
    pub const fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = Some(isolation);
        self
    }

    /// Which authorities may vouch for the server's certificate, in PEM, instead of those that the
    /// system trusts.
    #[must_use]
    pub fn authorities(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities = Some(pem.into());
        self
    }

    pub(super) fn pool(&self, url: &str) -> Result<Pool, PostgresError> {
        // What is wrong with it may be a part of the password.
        let mut config: Config = url.parse().map_err(|_| PostgresError::Url)?;
        let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
        if hosts == 0 {
            return Err(PostgresError::Url);
        }
        // A standby shows what was, and a read has to see what is. One host may be several servers: a
        // name has several addresses, or an address goes from one server to the next.
        if config.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
            return Err(PostgresError::Url);
        }
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name(NAME);
        }
        let one = config.get_connect_timeout().copied().unwrap_or(self.connect_timeout);
        config.connect_timeout(one);
        // The pool waits for all hosts, one after the other, and for what the last one asks.
        let all = one.saturating_mul(u32::try_from(hosts).unwrap_or(u32::MAX).saturating_add(1));
        config.options(self.settings(config.get_options()));
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = if config.get_ssl_mode() == SslMode::Disable {
            Manager::from_config(config, NoTls, recycling)
        } else {
            let tls = tls::connector(self.authorities.as_deref())?;
            Manager::from_config(config, tls, recycling)
        };
        Pool::builder(manager)
            .runtime(Runtime::Tokio1)
            .max_size(self.max_connections)
            .wait_timeout(Some(self.pool_wait))
            .create_timeout(Some(all))
            .build()
            .map_err(|error| PostgresError::Client(error.to_string()))
    }

    /// The settings of each connection: what the URL says, and after it what the options do.
    fn settings(&self, given: Option<&str>) -> String {
        // None at all would be no limit.
        let timeout = self.statement_timeout.as_millis().max(1);
        let mut settings = given.map(|given| format!("{given} ")).unwrap_or_default();
        let _ = write!(settings, "-c statement_timeout={timeout}");
        if let Some(isolation) = self.isolation {
            settings.push_str(" -c default_transaction_isolation=");
            settings.push_str(isolation.setting());
        }
        settings
    }
}

/// How far transactions are kept apart.
///
/// The store does the same under all of them, and promises the same: a change is one statement. The
/// lowest costs the least; under the others the server gives up what crosses with another
/// transaction, and the store starts over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isolation {
    /// What PostgreSQL does unless it is told otherwise.
    ReadCommitted,
    /// What some distributed databases always do.
    RepeatableRead,
    /// What other distributed databases do unless they are told otherwise.
    Serializable,
}

impl Isolation {
    /// As a setting in the options of a connection, where a space is written with a backslash.
    const fn setting(self) -> &'static str {
        match self {
            Self::ReadCommitted => r"read\ committed",
            Self::RepeatableRead => r"repeatable\ read",
            Self::Serializable => "serializable",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn each_host_has_its_time() {
        let options = PostgresOptions::new().connect_timeout(Duration::from_secs(3));
        for (url, seconds) in [
            ("postgres://one/x?sslmode=disable", 6),
            ("postgres://one,two/x?sslmode=disable", 9),
            ("postgres://one,two,three/x?sslmode=disable&connect_timeout=7", 28),
        ] {
            let timeouts = options.pool(url).unwrap().timeouts();
            assert_eq!(timeouts.create, Some(Duration::from_secs(seconds)), "{url}");
        }
    }

    #[test]
    fn no_statement_has_all_the_time_of_the_world() {
        let options = PostgresOptions::new().statement_timeout(Duration::from_micros(10));
        assert_eq!(options.settings(None), "-c statement_timeout=1");
    }
}
