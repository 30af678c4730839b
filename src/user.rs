use std::fmt;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    AccountId, UserName,
    environment::{Entropy, EntropyError},
    timestamp::Timestamp,
};

/// Identifies one registration of a user: a random UUID, never used again.
///
/// Names are used again: a user who left and a new one may have the same name. Authorise by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Uuid);

impl UserId {
    /// Draws a new id.
    pub(crate) fn generate(entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        let mut random = [0; 16];
        entropy.fill(&mut random)?;
        Ok(Self(uuid::Builder::from_random_bytes(random).into_uuid()))
    }

    /// The 16 bytes of the UUID.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl From<Uuid> for UserId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A user, as registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub(crate) account: AccountId,
    pub(crate) id: UserId,
    pub(crate) name: UserName,
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

    /// The name, as it is spelled now.
    #[must_use]
    pub const fn name(&self) -> &UserName {
        &self.name
    }

    /// When the user was registered, in whole milliseconds.
    #[must_use]
    pub fn created(&self) -> OffsetDateTime {
        self.created.date()
    }
}
