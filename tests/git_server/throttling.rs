//! Tests of the throttle for failed logins, with simulated time.

use std::{
    net::IpAddr,
    num::NonZeroU16,
    time::{Duration, Instant},
};

use crate::throttle::{KEPT, Throttle};

const SECOND: Duration = Duration::from_secs(1);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A throttle of six failures a minute: one every ten seconds.
fn six_per_minute() -> Throttle {
    Throttle::new(NonZeroU16::new(6).unwrap())
}

#[test]
fn a_name_is_throttled_at_one_address_and_recovers() {
    let (throttle, start) = (six_per_minute(), Instant::now());
    let address = ip("192.0.2.1");
    for _ in 0..6 {
        assert_eq!(throttle.delay(address, "anika", start), Duration::ZERO);
        throttle.failed(address, Some("anika"), start);
    }
    for (after, delay) in [(0, 10), (3, 7), (9, 1), (10, 0), (60, 0), (600, 0)] {
        let now = start + after * SECOND;
        assert_eq!(throttle.delay(address, "ANIKA", now), delay * SECOND, "{after}");
        assert_eq!(throttle.delay(address, "jane", now), Duration::ZERO, "{after}");
        assert_eq!(throttle.delay(ip("192.0.2.2"), "anika", now), Duration::ZERO, "{after}");
    }
    // After ten seconds, one more failure is allowed.
    let now = start + 10 * SECOND;
    throttle.failed(address, Some("anika"), now);
    assert_eq!(throttle.delay(address, "anika", now), 10 * SECOND);
    // Later, six failures are allowed again.
    let now = start + 100 * SECOND;
    for _ in 0..6 {
        assert_eq!(throttle.delay(address, "anika", now), Duration::ZERO);
        throttle.failed(address, Some("anika"), now);
    }
    assert_eq!(throttle.delay(address, "anika", now), 10 * SECOND);
}

#[test]
fn the_limit_of_an_address_is_ten_times_the_limit_of_a_name() {
    for named in [true, false] {
        let (throttle, now) = (six_per_minute(), Instant::now());
        let address = ip("192.0.2.1");
        for number in 0..60 {
            assert_eq!(throttle.delay(address, "anika", now), Duration::ZERO);
            let name = format!("name-{number}");
            throttle.failed(address, named.then_some(&name), now);
        }
        assert_eq!(throttle.delay(address, "anika", now), SECOND);
        assert_eq!(throttle.delay(address, "anika", now + SECOND), Duration::ZERO);
        assert_eq!(throttle.delay(ip("192.0.2.2"), "name-1", now), Duration::ZERO);
    }
}

#[test]
fn a_throttled_name_is_served_to_addresses_that_have_not_failed_with_it() {
    let (throttle, now) = (six_per_minute(), Instant::now());
    for number in 0..100 {
        let guessing = ip(&format!("192.0.2.{number}"));
        // The first attempt from each address is not throttled.
        assert_eq!(throttle.delay(guessing, "anika", now), Duration::ZERO);
        throttle.failed(guessing, Some("anika"), now);
        assert_eq!(throttle.delay(guessing, "ANIKA", now).is_zero(), number < 59, "{number}");
        assert_eq!(throttle.delay(guessing, "jane", now), Duration::ZERO);
    }
    // After ten seconds, the address may use the name again, long before the name recovers.
    assert_eq!(throttle.delay(ip("192.0.2.7"), "anika", now), 10 * SECOND);
    assert_eq!(throttle.delay(ip("192.0.2.7"), "anika", now + 10 * SECOND), Duration::ZERO);
    assert_eq!(throttle.delay(ip("198.51.100.1"), "anika", now), Duration::ZERO);
}

#[test]
fn addresses_of_one_host_share_a_limit() {
    for (one, other, same) in [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("2001:db8::1", "2001:db8::ffff:2", true),
        ("2001:db8::1", "2001:db8:0:1::1", false),
    ] {
        let (throttle, now) = (six_per_minute(), Instant::now());
        for _ in 0..6 {
            throttle.failed(ip(one), Some("anika"), now);
        }
        assert_eq!(!throttle.delay(ip(other), "anika", now).is_zero(), same, "{one} {other}");
    }
}

#[test]
fn the_least_recent_failure_is_evicted_first() {
    let (throttle, now) = (six_per_minute(), Instant::now());
    let address = |number: usize| IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
    // Without a name, a failure has only an entry for the address.
    let fail = |number: usize| {
        for _ in 0..60 {
            throttle.failed(address(number), None, now);
        }
    };
    (0..KEPT.get()).for_each(fail);
    assert!(!throttle.delay(address(0), "", now).is_zero());
    fail(KEPT.get());
    assert!(throttle.delay(address(0), "", now).is_zero());
    assert!(!throttle.delay(address(1), "", now).is_zero());
    assert!(!throttle.delay(address(KEPT.get()), "", now).is_zero());
}
