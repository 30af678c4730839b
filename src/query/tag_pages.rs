//! The pages of the tags of a user.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::{
    error::Error,
    paging::{Marker, MaxItems, Page},
    user::User,
};

/// A page of the tags, in the order of their keys. If the tag at which the last page ended was
/// removed since, the page starts at its former position.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        manager::{CredentialManager, user_options::RegisterOptions},
        store::memory::MemoryStore,
        tags::Tags,
    };

    /// A user with the tags `k0` to `k4`.
    fn tagged() -> User {
        let iam = CredentialManager::new("123456789012".parse().unwrap(), MemoryStore::new());
        let tags = Tags::from_pairs((0..5).map(|number| (format!("k{number}"), "v"))).unwrap();
        let options = RegisterOptions::new().tags(tags);
        iam.register_user_with_options(&"anika".parse().unwrap(), &options).unwrap()
    }

    #[test]
    fn a_page_begins_after_the_tag_at_which_the_last_one_ended() {
        let user = tagged();
        for size in 1..=6 {
            let (mut keys, mut marker, mut pages) = (Vec::new(), None, 0);
            loop {
                let page = page(&user, marker.as_ref(), MaxItems::new(size).unwrap()).unwrap();
                keys.extend(page.items.into_iter().map(|(key, _)| key));
                pages += 1;
                marker = page.next;
                if marker.is_none() {
                    break;
                }
            }
            assert_eq!(keys, ["k0", "k1", "k2", "k3", "k4"]);
            assert_eq!(pages, 5_u32.div_ceil(size));
        }
    }

    /// Of the marker, the tag counts, and its position only if the tag is gone.
    #[test]
    fn a_marker_is_of_this_user_and_complete() {
        let user = tagged();
        let forged = |id: &[u8], count: u8, last: &[u8]| {
            let marker = [id, &[count], last].concat();
            locate(&user, &Marker::new(URL_SAFE_NO_PAD.encode(marker)))
        };
        let id = user.id();
        let (id, k2, gone) = (id.as_bytes(), hash(&user, "k2"), hash(&user, "gone"));
        for count in [1, 3, 255] {
            assert_eq!(forged(id, count, &k2), Some(3));
            assert_eq!(forged(id, count, &gone), Some(usize::from(count) - 1));
        }
        assert_eq!(forged(tagged().id().as_bytes(), 3, &k2), None);
        assert_eq!(forged(id, 0, &k2), None);
        for last in [&k2[..31], &[&k2[..], &[0]].concat(), &[]] {
            assert_eq!(forged(id, 3, last), None);
        }
        assert_eq!(locate(&user, &mark(&user, 3, "k2")), Some(3));
    }
}
