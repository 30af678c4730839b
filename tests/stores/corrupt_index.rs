//! A store whose index leads to the wrong record, by damage or by design: no operation returns or
//! changes what is another user's, and the error says what is wrong.
//!
//! Each kind of key is altered in the tables of a file and of a database, and a memory store lies
//! about each. Every operation is then tried.

#[cfg(unix)]
mod lies;
mod tables;
mod world;
