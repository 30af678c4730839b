//! What all managers and authenticators of one store share.

use crate::{
    clock::Clock, entropy::Entropy, policy::Policy, store::verified::Verified, timestamp::Timestamp,
};

#[derive(Debug)]
pub(crate) struct Shared<S> {
    pub(super) store: Verified<S>,
    pub(super) policy: Policy,
    pub(super) clock: Box<dyn Clock>,
    pub(super) entropy: Box<dyn Entropy>,
}

impl<S> Shared<S> {
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::new(self.clock.now())
    }
}
