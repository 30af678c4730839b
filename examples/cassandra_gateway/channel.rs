//! Reads and writes envelopes on a connection, in both framings of the protocol.
//!
//! Up to version 4, and in version 5 up to the response to `STARTUP`, envelopes are sent without
//! framing. After that response, version 5 sends envelopes in *frames*: a header of three bytes
//! with the length of the payload, a CRC-24 of the header, the payload, and a CRC-32 of the
//! payload.

use std::{io, ops::RangeInclusive, time::Duration};

use bytes::BufMut as _;
use crc::{Algorithm, CRC_32_ISO_HDLC, Crc};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use zeroize::Zeroizing;

use crate::envelope::{Envelope, Failure, Header, VERSIONS, code};

const CRC_24: Crc<u32> = Crc::<u32>::new(&Algorithm {
    width: 24,
    poly: 0x97_4F0B,
    init: 0x87_5060,
    refin: false,
    refout: false,
    xorout: 0,
    check: 0x4B_3F02,
    residue: 0,
});

const CRC_32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// The initial bytes of every CRC-32 of the protocol.
const CRC_32_PREFIX: [u8; 4] = [0xFA, 0x2D, 0x55, 0xCA];

/// The length of a frame's payload, and the flag that all its envelopes are complete.
const PAYLOAD_LENGTH: u32 = (1 << 17) - 1;
const SELF_CONTAINED: u32 = 1 << 17;

