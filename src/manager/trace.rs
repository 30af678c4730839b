//! One event an operation, as `events.md` documents. What is presented as a service user name is no
//! part of it: it may be a password in the wrong field.

use super::authentication::{Identity, Scope, Unauthenticated};
use crate::{
    error::Error,
    names::{
        account_id::AccountId, credential_id::CredentialId, service_name::ServiceName,
        user_name::UserName,
    },
};

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

/// The target of every event: the name by which programs import this crate.
#[cfg(feature = "tracing")]
const TARGET: &str = env!("CARGO_CRATE_NAME");

/// The outcome where the store could not be read.
#[cfg(feature = "tracing")]
const UNAVAILABLE: &str = "unavailable";

/// The level is that of a failure if there is a cause.
#[cfg(feature = "tracing")]
macro_rules! emit {
    ($cause:expr, $($fields:tt)*) => {
        if let Some(cause) = $cause {
            tracing::event!(target: TARGET, tracing::Level::WARN, $($fields)* %cause);
        } else {
            tracing::event!(target: TARGET, tracing::Level::INFO, $($fields)*);
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
    let (outcome, cause): (_, Option<&dyn std::error::Error>) = match result {
        Ok(_) => ("ok", None),
        Err(Error::Store(error)) => (UNAVAILABLE, Some(error)),
        Err(Error::OutcomeUnknown { source, .. }) => ("unknown", Some(source)),
        Err(Error::Entropy(error)) => ("entropy", Some(error)),
        Err(error) => (error.code().as_str(), None),
    };
    emit!(
        cause,
        operation,
        %account,
        user = user.map(tracing::field::display),
        service = service.map(tracing::field::display),
        id = id.map(tracing::field::display),
        new_name = new_name.map(tracing::field::display),
        outcome,
    );
}

#[cfg(feature = "tracing")]
pub(super) fn authentication(
    scope: Scope,
    service: &ServiceName,
    result: &Result<Identity, Unauthenticated>,
) {
    let whose = match result {
        Ok(who) | Err(Unauthenticated::Denied { whose: Some(who), .. }) => Some(who),
        Err(_) => None,
    };
    let account = match scope {
        Scope::Account(account) => Some(account),
        Scope::AllAccounts => whose.map(Identity::account),
    };
    let (outcome, reason, cause) = match result {
        Ok(_) => ("ok", None, None),
        Err(Unauthenticated::Denied { reason, .. }) => ("refused", Some(reason.as_str()), None),
        Err(Unauthenticated::Unavailable(error)) => (UNAVAILABLE, None, Some(error)),
    };
    emit!(
        cause,
        operation = "authenticate",
        account = account.map(tracing::field::display),
        user = whose.map(Identity::user_name).map(tracing::field::display),
        %service,
        id = whose.map(Identity::credential_id).map(tracing::field::display),
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
    _: &Result<Identity, Unauthenticated>,
) {
}
