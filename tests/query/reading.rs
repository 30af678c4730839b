//! Parsing of requests: methods, content types, encodings, limits, and case sensitivity.

use http::{HeaderValue, Method, Request as HttpRequest, header::CONTENT_TYPE};
use service_specific_credentials::query::{MAX_BYTES, Request, RequestError};

use crate::world::{CREATE, Call, DELETE, FORM, LIST, RESET, UPDATE, World, encoded, form};

fn malformed(message: &str) -> (u16, String, String) {
    (400, "MalformedInput".into(), message.into())
}

#[test]
fn a_post_requires_the_form_content_type() {
    let world = World::new();
    let call = Call::post(LIST, "UserName=anika");
    for content_type in [
        FORM,
        "application/x-www-form-urlencoded; charset=utf-8",
        "application/x-www-form-urlencoded;charset=ISO-8859-1",
        "Application/X-WWW-Form-UrlEncoded;Charset=\"UTF-8\"",
        " application/x-www-form-urlencoded\t; charset=utf-8",
        "application/x-www-form-urlencoded;",
        "application/x-www-form-urlencoded; x",
    ] {
        let reply = world.send(&call.clone().content_type(Some(content_type)));
        assert_eq!(reply.status, 200, "{content_type}");
    }
    let rejected = malformed("The content type must be application/x-www-form-urlencoded");
    for content_type in [
        None,
        Some(""),
        Some(";"),
        Some("application/json"),
        Some("text/plain; application/x-www-form-urlencoded"),
        Some("application/x-www-form-urlencoded2"),
        Some("application/x-www-form-urlencoded charset=utf-8"),
        Some("application/x-www-form-urlencoded, text/plain"),
        Some("x-www-form-urlencoded"),
        Some("multipart/form-data; boundary=x"),
        Some("*/*"),
    ] {
        let call = call.clone().content_type(content_type);
        assert_eq!(world.rejection(&call), rejected, "{content_type:?}");
    }
    let mut request = HttpRequest::post("/").body(form(LIST, "UserName=anika")).unwrap();
    let opaque = HeaderValue::from_bytes(b"application/x-www-form-urlencoded\xff").unwrap();
    request.headers_mut().insert(CONTENT_TYPE, opaque);
    assert_eq!(Request::read(&request).unwrap_err(), RequestError::ContentType);
}

#[test]
fn a_get_reads_its_query_string_and_a_post_its_body() {
    let world = World::new();
    let user = |user: &str| form("GetUser", &format!("UserName={user}"));
    let both =
        |call: Call| world.send(&Call { query: user("anika"), body: user("bo").into(), ..call });
    assert_eq!(both(Call::form("")).text("UserName"), "bo");
    assert_eq!(both(Call::get("")).text("UserName"), "anika");
    let missing = (400, "MissingAction".to_owned(), "Missing Action".to_owned());
    assert_eq!(world.rejection(&Call { query: user("anika"), ..Call::form("") }), missing);
    assert_eq!(world.rejection(&Call { body: user("bo").into(), ..Call::get("") }), missing);
    // A parameter in both the query string and the body is not repeated, because one of them is
    // ignored.
    assert_eq!(both(Call::get("").content_type(Some(FORM))).text("UserName"), "anika");

    let path = format!("/any/path?{}#fragment", user("anika"));
    let request = Request::read(&HttpRequest::get(path).body("").unwrap()).unwrap();
    assert_eq!(request.action(), "GetUser");
}

#[test]
fn only_get_and_post_are_served() {
    let world = World::new();
    let methods = [
        Method::PUT,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
        Method::PATCH,
        Method::TRACE,
        Method::CONNECT,
        Method::from_bytes(b"post").unwrap(),
        Method::from_bytes(b"BREW").unwrap(),
    ];
    for method in methods {
        let call =
            Call { query: form(LIST, "UserName=anika"), ..Call::post(LIST, "UserName=anika") };
        let (status, _, message) = world.rejection(&call.method(method));
        assert_eq!((status, &*message), (405, "Only GET and POST are supported"));
    }
}

#[test]
fn a_body_of_one_mebibyte_is_accepted_and_one_byte_more_is_rejected() {
    let world = World::new();
    let start = form(LIST, "UserName=anika&Padding=");
    for (length, status) in [(MAX_BYTES - 1, 200), (MAX_BYTES, 200), (MAX_BYTES + 1, 413)] {
        assert_eq!(MAX_BYTES, 1_048_576);
        let mut body = start.clone().into_bytes();
        body.resize(length, b'x');
        assert_eq!(world.send(&Call::form(body.clone())).status, status, "{length}");
        let error = Request::from_form(&body).err();
        assert_eq!(error, (status == 413).then_some(RequestError::TooLarge));
    }
    // The rest is not parsed.
    let rejection = world.rejection(&Call::form(vec![b'%'; MAX_BYTES + 1]));
    assert_eq!((rejection.0, &*rejection.1), (413, "MalformedInput"));
}

