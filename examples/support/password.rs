//! The text that shows a new password.

use std::io;

use serde::Serialize;
use service_specific_credentials::Credential;
use zeroize::Zeroizing;

/// A credential and its password as one object.
#[derive(Serialize)]
struct WithPassword<'a> {
    #[serde(flatten)]
    credential: &'a Credential,
    password: &'a str,
}

/// An empty buffer that the text fits into, whatever the credential's tags: a buffer that grows
/// leaves a copy of the password behind.
pub(crate) fn buffer(credential: &Credential, password: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    // Besides the credential, the text has the name `password` and the password, whose characters
    // may be escaped.
    let size = serde_json::to_string_pretty(credential)?.len() + 2 * password.len() + 64;
    Ok(Zeroizing::new(Vec::with_capacity(size)))
}

/// Writes the password, or the credential with it as one JSON object.
pub(crate) fn write(
    text: &mut Vec<u8>,
    credential: &Credential,
    password: &str,
    json: bool,
) -> io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *text, &WithPassword { credential, password })?;
    } else {
        text.extend_from_slice(password.as_bytes());
    }
    text.push(b'\n');
    Ok(())
}
