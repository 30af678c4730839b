use std::{fmt, str::FromStr, sync::LazyLock};

use crate::{
    error::Constraint,
    name::{Characters, Grammar, invalid_value, text_conversions},
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

    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    /// `None` if one of the bytes is not an ASCII digit.
    pub(crate) fn from_digits(digits: &[u8; 12]) -> Option<Self> {
        let number = |number, digit: &u8| number * 10 + u64::from(digit.wrapping_sub(b'0'));
        digits.iter().all(u8::is_ascii_digit).then(|| Self(digits.iter().fold(0, number)))
    }

    /// `None` if the number has more than 12 digits.
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        (number < 1_000_000_000_000).then_some(Self(number))
    }
}

invalid_value! {
    /// The text is not an [`AccountId`].
    pub struct InvalidAccountId, "account id", parameter "accountId";
}
text_conversions!(AccountId, InvalidAccountId);

impl FromStr for AccountId {
    type Err = InvalidAccountId;

    fn from_str(text: &str) -> Result<Self, InvalidAccountId> {
        static GRAMMAR: Grammar = Grammar {
            pattern: AccountId::PATTERN,
            min: 12,
            max: 12,
            characters: LazyLock::new(|| Characters::ascii(AccountId::PATTERN, 12)),
        };
        GRAMMAR.check(text).map_err(InvalidAccountId)?;
        let digits = text.as_bytes().try_into().ok().and_then(Self::from_digits);
        digits.ok_or(InvalidAccountId(Constraint::Pattern(Self::PATTERN)))
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
