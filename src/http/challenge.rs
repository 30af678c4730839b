//! The `WWW-Authenticate` header of a rejection.

use http::HeaderValue;

use crate::credential::CredentialKind;

/// The challenges of one service.
#[derive(Clone, Debug)]
pub(super) struct Challenge {
    kind: CredentialKind,
    plain: HeaderValue,
    invalid_token: HeaderValue,
}

impl Challenge {
    pub(super) fn new(kind: CredentialKind, realm: &str) -> Result<Self, InvalidRealm> {
        if !realm.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(InvalidRealm);
        }
        let header = |text: String| HeaderValue::try_from(text).map_err(|_| InvalidRealm);
        let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
        Ok(match kind {
            CredentialKind::Password => {
                let plain = header(format!("Basic realm=\"{realm}\", charset=\"UTF-8\""))?;
                Self { kind, invalid_token: plain.clone(), plain }
            }
            CredentialKind::ApiKey => Self {
                kind,
                plain: header(format!("Bearer realm=\"{realm}\""))?,
                invalid_token: header(format!(
                    "Bearer realm=\"{realm}\", error=\"invalid_token\""
                ))?,
            },
        })
    }

    /// The same challenge with another realm.
    pub(super) fn of_realm(&self, realm: &str) -> Result<Self, InvalidRealm> {
        Self::new(self.kind, realm)
    }

    /// The value of the header, depending on whether the request had a token.
    pub(super) fn header(&self, had_token: bool) -> HeaderValue {
        if had_token { self.invalid_token.clone() } else { self.plain.clone() }
    }
}

/// A realm contains a character other than printable ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("a realm has printable ASCII characters only")]
pub struct InvalidRealm;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_is_quoted() {
        for (realm, quoted) in [
            ("git.example.com", "git.example.com"),
            ("", ""),
            ("My \"Git\" server", "My \\\"Git\\\" server"),
            ("a\\b", "a\\\\b"),
            ("\\\"", "\\\\\\\""),
            ("a\", error=\"b", "a\\\", error=\\\"b"),
        ] {
            let challenge = Challenge::new(CredentialKind::Password, realm).unwrap();
            let basic = format!("Basic realm=\"{quoted}\", charset=\"UTF-8\"");
            assert_eq!(challenge.header(false), basic);
            assert_eq!(challenge.header(true), basic);

            let challenge = Challenge::new(CredentialKind::ApiKey, realm).unwrap();
            let bearer = format!("Bearer realm=\"{quoted}\"");
            assert_eq!(challenge.header(false), bearer);
            assert_eq!(challenge.header(true), format!("{bearer}, error=\"invalid_token\""));
        }
    }

    #[test]
    fn a_realm_is_printable_ascii() {
        for realm in ["a\r\nSet-Cookie: b", "\n", "\0", "\t", "\x7f", "é", "\u{1f600}"] {
            for kind in [CredentialKind::Password, CredentialKind::ApiKey] {
                assert_eq!(Challenge::new(kind, realm).unwrap_err(), InvalidRealm, "{realm:?}");
            }
        }
    }
}
