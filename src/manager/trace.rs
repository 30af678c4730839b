//! One event per operation, as `guides/events.md` documents. An event does not contain the text
//! that was sent as a service user name: it may be a password in the wrong field.

#[cfg(feature = "tracing")]
use super::authentication::identity::Identity;
use super::authentication::{Outcome, Scope};
use crate::{
    error::Error,
    names::{
        account_id::AccountId, credential_id::CredentialId, service_name::ServiceName,
        user_name::UserName,
    },
};

/// The user, service and credential of an operation, as far as it has one.
#[derive(Clone, Copy, Default)]
#[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "only events read it"))]
pub(super) struct Subject<'a> {
    pub(super) user: Option<&'a UserName>,
    pub(super) service: Option<&'a ServiceName>,
    pub(super) id: Option<&'a CredentialId>,
    /// The new name in a renaming.
    pub(super) new_name: Option<&'a UserName>,
}

impl<'a> Subject<'a> {
    pub(super) fn user(user: &'a UserName) -> Self {
        Self { user: Some(user), ..Self::default() }
    }

    /// A credential, whose service is known once it is found.
    pub(super) fn credential(
        user: &'a UserName,
        id: &'a CredentialId,
        service: Option<&'a ServiceName>,
    ) -> Self {
        Self { service, id: Some(id), ..Self::user(user) }
    }
}

/// The target of every event: the public name of the crate.
#[cfg(feature = "tracing")]
const TARGET: &str = env!("CARGO_CRATE_NAME");

/// The outcome if the store could not be read.
#[cfg(feature = "tracing")]
const UNAVAILABLE: &str = "unavailable";

/// The outcome of an authentication that is denied.
#[cfg(feature = "tracing")]
const DENIED: &str = "denied";

/// Emits an event: `WARN` if there is a cause, `INFO` otherwise.
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
    operation: &'static str,
    scope: Scope,
    service: &ServiceName,
    outcome: &Outcome,
) {
    let (identity, name, reason, cause) = match outcome {
        Outcome::Authenticated(identity) => (Some(identity), "ok", None, None),
        Outcome::Denied { reason, identity } => {
            (identity.as_ref(), DENIED, Some(reason.as_str()), None)
        }
        Outcome::Unavailable(error) => (None, UNAVAILABLE, None, Some(error)),
    };
    let account = match scope {
        Scope::Account(account) => Some(account),
        Scope::AllAccounts => identity.map(Identity::account),
    };
    emit!(
        cause,
        operation,
        account = account.map(tracing::field::display),
        user = identity.map(Identity::user_name).map(tracing::field::display),
        %service,
        id = identity.map(Identity::credential_id).map(tracing::field::display),
        outcome = name,
        reason,
    );
}

/// The event of a request that is denied before its credentials are known.
#[cfg(all(feature = "tracing", feature = "http"))]
pub(crate) fn invalid_request(account: Option<AccountId>, service: &ServiceName, reason: &str) {
    tracing::event!(
        target: TARGET,
        tracing::Level::INFO,
        operation = "authenticate",
        account = account.map(tracing::field::display),
        %service,
        outcome = DENIED,
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
pub(super) const fn authentication(_: &'static str, _: Scope, _: &ServiceName, _: &Outcome) {}
