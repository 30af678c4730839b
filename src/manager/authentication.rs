//! Whether what a stranger presents opens a service: the steps that every front shares.

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

use super::{Shared, trace};
use crate::{
    credential::{Credential, CredentialKind, Status},
    error::{AuthenticationError, Denial, DenialReason},
    names::{
        account_id::AccountId, credential_id::CredentialId, service_name::ServiceName,
        service_user_name::account_of, user_name::UserName,
    },
    policy::Policy,
    record::{StoredCredential, UserRecord},
    secret::{AliasBuffer, Digest, MAX_PRESENTED, presented_alias},
    store::AsyncStore,
    store_error::StoreError,
    timestamp::Timestamp,
    user::UserId,
};

/// Who presented a valid credential.
///
/// Nothing is allocated to make one: it shares the user's record with the store.
#[derive(Clone)]
pub struct Identity {
    record: Arc<UserRecord>,
    /// Where the credential stands in the record.
    place: usize,
}

impl Identity {
    /// The account of the user.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.record.account()
    }

    /// The registration of the user. Authorise by this: names are used again, ids never.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.record.id()
    }

    /// The name of the user, as it is spelled now.
    #[must_use]
    pub fn user_name(&self) -> &UserName {
        self.record.name()
    }

    /// The id of the credential that was presented.
    #[must_use]
    pub fn credential_id(&self) -> &CredentialId {
        self.stored().id()
    }

    /// The credential that was presented.
    #[must_use]
    pub fn credential(&self) -> Credential {
        self.record.describe(self.stored(), Status::Active)
    }

    #[expect(clippy::indexing_slicing, reason = "the credential was found there, in this record")]
    fn stored(&self) -> &StoredCredential {
        &self.record.credentials()[self.place]
    }

    fn refuse(self, reason: DenialReason) -> Unauthenticated {
        Unauthenticated::Denied { reason, whose: Some(self) }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("account", &self.account())
            .field("user_id", &self.user_id())
            .field("credential", &self.credential())
            .finish()
    }
}

/// Whose credentials are accepted.
#[derive(Clone, Copy)]
pub(crate) enum Scope {
    Account(AccountId),
    /// Those of the account that the presented name ends in.
    AllAccounts,
}

/// What a stranger presents, once it is known to be worth looking at.
pub(crate) struct Presented<'a> {
    scope: Scope,
    service: &'a ServiceName,
    kind: CredentialKind,
    /// `None` if an API key holds no alias.
    name: Option<&'a str>,
    secret: &'a str,
}

/// Why there is nobody, in more detail than a caller gets.
pub(crate) enum Unauthenticated {
    Denied {
        reason: DenialReason,
        /// Whose credential it was that was refused.
        #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "for events"))]
        whose: Option<Identity>,
    },
    Unavailable(StoreError),
}

impl From<DenialReason> for Unauthenticated {
    fn from(reason: DenialReason) -> Self {
        Self::Denied { reason, whose: None }
    }
}

impl From<StoreError> for Unauthenticated {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error)
    }
}

impl From<Unauthenticated> for AuthenticationError {
    fn from(unauthenticated: Unauthenticated) -> Self {
        match unauthenticated {
            Unauthenticated::Denied { reason, .. } => Self::Denied(Denial(reason)),
            Unauthenticated::Unavailable(error) => Self::Unavailable(error),
        }
    }
}

impl<'a> Presented<'a> {
    pub(crate) fn password(
        scope: Scope,
        policy: &Policy,
        service: &'a ServiceName,
        name: &'a str,
        secret: &'a str,
    ) -> Result<Self, DenialReason> {
        let kind = CredentialKind::Password;
        if name.len() > MAX_PRESENTED || secret.len() > MAX_PRESENTED {
            return Err(DenialReason::TooLong);
        }
        if policy.kind(service) != Some(kind) {
            return Err(DenialReason::UnsupportedService);
        }
        Ok(Self { scope, service, kind, name: Some(name), secret })
    }

    /// `alias` is [that of](alias) the secret.
    pub(crate) fn api_key(
        scope: Scope,
        service: &'a ServiceName,
        alias: Option<&'a str>,
        secret: &'a str,
    ) -> Self {
        Self { scope, service, kind: CredentialKind::ApiKey, name: alias, secret }
    }

    /// The name to look up, and its account.
    ///
    /// `None` if it cannot be the name of a credential, which ends in `-at-` and the account. Such
    /// text never reaches the store or its logs: people type passwords where a name belongs.
    fn sought(&self) -> Option<(AccountId, &'a str)> {
        let name = self.name?;
        let account = account_of(name)?;
        let is_served = match self.scope {
            Scope::Account(served) => account == served,
            Scope::AllAccounts => true,
        };
        is_served.then_some((account, name))
    }

