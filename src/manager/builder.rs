use std::sync::Arc;

use super::{CredentialManager, async_manager::AsyncCredentialManager, shared::Shared};
use crate::{
    clock::{Clock, SystemClock},
    entropy::{Entropy, SystemEntropy},
    names::account_id::AccountId,
    policy::Policy,
    store::{AsyncStore, Store, sync_adapter::SyncAdapter, verified::Verified},
};

/// Builds a [`CredentialManager`] or an [`AsyncCredentialManager`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct CredentialManagerBuilder<S> {
    account: AccountId,
    shared: Shared<S>,
}

impl<S> CredentialManagerBuilder<S> {
    pub(super) fn new(account: AccountId, store: S) -> Self {
        let shared = Shared {
            store: Verified(store),
            policy: Policy::default(),
            clock: Box::new(SystemClock),
            entropy: Box::new(SystemEntropy),
        };
        Self { account, shared }
    }

    /// Sets the policy. Default: [`Policy::default`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.shared.policy = policy;
        self
    }

    /// Sets the clock. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.shared.clock = Box::new(clock);
        self
    }

    /// Sets the source of random bytes, which must be a cryptographic generator. Default:
    /// [`SystemEntropy`].
    pub fn entropy(mut self, entropy: impl Entropy + 'static) -> Self {
        self.shared.entropy = Box::new(entropy);
        self
    }
}

impl<S: Store> CredentialManagerBuilder<S> {
    /// Builds the manager.
    #[must_use]
    pub fn build(self) -> CredentialManager<S> {
        let Shared { store: Verified(store), policy, clock, entropy } = self.shared;
        let store = Verified(SyncAdapter::new(store));
        let shared = Shared { store, policy, clock, entropy };
        let (account, shared) = (self.account, Arc::new(shared));
        CredentialManager(AsyncCredentialManager { account, shared })
    }
}

impl<S: AsyncStore> CredentialManagerBuilder<S> {
    /// Builds the manager over an async store.
    #[must_use]
    pub fn build_async(self) -> AsyncCredentialManager<S> {
        AsyncCredentialManager { account: self.account, shared: Arc::new(self.shared) }
    }
}
