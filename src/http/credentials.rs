//! The `Authorization` header.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use zeroize::Zeroizing;

use crate::secret::{MAX_PRESENTED, stack::overwriting_stack};

/// The maximum number of bytes of a name, a colon and a password.
const MAX_DECODED: usize = 2 * MAX_PRESENTED + 1;
/// The number of groups of the longest pair: each group decodes four characters to three bytes.
const GROUPS: usize = MAX_DECODED.div_ceil(3);

/// The contents of an `Authorization` header. Neither part has been verified.
///
/// [`HttpAuthenticator`](super::HttpAuthenticator) parses headers itself. Parse them with this type
/// in a server that needs the name or the token earlier, such as to limit the attempts on one name,
/// or to distinguish tokens of several issuers.
///
/// ```
/// use http::{HeaderMap, header::AUTHORIZATION};
/// use service_specific_credentials::http::{Credentials, DecodeBuffer};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(AUTHORIZATION, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".parse()?);
/// let mut buffer = DecodeBuffer::new();
/// let credentials = Credentials::parse(&headers, &mut buffer)?;
/// let Some(Credentials::Basic { name, password }) = credentials else { panic!() };
/// assert_eq!((name, password), ("Aladdin", "open sesame"));
/// assert_eq!(format!("{credentials:?}"), "Some(Basic([REDACTED]))");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Its `Debug` output contains neither part: a client may send a password in the field of the name.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    /// A name and a password, for [`authenticate`](crate::CredentialManager::authenticate).
    Basic {
        /// The service user name: at most 512 bytes, without a colon or a control character.
        name: &'a str,
        /// The password: at most 512 bytes, without a control character.
        password: &'a str,
    },
    /// A token, for [`authenticate_api_key`](crate::CredentialManager::authenticate_api_key).
    Bearer {
        /// The secret of the API key: at most 512 bytes, which are letters, digits and `-._~+/`,
        /// with `=` at the end only.
        token: &'a str,
    },
}

impl<'a> Credentials<'a> {
    /// Parses the `Authorization` header. Returns `None` if there is none.
    ///
    /// A name and a password are decoded into `buffer`; a token is borrowed from `headers`. Reads
    /// no more than 2 KiB of a header.
    ///
    /// # Errors
    ///
    /// [`InvalidAuthorization`]; its variants list the cases.
    pub fn parse(
        headers: &'a HeaderMap,
        buffer: &'a mut DecodeBuffer,
    ) -> Result<Option<Self>, InvalidAuthorization> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(InvalidAuthorization::RepeatedHeader);
        }
        let mut parts = value.as_bytes().trim_ascii().splitn(2, |&byte| byte == b' ');
        let scheme = parts.next().unwrap_or_default();
        let parameter = parts.next().unwrap_or_default().trim_ascii_start();
        if scheme.eq_ignore_ascii_case(b"basic") {
            Self::basic(parameter, buffer).map(Some)
        } else if scheme.eq_ignore_ascii_case(b"bearer") {
            Self::bearer(parameter).map(Some)
        } else {
            Err(InvalidAuthorization::UnsupportedScheme)
        }
    }

    fn basic(
        encoded: &[u8],
        DecodeBuffer(buffer): &'a mut DecodeBuffer,
    ) -> Result<Self, InvalidAuthorization> {
        if encoded.len() > GROUPS * 4 {
            return Err(InvalidAuthorization::TooLong);
        }
        let length = overwriting_stack(|| STANDARD.decode_slice(encoded, &mut buffer[..]));
        let length = length.map_err(|_| InvalidAuthorization::Base64)?;
        let text = str::from_utf8(buffer.get(..length).unwrap_or_default());
        let text = text.map_err(|_| InvalidAuthorization::Utf8)?;
        let (name, password) = text.split_once(':').ok_or(InvalidAuthorization::MissingColon)?;
        if name.len() > MAX_PRESENTED || password.len() > MAX_PRESENTED {
            return Err(InvalidAuthorization::TooLong);
        }
        if text.contains(|c: char| c.is_ascii_control()) {
            return Err(InvalidAuthorization::ControlCharacter);
        }
        Ok(Self::Basic { name, password })
    }

    fn bearer(token: &'a [u8]) -> Result<Self, InvalidAuthorization> {
        let token = str::from_utf8(token).map_err(|_| InvalidAuthorization::Token)?;
        let unpadded = token.trim_end_matches('=');
        let permitted = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
        };
        let is_token =
            token.len() <= MAX_PRESENTED && !unpadded.is_empty() && unpadded.bytes().all(permitted);
        if is_token { Ok(Self::Bearer { token }) } else { Err(InvalidAuthorization::Token) }
    }
}

