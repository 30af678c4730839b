//! Records as bytes.
//!
//! # Format 2
//!
//! A *varint* is an unsigned LEB128 number without redundant bytes. A *text* is length-prefixed
//! UTF-8 with a length of one byte; a *long text* has a varint instead. A *timestamp* is the varint
//! of the milliseconds since 1970. *Tags* are a varint, the number of tags, then the key and the
//! value of each, two long texts, in the order of the keys.
//!
//! | | |
//! |---|---|
//! | format | the byte 2 |
//! | account | varint |
//! | user id | 16 bytes |
//! | changes since the registration | varint |
//! | registered | timestamp |
//! | user name, as spelled | text |
//! | path | long text, empty for `/` |
//! | tags of the user | tags |
//! | number of credentials | varint |
//! | *for each, in order of creation date, then of id:* | |
//! | id, service, service user name or alias | three texts |
//! | flags | one byte: 1 active, 2 API key, 4 expires, 8 was reset, 16 has tags |
//! | creation date | timestamp |
//! | expiration date, if flagged | timestamp |
//! | date of the last reset, if flagged and later than the creation date | timestamp |
//! | tags, if flagged | tags |
//! | digest algorithm | the byte 1: SHA-256 |
//! | digest | 32 bytes |
//! | *at the end:* | |
//! | checksum | the first 4 bytes of the SHA-256 of the preceding bytes |
//!
//! The encoding is canonical: a record has one encoding in each format, and no other is decoded.
//!
//! # Format 1
//!
//! As format 2, with the byte 1 first, and without path, tags and resets. It is still decoded: the
//! date of each secret is the creation date of its credential.

use std::{cmp::Ordering, str::FromStr};

use sha2::{Digest as _, Sha256};
use smol_str::SmolStr;

use super::{Credentials, Details, Revision, StoredCredential, UserRecord};
use crate::{
    credential::CredentialKind,
    names::{
        account_id::AccountId, credential_id::CredentialId, service_name::ServiceName,
        service_user_name::GeneratedName, user_name::UserName, user_path::UserPath,
    },
    secret::digest::Digest,
    tags::Tags,
    timestamp::Timestamp,
    user::UserId,
};

/// The format of new encodings.
const FORMAT: u8 = 2;
/// The former format, which is still decoded.
const FORMAT_1: u8 = 1;
const ACTIVE: u8 = 1;
const API_KEY: u8 = 2;
const EXPIRES: u8 = 4;
const RESET: u8 = 8;
const TAGGED: u8 = 16;
const SHA_256: u8 = 1;
const CHECKSUM: usize = 4;

