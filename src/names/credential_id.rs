use std::str::FromStr;

use smol_str::SmolStr;

use crate::{
    constraint::{Constraint, invalid_value},
    names::{CharacterClass, Pattern, text_conversions, text_formats},
};

/// The identifier of a credential, such as `ACCA2XEAJ3CDVPQHM5YZ7`. Compared byte for byte, never
/// reused.
///
/// A generated id is `ACCA` and 17 characters of `A` to `Z` and `2` to `7`, drawn uniformly: 85
/// bits. (Length and prefix are *recorded*, the alphabet is our decision.)
///
/// Matches `[\w]+` as a whole, in ASCII only, and has 20 to 128 characters.
///
/// ```
/// use service_specific_credentials::CredentialId;
///
/// let id: CredentialId = "ACCA12345ABCDEXAMPLE".parse()?;
/// assert_eq!(id.as_str(), "ACCA12345ABCDEXAMPLE");
/// assert!("ACCA1234".parse::<CredentialId>().is_err());
/// # Ok::<(), service_specific_credentials::InvalidCredentialId>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CredentialId(SmolStr);

impl CredentialId {
    /// The documented pattern of a credential id.
    pub const PATTERN: &'static str = r"[\w]+";
    /// The fewest characters of a credential id.
    pub const MIN_LENGTH: usize = 20;
    /// The most characters of a credential id.
    pub const MAX_LENGTH: usize = 128;
    pub(crate) const GRAMMAR: Pattern = Pattern {
        regex: Self::PATTERN,
        class: CharacterClass::Word,
        min: Self::MIN_LENGTH,
        max: Self::MAX_LENGTH,
    };

    /// The id of no credential, for unused slots of a record.
    pub(crate) const EMPTY: Self = Self(SmolStr::new_static(""));

    /// The id of a literal, for constants. An invalid literal in a `const` is a compile error.
    ///
    /// ```
    /// use service_specific_credentials::CredentialId;
    ///
    /// const EXAMPLE: CredentialId = CredentialId::from_static("ACCA12345ABCDEXAMPLE");
    /// ```
    ///
    /// ```compile_fail,E0080
    /// use service_specific_credentials::CredentialId;
    ///
    /// const INVALID: CredentialId = CredentialId::from_static("a b");
    /// ```
    ///
    /// # Panics
    ///
    /// If `text` is not a valid id.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(
            Self::GRAMMAR.matches_ascii(text),
            "a credential id has 20 to 128 characters of `[\\w]`"
        );
        Self(SmolStr::new_static(text))
    }

    /// The text, as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number of random bytes that a new id is made of. The last three are not used: most
    /// generators produce words of 4 bytes, so that what is drawn with an id is the same as if it
    /// were drawn after it.
    pub(crate) const RANDOM_BYTES: usize = 20;

    /// The id of these random bytes.
    pub(crate) fn from_random(random: &[u8; Self::RANDOM_BYTES]) -> Self {
        let mut id = String::with_capacity(4 + 17);
        id.push_str("ACCA");
        id.extend(random.iter().take(17).map(|byte| match byte & 0b1_1111 {
            letter @ 0..26 => char::from(b'A' + letter),
            digit => char::from(b'2' + (digit - 26)),
        }));
        Self(SmolStr::new(id))
    }
}

impl FromStr for CredentialId {
    type Err = InvalidCredentialId;

    fn from_str(text: &str) -> Result<Self, InvalidCredentialId> {
        Self::GRAMMAR.check(text).map_err(InvalidCredentialId)?;
        Ok(Self(SmolStr::new(text)))
    }
}

text_formats!(CredentialId);
text_conversions!(CredentialId, InvalidCredentialId);

/// The text is not a [`CredentialId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidCredentialId(pub(crate) Constraint);

invalid_value!(InvalidCredentialId, "credential id", parameter "serviceSpecificCredentialId");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_of_the_alphabet_is_drawn_equally_often() {
        let mut counts = std::collections::BTreeMap::new();
        // Each position has each value of a byte once, and so each character 8 times.
        for byte in 0..=u8::MAX {
            let id = CredentialId::from_random(&[byte; CredentialId::RANDOM_BYTES]);
            assert_eq!(id.as_str().len(), 21);
            assert_eq!(id, id.as_str().parse().unwrap());
            for character in id.as_str().strip_prefix("ACCA").unwrap().chars() {
                *counts.entry(character).or_insert(0) += 1;
            }
        }
        let alphabet: String = counts.keys().collect();
        assert_eq!(alphabet, "234567ABCDEFGHIJKLMNOPQRSTUVWXYZ");
        assert!(counts.values().all(|&count| count == 8 * 17), "{counts:?}");
    }
}
