use std::{fmt, str::FromStr};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    constraint::{Constraint, invalid_value},
    entropy::{Entropy, EntropyError},
    names::{account_id::AccountId, text_conversions, user_name::UserName, user_path::UserPath},
    tags::Tags,
    timestamp::Timestamp,
};

/// The identifier of one registration of a user: a random UUID, never reused.
///
/// User names are reused: a former user and a new one may have the same name. Authorize by this id.
///
/// ```
/// use service_specific_credentials::UserId;
///
/// let id: UserId = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse()?;
/// assert_eq!(id.to_string(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
/// # Ok::<(), service_specific_credentials::InvalidUserId>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Uuid);

impl UserId {
    /// Draws a new id.
    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut random = [0; 16];
        entropy.fill(&mut random)?;
        Ok(Self(uuid::Builder::from_random_bytes(random).into_uuid()))
    }

    /// The pattern of a user id: a UUID with hyphens, in lower case.
    pub const PATTERN: &'static str = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes of the UUID.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

text_conversions!(UserId, InvalidUserId);

/// The text is not a [`UserId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidUserId(pub(crate) Constraint);

invalid_value!(InvalidUserId, "user id", parameter "userId");

impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(text: &str) -> Result<Self, InvalidUserId> {
        let id = Uuid::try_parse(text).map(Self).ok();
        // The canonical form only.
        id.filter(|id| id.to_string() == text)
            .ok_or(InvalidUserId(Constraint::Pattern(Self::PATTERN)))
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A registered user. A snapshot, taken by the operation that returned it.
///
/// With the feature `serde`, its JSON has the names of the methods:
///
/// ```json
/// {
///   "account": "123456789012",
///   "id": "67e55044-10b1-426f-9247-bb680e5fe0c8",
///   "name": "anika",
///   "path": "/staff/",
///   "tags": { "device": "laptop" },
///   "created": "2016-11-01T17:47:22.382Z"
/// }
/// ```
///
/// Without tags there is no `tags`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct User {
    pub(crate) account: AccountId,
    pub(crate) id: UserId,
    pub(crate) name: UserName,
    #[cfg_attr(feature = "serde", serde(default))]
    pub(crate) path: UserPath,
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Tags::is_empty"))]
    pub(crate) tags: Tags,
    pub(crate) created: Timestamp,
}

impl User {
    /// The account that the user belongs to.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// The identifier of this registration.
    #[must_use]
    pub const fn id(&self) -> UserId {
        self.id
    }

    /// The name in its present spelling.
    #[must_use]
    pub const fn name(&self) -> &UserName {
        &self.name
    }

    /// The path.
    #[must_use]
    pub const fn path(&self) -> &UserPath {
        &self.path
    }

    /// The tags of the user.
    #[must_use]
    pub const fn tags(&self) -> &Tags {
        &self.tags
    }

    /// When the user was registered, in whole milliseconds.
    #[must_use]
    pub fn created(&self) -> OffsetDateTime {
        self.created.date()
    }
}
