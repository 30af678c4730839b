use std::{fmt, str::FromStr};

use time::OffsetDateTime;

use crate::{
    constraint::{Constraint, invalid_value},
    names::{
        credential_id::CredentialId, service_name::ServiceName, service_user_name::ServiceUserName,
        text_conversions, user_name::UserName,
    },
    secret::Secret,
    tags::Tags,
    timestamp::Timestamp,
};

/// A credential without its secret: id, service, user, names, status and dates.
///
/// A snapshot, taken by the operation that returned it.
///
/// With the feature `serde`, its JSON has the names of the methods, and dates in the format of RFC
/// 3339:
///
/// ```json
/// {
///   "id": "ACCA2XEAJ3CDVPQHM5YZ7",
///   "service": "codecommit.amazonaws.com",
///   "user_name": "anika",
///   "service_user_name": "anika+1-at-123456789012",
///   "kind": "password",
///   "status": "Active",
///   "created": "2016-11-01T17:47:22.382Z",
///   "expires": null,
///   "secret_changed": "2016-12-01T08:00:00.001Z",
///   "tags": { "device": "laptop" }
/// }
/// ```
///
/// Without tags there is no `tags`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Credential {
    pub(crate) id: CredentialId,
    pub(crate) service: ServiceName,
    pub(crate) user_name: UserName,
    #[cfg_attr(feature = "serde", serde(rename = "service_user_name"))]
    pub(crate) name: ServiceUserName,
    pub(crate) kind: CredentialKind,
    pub(crate) status: Status,
    pub(crate) created: Timestamp,
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) expires: Option<Timestamp>,
    pub(crate) secret_changed: Timestamp,
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Tags::is_empty"))]
    pub(crate) tags: Tags,
}

impl Credential {
    /// The identifier. It is never reused.
    #[must_use]
    pub const fn id(&self) -> &CredentialId {
        &self.id
    }

    /// The one service that the credential authenticates for.
    #[must_use]
    pub const fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The name of the user that the credential acts for.
    #[must_use]
    pub const fn user_name(&self) -> &UserName {
        &self.user_name
    }

    /// The service user name, or the alias of an API key. It is reused once the credential is
    /// deleted.
    #[must_use]
    pub const fn service_user_name(&self) -> &ServiceUserName {
        &self.name
    }

    /// Whether the credential has a password or is an API key.
    #[must_use]
    pub const fn kind(&self) -> CredentialKind {
        self.kind
    }

    /// The status at the time of the operation.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// When the credential was created, in whole milliseconds.
    #[must_use]
    pub fn created(&self) -> OffsetDateTime {
        self.created.date()
    }

    /// When the present secret was generated, in whole milliseconds: by the last reset, or by
    /// create. It is never before the creation date.
    #[must_use]
    pub fn secret_changed(&self) -> OffsetDateTime {
        self.secret_changed.date()
    }

    /// The tags of the credential.
    #[must_use]
    pub const fn tags(&self) -> &Tags {
        &self.tags
    }

    /// The expiration date, in whole milliseconds. From that instant the status is
    /// [`Status::Expired`].
    #[must_use]
    pub fn expires(&self) -> Option<OffsetDateTime> {
        self.expires.map(Timestamp::date)
    }
}

/// A credential together with its secret: the result of create and reset, and of no other
/// operation.
///
/// It cannot be cloned, and its `Debug` shows the secret as `[REDACTED]`.
#[derive(Debug)]
#[must_use = "the secret is not available again"]
pub struct IssuedCredential {
    pub(crate) credential: Credential,
    pub(crate) secret: Secret,
}

impl IssuedCredential {
    /// The credential without its secret.
    #[must_use]
    pub const fn credential(&self) -> &Credential {
        &self.credential
    }

    /// The password, or the secret of the API key.
    #[must_use]
    pub const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The [identifier](Credential::id) of the credential.
    #[must_use]
    pub const fn id(&self) -> &CredentialId {
        self.credential.id()
    }

    /// The [service user name or alias](Credential::service_user_name) of the credential.
    #[must_use]
    pub const fn service_user_name(&self) -> &ServiceUserName {
        self.credential.service_user_name()
    }

    /// The [kind](Credential::kind) of the credential.
    #[must_use]
    pub const fn kind(&self) -> CredentialKind {
        self.credential.kind()
    }

    /// Splits the credential and its secret.
    #[must_use]
    pub fn into_parts(self) -> (Credential, Secret) {
        (self.credential, self.secret)
    }
}

/// How a credential authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum CredentialKind {
    /// With a service user name and a password.
    Password,
    /// With one bearer secret, which contains its alias.
    ApiKey,
}

/// Whether a credential authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The credential authenticates until its expiration date, if it has one.
    Active,
    /// The credential does not authenticate until its status is set to `Active`.
    Inactive,
    /// The credential has expired and never authenticates again. This status follows from the
    /// expiration date and cannot be set.
    Expired,
}

impl Status {
    /// The status as the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Inactive => "Inactive",
            Self::Expired => "Expired",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = InvalidStatus;

    /// Compares byte for byte (our decision).
    fn from_str(text: &str) -> Result<Self, InvalidStatus> {
        [Self::Active, Self::Inactive, Self::Expired]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(InvalidStatus(Constraint::EnumValueSet))
    }
}

text_conversions!(Status, InvalidStatus);

/// The text is not a [`Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidStatus(pub(crate) Constraint);

invalid_value!(InvalidStatus, "status", parameter "status");
