//! The error of a store, whichever store it is.

use std::{error::Error as StdError, fmt};

use crate::causes::Causes;

/// A store failed.
///
/// `Display` is one line for a log: the cause and its causes, joined by colons. The
/// [`source`](StdError::source) is therefore `None`, so that a report that walks the chain of
/// sources prints nothing twice. [`get_ref`](Self::get_ref) returns the cause itself.
///
/// The line may name hosts and files. The message of an [`Error`](crate::Error) and a response to a
/// client do not contain it. It contains a secret only if a store puts one into its error; the
/// stores of this crate never do.
///
/// ```
/// use service_specific_credentials::store::StoreError;
/// use std::io;
///
/// #[derive(Debug, thiserror::Error)]
/// #[error("the write failed")]
/// struct WriteFailed(#[source] io::Error);
///
/// let error = StoreError::new(WriteFailed(io::Error::other("no space left on device")));
/// assert_eq!(error.to_string(), "the write failed: no space left on device");
/// assert!(error.get_ref().is::<WriteFailed>());
/// ```
#[derive(Debug)]
pub struct StoreError(Box<dyn StdError + Send + Sync>);

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Causes(&*self.0).fmt(f)
    }
}

impl StdError for StoreError {}

impl StoreError {
    /// A failure with this cause: an error, or a text.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(cause.into())
    }

    /// The cause.
    #[must_use]
    pub fn get_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }
}
