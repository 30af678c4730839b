//! Looks for secrets in text, whole and in part.

#![allow(clippy::unwrap_used, reason = "a helper of tests may fail as a test does")]

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use service_specific_credentials::Secret;

/// As many characters in a row as give a secret away.
const WINDOW: usize = 8;

/// Secrets to look for, in parts. Case is ignored: a key of the index is in lower case.
#[derive(Default)]
pub(crate) struct Hunt {
    parts: HashSet<Vec<u8>>,
}

impl Hunt {
    /// Looks for the secret, and for the password inside of an API key.
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

    /// Whether `text` holds a part of a secret: as it is, as a list of the numbers of its bytes, or
    /// in hexadecimal digits.
    pub(crate) fn found_in(&self, text: &str) -> bool {
        let listed = text
            .split(|it: char| !it.is_ascii_digit())
            .filter_map(|byte| byte.parse().ok())
            .collect::<Vec<u8>>();
        let hexadecimal = text.split(|it: char| !it.is_ascii_hexdigit()).flat_map(|digits| {
            // A digit before the first one of the bytes may look like one of theirs.
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
