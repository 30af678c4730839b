//! Searches text for secrets and parts of secrets.

#![allow(clippy::unwrap_used, reason = "a helper of tests may fail as a test does")]

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use service_specific_credentials::Secret;

/// The number of consecutive characters of a secret that must not appear.
const WINDOW: usize = 8;

/// The parts of secrets to search for, case-insensitively: a key of the index is in lower case.
#[derive(Default)]
pub(crate) struct Hunt {
    parts: HashSet<Vec<u8>>,
}

impl Hunt {
    /// Adds the secret, and the password inside of an API key.
    pub(crate) fn add(&mut self, secret: &Secret) {
        self.add_text(secret.expose().as_bytes());
        if let Some(key) = secret.expose().strip_prefix("ABSK") {
            let inner = STANDARD.decode(key).unwrap();
            let colon = inner.iter().position(|byte| *byte == b':').unwrap();
            self.add_text(inner.get(colon + 1..).unwrap());
        }
    }

    pub(crate) fn add_text(&mut self, text: &[u8]) {
        self.parts.extend(text.windows(WINDOW).map(<[u8]>::to_ascii_lowercase));
    }

    /// Whether `text` contains a part of a secret: as it is, as a list of byte values, or in
    /// hexadecimal digits.
    pub(crate) fn found_in(&self, text: &str) -> bool {
        let listed = text
            .split(|it: char| !it.is_ascii_digit())
            .filter_map(|byte| byte.parse().ok())
            .collect::<Vec<u8>>();
        let hexadecimal = text.split(|it: char| !it.is_ascii_hexdigit()).flat_map(|digits| {
            // A digit before the bytes may look like their first one, so both alignments are tried.
            [0, 1].map(|start| decoded(digits.as_bytes().get(start..).unwrap_or_default()))
        });
        [text.as_bytes().to_owned(), listed].into_iter().chain(hexadecimal).any(|text| {
            let text = text.to_ascii_lowercase();
            text.windows(WINDOW).any(|window| self.parts.contains(window))
        })
    }
}

fn decoded(digits: &[u8]) -> Vec<u8> {
    let (pairs, _) = digits.as_chunks::<2>();
    let pair = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.iter().map(pair).collect()
}
