//! Everything that is ever sent to a database, apart from the settings of a connection.
//!
//! It is a part of SQL that databases have in common which speak the protocol of PostgreSQL: no
//! sequence, trigger, foreign key or lock that is asked for, each definition by itself, and no
//! statement that changes a table twice, but for one that no manager ever needs.

pub(super) const FIND: &str = include_str!("sql/find.sql");
pub(super) const SCAN: &str = include_str!("sql/scan.sql");

pub(super) const REGISTER: &str = include_str!("sql/register.sql");
pub(super) const REPLACE: &str = include_str!("sql/replace.sql");
pub(super) const REPLACE_AND_CLAIM: &str = include_str!("sql/replace_and_claim.sql");
pub(super) const REPLACE_AND_RELEASE: &str = include_str!("sql/replace_and_release.sql");
pub(super) const REPLACE_AND_MOVE: &str = include_str!("sql/replace_and_move.sql");
pub(super) const REPLACE_AND_EXCHANGE: &str = include_str!("sql/replace_and_exchange.sql");
pub(super) const REMOVE: &str = include_str!("sql/remove.sql");

pub(super) const VERSION: &str = include_str!("sql/version.sql");
pub(super) const CREATE_SCHEMA: &str = include_str!("sql/create_schema.sql");
pub(super) const CREATE_USERS: &str = include_str!("sql/create_users.sql");
pub(super) const CREATE_KEYS: &str = include_str!("sql/create_keys.sql");
pub(super) const FINISH_MIGRATION: &str = include_str!("sql/finish_migration.sql");
