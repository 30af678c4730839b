//! Limits failed logins, by client address and by service user name.
//!
//! Passwords have 256 bits, so guessing is hopeless: the limit protects the store and the log. It
//! must not become a way to lock a user out. With a limit of `n` failures a minute, a login has to
//! wait
//!
//! - after `n` failures with its name from its address;
//! - after `10 n` failures from its address, so that one client does not lock out others that share
//!   the address, until it fails with many names;
//! - after `10 n` failures with its name from anywhere, if this address has failed with it lately,
//!   too. From any other address the right password works at once.
//!
//! Memory is bounded: names and addresses are kept as keyed 64-bit hashes, and the one that failed
//! longest ago is forgotten first. A typed name may be a password in the wrong field, so it is not
//! kept as it is.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    num::{NonZeroU16, NonZeroUsize},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use lru::LruCache;

/// The number of hashes that are kept.
pub(crate) const KEPT: NonZeroUsize = NonZeroUsize::new(1 << 15).unwrap();
/// How much more an address or a name may fail than both together.
const MORE: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// Counts failed logins by the *generic cell rate algorithm*: each failure moves a date ahead by
/// its share of a minute, and a login has to wait if its failure would move the date more than a
/// minute ahead of now.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// The share of a failure with one name from one address.
    share: Duration,
    hasher: RandomState,
    dates: Mutex<LruCache<u64, Instant>>,
}

impl Throttle {
    pub(crate) fn new(failures_per_minute: NonZeroU16) -> Self {
        let share = MINUTE / u32::from(failures_per_minute.get());
        Self { share, hasher: RandomState::new(), dates: Mutex::new(LruCache::new(KEPT)) }
    }

    /// How long a login with this name from this address has to wait; zero if it is served now.
    pub(crate) fn delay(&self, address: IpAddr, name: &str, now: Instant) -> Duration {
        let dates = self.dates.lock().unwrap_or_else(PoisonError::into_inner);
        let [both, address, name] = self.keys(address, Some(name)).map(|key| {
            let (key, share) = key.unwrap_or_default();
            let ahead = dates.peek(&key).map_or(Duration::ZERO, |date| date.duration_since(now));
            (ahead, (ahead + share).saturating_sub(MINUTE))
        });
        both.1.max(address.1).max(name.1.min(both.0))
    }

    /// Counts a failed login; without a name, if the client has sent none that can be read.
    pub(crate) fn failed(&self, address: IpAddr, name: Option<&str>, now: Instant) {
        let mut dates = self.dates.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, share) in self.keys(address, name).into_iter().flatten() {
            let date = dates.peek(&key).map_or(now, |date| now.max(*date));
            dates.put(key, date + share);
        }
    }

    /// The keys of both, of the address, and of the name, each with the share of a failure.
    fn keys(&self, address: IpAddr, name: Option<&str>) -> [Option<(u64, Duration)>; 3] {
        let address = match address.to_canonical() {
            // A host chooses the lower half of its address freely.
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            IpAddr::V4(address) => IpAddr::V4(address),
        };
        // Service user names are compared without case.
        let name = name.map(str::to_ascii_lowercase);
        let key =
            |address: Option<IpAddr>, name: Option<&String>| self.hasher.hash_one((address, name));
        [
            name.as_ref().map(|name| (key(Some(address), Some(name)), self.share)),
            Some((key(Some(address), None), self.share / MORE)),
            name.as_ref().map(|name| (key(None, Some(name)), self.share / MORE)),
        ]
    }
}
