//! Records as bytes.
//!
//! # Format 1
//!
//! A *number* is written in groups of seven bits, the lowest first, each but the last with its high
//! bit set, in as few bytes as it needs. A *text* is its length in one byte, then its bytes. A
//! *moment* is the number of milliseconds since 1970.
//!
//! | | |
//! |---|---|
//! | format | the byte 1 |
//! | account | number |
//! | user id | 16 bytes |
//! | changes since the registration | number |
//! | registered | moment |
//! | user name, as spelled | text |
//! | how many credentials | number |
//! | *for each, in order of creation, then of id:* | |
//! | id, service, service user name or alias | three texts |
//! | flags | one byte: 1 active, 2 API key, 4 expires |
//! | created | moment |
//! | expires, if flagged | moment |
//! | digest algorithm | the byte 1: SHA-256 |
//! | digest | 32 bytes |
//! | *at the end:* | |
//! | checksum | the first 4 bytes of the SHA-256 of all before |
//!
//! A record has one form, and only that form is read.

use std::{cmp::Ordering, str::FromStr};

use sha2::{Digest as _, Sha256};

use super::{Credentials, Revision, StoredCredential, UserRecord};
use crate::{
    credential::CredentialKind,
    names::{
        account_id::AccountId, cmp_caseless, credential_id::CredentialId,
        service_name::ServiceName, service_user_name::GeneratedName, user_name::UserName,
    },
    secret::digest::Digest,
    timestamp::Timestamp,
    user::UserId,
};

const FORMAT: u8 = 1;
const ACTIVE: u8 = 1;
const API_KEY: u8 = 2;
const EXPIRES: u8 = 4;
const SHA_256: u8 = 1;
const CHECKSUM: usize = 4;

/// The bytes are no record that this release can read.
///
/// Nothing was read from them. The message names what is wrong and where, and quotes nothing of
/// what the bytes hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There are no bytes.
    #[error("a record is never empty")]
    Empty,
    /// They were written in a format that this release does not know, or are no record.
    #[error("record format {0} is not known, only format {FORMAT}")]
    UnknownFormat(u8),
    /// They were damaged, or are no record.
    #[error("the checksum of the record is wrong")]
    Checksum,
    /// One of the values is missing, or is not what a record has there.
    #[error("the record's {0} is missing or not valid")]
    Value(&'static str),
    /// Two of the credentials have the same id, or the same name at the same service.
    #[error("two credentials of the record have the same {0}")]
    Repeated(&'static str),
    /// The credentials are not in order of creation, then of id.
    #[error("the credentials of the record are not in order")]
    Unordered,
    /// There are more bytes than the record has.
    #[error("the record goes on after its end")]
    Surplus,
}

impl UserRecord {
    /// The record as bytes, for a store that keeps bytes. About 40 bytes and 110 for each
    /// credential. Every later release reads them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        debug_assert_eq!(check(&self.credentials), Ok(()), "the rules make only what decodes");
        let mut out = Vec::with_capacity(128 + 192 * self.credentials.len());
        out.push(FORMAT);
        put_number(&mut out, self.account.number());
        out.extend(self.revision.user.as_bytes());
        put_number(&mut out, self.revision.count);
        put_moment(&mut out, self.created);
        put_text(&mut out, self.name.as_str());
        put_number(&mut out, self.credentials.len() as u64);
        for credential in self.credentials.iter() {
            put_credential(&mut out, credential);
        }
        let checksum = Sha256::digest(&out);
        out.extend(checksum.iter().take(CHECKSUM));
        out
    }

    /// Reads a record that [`encode`](Self::encode) wrote, in this or an earlier release.
    ///
    /// # Errors
    ///
    /// If the bytes are anything else. Every invariant of a record is checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.first() {
            None => return Err(DecodeError::Empty),
            Some(&FORMAT) => {}
            Some(&other) => return Err(DecodeError::UnknownFormat(other)),
        }
        let (body, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(DecodeError::Checksum)?;
        if !Sha256::digest(body).starts_with(checksum) {
            return Err(DecodeError::Checksum);
        }
        let mut input = Input(body.get(1..).unwrap_or_default());
        let account =
            input.number().and_then(AccountId::from_number).ok_or(DecodeError::Value("account"))?;
        let user = input.array().ok_or(DecodeError::Value("user id"))?;
        // A number that the changes to come cannot use up.
        let count = input.number().filter(|count| *count <= u64::MAX / 2);
        let count = count.ok_or(DecodeError::Value("number of changes"))?;
        let created = input.moment().ok_or(DecodeError::Value("creation date"))?;
        let name: UserName = input.name().ok_or(DecodeError::Value("user name"))?;
        let length = input.number().ok_or(DecodeError::Value("number of credentials"))?;
        let credentials =
            (0..length).map(|_| input.credential()).collect::<Result<Credentials, _>>()?;
        if !input.0.is_empty() {
            return Err(DecodeError::Surplus);
        }
        check(&credentials)?;
        let revision = Revision { user: UserId::from_bytes(user), count };
        Ok(Self { account, name, revision, created, credentials })
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
    let by_name = |left: &StoredCredential, right: &StoredCredential| {
        let names = || cmp_caseless(left.name.as_str(), right.name.as_str());
        left.service.cmp(&right.service).then_with(names)
    };
    if repeats(by_name) {
        return Err(DecodeError::Repeated("service user name"));
    }
    Ok(())
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(low_bits(number) | 0x80);
        number >>= 7;
    }
    out.push(low_bits(number));
}

