//! A store whose index refers to the wrong record, through damage or manipulation: no operation
//! returns or changes the data of another user, and the error states the cause.
//!
//! The tests alter each kind of key in the tables of a file and of a database. A fake store returns
//! wrong records for each kind. Every operation is then tried.

mod tables;
mod world;
#[cfg(unix)]
mod wrong_results;
