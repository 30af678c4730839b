//! The existing emulator's state: users with paths and access keys, and policies.

use std::collections::{BTreeMap, HashMap};

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode, header::AUTHORIZATION};
use service_specific_credentials::{
    InvalidUserName, UserName,
    query::{AGE_DAYS_KEY, ErrorResponse, RequestId, SERVICE_NAME_KEY},
};

pub(crate) const ACCOUNT: &str = "123456789012";

pub(crate) struct User {
    pub(crate) name: UserName,
    path: &'static str,
    access_key: Option<&'static str>,
    policy: Vec<Statement>,
}

impl User {
    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:user{}{}", self.path, self.name)
    }

    /// The result of creating this user.
    pub(crate) fn created(&self) -> String {
        let (Self { name, path, .. }, arn) = (self, self.arn());
        format!(
            "<CreateUserResult><User><Path>{path}</Path><UserName>{name}</UserName>\
             <Arn>{arn}</Arn></User></CreateUserResult>"
        )
    }
}

/// Allows an action on a resource, under conditions. `*` is every action and every resource.
struct Statement {
    action: &'static str,
    resource: String,
    conditions: Vec<Condition>,
}

#[derive(Clone)]
enum Condition {
    StringEquals(&'static str, &'static str),
    NumericLessThanEquals(&'static str, u32),
}

impl Statement {
    fn allows(&self, action: &str, resource: &str, keys: &HashMap<&str, String>) -> bool {
        (self.action == "*" || self.action == action)
            && (self.resource == "*" || self.resource == resource)
            && self.conditions.iter().all(|condition| condition.is_met(keys))
    }
}

impl Condition {
    /// A missing key satisfies no condition.
    fn is_met(&self, keys: &HashMap<&str, String>) -> bool {
        match *self {
            Self::StringEquals(key, value) => keys.get(key).is_some_and(|it| it == value),
            Self::NumericLessThanEquals(key, limit) => {
                keys.get(key).and_then(|it| it.parse().ok()).is_some_and(|it: u32| it <= limit)
            }
        }
    }
}

/// The users by name, case-insensitively.
pub(crate) struct Users(BTreeMap<UserName, User>);

impl Users {
    pub(crate) fn at_the_start() -> Result<Self, InvalidUserName> {
        let mut users = Self(BTreeMap::new());
        let admin = users.insert("admin".parse()?);
        admin.access_key = Some("AKIAADMIN");
        let everything = Statement { action: "*", resource: "*".to_owned(), conditions: vec![] };
        admin.policy = vec![everything];

        let anika = users.insert("anika".parse()?);
        (anika.path, anika.access_key) = ("/team/", Some("AKIAANIKA"));
        let codecommit = Condition::StringEquals(SERVICE_NAME_KEY, "codecommit.amazonaws.com");
        let expires = Condition::NumericLessThanEquals(AGE_DAYS_KEY, 90);
        anika.policy = [
            ("iam:ListServiceSpecificCredentials", vec![]),
            ("iam:CreateServiceSpecificCredential", vec![codecommit.clone(), expires]),
            ("iam:UpdateServiceSpecificCredential", vec![codecommit.clone()]),
            ("iam:ResetServiceSpecificCredential", vec![codecommit.clone()]),
            ("iam:DeleteServiceSpecificCredential", vec![codecommit]),
        ]
        .map(|(action, conditions)| Statement { action, resource: anika.arn(), conditions })
        .into();
        Ok(users)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &User> {
        self.0.values()
    }

    pub(crate) fn insert(&mut self, name: UserName) -> &mut User {
        let user = User { name: name.clone(), path: "/", access_key: None, policy: Vec::new() };
        self.0.entry(name).or_insert(user)
    }

    pub(crate) fn remove(&mut self, name: &UserName) {
        self.0.remove(name);
    }

    pub(crate) fn find(&self, name: &UserName) -> Result<&User, ErrorResponse> {
        self.0.get(name).ok_or_else(|| {
            let message = format!("The user with name {name} cannot be found.");
            ErrorResponse::new(StatusCode::NOT_FOUND, "NoSuchEntity", message)
        })
    }

    /// The user whose access key signed a request.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<&User, ErrorResponse> {
        let signature = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let credential = signature.and_then(|text| text.split_once("Credential="));
        let key = credential.and_then(|(_, credential)| credential.split('/').next());
        let found = self.iter().find(|user| key.is_some() && user.access_key == key);
        found.ok_or_else(|| {
            let message = "The security token included in the request is invalid.";
            ErrorResponse::new(StatusCode::FORBIDDEN, "InvalidClientTokenId", message)
        })
    }

    /// Whether the policy of a user allows an action.
    pub(crate) fn may(
        &self,
        caller: &UserName,
        action: &str,
        resource: &str,
        keys: &HashMap<&str, String>,
    ) -> bool {
        self.0.get(caller).is_some_and(|user| {
            user.policy.iter().any(|statement| statement.allows(action, resource, keys))
        })
    }
}

pub(crate) fn denied(caller: &UserName, action: &str) -> ErrorResponse {
    let message = format!("User: {caller} is not authorized to perform: iam:{action}");
    ErrorResponse::new(StatusCode::FORBIDDEN, "AccessDenied", message)
}

pub(crate) fn unknown_action(action: &str) -> ErrorResponse {
    let message = format!("Could not find operation {action} for version 2010-05-08");
    ErrorResponse::new(StatusCode::BAD_REQUEST, "InvalidAction", message)
}

/// The response of an action.
pub(crate) fn done(action: &str, result: &str, id: RequestId) -> Response<Body> {
    let xml = format!(
        "<{action}Response xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">{result}\
         <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{action}Response>"
    );
    Response::new(xml.into())
}
