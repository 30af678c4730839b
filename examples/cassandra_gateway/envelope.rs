//! The messages of the CQL binary protocol. An *envelope* is a header of nine bytes and a body. Its
//! length is checked before its body is read.
//!
//! The existing crates for this protocol are for clients, which trust their server. Here the first
//! messages are untrusted input, and one of them contains a password.

use std::{io, ops::RangeInclusive};

use bytes::{Buf as _, BufMut as _};
use zeroize::Zeroizing;

/// The messages that the gateway reads or writes.
pub(crate) mod opcode {
    pub(crate) const ERROR: u8 = 0x00;
    pub(crate) const STARTUP: u8 = 0x01;
    pub(crate) const READY: u8 = 0x02;
    pub(crate) const AUTHENTICATE: u8 = 0x03;
    pub(crate) const OPTIONS: u8 = 0x05;
    pub(crate) const SUPPORTED: u8 = 0x06;
    pub(crate) const QUERY: u8 = 0x07;
    pub(crate) const RESULT: u8 = 0x08;
    pub(crate) const PREPARE: u8 = 0x09;
    pub(crate) const EXECUTE: u8 = 0x0A;
    pub(crate) const REGISTER: u8 = 0x0B;
    pub(crate) const AUTH_RESPONSE: u8 = 0x0F;
    pub(crate) const AUTH_SUCCESS: u8 = 0x10;
}

/// The codes of `ERROR`.
pub(crate) mod code {
    pub(crate) const SERVER_ERROR: i32 = 0x0000;
    pub(crate) const PROTOCOL: i32 = 0x000A;
    pub(crate) const BAD_CREDENTIALS: i32 = 0x0100;
    pub(crate) const OVERLOADED: i32 = 0x1001;
    pub(crate) const INVALID: i32 = 0x2200;
}

/// The versions of the protocol that the gateway supports.
pub(crate) const VERSIONS: RangeInclusive<u8> = 3..=5;

/// One message.
pub(crate) struct Envelope {
    pub(crate) version: u8,
    pub(crate) stream: i16,
    pub(crate) opcode: u8,
    /// The body. That of an `AUTH_RESPONSE` contains a password.
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Envelope {
    /// The response to this request.
    pub(crate) fn reply(&self, opcode: u8, body: Vec<u8>) -> Self {
        Self { version: self.version, stream: self.stream, opcode, body: body.into() }
    }

    /// The error response to this request.
    pub(crate) fn error(&self, code: i32, message: &str) -> Self {
        let mut body = Vec::new();
        body.put_i32(code);
        put_string(&mut body, message);
        self.reply(opcode::ERROR, body)
    }

    /// As [`error`](Self::error), for an error that ends the connection.
    pub(crate) fn fail(&self, code: i32, message: &str) -> Failure {
        Failure::Reported(self.error(code, message))
    }
}

/// The reason why a connection ends.
pub(crate) enum Failure {
    /// The client receives this `ERROR`.
    Reported(Envelope),
    Lost(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

/// The first nine bytes of an envelope.
pub(crate) struct Header {
    version: u8,
    stream: i16,
    opcode: u8,
    pub(crate) length: usize,
}

impl Header {
    pub(crate) const LENGTH: usize = 9;

    /// Parses the header of a client's message or, if `response`, of a server's message.
    pub(crate) fn parse(
        bytes: &[u8; Self::LENGTH],
        response: bool,
        versions: &RangeInclusive<u8>,
        limit: usize,
    ) -> Result<Self, Failure> {
        const COMPRESSED: u8 = 0x01;
        const CUSTOM_PAYLOAD: u8 = 0x04;
        const RESPONSE: u8 = 0x80;

        let [first, flags, stream0, stream1, opcode, length @ ..] = *bytes;
        let (version, stream) = (first & !RESPONSE, i16::from_be_bytes([stream0, stream1]));
        let length = usize::try_from(i32::from_be_bytes(length));

        // The error has a version that both sides presumably know.
        let known = version.clamp(*versions.start(), *versions.end());
        let request = Envelope { version: known, stream, opcode, body: Zeroizing::default() };
        let fail = |message: &str| Err(request.fail(code::PROTOCOL, message));
        if !versions.contains(&version) {
            return fail(&unsupported_version(version, versions));
        }
        if response != (first & RESPONSE != 0) {
            return fail("the message has the wrong direction");
        }
        if flags & (COMPRESSED | CUSTOM_PAYLOAD) != 0 {
            return fail("neither compression nor a custom payload is supported");
        }
        match length {
            Ok(length) if length <= limit => Ok(Self { version, stream, opcode, length }),
            _ => fail(&format!("the message is longer than {limit} bytes")),
        }
    }

    pub(crate) fn with(&self, body: Vec<u8>) -> Envelope {
        let Self { version, stream, opcode, .. } = *self;
        Envelope { version, stream, opcode, body: body.into() }
    }
}

/// The message of Cassandra, which drivers search for before they try a lower version.
fn unsupported_version(version: u8, versions: &RangeInclusive<u8>) -> String {
    let supported = version_names(versions).join(", ");
    format!(
        "Invalid or unsupported protocol version ({version}); supported versions are ({supported})"
    )
}

/// `3/v3`, `4/v4`, `5/v5`.
pub(crate) fn version_names(versions: &RangeInclusive<u8>) -> Vec<String> {
    versions.clone().map(|version| format!("{version}/v{version}")).collect()
}

/// Writes a *string*, truncated to the maximum length.
pub(crate) fn put_string(body: &mut Vec<u8>, text: &str) {
    put_short_bytes(body, text.as_bytes());
}

/// Writes *short bytes*, truncated to the maximum length.
pub(crate) fn put_short_bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    body.put_u16(length);
    body.extend(bytes.iter().take(length.into()));
}

/// Reads *short bytes*.
pub(crate) fn get_short_bytes<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = body.try_get_u16().ok()?;
    let (bytes, rest) = body.split_at_checked(length.into())?;
    *body = rest;
    Some(bytes)
}

/// Reads a *string*.
pub(crate) fn get_string<'a>(body: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(get_short_bytes(body)?).ok()
}

/// Reads *bytes*, or a *long string* as bytes. Null is read as empty.
pub(crate) fn get_bytes<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = body.try_get_i32().ok()?;
    let (bytes, rest) = body.split_at_checked(usize::try_from(length).unwrap_or(0))?;
    *body = rest;
    Some(bytes)
}
