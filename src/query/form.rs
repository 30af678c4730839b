//! Decodes a form into named parameters.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

/// The decoded parameters of a request, without those that no action knows.
macro_rules! form {
    ($($field:ident = $name:literal),+ $(,)?) => {
        #[derive(Debug, Default)]
        pub(super) struct Form<'a> {
            $(pub(super) $field: Option<Cow<'a, str>>,)+
            /// `Tags.member.N.Key` and `Tags.member.N.Value`.
            pub(super) tags: List<'a, Tag<'a>>,
            /// `TagKeys.member.N`.
            pub(super) tag_keys: List<'a, Option<Cow<'a, str>>>,
        }

        impl<'a> Form<'a> {
            fn slot(&mut self, name: &str) -> Option<&mut Option<Cow<'a, str>>> {
                match name {
                    $($name => Some(&mut self.$field),)+
                    _ => self.list(name),
                }
            }
        }
    };
}

form! {
    action = "Action",
    version = "Version",
    user_name = "UserName",
    new_user_name = "NewUserName",
    service_name = "ServiceName",
    credential_id = "ServiceSpecificCredentialId",
    status = "Status",
    age = "CredentialAgeDays",
    all_users = "AllUsers",
    marker = "Marker",
    max_items = "MaxItems",
    path = "Path",
    new_path = "NewPath",
    path_prefix = "PathPrefix",
    permissions_boundary = "PermissionsBoundary",
}

/// The parameters of a list.
#[derive(Debug)]
pub(super) struct List<'a, T> {
    /// The members, by their number. Numbers may be missing.
    pub(super) members: BTreeMap<u32, T>,
    /// The parameter with the name of the list itself. An empty one stands for an empty list.
    pub(super) whole: Option<Cow<'a, str>>,
    /// Whether a parameter below the name of the list is none of a member.
    pub(super) is_malformed: bool,
}

impl<T> Default for List<'_, T> {
    fn default() -> Self {
        Self { members: BTreeMap::new(), whole: None, is_malformed: false }
    }
}

/// The parameters of one tag.
#[derive(Debug, Default)]
pub(super) struct Tag<'a> {
    pub(super) key: Option<Cow<'a, str>>,
    pub(super) value: Option<Cow<'a, str>>,
}

impl<'a> Form<'a> {
    /// The slot of a list or of a value in it.
    fn list(&mut self, name: &str) -> Option<&mut Option<Cow<'a, str>>> {
        let (list, member) = match name.split_once('.') {
            Some((list, below)) => (list, Some(member(below))),
            None => (name, None),
        };
        let (tags, keys) = (&mut self.tags, &mut self.tag_keys);
        match (list, member) {
            ("Tags", None) => Some(&mut tags.whole),
            ("Tags", Some(Some((number, Some("Key"))))) => {
                Some(&mut tags.members.entry(number).or_default().key)
            }
            ("Tags", Some(Some((number, Some("Value"))))) => {
                Some(&mut tags.members.entry(number).or_default().value)
            }
            ("Tags", Some(_)) => {
                tags.is_malformed = true;
                None
            }
            ("TagKeys", None) => Some(&mut keys.whole),
            ("TagKeys", Some(Some((number, None)))) => {
                Some(keys.members.entry(number).or_default())
            }
            ("TagKeys", Some(_)) => {
                keys.is_malformed = true;
                None
            }
            _ => None,
        }
    }
}

/// The number and the field of a member: of `member.1.Key` or `member.1`. A number has one form:
/// from 1, without leading zeros.
fn member(below: &str) -> Option<(u32, Option<&str>)> {
    let member = below.strip_prefix("member.")?;
    let (text, field) = match member.split_once('.') {
        Some((text, field)) => (text, Some(field)),
        None => (member, None),
    };
    let number = text.parse().ok()?;
    (!text.starts_with(['0', '+'])).then_some((number, field))
}

/// The form is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormError {
    /// A percent sign is not followed by two hexadecimal digits.
    Percent,
    /// A parameter is given twice.
    Repeated,
}

impl<'a> Form<'a> {
    /// Parses a form in time and memory linear in its length.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, FormError> {
        if !is_percent_encoded(bytes) {
            return Err(FormError::Percent);
        }
        Self::from_pairs(form_urlencoded::parse(bytes))
    }

    /// Collects decoded parameters.
    pub(super) fn from_pairs(
        pairs: impl IntoIterator<Item = (Cow<'a, str>, Cow<'a, str>)>,
    ) -> Result<Self, FormError> {
        let mut form = Self::default();
        let mut unknown = HashSet::new();
        for (name, value) in pairs {
            let repeated = match form.slot(&name) {
                Some(slot) => slot.replace(value).is_some(),
                None => !unknown.insert(name),
            };
            if repeated {
                return Err(FormError::Repeated);
            }
        }
        Ok(form)
    }
}

fn is_percent_encoded(bytes: &[u8]) -> bool {
    // Most forms have no percent sign.
    if !bytes.contains(&b'%') {
        return true;
    }
    let mut parts = bytes.split(|&byte| byte == b'%');
    parts.next();
    parts.all(|part| {
        part.first_chunk::<2>().is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit))
    })
}
