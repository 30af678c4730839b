use crate::constraint::{Constraint, invalid_value};

/// The lifetime of a credential: 1 to 36,600 days (*recorded*) of 86,400 seconds.
///
/// The expiration date is the creation date plus the lifetime. With the feature `serde`, its JSON
/// is its number of days.
///
/// ```
/// use service_specific_credentials::Lifetime;
///
/// assert_eq!(Lifetime::days(90)?.as_days(), 90);
/// assert!(Lifetime::days(0).is_err());
/// # Ok::<(), service_specific_credentials::InvalidLifetime>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifetime(u32);

impl Lifetime {
    /// The shortest lifetime in days.
    pub const MIN_DAYS: u32 = 1;
    /// The longest lifetime in days.
    pub const MAX_DAYS: u32 = 36_600;

    /// A lifetime of `days` days.
    ///
    /// # Errors
    ///
    /// If `days` is not between [`MIN_DAYS`](Self::MIN_DAYS) and [`MAX_DAYS`](Self::MAX_DAYS).
    pub const fn days(days: u32) -> Result<Self, InvalidLifetime> {
        match days {
            ..Self::MIN_DAYS => Err(InvalidLifetime(Constraint::MinValue(Self::MIN_DAYS))),
            Self::MIN_DAYS..=Self::MAX_DAYS => Ok(Self(days)),
            _ => Err(InvalidLifetime(Constraint::MaxValue(Self::MAX_DAYS))),
        }
    }

    /// A lifetime of a literal number of days, for constants. An invalid number in a `const` is a
    /// compile error.
    ///
    /// ```
    /// use service_specific_credentials::Lifetime;
    ///
    /// const QUARTER: Lifetime = Lifetime::from_static_days(90);
    /// ```
    ///
    /// ```compile_fail,E0080
    /// use service_specific_credentials::Lifetime;
    ///
    /// const NONE: Lifetime = Lifetime::from_static_days(0);
    /// ```
    ///
    /// # Panics
    ///
    /// If `days` is not between [`MIN_DAYS`](Self::MIN_DAYS) and [`MAX_DAYS`](Self::MAX_DAYS).
    #[must_use]
    pub const fn from_static_days(days: u32) -> Self {
        assert!(
            days >= Self::MIN_DAYS && days <= Self::MAX_DAYS,
            "a lifetime has 1 to 36,600 days"
        );
        Self(days)
    }

    /// The number of days.
    #[must_use]
    pub const fn as_days(self) -> u32 {
        self.0
    }
}

/// The number of days is not a [`Lifetime`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidLifetime(pub(crate) Constraint);

invalid_value!(InvalidLifetime, "credential age in days", parameter "credentialAgeDays");

#[cfg(feature = "serde")]
impl serde::Serialize for Lifetime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Lifetime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::days(u32::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
