//! Every echoed text is valid XML, and a strict parser reads the original text.

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngSeed},
};
use roxmltree::Document;
use service_specific_credentials::{
    CredentialManager, MemoryStore, Policy, ServiceName, UserName,
    query::{self, Dialect, ErrorResponse, Request},
};

use crate::{
    common::{ACCOUNT, name},
    world::{CREATE, Call, DELETE, LIST, RESET, UPDATE, World, encoded, form, request_id},
};

/// The production `Char` of XML 1.0.
fn is_char(c: char) -> bool {
    matches!(c,
        '\u{9}' | '\u{a}' | '\u{d}' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}'
        | '\u{10000}'..='\u{10ffff}')
}

fn representable(text: &str) -> String {
    text.chars().map(|c| if is_char(c) { c } else { '\u{fffd}' }).collect()
}

/// The text of the only element with this name.
fn parsed(xml: &[u8], element: &str) -> String {
    let document = Document::parse(std::str::from_utf8(xml).unwrap()).unwrap();
    let mut elements = document.descendants().filter(|node| node.tag_name().name() == element);
    let text = elements.next().unwrap().children().filter_map(|child| child.text()).collect();
    assert!(elements.next().is_none());
    text
}

#[test]
fn every_character_is_echoed_or_becomes_u_fffd() {
    let world = World::new();
    // One character of each kind in plane 0 and in a few other planes, a thousand per message.
    let low =
        (0..0x3000).chain(0xd700..0x1_0100).chain(0x1_fff0..0x2_0010).chain(0x10_fff0..=0x10_ffff);
    let characters: Vec<char> = low.filter_map(char::from_u32).collect();
    for text in characters.chunks(1000) {
        let text: String = text.iter().collect();
        let message =
            format!("Could not find operation {} for version 2010-05-08", representable(&text));
        let rejection = world.rejection(&Call::post(&encoded(&text), ""));
        assert_eq!(rejection, (400, "InvalidAction".into(), message));
    }
}

#[test]
fn text_that_is_hard_to_escape_is_echoed() {
    let world = World::new();
    for text in [
        "]]>",
        "]]",
        "<![CDATA[",
        "<!--",
        "-->",
        "<?xml?>",
        "<!DOCTYPE a>",
        "&",
        "&amp;",
        "&#0;",
        "&#x41;",
        "&nope;",
        "</Message>",
        "<a b=\"c\" d='e'/>",
        "\"'",
        "\r",
        "\r\n",
        "\n\r",
        "\n",
        "\t",
        " a ",
        "",
        "\0",
        "\u{1}\u{b}\u{c}\u{1f}",
        "\u{7f}\u{80}\u{85}\u{9f}",
        "\u{2028}",
        "\u{fffe}",
        "\u{ffff}",
        "\u{fffd}",
        "\u{1fffe}",
        "\u{10ffff}",
        "\u{1f600}",
        "e\u{301}",
        "\u{feff}",
        "\u{202e}abc",
        "]]\u{0}>",
        "a\u{fffe}&\u{1f600}]]>\r<",
    ] {
        let echo = representable(text);
        let call = Call::form(format!("Action={}&Version={}", encoded(text), encoded(text)));
        let message = format!("Could not find operation {echo} for version {echo}");
        assert_eq!(world.rejection(&call), (400, "InvalidAction".into(), message));
        let get = Call::get(format!("Action={}&Version=1", encoded(text)));
        let message = format!("Could not find operation {echo} for version 1");
        assert_eq!(world.rejection(&get).2, message);
    }
}

#[test]
fn errors_echo_the_service_as_sent() {
    let world = World::new();
    for service in ["CodeCommit.Example.com", "EC2", "ec2", "-.-", "A.b-C.9"] {
        for action in [CREATE, LIST] {
            for (dialect, code) in
                [(Dialect::Documented, "NotSupportedService"), (Dialect::Recorded, "NoSuchEntity")]
            {
                let parameters = format!("UserName=anika&ServiceName={service}");
                let rejection = world.rejection(&Call::post(action, &parameters).dialect(dialect));
                let message = format!(
                    "No such service {service} is supported for Service Specific Credentials"
                );
                assert_eq!(rejection, (404, code.into(), message));
            }
        }
    }
}

#[test]
fn errors_echo_the_credential_id_as_sent() {
    let world = World::new();
    let other_case = world.fill("{active}").to_lowercase();
    let (shortest, longest) = ("_".repeat(20), "aB3_".repeat(32));
    // The first id is from a recording.
    for id in ["satisfiesregexbutstillinvalid", &other_case, &shortest, &longest] {
        for (action, rest) in [(UPDATE, "&Status=Active"), (RESET, ""), (DELETE, "")] {
            for dialect in [Dialect::Documented, Dialect::Recorded] {
                let parameters = format!("UserName=anika&ServiceSpecificCredentialId={id}{rest}");
                let rejection = world.rejection(&Call::post(action, &parameters).dialect(dialect));
                let message = format!("No such credential {id} exists");
                assert_eq!(rejection, (404, "NoSuchEntity".into(), message));
            }
        }
    }
}

