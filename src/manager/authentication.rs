//! Authentication: the steps that all managers and authenticators share.

use zeroize::Zeroizing;

use self::{
    error::{AuthenticationError, Denial, DenialReason},
    identity::Identity,
};
use crate::{
    credential::{CredentialKind, Status},
    manager::{shared::Shared, trace},
    names::{account_id::AccountId, service_name::ServiceName, service_user_name::account_of},
    record::{key::Key, stored_credential::StoredCredential},
    secret::{
        MAX_PRESENTED,
        api_key::{AliasBuffer, decode_alias},
        digest::Digest,
    },
    store::AsyncStore,
    store_error::StoreError,
    timestamp::Timestamp,
};

pub(crate) mod error;
pub(crate) mod identity;

/// The accounts whose credentials are accepted.
#[derive(Clone, Copy)]
pub(crate) enum Scope {
    Account(AccountId),
    /// The account at the end of the service user name.
    AllAccounts,
}

/// An authentication attempt with input of permitted length, at a supported service.
struct Attempt<'a> {
    scope: Scope,
    service: &'a ServiceName,
    kind: CredentialKind,
    /// Untrusted. `None` for an API key without an alias.
    name: Option<&'a str>,
    secret: &'a str,
}

/// The outcome of an attempt, with details for events.
pub(crate) enum Outcome {
    Authenticated(Identity),
    Denied {
        reason: DenialReason,
        /// The credential with that name, if there is one.
        #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "for events"))]
        identity: Option<Identity>,
    },
    Unavailable(StoreError),
}

impl Outcome {
    /// Denies the attempt if the secret does not match or the credential is not active.
    fn of(identity: Identity, verified: bool, now: impl FnOnce() -> Timestamp) -> Self {
        let reason = if verified {
            match identity.stored().status(now) {
                Status::Active => return Self::Authenticated(identity),
                Status::Inactive => DenialReason::Inactive,
                Status::Expired => DenialReason::Expired,
            }
        } else {
            DenialReason::WrongSecret
        };
        Self::Denied { reason, identity: Some(identity) }
    }
}

impl From<DenialReason> for Outcome {
    fn from(reason: DenialReason) -> Self {
        Self::Denied { reason, identity: None }
    }
}

impl From<Outcome> for Result<Identity, AuthenticationError> {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Authenticated(identity) => Ok(identity),
            Outcome::Denied { reason, .. } => Err(AuthenticationError::Denied(Denial::new(reason))),
            Outcome::Unavailable(error) => Err(AuthenticationError::Unavailable(error)),
        }
    }
}

impl<'a> Attempt<'a> {
    /// The name to look up, and its account.
    ///
    /// `None` if no credential can have the name: it does not end in `-at-` and an account. Such
    /// text never reaches the store or its logs, because users may enter a password in the field of
    /// the name.
    fn lookup(&self) -> Option<(AccountId, &'a str)> {
        let name = self.name?;
        let account = account_of(name)?;
        let in_scope = match self.scope {
            Scope::Account(accepted) => account == accepted,
            Scope::AllAccounts => true,
        };
        in_scope.then_some((account, name))
    }

    /// Verifies the secret against the credential with that name, or against a dummy digest, so
    /// that an unknown name costs the same digest and comparison as a wrong secret.
    fn verify(&self, found: Option<Identity>, now: impl FnOnce() -> Timestamp) -> Outcome {
        let digest = found.as_ref().map_or(&Digest::DUMMY, |found| found.stored().digest());
        let verified = digest.verify(self.secret.as_bytes());
        let Some(identity) = found else {
            return DenialReason::UnknownName.into();
        };
        let verified = verified && identity.stored().kind() == self.kind;
        Outcome::of(identity, verified, now)
    }
}

impl<S: AsyncStore> Shared<S> {
    pub(super) async fn authenticate(
        &self,
        scope: Scope,
        service: &ServiceName,
        name: &str,
        password: &str,
    ) -> Result<Identity, AuthenticationError> {
        let kind = CredentialKind::Password;
        let outcome = if name.len() > MAX_PRESENTED || password.len() > MAX_PRESENTED {
            DenialReason::TooLong.into()
        } else if self.policy.kind(service) != Some(kind) {
            DenialReason::UnsupportedService.into()
        } else {
            let name = Some(name);
            self.attempt(&Attempt { scope, service, kind, name, secret: password }).await
        };
        trace::authentication("authenticate", scope, service, &outcome);
        outcome.into()
    }

    pub(super) async fn authenticate_api_key(
        &self,
        scope: Scope,
        service: &ServiceName,
        secret: &str,
    ) -> Result<Identity, AuthenticationError> {
        let outcome = if secret.len() > MAX_PRESENTED {
            DenialReason::TooLong.into()
        } else if let Some(prefix) = self.policy.api_key_prefix(service) {
            let mut buffer: Zeroizing<AliasBuffer> = Zeroizing::new([0; _]);
            let name = decode_alias(prefix, secret, &mut buffer);
            let kind = CredentialKind::ApiKey;
            self.attempt(&Attempt { scope, service, kind, name, secret }).await
        } else {
            DenialReason::UnsupportedService.into()
        };
        trace::authentication("authenticate", scope, service, &outcome);
        outcome.into()
    }

