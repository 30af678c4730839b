//! The alias in the secret of an API key, compared with what the crate `base64` decodes.

use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use service_specific_credentials::{
    AuthenticationError, CredentialManager, DenialReason,
    store::{Change, CommitOutcome, Key, ScanRange, Store, StoreError, UserRecord},
};

const ACCOUNT: &str = "123456789012";
const PREFIX: &str = "ABSK";
/// The most bytes of a secret. Longer ones are not decoded.
const MAX_SECRET: usize = 512;
/// The characters of the longest alias, of 200 bytes, and a colon. The digest verifies the others.
const MAX_ENCODED: usize = 201 / 3 * 4;

/// An empty store that keeps the last service user name that was looked up.
#[derive(Debug, Default)]
struct Spy(Mutex<Option<String>>);

impl Store for Spy {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        let Key::ServiceUser { name, .. } = key else { panic!("{key:?}") };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((*name).to_owned());
        Ok(None)
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        panic!("{change:?}")
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        panic!("{range:?}")
    }
}

/// The bytes as a secret, as the encoded part of one, and as the start of the alias in one.
pub(crate) fn compare(bytes: &[u8]) {
    let alias = [bytes, b"-at-", ACCOUNT.as_bytes(), b":password"].concat();
    for secret in [
        String::from_utf8_lossy(bytes).into_owned(),
        format!("{PREFIX}{}", STANDARD.encode(bytes)),
        format!("{PREFIX}{}", STANDARD.encode(alias)),
    ] {
        assert_eq!(looked_up(&secret), expected(&secret), "{secret}");
    }
}

/// The alias that the manager decodes. It looks up no text that is the name of no credential.
fn looked_up(secret: &str) -> Option<String> {
    let spy = Spy::default();
    let iam = CredentialManager::new(ACCOUNT.parse().unwrap(), &spy);
    let bedrock = "bedrock.amazonaws.com".parse().unwrap();
    let reason = match iam.authenticate_api_key(&bedrock, secret).unwrap_err() {
        AuthenticationError::Denied(denial) => denial.reason(),
        AuthenticationError::Unavailable(error) => panic!("{error}"),
    };
    let is_too_long = secret.len() > MAX_SECRET;
    let expected = if is_too_long { DenialReason::TooLong } else { DenialReason::UnknownName };
    assert_eq!(reason, expected);
    spy.0.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The alias that the crate decodes, if it can be the name of a credential of the account.
fn expected(secret: &str) -> Option<String> {
    let encoded = secret.strip_prefix(PREFIX).filter(|_| secret.len() <= MAX_SECRET)?.as_bytes();
    let decoded = STANDARD.decode(&encoded[..encoded.len().min(MAX_ENCODED)]).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let alias = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    alias.to_ascii_lowercase().ends_with(&format!("-at-{ACCOUNT}")).then_some(alias)
}
