//! The credentials in a record, without uninitialized memory.

use std::{array, mem, ops::Deref};

use super::stored_credential::StoredCredential;
use crate::{
    credential::CredentialKind,
    names::{
        credential_id::CredentialId, service_name::ServiceName, service_user_name::GeneratedName,
    },
    secret::digest::Digest,
    timestamp::Timestamp,
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
    inline_length: usize,
    /// Empty, or all of the credentials.
    boxed: Box<[StoredCredential]>,
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
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Self { inline: array::from_fn(|_| unused()), inline_length: 0, boxed: Box::default() }
    }
}

impl FromIterator<StoredCredential> for Credentials {
    fn from_iter<I: IntoIterator<Item = StoredCredential>>(credentials: I) -> Self {
        let mut all = Self::default();
        let mut rest = credentials.into_iter().fuse().peekable();
        for (slot, credential) in all.inline.iter_mut().zip(&mut rest) {
            *slot = credential;
            all.inline_length += 1;
        }
        if rest.peek().is_some() {
            let inline = mem::replace(&mut all.inline, array::from_fn(|_| unused()));
            all.boxed = inline.into_iter().chain(rest).collect();
        }
        all
    }
}

impl Deref for Credentials {
    type Target = [StoredCredential];

    fn deref(&self) -> &[StoredCredential] {
        if self.boxed.is_empty() {
            self.inline.get(..self.inline_length).unwrap_or_default()
        } else {
            &self.boxed
        }
    }
}