impl fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic([REDACTED])",
            Self::Bearer { .. } => "Bearer([REDACTED])",
        })
    }
}

/// A buffer for a decoded name and password: 1 KiB, zeroized on drop.
///
/// A move copies the contents, and nothing zeroizes the copy that stays behind: drop a buffer where
/// it was used.
pub struct DecodeBuffer(Zeroizing<[u8; GROUPS * 3]>);

impl DecodeBuffer {
    /// Creates an empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self(Zeroizing::new([0; _]))
    }
}

impl Default for DecodeBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for DecodeBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DecodeBuffer([REDACTED])")
    }
}

/// The `Authorization` header does not follow its specification.
///
/// It contains no part of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAuthorization {
    /// The header is given more than once.
    #[error("the header is given more than once")]
    RepeatedHeader,
    /// The scheme is neither Basic nor Bearer. An empty header has no scheme.
    #[error("the scheme is neither Basic nor Bearer")]
    UnsupportedScheme,
    /// The user name or the password has more than 512 bytes. They were not hashed.
    #[error("the user name or the password has more than {MAX_PRESENTED} bytes")]
    TooLong,
    /// The user name and the password are not Base64 of the standard alphabet with padding.
    #[error("the user name and the password are not encoded in Base64")]
    Base64,
    /// The user name and the password are not UTF-8.
    #[error("the user name and the password are not UTF-8")]
    Utf8,
    /// There is no colon after the user name.
    #[error("there is no colon between the user name and the password")]
    MissingColon,
    /// The user name or the password has an ASCII control character.
    #[error("the user name or the password has a control character")]
    ControlCharacter,
    /// The token is empty, has more than 512 bytes, or characters that no token has.
    #[error("the token is not 1 to {MAX_PRESENTED} characters of a token")]
    Token,
}

impl InvalidAuthorization {
    /// The error in one word, for a field of a log line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RepeatedHeader => "repeated-header",
            Self::UnsupportedScheme => "unsupported-scheme",
            Self::TooLong => "too-long",
            Self::Base64 => "invalid-base64",
            Self::Utf8 => "invalid-utf-8",
            Self::MissingColon => "missing-colon",
            Self::ControlCharacter => "control-character",
            Self::Token => "invalid-token",
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::{
        collection::vec,
        prelude::*,
        test_runner::{Config, RngSeed},
    };
    use zeroize::ZeroizeOnDrop;

    use super::*;

    /// One value of each kind, with its parts, or why it is invalid.
    #[derive(Debug, PartialEq)]
    enum Parsed {
        Missing,
        Basic(String, String),
        Bearer(String),
        Invalid(InvalidAuthorization),
    }

    fn parse(values: &[&[u8]]) -> Parsed {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        match Credentials::parse(&headers, &mut DecodeBuffer::new()) {
            Ok(None) => Parsed::Missing,
            Ok(Some(Credentials::Basic { name, password })) => {
                Parsed::Basic(name.to_owned(), password.to_owned())
            }
            Ok(Some(Credentials::Bearer { token })) => Parsed::Bearer(token.to_owned()),
            Err(invalid) => Parsed::Invalid(invalid),
        }
    }

    fn basic(decoded: impl AsRef<[u8]>) -> Parsed {
        parse(&[format!("Basic {}", STANDARD.encode(decoded)).as_bytes()])
    }

    fn pair(name: &str, password: &str) -> Parsed {
        Parsed::Basic(name.to_owned(), password.to_owned())
    }

    #[test]
    fn a_name_and_a_password_are_decoded() {
        for (value, name, password) in [
            // RFC 7617, sections 2 and 2.1.
            ("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"),
            ("Basic dGVzdDoxMjPCow==", "test", "123£"),
            // RFC 9110, section 11: a scheme in any case, and one space or more after it.
            ("basic dGVzdDoxMjPCow==", "test", "123£"),
            ("BASIC dGVzdDoxMjPCow==", "test", "123£"),
            ("bAsIc    dGVzdDoxMjPCow==", "test", "123£"),
            ("  Basic dGVzdDoxMjPCow== \t ", "test", "123£"),
            // The first colon ends the name.
            ("Basic YTpiOmM6", "a", "b:c:"),
            ("Basic Og==", "", ""),
            ("Basic YTo=", "a", ""),
            ("Basic OmI=", "", "b"),
        ] {
            assert_eq!(parse(&[value.as_bytes()]), pair(name, password), "{value}");
        }
    }

