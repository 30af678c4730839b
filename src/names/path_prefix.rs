use std::str::FromStr;

use smol_str::SmolStr;

use crate::{
    constraint::{Constraint, invalid_value},
    names::{
        text_conversions, text_formats,
        user_path::{UserPath, is_visible},
    },
};

/// The start of the paths of the users to list: `/`, `/division/` or, within a component
/// (*recorded*), `/div`.
///
/// Begins with `/`, contains only characters from `!` to U+007F, and has 1 to 512 characters.
///
/// ```
/// use service_specific_credentials::{PathPrefix, UserPath};
///
/// let prefix: PathPrefix = "/div".parse()?;
/// assert!(prefix.matches(&UserPath::from_static("/division/")));
/// assert!("division/".parse::<PathPrefix>().is_err());
/// # Ok::<(), service_specific_credentials::InvalidPathPrefix>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathPrefix(SmolStr);

impl PathPrefix {
    /// The documented pattern of a prefix.
    pub const PATTERN: &'static str = r"\u002F[\u0021-\u007F]*";
    /// The fewest characters of a prefix.
    pub const MIN_LENGTH: usize = 1;
    /// The most characters of a prefix.
    pub const MAX_LENGTH: usize = 512;

    /// Whether the path begins with this text.
    #[must_use]
    pub fn matches(&self, path: &UserPath) -> bool {
        path.as_str().starts_with(self.as_str())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PathPrefix {
    type Err = InvalidPathPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPathPrefix> {
        let constraint = if text.chars().nth(Self::MAX_LENGTH).is_some() {
            Constraint::MaxLength(Self::MAX_LENGTH)
        } else if text.is_empty() {
            Constraint::MinLength(Self::MIN_LENGTH)
        } else if !text.starts_with('/') || !is_visible(text.as_bytes()) {
            Constraint::Pattern(Self::PATTERN)
        } else {
            return Ok(Self(SmolStr::new(text)));
        };
        Err(InvalidPathPrefix(constraint))
    }
}

text_formats!(PathPrefix);
text_conversions!(PathPrefix, InvalidPathPrefix);

/// The text is not a [`PathPrefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidPathPrefix(pub(crate) Constraint);

invalid_value!(InvalidPathPrefix, "path prefix", parameter "pathPrefix");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_begins_with_a_slash() {
        for valid in ["/", "//", "/a", "/a/", &format!("/{}", "x".repeat(511))] {
            assert_eq!(valid.parse::<PathPrefix>().unwrap().as_str(), valid);
        }
        let pattern = Constraint::Pattern(PathPrefix::PATTERN);
        for (invalid, constraint) in [
            ("", Constraint::MinLength(1)),
            ("a", pattern),
            ("/a b", pattern),
            ("/é", pattern),
            (&format!("/{}", "x".repeat(512)), Constraint::MaxLength(512)),
        ] {
            assert_eq!(invalid.parse::<PathPrefix>(), Err(InvalidPathPrefix(constraint)));
        }
    }
}