#[test]
fn a_percent_sign_requires_two_hex_digits() {
    let world = World::new();
    let rejected = malformed("The request is not percent-encoded correctly");
    for text in ["%", "%2", "%zz", "%2g", "%%41", "%4%31", "%+1", "%u0041", "a=%", "%=a", "%C3%"] {
        for form in [
            form(LIST, &format!("UserName=anika&Padding={text}")),
            form(LIST, &format!("UserName=anika&{text}")),
            format!("{text}&{}", form(LIST, "UserName=anika")),
        ] {
            assert_eq!(world.rejection(&Call::form(form.clone())), rejected, "{form}");
            assert_eq!(world.rejection(&Call::get(form)), rejected);
        }
    }
    for text in ["%41", "%c3%A9", "%00", "%25%25", "%FF", "", "&&", "=", "=&x", "a=b=c", "?a"] {
        let reply = world.post(LIST, &format!("UserName=anika&Padding={text}"));
        assert_eq!(reply.status, 200, "{text}");
    }
}

#[test]
fn names_and_values_are_decoded() {
    let world = World::new();
    let everything = format!(
        "{}={}&{}={}&{}={}",
        encoded("Action"),
        encoded("GetUser"),
        encoded("Version"),
        encoded("2010-05-08"),
        encoded("UserName"),
        encoded("anika"),
    );
    assert_eq!(world.send(&Call::form(everything.clone())).text("UserName"), "anika");
    assert_eq!(world.send(&Call::get(everything)).text("UserName"), "anika");
    assert_eq!(world.post("CreateUser", "UserName=a%2Bb").text("UserName"), "a+b");
    assert_eq!(world.post("CreateUser", "UserName=a=b").text("UserName"), "a=b");
    // A plus sign is a space, which a name must not contain.
    let rejection = world.rejection(&Call::post("GetUser", "UserName=a+b"));
    assert!(rejection.2.starts_with("The specified value for userName is invalid."));
}

#[test]
fn invalid_utf_8_becomes_a_replacement_character() {
    let world = World::new();
    for (bytes, text) in [
        ("%FF", "\u{fffd}"),
        ("a%C3%28", "a\u{fffd}("),
        ("%ED%A0%80", "\u{fffd}\u{fffd}\u{fffd}"),
        ("%F0%9F%98", "\u{fffd}"),
        ("%C0%80", "\u{fffd}\u{fffd}"),
    ] {
        let message = format!("Could not find operation {text} for version 2010-05-08");
        world.rejects(bytes, "", "InvalidAction", &message);
    }
    let raw = [b"Action=\xff&Version=2010-05-08".as_slice(), b""].concat();
    let (_, _, message) = world.rejection(&Call::form(raw));
    assert_eq!(message, "Could not find operation \u{fffd} for version 2010-05-08");
    let same = form(LIST, "UserName=anika&%FF=1&%FE=2");
    assert_eq!(world.rejection(&Call::form(same)).2, "A parameter is given more than once");
}

#[test]
fn actions_parameters_statuses_and_ids_are_case_sensitive() {
    let world = World::new();
    for action in [
        "listServiceSpecificCredentials",
        "LISTSERVICESPECIFICCREDENTIALS",
        "ListServiceSpecificCredential",
        "ListServiceSpecificCredentials ",
        "",
        "ListServiceSpecificCredentialsResponse",
    ] {
        let message = format!("Could not find operation {action} for version 2010-05-08");
        world.rejects(&action.replace(' ', "+"), "UserName=anika", "InvalidAction", &message);
    }
    // Parameter names in another case are unknown, and not repetitions.
    let reply = world.post(LIST, "UserName=bo&username=anika&USERNAME=carl&allusers=true");
    assert_eq!(reply.texts("UserName"), ["bo"]);
    let missing = (400, "MissingAction".to_owned(), "Missing Action".to_owned());
    assert_eq!(world.rejection(&Call::form("action=ListUsers&Version=2010-05-08")), missing);
    let lower = Call::form("Action=ListUsers&version=2010-05-08");
    assert_eq!(world.rejection(&lower).2, "Could not find operation ListUsers for version ");

    let id = world.fill("{active}").to_lowercase();
    let rejection = world
        .rejection(&Call::post(RESET, &format!("UserName=anika&ServiceSpecificCredentialId={id}")));
    assert_eq!(rejection.2, format!("No such credential {id} exists"));
    let status = "UserName=anika&ServiceSpecificCredentialId={active}&Status=inactive";
    let rejection = world.rejection(&Call::post(UPDATE, status));
    assert!(rejection.2.ends_with("Member must satisfy enum value set"), "{rejection:?}");
    // User names and service names are case-insensitive.
    let reply = world.post(LIST, "UserName=ANIKA&ServiceName=CODECOMMIT.AMAZONAWS.COM");
    assert_eq!(reply.texts("UserName"), ["anika", "anika"]);
    assert_eq!(reply.texts("ServiceName"), ["codecommit.amazonaws.com"; 2]);
}

