//! Where the next page of a listing begins, and of which listing.

use std::{fmt, str::FromStr, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::{
    AccountId, CredentialId, Error, Lifetime, ServiceName, UserName,
    name::{Characters, Grammar, invalid_value, text_conversions},
    record::StoredCredential,
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

    pub(crate) fn grammar() -> &'static Grammar {
        static GRAMMAR: Grammar = Grammar {
            pattern: Marker::PATTERN,
            min: Marker::MIN_LENGTH,
            max: Marker::MAX_LENGTH,
            characters: LazyLock::new(|| Characters::unicode(Marker::PATTERN, 1)),
        };
        &GRAMMAR
    }
}

impl FromStr for Marker {
    type Err = InvalidMarker;

    /// Accepts every text of the documented pattern. Whether it is a marker, and of which query,
    /// is told by the listing.
    fn from_str(text: &str) -> Result<Self, InvalidMarker> {
        Self::grammar().check(text).map_err(InvalidMarker)?;
        Ok(Self(text.into()))
    }
}

impl AsRef<str> for Marker {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Marker").field(&self.as_str()).finish()
    }
}

invalid_value! {
    /// The text cannot be a [`Marker`].
    pub struct InvalidMarker, "marker", parameter "marker";
}
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
    /// Enough of a hash to tell queries apart and damage from none. It keeps no secret.
    const SEAL: usize = 16;

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

    /// A marker is its version, the seal of query and position, and the position, in Base64.
    pub(super) fn mark(&self, position: &Position) -> Marker {
        let position = position.to_string();
        let mut marker = vec![Self::VERSION];
        marker.extend(self.seal(position.as_bytes()));
        marker.extend(position.as_bytes());
        Marker(URL_SAFE_NO_PAD.encode(marker).into())
    }

    pub(super) fn locate(&self, marker: &Marker) -> Result<Position, Error> {
        let locate = || {
            let decoded = URL_SAFE_NO_PAD.decode(marker.as_str()).ok()?;
            let sealed = decoded.strip_prefix(&[Self::VERSION])?;
            let (seal, position) = sealed.split_at_checked(Self::SEAL)?;
            if self.seal(position) != seal {
                return None;
            }
            Position::parse(std::str::from_utf8(position).ok()?)
        };
        locate().ok_or(Error::MarkerMismatch)
    }

    /// A hash of the query and of a position in it. None of the parts holds a line break.
    fn seal(&self, position: &[u8]) -> Vec<u8> {
        let Self { account, of, .. } = self;
        let user = self.user.map_or("", UserName::as_str).to_ascii_lowercase();
        let service = self.service.map_or("", ServiceName::as_str);
        let days = self.older_than.map_or(0, Lifetime::as_days);
        let query =
            format!("marker {}\n{account}\n{of}\n{user}\n{service}\n{days}\n", Self::VERSION);
        let hash = Sha256::new_with_prefix(query).chain_update(position).finalize();
        hash.into_iter().take(Self::SEAL).collect()
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
        let (created, id) = credential.position();
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
