//! The tags of users and of credentials.

use std::{fmt, sync::Arc};

use smol_str::SmolStr;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory as _};

use crate::{constraint::Constraint, names::cmp_caseless};

/// The tags of a user or of a credential: a label such as *laptop*, or an id of another system. At
/// most 50 pairs of a key and a value.
///
/// Keys compare without ASCII case and keep their spelling: `Team` and `team` are one key. A key
/// has 1 to 128 characters, a value 0 to 256; both are of letters, digits and spaces of Unicode and
/// `_.:/=+-@`. Keys that begin with `aws:` are reserved. Tags are in the order of their keys and
/// cheap to clone. They are not secret: listings show them.
///
/// ```
/// use service_specific_credentials::Tags;
///
/// let tags = Tags::from_pairs([("device", "laptop"), ("Owner", "4711")])?;
/// assert_eq!(tags.get("owner"), Some("4711"));
/// assert_eq!(tags.iter().next(), Some(("device", "laptop")));
/// assert!(Tags::from_pairs([("team", "a"), ("Team", "b")]).is_err());
/// # Ok::<(), service_specific_credentials::InvalidTags>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tags(
    /// In the order of the keys. `None` without tags.
    Option<Arc<[Tag]>>,
);

#[derive(Clone, PartialEq, Eq)]
struct Tag {
    key: SmolStr,
    value: SmolStr,
}

impl Tags {
    /// The largest number of tags.
    pub const MAX: usize = 50;
    /// The documented pattern of a key.
    pub const KEY_PATTERN: &'static str = r"[\p{L}\p{Z}\p{N}_.:/=+\-@]+";
    /// The documented pattern of a value.
    pub const VALUE_PATTERN: &'static str = r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*";
    /// The most characters of a key.
    pub const MAX_KEY_LENGTH: usize = 128;
    /// The most characters of a value.
    pub const MAX_VALUE_LENGTH: usize = 256;
    /// The start of the keys that are reserved, in any case.
    const RESERVED: &'static str = "aws:";

    /// No tags.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// The tags of pairs of a key and a value, in any order.
    ///
    /// # Errors
    ///
    /// The first violation: of the number of tags, then of each pair in its turn.
    pub fn from_pairs<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, InvalidTags> {
        let (mut tags, mut surplus) = (Vec::new(), 0_usize);
        for (key, value) in pairs {
            if tags.len() < Self::MAX {
                tags.push((key, value));
            } else {
                surplus += 1;
            }
        }
        if surplus > 0 {
            return Err(InvalidTags::TooMany(Self::MAX + surplus));
        }
        let mut sorted = Vec::with_capacity(tags.len());
        for (key, value) in &tags {
            let (key, value) = (key.as_ref(), value.as_ref());
            key_violations(key).next().map_or(Ok(()), |it| Err(InvalidTags::Key(it)))?;
            value_violations(value).next().map_or(Ok(()), |it| Err(InvalidTags::Value(it)))?;
            if key.get(..Self::RESERVED.len()).is_some_and(|start| {
                cmp_caseless(start.as_bytes(), Self::RESERVED.as_bytes()).is_eq()
            }) {
                return Err(InvalidTags::Reserved);
            }
            match position(&sorted, key) {
                Ok(_) => return Err(InvalidTags::Repeated),
                Err(position) => sorted.insert(position, Tag::new(key, value)),
            }
        }
        Ok(Self::of(sorted))
    }

    fn of(sorted: Vec<Tag>) -> Self {
        Self((!sorted.is_empty()).then(|| sorted.into()))
    }