/// One end of a connection.
pub(crate) struct Channel<S> {
    stream: S,
    /// Whether this end reads responses and writes requests.
    is_client: bool,
    pub(crate) versions: RangeInclusive<u8>,
    /// Whether envelopes are sent in frames.
    framed: bool,
    /// The maximum length of a body in bytes.
    pub(crate) limit: usize,
    /// The time limit of a message, from its first byte to its last.
    message_timeout: Duration,
    /// Bytes that were read and not yet returned.
    unread: Zeroizing<Vec<u8>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Channel<S> {
    /// The server's end.
    pub(crate) fn server(
        stream: S,
        versions: RangeInclusive<u8>,
        limit: usize,
        message_timeout: Duration,
    ) -> Self {
        let unread = Zeroizing::default();
        Self { stream, is_client: false, versions, framed: false, limit, message_timeout, unread }
    }

    /// The client's end.
    pub(crate) fn client(stream: S, limit: usize, message_timeout: Duration) -> Self {
        Self { is_client: true, ..Self::server(stream, VERSIONS, limit, message_timeout) }
    }

    /// Fixes the version, once the response to `STARTUP` has been read or written.
    pub(crate) fn start(&mut self, version: u8) {
        self.versions = version..=version;
        self.framed = version >= 5;
    }

    /// Reads the next message. Returns `None` at the end of the connection. Waits without limit for
    /// the first byte.
    pub(crate) async fn read(&mut self) -> Result<Option<Envelope>, Failure> {
        if self.unread.is_empty() {
            let mut first = [0];
            if self.stream.read(&mut first).await? == 0 {
                return Ok(None);
            }
            timeout(self.message_timeout, self.fill(first)).await.map_err(io::Error::from)??;
        }
        let cut = || self.malformed("a frame ends within a message");
        let (header, rest) = self.unread.split_first_chunk().ok_or_else(cut)?;
        let header = Header::parse(header, self.is_client, &self.versions, self.limit)?;
        let envelope = header.with(rest.get(..header.length).ok_or_else(cut)?.to_vec());
        self.unread.drain(..Header::LENGTH + header.length);
        if self.unread.is_empty() {
            // It may have contained a password.
            self.unread = Zeroizing::default();
        }
        Ok(Some(envelope))
    }

    /// Reads the rest of an envelope or of a frame.
    async fn fill(&mut self, first: [u8; 1]) -> Result<(), Failure> {
        if self.framed {
            self.unread = self.read_frame(first).await?;
            return Ok(());
        }
        let mut header = [0; Header::LENGTH];
        self.read_after(first, &mut header).await?;
        let parsed = Header::parse(&header, self.is_client, &self.versions, self.limit)?;
        // With its final length from the start: a buffer that grows leaves copies behind.
        let mut unread = Zeroizing::new(vec![0; Header::LENGTH + parsed.length]);
        let (start, body) = unread.split_at_mut(Header::LENGTH);
        start.copy_from_slice(&header);
        self.stream.read_exact(body).await?;
        self.unread = unread;
        Ok(())
    }

    async fn read_frame(&mut self, first: [u8; 1]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let mut header = [0; 6];
        self.read_after(first, &mut header).await?;
        let [start @ .., crc0, crc1, crc2] = header;
        if CRC_24.checksum(&start) != u32::from_le_bytes([crc0, crc1, crc2, 0]) {
            return Err(self.malformed("the CRC of a frame's header is wrong"));
        }
        let [start0, start1, start2] = start;
        let start = u32::from_le_bytes([start0, start1, start2, 0]);
        if start & SELF_CONTAINED == 0 {
            return Err(self.malformed("a message in several frames is too long"));
        }
        let length = (start & PAYLOAD_LENGTH) as usize;
        if length > Header::LENGTH + self.limit {
            return Err(self.malformed("a frame is too long"));
        }
        let mut payload = Zeroizing::new(vec![0; length]);
        self.stream.read_exact(&mut payload).await?;
        if payload_crc(&payload) != self.stream.read_u32_le().await? {
            return Err(self.malformed("the CRC of a frame's payload is wrong"));
        }
        Ok(payload)
    }

    async fn read_after(&mut self, [first]: [u8; 1], bytes: &mut [u8]) -> io::Result<()> {
        let Some((start, rest)) = bytes.split_first_mut() else { return Ok(()) };
        *start = first;
        self.stream.read_exact(rest).await.map(drop)
    }

    /// An error for a message whose header is unknown.
    fn malformed(&self, message: &str) -> Failure {
        let version = *self.versions.end();
        let unknown = Envelope { version, stream: 0, opcode: 0, body: Zeroizing::default() };
        unknown.fail(code::PROTOCOL, message)
    }

    pub(crate) async fn write(&mut self, envelope: &Envelope) -> io::Result<()> {
        let response = if self.is_client { 0 } else { 0x80 };
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "the response is too long");
        let mut message = Zeroizing::new(Vec::with_capacity(20 + envelope.body.len()));
        message.put_u8(envelope.version | response);
        message.put_u8(0);
        message.put_i16(envelope.stream);
        message.put_u8(envelope.opcode);
        message.put_i32(i32::try_from(envelope.body.len()).map_err(too_long)?);
        message.extend_from_slice(&envelope.body);
        if self.framed {
            let start = u32::try_from(message.len()).map_err(too_long)? | SELF_CONTAINED;
            let [start @ .., _] = start.to_le_bytes();
            let crc = CRC_24.checksum(&start).to_le_bytes();
            let crc32 = payload_crc(&message);
            message.splice(..0, start.into_iter().chain(crc.into_iter().take(3)));
            message.put_u32_le(crc32);
        }
        timeout(self.message_timeout, async {
            self.stream.write_all(&message).await?;
            self.stream.flush().await
        })
        .await?
    }

    /// Returns the connection, unless bytes were read that were not returned.
    pub(crate) fn into_inner(self) -> Option<S> {
        self.unread.is_empty().then_some(self.stream)
    }

    /// Closes the connection, after an error response if the failure has one.
    pub(crate) async fn fail(mut self, failure: Failure) {
        /// The maximum number of bytes that are read after the error. Unread bytes would reset the
        /// connection before the client reads the error.
        const DROPPED: u64 = 1 << 20;

        let Failure::Reported(error) = failure else { return };
        let closing = async {
            self.write(&error).await?;
            self.stream.shutdown().await?;
            tokio::io::copy(&mut self.stream.take(DROPPED), &mut tokio::io::sink()).await
        };
        let _ = timeout(Duration::from_secs(1), closing).await;
    }
}

fn payload_crc(payload: &[u8]) -> u32 {
    let mut digest = CRC_32.digest();
    digest.update(&CRC_32_PREFIX);
    digest.update(payload);
    digest.finalize()
}
