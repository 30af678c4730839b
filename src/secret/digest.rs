//! The digest of a secret, which is what a store keeps.
//!
//! # Why a fast hash
//!
//! A slow hash (Argon2, scrypt, bcrypt) makes guessing expensive where people choose passwords,
//! because such passwords have little entropy. These secrets are generated, with at least 128 bits,
//! by default 256. An attacker who has the digests would have to try 2^127 secrets on average to
//! find one, however fast one try is: a slow hash would add cost to every authentication and no
//! security. There is no salt for the same reason: no two credentials have the same secret, and no
//! table of 2^128 entries exists. It would be wrong for a password that a person chose or that a
//! weak generator made.

use std::{fmt, ops::BitAnd};

use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

use super::stack::overwriting_stack;

/// The digest of a secret.
#[derive(Clone, Copy)]
pub(crate) enum Digest {
    Sha256([u8; 32]),
}

impl Digest {
    /// The digest that an unknown name is verified against. No known secret has it.
    pub(crate) const DUMMY: Self = Self::Sha256([0; 32]);

    pub(crate) fn of(secret: &[u8]) -> Self {
        #[cfg(test)]
        tests::COMPUTED.with(|computed| computed.set(computed.get() + 1));
        Self::Sha256(overwriting_stack(|| Sha256::digest(secret).into()))
    }

    /// Whether the digest of `secret` is this one. Constant time.
    pub(crate) fn verify(&self, secret: &[u8]) -> bool {
        self.matches(&Self::of(secret))
    }

    /// Whether both digests are equal. Constant time.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        let (Self::Sha256(one), Self::Sha256(other)) = (self, other);
        // Word by word: byte by byte takes longer than the digest itself.
        let ((one, _), (other, _)) = (one.as_chunks(), other.as_chunks());
        let equal = |(one, other): (&[u8; 8], &[u8; 8])| {
            u64::from_ne_bytes(*one).ct_eq(&u64::from_ne_bytes(*other))
        };
        one.iter().zip(other).map(equal).fold(Choice::from(1), BitAnd::bitand).into()
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

    thread_local! {
        /// The number of digests that this thread has computed.
        pub(crate) static COMPUTED: Cell<usize> = const { Cell::new(0) };
    }

    #[test]
    fn a_digest_verifies_its_secret_only() {
        let digest = Digest::of(b"secret");
        assert!(digest.verify(b"secret"));
        for other in [&b""[..], b"Secret", b"secre", b"secret\0"] {
            assert!(!digest.verify(other));
        }
        assert!(!Digest::DUMMY.verify(b""));
    }

    #[test]
    fn digests_that_differ_in_one_bit_do_not_match() {
        let bytes = [0x5a; 32];
        let digest = Digest::Sha256(bytes);
        assert!(digest.matches(&Digest::Sha256(bytes)));
        for bit in 0..256 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!digest.matches(&Digest::Sha256(other)), "{bit}");
        }
    }
}
