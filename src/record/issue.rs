//! Issuing secrets: a new credential, and a new secret of an existing one.

use zeroize::Zeroizing;

use super::{UserRecord, stored_credential::StoredCredential};
use crate::{
    credential::{Credential, IssuedCredential, Status},
    entropy::{Entropy, EntropyError, RepeatedEntropy},
    error::Error,
    lifetime::Lifetime,
    names::{
        credential_id::CredentialId, service_name::ServiceName, service_user_name::GeneratedName,
    },
    policy::Policy,
    secret::{Secret, digest::Digest, random_bytes},
    tags::Tags,
    timestamp::Timestamp,
};

/// The random bytes of a new credential, of which its id and its password are made. They are drawn
/// at once, because each draw from the operating system is a system call.
pub(crate) struct RandomBytes(Zeroizing<Vec<u8>>);

impl RandomBytes {
    pub(crate) fn draw(entropy: &dyn Entropy, policy: &Policy) -> Result<Self, EntropyError> {
        random_bytes(entropy, CredentialId::RANDOM_BYTES + policy.password_bytes()).map(Self)
    }

    #[expect(clippy::expect_used, reason = "a draw is longer than an id")]
    fn split(&self) -> (&[u8; CredentialId::RANDOM_BYTES], &[u8]) {
        self.0.split_first_chunk().expect("the bytes of an id come first")
    }

    pub(crate) fn id(&self) -> CredentialId {
        CredentialId::from_random(self.split().0)
    }

    pub(crate) fn password(&self) -> &[u8] {
        self.split().1
    }
}

/// The inputs of a new credential, drawn and decided before the record of its user is read.
pub(crate) struct NewCredential<'a> {
    pub(crate) id: &'a CredentialId,
    pub(crate) service: &'a ServiceName,
    pub(crate) created: Timestamp,
    /// `None` for the default of the policy.
    pub(crate) lifetime: Option<Lifetime>,
    pub(crate) tags: &'a Tags,
    /// The random bytes of the password.
    pub(crate) random: &'a [u8],
}

impl UserRecord {
    /// Adds a credential with this name, which no other credential of the user has at the service.
    ///
    /// Fails with [`RepeatedEntropy`] if the record already holds the id or the secret.
    pub(crate) fn create(
        &self,
        new: &NewCredential<'_>,
        name: GeneratedName,
        policy: &Policy,
    ) -> Result<(Self, IssuedCredential), Error> {
        debug_assert!(self.position_of(new.service, name.as_str()).is_none(), "the name is free");
        let (service, kind) = policy.supported(new.service)?;
        let lifetime = policy.lifetime(new.lifetime)?;
        self.check_limit(service, policy)?;
        let (secret, digest) = self.new_secret(service, &name, new.random, policy)?;
        if self.find(new.id).is_some() {
            return Err(EntropyError::from(RepeatedEntropy).into());
        }
        let credential = StoredCredential {
            id: new.id.clone(),
            service: service.clone(),
            name,
            kind,
            active: true,
            created: new.created,
            expires: lifetime
                .map_or(Timestamp::NEVER, |lifetime| new.created.plus_days(lifetime.as_days())),
            digest,
            secret_changed: new.created.into(),
        };
        let described = self.describe(&credential, Status::Active);
        let described = Credential { tags: new.tags.clone(), ..described };
        let record = self.insert(credential);
        let details = record.details.with_tags_of(new.id, new.tags.clone());
        let issued = IssuedCredential { credential: described, secret };
        Ok((Self { details, ..record }, issued))
    }

    /// Gives a credential a new secret, and changes nothing else of it but the date of the secret,
    /// which never becomes an earlier one, whatever the clock does.
    ///
    /// Fails with [`RepeatedEntropy`] if the record already holds that secret.
    pub(crate) fn reset(
        &self,
        id: &CredentialId,
        random: &[u8],
        policy: &Policy,
        now: Timestamp,
    ) -> Result<(Self, IssuedCredential), Error> {
        let credential = self.get(id)?;
        let (service, kind) = policy.supported(&credential.service)?;
        if kind != credential.kind {
            return Err(Error::ServiceNotSupported { service: service.clone() });
        }
        self.check_unexpired(credential, now)?;
        let (secret, digest) = self.new_secret(service, &credential.name, random, policy)?;
        let secret_changed = now.max(credential.secret_changed()).into();
        let credential = StoredCredential { digest, secret_changed, ..credential.clone() };
        let status = credential.status(|| now);
        let issued = IssuedCredential { credential: self.describe(&credential, status), secret };
        Ok((self.replace(&credential), issued))
    }

    /// The secret of a credential of this service and name, and its digest.
    fn new_secret(
        &self,
        service: &ServiceName,
        name: &GeneratedName,
        random: &[u8],
        policy: &Policy,
    ) -> Result<(Secret, Digest), EntropyError> {
        let password = Secret::password(random, policy.alphabet());
        let secret = match policy.api_key_prefix(service) {
            Some(prefix) => Secret::api_key(prefix, name.as_str(), &password),
            None => password,
        };
        let digest = secret.digest();
        if self.credentials.iter().any(|held| held.digest.matches(&digest)) {
            return Err(RepeatedEntropy.into());
        }
        Ok((secret, digest))
    }
}
