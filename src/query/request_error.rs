//! Why a request is invalid, as the API words it.

use std::fmt;

use super::{MAX_BYTES, form::FormError};
use crate::{
    constraint::{Constraint, InvalidParameter},
    tags::InvalidTags,
};

/// A request is invalid.
///
/// `Display` is the message of the error response. It quotes untrusted input of up to
/// [`MAX_BYTES`], which may contain any characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The method is neither GET nor POST.
    #[error("Only GET and POST are supported")]
    Method,
    /// The body of a POST is not a form.
    #[error("The content type must be application/x-www-form-urlencoded")]
    ContentType,
    /// The form has more than [`MAX_BYTES`].
    #[error("The request must not be longer than {MAX_BYTES} bytes")]
    TooLarge,
    /// A percent sign is not followed by two hexadecimal digits.
    #[error("The request is not percent-encoded correctly")]
    PercentEncoding,
    /// A parameter is given twice.
    #[error("A parameter is given more than once")]
    RepeatedParameter,
    /// There is no `Action`.
    #[error("Missing Action")]
    MissingAction,
    /// The API has no such action in that version.
    #[error("Could not find operation {action} for version {version}")]
    #[non_exhaustive]
    UnknownAction {
        /// The action, as it was sent.
        action: String,
        /// The version, as it was sent.
        version: String,
    },
    /// The parameter of this name is not a 32-bit integer.
    #[error("{0} must be an integer")]
    NotANumber(&'static str),
    /// The parameter of this name is neither `true` or `1` nor `false` or `0`.
    #[error("{0} must be a boolean")]
    NotABoolean(&'static str),
    /// The parameter of this name is one of the API that is not supported.
    #[error("{0} is not supported")]
    NotSupported(&'static str),
    /// The list of this name has a parameter that is no member: `Tags.member.0.Key`,
    /// `Tags.member.1.Name`, or a value for the list itself (our decision).
    #[error("{0} must be a list of numbered members")]
    NotAList(&'static str),
    /// The list of this name has no members.
    #[error("{0} must not be empty")]
    EmptyList(&'static str),
    /// A key of a tag is reserved, or given twice.
    #[error(transparent)]
    Tags(InvalidTags),
    /// Parameters are invalid: all violations, in the order user, service, id, status, age,
    /// marker, number of items, and for one value in the order null, longest, shortest, pattern,
    /// enum, range.
    #[error("{}", Violations(.0))]
    Invalid(Vec<InvalidParameter>),
}

impl From<FormError> for RequestError {
    fn from(error: FormError) -> Self {
        match error {
            FormError::Percent => Self::PercentEncoding,
            FormError::Repeated => Self::RepeatedParameter,
        }
    }
}

/// Violations, as the API words them.
struct Violations<'a>(&'a [InvalidParameter]);

impl fmt::Display for Violations<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0
            && let Constraint::Pattern(pattern) = only.constraint()
        {
            match only.name() {
                name @ ("userName" | "newUserName") => {
                    return write!(
                        f,
                        "The specified value for {name} is invalid. It must contain only \
                         alphanumeric characters and/or the following: +=,.@_-"
                    );
                }
                "path" | "newPath" | "pathPrefix" => {
                    return write!(
                        f,
                        "The specified value for {} is invalid. It must begin and end with / and \
                         contain only alphanumeric characters and/or / characters.",
                        only.name()
                    );
                }
                "serviceName" => return write!(f, "ServiceName must match {pattern}"),
                _ => {}
            }
        }
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} validation error{plural} detected: ", self.0.len())?;
        for (place, violation) in self.0.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            let (path, constraint) = (violation.path(), violation.constraint());
            write!(
                f,
                "{separator}Value at '{path}' failed to satisfy constraint: Member {constraint}"
            )?;
        }
        Ok(())
    }
}
