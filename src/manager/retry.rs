//! The retry loop: read the record, decide, compare and swap.

use super::{
    async_manager::AsyncCredentialManager,
    operation::{Decision, Operation, Target},
    ownership::Missing,
};
use crate::{
    error::{Error, unknown_credential::UnknownCredential},
    store::{
        AsyncStore,
        change::{Change, CommitOutcome},
    },
    store_error::StoreError,
};

/// The maximum number of attempts of an operation that loses each compare-and-swap (our decision).
pub(super) const ATTEMPTS: usize = 64;

impl<S: AsyncStore> AsyncCredentialManager<S> {
    /// Runs an operation. Retries if the record has changed since it was read, or if another record
    /// holds a key that the change claims.
    pub(super) async fn run<O: Operation>(&self, operation: &mut O) -> Result<O::Output, Error> {
        let store = &self.shared.store;
        let mut user = None;
        for _ in 0..ATTEMPTS {
            let found = store.find(&operation.target().key(self.account)).await?;
            let found_id = found.as_ref().map(|record| record.id());
            let (change, output) = match operation.decide(found) {
                Ok(Decision::Commit(change, output)) => (change, output),
                Ok(Decision::Done(output)) => return Ok(output),
                Err(Error::NoSuchCredential { id }) => {
                    let Target::User(user) = operation.target() else {
                        return Err(Error::NoSuchCredential { id });
                    };
                    match self.classify_missing(user, found_id, &id).await? {
                        Missing::NoSuchCredential => return Err(Error::NoSuchCredential { id }),
                        Missing::OfAnotherUser => {
                            return Err(Error::CredentialOfAnotherUser { user: user.clone(), id });
                        }
                        Missing::Changed => continue,
                    }
                }
                Err(error) => return Err(error),
            };
            match store.commit(&change).await {
                Ok(CommitOutcome::Applied) => return Ok(output),
                Ok(CommitOutcome::Stale) => {}
                Ok(CommitOutcome::KeyTaken) => operation.key_taken(store).await?,
                Err(source) => return Err(unknown(operation, &change, &output, source)),
            }
            user = change.previous().map(|previous| previous.name().clone());
        }
        let user = match operation.target() {
            Target::User(named) => named.clone(),
            Target::Credential(id) => {
                user.ok_or_else(|| Error::NoSuchCredential { id: id.clone() })?
            }
        };
        Err(Error::Contended { user })
    }
}

fn unknown<O: Operation>(
    operation: &O,
    change: &Change,
    output: &O::Output,
    source: StoreError,
) -> Error {
    let credential = operation.credential().zip(change.previous()).map(|(id, previous)| {
        let (account, user_id) = (previous.account(), previous.id());
        let (user_name, issued) = (previous.name().clone(), O::issued(output));
        UnknownCredential::new(account, user_id, user_name, id.clone(), issued)
    });
    Error::OutcomeUnknown { credential, source }
}
