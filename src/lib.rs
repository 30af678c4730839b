#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod account_id;
mod causes;
mod credential;
mod credential_id;
#[doc = include_str!("design.md")]
pub mod design {}
mod environment;
mod error;
#[cfg(feature = "http")]
pub mod http;
mod manager;
mod name;
mod policy;
#[cfg(feature = "query")]
pub mod query;
mod record;
mod secret;
mod service_name;
mod service_user_name;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod timestamp;
mod user;
mod user_name;

pub use account_id::{AccountId, InvalidAccountId};
pub use credential::{
    Credential, CredentialKind, InvalidLifetime, InvalidStatus, IssuedCredential, Lifetime, Status,
};
pub use credential_id::{CredentialId, InvalidCredentialId};
pub use environment::{
    Clock, Entropy, EntropyError, RepeatedEntropy, RngEntropy, SystemClock, SystemEntropy,
};
pub use error::{
    AuthenticationError, Constraint, Denial, DenialReason, Error, ErrorCode, InvalidParameter,
};
pub use manager::{
    AsyncAuthenticator, AsyncCredentialManager, Authenticator, CredentialManager,
    CredentialManagerBuilder, Identity, InvalidMarker, InvalidMaxItems, ListRequest, Marker,
    MaxItems, Page,
};
pub use policy::{Alphabet, InvalidPolicy, Numbering, Policy, PolicyBuilder};
pub use secret::Secret;
pub use service_name::{InvalidServiceName, ServiceName};
pub use service_user_name::{InvalidServiceUserName, ServiceUserName};
pub use store::MemoryStore;
pub use user::{InvalidUserId, User, UserId};
pub use user_name::{InvalidUserName, UserName};
