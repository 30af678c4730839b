use std::str::FromStr;

use smol_str::SmolStr;

use crate::{
    constraint::{Constraint, invalid_value},
    names::{CharacterClass, Pattern, caseless, text_conversions, text_formats},
};

/// The name of an IAM user.
///
/// Names that differ in ASCII case only are equal, have the same hash and name the same user. Each
/// keeps the spelling that it was parsed from. The order is that of the bytes with ASCII capitals
/// folded to lower case; listings of all users follow it.
///
/// Matches `[\w+=,.@-]+` as a whole, in ASCII only, and has 1 to 64 characters.
///
/// ```
/// use service_specific_credentials::UserName;
///
/// let anika: UserName = "Anika".parse()?;
/// assert_eq!(anika, "anika".parse()?);
/// assert_eq!(anika.as_str(), "Anika");
/// assert!("a b".parse::<UserName>().is_err());
///
/// const ADMIN: UserName = UserName::from_static("admin");
/// # Ok::<(), service_specific_credentials::InvalidUserName>(())
/// ```
#[derive(Clone)]
pub struct UserName(SmolStr);

impl UserName {
    /// The documented pattern of a user name.
    pub const PATTERN: &'static str = r"[\w+=,.@-]+";
    /// The fewest characters of a user name.
    pub const MIN_LENGTH: usize = 1;
    /// The most characters of a user name.
    pub const MAX_LENGTH: usize = 64;
    pub(crate) const GRAMMAR: Pattern = Pattern {
        regex: Self::PATTERN,
        class: CharacterClass::UserName,
        min: Self::MIN_LENGTH,
        max: Self::MAX_LENGTH,
    };

    /// The name of a literal, for constants. An invalid literal in a `const` is a compile error.
    ///
    /// ```compile_fail,E0080
    /// use service_specific_credentials::UserName;
    ///
    /// const INVALID: UserName = UserName::from_static("a user");
    /// ```
    ///
    /// # Panics
    ///
    /// If `text` is not a valid name.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(
            Self::GRAMMAR.matches_ascii(text),
            "a user name has 1 to 64 characters of `[\\w+=,.@-]`"
        );
        Self(SmolStr::new_static(text))
    }

    /// The text, as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = InvalidUserName;

    fn from_str(text: &str) -> Result<Self, InvalidUserName> {
        Self::GRAMMAR.check(text).map_err(InvalidUserName)?;
        Ok(Self(SmolStr::new(text)))
    }
}

caseless!(UserName);
text_formats!(UserName);
text_conversions!(UserName, InvalidUserName);

/// The text is not a [`UserName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidUserName(pub(crate) Constraint);

invalid_value!(InvalidUserName, "user name", parameter "userName");
