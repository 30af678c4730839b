use std::str::FromStr;

use smol_str::{SmolStr, StrExt as _};

use crate::{
    constraint::{Constraint, invalid_value},
    names::{CharacterClass, Pattern, text_conversions, text_formats},
};

/// The service principal name of the one service that a credential authenticates for, such as
/// `codecommit.amazonaws.com`.
///
/// Stored in lower case, so that two spellings of one service are the same name (*recorded*). The
/// [`Policy`](crate::Policy) decides which services are supported. The pattern is *recorded*, the
/// bounds on length are our decision.
///
/// Matches `[a-zA-Z0-9.-]*` as a whole and has 1 to 128 characters.
///
/// ```
/// use service_specific_credentials::ServiceName;
///
/// let service: ServiceName = "CodeCommit.amazonaws.com".parse()?;
/// assert_eq!(service.as_str(), "codecommit.amazonaws.com");
///
/// const GIT: ServiceName = ServiceName::from_static("git.example.com");
/// # Ok::<(), service_specific_credentials::InvalidServiceName>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(SmolStr);

impl ServiceName {
    /// The documented pattern of a service name.
    pub const PATTERN: &'static str = "[a-zA-Z0-9.-]*";
    /// The fewest characters of a service name.
    pub const MIN_LENGTH: usize = 1;
    /// The most characters of a service name.
    pub const MAX_LENGTH: usize = 128;
    pub(crate) const GRAMMAR: Pattern = Pattern {
        regex: Self::PATTERN,
        class: CharacterClass::ServiceName,
        min: Self::MIN_LENGTH,
        max: Self::MAX_LENGTH,
    };

    /// The name of a literal, for constants. An invalid literal in a `const` is a compile error.
    ///
    /// ```compile_fail,E0080
    /// use service_specific_credentials::ServiceName;
    ///
    /// const INVALID: ServiceName = ServiceName::from_static("Git.Example.com");
    /// ```
    ///
    /// # Panics
    ///
    /// If `text` is not a valid name in lower case.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(
            Self::GRAMMAR.matches_ascii(text) && is_lower_case(text),
            "a service name has 1 to 128 characters of `[a-z0-9.-]` here"
        );
        Self(SmolStr::new_static(text))
    }

    /// The name of no service, for unused slots of a record.
    pub(crate) const EMPTY: Self = Self(SmolStr::new_static(""));

    /// The text, as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = InvalidServiceName;

    fn from_str(text: &str) -> Result<Self, InvalidServiceName> {
        Self::GRAMMAR.check(text).map_err(InvalidServiceName)?;
        Ok(Self(text.to_ascii_lowercase_smolstr()))
    }
}

text_formats!(ServiceName);
text_conversions!(ServiceName, InvalidServiceName);

/// The text is not a [`ServiceName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidServiceName(pub(crate) Constraint);

invalid_value!(InvalidServiceName, "service name", parameter "serviceName");

const fn is_lower_case(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        if byte.is_ascii_uppercase() {
            return false;
        }
        rest = tail;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "1 to 128 characters of `[a-z0-9.-]`")]
    fn a_static_name_is_in_lower_case() {
        let _ = ServiceName::from_static("Git.example.com");
    }

    #[test]
    #[should_panic(expected = "1 to 128 characters of `[a-z0-9.-]`")]
    fn a_static_name_is_valid() {
        let _ = ServiceName::from_static("git_example");
    }
}
