//! The body of a response, which may contain a secret.

use std::{
    convert::Infallible,
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body of a response: XML in UTF-8. It may contain a secret that is stored nowhere else.
///
/// `Debug` shows its length only. Its buffer is zeroized on drop. These conversions copy nothing
/// and zeroize the buffer once it is sent:
///
/// - As a [`Body`] of one frame: hyper takes it as it is, axum by
///   `response.map(axum::body::Body::new)`.
/// - As [`Bytes`] that own it: `Bytes::from_owner(body)`.
///
/// `AsRef<[u8]>` borrows its bytes. A `Vec<u8>` takes the buffer over, which is then not zeroized.
///
/// ```
/// use service_specific_credentials::query::{self, Dialect, RequestId, ResponseBody};
/// # use service_specific_credentials::{CredentialManager, MemoryStore};
///
/// # let iam = CredentialManager::new("123456789012".parse()?, MemoryStore::new());
/// # iam.register_user(&"anika".parse()?)?;
/// let request = http::Request::get(
///     "/?Action=CreateServiceSpecificCredential&Version=2010-05-08\
///      &UserName=anika&ServiceName=codecommit.amazonaws.com",
/// );
/// let id = RequestId::random();
/// let response = query::handle(&iam, &request.body("")?, None, Dialect::Documented, id);
/// let body: &ResponseBody = response.body();
/// let length = body.as_ref().len();
/// assert_eq!(format!("{body:?}"), format!("ResponseBody({length} bytes)"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ResponseBody(Vec<u8>);

impl ResponseBody {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Appends bytes. Without enough capacity the bytes move to a larger buffer and the old one is
    /// zeroized; a vector that grows leaves a copy behind.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.len() > self.0.capacity() - self.0.len() {
            self.grow(bytes.len());
        }
        self.0.extend_from_slice(bytes);
    }

    #[cold]
    fn grow(&mut self, additional: usize) {
        let mut larger = Self::with_capacity(2 * (self.0.len() + additional));
        larger.0.extend_from_slice(&self.0);
        *self = larger;
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResponseBody({} bytes)", self.0.len())
    }
}

impl AsRef<[u8]> for ResponseBody {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<ResponseBody> for Vec<u8> {
    /// Takes the buffer over. The caller zeroizes it.
    fn from(mut body: ResponseBody) -> Self {
        mem::take(&mut body.0)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // Vectorized, unlike `Zeroize`, which writes each byte by itself: a page is long.
        self.0.fill(0);
        zeroize::optimization_barrier(&*self.0);
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let whole = mem::replace(&mut *self, Self(Vec::new()));
        let frame = (!whole.0.is_empty()).then(|| Ok(Frame::data(Bytes::from_owner(whole))));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_grows_without_a_limit_and_shows_its_length_only() {
        let mut body = ResponseBody::with_capacity(0);
        let mut expected = Vec::new();
        for length in [0, 1, 5, 0, 70, 3, 1_000, 2] {
            let bytes = vec![b'x'; length];
            body.push(&bytes);
            expected.extend(bytes);
            assert_eq!(body.as_ref(), expected);
        }
        assert_eq!(
            format!("{body:?} {body:#?}"),
            "ResponseBody(1081 bytes) ResponseBody(1081 bytes)"
        );
        assert_eq!(Vec::from(body), expected);
    }

    /// A vector that grows by itself would take another capacity, and leave a copy behind.
    #[test]
    fn a_body_grows_only_by_moving_to_a_larger_buffer() {
        let mut body = ResponseBody::with_capacity(4);
        for (bytes, capacity) in [(4, 4), (1, 10), (5, 10), (0, 10), (100, 220)] {
            body.push(&vec![b'x'; bytes]);
            assert_eq!(body.0.capacity(), capacity, "{bytes}");
        }
    }

    #[test]
    fn a_body_is_sent_in_one_frame() {
        let mut body = ResponseBody::with_capacity(0);
        body.push(b"<xml/>");
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(!body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(6));
        let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) else {
            panic!("there is no frame");
        };
        assert_eq!(frame.into_data().ok().as_deref(), Some(&b"<xml/>"[..]));
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(matches!(Pin::new(&mut body).poll_frame(&mut context), Poll::Ready(None)));
    }
}
