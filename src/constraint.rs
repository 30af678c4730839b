//! What a parameter must satisfy, and the error of one that does not.

use std::{borrow::Cow, fmt};

/// What a value must satisfy and does not.
///
/// `Display` is the wording of the API without its leading `Member `: *must have length less than
/// or equal to 64*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Constraint {
    /// The value is present.
    NotNull,
    /// The value has at most this many characters.
    MaxLength(usize),
    /// The value has at least this many characters.
    MinLength(usize),
    /// The whole value matches this regular expression.
    Pattern(&'static str),
    /// The value is one of those that the type documents.
    EnumValueSet,
    /// The number is at most this.
    MaxValue(u32),
    /// The number is at least this.
    MinValue(u32),
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotNull => f.write_str("must not be null"),
            Self::MaxLength(max) => write!(f, "must have length less than or equal to {max}"),
            Self::MinLength(min) => write!(f, "must have length greater than or equal to {min}"),
            Self::Pattern(pattern) => {
                write!(f, "must satisfy regular expression pattern: {pattern}")
            }
            Self::EnumValueSet => f.write_str("must satisfy enum value set"),
            Self::MaxValue(max) => write!(f, "must have value less than or equal to {max}"),
            Self::MinValue(min) => write!(f, "must have value greater than or equal to {min}"),
        }
    }
}

/// A parameter that violates a constraint.
///
/// Every `Invalid…` error of a name or a number converts into this, and this into an
/// [`Error`](crate::Error). It does not contain the value, which may be a secret in the wrong
/// field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{what} {constraint}")]
pub struct InvalidParameter {
    pub(crate) name: &'static str,
    pub(crate) member: Option<Member>,
    pub(crate) what: &'static str,
    pub(crate) constraint: Constraint,
}

/// A value within a list: the number of its member, and its field if members have fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Member {
    pub(crate) number: u32,
    pub(crate) field: Option<&'static str>,
}

impl InvalidParameter {
    /// The parameter as the API names it, such as `userName`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The value as the API names it: the parameter or, within a list, the member with its number
    /// in the request, such as `tags.1.member.key` (*reported*).
    #[must_use]
    pub fn path(&self) -> Cow<'static, str> {
        match self.member {
            None => self.name.into(),
            Some(Member { number, field: None }) => format!("{}.{number}.member", self.name).into(),
            Some(Member { number, field: Some(field) }) => {
                format!("{}.{number}.member.{field}", self.name).into()
            }
        }
    }

    /// The constraint that the value violates.
    #[must_use]
    pub const fn constraint(&self) -> Constraint {
        self.constraint
    }
}

/// Declares what the error of every value type has: its constraint, and the parameter it names.
macro_rules! invalid_value {
    ($Invalid:ident, $what:literal, parameter $parameter:literal) => {
        impl $Invalid {
            /// The first constraint that the value violates: length before pattern.
            #[must_use]
            pub const fn constraint(&self) -> $crate::constraint::Constraint {
                self.0
            }
        }

        impl std::fmt::Display for $Invalid {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{} {}", $what, self.0)
            }
        }

        impl std::error::Error for $Invalid {}

        impl From<$Invalid> for $crate::constraint::InvalidParameter {
            fn from(invalid: $Invalid) -> Self {
                Self { name: $parameter, member: None, what: $what, constraint: invalid.0 }
            }
        }
    };
}

pub(crate) use invalid_value;
