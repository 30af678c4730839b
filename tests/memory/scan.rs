//! Searches the memory of another process for secrets.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    os::unix::fs::FileExt as _,
};

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig,
        general_purpose::STANDARD as STANDARD_ENGINE,
    },
};

/// The number of consecutive bytes of a secret that must not be found.
pub(crate) const WINDOW: usize = 12;
/// Untouched pages are zero and are skipped.
const PAGE: usize = 4096;
const CHUNK: usize = 256 * PAGE;
const FILTER_BITS: u32 = 22;

/// Secrets to search for: every [`WINDOW`] of each, as text, as the encoded bytes, and as SHA-256
/// reads the text, in big-endian words.
pub(crate) struct Needles {
    windows: HashMap<[u8; WINDOW], String>,
    /// One bit per hash of the first bytes of a window. It excludes most of the memory.
    filter: Vec<u64>,
}

/// The part of a process to search. The stack is that of its main thread.
#[derive(Clone, Copy)]
pub(crate) enum Part {
    All,
    Stack,
    AllButStack,
}

/// The system's name of the mapping of the main thread's stack.
const STACK: &str = "[stack]";

/// The position of a part of a secret.
#[derive(Debug)]
pub(crate) struct Hit {
    what: String,
    mapping: String,
    address: u64,
}

impl Needles {
    pub(crate) fn new() -> Self {
        Self { windows: HashMap::new(), filter: vec![0; (1 << FILTER_BITS) / 64] }
    }

    /// Adds a password.
    pub(crate) fn add_password(&mut self, label: &str, password: &str) {
        self.add_text(label, password);
        self.add_bytes(&format!("{label}, decoded"), &decode(password));
    }

    /// Adds the secret of an API key, and the password inside of it.
    pub(crate) fn add_api_key(&mut self, label: &str, secret: &str, prefix: &str) {
        self.add_text(label, secret);
        let inner = decode(secret.strip_prefix(prefix).unwrap());
        let (_, password) = str::from_utf8(&inner).unwrap().split_once(':').unwrap();
        self.add_password(&format!("{label}, the password inside"), password);
    }

    /// Adds a password as HTTP Basic authentication sends it.
    pub(crate) fn add_basic(&mut self, label: &str, name: &str, password: &str) {
        let encoded = STANDARD_ENGINE.encode(format!("{name}:{password}"));
        // The encoded name and colon are not secret.
        let name = (name.len() + 1).div_ceil(3) * 4;
        self.add_bytes(&format!("{label}, for Basic"), &encoded.as_bytes()[name..]);
    }

    fn add_text(&mut self, label: &str, text: &str) {
        self.add_bytes(&format!("{label}, as text"), text.as_bytes());
        self.add_bytes(&format!("{label}, as words"), &words(text));
    }

    fn add_bytes(&mut self, label: &str, bytes: &[u8]) {
        for window in bytes.windows(WINDOW) {
            let bit = bit(window);
            self.filter[bit / 64] |= 1 << (bit % 64);
            self.windows.insert(window.try_into().unwrap(), label.to_owned());
        }
    }

    /// Searches the writable mappings of the process.
    pub(crate) fn search(&self, process: u32, part: Part) -> Vec<Hit> {
        let memory = File::open(format!("/proc/{process}/mem")).unwrap();
        let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
        let mut hits = Vec::new();
        let mut searched = 0;
        for line in maps.lines() {
            let mut fields = line.split_whitespace();
            let (range, permissions) = (fields.next().unwrap(), fields.next().unwrap());
            let mapping = fields.nth(3).unwrap_or("anonymous");
            let searched_here = match part {
                Part::All => true,
                Part::Stack => mapping == STACK,
                Part::AllButStack => mapping != STACK,
            };
            if !permissions.starts_with("rw") || !searched_here {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap();
            let [start, end] = [start, end].map(|end| u64::from_str_radix(end, 16).unwrap());
            searched += end - start;
            self.search_range(&memory, mapping, start, end, &mut hits);
        }
        assert!(searched > 0, "no mapping was searched of {maps}");
        hits
    }

    fn search_range(
        &self,
        memory: &File,
        mapping: &str,
        start: u64,
        end: u64,
        hits: &mut Vec<Hit>,
    ) {
        let mut buffer = vec![0; WINDOW - 1 + CHUNK];
        // The last bytes of the previous chunk.
        buffer[..WINDOW - 1].fill(0);
        let mut address = start;
        while address < end {
            let length = CHUNK.min(usize::try_from(end - address).unwrap());
            let chunk = &mut buffer[WINDOW - 1..][..length];
            if let Err(error) = memory.read_exact_at(chunk, address) {
                panic!("{mapping} at {address:x} cannot be read: {error}");
            }
            for page in (0..length).step_by(PAGE) {
                let bytes = &buffer[page..(page + PAGE).min(length) + WINDOW - 1];
                if bytes.iter().all(|byte| *byte == 0) {
                    continue;
                }
                for (place, what) in self.matches(bytes) {
                    let address = address + (page + place) as u64 - (WINDOW as u64 - 1);
                    let (what, mapping) = (what.to_owned(), mapping.to_owned());
                    hits.push(Hit { what, mapping, address });
                }
            }
            buffer.copy_within(length.., 0);
            address += length as u64;
        }
    }

    fn matches<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = (usize, &'a str)> {
        bytes.windows(WINDOW).enumerate().filter_map(|(place, window)| {
            let bit = bit(window);
            let maybe = self.filter[bit / 64] >> (bit % 64) & 1 == 1;
            maybe.then(|| self.windows.get(window)).flatten().map(|what| (place, &**what))
        })
    }
}

/// The hits of each secret and form: their number, and the first position.
pub(crate) fn summary(hits: &[Hit]) -> String {
    let mut counts: BTreeMap<(&str, &str), (usize, u64)> = BTreeMap::new();
    for hit in hits {
        counts.entry((&hit.what, &hit.mapping)).or_insert((0, hit.address)).0 += 1;
    }
    let lines = counts.iter().map(|((what, mapping), (count, address))| {
        format!("{what}: {count} windows in {mapping}, the first at {address:x}\n")
    });
    lines.take(40).collect()
}

/// The bit of the filter for a window.
fn bit(window: &[u8]) -> usize {
    let start = u64::from_le_bytes(*window.first_chunk().unwrap());
    (start.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS)) as usize
}

/// The text in the words of SHA-256, which are big-endian.
pub(crate) fn words(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(4).flat_map(|word| word.iter().rev().copied()).collect()
}

/// The bytes that a password or the rest of an API key secret encodes.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let alphabet = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet, config).decode(text).unwrap()
}