#[test]
fn errors_echo_the_user_name_as_sent() {
    let world = World::new();
    for user in ["NoBody", "nobody", "a+=,.@_-"] {
        let rejection =
            world.rejection(&Call::post("GetUser", &format!("UserName={}", encoded(user))));
        let message = format!("The user with name {user} cannot be found.");
        assert_eq!(rejection, (404, "NoSuchEntity".into(), message));
    }
    let (_, _, message) = world.rejection(&Call::post(LIST, "").caller("NoBody"));
    assert_eq!(message, "The user with name NoBody cannot be found.");
}

/// Text with characters that are hard to escape among ordinary ones.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        any::<char>(),
        prop::char::range('\0', '\u{20}'),
        prop::char::ranges(vec!['\u{7f}'..='\u{a0}', '\u{fff0}'..='\u{ffff}'].into()),
        prop::sample::select(vec!['<', '>', '&', '\'', '"', ']', '\r', '\n', '\t', '-', ';', '#']),
    ];
    let piece = prop_oneof![
        character.prop_map(String::from),
        prop::sample::select(vec!["]]>", "<![CDATA[", "&#13;", "&lt;", "<!--", "\r\n"])
            .prop_map(String::from),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

pub(crate) fn config() -> Config {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        (config.cases, config.rng_seed) = (300, RngSeed::Fixed(7));
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn echoed_text_is_parsed_back(action in text(), version in text()) {
        let form = format!("Action={}&Version={}", encoded(&action), encoded(&version));
        let error = Request::from_form(form.as_bytes()).unwrap_err();
        let response = ErrorResponse::from(error).response(request_id());
        let [action, version] = [action, version].map(|text| representable(&text));
        let message = format!("Could not find operation {action} for version {version}");
        prop_assert_eq!(parsed(response.body().as_ref(), "Message"), message);
    }

    #[test]
    fn a_custom_message_is_parsed_back(message in text()) {
        let rejection =
            ErrorResponse::new(http::StatusCode::FORBIDDEN, "AccessDenied", message.clone());
        prop_assert_eq!(rejection.message(), &message);
        let response = rejection.response(request_id());
        prop_assert_eq!(parsed(response.body().as_ref(), "Message"), representable(&message));
    }

    #[test]
    fn accepted_names_are_parsed_back(
        user in "[A-Za-z0-9_+=,.@-]{1,64}",
        service in "[A-Za-z0-9.-]{1,128}",
        prefix in "[A-Za-z0-9]{1,32}",
        key in any::<bool>(),
    ) {
        let (user_name, service_name): (UserName, ServiceName) = (name(&user), name(&service));
        let policy = Policy::builder();
        let policy = if key {
            policy.api_key_service(service_name, &prefix)
        } else {
            policy.password_service(service_name)
        };
        let iam = CredentialManager::builder(name(ACCOUNT), MemoryStore::new())
            .policy(policy.build().unwrap())
            .build();
        iam.register_user(&user_name).unwrap();
        let send = |action: &str, parameters: &str| {
            let request = http::Request::get(format!("/?{}", form(action, parameters)));
            let request = request.body("").unwrap();
            let response = query::handle(&iam, &request, None, Dialect::Documented, request_id());
            assert_eq!(response.status(), 200);
            response.into_body()
        };
        let both = format!("UserName={}&ServiceName={}", encoded(&user), encoded(&service));
        let created = send(CREATE, &both);
        prop_assert_eq!(parsed(created.as_ref(), "UserName"), &*user);
        prop_assert_eq!(parsed(created.as_ref(), "ServiceName"), service.to_ascii_lowercase());
        let (element, secret) = if key {
            ("ServiceCredentialAlias", "ServiceCredentialSecret")
        } else {
            ("ServiceUserName", "ServicePassword")
        };
        let service_user = parsed(created.as_ref(), element);
        prop_assert_eq!(&service_user, &format!("{user}+1-at-{ACCOUNT}"));
        // The parsed credential authenticates.
        let secret = parsed(created.as_ref(), secret);
        let service_name = name(&service);
        let identity = if key {
            iam.authenticate_api_key(&service_name, &secret)
        } else {
            iam.authenticate(&service_name, &service_user, &secret)
        };
        let credential = identity.unwrap();
        prop_assert_eq!(credential.user_name().as_str(), &*user);

        let listed = send(LIST, &both);
        prop_assert_eq!(parsed(listed.as_ref(), "UserName"), &*user);
        prop_assert_eq!(parsed(listed.as_ref(), element), service_user);
        let got = send("GetUser", &both);
        prop_assert_eq!(parsed(got.as_ref(), "Arn"), format!("arn:aws:iam::{ACCOUNT}:user/{user}"));
    }
}
