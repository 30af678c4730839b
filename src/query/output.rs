//! The outputs of the operations as XML: the elements, in the documented order.

use std::io;

use http::{Response, StatusCode};

use super::{
    RequestId,
    action::Action,
    body::ResponseBody,
    xml::{self, Xml},
};
use crate::{
    credential::{Credential, CredentialKind, IssuedCredential},
    names::account_id::AccountId,
    paging::{Marker, Page},
    secret::Secret,
    user::{User, UserId},
};

/// The output of an operation.
pub(super) enum Output {
    Issued(IssuedCredential),
    Listed(Page<Credential>),
    User(User),
    Users(Page<User>),
    Tags(Page<(String, String)>),
    Done,
}

impl Output {
    pub(super) fn response(&self, action: Action, id: RequestId) -> Response<ResponseBody> {
        let body = xml::document(action.response(), self.capacity(), |xml| {
            match self {
                Self::Done => Ok(()),
                _ => xml.element(action.result(), |xml| self.result(xml)),
            }?;
            xml.element("ResponseMetadata", |xml| xml.text("RequestId", &id.text()))
        });
        xml::response(StatusCode::OK, id, body)
    }

    /// The capacity for the whole document. A buffer that contains a secret must not grow: growing
    /// leaves a copy behind.
    fn capacity(&self) -> usize {
        const ITEM: usize = 1024;
        match self {
            Self::Issued(issued) => 2 * ITEM + issued.secret().expose().len(),
            Self::Listed(page) => ITEM + page.items.len() * ITEM,
            Self::Users(page) => ITEM + page.items.len() * ITEM,
            Self::User(user) => ITEM + user.tags().len() * ITEM,
            Self::Tags(page) => ITEM + page.items.len() * ITEM,
            Self::Done => ITEM,
        }
    }

    fn result(&self, xml: &mut Xml) -> io::Result<()> {
        match self {
            Self::Issued(issued) => xml.element("ServiceSpecificCredential", |xml| {
                credential(xml, issued.credential(), Some(issued.secret()))
            }),
            Self::Listed(page) => members(xml, "ServiceSpecificCredentials", page, |xml, item| {
                credential(xml, item, None)
            }),
            Self::User(one) => xml.element("User", |xml| {
                user(xml, one)?;
                if one.tags().is_empty() {
                    return Ok(());
                }
                xml.element("Tags", |xml| {
                    let mut tags = one.tags().iter();
                    tags.try_for_each(|tag| xml.element("member", |xml| self::tag(xml, tag)))
                })
            }),
            Self::Users(page) => members(xml, "Users", page, user),
            Self::Tags(page) => {
                members(xml, "Tags", page, |xml, (key, value)| tag(xml, (key, value)))
            }
            Self::Done => Ok(()),
        }
    }
}

fn members<T>(
    xml: &mut Xml,
    name: &str,
    page: &Page<T>,
    member: impl Fn(&mut Xml, &T) -> io::Result<()>,
) -> io::Result<()> {
    xml.element(name, |xml| {
        page.items.iter().try_for_each(|item| xml.element("member", |xml| member(xml, item)))
    })?;
    xml.text("IsTruncated", if page.next.is_some() { "true" } else { "false" })?;
    page.next.as_ref().map(Marker::as_str).map_or(Ok(()), |next| xml.text("Marker", next))
}

fn credential(xml: &mut Xml, credential: &Credential, secret: Option<&Secret>) -> io::Result<()> {
    let (name, secret_name) = match credential.kind() {
        CredentialKind::Password => ("ServiceUserName", "ServicePassword"),
        CredentialKind::ApiKey => ("ServiceCredentialAlias", "ServiceCredentialSecret"),
    };
    if let Some(secret) = secret {
        xml.text(secret_name, secret.expose())?;
    }
    xml.text("ServiceName", credential.service().as_str())?;
    xml.text("UserName", credential.user_name().as_str())?;
    xml.text(name, credential.service_user_name().as_str())?;
    xml.text("ServiceSpecificCredentialId", credential.id().as_str())?;
    xml.text("Status", credential.status().as_str())?;
    xml.text("CreateDate", &credential.created.iso_8601())?;
    credential.expires.map_or(Ok(()), |expires| xml.text("ExpirationDate", &expires.iso_8601()))
}

