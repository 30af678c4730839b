//! Where the next page of a listing begins, and of which listing.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::{
    constraint::{Constraint, invalid_value},
    error::Error,
    lifetime::Lifetime,
    names::{
        CharacterClass, Pattern, account_id::AccountId, credential_id::CredentialId,
        service_name::ServiceName, text_conversions, text_formats, user_name::UserName,
    },
    record::stored_credential::StoredCredential,
    timestamp::Timestamp,
};

/// Where the next page of a listing begins: opaque text of at most 320 characters.
///
/// A marker belongs to the query that it came from: account, user or all users, service and age. It
/// is not secret, and a forged one yields nothing that the same query could not list.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Marker(Box<str>);

impl Marker {
    /// The documented pattern of a marker.
    pub const PATTERN: &'static str = r"[\u0020-\u00FF]+";
    /// The fewest characters of a marker.
    pub const MIN_LENGTH: usize = 1;
    /// The most characters of a marker.
    pub const MAX_LENGTH: usize = 320;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) const GRAMMAR: Pattern = Pattern {
        regex: Self::PATTERN,
        class: CharacterClass::Latin1,
        min: Self::MIN_LENGTH,
        max: Self::MAX_LENGTH,
    };
}

impl FromStr for Marker {
    type Err = InvalidMarker;

    /// Accepts every text of the documented pattern. Whether it is a marker, and of which query,
    /// is told by the listing.
    fn from_str(text: &str) -> Result<Self, InvalidMarker> {
        Self::GRAMMAR.check(text).map_err(InvalidMarker)?;
        Ok(Self(text.into()))
    }
}

text_formats!(Marker);

/// The text is not of the pattern of a [`Marker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidMarker(pub(crate) Constraint);

invalid_value!(InvalidMarker, "marker", parameter "marker");
text_conversions!(Marker, InvalidMarker);

/// What a listing is of: the markers that it makes are good for it alone.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    account: AccountId,
    of: &'static str,
    user: Option<&'a UserName>,
    service: Option<&'a ServiceName>,
    older_than: Option<Lifetime>,
}

/// The last item of a page.
pub(super) struct Position {
    pub(super) user: UserName,
    /// `None` in a listing of users.
    pub(super) credential: Option<(Timestamp, CredentialId)>,
}

impl<'a> Query<'a> {
    const VERSION: u8 = 1;
    /// An integrity check and a binding to the query, not a MAC.
    const CHECKSUM_BYTES: usize = 16;

    pub(super) const fn users(account: AccountId) -> Self {
        Self { account, of: "users", user: None, service: None, older_than: None }
    }

    pub(super) const fn credentials(
        account: AccountId,
        user: Option<&'a UserName>,
        service: Option<&'a ServiceName>,
        older_than: Option<Lifetime>,
    ) -> Self {
        Self { account, of: "credentials", user, service, older_than }
    }

    /// A marker is its version, the checksum of query and position, and the position, in Base64.
    pub(super) fn mark(&self, position: &Position) -> Marker {
        let position = position.to_string();
        let mut marker = vec![Self::VERSION];
        marker.extend(self.checksum(position.as_bytes()));
        marker.extend(position.as_bytes());
        Marker(URL_SAFE_NO_PAD.encode(marker).into())
    }

    pub(super) fn locate(&self, marker: &Marker) -> Result<Position, Error> {
        let locate = || {
            let decoded = URL_SAFE_NO_PAD.decode(marker.as_str()).ok()?;
            let body = decoded.strip_prefix(&[Self::VERSION])?;
            let (checksum, position) = body.split_at_checked(Self::CHECKSUM_BYTES)?;
            if self.checksum(position) != checksum {
                return None;
            }
            Position::parse(std::str::from_utf8(position).ok()?)
        };
        locate().ok_or(Error::MarkerMismatch)
    }

    /// A hash of the query and of a position in it. No part contains a line break.
    fn checksum(&self, position: &[u8]) -> Vec<u8> {
        let Self { account, of, .. } = self;
        let user = self.user.map_or("", UserName::as_str).to_ascii_lowercase();
        let service = self.service.map_or("", ServiceName::as_str);
        let days = self.older_than.map_or(0, Lifetime::as_days);
        let query =
            format!("marker {}\n{account}\n{of}\n{user}\n{service}\n{days}\n", Self::VERSION);
        let hash = Sha256::new_with_prefix(query).chain_update(position).finalize();
        hash.into_iter().take(Self::CHECKSUM_BYTES).collect()
    }
}

impl Position {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let user = lines.next()?.parse().ok()?;
        let credential = match (lines.next(), lines.next(), lines.next()) {
            (None, ..) => None,
            (Some(created), Some(id), None) => {
                Some((Timestamp::from_milliseconds(created.parse().ok()?)?, id.parse().ok()?))
            }
            _ => return None,
        };
        Some(Self { user, credential })
    }

    /// Whether the page that ended here, or one before it, held this credential.
    pub(super) fn covers(&self, user: &UserName, credential: &StoredCredential) -> bool {
        let (created, id) = credential.order();
        let here = self.credential.as_ref().map(|(created, id)| (*created, id));
        self.user == *user && here.is_some_and(|here| (created, id) <= here)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.user)?;
        match &self.credential {
            Some((created, id)) => write!(f, "\n{}\n{id}", created.milliseconds()),
            None => Ok(()),
        }
    }
}