const fn low_bits(number: u64) -> u8 {
    (number & 0x7f) as u8
}

fn put_moment(out: &mut Vec<u8>, moment: Timestamp) {
    put_number(out, moment.milliseconds().unsigned_abs());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    // No text of a record has more than 128 characters, all of them ASCII.
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend(text.as_bytes());
}

fn put_credential(out: &mut Vec<u8>, credential: &StoredCredential) {
    put_text(out, credential.id.as_str());
    put_text(out, credential.service.as_str());
    put_text(out, credential.name.as_str());
    let active = if credential.active { ACTIVE } else { 0 };
    let kind = if credential.kind == CredentialKind::ApiKey { API_KEY } else { 0 };
    let expires = if credential.expires().is_some() { EXPIRES } else { 0 };
    out.push(active | kind | expires);
    put_moment(out, credential.created);
    if let Some(expires) = credential.expires() {
        put_moment(out, expires);
    }
    let Digest::Sha256(digest) = &credential.digest;
    out.push(SHA_256);
    out.extend(digest);
}

/// What is left to read.
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

    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << shift;
            // Bits beyond the highest, and groups that add nothing, are not written.
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

    fn moment(&mut self) -> Option<Timestamp> {
        Timestamp::from_milliseconds(i64::try_from(self.number()?).ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.byte()?;
        let (text, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn name<N: FromStr>(&mut self) -> Option<N> {
        self.text()?.parse().ok()
    }

    fn service(&mut self) -> Option<ServiceName> {
        let text = self.text()?;
        let service: ServiceName = text.parse().ok()?;
        // The one form of a service name is in lower case.
        (service.as_str() == text).then_some(service)
    }

    fn digest(&mut self) -> Option<Digest> {
        match self.byte()? {
            SHA_256 => self.array().map(Digest::Sha256),
            _ => None,
        }
    }

    fn credential(&mut self) -> Result<StoredCredential, DecodeError> {
        use DecodeError::Value;

        let id: CredentialId = self.name().ok_or(Value("credential id"))?;
        let service = self.service().ok_or(Value("service name"))?;
        let name: GeneratedName = self.name().ok_or(Value("service user name"))?;
        let flags = self.byte().filter(|flags| flags & !(ACTIVE | API_KEY | EXPIRES) == 0);
        let flags = flags.ok_or(Value("credential flags"))?;
        let created = self.moment().ok_or(Value("credential creation date"))?;
        let expires = if flags & EXPIRES == 0 {
            Timestamp::NEVER
        } else {
            let expires = self.moment().filter(|expires| *expires >= created);
            expires.ok_or(Value("credential expiration date"))?
        };
        let digest = self.digest().ok_or(Value("digest"))?;
        let api_key = flags & API_KEY != 0;
        Ok(StoredCredential {
            id,
            service,
            name,
            kind: if api_key { CredentialKind::ApiKey } else { CredentialKind::Password },
            active: flags & ACTIVE != 0,
            created,
            expires,
            digest,
        })
    }
}
