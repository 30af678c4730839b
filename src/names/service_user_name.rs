use std::{fmt, str::FromStr};

use smol_str::SmolStr;

use crate::{
    constraint::{Constraint, invalid_value},
    names::{
        CharacterClass, Pattern, account_id::AccountId, caseless, eq_caseless, text_conversions,
        text_formats, user_name::UserName,
    },
};

/// The generated user name of a credential, such as `anika+1-at-123456789012`, or the alias of an
/// API key, which has the same form (*recorded*).
///
/// Names that differ in ASCII case only are equal: no two credentials of a service and account have
/// names that look alike. Unlike a [`CredentialId`](crate::CredentialId), a service user name is
/// reused once its credential is deleted.
///
/// Matches `[\w+=,.@-]+` as a whole, in ASCII only, and has 1 to 200 characters.
///
/// ```
/// use service_specific_credentials::ServiceUserName;
///
/// let name: ServiceUserName = "anika+1-at-123456789012".parse()?;
/// assert_eq!(name, "ANIKA+1-at-123456789012".parse()?);
/// # Ok::<(), service_specific_credentials::InvalidServiceUserName>(())
/// ```
#[derive(Clone)]
pub struct ServiceUserName(SmolStr);

impl ServiceUserName {
    /// The documented pattern of a service user name.
    pub const PATTERN: &'static str = r"[\w+=,.@-]+";
    /// The fewest characters of a service user name.
    pub const MIN_LENGTH: usize = 1;
    /// The most characters of a service user name.
    pub const MAX_LENGTH: usize = 200;
    pub(crate) const GRAMMAR: Pattern = Pattern {
        regex: Self::PATTERN,
        class: CharacterClass::UserName,
        min: Self::MIN_LENGTH,
        max: Self::MAX_LENGTH,
    };

    /// The name of a literal, for constants. An invalid literal in a `const` is a compile error.
    ///
    /// ```
    /// use service_specific_credentials::ServiceUserName;
    ///
    /// const EXAMPLE: ServiceUserName = ServiceUserName::from_static("anika+1-at-123456789012");
    /// ```
    ///
    /// ```compile_fail,E0080
    /// use service_specific_credentials::ServiceUserName;
    ///
    /// const INVALID: ServiceUserName = ServiceUserName::from_static("a b");
    /// ```
    ///
    /// # Panics
    ///
    /// If `text` is not a valid name.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(
            Self::GRAMMAR.matches_ascii(text),
            "a service user name has 1 to 200 characters of `[\\w+=,.@-]`"
        );
        Self(SmolStr::new_static(text))
    }

    /// The text, as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceUserName {
    type Err = InvalidServiceUserName;

    fn from_str(text: &str) -> Result<Self, InvalidServiceUserName> {
        Self::GRAMMAR.check(text).map_err(InvalidServiceUserName)?;
        Ok(Self(SmolStr::new(text)))
    }
}

caseless!(ServiceUserName);
text_formats!(ServiceUserName);
text_conversions!(ServiceUserName, InvalidServiceUserName);

/// The text is not a [`ServiceUserName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidServiceUserName(pub(crate) Constraint);

invalid_value!(InvalidServiceUserName, "service user name", parameter "serviceUserName");

/// A service user name that this crate generates: inline up to [`INLINE`] bytes, which most names
/// fit, because authentication reads it and a heap allocation is another cache miss; otherwise on
/// the heap.
///
/// Unused bytes are initialized, so that moving the name into a record carries no stale bytes of
/// the stack along.
#[derive(Clone)]
pub(crate) struct GeneratedName {
    /// Empty if the name is inline.
    boxed: Box<str>,
    inline: [u8; INLINE],
    inline_length: u8,
}

const INLINE: usize = 39;

/// The longest user name, and room for a sign, a number, `-at-` and an account.
const LONGEST: usize = UserName::MAX_LENGTH + 1 + 10 + 4 + AccountId::DIGITS;

impl GeneratedName {
    /// The name of no credential, for unused slots of a record.
    pub(crate) fn empty() -> Self {
        Self { boxed: Box::default(), inline: [0; INLINE], inline_length: 0 }
    }

