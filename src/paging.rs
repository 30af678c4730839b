//! The values of paged listings: marker, number of items, page.

use std::str::FromStr;

use crate::{
    constraint::{Constraint, invalid_value},
    names::{CharacterClass, Pattern, text_conversions, text_formats},
};

/// The start of the next page of a listing: opaque text of at most 320 characters.
///
/// A marker belongs to its query: account, user or all users, service, ages, path prefix. It is not
/// secret; a forged one yields nothing that the same query cannot list.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Marker(Box<str>);

impl Marker {
    pub(crate) fn new(text: String) -> Self {
        Self(text.into())
    }

    /// The documented pattern of a marker.
    pub const PATTERN: &'static str = r"[\u0020-\u00FF]+";
    /// The fewest characters of a marker.
    pub const MIN_LENGTH: usize = 1;
    /// The most characters of a marker.
    pub const MAX_LENGTH: usize = 320;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) const GRAMMAR: Pattern = Pattern {
        regex: Self::PATTERN,
        class: CharacterClass::Latin1,
        min: Self::MIN_LENGTH,
        max: Self::MAX_LENGTH,
    };
}

impl FromStr for Marker {
    type Err = InvalidMarker;

    /// Accepts every text of the documented pattern. The listing verifies the marker.
    fn from_str(text: &str) -> Result<Self, InvalidMarker> {
        Self::GRAMMAR.check(text).map_err(InvalidMarker)?;
        Ok(Self(text.into()))
    }
}

text_formats!(Marker);

/// The text is not of the pattern of a [`Marker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidMarker(pub(crate) Constraint);

invalid_value!(InvalidMarker, "marker", parameter "marker");
text_conversions!(Marker, InvalidMarker);

/// A page of a listing.
///
/// With the feature `serde`, its JSON is `{"items": [], "next": "AbC…"}`, or `"next": null` for the
/// last page.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "a page is its items and a marker")]
pub struct Page<T> {
    /// The items, in the order of the listing. Empty only if none was left.
    pub items: Vec<T>,
    /// The marker of the next page, or `None` if this is the last one.
    pub next: Option<Marker>,
}

/// The maximum number of items of a page: 1 to 1000 (*reported*), by default 100 (our decision).
///
/// ```
/// use service_specific_credentials::MaxItems;
///
/// assert_eq!(MaxItems::default(), MaxItems::new(100)?);
/// assert!(MaxItems::new(0).is_err());
/// # Ok::<(), service_specific_credentials::InvalidMaxItems>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaxItems(u32);

impl MaxItems {
    /// The smallest maximum.
    pub const MIN: u32 = 1;
    /// The largest maximum.
    pub const MAX: u32 = 1000;

    /// A maximum of `items`.
    ///
    /// # Errors
    ///
    /// If `items` is not between [`MIN`](Self::MIN) and [`MAX`](Self::MAX).
    pub const fn new(items: u32) -> Result<Self, InvalidMaxItems> {
        match items {
            ..Self::MIN => Err(InvalidMaxItems(Constraint::MinValue(Self::MIN))),
            Self::MIN..=Self::MAX => Ok(Self(items)),
            _ => Err(InvalidMaxItems(Constraint::MaxValue(Self::MAX))),
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    pub(crate) const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl Default for MaxItems {
    fn default() -> Self {
        Self(100)
    }
}

/// The number is not a [`MaxItems`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidMaxItems(pub(crate) Constraint);

invalid_value!(InvalidMaxItems, "number of items", parameter "maxItems");