#[test]
fn an_unknown_version_has_no_operations() {
    let world = World::new();
    for version in ["2010-05-09", "", "2010-05-08 ", " 2010-05-08", "2010-05-8", "2011-06-15", "1"]
    {
        for action in [CREATE, LIST, UPDATE, RESET, DELETE, "ListUsers", "Sign"] {
            let call = Call::form(format!("Version={}&Action={action}", encoded(version)));
            let message = format!("Could not find operation {action} for version {version}");
            assert_eq!(world.rejection(&call), (400, "InvalidAction".into(), message));
        }
    }
    let call = Call::form(format!("Action={LIST}&UserName=anika"));
    let message = format!("Could not find operation {LIST} for version ");
    assert_eq!(world.rejection(&call), (400, "InvalidAction".into(), message));
}

#[test]
fn a_repeated_parameter_is_rejected() {
    let world = World::new();
    let rejected = malformed("A parameter is given more than once");
    let known = [
        "Action",
        "Version",
        "UserName",
        "NewUserName",
        "ServiceName",
        "ServiceSpecificCredentialId",
        "Status",
        "CredentialAgeDays",
        "AllUsers",
        "Marker",
        "MaxItems",
    ];
    for name in known.into_iter().chain(["Unknown", "", "X-Amz-Signature", "\u{1f600}"]) {
        let name = encoded(name);
        for form in [
            format!("{name}=&{name}="),
            format!("{name}=1&Other=&{name}=2"),
            format!("{name}=1&%4Fther&{name}=3"),
        ] {
            assert_eq!(world.rejection(&Call::form(form.clone())), rejected, "{form}");
            let form = format!("{form}&PlainListing=1");
            assert_eq!(world.rejection(&Call::get(form)), rejected);
        }
    }
    // Also if the operation does not know the parameter, and in any encoding.
    let unknown_here = form("ListUsers", "Status=Active&Status=Active");
    assert_eq!(world.rejection(&Call::form(unknown_here)), rejected);
    let spelled = form("ListUsers", "MaxItems=1&%4daxItems=1");
    assert_eq!(world.rejection(&Call::form(spelled)), rejected);
}

#[test]
fn unknown_parameters_are_ignored() {
    let plain = World::new().post(CREATE, "UserName=bo&ServiceName=logs.amazonaws.com").body;
    let noise = "UserName=bo&ServiceName=logs.amazonaws.com&Status=Deleted&AllUsers=maybe\
        &MaxItems=x\
                 &Marker=&ServiceSpecificCredentialId=short&NewUserName=%00&Foo=1&Foo.1=2&=3";
    assert_eq!(World::new().post(CREATE, noise).body, plain);
    let world = World::new();
    let plain = world.post(LIST, "UserName=bo").body;
    let noise = "UserName=bo&CredentialAgeDays=x&ServiceSpecificCredentialId=&Status=&NewUserName=";
    assert_eq!(world.post(LIST, noise).body, plain);
    for (action, parameters) in [
        (UPDATE, "ServiceSpecificCredentialId={bo}&Status=Active"),
        (RESET, "ServiceSpecificCredentialId={bo}"),
        (DELETE, "ServiceSpecificCredentialId={bo}"),
        ("GetUser", ""),
        ("UpdateUser", ""),
    ] {
        let noise = "ServiceName=%00&CredentialAgeDays=x&AllUsers=x&MaxItems=x&Marker=";
        let reply = world.post(action, &format!("UserName=bo&{parameters}&{noise}"));
        assert_eq!(reply.status, 200, "{action}: {}", reply.body);
    }
    let noise = "UserName=%00&ServiceName=%00&AllUsers=x&CredentialAgeDays=x&Status=x";
    assert_eq!(world.post("ListUsers", noise).status, 200);
}