    pub(super) async fn recheck(
        &self,
        scope: Scope,
        earlier: &Identity,
    ) -> Result<Identity, AuthenticationError> {
        let outcome = self.find_again(scope, earlier).await;
        trace::authentication("recheck", scope, earlier.stored().service(), &outcome);
        outcome.into()
    }

    /// Finds a credential by its id: a service user name may be reused once its credential is
    /// deleted.
    async fn find_again(&self, scope: Scope, earlier: &Identity) -> Outcome {
        let stored = earlier.stored();
        if self.policy.kind(stored.service()) != Some(stored.kind()) {
            return DenialReason::UnsupportedService.into();
        }
        let account = match scope {
            Scope::Account(account) => account,
            Scope::AllAccounts => earlier.account(),
        };
        let found = match self.store.find(&Key::Credential { account, id: stored.id() }).await {
            Ok(found) => found,
            Err(error) => return Outcome::Unavailable(error),
        };
        let found = found.filter(|record| record.id() == earlier.user_id()).and_then(|record| {
            let held = record.credentials().iter();
            let position = held.map(StoredCredential::id).position(|id| id == stored.id())?;
            Some(Identity::new(record, position))
        });
        let Some(identity) = found else {
            return DenialReason::UnknownName.into();
        };
        let unchanged = identity.stored().digest().matches(stored.digest());
        Outcome::of(identity, unchanged, || self.now())
    }

    async fn attempt(&self, attempt: &Attempt<'_>) -> Outcome {
        let found = match attempt.lookup() {
            Some((account, name)) => self.store.find_named(account, attempt.service, name).await,
            None => Ok(None),
        };
        match found {
            Ok(found) => {
                let identity = found.map(|(record, position)| Identity::new(record, position));
                attempt.verify(identity, || self.now())
            }
            Err(error) => Outcome::Unavailable(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use time::{Duration, OffsetDateTime};

    use super::*;
    use crate::{
        lifetime::Lifetime,
        manager::{CredentialManager, create_options::CreateOptions},
        record::{UserRecord, key::Key},
        secret::digest::tests::COMPUTED,
        store::{
            Store,
            change::{Change, CommitOutcome},
            memory::MemoryStore,
            scan_range::ScanRange,
        },
        testing::FixedClock,
    };

    /// A memory store that counts look-ups.
    #[derive(Debug, Default)]
    struct Counting {
        store: MemoryStore,
        finds: AtomicUsize,
    }

    impl Store for Counting {
        fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
            self.finds.fetch_add(1, Relaxed);
            self.store.find(key)
        }

        fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
            self.store.commit(change)
        }

        fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
            self.store.scan(range)
        }
    }

    impl Counting {
        /// The number of digests that `authenticate` computes, the number of look-ups in the store,
        /// and the reason of a denial, if it denies.
        fn work(
            &self,
            authenticate: impl FnOnce() -> Result<Identity, AuthenticationError>,
        ) -> (usize, usize, Option<DenialReason>) {
            COMPUTED.set(0);
            self.finds.store(0, Relaxed);
            let result = authenticate();
            let reason = result.err().map(|error| match error {
                AuthenticationError::Denied(denial) => denial.reason(),
                AuthenticationError::Unavailable(error) => panic!("{error}"),
            });
            (COMPUTED.get(), self.finds.load(Relaxed), reason)
        }
    }

