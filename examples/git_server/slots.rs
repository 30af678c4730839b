//! Limits how many requests run Git at a time: in total, and for each user.
//!
//! The duration of a request is not limited. The limit per user prevents one user from taking all
//! slots.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use service_specific_credentials::UserId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Clone, Debug)]
pub(crate) struct Slots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Arc<Semaphore>,
    total: u16,
    per_user: u16,
    /// The number of slots that each user has taken. Users without a slot have no entry.
    taken: Mutex<HashMap<UserId, u16>>,
}

/// A permit to run Git for one request. Released when its last owner drops it.
#[derive(Debug)]
pub(crate) struct Slot {
    user: UserId,
    slots: Slots,
    _permit: OwnedSemaphorePermit,
}

/// Why a request gets no slot. It does not wait for a slot, since it would occupy a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// All slots are taken.
    Server,
    /// The user has taken all slots that one user may have.
    User,
}

impl Slots {
    pub(crate) fn new(total: u16, per_user: u16) -> Self {
        let free = Arc::new(Semaphore::new(total.into()));
        Self(Arc::new(Inner { free, total, per_user, taken: Mutex::default() }))
    }

    pub(crate) fn take(&self, user: UserId) -> Result<Arc<Slot>, Busy> {
        let mut taken = self.taken();
        let count = taken.get(&user).copied().unwrap_or(0);
        if count >= self.0.per_user {
            return Err(Busy::User);
        }
        let permit = Arc::clone(&self.0.free).try_acquire_owned().map_err(|_| Busy::Server)?;
        taken.insert(user, count + 1);
        Ok(Arc::new(Slot { user, slots: self.clone(), _permit: permit }))
    }

    /// Waits until no slot is taken.
    pub(crate) async fn all_free(&self) {
        let _ = self.0.free.acquire_many(self.0.total.into()).await;
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<UserId, u16>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.slots.taken().entry(self.user) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
