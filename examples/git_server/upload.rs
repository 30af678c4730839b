//! Reads the body of a request in pieces. Enforces a minimum rate, and inflates a compressed body.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_compression::tokio::bufread::GzipDecoder;
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header::CONTENT_ENCODING},
};
use futures_util::TryStreamExt as _;
use tokio::{
    io::{AsyncBufRead, AsyncReadExt as _, BufReader},
    time::timeout,
};
use tokio_util::io::StreamReader;

/// The size of each piece except the last, in bytes.
pub(crate) const PIECE: usize = 32 * 1024;
/// The maximum number of bytes of a rejected body that are read and dropped. Git sends at most
/// 1 MiB (its `http.postBuffer`) before the server has accepted an empty request.
const DISCARDED: usize = 2 << 20;
/// The number of bytes to which a body of any size may inflate.
const INFLATED: u64 = 1 << 20;
/// The factor by which a body may inflate, in addition to [`INFLATED`]. Git compresses lists of
/// hexadecimal ids, which shrink to one half.
const RATIO: u64 = 16;

/// The body of a request.
pub(crate) struct Upload {
    body: Pin<Box<dyn AsyncBufRead + Send>>,
    /// How long each piece may take to arrive.
    piece_timeout: Duration,
    received: Arc<AtomicU64>,
    inflated: Option<u64>,
}

/// Why a body cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("the body is incomplete or malformed")]
    Broken(#[source] io::Error),
    #[error("the body arrives too slowly")]
    TooSlow,
    #[error("the body inflates to too many bytes")]
    TooLarge,
    #[error("the content encoding is not gzip or identity")]
    Encoding,
}

impl UploadError {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
}

impl Upload {
    pub(crate) fn new(body: Body, piece_timeout: Duration) -> Self {
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        let count = move |data: &Bytes| {
            counter.fetch_add(data.len() as u64, Relaxed);
        };
        let data = body.into_data_stream().inspect_ok(count).map_err(io::Error::other);
        Self { body: Box::pin(StreamReader::new(data)), piece_timeout, received, inflated: None }
    }

    /// Inflates the body from here on if the headers specify compression.
    pub(crate) fn decode(&mut self, headers: &HeaderMap) -> Result<(), UploadError> {
        let mut values = headers.get_all(CONTENT_ENCODING).iter();
        let encoding = match (values.next(), values.next()) {
            (None, _) => "identity",
            (Some(value), None) => value.to_str().unwrap_or_default(),
            (Some(_), Some(_)) => "",
        };
        if ["gzip", "x-gzip"].iter().any(|gzip| encoding.eq_ignore_ascii_case(gzip)) {
            let mut inflating = GzipDecoder::new(self.take());
            // Otherwise, the data after the first member would not be read.
            inflating.multiple_members(true);
            self.body = Box::pin(BufReader::new(inflating));
            self.inflated = Some(0);
        } else if !encoding.eq_ignore_ascii_case("identity") {
            return Err(UploadError::Encoding);
        }
        Ok(())
    }

    /// The next piece: [`PIECE`] bytes; fewer at the end of the body; none after it.
    pub(crate) async fn piece(&mut self) -> Result<Vec<u8>, UploadError> {
        let piece = self.read().await;
        if piece.is_err() {
            // After an error, nothing more is read.
            self.take();
        }
        piece
    }

    async fn read(&mut self) -> Result<Vec<u8>, UploadError> {
        let mut piece = Vec::with_capacity(PIECE);
        let mut source = (&mut self.body).take(PIECE as u64);
        match timeout(self.piece_timeout, source.read_to_end(&mut piece)).await {
            Err(_) => return Err(UploadError::TooSlow),
            Ok(Err(error)) => return Err(UploadError::Broken(error)),
            Ok(Ok(_)) => {}
        }
        if let Some(inflated) = &mut self.inflated {
            *inflated += piece.len() as u64;
            if *inflated
                > INFLATED.saturating_add(RATIO.saturating_mul(self.received.load(Relaxed)))
            {
                return Err(UploadError::TooLarge);
            }
        }
        Ok(piece)
    }

    /// Reads and drops the body of a rejected request, up to a limit. A client or proxy that is
    /// still sending when the connection is closed may report that instead of the response.
    pub(crate) async fn discard(&mut self) {
        let (mut left, piece_timeout) = (DISCARDED, self.piece_timeout);
        let reading = async {
            while let Ok(piece @ [_, ..]) = self.piece().await.as_deref() {
                left = left.saturating_sub(piece.len());
                if left == 0 {
                    break;
                }
            }
        };
        let _ = timeout(piece_timeout, reading).await;
    }

    fn take(&mut self) -> Pin<Box<dyn AsyncBufRead + Send>> {
        std::mem::replace(&mut self.body, Box::pin(tokio::io::empty()))
    }
}