    fn as_slice(&self) -> &[Tag] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The value of a key, in any case.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let position = position(self.as_slice(), key).ok()?;
        self.as_slice().get(position).map(|tag| tag.value.as_str())
    }

    /// The pairs of a key and a value, in the order of the keys.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + DoubleEndedIterator {
        self.as_slice().iter().map(|tag| (tag.key.as_str(), tag.value.as_str()))
    }

    /// The number of tags.
    #[must_use]
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are no tags.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// These tags and `later` ones, whose values and spellings take precedence (*recorded*).
    pub(crate) fn and(&self, later: &Self) -> Result<Self, TooManyTags> {
        let mut merged: Vec<_> = self.as_slice().to_vec();
        for tag in later.as_slice() {
            match position(&merged, &tag.key) {
                Ok(position) => {
                    if let Some(present) = merged.get_mut(position) {
                        present.clone_from(tag);
                    }
                }
                Err(position) => merged.insert(position, tag.clone()),
            }
        }
        if merged.len() > Self::MAX { Err(TooManyTags) } else { Ok(Self::of(merged)) }
    }

    /// These tags without those of `keys`. A key that is not there is ignored (*recorded*).
    pub(crate) fn without(&self, keys: &[&str]) -> Self {
        let removed = |tag: &&Tag| {
            keys.iter().any(|key| cmp_caseless(key.as_bytes(), tag.key.as_bytes()).is_eq())
        };
        Self::of(self.as_slice().iter().filter(|tag| !removed(tag)).cloned().collect())
    }

    /// Tags that were stored: at most 50, with distinct keys in order. Characters beyond ASCII are
    /// not validated: which of them are letters depends on the version of Unicode.
    pub(crate) fn from_stored(
        count: u64,
        mut pair: impl FnMut() -> Option<(SmolStr, SmolStr)>,
    ) -> Result<Self, &'static str> {
        if count > Self::MAX as u64 {
            return Err("number of tags");
        }
        let mut tags: Vec<Tag> = Vec::new();
        for _ in 0..count {
            let (key, value) = pair().ok_or("tag")?;
            let follows = tags
                .last()
                .is_none_or(|last| cmp_caseless(last.key.as_bytes(), key.as_bytes()).is_lt());
            let is_stored =
                |text: &str| text.bytes().all(|byte| !byte.is_ascii() || is_ascii_permitted(byte));
            if !follows
                || length(&key, Self::MAX_KEY_LENGTH) > Self::MAX_KEY_LENGTH
                || key.is_empty()
                || length(&value, Self::MAX_VALUE_LENGTH) > Self::MAX_VALUE_LENGTH
                || !is_stored(&key)
                || !is_stored(&value)
            {
                return Err("tag");
            }
            tags.push(Tag { key, value });
        }
        Ok(Self::of(tags))
    }
}

impl Tag {
    fn new(key: &str, value: &str) -> Self {
        Self { key: SmolStr::new(key), value: SmolStr::new(value) }
    }
}

/// The position of a key, or that at which it can be inserted.
fn position(tags: &[Tag], key: &str) -> Result<usize, usize> {
    tags.binary_search_by(|tag| cmp_caseless(tag.key.as_bytes(), key.as_bytes()))
}

/// The number of characters, counted up to one more than `max`.
fn length(text: &str, max: usize) -> usize {
    text.chars().take(max + 1).count()
}

/// All violations of a key: longest, shortest, pattern.
pub(crate) fn key_violations(key: &str) -> impl Iterator<Item = Constraint> + use<> {
    violations(key, 1, Tags::MAX_KEY_LENGTH, Tags::KEY_PATTERN)
}

/// All violations of a value: longest, pattern.
pub(crate) fn value_violations(value: &str) -> impl Iterator<Item = Constraint> + use<> {
    violations(value, 0, Tags::MAX_VALUE_LENGTH, Tags::VALUE_PATTERN)
}

fn violations(
    text: &str,
    min: usize,
    max: usize,
    pattern: &'static str,
) -> impl Iterator<Item = Constraint> + use<> {
    let length = length(text, max);
    let too_long = (length > max).then_some(Constraint::MaxLength(max));
    let too_short = (length < min).then_some(Constraint::MinLength(min));
    let mismatch = (!text.chars().all(is_permitted)).then_some(Constraint::Pattern(pattern));
    [too_long, too_short, mismatch].into_iter().flatten()
}

fn is_permitted(c: char) -> bool {
    match u8::try_from(c) {
        Ok(byte) if byte.is_ascii() => is_ascii_permitted(byte),
        _ => matches!(
            c.general_category_group(),
            GeneralCategoryGroup::Letter
                | GeneralCategoryGroup::Number
                | GeneralCategoryGroup::Separator
        ),
    }
}

const fn is_ascii_permitted(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b' ' | b'_' | b'.' | b':' | b'/' | b'=' | b'+' | b'-' | b'@')
}

impl fmt::Debug for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// As a map from keys to values: `{"device": "laptop"}`.
#[cfg(feature = "serde")]
impl serde::Serialize for Tags {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Tags {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TagsVisitor)
    }
}

#[cfg(feature = "serde")]
struct TagsVisitor;

#[cfg(feature = "serde")]
impl<'de> serde::de::Visitor<'de> for TagsVisitor {
    type Value = Tags;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of at most 50 tags")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Tags, A::Error> {
        // Every pair, so that a repeated key is noticed.
        let mut pairs: Vec<(String, String)> = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Tags::from_pairs(pairs).map_err(serde::de::Error::custom)
    }
}