    #[test]
    fn a_token_is_taken_whole() {
        for (value, token) in [
            // RFC 6750, section 2.1.
            ("Bearer mF_9.B5f-4.1JqM", "mF_9.B5f-4.1JqM"),
            ("bearer mF_9.B5f-4.1JqM", "mF_9.B5f-4.1JqM"),
            ("BEARER   a", "a"),
            ("Bearer azAZ09-._~+/==", "azAZ09-._~+/=="),
            (" Bearer a=  ", "a="),
        ] {
            assert_eq!(parse(&[value.as_bytes()]), Parsed::Bearer(token.to_owned()), "{value}");
        }
    }

    #[test]
    fn no_header_is_told_from_an_invalid_one() {
        use InvalidAuthorization::{
            Base64, ControlCharacter, MissingColon, RepeatedHeader, Token, UnsupportedScheme, Utf8,
        };

        assert_eq!(parse(&[]), Parsed::Missing);
        let valid = &b"Basic YTpi"[..];
        for (values, invalid) in [
            (&[valid, valid][..], RepeatedHeader),
            (&[valid, b"Bearer a"], RepeatedHeader),
            (&[valid, b""], RepeatedHeader),
            (&[b""], UnsupportedScheme),
            (&[b"  "], UnsupportedScheme),
            (&[b"YTpi"], UnsupportedScheme),
            (&[b"BasicYTpi"], UnsupportedScheme),
            (&[b"Basic\tYTpi"], UnsupportedScheme),
            (&[b"Basic:YTpi"], UnsupportedScheme),
            (&[b"Digest YTpi"], UnsupportedScheme),
            (&[b"AWS4-HMAC-SHA256 Credential=AKIA, Signature=0"], UnsupportedScheme),
            (&[b"Basi\xe9 YTpi"], UnsupportedScheme),
            (&[b"Basic"], MissingColon),
            (&[b"Basic "], MissingColon),
            (&[b"Basic YQ=="], MissingColon),
            (&[b"Basic !!!!"], Base64),
            (&[b"Basic a:b"], Base64),
            (&[b"Basic YTpi YTpi"], Base64),
            (&[b"Basic YTpi, Basic YTpi"], Base64),
            (&[b"Basic YTpi\tYTpi"], Base64),
            // Missing padding, wrong padding, bits that are dropped, the other alphabet.
            (&[b"Basic YTo"], Base64),
            (&[b"Basic YTpi="], Base64),
            (&[b"Basic YTp="], Base64),
            (&[b"Basic YTr-"], Base64),
            (&[b"Basic \xff\xff\xff\xff"], Base64),
            (&[b"Basic /zr/"], Utf8),
            (&[b"Basic wIA6YQ=="], Utf8),
            (&[b"Basic YQA6Yg=="], ControlCharacter),
            (&[b"Basic YTpiCg=="], ControlCharacter),
            (&[b"Basic YTp/"], ControlCharacter),
            (&[b"Bearer"], Token),
            (&[b"Bearer "], Token),
            (&[b"Bearer ="], Token),
            (&[b"Bearer a=b"], Token),
            (&[b"Bearer a b"], Token),
            (&[b"Bearer a,b"], Token),
            (&[b"Bearer \"a\""], Token),
            (&[b"Bearer \xc3\xa9"], Token),
            (&[b"Bearer \xff"], Token),
        ] {
            let parsed = parse(values);
            let shown: Vec<_> =
                values.iter().map(|value| value.escape_ascii().to_string()).collect();
            assert_eq!(parsed, Parsed::Invalid(invalid), "{shown:?}");
        }
    }

    #[test]
    fn each_part_has_at_most_512_bytes() {
        let part = |length| "a".repeat(length);
        for (name, password) in [(512, 512), (512, 0), (0, 512), (1, 511)] {
            let (name, password) = (part(name), part(password));
            assert_eq!(basic(format!("{name}:{password}")), pair(&name, &password));
        }
        // It is the number of bytes: two a character here.
        assert_eq!(basic(format!("a:{}", "é".repeat(256))), pair("a", &"é".repeat(256)));
        let too_long = Parsed::Invalid(InvalidAuthorization::TooLong);
        for (name, password) in
            [(513, 0), (0, 513), (513, 512), (512, 513), (5000, 1), (1, 1 << 20)]
        {
            let decoded = format!("{}:{}", part(name), part(password));
            assert_eq!(basic(decoded), too_long, "{name}:{password}");
        }
        assert_eq!(basic(format!("a:{}", "é".repeat(257))), too_long);

        let token = |length| parse(&[format!("Bearer {}", part(length)).as_bytes()]);
        assert_eq!(token(512), Parsed::Bearer(part(512)));
        for length in [513, 5000] {
            assert_eq!(token(length), Parsed::Invalid(InvalidAuthorization::Token));
        }
        let padding = format!("Bearer a{}", "=".repeat(512));
        assert_eq!(parse(&[padding.as_bytes()]), Parsed::Invalid(InvalidAuthorization::Token));
    }

