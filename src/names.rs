//! The names, one newtype per file, and what they share: a documented pattern, comparison without
//! ASCII case, and conversions from and to text.

use std::{cmp::Ordering, hash::Hasher};

use crate::constraint::Constraint;

pub(crate) mod account_id;
pub(crate) mod credential_id;
pub(crate) mod path_prefix;
pub(crate) mod service_name;
pub(crate) mod service_user_name;
pub(crate) mod user_name;
pub(crate) mod user_path;

/// A documented pattern with its bounds on length. Every pattern is one class of characters,
/// repeated.
pub(crate) struct Pattern {
    /// The regular expression, as the API documents it.
    pub(crate) regex: &'static str,
    pub(crate) class: CharacterClass,
    /// The fewest characters.
    pub(crate) min: usize,
    /// The most characters.
    pub(crate) max: usize,
}

/// The characters that a pattern permits. A predicate is several times faster than a regular
/// expression, and names are parsed with every record that a store decodes. The tests compare the
/// two for every character.
#[derive(Clone, Copy)]
pub(crate) enum CharacterClass {
    /// `[0-9]`
    Digit,
    /// `[\w]`, in ASCII
    Word,
    /// `[\w+=,.@-]`, in ASCII
    UserName,
    /// `[a-zA-Z0-9.-]`
    ServiceName,
    /// `[\u0020-\u00FF]`
    Latin1,
}

impl CharacterClass {
    pub(crate) const fn permits(self, c: char) -> bool {
        match self {
            Self::Digit => c.is_ascii_digit(),
            Self::Word => c.is_ascii_alphanumeric() || c == '_',
            Self::UserName => {
                c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '=' | ',' | '.' | '@' | '-')
            }
            Self::ServiceName => c.is_ascii_alphanumeric() || matches!(c, '.' | '-'),
            Self::Latin1 => matches!(c, '\u{20}'..='\u{ff}'),
        }
    }
}

impl Pattern {
    /// All violations of `text` in the order in which they are reported: longest, shortest,
    /// pattern. An empty text violates its length only.
    pub(crate) fn violations(&self, text: &str) -> impl Iterator<Item = Constraint> {
        let length = text.chars().take(self.max + 1).count();
        let too_long = (length > self.max).then_some(Constraint::MaxLength(self.max));
        let too_short = (length < self.min).then_some(Constraint::MinLength(self.min));
        let mismatch = (!text.chars().all(|c| self.class.permits(c)))
            .then_some(Constraint::Pattern(self.regex));
        [too_long, too_short, mismatch].into_iter().flatten()
    }

    /// The first of the [violations](Self::violations).
    pub(crate) fn check(&self, text: &str) -> Result<(), Constraint> {
        // The common case, in a single pass.
        if self.matches_ascii(text) {
            return Ok(());
        }
        // A character has at most four bytes. A longer text is too long whatever it contains, and
        // is not read.
        if text.len() > self.max.saturating_mul(4) {
            return Err(Constraint::MaxLength(self.max));
        }
        self.violations(text).next().map_or(Ok(()), Err)
    }

    /// Whether `text` is ASCII and matches. Also for literals, at compile time.
    pub(crate) const fn matches_ascii(&self, text: &str) -> bool {
        let mut rest = text.as_bytes();
        if rest.len() < self.min || rest.len() > self.max {
            return false;
        }
        while let [byte, tail @ ..] = rest {
            if !byte.is_ascii() || !self.class.permits(*byte as char) {
                return false;
            }
            rest = tail;
        }
        true
    }
}

/// Hashes `text` so that texts that differ in ASCII case only have the same hash.
pub(crate) fn hash_caseless<H: Hasher>(text: &str, state: &mut H) {
    let mut folded = [0; 64];
    for chunk in text.as_bytes().chunks(folded.len()) {
        if let Some(folded) = folded.get_mut(..chunk.len()) {
            folded.copy_from_slice(chunk);
            folded.make_ascii_lowercase();
            state.write(folded);
        }
    }
    state.write_u8(0xff);
}

/// Whether two texts are equal without regard to ASCII case. Names are mostly written in one
/// spelling, and an exact comparison takes a tenth of the instructions.
pub(crate) fn eq_caseless(left: &[u8], right: &[u8]) -> bool {
    left == right || left.eq_ignore_ascii_case(right)
}

/// Compares two texts byte by byte, with ASCII capitals folded to lower case.
pub(crate) fn cmp_caseless(left: &[u8], right: &[u8]) -> Ordering {
    // Names in a listing have long prefixes in common. They are skipped, eight bytes at a time.
    let ((chunks, _), (others, _)) = (left.as_chunks::<8>(), right.as_chunks::<8>());
    let common = 8 * chunks.iter().zip(others).take_while(|(one, other)| one == other).count();
    folded(left, common).cmp(folded(right, common))
}

