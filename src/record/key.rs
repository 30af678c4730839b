use std::hash::{Hash, Hasher};

use crate::names::{
    account_id::AccountId, credential_id::CredentialId, eq_caseless, hash_caseless,
    service_name::ServiceName, user_name::UserName,
};

/// A key of a store's unique index. A record is found by each of its keys; at most one record holds
/// a key.
///
/// Names compare without ASCII case, ids byte for byte. Every key begins with its account, so that
/// no key of one account finds a record of another.
#[derive(Clone, Copy, Debug)]
pub enum Key<'a> {
    /// A user by name.
    User {
        /// The account.
        account: AccountId,
        /// The user's name.
        name: &'a UserName,
    },
    /// The user who holds the credential of this id.
    Credential {
        /// The account.
        account: AccountId,
        /// The id of the credential.
        id: &'a CredentialId,
    },
    /// The user who holds the credential of this service and service user name (or alias).
    ServiceUser {
        /// The account.
        account: AccountId,
        /// The service.
        service: &'a ServiceName,
        /// The service user name. In a lookup this is untrusted input of at most 512 bytes.
        name: &'a str,
    },
    /// A user who holds a credential of this service, or, for `None`, of any. Listings scan ranges
    /// of these keys.
    Holder {
        /// The account.
        account: AccountId,
        /// The service.
        service: Option<&'a ServiceName>,
        /// The user's name.
        user: &'a UserName,
    },
}

impl Key<'_> {
    /// The account of the key.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        match *self {
            Self::User { account, .. }
            | Self::Credential { account, .. }
            | Self::ServiceUser { account, .. }
            | Self::Holder { account, .. } => account,
        }
    }
}

impl Key<'_> {
    /// The key as bytes, for a store of bytes: injective, and order-preserving within a listing.
    /// The account comes first. At most 650 bytes.
    ///
    /// | | |
    /// |---|---|
    /// | account | 8 bytes, big-endian |
    /// | kind | 1 user, 2 credential, 3 service user, 4 holder |
    /// | service, for the last two kinds | its bytes (none for any service) and a zero |
    /// | name or id | the rest: a name in lower case, an id unchanged |
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Self::User { account, name } => encode(account, 1, None, &fold(name.as_str())),
            Self::Credential { account, id } => encode(account, 2, None, id.as_str()),
            Self::ServiceUser { account, service, name } => {
                encode(account, 3, Some(service.as_str()), &fold(name))
            }
            Self::Holder { account, service, user } => {
                let service = service.map_or("", ServiceName::as_str);
                encode(account, 4, Some(service), &fold(user.as_str()))
            }
        }
    }
}

fn fold(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// A listing of users, in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a store handles every listing")]
pub enum Listing<'a> {
    /// All users: the keys [`Key::User`].
    Users,
    /// The users who hold a credential: the keys [`Key::Holder`].
    Holders {
        /// The service of the credential, or `None` for any.
        service: Option<&'a ServiceName>,
    },
}

/// The prefix of the encoded keys of a listing, and of no other keys.
pub(crate) fn listing_prefix(account: AccountId, listing: Listing<'_>) -> Vec<u8> {
    match listing {
        Listing::Users => encode(account, 1, None, ""),
        Listing::Holders { service } => {
            encode(account, 4, Some(service.map_or("", ServiceName::as_str)), "")
        }
    }
}

/// The start of the encoded keys of all accounts after this one, or of all accounts.
#[cfg(any(feature = "postgres", feature = "redb"))]
pub(crate) fn accounts_after(account: Option<AccountId>) -> Vec<u8> {
    account.map_or(0, |account| account.number() + 1).to_be_bytes().to_vec()
}

fn encode(account: AccountId, kind: u8, service: Option<&str>, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(10 + service.map_or(0, str::len) + name.len());
    key.extend(account.number().to_be_bytes());
    key.push(kind);
    if let Some(service) = service {
        key.extend(service.as_bytes());
        key.push(0);
    }
    key.extend(name.as_bytes());
    key
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.account() == other.account()
            && match (*self, *other) {
                (Self::User { name, .. }, Self::User { name: other, .. }) => name == other,
                (Self::Credential { id, .. }, Self::Credential { id: other, .. }) => id == other,
                (
                    Self::ServiceUser { service, name, .. },
                    Self::ServiceUser { service: other_service, name: other, .. },
                ) => service == other_service && eq_caseless(name.as_bytes(), other.as_bytes()),
                (
                    Self::Holder { service, user, .. },
                    Self::Holder { service: other_service, user: other, .. },
                ) => service == other_service && user == other,
                _ => false,
            }
    }
}

impl Eq for Key<'_> {}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Few writes: this is on the path of authentication.
        let write = |state: &mut H, kind: u64, service: &str| {
            state.write_u64(self.account().number() << 2 | kind);
            state.write(service.as_bytes());
        };
        match *self {
            Self::User { name, .. } => {
                write(state, 0, "");
                hash_caseless(name.as_str(), state);
            }
            Self::Credential { id, .. } => write(state, 1, id.as_str()),
            Self::ServiceUser { service, name, .. } => {
                write(state, 2, service.as_str());
                hash_caseless(name, state);
            }
            Self::Holder { service, user, .. } => {
                write(state, 3, service.map_or("", ServiceName::as_str));
                hash_caseless(user.as_str(), state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    };

    use super::*;

    fn hash(key: &Key<'_>) -> u64 {
        BuildHasherDefault::<DefaultHasher>::default().hash_one(key)
    }

    #[test]
    fn each_part_of_a_key_is_hashed() {
        let accounts = ["000000000001", "000000000002", "123456789012"];
        let id = CredentialId::from_static("ACCA12345ABCDEXAMPLE");
        let [anika, ben]: [UserName; 2] = ["anika", "ben"].map(|name| name.parse().unwrap());
        let services = ["a.example.com", "b.example.com"].map(ServiceName::from_static);
        let mut keys = Vec::new();
        for account in accounts.map(AccountId::from_static) {
            keys.push(Key::Credential { account, id: &id });
            for user in [&anika, &ben] {
                keys.push(Key::User { account, name: user });
                keys.push(Key::Holder { account, service: None, user });
                for service in &services {
                    keys.push(Key::Holder { account, service: Some(service), user });
                    keys.push(Key::ServiceUser { account, service, name: user.as_str() });
                }
            }
        }
        let hashes: BTreeSet<u64> = keys.iter().map(hash).collect();
        assert_eq!(hashes.len(), keys.len());
    }
}
