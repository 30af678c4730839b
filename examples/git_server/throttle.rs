//! Limits failed logins, per client address and per service user name.
//!
//! Passwords have 256 bits, so guessing is hopeless; the limit protects the store and the log. It must
//! not become a way to lock a user out:
//!
//! - an address that has failed too often is not served until it has waited, whatever it sends;
//! - a name that has failed too often is not served to addresses that have themselves failed lately.
//!   From any other address the right password works at once.
//!
//! Memory is bounded: names and addresses are kept as keyed 64-bit hashes, at most [`KEPT`] of each,
//! and the one that failed longest ago is forgotten first. A typed name may be a password in the wrong
//! field, so it is not kept as it is.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    num::{NonZeroU32, NonZeroUsize},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use lru::LruCache;

/// The most addresses, and the most names, that are remembered.
pub(crate) const KEPT: NonZeroUsize = NonZeroUsize::new(1 << 14).unwrap();
const MINUTE: Duration = Duration::from_secs(60);

/// The failed logins of the last minute.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Each failure is forgotten after this time: a minute, divided by the failures allowed in it.
    interval: Duration,
    hasher: RandomState,
    failures: Mutex<Failures>,
}

/// When all failures of an address or a name will have been forgotten. (The *generic cell rate
/// algorithm* calls this the theoretical arrival time.)
#[derive(Debug)]
struct Failures {
    of_addresses: LruCache<u64, Instant>,
    of_names: LruCache<u64, Instant>,
}

impl Throttle {
    pub(crate) fn new(failures_per_minute: NonZeroU32) -> Self {
        let failures =
            Failures { of_addresses: LruCache::new(KEPT), of_names: LruCache::new(KEPT) };
        Self {
            interval: MINUTE / failures_per_minute.get(),
            hasher: RandomState::new(),
            failures: Mutex::new(failures),
        }
    }

    /// How long a login with this name from this address has to wait; zero if it is served now.
    pub(crate) fn delay(&self, address: IpAddr, name: &str, now: Instant) -> Duration {
        let failures = self.failures();
        let forgotten_in = |until: Option<&Instant>| {
            until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
        };
        let address = forgotten_in(failures.of_addresses.peek(&self.address(address)));
        let name = forgotten_in(failures.of_names.peek(&self.name(name)));
        let room = MINUTE.saturating_sub(self.interval);
        let of_address = address.saturating_sub(room);
        // Until the name or the address has recovered, whichever is first.
        let of_name = name.saturating_sub(room).min(address);
        of_address.max(of_name)
    }

    /// Counts a failed login. The name is `None` if the request held none.
    pub(crate) fn failed(&self, address: IpAddr, name: Option<&str>, now: Instant) {
        let (address, name) = (self.address(address), name.map(|name| self.name(name)));
        let mut failures = self.failures();
        let later =
            |until: Option<&Instant>| until.map_or(now, |until| now.max(*until)) + self.interval;
        let until = later(failures.of_addresses.peek(&address));
        failures.of_addresses.put(address, until);
        if let Some(name) = name {
            let until = later(failures.of_names.peek(&name));
            failures.of_names.put(name, until);
        }
    }

    /// An IPv6 host chooses the lower half of its address freely.
    fn address(&self, address: IpAddr) -> u64 {
        match address.to_canonical() {
            IpAddr::V4(address) => self.hasher.hash_one(address.octets()),
            IpAddr::V6(address) => self.hasher.hash_one(u128::from(address) >> 64),
        }
    }

    /// Service user names are compared without case.
    fn name(&self, name: &str) -> u64 {
        self.hasher.hash_one(name.to_ascii_lowercase())
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
