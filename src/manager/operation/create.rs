use std::sync::Arc;

use super::{Decision, Operation, Redraws, Target, existing, is_repeated};
use crate::{
    credential::IssuedCredential,
    entropy::EntropyError,
    error::Error,
    manager::{create_options::CreateOptions, shared::Shared},
    names::{
        credential_id::CredentialId, service_name::ServiceName, service_user_name::GeneratedName,
        user_name::UserName,
    },
    record::{
        UserRecord,
        issue::{NewCredential, RandomBytes},
        key::Key,
    },
    secret::digest::Digest,
    store::{AsyncStore, verified::Verified},
    timestamp::Timestamp,
};

/// Creates a credential. The id, the random bytes of the secret and the time are obtained once,
/// before the first attempt.
pub(crate) struct Create<'a, S> {
    user: &'a UserName,
    service: &'a ServiceName,
    options: &'a CreateOptions,
    shared: &'a Shared<S>,
    now: Timestamp,
    id: CredentialId,
    random: RandomBytes,
    redraws: Redraws,
    /// The name that the last attempt proposed.
    proposed: Option<Proposal>,
    /// The lowest index of a name that the next attempt proposes: other users were just seen to
    /// hold the lower ones.
    first: u32,
}

struct Proposal {
    record: Arc<UserRecord>,
    index: u32,
    name: GeneratedName,
}

impl<'a, S> Create<'a, S> {
    pub(crate) fn draw(
        shared: &'a Shared<S>,
        user: &'a UserName,
        service: &'a ServiceName,
        options: &'a CreateOptions,
    ) -> Result<Self, EntropyError> {
        let now = shared.now();
        let random = RandomBytes::draw(&*shared.entropy, &shared.policy)?;
        let id = random.id();
        Ok(Self {
            user,
            service,
            options,
            shared,
            now,
            id,
            random,
            redraws: Redraws::ALL,
            proposed: None,
            first: 0,
        })
    }

    fn redraw(&mut self) -> Result<(), EntropyError> {
        let Shared { entropy, policy, .. } = self.shared;
        self.redraws.take()?;
        self.random = RandomBytes::draw(&**entropy, policy)?;
        self.id = self.random.id();
        Ok(())
    }
}

impl<S: AsyncStore> Operation for Create<'_, S> {
    type Output = IssuedCredential;

    fn target(&self) -> Target<'_> {
        Target::User(self.user)
    }

    fn credential(&self) -> Option<&CredentialId> {
        Some(&self.id)
    }

    fn issued(output: &IssuedCredential) -> Option<Digest> {
        Some(output.secret().digest())
    }

    fn decide(&mut self, found: Option<Arc<UserRecord>>) -> Result<Decision<Self::Output>, Error> {
        let previous = existing(found, self.user)?;
        let policy = &self.shared.policy;
        // The names that other users hold are looked up again after each conflict.
        let first = std::mem::take(&mut self.first);
        let (index, name) = previous.free_name(self.service, first, policy.numbering());
        let (record, issued) = loop {
            let new = NewCredential {
                id: &self.id,
                service: self.service,
                created: self.now,
                lifetime: self.options.lifetime,
                tags: &self.options.tags,
                random: self.random.password(),
            };
            match previous.create(&new, name.clone(), policy) {
                Err(error) if is_repeated(&error) => self.redraw()?,
                result => break result?,
            }
        };
        self.proposed = Some(Proposal { record: Arc::clone(&previous), index, name });
        Ok(Decision::replace(previous, record, issued))
    }

    /// Finds the next name that no other user holds. If the proposed name is free, the id was
    /// taken, or the name has become free meanwhile.
    async fn key_taken<T: AsyncStore>(&mut self, store: &Verified<T>) -> Result<(), Error> {
        let Some(Proposal { record, mut index, mut name }) = self.proposed.take() else {
            return Ok(());
        };
        let (account, service) = (record.account(), self.service);
        let proposed = index;
        while store.find_named(account, service, name.as_str()).await?.is_some() {
            let numbering = self.shared.policy.numbering();
            (index, name) = record.free_name(service, index + 1, numbering);
        }
        self.first = index;
        if index == proposed
            && store.find(&Key::Credential { account, id: &self.id }).await?.is_some()
        {
            self.redraw()?;
        }
        Ok(())
    }
}