/// The pairs are not [`Tags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTags {
    /// A key violates a constraint.
    #[error("tag key {0}")]
    Key(Constraint),
    /// A value violates a constraint.
    #[error("tag value {0}")]
    Value(Constraint),
    /// A key begins with `aws:`.
    #[error("tag keys must not begin with `aws:`")]
    Reserved,
    /// A key is given twice (*reported*).
    #[error("Duplicate tag keys found. Please note that Tag keys are case insensitive.")]
    Repeated,
    /// There are more than 50 tags.
    #[error("there can be at most {max} tags, not {0}", max = Tags::MAX)]
    TooMany(usize),
}

/// A user or a credential would have more than 50 tags.
pub(crate) struct TooManyTags;

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        Tags::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn the_characters_are_those_of_the_patterns() {
        let documented = Regex::new(&format!(r"\A{}\z", Tags::KEY_PATTERN)).unwrap();
        let unassigned = Regex::new(r"\A\p{Cn}\z").unwrap();
        let mut permitted = 0;
        for c in '\0'..=char::MAX {
            let mut buffer = [0; 4];
            let text = &*c.encode_utf8(&mut buffer);
            // The two crates may know different versions of Unicode.
            if is_permitted(c) != documented.is_match(text) {
                assert!(is_permitted(c) && unassigned.is_match(text), "{c:?}");
            }
            permitted += u32::from(is_permitted(c));
        }
        assert!(permitted > 130_000, "{permitted}");
    }

    #[test]
    fn invalid_tags_are_rejected() {
        use Constraint::{MaxLength, MinLength, Pattern};
        let (long_key, long_value) = ("k".repeat(129), "v".repeat(257));
        for (pairs, expected) in [
            (&[("", "")][..], InvalidTags::Key(MinLength(1))),
            (&[(&long_key, "")], InvalidTags::Key(MaxLength(128))),
            (&[("a*", "")], InvalidTags::Key(Pattern(Tags::KEY_PATTERN))),
            (&[("a", &long_value)], InvalidTags::Value(MaxLength(256))),
            (&[("a", "\n")], InvalidTags::Value(Pattern(Tags::VALUE_PATTERN))),
            (&[("aws:a", "")], InvalidTags::Reserved),
            (&[("AWS:", "")], InvalidTags::Reserved),
            (&[("a", "1"), ("b", "2"), ("A", "3")], InvalidTags::Repeated),
        ] {
            assert_eq!(Tags::from_pairs(pairs.iter().copied()), Err(expected), "{pairs:?}");
        }
        let many = |count: usize| Tags::from_pairs((0..count).map(|key| (key.to_string(), "")));
        assert_eq!(many(50).unwrap().len(), 50);
        assert_eq!(many(51), Err(InvalidTags::TooMany(51)));
    }

    #[test]
    fn valid_tags_are_sorted_by_key_and_found_in_any_case() {
        let (key, value) = ("é".repeat(128), "日".repeat(256));
        let all = tags(&[(&key, &value), ("b", ""), ("A:/=+-@_.", "x y"), ("awsome", "1")]);
        let keys: Vec<_> = all.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["A:/=+-@_.", "awsome", "b", &key]);
        assert_eq!(all.get("B"), Some(""));
        assert_eq!(all.get(&key), Some(&*value));
        assert_eq!(all.get("c"), None);
        assert!(Tags::new().is_empty() && !all.is_empty());
    }

    #[test]
    fn a_later_value_and_its_spelling_take_precedence() {
        let merged = |later: &[(&str, &str)]| tags(&[("a", "1"), ("b", "2")]).and(&tags(later));
        let pairs = |tags: Tags| format!("{tags:?}");
        assert_eq!(pairs(merged(&[("B", "3")]).ok().unwrap()), r#"{"a": "1", "B": "3"}"#);
        assert_eq!(pairs(merged(&[("0", "")]).ok().unwrap()), r#"{"0": "", "a": "1", "b": "2"}"#);
        let numbered = |keys: std::ops::Range<u32>| {
            Tags::from_pairs(keys.map(|key| (format!("k{key}"), ""))).unwrap()
        };
        assert_eq!(numbered(0..50).and(&numbered(0..50)).ok().unwrap().len(), 50);
        assert!(numbered(0..50).and(&numbered(50..51)).is_err());
    }

    #[test]
    fn a_removed_key_need_not_be_there() {
        let all = tags(&[("a", "1"), ("b", "2")]);
        assert_eq!(all.without(&["B", "c"]), tags(&[("a", "1")]));
        assert_eq!(all.without(&["A", "b"]), Tags::new());
    }
}
