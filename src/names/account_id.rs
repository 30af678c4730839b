use std::{fmt, str::FromStr};

use crate::{
    constraint::{Constraint, invalid_value},
    names::{CharacterClass, Pattern, text_conversions},
};

/// The number of an AWS account: 12 decimal digits, such as `123456789012`.
///
/// ```
/// use service_specific_credentials::AccountId;
///
/// let account: AccountId = "012345678901".parse()?;
/// assert_eq!(account.to_string(), "012345678901");
/// assert!("1234".parse::<AccountId>().is_err());
/// # Ok::<(), service_specific_credentials::InvalidAccountId>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(u64);

impl AccountId {
    /// The pattern of an account id.
    pub const PATTERN: &'static str = "[0-9]{12}";
    pub(crate) const DIGITS: usize = 12;
    pub(crate) const GRAMMAR: Pattern = Pattern {
        regex: Self::PATTERN,
        class: CharacterClass::Digit,
        min: Self::DIGITS,
        max: Self::DIGITS,
    };

    /// The account of a literal, for constants. An invalid literal in a `const` is a compile error.
    ///
    /// ```
    /// use service_specific_credentials::AccountId;
    ///
    /// const ACCOUNT: AccountId = AccountId::from_static("123456789012");
    /// ```
    ///
    /// ```compile_fail,E0080
    /// use service_specific_credentials::AccountId;
    ///
    /// const INVALID: AccountId = AccountId::from_static("1234");
    /// ```
    ///
    /// # Panics
    ///
    /// If `text` is not 12 digits.
    #[must_use]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(Self::GRAMMAR.matches_ascii(text), "an account id has 12 digits");
        Self(number(text.as_bytes()))
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// `None` if one of the bytes is not an ASCII digit.
    pub(crate) fn from_digits(digits: &[u8; Self::DIGITS]) -> Option<Self> {
        digits.iter().all(u8::is_ascii_digit).then(|| Self(number(digits)))
    }

    /// `None` if the number has more than 12 digits.
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        (number < 1_000_000_000_000).then_some(Self(number))
    }
}

/// The number that ASCII digits write.
const fn number(mut digits: &[u8]) -> u64 {
    let mut number = 0;
    while let [digit, rest @ ..] = digits {
        number = number * 10 + (*digit - b'0') as u64;
        digits = rest;
    }
    number
}

impl FromStr for AccountId {
    type Err = InvalidAccountId;

    fn from_str(text: &str) -> Result<Self, InvalidAccountId> {
        Self::GRAMMAR.check(text).map_err(InvalidAccountId)?;
        Ok(Self(number(text.as_bytes())))
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012}", self.0)
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountId({self})")
    }
}

/// The text is not an [`AccountId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidAccountId(pub(crate) Constraint);

invalid_value!(InvalidAccountId, "account id", parameter "accountId");
text_conversions!(AccountId, InvalidAccountId);
