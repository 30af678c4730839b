//! The rule by which failed logins are limited, at times that a test chooses.

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

/// Six a minute: one every ten seconds.
fn six() -> Throttle {
    Throttle::new(NonZeroU16::new(6).unwrap())
}

#[test]
fn a_name_from_an_address_fails_as_often_as_it_may_and_recovers() {
    let (throttle, start) = (six(), Instant::now());
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
    // One was forgotten: one may fail.
    let now = start + 10 * SECOND;
    throttle.failed(address, Some("anika"), now);
    assert_eq!(throttle.delay(address, "anika", now), 10 * SECOND);
    // All were.
    let now = start + 100 * SECOND;
    for _ in 0..6 {
        assert_eq!(throttle.delay(address, "anika", now), Duration::ZERO);
        throttle.failed(address, Some("anika"), now);
    }
    assert_eq!(throttle.delay(address, "anika", now), 10 * SECOND);
}

#[test]
fn an_address_fails_ten_times_as_often_with_many_names() {
    for named in [true, false] {
        let (throttle, now) = (six(), Instant::now());
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
fn a_name_that_fails_everywhere_is_served_to_addresses_that_have_not_failed_with_it() {
    let (throttle, now) = (six(), Instant::now());
    for number in 0..100 {
        let guessing = ip(&format!("192.0.2.{number}"));
        // The first guess from each address is checked.
        assert_eq!(throttle.delay(guessing, "anika", now), Duration::ZERO);
        throttle.failed(guessing, Some("anika"), now);
        assert_eq!(throttle.delay(guessing, "ANIKA", now).is_zero(), number < 59, "{number}");
        assert_eq!(throttle.delay(guessing, "jane", now), Duration::ZERO);
    }
    // The address recovers long before the name does.
    assert_eq!(throttle.delay(ip("192.0.2.7"), "anika", now), 10 * SECOND);
    assert_eq!(throttle.delay(ip("192.0.2.7"), "anika", now + 10 * SECOND), Duration::ZERO);
    assert_eq!(throttle.delay(ip("198.51.100.1"), "anika", now), Duration::ZERO);
}

#[test]
fn addresses_of_one_host_are_one() {
    for (one, other, same) in [
        ("192.0.2.1", "192.0.2.1", true),
        ("192.0.2.1", "::ffff:192.0.2.1", true),
        ("192.0.2.1", "192.0.2.2", false),
        ("2001:db8::1", "2001:db8::ffff:2", true),
        ("2001:db8::1", "2001:db8:0:1::1", false),
    ] {
        let (throttle, now) = (six(), Instant::now());
        for _ in 0..6 {
            throttle.failed(ip(one), Some("anika"), now);
        }
        assert_eq!(!throttle.delay(ip(other), "anika", now).is_zero(), same, "{one} {other}");
    }
}

#[test]
fn what_failed_longest_ago_is_forgotten_first() {
    let (throttle, now) = (six(), Instant::now());
    let address = |number: usize| IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
    // One entry for each, the address alone.
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
