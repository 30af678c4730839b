#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod causes;
mod clock;
mod constraint;
mod credential;
mod entropy;
mod error;
pub mod guides;
#[cfg(feature = "http")]
pub mod http;
mod lifetime;
mod manager;
mod names;
mod paging;
mod policy;
#[cfg(feature = "query")]
pub mod query;
mod record;
mod secret;
pub mod store;
mod store_error;
mod tags;
#[cfg(feature = "testing")]
pub mod testing;
mod timestamp;
mod user;

pub use clock::{Clock, SystemClock};
pub use constraint::{Constraint, InvalidParameter};
pub use credential::{Credential, CredentialKind, InvalidStatus, IssuedCredential, Status};
pub use entropy::{Entropy, EntropyError, RepeatedEntropy, RngEntropy, SystemEntropy};
pub use error::{Error, ErrorCode, ErrorKind, unknown_credential::UnknownCredential};
pub use lifetime::{InvalidLifetime, Lifetime};
pub use manager::{
    CredentialManager,
    async_manager::AsyncCredentialManager,
    authentication::{
        error::{AuthenticationError, Denial, DenialReason},
        identity::Identity,
    },
    authenticator::{AsyncAuthenticator, Authenticator},
    builder::CredentialManagerBuilder,
    create_options::CreateOptions,
    list_request::{ListRequest, ListUsersRequest},
    pager::{Items, Listable, Pager},
    resolve::Resolution,
    user_options::{RegisterOptions, UpdateOptions},
};
pub use names::{
    account_id::{AccountId, InvalidAccountId},
    credential_id::{CredentialId, InvalidCredentialId},
    path_prefix::{InvalidPathPrefix, PathPrefix},
    service_name::{InvalidServiceName, ServiceName},
    service_user_name::{InvalidServiceUserName, ServiceUserName},
    user_name::{InvalidUserName, UserName},
    user_path::{InvalidUserPath, UserPath},
};
pub use paging::{InvalidMarker, InvalidMaxItems, Marker, MaxItems, Page};
pub use policy::{
    Numbering, Policy,
    builder::{InvalidPolicy, PolicyBuilder},
};
pub use secret::{Alphabet, Secret};
pub use store::MemoryStore;
pub use tags::{InvalidTags, Tags};
pub use user::{InvalidUserId, User, UserId};

/// The crate `time`, whose types the API uses.
#[doc(no_inline)]
pub use ::time;
