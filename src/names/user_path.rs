use std::str::FromStr;

use smol_str::SmolStr;

use crate::{
    constraint::{Constraint, invalid_value},
    names::{text_conversions, text_formats},
};

/// The path of a user, which groups the users of an account: `/` (the default) or, for example,
/// `/division/team/`. It is part of the ARN of the user and of no key: a name is unique in the
/// account, whatever the path.
///
/// Begins and ends with `/`, contains only characters from `!` to U+007F, and has 1 to 512
/// characters (*recorded*: `/a//b/` is a path, `//` is none). Compares byte for byte.
///
/// ```
/// use service_specific_credentials::UserPath;
///
/// let path: UserPath = "/division/team/".parse()?;
/// assert_eq!(path.as_str(), "/division/team/");
/// assert!("/team".parse::<UserPath>().is_err());
///
/// const STAFF: UserPath = UserPath::from_static("/staff/");
/// # Ok::<(), service_specific_credentials::InvalidUserPath>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserPath(SmolStr);

impl UserPath {
    /// The documented pattern of a path.
    pub const PATTERN: &'static str = r"(\u002F)|(\u002F[\u0021-\u007F]+\u002F)";
    /// The fewest characters of a path.
    pub const MIN_LENGTH: usize = 1;
    /// The most characters of a path.
    pub const MAX_LENGTH: usize = 512;
    /// The path of a user that is registered without one: `/`.
    pub const ROOT: Self = Self(SmolStr::new_static("/"));

    /// The path of a literal, for constants. An invalid literal in a `const` is a compile error.
    ///
    /// ```compile_fail,E0080
    /// use service_specific_credentials::UserPath;
    ///
    /// const INVALID: UserPath = UserPath::from_static("/staff");
    /// ```
    ///
    /// # Panics
    ///
    /// If `text` is not a valid path.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(
            text.len() <= Self::MAX_LENGTH && matches(text.as_bytes()),
            "a path begins and ends with `/` and has 1 to 512 characters from `!` to U+007F"
        );
        Self(SmolStr::new_static(text))
    }

    /// The text, as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the bytes match the pattern.
const fn matches(text: &[u8]) -> bool {
    match text {
        b"/" => true,
        [b'/', inner @ .., b'/'] => !inner.is_empty() && is_visible(inner),
        _ => false,
    }
}

/// Whether all bytes are of `\u0021` to `\u007F`.
pub(super) const fn is_visible(mut text: &[u8]) -> bool {
    while let [byte, rest @ ..] = text {
        if !matches!(byte, 0x21..=0x7f) {
            return false;
        }
        text = rest;
    }
    true
}

impl Default for UserPath {
    fn default() -> Self {
        Self::ROOT
    }
}

impl FromStr for UserPath {
    type Err = InvalidUserPath;

    fn from_str(text: &str) -> Result<Self, InvalidUserPath> {
        let constraint = if text.chars().nth(Self::MAX_LENGTH).is_some() {
            Constraint::MaxLength(Self::MAX_LENGTH)
        } else if text.is_empty() {
            Constraint::MinLength(Self::MIN_LENGTH)
        } else if !matches(text.as_bytes()) {
            Constraint::Pattern(Self::PATTERN)
        } else {
            return Ok(Self(SmolStr::new(text)));
        };
        Err(InvalidUserPath(constraint))
    }
}

text_formats!(UserPath);
text_conversions!(UserPath, InvalidUserPath);

/// The text is not a [`UserPath`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidUserPath(pub(crate) Constraint);

invalid_value!(InvalidUserPath, "path", parameter "path");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_and_ends_with_a_slash() {
        let longest = format!("/{}/", "x".repeat(510));
        for valid in ["/", "/a/", "/a//b/", "///", "/!/", "/\u{7f}/", &longest] {
            assert_eq!(valid.parse::<UserPath>().unwrap().as_str(), valid);
        }
        let pattern = Constraint::Pattern(UserPath::PATTERN);
        for (invalid, constraint) in [
            ("", Constraint::MinLength(1)),
            ("//", pattern),
            ("/team", pattern),
            ("team/", pattern),
            ("team", pattern),
            ("/ a/", pattern),
            ("/a/\n", pattern),
            ("/é/", pattern),
            (&format!("/{}/", "é".repeat(510)), pattern),
            (&format!("/{}/", "x".repeat(511)), Constraint::MaxLength(512)),
        ] {
            assert_eq!(invalid.parse::<UserPath>(), Err(InvalidUserPath(constraint)), "{invalid}");
        }
    }
}