    #[test]
    fn every_control_character_is_invalid() {
        for byte in (0..=127).filter(u8::is_ascii_control) {
            for text in [format!("{}:b", byte as char), format!("a:{}", byte as char)] {
                assert_eq!(basic(text), Parsed::Invalid(InvalidAuthorization::ControlCharacter));
            }
        }
    }

    #[test]
    fn the_buffer_is_zeroized_when_it_is_dropped() {
        fn zeroized<T: ZeroizeOnDrop>(_: &T) {}
        zeroized(&DecodeBuffer::new().0);
        assert_eq!(size_of::<DecodeBuffer>(), 1026, "nothing else is in it");
    }

    #[test]
    fn neither_part_is_printed() {
        let secret = "hunter2hunter2";
        let credentials = Credentials::Basic { name: secret, password: secret };
        assert_eq!(
            format!("{credentials:?} {credentials:#?}"),
            "Basic([REDACTED]) Basic([REDACTED])"
        );
        assert_eq!(format!("{:?}", Credentials::Bearer { token: secret }), "Bearer([REDACTED])");
        assert_eq!(format!("{:?}", DecodeBuffer::new()), "DecodeBuffer([REDACTED])");
    }

    fn config() -> Config {
        let mut config = Config { failure_persistence: None, ..Config::default() };
        if std::env::var_os("PROPTEST_CASES").is_none() {
            config.rng_seed = RngSeed::Fixed(7);
        }
        config
    }

    proptest! {
        #![proptest_config(config())]

        #[test]
        fn any_bytes_are_parsed_or_invalid(value in vec(any::<u8>(), 0..64)) {
            let mut headers = HeaderMap::new();
            for scheme in ["", "Basic ", "Bearer "] {
                if let Ok(value) = HeaderValue::from_bytes(&[scheme.as_bytes(), &value].concat()) {
                    headers.insert(AUTHORIZATION, value);
                    let _ = Credentials::parse(&headers, &mut DecodeBuffer::new());
                }
            }
        }

        /// Bytes that are text now and then, of lengths around the limits.
        #[test]
        fn any_bytes_in_base64_are_a_name_and_a_password_or_invalid(
            decoded in prop_oneof![
                vec(any::<u8>(), 0..16),
                vec(prop::sample::select(b"a:\xc3\xa9\n".to_vec()), 0..8),
                (508..516_usize, 508..516_usize)
                    .prop_map(|(name, rest)| [vec![b'a'; name], vec![b':'; rest]].concat()),
            ],
        ) {
            let expected = match String::from_utf8(decoded.clone()) {
                Err(_) => Parsed::Invalid(InvalidAuthorization::Utf8),
                Ok(text) => match text.find(':') {
                    None => Parsed::Invalid(InvalidAuthorization::MissingColon),
                    Some(colon) if colon > 512 || text.len() - colon - 1 > 512 => {
                        Parsed::Invalid(InvalidAuthorization::TooLong)
                    }
                    Some(_) if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) => {
                        Parsed::Invalid(InvalidAuthorization::ControlCharacter)
                    }
                    Some(colon) => {
                        let (name, rest) = text.split_at(colon);
                        pair(name, rest.strip_prefix(':').unwrap())
                    }
                },
            };
            prop_assert_eq!(basic(decoded), expected);
        }

        #[test]
        fn a_name_and_a_password_are_read_back(
            name in "[^:\\x00-\\x1f\\x7f]{0,128}",
            password in "[^\\x00-\\x1f\\x7f]{0,128}",
        ) {
            prop_assert_eq!(basic(format!("{name}:{password}")), Parsed::Basic(name, password));
        }

        #[test]
        fn a_token_is_read_back(token in "[A-Za-z0-9._~+/-]{1,510}={0,2}") {
            let value = format!("Bearer {token}");
            prop_assert_eq!(parse(&[value.as_bytes()]), Parsed::Bearer(token));
        }
    }
}