    /// Answers, given the credential that has the name, if there is one. An unknown name costs the
    /// same digest and comparison as a wrong secret.
    fn judge(
        &self,
        found: Option<Identity>,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Identity, Unauthenticated> {
        let digest = found.as_ref().map_or(&Digest::DUMMY, |found| found.stored().digest());
        let verified = digest.verify(self.secret.as_bytes());
        let Some(found) = found else {
            return Err(DenialReason::UnknownName.into());
        };
        if !verified || found.stored().kind() != self.kind {
            return Err(found.refuse(DenialReason::WrongSecret));
        }
        match found.stored().status(now) {
            Status::Active => Ok(found),
            Status::Inactive => Err(found.refuse(DenialReason::Inactive)),
            Status::Expired => Err(found.refuse(DenialReason::Expired)),
        }
    }
}

/// The alias in what is presented as an API key, or `None` if there is none.
pub(crate) fn alias<'b>(
    policy: &Policy,
    service: &ServiceName,
    secret: &str,
    buffer: &'b mut AliasBuffer,
) -> Result<Option<&'b str>, DenialReason> {
    if secret.len() > MAX_PRESENTED {
        return Err(DenialReason::TooLong);
    }
    let prefix = policy.api_key_prefix(service).ok_or(DenialReason::UnsupportedService)?;
    Ok(presented_alias(prefix, secret, buffer))
}

impl<S: AsyncStore> Shared<S> {
    pub(super) async fn authenticate(
        &self,
        scope: Scope,
        service: &ServiceName,
        name: &str,
        password: &str,
    ) -> Result<Identity, AuthenticationError> {
        let result = match Presented::password(scope, &self.policy, service, name, password) {
            Ok(presented) => self.admit(&presented).await,
            Err(reason) => Err(reason.into()),
        };
        trace::authentication(scope, service, &result);
        result.map_err(AuthenticationError::from)
    }

    pub(super) async fn authenticate_api_key(
        &self,
        scope: Scope,
        service: &ServiceName,
        secret: &str,
    ) -> Result<Identity, AuthenticationError> {
        let mut buffer = Zeroizing::new([0; _]);
        let result = match alias(&self.policy, service, secret, &mut buffer) {
            Ok(alias) => self.admit(&Presented::api_key(scope, service, alias, secret)).await,
            Err(reason) => Err(reason.into()),
        };
        trace::authentication(scope, service, &result);
        result.map_err(AuthenticationError::from)
    }

    async fn admit(&self, presented: &Presented<'_>) -> Result<Identity, Unauthenticated> {
        let found = match presented.sought() {
            Some((account, name)) => {
                self.store.find_named(account, presented.service, name).await?
            }
            None => None,
        };
        let found = found.map(|(record, place)| Identity { record, place });
        presented.judge(found, || self.now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use time::{Duration, OffsetDateTime};

    use super::*;
    use crate::{
        lifetime::Lifetime,
        manager::CredentialManager,
        record::key::Key,
        secret::tests::COMPUTED,
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
        /// How many digests `authenticate` computes, how often it looks into the store, and its
        /// reason to refuse, if it does.
        fn work(
            &self,
            authenticate: impl FnOnce() -> Result<Identity, AuthenticationError>,
        ) -> (usize, usize, Option<DenialReason>) {
            COMPUTED.set(0);
            self.finds.store(0, Relaxed);
            let answer = authenticate();
            let reason = answer.err().map(|error| match error {
                AuthenticationError::Denied(refusal) => refusal.reason(),
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
        let expired = iam.create_with(&anika, &cassandra, day).unwrap();
        let key = iam.create(&anika, &bedrock).unwrap();
        let expired_key = iam.create_with(&anika, &bedrock, day).unwrap();
        clock.advance(Duration::DAY);

        let (alias, password) = (active.service_user_name().as_str(), active.secret().expose());
        let long = "a".repeat(MAX_PRESENTED + 1);
        let longest = "a".repeat(MAX_PRESENTED);
        let longest_name = format!("{}-at-123456789012", "a".repeat(MAX_PRESENTED - 16));
        let doors = iam.authenticator();
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
            assert_eq!(store.work(|| doors.authenticate(service, name, secret)), expected);
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
            assert_eq!(store.work(|| doors.authenticate_api_key(service, secret)), expected);
        }

        // Names of another account are looked up by an authenticator for all accounts alone.
        let elsewhere = "anika+1-at-000000000001";
        let (ours, everywhere) = ((1, 0, Some(UnknownName)), (1, 1, Some(UnknownName)));
        assert_eq!(store.work(|| iam.authenticate(&codecommit, elsewhere, password)), ours);
        assert_eq!(store.work(|| doors.authenticate(&codecommit, elsewhere, password)), everywhere);
        let secret = wrapped(&format!("{elsewhere}:{password}"));
        assert_eq!(store.work(|| iam.authenticate_api_key(&bedrock, &secret)), ours);
        assert_eq!(store.work(|| doors.authenticate_api_key(&bedrock, &secret)), everywhere);
    }
}