    #[test]
    fn an_unknown_name_costs_the_digest_of_a_wrong_password_and_is_looked_up_if_it_can_be_a_name() {
        use DenialReason::{
            Expired, Inactive, TooLong, UnknownName, UnsupportedService, WrongSecret,
        };

        let clock = Arc::new(FixedClock::new(OffsetDateTime::UNIX_EPOCH));
        let store = Counting::default();
        let iam = CredentialManager::builder("123456789012".parse().unwrap(), &store)
            .clock(Arc::clone(&clock))
            .build();
        let (anika, day) = ("anika".parse().unwrap(), Lifetime::days(1).unwrap());
        let [codecommit, cassandra, bedrock, git] =
            ["codecommit.amazonaws.com", "cassandra.amazonaws.com", "bedrock.amazonaws.com", "git"]
                .map(|service| service.parse::<ServiceName>().unwrap());
        iam.register_user(&anika).unwrap();
        let [active, inactive] = [(); 2].map(|()| iam.create(&anika, &codecommit).unwrap());
        iam.set_status(&anika, inactive.id(), Status::Inactive).unwrap();
        let expired = iam
            .create_with_options(&anika, &cassandra, &CreateOptions::new().lifetime(day))
            .unwrap();
        let key = iam.create(&anika, &bedrock).unwrap();
        let expired_key =
            iam.create_with_options(&anika, &bedrock, &CreateOptions::new().lifetime(day)).unwrap();
        clock.advance(Duration::DAY);

        let (alias, password) = (active.service_user_name().as_str(), active.secret().expose());
        let long = "a".repeat(MAX_PRESENTED + 1);
        let longest = "a".repeat(MAX_PRESENTED);
        let longest_name = format!("{}-at-123456789012", "a".repeat(MAX_PRESENTED - 16));
        let all = iam.authenticator();
        for (service, name, secret, digests, finds, reason) in [
            (&codecommit, alias, password, 1, 1, None),
            (&codecommit, &alias.to_ascii_uppercase(), password, 1, 1, None),
            (&codecommit, alias, "wrong", 1, 1, Some(WrongSecret)),
            (&codecommit, alias, &longest, 1, 1, Some(WrongSecret)),
            (&codecommit, "nobody-at-123456789012", password, 1, 1, Some(UnknownName)),
            (&codecommit, &longest_name, password, 1, 1, Some(UnknownName)),
            // Passwords, and other text that is no service user name.
            (&codecommit, password, password, 1, 0, Some(UnknownName)),
            (&codecommit, "nobody", password, 1, 0, Some(UnknownName)),
            (&codecommit, "", "", 1, 0, Some(UnknownName)),
            (&codecommit, &longest, &longest, 1, 0, Some(UnknownName)),
            (&codecommit, "anika+1", password, 1, 0, Some(UnknownName)),
            (&codecommit, "anika+1-123456789012", password, 1, 0, Some(UnknownName)),
            (&codecommit, "anika+1-at-12345678901", password, 1, 0, Some(UnknownName)),
            (&codecommit, &format!("{alias} "), password, 1, 0, Some(UnknownName)),
            (&codecommit, &format!("{alias}{password}"), password, 1, 0, Some(UnknownName)),
            (
                &codecommit,
                inactive.service_user_name().as_str(),
                inactive.secret().expose(),
                1,
                1,
                Some(Inactive),
            ),
            (
                &cassandra,
                expired.service_user_name().as_str(),
                expired.secret().expose(),
                1,
                1,
                Some(Expired),
            ),
            (&codecommit, alias, &long, 0, 0, Some(TooLong)),
            (&codecommit, &long, password, 0, 0, Some(TooLong)),
            (&git, alias, password, 0, 0, Some(UnsupportedService)),
            (&bedrock, alias, password, 0, 0, Some(UnsupportedService)),
        ] {
            let expected = (digests, finds, reason);
            assert_eq!(store.work(|| iam.authenticate(service, name, secret)), expected, "{name}");
            assert_eq!(store.work(|| all.authenticate(service, name, secret)), expected);
        }

        let wrapped = |text: &str| format!("ABSK{}", STANDARD.encode(text));
        for (service, secret, digests, finds, reason) in [
            (&bedrock, key.secret().expose(), 1, 1, None),
            (&bedrock, expired_key.secret().expose(), 1, 1, Some(Expired)),
            (&bedrock, &wrapped(&format!("{alias}:wrong")), 1, 1, Some(WrongSecret)),
            (&bedrock, &wrapped("nobody-at-123456789012:wrong"), 1, 1, Some(UnknownName)),
            (&bedrock, &wrapped("nobody:wrong"), 1, 0, Some(UnknownName)),
            (&bedrock, &wrapped(&format!("{password}:")), 1, 0, Some(UnknownName)),
            (&bedrock, &wrapped(":"), 1, 0, Some(UnknownName)),
            (&bedrock, &wrapped("no colon"), 1, 0, Some(UnknownName)),
            (&bedrock, "ABSK*", 1, 0, Some(UnknownName)),
            (&bedrock, "", 1, 0, Some(UnknownName)),
            (&bedrock, &longest, 1, 0, Some(UnknownName)),
            (&bedrock, &long, 0, 0, Some(TooLong)),
            (&git, key.secret().expose(), 0, 0, Some(UnsupportedService)),
            (&codecommit, key.secret().expose(), 0, 0, Some(UnsupportedService)),
        ] {
            let expected = (digests, finds, reason);
            assert_eq!(store.work(|| iam.authenticate_api_key(service, secret)), expected);
            assert_eq!(store.work(|| all.authenticate_api_key(service, secret)), expected);
        }

        // Only an authenticator for all accounts looks up names of another account.
        let elsewhere = "anika+1-at-000000000001";
        let (ours, everywhere) = ((1, 0, Some(UnknownName)), (1, 1, Some(UnknownName)));
        assert_eq!(store.work(|| iam.authenticate(&codecommit, elsewhere, password)), ours);
        assert_eq!(store.work(|| all.authenticate(&codecommit, elsewhere, password)), everywhere);
        let secret = wrapped(&format!("{elsewhere}:{password}"));
        assert_eq!(store.work(|| iam.authenticate_api_key(&bedrock, &secret)), ours);
        assert_eq!(store.work(|| all.authenticate_api_key(&bedrock, &secret)), everywhere);
    }
}
