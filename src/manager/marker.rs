//! Encodes the position of a page into a marker, which it binds to its query.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::list_request::ListRequest;
use crate::{
    error::Error,
    lifetime::Lifetime,
    names::{
        account_id::AccountId, credential_id::CredentialId, path_prefix::PathPrefix,
        service_name::ServiceName, user_name::UserName,
    },
    paging::Marker,
    record::stored_credential::StoredCredential,
    timestamp::Timestamp,
};

/// The query of a listing. Its markers are valid for this query only.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    account: AccountId,
    filter: Filter<'a>,
}

#[derive(Clone, Copy)]
enum Filter<'a> {
    Users(Option<&'a PathPrefix>),
    Credentials(&'a ListRequest),
}

/// The last item of a page.
pub(super) struct Position {
    pub(super) user: UserName,
    /// `None` in a listing of users.
    pub(super) credential: Option<(Timestamp, CredentialId)>,
}

impl<'a> Query<'a> {
    const VERSION: u8 = 2;
    /// An integrity check and a binding to the query, not a MAC.
    const CHECKSUM_BYTES: usize = 16;

    pub(super) const fn users(account: AccountId, path_prefix: Option<&'a PathPrefix>) -> Self {
        Self { account, filter: Filter::Users(path_prefix) }
    }

    pub(super) const fn credentials(account: AccountId, request: &'a ListRequest) -> Self {
        Self { account, filter: Filter::Credentials(request) }
    }

    /// A marker is its version, the checksum of query and position, and the position, in Base64.
    pub(super) fn mark(&self, position: &Position) -> Marker {
        let position = position.to_string();
        let mut marker = vec![Self::VERSION];
        marker.extend(self.checksum(position.as_bytes()));
        marker.extend(position.as_bytes());
        Marker::new(URL_SAFE_NO_PAD.encode(marker))
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
        let filter = match self.filter {
            Filter::Users(prefix) => {
                format!("users\n{}", prefix.map_or("", PathPrefix::as_str))
            }
            Filter::Credentials(request) => {
                let user = request.user().map_or("", UserName::as_str).to_ascii_lowercase();
                let service = request.service_filter().map_or("", ServiceName::as_str);
                let days = |age: Option<Lifetime>| age.map_or(0, Lifetime::as_days);
                let (created, secret) = (days(request.older_than), days(request.secret_older_than));
                format!("credentials\n{user}\n{service}\n{created}\n{secret}")
            }
        };
        let query = format!("marker {}\n{}\n{filter}\n", Self::VERSION, self.account);
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
