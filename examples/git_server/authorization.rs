//! Reads the `Authorization` header of a request.

use axum::http::{HeaderMap, header::AUTHORIZATION};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// What a request authenticates with.
pub(crate) enum Authorization {
    /// Nothing. The first request of a Git command carries no credential.
    Missing,
    /// More than one header, another scheme than Basic, or no Base64 of UTF-8 with a colon.
    Malformed,
    /// A service user name, a colon, and a password.
    Basic(Zeroizing<String>),
}

impl Authorization {
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Missing,
            (Some(value), None) => {
                value.to_str().ok().and_then(basic).map_or(Self::Malformed, Self::Basic)
            }
            // A proxy may have checked the one, and this server would check the other.
            (Some(_), Some(_)) => Self::Malformed,
        }
    }
}

fn basic(value: &str) -> Option<Zeroizing<String>> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim_matches(' ')).ok()?);
    let pair = str::from_utf8(&decoded).ok().filter(|pair| pair.contains(':'))?;
    Some(Zeroizing::new(pair.to_owned()))
}
