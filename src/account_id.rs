use std::{fmt, str::FromStr, sync::LazyLock};

use crate::name::{Characters, Grammar, invalid_value, text_conversions};

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
        Ok(Self(text.bytes().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))))
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
