//! The service after the login with an upstream: connects to it in the client's version of the
//! protocol, and then copies bytes in both directions.

use std::{io, ops::RangeInclusive, time::Duration};

use bytes::{Buf as _, BufMut as _};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes},
    net::TcpStream,
    time::timeout,
};
use zeroize::Zeroizing;

use crate::{
    channel::Channel,
    envelope::{Envelope, Failure, VERSIONS, code, get_string, opcode, put_string},
    handshake::CQL_VERSION,
};

/// The maximum length of a message of the upstream before it is ready, in bytes, without its
/// header.
const LIMIT: usize = 64 * 1024;
/// The time limit of connecting and of each message.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The number of bytes copied at a time, in each direction.
const BUFFER: usize = 32 * 1024;
/// The idle time after which TCP keep-alive probes the other end.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A Cassandra that accepts the gateway, with or without a user name and a password.
pub(crate) struct Upstream {
    /// `HOST:PORT`, resolved for each connection.
    address: String,
    token: Option<SaslPlain>,
}

/// The gateway's own credential.
pub(crate) struct SaslPlain(Zeroizing<Vec<u8>>);

impl SaslPlain {
    pub(crate) fn new(name: &str, password: &str) -> Self {
        let mut token = Zeroizing::new(Vec::with_capacity(2 + name.len() + password.len()));
        for part in [name, password] {
            token.push(0);
            token.extend_from_slice(part.as_bytes());
        }
        Self(token)
    }

    /// The body of `AUTH_RESPONSE`.
    fn body(&self) -> Zeroizing<Vec<u8>> {
        let mut body = Zeroizing::new(Vec::with_capacity(4 + self.0.len()));
        body.put_i32(i32::try_from(self.0.len()).unwrap_or(i32::MAX));
        body.extend_from_slice(&self.0);
        body
    }
}

/// The reason why there is no connection to the upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("no connection")]
    Lost(#[from] io::Error),
    #[error("it asks for a password, and --upstream-user is not given")]
    NoPassword,
    #[error("it sent message {0}, which does not belong there")]
    Unexpected(u8),
    #[error("it failed with {code:#06x}, {message}")]
    Reported { code: i32, message: String },
}

impl UpstreamError {
    /// The error for the client: whether to retry, and nothing about the upstream.
    pub(crate) fn report(&self) -> (i32, &'static str) {
        match self {
            Self::Lost(_) => (code::OVERLOADED, "the database is unavailable, try again later"),
            _ => (code::SERVER_ERROR, "the database rejects the gateway"),
        }
    }
}

impl From<Failure> for UpstreamError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Lost(error) => Self::Lost(error),
            Failure::Reported(error) => Self::reported(&error),
        }
    }
}

impl UpstreamError {
    fn reported(error: &Envelope) -> Self {
        let mut body = &error.body[..];
        let code = body.try_get_i32().unwrap_or(code::SERVER_ERROR);
        let message = get_string(&mut body).unwrap_or_default().to_owned();
        Self::Reported { code, message }
    }
}

impl Upstream {
    pub(crate) fn new(address: String, token: Option<SaslPlain>) -> Self {
        Self { address, token }
    }

    /// The versions that it supports, up to the highest in which it accepts a connection.
    pub(crate) async fn versions(&self) -> Result<RangeInclusive<u8>, UpstreamError> {
        let mut body = Vec::new();
        body.put_u16(1);
        put_string(&mut body, "CQL_VERSION");
        put_string(&mut body, CQL_VERSION);
        let body = Zeroizing::new(body);
        let mut versions = VERSIONS;
        loop {
            let version = *versions.end();
            let opcode = opcode::STARTUP;
            let startup = Envelope { version, stream: 0, opcode, body: body.clone() };
            match self.open(&startup).await {
                Ok(_) => return Ok(versions),
                Err(UpstreamError::Reported { code: code::PROTOCOL, .. })
                    if version > *versions.start() =>
                {
                    versions = *versions.start()..=version - 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens a connection and performs the handshake with the client's `startup`.
    pub(crate) async fn open(&self, startup: &Envelope) -> Result<TcpStream, UpstreamError> {
        let connecting = timeout(TIMEOUT, TcpStream::connect(&self.address));
        let stream = connecting.await.map_err(io::Error::from)??;
        prepare(&stream)?;
        let mut channel = Channel::client(stream, LIMIT, TIMEOUT);
        channel.write(startup).await?;
        let mut response = receive(&mut channel).await?;
        channel.start(startup.version);
        if response.opcode == opcode::AUTHENTICATE {
            let token = self.token.as_ref().ok_or(UpstreamError::NoPassword)?;
            let Envelope { version, stream, .. } = response;
            let opcode = opcode::AUTH_RESPONSE;
            channel.write(&Envelope { version, stream, opcode, body: token.body() }).await?;
            response = receive(&mut channel).await?;
        }
        match (response.opcode, channel.into_inner()) {
            (opcode::READY | opcode::AUTH_SUCCESS, Some(stream)) => Ok(stream),
            (opcode::ERROR, _) => Err(UpstreamError::reported(&response)),
            (opcode, _) => Err(UpstreamError::Unexpected(opcode)),
        }
    }
}

async fn receive(channel: &mut Channel<TcpStream>) -> Result<Envelope, UpstreamError> {
    let received = timeout(TIMEOUT, channel.read()).await.map_err(io::Error::from)??;
    received.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof).into())
}

/// Sends written data at once, and detects a dead peer, because connections are idle for days.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 6);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
    stream.set_nodelay(true)
}

/// Copies bytes until both sides have closed.
pub(crate) async fn forward<S: AsyncRead + AsyncWrite + Unpin>(
    client: Channel<S>,
    mut upstream: TcpStream,
) {
    // A client that sends more in the frame of its password violates the protocol.
    let Some(mut client) = client.into_inner() else { return };
    let _ = copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await;
}
