//! What the names of this crate have in common: a grammar that is written down once, and a newtype
//! around text that satisfies it.

use std::{cmp::Ordering, hash::Hasher, iter, sync::LazyLock};

use regex::RegexBuilder;

use crate::error::Constraint;

/// The shape of one kind of name: what its documentation states, its check enforces and its
/// refusal quotes.
pub(crate) struct Grammar {
    pub(crate) pattern: &'static str,
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) characters: LazyLock<Characters>,
}

impl Grammar {
    /// Everything that is wrong with `text`, in the order in which it is reported: longest,
    /// shortest, pattern. An empty text violates only its length. Looks at no more than the
    /// longest permitted length and one character, except to find a pattern violated.
    pub(crate) fn violations(&self, text: &str) -> impl Iterator<Item = Constraint> {
        let length = text.chars().take(self.max + 1).count();
        let too_long = (length > self.max).then_some(Constraint::MaxLength(self.max));
        let too_short = (length < self.min).then_some(Constraint::MinLength(self.min));
        let mismatch = (!text.chars().all(|c| self.characters.include(c)))
            .then_some(Constraint::Pattern(self.pattern));
        [too_long, too_short, mismatch].into_iter().flatten()
    }

    /// The first of the [violations](Self::violations).
    pub(crate) fn check(&self, text: &str) -> Result<(), Constraint> {
        // Four bytes is the longest that one character gets: what is longer than this is too
        // long whatever it holds, and is not read to be told so.
        if text.len() > self.max.saturating_mul(4) {
            return Err(Constraint::MaxLength(self.max));
        }
        self.violations(text).next().map_or(Ok(()), Err)
    }
}

/// The characters that a pattern permits: each pattern is one class of characters, repeated, and none
/// permits a character beyond U+00FF.
///
/// The regular expression says of each character whether it matches, once. Names are looked at so often,
/// with every record that is read, that this is several times faster.
pub(crate) struct Characters([bool; 256]);

impl Characters {
    /// Those of a pattern whose `\w` is ASCII, and that takes no fewer than `min` of them.
    pub(crate) fn ascii(pattern: &str, min: usize) -> Self {
        Self::new(pattern, false, min)
    }

    /// Those of a pattern whose classes are of Unicode characters.
    pub(crate) fn unicode(pattern: &str, min: usize) -> Self {
        Self::new(pattern, true, min)
    }

    /// A pattern that does not compile permits nothing. A test compiles each.
    fn new(pattern: &str, unicode: bool, min: usize) -> Self {
        let regex = RegexBuilder::new(&format!(r"\A(?:{pattern})\z")).unicode(unicode).build();
        let permits = |c: char| {
            let text: String = iter::repeat_n(c, min).collect();
            regex.as_ref().is_ok_and(|regex| regex.is_match(&text))
        };
        let mut all = ('\0'..='\u{ff}').map(permits);
        Self(std::array::from_fn(|_| all.next().unwrap_or(false)))
    }

    fn include(&self, c: char) -> bool {
        self.0.get(c as usize).is_some_and(|permitted| *permitted)
    }
}

/// Feeds `text` to `state` so that texts that differ in ASCII case alone feed the same.
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

/// Compares two texts byte by byte, ASCII capitals taken for small letters.
pub(crate) fn cmp_caseless(left: &str, right: &str) -> Ordering {
    let folded = |byte: u8| byte.to_ascii_lowercase();
    left.bytes().map(folded).cmp(right.bytes().map(folded))
}

/// Declares a newtype around text: the type, its grammar, its error and its conversions.
///
/// The pattern and the lengths are given once. They become the type's documentation, its
/// constants, its check and the text of its refusal.
macro_rules! name {
    (
        $(#[$meta:meta])*
        pub struct $Name:ident, $what:literal, parameter $parameter:literal;
        pattern $pattern:literal, $min:literal to $max:literal characters, kept as $keep:path;
        $(#[$error_meta:meta])*
        pub struct $Invalid:ident;
    ) => {
        $(#[$meta])*
        ///
        #[doc = concat!(
            "Matches `", $pattern, "` as a whole, in ASCII alone, and has ", $min, " to ", $max,
            " characters."
        )]
        pub struct $Name(smol_str::SmolStr);

        impl $Name {
            #[doc = concat!("The documented pattern of a ", $what, ".")]
            pub const PATTERN: &'static str = $pattern;
            #[doc = concat!("The fewest characters of a ", $what, ".")]
            pub const MIN_LENGTH: usize = $min;
            #[doc = concat!("The most characters of a ", $what, ".")]
            pub const MAX_LENGTH: usize = $max;

            /// The text, as it is kept.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub(crate) fn grammar() -> &'static $crate::name::Grammar {
                static GRAMMAR: $crate::name::Grammar = $crate::name::Grammar {
                    pattern: $Name::PATTERN,
                    min: $Name::MIN_LENGTH,
                    max: $Name::MAX_LENGTH,
                    characters: std::sync::LazyLock::new(|| {
                        $crate::name::Characters::ascii($Name::PATTERN, $Name::MIN_LENGTH)
                    }),
                };
                &GRAMMAR
            }
        }

        impl std::str::FromStr for $Name {
            type Err = $Invalid;

            fn from_str(text: &str) -> Result<Self, $Invalid> {
                Self::grammar().check(text).map_err($Invalid)?;
                Ok(Self($keep(text)))
            }
        }

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

        $crate::name::invalid_value! {
            $(#[$error_meta])*
            pub struct $Invalid, $what, parameter $parameter;
        }
        $crate::name::text_conversions!($Name, $Invalid);
    };
}

/// Declares the error of a newtype. It holds what is wrong with the value, never the value.
macro_rules! invalid_value {
    ($(#[$meta:meta])* pub struct $Invalid:ident, $what:literal, parameter $parameter:literal;) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        #[error("{} {}", $what, .0)]
        pub struct $Invalid(pub(crate) $crate::error::Constraint);

        impl $Invalid {
            /// What the value does not satisfy: the first of length, then pattern.
            #[must_use]
            pub const fn constraint(&self) -> $crate::error::Constraint {
                self.0
            }
        }

        impl From<$Invalid> for $crate::error::InvalidParameter {
            fn from(invalid: $Invalid) -> Self {
                Self { name: $parameter, what: $what, constraint: invalid.0 }
            }
        }

        impl From<$Invalid> for $crate::error::Error {
            fn from(invalid: $Invalid) -> Self {
                Self::InvalidParameter(invalid.into())
            }
        }
    };
}

/// Makes a name equal to, ordered and hashed like every other spelling of it.
macro_rules! caseless {
    ($Name:ident) => {
        impl PartialEq for $Name {
            fn eq(&self, other: &Self) -> bool {
                self.0.eq_ignore_ascii_case(&other.0)
            }
        }

        impl Eq for $Name {}

        impl std::hash::Hash for $Name {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                $crate::name::hash_caseless(&self.0, state);
            }
        }

        impl PartialOrd for $Name {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $Name {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                $crate::name::cmp_caseless(&self.0, &other.0)
            }
        }
    };
}

/// What follows from a type's `FromStr` and `Display`: its conversions from and to text, and its
/// serialized form, which is checked when it comes back.
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

pub(crate) use {caseless, invalid_value, name, text_conversions};
