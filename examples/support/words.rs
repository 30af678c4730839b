//! How long ago, and how long until, in words.

use time::{Duration, OffsetDateTime};

/// `3 days ago`, `in 90 days`, `just now`, in one unit. What is past is rounded down: an age of
/// 90 days has been reached.
pub(crate) fn relative(date: OffsetDateTime, now: OffsetDateTime) -> String {
    if date > now {
        // To the minute: what was set to 90 days a moment ago is not 89.
        format!("in {}", length(date - now + Duration::MINUTE))
    } else if now - date < Duration::MINUTE {
        "just now".to_owned()
    } else {
        format!("{} ago", length(now - date))
    }
}

fn length(apart: Duration) -> String {
    let days = apart.whole_days();
    let (number, unit) = match days {
        0 if apart < Duration::HOUR => (apart.whole_minutes(), "minute"),
        0 => (apart.whole_hours(), "hour"),
        // Rotation is counted in days: `90 days` says more than `3 months`.
        1..730 => (days, "day"),
        _ => (days / 365, "year"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}
