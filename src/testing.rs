//! For tests: a conformance suite for stores, a fixed clock, and seeded entropy.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::{SeedableRng, rngs::ChaCha20Rng};
use time::{Duration, OffsetDateTime};

use crate::{
    clock::Clock,
    entropy::{Entropy, EntropyError, RngEntropy},
};

pub use suite::{Obligation, Suite, Violation};

mod suite;

/// A clock that returns the time it is set to.
///
/// ```
/// use std::sync::Arc;
/// use service_specific_credentials::{CredentialManager, MemoryStore, testing::FixedClock};
/// use time::{Duration, OffsetDateTime};
///
/// let clock = Arc::new(FixedClock::new(OffsetDateTime::UNIX_EPOCH));
/// let iam = CredentialManager::builder("123456789012".parse()?, MemoryStore::new())
///     .clock(Arc::clone(&clock))
///     .build();
/// clock.advance(Duration::days(90));
/// let user = iam.register_user(&"anika".parse()?)?;
/// assert_eq!(user.created(), OffsetDateTime::UNIX_EPOCH + Duration::days(90));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FixedClock(Mutex<OffsetDateTime>);

impl FixedClock {
    /// A clock that returns `now`.
    #[must_use]
    pub const fn new(now: OffsetDateTime) -> Self {
        Self(Mutex::new(now))
    }

    /// Sets the clock.
    pub fn set(&self, now: OffsetDateTime) {
        *self.time() = now;
    }

    /// Moves the clock forward or back, within the range of dates.
    pub fn advance(&self, by: Duration) {
        let mut time = self.time();
        *time = time.saturating_add(by);
    }

    fn time(&self) -> MutexGuard<'_, OffsetDateTime> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for FixedClock {
    fn now(&self) -> OffsetDateTime {
        *self.time()
    }
}

/// Generates random bytes from a seed: the same in every run.
///
/// **For tests only.** An attacker who knows the seed knows every password. Two managers of one
/// store must share one instance (in an [`Arc`](std::sync::Arc)), not use two with the same seed.
///
/// ```
/// use service_specific_credentials::{CredentialManager, MemoryStore, testing::SeededEntropy};
///
/// let password = || -> Result<String, Box<dyn std::error::Error>> {
///     let iam = CredentialManager::builder("123456789012".parse()?, MemoryStore::new())
///         .entropy(SeededEntropy::new(7))
///         .build();
///     iam.register_user(&"anika".parse()?)?;
///     let issued = iam.create(&"anika".parse()?, &"codecommit.amazonaws.com".parse()?)?;
///     Ok(issued.secret().expose().to_owned())
/// };
/// assert_eq!(password()?, password()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SeededEntropy(RngEntropy<ChaCha20Rng>);

impl SeededEntropy {
    /// Random bytes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(RngEntropy::new(ChaCha20Rng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill(bytes)
    }
}
