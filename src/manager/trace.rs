//! One event an operation: names, ids and codes. What a stranger presents as a name is not among
//! them, since it may be a password in the wrong field.

use super::authentication::{Authenticated, Scope, Unauthenticated};
use crate::{AccountId, CredentialId, Error, ServiceName, UserName};

/// What an operation is about, as far as it is about one.
#[derive(Clone, Copy, Default)]
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "nothing is emitted"))]
pub(super) struct Subject<'a> {
    pub(super) user: Option<&'a UserName>,
    pub(super) service: Option<&'a ServiceName>,
    pub(super) id: Option<&'a CredentialId>,
    /// What a user is being renamed to.
    pub(super) new_name: Option<&'a UserName>,
}

impl<'a> Subject<'a> {
    pub(super) fn user(user: &'a UserName) -> Self {
        Self { user: Some(user), ..Self::default() }
    }

    /// A credential whose service is known once it is found.
    pub(super) fn credential(
        user: &'a UserName,
        id: &'a CredentialId,
        service: Option<&'a ServiceName>,
    ) -> Self {
        Self { service, id: Some(id), ..Self::user(user) }
    }
}

#[cfg(feature = "tracing")]
macro_rules! emit {
    ($is_failure:expr, $($fields:tt)*) => {
        if $is_failure {
            tracing::event!(tracing::Level::WARN, $($fields)*);
        } else {
            tracing::event!(tracing::Level::INFO, $($fields)*);
        }
    };
}

#[cfg(feature = "tracing")]
pub(super) fn operation<T>(
    operation: &'static str,
    account: AccountId,
    Subject { user, service, id, new_name }: Subject<'_>,
    result: &Result<T, Error>,
) {
    let code = result.as_ref().err().map(Error::code);
    emit!(
        code == Some(crate::ErrorCode::ServiceFailure),
        operation,
        %account,
        user = user.map(tracing::field::display),
        service = service.map(tracing::field::display),
        id = id.map(tracing::field::display),
        new_name = new_name.map(tracing::field::display),
        outcome = code.map_or("ok", crate::ErrorCode::as_str),
    );
}

#[cfg(feature = "tracing")]
pub(super) fn authentication(
    scope: Scope,
    service: &ServiceName,
    result: &Result<Authenticated, Unauthenticated>,
) {
    let whose = match result {
        Ok(who) | Err(Unauthenticated::Refused { whose: Some(who), .. }) => Some(who),
        Err(_) => None,
    };
    let account = match scope {
        Scope::Account(account) => Some(account),
        Scope::AllAccounts => whose.map(Authenticated::account),
    };
    let (outcome, reason) = match result {
        Ok(_) => ("ok", None),
        Err(Unauthenticated::Refused { reason, .. }) => ("refused", Some(reason.as_str())),
        Err(Unauthenticated::Unavailable(_)) => ("unavailable", None),
    };
    emit!(
        outcome == "unavailable",
        operation = "authenticate",
        account = account.map(tracing::field::display),
        user = whose.map(Authenticated::user_name).map(tracing::field::display),
        %service,
        id = whose.map(Authenticated::credential_id).map(tracing::field::display),
        outcome,
        reason,
    );
}

#[cfg(not(feature = "tracing"))]
pub(super) const fn operation<T>(
    _: &'static str,
    _: AccountId,
    _: Subject<'_>,
    _: &Result<T, Error>,
) {
}

#[cfg(not(feature = "tracing"))]
pub(super) const fn authentication(
    _: Scope,
    _: &ServiceName,
    _: &Result<Authenticated, Unauthenticated>,
) {
}