/// The bytes are not a record that this release can decode.
///
/// The message names the cause and the value, and contains none of the bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There are no bytes.
    #[error("a record is never empty")]
    Empty,
    /// The bytes have a format of a later release, or are not a record.
    #[error("unsupported record format {0}; supported: {FORMAT_1} and {FORMAT}")]
    UnknownFormat(u8),
    /// The bytes were damaged, or are not a record.
    #[error("the checksum of the record is wrong")]
    Checksum,
    /// A value is missing or invalid.
    #[error("the record's {0} is missing or invalid")]
    Value(&'static str),
    /// Two of the credentials have the same id, or the same name at the same service.
    #[error("two credentials of the record have the same {0}")]
    Repeated(&'static str),
    /// The credentials are not in order of creation, then of id.
    #[error("the credentials of the record are not in order")]
    Unordered,
    /// There are bytes after the end of the record.
    #[error("there are bytes after the end of the record")]
    Surplus,
}

impl UserRecord {
    /// Encodes the record, for a store that keeps bytes: about 40 bytes, 110 for each credential,
    /// and those of the path and the tags. Every later release can decode them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        debug_assert_eq!(check(&self.credentials), Ok(()), "the rules make only what decodes");
        let mut out = Vec::with_capacity(128 + 192 * self.credentials.len());
        out.push(FORMAT);
        put_varint(&mut out, self.account.number());
        out.extend(self.revision.user.as_bytes());
        put_varint(&mut out, self.revision.count);
        put_timestamp(&mut out, self.created);
        put_text(&mut out, self.name.as_str());
        let path = self.path();
        put_long_text(&mut out, if *path == UserPath::ROOT { "" } else { path.as_str() });
        put_tags(&mut out, self.tags());
        put_varint(&mut out, self.credentials.len() as u64);
        for credential in self.credentials.iter() {
            put_credential(&mut out, credential, self.details.tags_of(&credential.id));
        }
        let checksum = Sha256::digest(&out);
        out.extend(checksum.iter().take(CHECKSUM));
        out
    }

    /// Decodes a record that [`encode`](Self::encode) of this or an earlier release encoded.
    ///
    /// # Errors
    ///
    /// If the bytes are anything else. Every invariant of a record is checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let format = match bytes.first() {
            None => return Err(DecodeError::Empty),
            Some(&format @ (FORMAT_1 | FORMAT)) => format,
            Some(&other) => return Err(DecodeError::UnknownFormat(other)),
        };
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(DecodeError::Checksum)?;
        if !Sha256::digest(body).starts_with(checksum) {
            return Err(DecodeError::Checksum);
        }
        let mut input = Input(body.get(1..).unwrap_or_default());
        let account =
            input.varint().and_then(AccountId::from_number).ok_or(DecodeError::Value("account"))?;
        let user = input.array().ok_or(DecodeError::Value("user id"))?;
        // Leaves room for later changes.
        let count = input.varint().filter(|count| *count <= u64::MAX / 2);
        let count = count.ok_or(DecodeError::Value("number of changes"))?;
        let created = input.timestamp().ok_or(DecodeError::Value("creation date"))?;
        let name: UserName = input.name().ok_or(DecodeError::Value("user name"))?;
        let mut details = Details::default();
        if format != FORMAT_1 {
            let path = input.path().ok_or(DecodeError::Value("path"))?;
            details = details.with_path(path).with_tags(input.tags()?);
        }
        let length = input.varint().ok_or(DecodeError::Value("number of credentials"))?;
        let mut tagged = Vec::new();
        let mut service = None;
        let credentials = (0..length)
            .map(|_| {
                let (credential, tags) = input.credential(format, service.as_ref())?;
                service = Some(credential.service.clone());
                if !tags.is_empty() {
                    tagged.push((credential.id.clone(), tags));
                }
                Ok(credential)
            })
            .collect::<Result<Credentials, _>>()?;
        if !input.0.is_empty() {
            return Err(DecodeError::Surplus);
        }
        check(&credentials)?;
        let revision = Revision { user: UserId::from_bytes(user), count };
        let details = details.with_tags_of_all(tagged);
        Ok(Self { account, name, revision, created, credentials, details })
    }
}

fn check(credentials: &[StoredCredential]) -> Result<(), DecodeError> {
    if !credentials.is_sorted_by_key(StoredCredential::order) {
        return Err(DecodeError::Unordered);
    }
    let mut sorted: Vec<_> = credentials.iter().collect();
    let mut repeats = |order: fn(&StoredCredential, &StoredCredential) -> Ordering| {
        sorted.sort_unstable_by(|left, right| order(left, right));
        !sorted.is_sorted_by(|left, right| order(left, right).is_lt())
    };
    if repeats(|left, right| left.id.cmp(&right.id)) {
        return Err(DecodeError::Repeated("id"));
    }
    if repeats(|left, right| left.cmp_name(&right.service, right.name.as_bytes())) {
        return Err(DecodeError::Repeated("service user name"));
    }
    Ok(())
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(low_bits(number) | 0x80);
        number >>= 7;
    }
    out.push(low_bits(number));
}

const fn low_bits(number: u64) -> u8 {
    (number & 0x7f) as u8
}

fn put_timestamp(out: &mut Vec<u8>, timestamp: Timestamp) {
    put_varint(out, timestamp.milliseconds().unsigned_abs());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // No text of a record has more than 128 characters, all of them ASCII.
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend(text.as_bytes());
}

fn put_long_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend(text.as_bytes());
}

fn put_tags(out: &mut Vec<u8>, tags: &Tags) {
    put_varint(out, tags.len() as u64);
    for (key, value) in tags.iter() {
        put_long_text(out, key);
        put_long_text(out, value);
    }
}

