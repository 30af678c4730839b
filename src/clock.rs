//! The source of time, which tests can fix.

use std::{fmt, sync::Arc};

use time::OffsetDateTime;

/// The source of the current time.
///
/// Read at most once per operation, and never while a lock is held. A clock that steps back is
/// harmless: credentials of one date are ordered by id, and expiry compares with the time of the
/// call. Dates are stored in milliseconds; a date outside the years 1970 to 9999 becomes the
/// nearest end of that range.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The current time.
    fn now(&self) -> OffsetDateTime;
}

/// The clock of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<T: Clock + ?Sized> Clock for $pointer {
            fn now(&self) -> OffsetDateTime {
                (**self).now()
            }
        }
    )+};
}

forward!(&T, Box<T>, Arc<T>);
