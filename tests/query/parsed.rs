//! Requests that were parsed elsewhere: pairs yield the same request as their form, a parsed
//! request executes as [`query::handle`] does, and authorization gets its inputs.

use std::{
    collections::{BTreeMap, HashMap},
    iter,
};

use http::Request as HttpRequest;
use proptest::{collection::vec, prelude::*, sample::select};
use service_specific_credentials::{
    UserName,
    query::{
        self, AGE_DAYS_KEY, CREDENTIAL_ACTIONS, Dialect, MAX_BYTES, Request, RequestError,
        SERVICE_NAME_KEY,
    },
};

use crate::{
    common::{ACCOUNT, name},
    echo::config,
    world::{CREATE, DELETE, FORM, LIST, RESET, UPDATE, World, encoded, form, request_id},
};

const VERSION: (&str, &str) = ("Version", "2010-05-08");

/// A request or an error as comparable text.
fn shown(result: &Result<Request, RequestError>) -> String {
    format!("{result:?}")
}

fn form_of(pairs: &[(String, String)]) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

#[test]
fn maps_and_lists_of_any_string_type_are_accepted() {
    let expected = shown(&Request::from_form(form(LIST, "UserName=anika&MaxItems=7").as_bytes()));
    let pairs = [("Action", LIST), VERSION, ("UserName", "anika"), ("MaxItems", "7")];
    let owned = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    for request in [
        Request::from_pairs(pairs),
        Request::from_pairs(&HashMap::from(pairs)),
        Request::from_pairs(BTreeMap::from(pairs)),
        Request::from_pairs(owned.clone()),
        Request::from_pairs(&HashMap::from(owned.clone())),
        Request::from_pairs(Vec::from(owned.clone())),
        Request::from_pairs(owned.iter().map(|(name, value)| (name, value))),
        Request::from_pairs(url_decoded(&form_of(&owned))),
        Request::from_pairs(pairs.into_iter().rev()),
    ] {
        assert_eq!(shown(&request), expected);
    }
}

/// The result of another crate's form parser: pairs of [`std::borrow::Cow`].
fn url_decoded(form: &str) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(form.as_bytes())
}

#[test]
fn values_of_pairs_are_not_decoded_again() {
    let request = Request::from_pairs([("Action", "GetUser"), VERSION, ("UserName", "a+b")]);
    assert_eq!(request.unwrap().user_name(), Some(&name("a+b")));
    let request = Request::from_pairs([("Action", "GetUser"), VERSION, ("UserName", "a%2Bb")]);
    assert!(matches!(request, Err(RequestError::Invalid(_))));
}

#[test]
fn repeated_pairs_and_pairs_over_one_mebibyte_are_rejected() {
    let action = ("Action", "ListUsers");
    for repeated in ["Action", "MaxItems", "Unknown", ""] {
        let pairs = [action, VERSION, (repeated, "1"), (repeated, "1")];
        assert_eq!(Request::from_pairs(pairs).unwrap_err(), RequestError::RepeatedParameter);
    }
    let start: usize = [action, VERSION, ("Padding", "")]
        .map(|(name, value)| name.len() + value.len() + 2)
        .iter()
        .sum();
    for (length, fits) in [(MAX_BYTES - start, true), (MAX_BYTES - start + 1, false)] {
        let padding = "x".repeat(length);
        let request = Request::from_pairs([action, VERSION, ("Padding", &*padding)]);
        assert_eq!(request.err(), (!fits).then_some(RequestError::TooLarge));
        let request = Request::from_pairs([action, VERSION, (&*padding, "Padding")]);
        assert_eq!(request.err(), (!fits).then_some(RequestError::TooLarge));
    }
    // It returns although the pairs are endless.
    let endless = Request::from_pairs(iter::repeat(("", "")));
    assert_eq!(endless.unwrap_err(), RequestError::TooLarge);
}