fn put_credential(out: &mut Vec<u8>, credential: &StoredCredential, tags: &Tags) {
    put_text(out, credential.id.as_str());
    put_text(out, credential.service.as_str());
    put_text(out, credential.name.as_str());
    let active = if credential.active { ACTIVE } else { 0 };
    let kind = if credential.kind == CredentialKind::ApiKey { API_KEY } else { 0 };
    let expires = if credential.expires().is_some() { EXPIRES } else { 0 };
    let was_reset = credential.secret_changed() > credential.created;
    let reset = if was_reset { RESET } else { 0 };
    let tagged = if tags.is_empty() { 0 } else { TAGGED };
    out.push(active | kind | expires | reset | tagged);
    put_timestamp(out, credential.created);
    if let Some(expires) = credential.expires() {
        put_timestamp(out, expires);
    }
    if was_reset {
        put_timestamp(out, credential.secret_changed());
    }
    if !tags.is_empty() {
        put_tags(out, tags);
    }
    let Digest::Sha256(digest) = &credential.digest;
    out.push(SHA_256);
    out.extend(digest);
}

/// The remaining bytes.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << shift;
            // Overflow and redundant bytes are not canonical.
            if shifted >> shift != bits || (byte == 0 && shift > 0) {
                return None;
            }
            number |= shifted;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn timestamp(&mut self) -> Option<Timestamp> {
        Timestamp::from_milliseconds(i64::try_from(self.varint()?).ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.byte()?;
        let (text, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn long_text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.varint()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn path(&mut self) -> Option<UserPath> {
        match self.long_text()? {
            "" => Some(UserPath::ROOT),
            // Its canonical encoding is the empty text.
            "/" => None,
            path => path.parse().ok(),
        }
    }

    fn tags(&mut self) -> Result<Tags, DecodeError> {
        let count = self.varint().ok_or(DecodeError::Value("number of tags"))?;
        let pair = || Some((SmolStr::new(self.long_text()?), SmolStr::new(self.long_text()?)));
        Tags::from_stored(count, pair).map_err(DecodeError::Value)
    }

    fn name<N: FromStr>(&mut self) -> Option<N> {
        self.text()?.parse().ok()
    }

    /// Shares the name of the previous credential's service if it is equal.
    fn service(&mut self, previous: Option<&ServiceName>) -> Option<ServiceName> {
        let text = self.text()?;
        if let Some(same) = previous.filter(|previous| previous.as_str() == text) {
            return Some(same.clone());
        }
        let service: ServiceName = text.parse().ok()?;
        // The canonical spelling of a service name is in lower case.
        (service.as_str() == text).then_some(service)
    }

    fn digest(&mut self) -> Option<Digest> {
        match self.byte()? {
            SHA_256 => self.array().map(Digest::Sha256),
            _ => None,
        }
    }

    fn credential(
        &mut self,
        format: u8,
        previous: Option<&ServiceName>,
    ) -> Result<(StoredCredential, Tags), DecodeError> {
        use DecodeError::Value;

        let id: CredentialId = self.name().ok_or(Value("credential id"))?;
        let service = self.service(previous).ok_or(Value("service name"))?;
        let name: GeneratedName = self.name().ok_or(Value("service user name"))?;
        let known = ACTIVE | API_KEY | EXPIRES;
        let known = if format == FORMAT_1 { known } else { known | RESET | TAGGED };
        let flags = self.byte().filter(|flags| flags & !known == 0);
        let flags = flags.ok_or(Value("credential flags"))?;
        let created = self.timestamp().ok_or(Value("credential creation date"))?;
        let expires = if flags & EXPIRES == 0 {
            Timestamp::NEVER
        } else {
            let expires = self.timestamp().filter(|expires| *expires >= created);
            expires.ok_or(Value("credential expiration date"))?
        };
        let secret_changed = if flags & RESET == 0 {
            created
        } else {
            let changed = self.timestamp().filter(|changed| *changed > created);
            changed.ok_or(Value("date of the secret"))?
        };
        let tags = if flags & TAGGED == 0 { Tags::new() } else { self.tags()? };
        if flags & TAGGED != 0 && tags.is_empty() {
            return Err(Value("number of tags"));
        }
        let digest = self.digest().ok_or(Value("digest"))?;
        let api_key = flags & API_KEY != 0;
        let credential = StoredCredential {
            id,
            service,
            name,
            kind: if api_key { CredentialKind::ApiKey } else { CredentialKind::Password },
            active: flags & ACTIVE != 0,
            created,
            expires,
            digest,
            secret_changed: secret_changed.into(),
        };
        Ok((credential, tags))
    }
}
