//! The credentials in a record, without uninitialized memory.

use std::{array, mem, ops::Deref};

use super::stored_credential::StoredCredential;
use crate::{
    credential::CredentialKind,
    names::{
        credential_id::CredentialId, service_name::ServiceName, service_user_name::GeneratedName,
    },
    secret::digest::Digest,
    timestamp::{PackedTimestamp, Timestamp},
};

/// The credentials of one user: inline up to two, the default limit at one service, and otherwise
/// in a heap allocation of their exact size.
///
/// Unused inline slots are initialized. A vector that leaves its spare capacity uninitialized
/// (`SmallVec`, for example) carries stale bytes of the stack into the record when it is moved, and
/// with them remains of a secret.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    inline: [StoredCredential; 2],
    held: Held,
}

/// As large as a boxed slice, whose pointer is never null, and initialized in every byte.
#[derive(Clone, Debug)]
enum Held {
    /// The first of the inline slots, this many.
    Inline(usize),
    /// All of the credentials.
    Boxed(Box<[StoredCredential]>),
}

/// The content of an unused slot.
fn unused() -> StoredCredential {
    StoredCredential {
        service: ServiceName::EMPTY,
        expires: Timestamp::NEVER,
        digest: Digest::DUMMY,
        name: GeneratedName::empty(),
        id: CredentialId::EMPTY,
        created: Timestamp::NEVER,
        active: false,
        kind: CredentialKind::Password,
        secret_changed: PackedTimestamp::ZERO,
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self { inline: array::from_fn(|_| unused()), held: Held::Inline(0) }
    }
}

impl FromIterator<StoredCredential> for Credentials {
    fn from_iter<I: IntoIterator<Item = StoredCredential>>(credentials: I) -> Self {
        let mut all = Self::default();
        let mut rest = credentials.into_iter().fuse().peekable();
        let mut length = 0;
        for (slot, credential) in all.inline.iter_mut().zip(&mut rest) {
            *slot = credential;
            length += 1;
        }
        all.held = if rest.peek().is_some() {
            let inline = mem::replace(&mut all.inline, array::from_fn(|_| unused()));
            Held::Boxed(inline.into_iter().chain(rest).collect())
        } else {
            Held::Inline(length)
        };
        all
    }
}

impl Deref for Credentials {
    type Target = [StoredCredential];

    fn deref(&self) -> &[StoredCredential] {
        match &self.held {
            Held::Inline(length) => self.inline.get(..*length).unwrap_or_default(),
            Held::Boxed(all) => all,
        }
    }
}

// Nothing of a record but its tail pointer is spent on details, and nothing on padding.
#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<StoredCredential>() == 160);
    assert!(size_of::<Credentials>() == 2 * 160 + 16);
};
