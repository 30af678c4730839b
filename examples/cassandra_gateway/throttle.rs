//! Limits failed logins: of one address with one user name, and of one address with all of them.
//!
//! A client that fails for one user name does not lock out another client at its address, and
//! nothing that happens at one address has an effect at another.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU16,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How many user names may fail as often as one may.
const NAMES: u32 = 10;
/// How many addresses and user names are remembered at a time.
const REMEMBERED: usize = 1 << 14;

/// Counts failed logins by the *generic cell rate algorithm*: each failure moves a date ahead by
/// its share of a minute, and no login is tried while that would move the date more than a minute
/// ahead of now.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// The share of one failure in a minute.
    share: Duration,
    /// By the hash of an address, with or without a user name. Those that have passed mean nothing.
    dates: Mutex<HashMap<u64, Instant>>,
    hasher: RandomState,
}

impl Throttle {
    /// Allows so many failures a minute, and as many at a time.
    pub(crate) fn new(failures: NonZeroU16) -> Self {
        let share = Duration::from_secs(60) / u32::from(failures.get());
        Self { share, dates: Mutex::default(), hasher: RandomState::new() }
    }

    /// Whether a login may be tried.
    pub(crate) fn allows(&self, address: IpAddr, name: &str) -> bool {
        let full = Instant::now() + Duration::from_secs(60);
        let dates = self.dates.lock().unwrap_or_else(PoisonError::into_inner);
        self.keys(address, name)
            .iter()
            .all(|(key, share)| dates.get(key).is_none_or(|date| *date + *share <= full))
    }

    /// Counts a login that failed.
    pub(crate) fn record(&self, address: IpAddr, name: &str) {
        let now = Instant::now();
        let mut dates = self.dates.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, share) in self.keys(address, name) {
            if dates.len() >= REMEMBERED && !dates.contains_key(&key) {
                dates.retain(|_, date| *date > now);
                // Bounded whatever happens: rather one that still counts is forgotten.
                if let Some(other) = dates.keys().next().copied()
                    && dates.len() >= REMEMBERED
                {
                    dates.remove(&other);
                }
            }
            let date = dates.entry(key).or_insert(now);
            *date = now.max(*date) + share;
        }
    }

    /// What a failure counts for, and by how much. The user name is not kept: it may be a password
    /// in the wrong field.
    fn keys(&self, address: IpAddr, name: &str) -> [(u64, Duration); 2] {
        let address = match address.to_canonical() {
            // A client has many addresses of its network.
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            IpAddr::V4(address) => IpAddr::V4(address),
        };
        let named = self.hasher.hash_one((address, name.to_ascii_lowercase()));
        [(named, self.share), (self.hasher.hash_one(address), self.share / NAMES)]
    }
}
