//! Passwords, API key secrets and their digests.
//!
//! # Why a fast hash
//!
//! A slow hash (Argon2, scrypt, bcrypt) makes guessing expensive where people choose passwords,
//! because such passwords have little entropy. The secrets here are never chosen: each holds at
//! least 128 bits, by default 256, from a cryptographic generator. Whoever steals the digests
//! would have to try 2^127 of them on average to find one secret, however fast one try is, so a
//! slow hash adds cost to every authentication and no safety. For the same reason there is no
//! salt: two credentials never have the same secret, and no table of 2^128 entries exists.
//!
//! The reasoning ends where its premise does: it would be wrong for a password that a person
//! chose, or that a weak generator made. This crate takes neither.

use std::fmt;

use base64::{
    Engine as _,
    engine::Config as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::{
    entropy::{Entropy, EntropyError},
    names::service_user_name::ServiceUserName,
    policy::{Alphabet, Policy},
};

/// The most bytes of a name or a secret that are looked at: what is longer is neither, whatever the
/// policy, and is refused before it is hashed.
pub(crate) const MAX_PRESENTED: usize = 512;

/// A password, or the secret of an API key.
///
/// It exists once, in one place in memory, which is wiped when it is dropped. It prints as
/// `[REDACTED]`, and is read by [`expose`](Self::expose) alone. Copies that a caller makes of what
/// that returns are the caller's to guard.
///
/// Where another type would be printed, cloned, serialized and compared,
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
/// there is no way to print this one,
///
/// ```compile_fail,E0277
/// fn print<T: std::fmt::Display>() {}
/// print::<service_specific_credentials::Secret>();
/// ```
///
/// to clone it,
///
/// ```compile_fail,E0277
/// fn clone<T: Clone>() {}
/// clone::<service_specific_credentials::Secret>();
/// ```
///
/// to serialize it,
///
/// ```compile_fail,E0277
/// fn serialize<T: serde::Serialize>() {}
/// serialize::<service_specific_credentials::Secret>();
/// ```
///
/// or to compare it:
///
/// ```compile_fail,E0277
/// fn compare<T: PartialEq>() {}
/// compare::<service_specific_credentials::Secret>();
/// ```
pub struct Secret(Zeroizing<Box<str>>);

impl Secret {
    /// The secret itself, to be handed to its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Draws a password.
    pub(crate) fn password(entropy: &dyn Entropy, policy: &Policy) -> Result<Self, EntropyError> {
        let mut random = Zeroizing::new(vec![0; policy.password_bytes()]);
        entropy.fill(&mut random)?;
        match policy.alphabet() {
            Alphabet::Standard => Self::encode("", &STANDARD, &random),
            Alphabet::UrlSafe => Self::encode("", &URL_SAFE_NO_PAD, &random),
        }
    }

    /// Wraps `password` into the secret of an API key:
    /// `prefix + base64(alias + ":" + password)` (*recorded*).
    pub(crate) fn api_key(
        prefix: &str,
        alias: &str,
        password: &Self,
    ) -> Result<Self, EntropyError> {
        let (alias, password) = (alias.as_bytes(), password.expose().as_bytes());
        let mut inner = Zeroizing::new(Vec::with_capacity(alias.len() + 1 + password.len()));
        inner.extend_from_slice(alias);
        inner.push(b':');
        inner.extend_from_slice(password);
        Self::encode(prefix, &STANDARD, &inner)
    }

    /// Every buffer has its final size from the start: one that grew would leave a copy behind.
    fn encode(
        prefix: &str,
        engine: &impl base64::Engine,
        bytes: &[u8],
    ) -> Result<Self, EntropyError> {
        let padded = engine.config().encode_padding();
        let length = base64::encoded_len(bytes.len(), padded).unwrap_or_default();
        let mut encoded = Zeroizing::new(vec![0; length]);
        engine.encode_slice(bytes, &mut encoded).map_err(EntropyError::new)?;
        let mut text = String::with_capacity(prefix.len() + length);
        text.push_str(prefix);
        text.extend(encoded.iter().map(|&byte| char::from(byte)));
        Ok(Self(Zeroizing::new(text.into_boxed_str())))
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

/// Room for the longest alias and the colon after it. Whoever has one wipes it.
pub(crate) type AliasBuffer = [u8; ServiceUserName::MAX_LENGTH + 1];

/// The alias in what is presented as the secret of an API key, decoded into `buffer`.
///
/// Reads no more of `presented` than the longest alias. What follows is for the digest to judge, and
/// is wiped as soon as the alias is found.
pub(crate) fn presented_alias<'b>(
    prefix: &str,
    presented: &str,
    buffer: &'b mut AliasBuffer,
) -> Option<&'b str> {
    let encoded = presented.strip_prefix(prefix)?;
    let encoded = encoded.get(..encoded.len().min(buffer.len() / 3 * 4))?;
    let total = STANDARD.decode_slice(encoded, buffer).ok()?;
    let length = buffer.iter().take(total).position(|&byte| byte == b':')?;
    let (alias, password) = buffer.split_at_mut_checked(length)?;
    password.zeroize();
    std::str::from_utf8(alias).ok()
}

// The decoded part ends where a group of four characters does.
const _: () = assert!((ServiceUserName::MAX_LENGTH + 1).is_multiple_of(3));

/// What is kept of a secret.
#[derive(Clone, Copy)]
pub(crate) enum Digest {
    Sha256([u8; 32]),
}

impl Digest {
    /// Stands for the digest that a name nobody holds does not have.
    pub(crate) const DUMMY: Self = Self::Sha256([0; 32]);

    pub(crate) fn of(secret: &[u8]) -> Self {
        #[cfg(test)]
        tests::COMPUTED.with(|computed| computed.set(computed.get() + 1));
        Self::Sha256(Sha256::digest(secret).into())
    }

    /// Whether `presented` is the secret. Takes the same time wherever the digests differ.
    pub(crate) fn verify(&self, presented: &[u8]) -> bool {
        self.matches(&Self::of(presented))
    }

    /// Whether both are digests of one secret. Takes the same time wherever they differ.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        let (Self::Sha256(one), Self::Sha256(other)) = (self, other);
        one.ct_eq(other).into()
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sha256(..)")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{entropy::SystemEntropy, policy::builder::PolicyBuilder};

    thread_local! {
        /// How many digests this thread has computed.
        pub(crate) static COMPUTED: Cell<usize> = const { Cell::new(0) };
    }

    fn password(policy: PolicyBuilder) -> Secret {
        Secret::password(&SystemEntropy, &policy.build().unwrap()).unwrap()
    }

    #[test]
    fn passwords_have_the_length_and_alphabet_of_the_policy() {
        for bytes in 16..=96_usize {
            let policy = Policy::builder().password_bytes(bytes);
            let standard = password(policy.clone());
            assert_eq!(standard.expose().len(), bytes.div_ceil(3) * 4);
            assert_eq!(STANDARD.decode(standard.expose()).unwrap().len(), bytes);
            let url_safe = password(policy.alphabet(Alphabet::UrlSafe));
            assert_eq!(url_safe.expose().len(), (bytes * 4).div_ceil(3));
            assert_eq!(URL_SAFE_NO_PAD.decode(url_safe.expose()).unwrap().len(), bytes);
        }
        assert_eq!(password(Policy::builder()).expose().len(), 44);
        assert!(password(Policy::builder()).expose().ends_with('='));
        assert_eq!(password(Policy::recorded().to_builder()).expose().len(), 60);
    }

    #[test]
    fn no_two_passwords_are_the_same() {
        let drawn: std::collections::BTreeSet<_> =
            (0..1_000).map(|_| password(Policy::builder()).expose().to_owned()).collect();
        assert_eq!(drawn.len(), 1_000);
    }

    #[test]
    fn a_failing_generator_yields_no_password() {
        #[derive(Debug)]
        struct Empty;
        impl Entropy for Empty {
            fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
                Err(EntropyError::new("drained"))
            }
        }
        Secret::password(&Empty, &Policy::default()).unwrap_err();
    }

    #[test]
    fn an_api_key_is_the_prefix_and_the_encoded_alias_and_password() {
        for (alias, bytes) in [
            ("a".to_owned(), 16),
            ("anika+1-at-123456789012".to_owned(), 32),
            ("x".repeat(200), 96),
        ] {
            let inner = password(Policy::builder().password_bytes(bytes));
            let secret = Secret::api_key("ABSK", &alias, &inner).unwrap();
            let decoded = STANDARD.decode(secret.expose().strip_prefix("ABSK").unwrap()).unwrap();
            assert_eq!(decoded, format!("{alias}:{}", inner.expose()).into_bytes());
            let mut buffer = [0; _];
            assert_eq!(presented_alias("ABSK", secret.expose(), &mut buffer), Some(&*alias));
            let rest = buffer.iter().skip(alias.len());
            assert_eq!(rest.filter(|&&byte| byte != 0).count(), 0, "the password is wiped");
        }
    }

    #[test]
    fn what_is_no_api_key_has_no_alias() {
        let without_colon = STANDARD.encode("x".repeat(300));
        let long_alias = STANDARD.encode(format!("{}:y", "x".repeat(201)));
        for presented in
            ["", "ABSK", "ABS", "absk", "ABSKé", "ABSK====", "ABSKéééé", "ABSKYQ==", "AEAAYTpi"]
        {
            assert!(presented_alias("ABSK", presented, &mut [0; _]).is_none(), "{presented}");
        }
        for encoded in [without_colon, long_alias] {
            assert!(presented_alias("ABSK", &format!("ABSK{encoded}"), &mut [0; _]).is_none());
        }
        let not_text = format!("ABSK{}", STANDARD.encode(b"\xff:b"));
        assert!(presented_alias("ABSK", &not_text, &mut [0; _]).is_none());
    }

    #[test]
    fn a_digest_verifies_its_secret_alone() {
        let digest = Digest::of(b"secret");
        assert!(digest.verify(b"secret"));
        for other in [&b""[..], b"Secret", b"secre", b"secret\0"] {
            assert!(!digest.verify(other));
        }
        assert!(!Digest::DUMMY.verify(b""));
    }

    #[test]
    fn secrets_are_wiped_when_dropped() {
        fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        wiped(&password(Policy::builder()).0);
    }

    #[test]
    fn neither_a_secret_nor_its_digest_is_printed() {
        let secret = password(Policy::builder());
        assert_eq!(format!("{secret:?} {secret:#?}"), "[REDACTED] [REDACTED]");
        assert_eq!(format!("{:?}", secret.digest()), "Sha256(..)");
    }
}
