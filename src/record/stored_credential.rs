use std::cmp::Ordering;

use crate::{
    credential::CredentialKind,
    names::{
        cmp_caseless, credential_id::CredentialId, service_name::ServiceName,
        service_user_name::GeneratedName,
    },
    secret::digest::Digest,
    timestamp::{PackedTimestamp, Timestamp},
};

/// A credential in a record: with the digest of its secret, and without what the record already
/// has.
#[derive(Clone, Debug)]
// In this order the fields that authentication reads share cache lines, and there is no padding,
// which would be uninitialized: see `Credentials`.
#[repr(C)]
pub(crate) struct StoredCredential {
    pub(super) service: ServiceName,
    /// [`Timestamp::NEVER`] without an expiration date.
    pub(super) expires: Timestamp,
    pub(super) digest: Digest,
    pub(super) name: GeneratedName,
    pub(super) id: CredentialId,
    pub(super) created: Timestamp,
    pub(super) active: bool,
    pub(super) kind: CredentialKind,
    /// Never before `created`.
    pub(super) secret_changed: PackedTimestamp,
}

impl StoredCredential {
    pub(crate) const fn id(&self) -> &CredentialId {
        &self.id
    }

    pub(crate) const fn service(&self) -> &ServiceName {
        &self.service
    }

    pub(crate) const fn kind(&self) -> CredentialKind {
        self.kind
    }

    pub(crate) const fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(crate) const fn created(&self) -> Timestamp {
        self.created
    }

    /// When the present secret was generated.
    pub(crate) const fn secret_changed(&self) -> Timestamp {
        self.secret_changed.unpack()
    }

    pub(super) fn expires(&self) -> Option<Timestamp> {
        (self.expires != Timestamp::NEVER).then_some(self.expires)
    }

    /// The sort key of the credentials of a user.
    pub(crate) const fn order(&self) -> (Timestamp, &CredentialId) {
        (self.created, &self.id)
    }

    /// Whether both have the same id, service and service user name.
    pub(super) fn has_keys_of(&self, other: &Self) -> bool {
        self.id == other.id && self.service == other.service && self.name.is(other.name.as_bytes())
    }

    /// Compares the service and the service user name.
    pub(super) fn cmp_name(&self, service: &ServiceName, name: &[u8]) -> Ordering {
        self.service.cmp(service).then_with(|| cmp_caseless(self.name.as_bytes(), name))
    }

    pub(super) fn is_named(&self, service: &ServiceName, name: &str) -> bool {
        self.name.is(name.as_bytes()) && self.service == *service
    }
}
