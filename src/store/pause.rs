//! Pauses between the attempts of a request that conflicted.

use std::time::Duration;

use tokio::time::sleep;

/// Pauses for a random time, in whole milliseconds up to `longest`, so that callers that conflicted
/// once do not conflict again.
pub(super) async fn pause(longest: u32) {
    // Without a random number, all callers pause for the same time, which is no worse than no
    // pause.
    let random = getrandom::u32().unwrap_or(longest);
    sleep(bounded(random, longest)).await;
}

/// At most `longest` milliseconds.
fn bounded(random: u32, longest: u32) -> Duration {
    Duration::from_millis(u64::from(random) % (u64::from(longest) + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_has_each_length_up_to_its_bound() {
        for longest in [0, 1, 63, 1000] {
            let lengths: Vec<_> = (0..=longest).map(|random| bounded(random, longest)).collect();
            let expected: Vec<_> =
                (0..=longest).map(|length| Duration::from_millis(length.into())).collect();
            assert_eq!(lengths, expected);
            assert_eq!(bounded(longest + 1, longest), Duration::ZERO);
            assert!(bounded(u32::MAX, longest) <= Duration::from_millis(longest.into()));
        }
    }
}
