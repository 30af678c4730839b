use std::{fmt, str::FromStr};

use time::OffsetDateTime;

use crate::{
    CredentialId, Secret, ServiceName, ServiceUserName, UserName,
    error::Constraint,
    name::{invalid_value, text_conversions},
    timestamp::Timestamp,
};

/// What is known of a credential: everything but its secret, which it has no field for.
///
/// A snapshot, taken by the operation that returned it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Credential {
    pub(crate) id: CredentialId,
    pub(crate) service: ServiceName,
    pub(crate) user_name: UserName,
    pub(crate) name: ServiceUserName,
    pub(crate) kind: CredentialKind,
    pub(crate) status: Status,
    pub(crate) created: Timestamp,
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) expires: Option<Timestamp>,
}

impl Credential {
    /// The identifier. It is never used again.
    #[must_use]
    pub const fn id(&self) -> &CredentialId {
        &self.id
    }

    /// The one service that the credential opens.
    #[must_use]
    pub const fn service(&self) -> &ServiceName {
        &self.service
    }

    /// The name of the user that the credential acts for.
    #[must_use]
    pub const fn user_name(&self) -> &UserName {
        &self.user_name
    }

    /// The service user name, or the alias of an API key. It is used again once the credential
    /// is deleted.
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

    /// From when on the credential reads [`Status::Expired`], in whole milliseconds.
    #[must_use]
    pub fn expires(&self) -> Option<OffsetDateTime> {
        self.expires.map(Timestamp::date)
    }
}

/// A credential together with its secret: what create and reset return, and nothing else ever.
///
/// It cannot be cloned, and its `Debug` shows the secret as `[REDACTED]`.
#[derive(Debug)]
#[must_use = "the secret cannot be had again"]
pub struct IssuedCredential {
    pub(crate) credential: Credential,
    pub(crate) secret: Secret,
}

impl IssuedCredential {
    /// What will be known of the credential from now on.
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

    /// Takes the two apart.
    #[must_use]
    pub fn into_parts(self) -> (Credential, Secret) {
        (self.credential, self.secret)
    }
}

/// How a credential proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum CredentialKind {
    /// By a service user name and a password.
    Password,
    /// By one bearer secret, which holds its alias.
    ApiKey,
}

/// Whether a credential authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It does.
    Active,
    /// It does not, until it is active again.
    Inactive,
    /// It does not any more. Follows from the expiration date alone, and cannot be set.
    Expired,
}

impl Status {
    /// The status as the interface spells it.
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

invalid_value! {
    /// The text is not a [`Status`].
    pub struct InvalidStatus, "status", parameter "status";
}

/// How long a credential lives: 1 to 36,600 days (*recorded*) of 86,400 seconds.
///
/// ```
/// use service_specific_credentials::Lifetime;
///
/// assert_eq!(Lifetime::days(90)?.as_days(), 90);
/// assert!(Lifetime::days(0).is_err());
/// # Ok::<(), service_specific_credentials::InvalidLifetime>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(u32);

impl Lifetime {
    /// The fewest days.
    pub const MIN_DAYS: u32 = 1;
    /// The most days.
    pub const MAX_DAYS: u32 = 36_600;

    /// This many days.
    ///
    /// # Errors
    ///
    /// If it is not between [`MIN_DAYS`](Self::MIN_DAYS) and [`MAX_DAYS`](Self::MAX_DAYS).
    pub const fn days(days: u32) -> Result<Self, InvalidLifetime> {
        match days {
            ..Self::MIN_DAYS => Err(InvalidLifetime(Constraint::MinValue(Self::MIN_DAYS))),
            Self::MIN_DAYS..=Self::MAX_DAYS => Ok(Self(days)),
            _ => Err(InvalidLifetime(Constraint::MaxValue(Self::MAX_DAYS))),
        }
    }

    /// The number of days.
    #[must_use]
    pub const fn as_days(self) -> u32 {
        self.0
    }
}

invalid_value! {
    /// The number of days is not a [`Lifetime`].
    pub struct InvalidLifetime, "credential age in days", parameter "credentialAgeDays";
}
