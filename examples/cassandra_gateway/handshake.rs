//! The login: from the first byte of a client to its identity.
//!
//! The response to `OPTIONS` is `SUPPORTED`, and to `STARTUP` a request for a password. One
//! `AUTH_RESPONSE` follows, with a user name and a password as SASL PLAIN (RFC 4616). Any other
//! message ends the connection.

use std::{net::SocketAddr, ops::RangeInclusive, time::Instant};

use bytes::{Buf as _, BufMut as _};
use service_specific_credentials::{
    AsyncCredentialManager, AuthenticationError, Identity, ServiceName, store::DynAsyncStore,
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    channel::Channel,
    envelope::{Envelope, Failure, code, get_bytes, get_string, opcode, put_string, version_names},
    explain::explain,
    log,
    throttle::Throttle,
};

/// The maximum length of a message before the login, in bytes, without its header.
pub(crate) const LIMIT: usize = 4096;

/// The authenticator class for which drivers use SASL PLAIN.
const AUTHENTICATOR: &str = "org.apache.cassandra.auth.PasswordAuthenticator";
/// The version of CQL that drivers request in `STARTUP`.
pub(crate) const CQL_VERSION: &str = "3.4.7";

/// Authenticates clients.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) manager: AsyncCredentialManager<DynAsyncStore>,
    pub(crate) service: ServiceName,
    pub(crate) throttle: Throttle,
}

/// A client that has authenticated, before the response.
pub(crate) struct Login {
    pub(crate) identity: Identity,
    pub(crate) startup: Envelope,
    /// The response that reports the success.
    pub(crate) success: Envelope,
}

impl Handshake {
    /// Performs the handshake. Returns `None` if the client disconnects before it has sent a
    /// password.
    pub(crate) async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        channel: &mut Channel<S>,
        client: SocketAddr,
    ) -> Result<Option<Login>, Failure> {
        let supported = supported(&channel.versions);
        let Some(startup) = next(channel, opcode::STARTUP, &supported).await? else {
            return Ok(None);
        };
        check(&startup)?;
        let mut class = Vec::new();
        put_string(&mut class, AUTHENTICATOR);
        channel.write(&startup.reply(opcode::AUTHENTICATE, class)).await?;
        channel.start(startup.version);

        let Some(request) = next(channel, opcode::AUTH_RESPONSE, &supported).await? else {
            return Ok(None);
        };
        let identity = self.authenticate(&request, client).await?;
        // SASL PLAIN has no final token: it is null.
        let success = request.reply(opcode::AUTH_SUCCESS, (-1_i32).to_be_bytes().to_vec());
        Ok(Some(Login { identity, startup, success }))
    }

    async fn authenticate(
        &self,
        request: &Envelope,
        client: SocketAddr,
    ) -> Result<Identity, Failure> {
        let mut body = &request.body[..];
        let token = get_bytes(&mut body).filter(|_| body.is_empty());
        let token = token.ok_or_else(|| request.fail(code::PROTOCOL, "the token is cut"))?;
        // A token that is not SASL PLAIN is denied like a wrong password, and takes as long.
        let (name, password) = plain(token).unwrap_or_default();

        if !self.throttle.delay(client.ip(), name, Instant::now()).is_zero() {
            log(format_args!("{client}: too many failed logins"));
            let message = "too many failed logins, try again later";
            return Err(request.fail(code::OVERLOADED, message));
        }
        match self.manager.authenticate(&self.service, name, password).await {
            Ok(identity) => Ok(identity),
            Err(AuthenticationError::Denied(denial)) => {
                self.throttle.failed(client.ip(), Some(name), Instant::now());
                // The reason is for this log alone.
                log(format_args!("{client}: denied: {}", denial.reason()));
                Err(request.fail(code::BAD_CREDENTIALS, &denial.to_string()))
            }
            // Not a denial: the password may be valid, and drivers retry.
            Err(AuthenticationError::Unavailable(error)) => {
                log(format_args!("{client}: cannot authenticate: {}", explain(&error)));
                Err(request.fail(code::OVERLOADED, "credentials are unavailable, try again later"))
            }
        }
    }
}

/// Reads the next message, which must have the opcode `wanted`. Any `OPTIONS` before it gets its
/// response.
async fn next<S: AsyncRead + AsyncWrite + Unpin>(
    channel: &mut Channel<S>,
    wanted: u8,
    supported: &[u8],
) -> Result<Option<Envelope>, Failure> {
    loop {
        match channel.read().await? {
            Some(request) if request.opcode == opcode::OPTIONS => {
                channel.write(&request.reply(opcode::SUPPORTED, supported.to_vec())).await?;
            }
            Some(request) if request.opcode != wanted => {
                let message = format!("unexpected message {} before login", request.opcode);
                return Err(request.fail(code::PROTOCOL, &message));
            }
            request => return Ok(request),
        }
    }
}

/// The body of `SUPPORTED`: the options that `STARTUP` may request.
pub(crate) fn supported(versions: &RangeInclusive<u8>) -> Vec<u8> {
    let versions = version_names(versions);
    let options: [(&str, &[String]); 3] = [
        ("CQL_VERSION", &[CQL_VERSION.to_owned()]),
        ("COMPRESSION", &[]),
        ("PROTOCOL_VERSIONS", &versions),
    ];
    let mut body = Vec::new();
    body.put_u16(3);
    for (name, values) in options {
        put_string(&mut body, name);
        body.put_u16(u16::try_from(values.len()).unwrap_or(u16::MAX));
        for value in values {
            put_string(&mut body, value);
        }
    }
    body
}

/// Rejects options of `STARTUP` that are not supported.
fn check(startup: &Envelope) -> Result<(), Failure> {
    let fail = |message| Err(startup.fail(code::PROTOCOL, message));
    let Some(options) = options(&startup.body) else {
        return fail("the options of STARTUP cannot be read");
    };
    // Cassandra ignores the case of these names.
    let value = |name: &str| {
        options.iter().find(|(option, _)| option.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    if value("COMPRESSION").is_some() {
        return fail("compression is not supported");
    }
    // As Cassandra does. The driver `scylla` requests 4.0.0, which is not a version of CQL.
    let major = value("CQL_VERSION").and_then(|version| version.split_once('.'));
    match major.map(|(major, _)| major.parse::<u32>()) {
        Some(Ok(3..)) => Ok(()),
        _ => fail("STARTUP needs a CQL_VERSION of 3.0.0 or later"),
    }
}

/// Reads a *string map*.
fn options(mut body: &[u8]) -> Option<Vec<(&str, &str)>> {
    let count = body.try_get_u16().ok()?;
    (0..count).map(|_| Some((get_string(&mut body)?, get_string(&mut body)?))).collect()
}

/// Parses a SASL PLAIN token. The authorization identity must be empty or the client's own.
fn plain(token: &[u8]) -> Option<(&str, &str)> {
    let mut parts = std::str::from_utf8(token).ok()?.split('\0');
    let (identity, name, password) = (parts.next()?, parts.next()?, parts.next()?);
    let allowed = parts.next().is_none() && (identity.is_empty() || identity == name);
    allowed.then_some((name, password))
}