fn user(xml: &mut Xml, user: &User) -> io::Result<()> {
    let account: AccountId = user.account();
    let path = user.path();
    xml.text("Path", path.as_str())?;
    xml.text("UserName", user.name().as_str())?;
    xml.text("UserId", &user_id(user.id()))?;
    xml.text("Arn", &format!("arn:aws:iam::{account}:user{path}{}", user.name()))?;
    xml.text("CreateDate", &user.created.iso_8601())
}

fn tag(xml: &mut Xml, (key, value): (&str, &str)) -> io::Result<()> {
    xml.text("Key", key)?;
    xml.text("Value", value)
}

/// The id of a user as the API documents it: `AIDA` and the 128 bits in Base32 without padding (our
/// decision), 30 characters.
fn user_id(id: UserId) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    // 26 characters have 130 bits.
    let bits = u128::from_be_bytes(*id.as_bytes());
    let digit = |place: u32| {
        let bits = if place == 25 { bits << 2 } else { bits >> (123 - 5 * place) };
        let letter = ALPHABET.get((bits & 0x1f) as usize).copied().unwrap_or(b'A');
        char::from(letter)
    };
    "AIDA".chars().chain((0..26).map(digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_is_aida_and_base_32() {
        for (bytes, expected) in [
            ([0; 16], "AIDAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ([0xff; 16], "AIDA77777777777777777777777774"),
            (*b"0123456789abcdef", "AIDAGAYTEMZUGU3DOOBZMFRGGZDFMY"),
        ] {
            assert_eq!(user_id(UserId::from_bytes(bytes)), expected);
        }
    }
    use crate::{
        lifetime::Lifetime,
        manager::{
            CredentialManager, create_options::CreateOptions, user_options::RegisterOptions,
        },
        names::{service_name::ServiceName, user_name::UserName},
        policy::Policy,
        store::memory::MemoryStore,
        tags::Tags,
    };

    #[test]
    fn a_document_has_a_capacity_for_each_of_its_items() {
        let iam = CredentialManager::new("123456789012".parse().unwrap(), MemoryStore::new());
        let tags = Tags::from_pairs([("team", "a"), ("room", "b"), ("floor", "c")]).unwrap();
        let anika: UserName = "anika".parse().unwrap();
        let user =
            iam.register_user_with_options(&anika, &RegisterOptions::new().tags(tags)).unwrap();
        let codecommit: ServiceName = "codecommit.amazonaws.com".parse().unwrap();
        let listed = [(); 2].map(|()| iam.create(&anika, &codecommit).unwrap().into_parts().0);
        let pair = || ("team".to_owned(), "a".to_owned());
        for (output, kib) in [
            (Output::Done, 1),
            (Output::User(user.clone()), 4),
            (Output::Users(Page { items: vec![user.clone(), user], next: None }), 3),
            (Output::Listed(Page { items: listed.into(), next: None }), 3),
            (Output::Tags(Page { items: vec![pair(), pair()], next: None }), 3),
        ] {
            assert_eq!(output.capacity(), kib * 1024);
        }
        let cassandra: ServiceName = "cassandra.amazonaws.com".parse().unwrap();
        let issued = iam.create(&anika, &cassandra).unwrap();
        let secret = issued.secret().expose().len();
        assert_eq!(Output::Issued(issued).capacity(), 2048 + secret);
    }

    #[test]
    fn a_document_that_holds_a_secret_never_grows() {
        let passwords: ServiceName = "p".repeat(ServiceName::MAX_LENGTH).parse().unwrap();
        let api_keys: ServiceName = "k".repeat(ServiceName::MAX_LENGTH).parse().unwrap();
        let policy = Policy::builder()
            .password_service(passwords.clone())
            .api_key_service(api_keys.clone(), "PREFIX")
            .build()
            .unwrap();
        let iam = CredentialManager::builder("123456789012".parse().unwrap(), MemoryStore::new())
            .policy(policy)
            .build();
        let user: UserName = "u".repeat(UserName::MAX_LENGTH).parse().unwrap();
        iam.register_user(&user).unwrap();
        for service in [passwords, api_keys] {
            let issued = iam
                .create_with_options(
                    &user,
                    &service,
                    &CreateOptions::new().lifetime(Lifetime::days(1).unwrap()),
                )
                .unwrap();
            let output = Output::Issued(issued);
            let body = output.response(Action::Create, RequestId::from_bytes([0; 16])).into_body();
            assert_eq!(Vec::from(body).capacity(), output.capacity());
        }
    }
}
