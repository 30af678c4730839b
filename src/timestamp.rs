use std::fmt;

use time::{Duration, OffsetDateTime};

/// A date in whole milliseconds since the Unix epoch, at most the end of the year 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Timestamp(i64);

impl Timestamp {
    /// 9999-12-31T23:59:59.999Z, the last that four digits of a year can write.
    const MAX: Self = Self(253_402_300_799_999);
    /// Later than every date.
    pub(crate) const NEVER: Self = Self(i64::MAX);
    const DAY: i64 = 86_400_000;

    /// Truncates to milliseconds. A date outside the range becomes its nearest end.
    pub(crate) fn new(date: OffsetDateTime) -> Self {
        let since = date - OffsetDateTime::UNIX_EPOCH;
        let milliseconds = since.whole_milliseconds().clamp(0, Self::MAX.0.into());
        Self(i64::try_from(milliseconds).unwrap_or(Self::MAX.0))
    }

    pub(crate) fn date(self) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::milliseconds(self.0))
    }

    /// `None` outside the range.
    pub(crate) fn from_milliseconds(milliseconds: i64) -> Option<Self> {
        (0..=Self::MAX.0).contains(&milliseconds).then_some(Self(milliseconds))
    }

    pub(crate) fn milliseconds(self) -> i64 {
        self.0
    }

    /// The date in the format of the API: `2016-11-01T17:47:22.382Z`.
    #[cfg(feature = "query")]
    #[expect(clippy::expect_used, reason = "an empty date in a response would be worse")]
    pub(crate) fn iso_8601(self) -> String {
        use time::format_description::well_known::{Iso8601, iso8601};

        const FORMAT: iso8601::EncodedConfig = iso8601::Config::DEFAULT
            .set_time_precision(iso8601::TimePrecision::Second {
                decimal_digits: std::num::NonZeroU8::new(3),
            })
            .encode();
        self.date().format(&Iso8601::<FORMAT>).expect("years 1970 to 9999 have this format")
    }

    /// `days` days of 86,400 seconds later, at most the end of the range.
    pub(crate) fn plus_days(self, days: u32) -> Self {
        Self(self.0.saturating_add(Self::DAY * i64::from(days))).min(Self::MAX)
    }

    /// `days` days of 86,400 seconds earlier, possibly before 1970.
    pub(crate) fn minus_days(self, days: u32) -> Self {
        Self(self.0 - Self::DAY * i64::from(days))
    }
}

/// A [`Timestamp`] in 6 bytes, where 8 would enlarge a record: 2^48 milliseconds end after the year
/// 9999.
#[derive(Clone, Copy)]
pub(crate) struct PackedTimestamp([u8; 6]);

impl PackedTimestamp {
    /// The Unix epoch.
    pub(crate) const ZERO: Self = Self([0; 6]);

    pub(crate) const fn unpack(self) -> Timestamp {
        let mut bytes = [0; 8];
        let (_, packed) = bytes.split_at_mut(2);
        packed.copy_from_slice(&self.0);
        Timestamp(i64::from_be_bytes(bytes))
    }
}

impl From<Timestamp> for PackedTimestamp {
    /// The date is within the range.
    fn from(timestamp: Timestamp) -> Self {
        let [_, _, packed @ ..] = timestamp.0.to_be_bytes();
        Self(packed)
    }
}

impl fmt::Debug for PackedTimestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.unpack(), f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.date(), f)
    }
}

/// In the format of RFC 3339: `2016-11-01T17:47:22.382Z`.
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
    fn dates_outside_the_range_become_its_ends() {
        let before = OffsetDateTime::UNIX_EPOCH - Duration::nanoseconds(1);
        assert_eq!(Timestamp::new(before), Timestamp(0));
        assert_eq!(Timestamp::MAX.date().year(), 9999);
        assert_eq!(Timestamp::MAX.plus_days(36_600), Timestamp::MAX);
        assert_eq!(Timestamp::new(Timestamp::MAX.date()), Timestamp::MAX);
    }

    #[test]
    fn every_date_of_the_range_can_be_packed() {
        for date in [Timestamp(0), Timestamp(1), Timestamp(1_478_022_442_382), Timestamp::MAX] {
            assert_eq!(PackedTimestamp::from(date).unpack(), date);
        }
        assert_eq!(PackedTimestamp::ZERO.unpack(), Timestamp(0));
    }

    #[test]
    fn debug_output_is_the_date() {
        let date = Timestamp(1_478_022_442_382);
        let expected = format!("{:?}", date.date());
        assert!(expected.contains("2016-11-01"));
        assert_eq!(format!("{date:?}"), expected);
        assert_eq!(format!("{:?}", PackedTimestamp::from(date)), expected);
    }

    #[cfg(feature = "query")]
    #[test]
    fn iso_8601_pads_every_part() {
        let text = |milliseconds| Timestamp(milliseconds).iso_8601();
        assert_eq!(text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(1_478_022_442_382), "2016-11-01T17:47:22.382Z");
        assert_eq!(text(Timestamp::MAX.0), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_day_has_86_400_seconds() {
        assert_eq!(Timestamp(5).plus_days(90), Timestamp(5 + 90 * 86_400_000));
        assert_eq!(Timestamp(5).plus_days(90).minus_days(90), Timestamp(5));
    }
}
