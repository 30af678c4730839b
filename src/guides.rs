//! Longer texts than fit an item's documentation. Their code blocks are tested.

/// Why the crate is built as it is, and where its rules come from.
#[doc = include_str!("guides/design.md")]
pub mod design {}

/// Writing an emulator of the IAM API.
#[cfg(feature = "query")]
#[doc = include_str!("guides/emulator.md")]
pub mod emulator {}

/// The events that the crate emits through `tracing`.
#[doc = include_str!("guides/events.md")]
pub mod events {}

/// Writing a store.
#[cfg(feature = "testing")]
#[doc = include_str!("guides/own_store.md")]
pub mod own_store {}

/// Logins in other protocols than HTTP: denials, long connections, limits.
#[doc = include_str!("guides/protocols.md")]
pub mod protocols {}

/// The security model: assumptions, guarantees and their limits.
#[doc = include_str!("guides/security.md")]
pub mod security {}

/// Several machines that share a store.
#[cfg(all(feature = "postgres", feature = "redb"))]
#[doc = include_str!("guides/several_machines.md")]
pub mod several_machines {}

/// Stores and their operation.
#[cfg(feature = "redb")]
#[doc = include_str!("guides/stores.md")]
pub mod stores {}