/// The bytes from `start` on, with ASCII capitals folded to lower case.
fn folded(text: &[u8], start: usize) -> impl Iterator<Item = u8> {
    text.iter().skip(start).map(u8::to_ascii_lowercase)
}

/// Implements equality, order and hash of a name without regard to ASCII case.
macro_rules! caseless {
    ($Name:ident) => {
        impl PartialEq for $Name {
            fn eq(&self, other: &Self) -> bool {
                $crate::names::eq_caseless(self.as_str().as_bytes(), other.as_str().as_bytes())
            }
        }

        impl Eq for $Name {}

        impl std::hash::Hash for $Name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                $crate::names::hash_caseless(self.as_str(), state);
            }
        }

        impl PartialOrd for $Name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $Name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                $crate::names::cmp_caseless(self.as_str().as_bytes(), other.as_str().as_bytes())
            }
        }
    };
}

/// Implements the conversions that follow from `FromStr` and `Display`, and the serialized form,
/// which is validated when it is read.
macro_rules! text_conversions {
    ($Name:ident, $Invalid:ident) => {
        impl TryFrom<&str> for $Name {
            type Error = $Invalid;

            fn try_from(text: &str) -> Result<Self, $Invalid> {
                text.parse()
            }
        }

        impl TryFrom<String> for $Name {
            type Error = $Invalid;

            fn try_from(text: String) -> Result<Self, $Invalid> {
                text.parse()
            }
        }

        impl From<$Name> for String {
            fn from(name: $Name) -> Self {
                name.to_string()
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $Name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $Name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Implements `AsRef`, `Display` and `Debug` by `as_str`.
macro_rules! text_formats {
    ($Name:ident) => {
        impl AsRef<str> for $Name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::fmt::Debug for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($Name)).field(&self.as_str()).finish()
            }
        }
    };
}

pub(crate) use {caseless, text_conversions, text_formats};

#[cfg(test)]
mod tests {
    use regex::RegexBuilder;

    use super::{cmp_caseless, eq_caseless};
    use crate::{
        names::{
            account_id::AccountId, credential_id::CredentialId, service_name::ServiceName,
            service_user_name::ServiceUserName, user_name::UserName,
        },
        paging::Marker,
    };

    #[test]
    fn every_class_permits_what_its_pattern_matches() {
        for (pattern, unicode) in [
            (&AccountId::GRAMMAR, false),
            (&CredentialId::GRAMMAR, false),
            (&ServiceName::GRAMMAR, false),
            (&ServiceUserName::GRAMMAR, false),
            (&UserName::GRAMMAR, false),
            (&Marker::GRAMMAR, true),
        ] {
            // The class alone: the repetition is the bounds' part.
            let (class, _) = pattern.regex.split_once(']').unwrap();
            let regex =
                RegexBuilder::new(&format!(r"\A{class}]\z")).unicode(unicode).build().unwrap();
            for c in '\0'..=char::MAX {
                let permitted = pattern.class.permits(c);
                assert_eq!(permitted, regex.is_match(c.encode_utf8(&mut [0; 4])), "{class} {c:?}");
            }
        }
    }

    #[test]
    fn names_compare_as_their_lower_case() {
        let endings = ["", "a", "A", "b", "B", "aa", "[", "_", "+1-at-123456789012", "\u{e9}"];
        for length in 0..20 {
            let (lower, upper) = ("n".repeat(length), "N".repeat(length));
            for (left, right) in endings.iter().flat_map(|one| endings.map(|other| (one, other))) {
                let left = format!("{lower}{left}");
                for right in [format!("{lower}{right}"), format!("{upper}{right}")] {
                    let expected = left.to_ascii_lowercase().cmp(&right.to_ascii_lowercase());
                    let (left, right) = (left.as_bytes(), right.as_bytes());
                    assert_eq!(cmp_caseless(left, right), expected);
                    assert_eq!(eq_caseless(left, right), expected.is_eq());
                }
            }
        }
    }

    #[test]
    fn the_check_of_literals_agrees_with_the_check_of_texts() {
        for pattern in [&UserName::GRAMMAR, &ServiceName::GRAMMAR, &AccountId::GRAMMAR] {
            for text in ["", "a", "a b", "é", "123456789012", "a.b", "a+b", &"x".repeat(65)] {
                assert_eq!(pattern.matches_ascii(text), pattern.check(text).is_ok(), "{text}");
            }
        }
    }
}
