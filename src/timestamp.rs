use std::fmt;

use time::{Duration, OffsetDateTime};

/// A moment in whole milliseconds since 1970, no later than the end of the year 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Timestamp(i64);

impl Timestamp {
    /// 9999-12-31T23:59:59.999Z, the last that four digits of a year can write.
    const MAX: Self = Self(253_402_300_799_999);
    const DAY: i64 = 86_400_000;

    /// Drops what is finer than a millisecond. A date outside of the range becomes its nearest
    /// end.
    pub(crate) fn new(date: OffsetDateTime) -> Self {
        let since = date - OffsetDateTime::UNIX_EPOCH;
        let milliseconds = since.whole_milliseconds().clamp(0, Self::MAX.0.into());
        Self(i64::try_from(milliseconds).unwrap_or(Self::MAX.0))
    }

    pub(crate) fn date(self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::milliseconds(self.0))
    }

    /// `None` outside of the range.
    pub(crate) fn from_milliseconds(milliseconds: i64) -> Option<Self> {
        (0..=Self::MAX.0).contains(&milliseconds).then_some(Self(milliseconds))
    }

    pub(crate) fn milliseconds(self) -> i64 {
        self.0
    }

    /// This many days of 86,400 seconds later, or the end of the range.
    pub(crate) fn plus_days(self, days: u32) -> Self {
        Self(self.0.saturating_add(Self::DAY * i64::from(days))).min(Self::MAX)
    }

    /// This many days of 86,400 seconds earlier, before 1970 if need be.
    pub(crate) fn minus_days(self, days: u32) -> Self {
        Self(self.0 - Self::DAY * i64::from(days))
    }
}

/// Written as the interface has it: `2016-11-01T17:47:22.382Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.date();
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        let (hour, minute, second, millisecond) = date.to_hms_milli();
        write!(f, "{year:04}-{month:02}-{day:02}T")?;
        write!(f, "{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.date(), f)
    }
}

/// Written as RFC 3339 has it: `2016-11-01T17:47:22.382Z`.
#[cfg(feature = "serde")]
impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        time::serde::rfc3339::serialize(&self.date(), serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        time::serde::rfc3339::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_truncated_to_milliseconds() {
        let date = OffsetDateTime::UNIX_EPOCH + Duration::nanoseconds(1_999_999);
        assert_eq!(Timestamp::new(date), Timestamp(1));
        assert_eq!(Timestamp(1).date(), OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(1));
    }

    #[test]
    fn dates_outside_of_the_range_become_its_ends() {
        let before = OffsetDateTime::UNIX_EPOCH - Duration::nanoseconds(1);
        assert_eq!(Timestamp::new(before), Timestamp(0));
        assert_eq!(Timestamp::MAX.date().year(), 9999);
        assert_eq!(Timestamp::MAX.plus_days(36_600), Timestamp::MAX);
        assert_eq!(Timestamp::new(Timestamp::MAX.date()), Timestamp::MAX);
    }

    #[test]
    fn a_day_has_86_400_seconds() {
        assert_eq!(Timestamp(5).plus_days(90), Timestamp(5 + 90 * 86_400_000));
        assert_eq!(Timestamp(5).plus_days(90).minus_days(90), Timestamp(5));
    }
}