    /// The name of a user's credential with its number, or bare for `None`.
    pub(crate) fn new(user: &UserName, number: Option<u32>, account: AccountId) -> Self {
        let mut name = String::with_capacity(LONGEST);
        name.push_str(user.as_str());
        if let Some(number) = number {
            name.push('+');
            name.push_str(&number.to_string());
        }
        name.push_str("-at-");
        name.push_str(&account.to_string());
        Self::store(&name)
    }

    fn store(name: &str) -> Self {
        let mut stored = Self::empty();
        match (stored.inline.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(inline), Ok(length)) => {
                inline.copy_from_slice(name.as_bytes());
                stored.inline_length = length;
            }
            _ => stored.boxed = name.into(),
        }
        stored
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Compares without ASCII case.
    pub(crate) fn is(&self, name: &[u8]) -> bool {
        eq_caseless(self.as_bytes(), name)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self.inline.get(..self.inline_length.into()) {
            Some(inline) if !inline.is_empty() => inline,
            _ => self.boxed.as_bytes(),
        }
    }
}

impl fmt::Debug for GeneratedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl FromStr for GeneratedName {
    type Err = InvalidServiceUserName;

    fn from_str(text: &str) -> Result<Self, InvalidServiceUserName> {
        ServiceUserName::GRAMMAR.check(text).map_err(InvalidServiceUserName)?;
        match text.len() {
            ..=LONGEST => Ok(Self::store(text)),
            _ => Err(InvalidServiceUserName(Constraint::MaxLength(LONGEST))),
        }
    }
}

impl From<&GeneratedName> for ServiceUserName {
    fn from(name: &GeneratedName) -> Self {
        Self(SmolStr::new(name.as_str()))
    }
}

/// The account of a service user name: text that ends in `-at-`, in any case, and 12 digits.
/// Untrusted text without that ending is the name of no credential. Allocates nothing.
pub(crate) fn account_of(name: &str) -> Option<AccountId> {
    let (rest, account) = name.as_bytes().split_last_chunk::<12>()?;
    let (_, at) = rest.split_last_chunk::<4>()?;
    if at.eq_ignore_ascii_case(b"-at-") { AccountId::from_digits(account) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_up_to_39_bytes_is_inline() {
        for length in [1, 38, 39, 40, 100] {
            let name = GeneratedName::store(&"n".repeat(length));
            assert_eq!(name.as_str().len(), length);
            assert_eq!(name.boxed.is_empty(), length <= INLINE);
        }
    }

    #[test]
    fn names_are_written_as_documented() {
        let account: AccountId = "012345678901".parse().unwrap();
        let user: UserName = "Anika".parse().unwrap();
        for (number, expected) in [
            (None, "Anika-at-012345678901"),
            (Some(1), "Anika+1-at-012345678901"),
            (Some(u32::MAX), "Anika+4294967295-at-012345678901"),
        ] {
            let name = GeneratedName::new(&user, number, account);
            assert_eq!(name.as_str(), expected);
            assert_eq!(ServiceUserName::from(&name), expected.parse().unwrap());
            assert_eq!(account_of(expected), Some(account));
        }
        let longest = "x".repeat(UserName::MAX_LENGTH).parse().unwrap();
        assert_eq!(GeneratedName::new(&longest, Some(u32::MAX), account).as_str().len(), LONGEST);
    }

    #[test]
    fn a_text_without_an_account_has_none() {
        for text in [
            "",
            "anika",
            "anika-at-",
            "anika-at-12345678901",
            "anika-at-1234567890123",
            "-at-é",
            "123456789012",
            "-123456789012",
            "at-123456789012",
            "anika-123456789012",
            "anika-ät-123456789012",
            "anika at 123456789012",
            "anika-at-12345678901é",
            "anika-at-12345678901x",
            "anika-at--12345678901",
            "anika-at-+12345678901",
            "anika-at-123456789012 ",
            "anika-at-１２３４５６７８９０１２",
        ] {
            assert_eq!(account_of(text), None, "{text}");
        }
        let account: AccountId = "012345678901".parse().unwrap();
        for text in ["-at-012345678901", "anika-AT-012345678901", "é -aT-012345678901"] {
            assert_eq!(account_of(text), Some(account), "{text}");
        }
    }
}
