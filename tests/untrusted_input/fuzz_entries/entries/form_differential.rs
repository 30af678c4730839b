//! The decoder of forms, compared with the crate `form_urlencoded`.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

use service_specific_credentials::{
    CredentialManager, Lifetime, MemoryStore, Tags,
    query::{Dialect, MAX_BYTES, Request, RequestError, RequestId},
};

/// The parameters of a form, as the crate decodes them.
struct Pairs<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

/// The bytes as a form.
pub(crate) fn compare(bytes: &[u8]) {
    let pairs = Pairs(form_urlencoded::parse(bytes).collect());
    let request = Request::from_form(bytes);
    if let Some(error) = pairs.rejection(bytes) {
        assert_eq!(request.unwrap_err(), error);
        return;
    }
    let decoded = pairs.0.iter().map(|(name, value)| (name, value));
    assert_eq!(format!("{request:?}"), format!("{:?}", Request::from_pairs(decoded)));
    match request {
        Ok(request) => pairs.compare(&request),
        Err(RequestError::MissingAction) => assert_eq!(pairs.get("Action"), None),
        Err(RequestError::UnknownAction { action, version, .. }) => {
            assert_eq!(Some(&*action), pairs.get("Action"));
            assert_eq!(version, pairs.get("Version").unwrap_or_default());
        }
        // A value that an action does not take.
        Err(
            RequestError::NotANumber(_)
            | RequestError::NotABoolean(_)
            | RequestError::NotSupported(_)
            | RequestError::NotAList(_)
            | RequestError::EmptyList(_)
            | RequestError::Tags(_)
            | RequestError::Invalid(_),
        ) => {}
        Err(error) => panic!("{error:?}"),
    }
}

impl Pairs<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(its, _)| its == name).map(|(_, value)| &**value)
    }

    /// Why the form is malformed, if it is.
    fn rejection(&self, bytes: &[u8]) -> Option<RequestError> {
        let is_encoded =
            bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%').all(|(at, _)| {
                let digits = bytes.get(at + 1..at + 3);
                digits.is_some_and(|them| them.iter().all(u8::is_ascii_hexdigit))
            });
        let mut names = HashSet::new();
        if bytes.len() > MAX_BYTES {
            Some(RequestError::TooLarge)
        } else if !is_encoded {
            Some(RequestError::PercentEncoding)
        } else if !self.0.iter().all(|(name, _)| names.insert(name)) {
            Some(RequestError::RepeatedParameter)
        } else {
            None
        }
    }

    /// Compares the parameters that a request shows.
    fn compare(&self, request: &Request) {
        let action = request.action();
        assert_eq!((Some(action), Some("2010-05-08")), (self.get("Action"), self.get("Version")));
        // A parameter of these actions.
        let of = |name, actions: &[&str]| self.get(name).filter(|_| actions.contains(&action));
        let credential =
            ["Update", "Reset", "Delete"].map(|verb| format!("{verb}ServiceSpecificCredential"));
        let credential = credential.each_ref().map(String::as_str);
        let (create, list) = ("CreateServiceSpecificCredential", "ListServiceSpecificCredentials");

        let user = self.get("UserName").filter(|_| action != "ListUsers");
        assert_eq!(request.user_name().map(AsRef::as_ref), user);
        assert_eq!(request.new_user_name().map(AsRef::as_ref), of("NewUserName", &["UpdateUser"]));
        assert_eq!(
            request.credential_id().map(AsRef::as_ref),
            of("ServiceSpecificCredentialId", &credential)
        );
        // The name is in lower case, and an empty one is no filter.
        let service = of("ServiceName", &[create, list]).filter(|name| !name.is_empty());
        assert_eq!(
            request.service_name().map(ToString::to_string),
            service.map(str::to_ascii_lowercase)
        );
        let days = of("CredentialAgeDays", &[create]).map(|days| days.parse().unwrap());
        assert_eq!(request.lifetime().map(Lifetime::as_days), days);
        let all_users = matches!(of("AllUsers", &[list]), Some("true" | "1"));
        assert_eq!(request.is_about_all_users(), all_users || action == "ListUsers");
        if action == "CreateUser" {
            self.compare_created_user(request);
        }
    }

    /// Compares the path and the tags, which only a user shows.
    fn compare_created_user(&self, request: &Request) {
        let iam = CredentialManager::new("123456789012".parse().unwrap(), MemoryStore::new());
        let response = request.execute(&iam, None, Dialect::default(), RequestId::random());
        assert_eq!(response.status(), 200);
        let user = iam.user(request.user_name().unwrap()).unwrap();
        assert_eq!(user.path().as_str(), self.get("Path").unwrap_or("/"));

        let mut members = BTreeMap::<_, (&str, &str)>::new();
        for (name, value) in &self.0 {
            let Some(member) = name.strip_prefix("Tags.member.") else { continue };
            match member.split_once('.').unwrap() {
                (number, "Key") => members.entry(number).or_default().0 = value,
                (number, "Value") => members.entry(number).or_default().1 = value,
                _ => panic!("{name}"),
            }
        }
        assert_eq!(*user.tags(), Tags::from_pairs(members.into_values()).unwrap());
    }
}
