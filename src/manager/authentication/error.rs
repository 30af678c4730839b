use std::fmt;

use crate::store_error::StoreError;

/// An authentication failed: it was denied, or the store is unavailable.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticationError {
    /// The name and the secret do not authenticate for the service. HTTP 401.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The store failed, or its index is [corrupt](crate::store::CorruptIndex): whether the
    /// credential is valid is unknown. HTTP 503, never 401: Git, for example, erases a stored
    /// password on 401.
    #[error("the store failed")]
    Unavailable(#[from] StoreError),
}

/// The name and the secret do not authenticate for the service.
///
/// The message states nothing more. The [reason](Self::reason) is for logs: it would reveal to a
/// client which names exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential is not valid for this service")]
pub struct Denial(DenialReason);

impl Denial {
    pub(super) const fn new(reason: DenialReason) -> Self {
        Self(reason)
    }

    /// The reason, for logs only.
    #[must_use]
    pub const fn reason(&self) -> DenialReason {
        self.0
    }
}

/// The reason of a [`Denial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DenialReason {
    /// The name or the secret has more than 512 bytes. It was not hashed.
    TooLong,
    /// The policy does not support the service, or not for credentials of this kind.
    UnsupportedService,
    /// No credential of the service has this name, or the API key contains no name.
    UnknownName,
    /// The credential has another secret or is of the other kind.
    WrongSecret,
    /// The secret is correct, but the credential is inactive.
    Inactive,
    /// The secret is correct, but the credential has expired.
    Expired,
}

impl DenialReason {
    /// The reason in one word, for a field of a log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too-long",
            Self::UnsupportedService => "unsupported-service",
            Self::UnknownName => "unknown-name",
            Self::WrongSecret => "wrong-secret",
            Self::Inactive => "inactive",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for DenialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
