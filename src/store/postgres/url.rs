//! The connection URL: `postgres://user:password@host:port/database?name=value&…`.
//!
//! The database client parses it. This module handles the parts that the store implements itself
//! (`search_path`, the values of `sslmode`), and identifies the part that the client rejects.

use tokio_postgres::{
    Config,
    config::{SslMode, TargetSessionAttrs},
};

use super::{PostgresError, startup::StartupSettings};

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// The contents of a URL.
#[derive(Debug)]
pub(super) struct ConnectionUrl {
    pub(super) config: Config,
    pub(super) hosts: usize,
    /// The settings in `options`, apart from `search_path`.
    pub(super) startup: StartupSettings,
    /// The schema that `search_path` in `options` names.
    pub(super) schema: Option<String>,
}

fn invalid(problem: impl Into<String>) -> PostgresError {
    PostgresError::Url { problem: problem.into() }
}

impl ConnectionUrl {
    pub(super) fn parse(url: &str) -> Result<Self, PostgresError> {
        let rest = SCHEMES
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or_else(|| invalid("it does not begin with `postgres://` or `postgresql://`"))?;
        let (user, address) = match rest.split_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, rest),
        };
        let (address, query) = address.split_once('?').unwrap_or((address, ""));
        check_address(user, address)?;

        let mut options = None;
        let mut kept = Vec::new();
        for (index, parameter) in query.split('&').filter(|text| !text.is_empty()).enumerate() {
            match parameter {
                "sslmode=verify-ca" | "sslmode=verify-full" => kept.push("sslmode=require"),
                _ => {
                    let parsed = part("u", &format!("h?{parameter}"))
                        .map_err(|()| unknown(parameter, index, query))?;
                    match parsed.get_options() {
                        Some(text) => options = Some(text.to_owned()),
                        None => kept.push(parameter),
                    }
                }
            }
        }
        let address = format!("{address}?{}", kept.join("&"));
        // Without a user, the URL has no `@`.
        let config = match user {
            Some(user) => part(user, &address),
            None => parse(&address),
        };
        // Each part was parsed before, so the combination is at fault.
        let mut config = config.map_err(|()| invalid("its parts do not fit together"))?;
        let hosts = count_hosts(&config)?;
        // A standby shows an earlier state, and a read must observe the current one. One host may
        // be several servers: a name has several addresses, or an address moves to another server.
        if config.get_target_session_attrs() == TargetSessionAttrs::ReadOnly {
            return Err(invalid("`target_session_attrs=read-only`, but the store makes changes"));
        }
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let (startup, schema) = StartupSettings::parse(options.as_deref().unwrap_or_default())
            .map_err(|()| invalid("`search_path` in `options` does not name one schema"))?;
        if let Some(rest) = startup.options() {
            config.options(rest);
        }
        Ok(Self { config, hosts, startup, schema })
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.config.get_ssl_mode() != SslMode::Disable
    }
}

/// Parses what follows the scheme. The client's error message is dropped, because it may repeat a
/// part of the password.
fn parse(text: &str) -> Result<Config, ()> {
    format!("postgres://{text}").parse().map_err(drop)
}

/// Parses one part of a URL: `text` replaces everything after the user, which ends at the first
/// `@`.
fn part(user: &str, text: &str) -> Result<Config, ()> {
    parse(&format!("{user}@{text}"))
}

/// Parses the part before the parameters.
fn check_address(user: Option<&str>, address: &str) -> Result<(), PostgresError> {
    let (hosts, database) = match address.split_once('/') {
        Some((hosts, database)) => (hosts, Some(database)),
        None => (address, None),
    };
    for (index, host) in hosts.split(',').enumerate() {
        let named = || invalid(format!("host {} or its port is not valid", index + 1));
        part("u", host).map_err(|()| named())?;
    }
    if let Some(database) = database {
        part("u", &format!("h/{database}"))
            .map_err(|()| invalid("the name of the database is not valid UTF-8"))?;
    }
    if let Some(user) = user {
        part(user, "h").map_err(|()| invalid("the name of the user is not valid UTF-8"))?;
    }
    Ok(())
}

/// Describes a parameter by its position, and by its name if the name cannot be a part of the
/// password. A password that is not percent-encoded may contain `?`, `&` and `=`.
fn unknown(parameter: &str, index: usize, query: &str) -> PostgresError {
    let (name, _) = parameter.split_once('=').unwrap_or((parameter, ""));
    if name == "sslmode" {
        return invalid(
            "`sslmode` is not `disable`, `prefer`, `require`, `verify-ca` or `verify-full`",
        );
    }
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let is_public = is_plain && !query.contains('@') && !query.contains("password");
    let named = if is_public { format!(", `{name}`,") } else { String::new() };
    invalid(format!("parameter {}{named} is not known, or its value is not valid", index + 1))
}

fn count_hosts(config: &Config) -> Result<usize, PostgresError> {
    let (hosts, addresses) = (config.get_hosts().len(), config.get_hostaddrs().len());
    let count = hosts.max(addresses);
    if count == 0 {
        return Err(invalid("it names no host"));
    }
    if hosts != 0 && addresses != 0 && hosts != addresses {
        return Err(invalid("`hostaddr` does not have an address for each host"));
    }
    if config.get_ports().len() > 1 && config.get_ports().len() != count {
        return Err(invalid("there is not one port for each host"));
    }
    Ok(count)
}
