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
            /// `Tags.member.N.Key` and `Tags.member.N.Value`, by N.
            pub(super) tags: BTreeMap<u32, Tag<'a>>,
            /// `TagKeys.member.N`, by N.
            pub(super) tag_keys: BTreeMap<u32, Option<Cow<'a, str>>>,
        }

        impl<'a> Form<'a> {
            fn slot(&mut self, name: &str) -> Option<&mut Option<Cow<'a, str>>> {
                match name {
                    $($name => Some(&mut self.$field),)+
                    _ => self.member(name),
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
    empty_tags = "Tags",
    empty_tag_keys = "TagKeys",
}

/// The parameters of one tag.
#[derive(Debug, Default)]
pub(super) struct Tag<'a> {
    pub(super) key: Option<Cow<'a, str>>,
    pub(super) value: Option<Cow<'a, str>>,
}

impl<'a> Form<'a> {
    /// The slot of a member of a list.
    fn member(&mut self, name: &str) -> Option<&mut Option<Cow<'a, str>>> {
        if let Some(number) = name.strip_prefix("TagKeys.member.") {
            return Some(self.tag_keys.entry(index(number)?).or_default());
        }
        let (number, field) = name.strip_prefix("Tags.member.")?.split_once('.')?;
        let number = index(number)?;
        match field {
            "Key" => Some(&mut self.tags.entry(number).or_default().key),
            "Value" => Some(&mut self.tags.entry(number).or_default().value),
            _ => None,
        }
    }
}

/// The number of a member, in its one form: from 1, without leading zeros.
fn index(number: &str) -> Option<u32> {
    let index = number.parse().ok()?;
    (index > 0 && !number.starts_with(['0', '+'])).then_some(index)
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
