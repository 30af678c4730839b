//! The retry loop: read the record, decide, compare and swap.

use super::{
    async_manager::AsyncCredentialManager,
    operation::{Decision, Operation},
    ownership::Missing,
};
use crate::{
    error::Error,
    record::key::Key,
    store::{AsyncStore, change::CommitOutcome},
};

/// The maximum number of attempts of an operation that loses each compare-and-swap (our decision).
const ATTEMPTS: usize = 64;

impl<S: AsyncStore> AsyncCredentialManager<S> {
    /// Runs an operation. Retries if the record has changed since it was read, or if another record
    /// holds a key that the change claims.
    pub(super) async fn run<O: Operation>(&self, operation: &mut O) -> Result<O::Output, Error> {
        let store = &self.shared.store;
        for _ in 0..ATTEMPTS {
            let user = Key::User { account: self.account, name: operation.user() };
            let found = store.find(&user).await?;
            let found_id = found.as_ref().map(|record| record.id());
            let (change, output) = match operation.decide(found) {
                Ok(Decision::Commit(change, output)) => (change, output),
                Ok(Decision::Done(output)) => return Ok(output),
                Err(Error::NoSuchCredential { id }) => {
                    match self.classify_missing(operation.user(), found_id, &id).await? {
                        Missing::NoSuchCredential => return Err(Error::NoSuchCredential { id }),
                        Missing::OfAnotherUser => {
                            let user = operation.user().clone();
                            return Err(Error::CredentialOfAnotherUser { user, id });
                        }
                        Missing::Changed => continue,
                    }
                }
                Err(error) => return Err(error),
            };
            let outcome = store.commit(&change).await.map_err(|source| Error::OutcomeUnknown {
                id: operation.credential().cloned(),
                source,
            })?;
            match outcome {
                CommitOutcome::Applied => return Ok(output),
                CommitOutcome::Stale => {}
                CommitOutcome::KeyTaken => operation.key_taken(store).await?,
            }
        }
        Err(Error::Contended)
    }
}
