//! The pages of the tags of a user.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::{
    error::Error,
    paging::{Marker, MaxItems, Page},
    user::User,
};

/// A page of the tags, in the order of their keys. If the tag at which the last page ended was
/// removed meanwhile, the page starts at its former position.
pub(super) fn page(
    user: &User,
    marker: Option<&Marker>,
    max_items: MaxItems,
) -> Result<Page<(String, String)>, Error> {
    let tags: Vec<_> = user.tags().iter().collect();
    let start = match marker {
        Some(marker) => locate(user, marker).ok_or(Error::MarkerMismatch)?,
        None => 0,
    };
    let rest = tags.get(start..).unwrap_or_default();
    let items: Vec<_> = rest
        .iter()
        .take(max_items.as_usize())
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let end = start + items.len();
    let next = items.last().filter(|_| end < tags.len()).map(|(key, _)| mark(user, end, key));
    Ok(Page { items, next })
}

/// A marker is the id of the user, the number of tags before it and a hash of the last key.
fn mark(user: &User, count: usize, last: &str) -> Marker {
    let mut marker = user.id().as_bytes().to_vec();
    marker.push(u8::try_from(count).unwrap_or(u8::MAX));
    marker.extend(hash(user, last));
    Marker::new(URL_SAFE_NO_PAD.encode(marker))
}

/// The position after the tag that the marker names.
fn locate(user: &User, marker: &Marker) -> Option<usize> {
    let decoded = URL_SAFE_NO_PAD.decode(marker.as_str()).ok()?;
    let (id, rest) = decoded.split_first_chunk::<16>()?;
    let (count, last) = rest.split_first()?;
    if id != user.id().as_bytes() || last.len() != 32 || *count == 0 {
        return None;
    }
    let found = user.tags().iter().position(|(key, _)| hash(user, key) == last);
    Some(found.map_or_else(|| usize::from(*count) - 1, |position| position + 1))
}

fn hash(user: &User, key: &str) -> Vec<u8> {
    let key = key.to_ascii_lowercase();
    Sha256::new_with_prefix(user.id().as_bytes()).chain_update(key).finalize().to_vec()
}
