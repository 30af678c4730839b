//! For tests: a suite for stores, a clock that stands still, and entropy that can be had again.

use std::sync::atomic::{AtomicI64, Ordering};

use rand::{SeedableRng, rngs::ChaCha20Rng};
use time::{Duration, OffsetDateTime};

use crate::environment::{Clock, Entropy, EntropyError, RngEntropy};

pub use suite::{Obligation, Suite, Violation};

mod suite;

/// A clock that shows what it is set to, in whole milliseconds.
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
pub struct FixedClock(AtomicI64);

impl FixedClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: OffsetDateTime) -> Self {
        Self(AtomicI64::new(milliseconds(now - OffsetDateTime::UNIX_EPOCH)))
    }

    /// Sets the clock.
    pub fn set(&self, now: OffsetDateTime) {
        self.0.store(milliseconds(now - OffsetDateTime::UNIX_EPOCH), Ordering::SeqCst);
    }

    /// Moves the clock on, or back.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(milliseconds(by), Ordering::SeqCst);
    }
}

fn milliseconds(duration: Duration) -> i64 {
    // The years that a date can be in have fewer milliseconds than an `i64` counts.
    i64::try_from(duration.whole_milliseconds()).unwrap_or(i64::MAX)
}

impl Clock for FixedClock {
    fn now(&self) -> OffsetDateTime {
        let since = Duration::milliseconds(self.0.load(Ordering::SeqCst));
        OffsetDateTime::UNIX_EPOCH.saturating_add(since)
    }
}

/// Entropy from a seed: the same bytes in every run.
///
/// **For tests alone.** Whoever knows the seed knows every password. Two managers of one store
/// take one of these (in an [`Arc`](std::sync::Arc)), not two of one seed.
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
    /// Entropy from `seed`.
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