fn parameter() -> impl Strategy<Value = (String, String)> {
    let value = prop_oneof![
        select(vec!["anika", "Bo", "", "true", "1", "0", "-1", "36601", "Active", "a b", "é%&=+"]),
        select(vec!["codecommit.amazonaws.com", "CODECOMMIT.amazonaws.com", "x_y", "\u{0}"]),
        select(vec!["ACCA12345ABCDEXAMPLE", "short", "2147483648", "2010-05-08"]),
    ];
    let name = select(vec![
        "UserName",
        "NewUserName",
        "ServiceName",
        "ServiceSpecificCredentialId",
        "Status",
        "CredentialAgeDays",
        "AllUsers",
        "Marker",
        "MaxItems",
        "Version",
        "Action",
        "X-Amz-Date",
        "é%&=+",
    ]);
    (name, value).prop_map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn action() -> impl Strategy<Value = String> {
    let users = ["CreateUser", "GetUser", "UpdateUser", "DeleteUser", "ListUsers", "Unknown", ""];
    select([&CREDENTIAL_ACTIONS[..], &users].concat()).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn pairs_and_their_form_are_the_same_request(
        action in action(),
        version in prop::bool::weighted(0.9),
        parameters in vec(parameter(), 0..6),
    ) {
        let mut pairs = vec![("Action".to_owned(), action)];
        if version {
            pairs.push((VERSION.0.to_owned(), VERSION.1.to_owned()));
        }
        pairs.extend(parameters);
        let from_form = Request::from_form(form_of(&pairs).as_bytes());
        prop_assert_eq!(shown(&Request::from_pairs(pairs)), shown(&from_form));
    }
}

/// Requests to execute, with their callers: each operation, and each kind of error.
const EXECUTED: [(&str, &str, Option<&str>); 24] = [
    (CREATE, "UserName=bo&ServiceName=CodeCommit.amazonaws.com&CredentialAgeDays=7", None),
    (CREATE, "ServiceName=bedrock.amazonaws.com", Some("carl")),
    (CREATE, "UserName=anika&ServiceName=codecommit.amazonaws.com", None),
    (CREATE, "UserName=anika&ServiceName=Git.Example.com", None),
    (CREATE, "ServiceName=codecommit.amazonaws.com", None),
    (LIST, "UserName=ANIKA&MaxItems=2", None),
    (LIST, "AllUsers=true", None),
    (LIST, "", Some("anika")),
    (LIST, "AllUsers=1&UserName=bo", None),
    (LIST, "UserName=anika&Marker={marker}", None),
    (LIST, "UserName=bo&Marker={marker}", None),
    (UPDATE, "UserName=anika&ServiceSpecificCredentialId={active}&Status=Inactive", None),
    (UPDATE, "UserName=anika&ServiceSpecificCredentialId={active}&Status=Expired", None),
    (RESET, "UserName=anika&ServiceSpecificCredentialId={key}", None),
    (RESET, "UserName=anika&ServiceSpecificCredentialId={bo}", None),
    (RESET, "UserName=anika&ServiceSpecificCredentialId={missing}", None),
    (DELETE, "UserName=anika&ServiceSpecificCredentialId={expired}", None),
    (DELETE, "UserName=nobody&ServiceSpecificCredentialId={bo}", None),
    ("CreateUser", "UserName=dora", None),
    ("GetUser", "", Some("bo")),
    ("UpdateUser", "UserName=carl&NewUserName=Karl", None),
    ("DeleteUser", "UserName=anika", None),
    ("ListUsers", "MaxItems=2", None),
    ("GetUser", "", None),
];

#[test]
fn a_parsed_request_executes_as_handle_does() {
    for dialect in [Dialect::Documented, Dialect::Recorded] {
        for (action, parameters, caller) in EXECUTED {
            let caller: Option<UserName> = caller.map(name);
            let caller = caller.as_ref();
            // Each on a separate world with the same ids and secrets.
            let [handled, executed, waited] = [(); 3].map(|()| World::new());
            let form = handled.fill(&form(action, parameters));
            let request = HttpRequest::post("/").header("content-type", FORM);
            let request = request.body(form.as_bytes()).unwrap();
            let id = request_id();
            let expected = query::handle(&handled.iam, &request, caller, dialect, id);

            let request = Request::from_pairs(url_decoded(&form)).unwrap();
            let response = request.execute(&executed.iam, caller, dialect, id);
            let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let waiting = request.execute_async(&waited.waiting, caller, dialect, id);
            let waiting = executor.block_on(waiting);
            for (world, response) in [(executed, response), (waited, waiting)] {
                assert_eq!(response.status(), expected.status(), "{form}");
                assert_eq!(response.headers(), expected.headers(), "{form}");
                assert_eq!(response.body().as_ref(), expected.body().as_ref(), "{form}");
                assert_eq!(world.dump(), handled.dump(), "{form}");
            }
        }
    }
}

#[test]
fn a_parsed_request_can_be_executed_repeatedly() {
    let world = World::new();
    let request = Request::from_form(form(CREATE, "ServiceName=logs.amazonaws.com").as_bytes());
    let request = request.unwrap();
    let (bo, carl) = (name("bo"), name("carl"));
    for (caller, status) in [(&bo, 200), (&carl, 200), (&bo, 200), (&bo, 409)] {
        let response = request.execute(&world.iam, Some(caller), Dialect::Documented, request_id());
        assert_eq!(response.status(), status);
    }
}

/// Action, parameters, caller, resource, and condition keys.
type Authorized = (
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    &'static [(&'static str, &'static str)],
);

#[test]
fn authorization_gets_the_action_the_resource_and_the_condition_keys() {
    const ID: &str = "ServiceSpecificCredentialId=ACCA12345ABCDEXAMPLE";
    const CODECOMMIT: (&str, &str) = (SERVICE_NAME_KEY, "codecommit.amazonaws.com");
    let of_id = |parameters: &str| format!("{ID}&{parameters}").leak() as &str;
    let table: [Authorized; 22] = [
        (
            CREATE,
            "UserName=anika&ServiceName=CodeCommit.AmazonAWS.com",
            None,
            Some("anika"),
            &[CODECOMMIT],
        ),
        (
            CREATE,
            "ServiceName=codecommit.amazonaws.com&CredentialAgeDays=%2B090",
            Some("bo"),
            Some("bo"),
            &[CODECOMMIT, (AGE_DAYS_KEY, "90")],
        ),
        // The condition keys include a service that the policy does not support.
        (CREATE, "ServiceName=GIT", None, None, &[(SERVICE_NAME_KEY, "git")]),
        // The name is spelled as it was sent, and the caller does not replace it.
        (LIST, "UserName=ANIKA", Some("bo"), Some("ANIKA"), &[]),
        (LIST, "ServiceName=codecommit.amazonaws.com", Some("bo"), Some("bo"), &[]),
        (LIST, "", None, None, &[]),
        (LIST, "AllUsers=true", None, Some("*"), &[]),
        (LIST, "AllUsers=1", Some("bo"), Some("*"), &[]),
        // The request is invalid; until it fails, it is about all users.
        (LIST, "AllUsers=1&UserName=bo", None, Some("*"), &[]),
        (LIST, "AllUsers=false&UserName=bo", None, Some("bo"), &[]),
        (UPDATE, of_id("UserName=anika&Status=Active"), None, Some("anika"), &[]),
        (RESET, of_id("CredentialAgeDays=1&ServiceName=git"), Some("bo"), Some("bo"), &[]),
        (DELETE, of_id("UserName=a%2Bb"), None, Some("a+b"), &[]),
        (DELETE, of_id(""), None, None, &[]),
        ("CreateUser", "UserName=dora", Some("bo"), Some("dora"), &[]),
        ("GetUser", "", Some("bo"), Some("bo"), &[]),
        ("GetUser", "UserName=anika", Some("bo"), Some("anika"), &[]),
        ("GetUser", "", None, None, &[]),
        ("UpdateUser", "UserName=anika&NewUserName=dora", None, Some("anika"), &[]),
        ("DeleteUser", "UserName=anika", None, Some("anika"), &[]),
        ("ListUsers", "", None, Some("*"), &[]),
        ("ListUsers", "UserName=anika", Some("bo"), Some("*"), &[]),
    ];
    for (action, parameters, caller, user, keys) in table {
        let request = Request::from_form(form(action, parameters).as_bytes()).unwrap();
        assert_eq!(request.iam_action(), format!("iam:{action}"));
        let caller: Option<UserName> = caller.map(name);
        let resource = request.resource_arn(name(ACCOUNT), caller.as_ref());
        let expected = user.map(|user| format!("arn:aws:iam::{ACCOUNT}:user/{user}"));
        assert_eq!(resource, expected, "{action} {parameters}");
        let expected: Vec<_> =
            keys.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        assert_eq!(request.condition_keys().collect::<Vec<_>>(), expected);
        assert_eq!(request.lifetime().is_some(), keys.len() == 2);
        assert_eq!(CREDENTIAL_ACTIONS.contains(&request.action()), action.contains("Credential"));
    }
}

/// A request for which authorization gets no resource changes nothing and returns no data.
#[test]
fn a_request_without_a_resource_fails() {
    let world = World::new();
    for (action, parameters) in [
        (CREATE, "ServiceName=codecommit.amazonaws.com"),
        (LIST, ""),
        (UPDATE, "ServiceSpecificCredentialId={active}&Status=Active"),
        (RESET, "ServiceSpecificCredentialId={active}"),
        (DELETE, "ServiceSpecificCredentialId={active}"),
        ("GetUser", ""),
    ] {
        let form = world.fill(&form(action, parameters));
        let request = Request::from_form(form.as_bytes()).unwrap();
        assert_eq!(request.resource_arn(name(ACCOUNT), None), None);
        let before = world.dump();
        let response = request.execute(&world.iam, None, Dialect::Documented, request_id());
        assert_eq!(response.status(), 400);
        let body = String::from_utf8(response.into_body().into()).unwrap();
        assert!(body.contains("Must specify userName when calling with non-User credentials"));
        assert_eq!(world.dump(), before);
    }
}
