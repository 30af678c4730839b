//! Operations against a plain model of the rules: random sequences and concurrent histories.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/postgres.rs"]
mod database;
mod history;
mod linearizability;
mod machine;
mod races;
mod random_operations;
mod reference;
mod turns;
