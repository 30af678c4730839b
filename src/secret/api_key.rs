//! The alias in the secret of an API key.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroize as _;

use super::stack::overwriting_stack;
use crate::names::service_user_name::ServiceUserName;

/// A buffer for the longest alias and the colon after it. The owner zeroizes it.
pub(crate) type AliasBuffer = [u8; ServiceUserName::MAX_LENGTH + 1];

/// Decodes the alias of an API key secret into `buffer`. The secret is untrusted input.
///
/// Decodes no more than the longest alias and the colon. The digest verifies the rest. Decoded
/// bytes behind the colon are zeroized at once.
pub(crate) fn decode_alias<'b>(
    prefix: &str,
    secret: &str,
    buffer: &'b mut AliasBuffer,
) -> Option<&'b str> {
    let encoded = secret.strip_prefix(prefix)?;
    let encoded = encoded.get(..encoded.len().min(buffer.len() / 3 * 4))?;
    let total = overwriting_stack(|| STANDARD.decode_slice(encoded, &mut *buffer)).ok()?;
    let length = buffer.iter().take(total).position(|&byte| byte == b':')?;
    let (alias, password) = buffer.split_at_mut_checked(length)?;
    password.zeroize();
    std::str::from_utf8(alias).ok()
}

// The decoded part ends at the end of a group of four characters.
const _: () = assert!((ServiceUserName::MAX_LENGTH + 1).is_multiple_of(3));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Alphabet, Secret};

    #[test]
    fn an_api_key_is_the_prefix_and_the_encoded_alias_and_password() {
        for (alias, bytes) in [
            ("a".to_owned(), 16),
            ("anika+1-at-123456789012".to_owned(), 32),
            ("x".repeat(200), 96),
        ] {
            let inner = Secret::password(&vec![7; bytes], Alphabet::Standard);
            let secret = Secret::api_key("ABSK", &alias, &inner);
            let decoded = STANDARD.decode(secret.expose().strip_prefix("ABSK").unwrap()).unwrap();
            assert_eq!(decoded, format!("{alias}:{}", inner.expose()).into_bytes());
            let mut buffer = [0; _];
            assert_eq!(decode_alias("ABSK", secret.expose(), &mut buffer), Some(&*alias));
            let rest = buffer.iter().skip(alias.len());
            assert_eq!(rest.filter(|&&byte| byte != 0).count(), 0, "the password is zeroized");
        }
    }

    #[test]
    fn other_text_has_no_alias() {
        let without_colon = STANDARD.encode("x".repeat(300));
        let long_alias = STANDARD.encode(format!("{}:y", "x".repeat(201)));
        for secret in
            ["", "ABSK", "ABS", "absk", "ABSKé", "ABSK====", "ABSKéééé", "ABSKYQ==", "AEAAYTpi"]
        {
            assert!(decode_alias("ABSK", secret, &mut [0; _]).is_none(), "{secret}");
        }
        for encoded in [without_colon, long_alias] {
            assert!(decode_alias("ABSK", &format!("ABSK{encoded}"), &mut [0; _]).is_none());
        }
        let not_text = format!("ABSK{}", STANDARD.encode(b"\xff:b"));
        assert!(decode_alias("ABSK", &not_text, &mut [0; _]).is_none());
    }
}
