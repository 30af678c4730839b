//! Collects the violations of all parameters of a request.

use std::{borrow::Cow, collections::BTreeMap, str::FromStr};

use super::{
    form::{List, Tag},
    request_error::RequestError,
};
use crate::{
    constraint::{Constraint, InvalidParameter, Member},
    credential::{InvalidStatus, Status},
    names::{
        Pattern,
        credential_id::{CredentialId, InvalidCredentialId},
    },
    tags::{Tags, key_violations, value_violations},
};

/// Whether a list must be in the request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Required,
    Optional,
}

/// Collects the violations of all parameters, in the order in which they are validated.
#[derive(Default)]
pub(super) struct Validator {
    violations: Vec<InvalidParameter>,
    /// The first error of values that violate no constraint. Violations take precedence.
    rejection: Option<RequestError>,
}

impl Validator {
    pub(super) const fn is_satisfied(&self) -> bool {
        self.violations.is_empty() && self.rejection.is_none()
    }

    pub(super) fn into_error(self) -> RequestError {
        let rejection = self.rejection.filter(|_| self.violations.is_empty());
        rejection.unwrap_or(RequestError::Invalid(self.violations))
    }

    pub(super) fn reject(&mut self, error: RequestError) {
        self.rejection.get_or_insert(error);
    }

    /// An optional value.
    pub(super) fn text<T: FromStr, E: Into<InvalidParameter>>(
        &mut self,
        text: Option<Cow<'_, str>>,
        grammar: &Pattern,
        invalid: fn(Constraint) -> E,
    ) -> Option<T> {
        let text = text?;
        let value = text.parse().ok();
        if value.is_none() {
            let violations = grammar.violations(&text);
            self.violations.extend(violations.map(|constraint| invalid(constraint).into()));
        }
        value
    }

    /// A required value.
    pub(super) fn required<T: FromStr, E: Into<InvalidParameter>>(
        &mut self,
        text: Option<Cow<'_, str>>,
        grammar: &Pattern,
        invalid: fn(Constraint) -> E,
    ) -> Option<T> {
        if text.is_none() {
            self.violations.push(invalid(Constraint::NotNull).into());
        }
        self.text(text, grammar, invalid)
    }

    pub(super) fn id(&mut self, text: Option<Cow<'_, str>>) -> Option<CredentialId> {
        self.required(text, &CredentialId::GRAMMAR, InvalidCredentialId)
    }

    pub(super) fn status(&mut self, text: Option<Cow<'_, str>>) -> Option<Status> {
        let parsed = text.map_or(Err(InvalidStatus(Constraint::NotNull)), |text| text.parse());
        self.take(parsed)
    }

    /// An optional number. A negative number is below every range, as zero is.
    pub(super) fn number<T, E: Into<InvalidParameter>>(
        &mut self,
        name: &'static str,
        text: Option<Cow<'_, str>>,
        new: fn(u32) -> Result<T, E>,
    ) -> Result<Option<T>, RequestError> {
        let Some(text) = text else { return Ok(None) };
        let number: i32 = text.parse().map_err(|_| RequestError::NotANumber(name))?;
        Ok(self.take(new(u32::try_from(number).unwrap_or(0))))
    }

    /// The tags of a list, in the order of their numbers.
    pub(super) fn tags(
        &mut self,
        list: List<'_, Tag<'_>>,
        presence: Presence,
    ) -> Result<Tags, RequestError> {
        let mut pairs = Vec::new();
        for (number, Tag { key, value }) in self.members(list, "Tags", "tags", presence)? {
            self.member("tags", (number, Some("key")), key.as_deref(), key_violations);
            self.member("tags", (number, Some("value")), value.as_deref(), value_violations);
            pairs.push((key.unwrap_or_default(), value.unwrap_or_default()));
        }
        Ok(Tags::from_pairs(pairs).unwrap_or_else(|invalid| {
            self.reject(RequestError::Tags(invalid));
            Tags::new()
        }))
    }

    pub(super) fn tag_keys(
        &mut self,
        list: List<'_, Option<Cow<'_, str>>>,
    ) -> Result<Vec<String>, RequestError> {
        let mut keys = Vec::new();
        for (number, key) in self.members(list, "TagKeys", "tagKeys", Presence::Required)? {
            self.member("tagKeys", (number, None), key.as_deref(), key_violations);
            keys.push(key.unwrap_or_default().into_owned());
        }
        Ok(keys)
    }

    /// The members of a list, at most as many as there can be tags.
    fn members<T>(
        &mut self,
        list: List<'_, T>,
        name: &'static str,
        parameter: &'static str,
        presence: Presence,
    ) -> Result<BTreeMap<u32, T>, RequestError> {
        let List { members, whole, is_malformed } = list;
        if is_malformed || whole.as_ref().is_some_and(|it| !it.is_empty() || !members.is_empty()) {
            return Err(RequestError::NotAList(name));
        }
        let constraint = if members.len() > Tags::MAX {
            Constraint::MaxLength(Tags::MAX)
        } else if whole.is_some() {
            self.reject(RequestError::EmptyList(name));
            return Ok(members);
        } else if members.is_empty() && presence == Presence::Required {
            Constraint::NotNull
        } else {
            return Ok(members);
        };
        let what = "list of tags";
        self.violations.push(InvalidParameter { name: parameter, member: None, what, constraint });
        Ok(BTreeMap::new())
    }

    /// Validates a value of a member of a list.
    fn member<V: Iterator<Item = Constraint>>(
        &mut self,
        name: &'static str,
        (number, field): (u32, Option<&'static str>),
        text: Option<&str>,
        violations: fn(&str) -> V,
    ) {
        let member = Some(Member { number, field });
        let invalid = |constraint| InvalidParameter { name, member, what: "tag", constraint };
        match text {
            None => self.violations.push(invalid(Constraint::NotNull)),
            Some(text) => self.violations.extend(violations(text).map(invalid)),
        }
    }

    pub(super) fn take<T, E: Into<InvalidParameter>>(&mut self, value: Result<T, E>) -> Option<T> {
        value.map_err(|invalid| self.violations.push(invalid.into())).ok()
    }
}
