//! Passwords and API key secrets. [`digest`] stores and verifies them.

use std::fmt;

use base64::{
    engine::Config as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use zeroize::Zeroizing;

use self::{digest::Digest, stack::overwriting_stack};
use crate::entropy::{Entropy, EntropyError};

pub(crate) mod api_key;
pub(crate) mod digest;
pub(crate) mod stack;

/// Draws the random bytes of a password.
pub(crate) fn random_bytes(
    entropy: &dyn Entropy,
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, EntropyError> {
    let mut random = Zeroizing::new(vec![0; length]);
    entropy.fill(&mut random)?;
    Ok(random)
}

/// The maximum number of bytes of a service user name or a secret in an authentication. No policy
/// generates a longer one, and longer input is denied before it is hashed.
pub(crate) const MAX_PRESENTED: usize = 512;

/// The alphabet of passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Alphabet {
    /// Base64 with padding: letters, digits, `+`, `/` and `=`.
    Standard,
    /// Base64 for URLs without padding: letters, digits, `-` and `_`. Such a password needs no
    /// escaping in the URL of a Git remote.
    UrlSafe,
}

/// A password, or the secret of an API key.
///
/// Its buffer has the exact size from the start and is zeroized on drop. `Debug` prints
/// `[REDACTED]`; [`expose`](Self::expose) is the only accessor. Protecting copies of what it
/// returns is the caller's responsibility.
///
/// Other types can be printed, cloned, serialized and compared:
///
/// ```
/// fn print<T: std::fmt::Display>() {}
/// print::<String>();
/// fn clone<T: Clone>() {}
/// clone::<String>();
/// fn serialize<T: serde::Serialize>() {}
/// serialize::<String>();
/// fn compare<T: PartialEq>() {}
/// compare::<String>();
/// type Secret = service_specific_credentials::Secret;
/// ```
///
/// A secret cannot be printed,
///
/// ```compile_fail,E0277
/// fn print<T: std::fmt::Display>() {}
/// print::<service_specific_credentials::Secret>();
/// ```
///
/// cloned,
///
/// ```compile_fail,E0277
/// fn clone<T: Clone>() {}
/// clone::<service_specific_credentials::Secret>();
/// ```
///
/// serialized,
///
/// ```compile_fail,E0277
/// fn serialize<T: serde::Serialize>() {}
/// serialize::<service_specific_credentials::Secret>();
/// ```
///
/// or compared:
///
/// ```compile_fail,E0277
/// fn compare<T: PartialEq>() {}
/// compare::<service_specific_credentials::Secret>();
/// ```
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    /// The text of the secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The password that `random` bytes encode.
    pub(crate) fn password(random: &[u8], alphabet: Alphabet) -> Self {
        match alphabet {
            Alphabet::Standard => Self::encode("", &STANDARD, random),
            Alphabet::UrlSafe => Self::encode("", &URL_SAFE_NO_PAD, random),
        }
    }

    /// The secret of an API key: `prefix + base64(alias + ":" + password)` (*recorded*).
    pub(crate) fn api_key(prefix: &str, alias: &str, password: &Self) -> Self {
        let (alias, password) = (alias.as_bytes(), password.expose().as_bytes());
        let mut inner = Zeroizing::new(Vec::with_capacity(alias.len() + 1 + password.len()));
        inner.extend_from_slice(alias);
        inner.push(b':');
        inner.extend_from_slice(password);
        Self::encode(prefix, &STANDARD, &inner)
    }

    /// Every buffer has its final size from the start: a buffer that grew would leave a copy
    /// behind.
    #[expect(clippy::expect_used, reason = "the buffer has the size of the encoding")]
    fn encode(prefix: &str, engine: &impl base64::Engine, bytes: &[u8]) -> Self {
        let padded = engine.config().encode_padding();
        let length = base64::encoded_len(bytes.len(), padded).expect("a secret is short");
        overwriting_stack(|| {
            let mut encoded = Zeroizing::new(vec![0; length]);
            engine.encode_slice(bytes, &mut encoded).expect("the buffer has the right size");
            let mut text = String::with_capacity(prefix.len() + length);
            text.push_str(prefix);
            text.extend(encoded.iter().map(|&byte| char::from(byte)));
            Self(Zeroizing::new(text.into_boxed_str()))
        })
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.expose().as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    #[test]
    fn a_password_encodes_its_random_bytes_in_the_alphabet() {
        for length in 16..=96_usize {
            let random: Vec<u8> = (0..length).map(|i| u8::try_from(i * 7 % 256).unwrap()).collect();
            let standard = Secret::password(&random, Alphabet::Standard);
            assert_eq!(standard.expose().len(), length.div_ceil(3) * 4);
            assert_eq!(STANDARD.decode(standard.expose()).unwrap(), random);
            let url_safe = Secret::password(&random, Alphabet::UrlSafe);
            assert_eq!(url_safe.expose().len(), (length * 4).div_ceil(3));
            assert_eq!(URL_SAFE_NO_PAD.decode(url_safe.expose()).unwrap(), random);
        }
        assert_eq!(Secret::password(&[7; 32], Alphabet::Standard).expose().len(), 44);
        assert_eq!(Secret::password(&[7; 44], Alphabet::Standard).expose().len(), 60);
    }

    #[test]
    fn a_secret_is_zeroized_on_drop() {
        fn assert_zeroized<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        assert_zeroized(&Secret::password(&[1; 16], Alphabet::Standard).0);
    }

    #[test]
    fn debug_prints_neither_a_secret_nor_its_digest() {
        let secret = Secret::password(&[1; 16], Alphabet::Standard);
        assert_eq!(format!("{secret:?} {secret:#?}"), "[REDACTED] [REDACTED]");
        assert_eq!(format!("{:?}", secret.digest()), "Sha256(..)");
    }
}
