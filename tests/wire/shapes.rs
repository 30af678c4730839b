//! The shapes of the parameters: what each may be, and how what it may not be is refused.

use service_specific_credentials::query::{Request, RequestError};

use crate::world::{CREATE, Call, DELETE, LIST, RESET, UPDATE, World, encoded, form};

const ID: &str = "ACCA12345ABCDEXAMPLE";

/// What is wrong with the form, less the number of violations.
fn violations(action: &str, parameters: &str) -> Vec<String> {
    let error = Request::from_form(form(action, parameters).as_bytes()).unwrap_err();
    let RequestError::Invalid(invalid) = &error else { panic!("{error:?}") };
    let message = error.to_string();
    let plural = if invalid.len() == 1 { "" } else { "s" };
    let start = format!("{} validation error{plural} detected: ", invalid.len());
    let list = message.strip_prefix(&start).unwrap_or_else(|| panic!("{message}"));
    let list: Vec<_> = list.split("; ").map(str::to_owned).collect();
    assert_eq!(list.len(), invalid.len(), "{message}");
    list
}

fn violation(name: &str, constraint: &str) -> String {
    format!("Value at '{name}' failed to satisfy constraint: Member {constraint}")
}

/// Every refusal of one value, as it is among others.
#[test]
fn each_value_is_checked_for_null_length_pattern_enum_and_range_in_this_order() {
    let longest = |max: usize| format!("must have length less than or equal to {max}");
    let shortest = |min: usize| format!("must have length greater than or equal to {min}");
    let pattern = |regex: &str| format!("must satisfy regular expression pattern: {regex}");
    let null = "must not be null".to_owned();
    let below = "must have value greater than or equal to 1".to_owned();
    let above = |max: u32| format!("must have value less than or equal to {max}");
    let enumerated = "must satisfy enum value set".to_owned();
    let user = pattern(r"[\w+=,.@-]+");
    let id = pattern(r"[\w]+");
    let service = pattern("[a-zA-Z0-9.-]*");
    let marker = pattern(r"[\u0020-\u00FF]+");
    // The action, the name on the wire and in the refusal, a value or none, what is wrong with it.
    let mut table: Vec<(&str, &str, &str, Option<String>, Vec<String>)> = Vec::new();
    for action in [CREATE, LIST, UPDATE, RESET, DELETE, "CreateUser", "GetUser", "DeleteUser"] {
        for (value, wrong) in [
            (String::new(), vec![shortest(1)]),
            ("a".repeat(65), vec![longest(64)]),
            ("é".repeat(64), vec![user.clone()]),
            (" ".repeat(65), vec![longest(64), user.clone()]),
            ("anika\n".into(), vec![user.clone()]),
            ("a/b".into(), vec![user.clone()]),
            ("\u{fffd}".into(), vec![user.clone()]),
        ] {
            table.push((action, "UserName", "userName", Some(value), wrong));
        }
    }
    for action in ["CreateUser", "UpdateUser", "DeleteUser"] {
        table.push((action, "UserName", "userName", None, vec![null.clone()]));
    }
    for (value, wrong) in
        [(String::new(), vec![shortest(1)]), ("*".repeat(65), vec![longest(64), user.clone()])]
    {
        table.push(("UpdateUser", "NewUserName", "newUserName", Some(value), wrong));
    }
    for (value, wrong) in [
        (None, vec![null.clone()]),
        (Some(String::new()), vec![shortest(1)]),
        (Some("a".repeat(129)), vec![longest(128)]),
        (Some("_".repeat(129)), vec![longest(128), service.clone()]),
        (Some("code commit".into()), vec![service.clone()]),
        (Some("codecommit.amazonaws.com\n".into()), vec![service.clone()]),
    ] {
        if value.as_ref().is_some_and(|value| !value.is_empty()) {
            table.push((LIST, "ServiceName", "serviceName", value.clone(), wrong.clone()));
        }
        table.push((CREATE, "ServiceName", "serviceName", value, wrong));
    }
    for action in [UPDATE, RESET, DELETE] {
        for (value, wrong) in [
            (None, vec![null.clone()]),
            (Some(String::new()), vec![shortest(20)]),
            (Some("A".repeat(19)), vec![shortest(20)]),
            (Some("-".repeat(19)), vec![shortest(20), id.clone()]),
            (Some("é".repeat(20)), vec![id.clone()]),
            (Some("A".repeat(129)), vec![longest(128)]),
            (Some("-".repeat(129)), vec![longest(128), id.clone()]),
            (Some(format!("{ID}\n")), vec![id.clone()]),
        ] {
            let name = "ServiceSpecificCredentialId";
            table.push((action, name, "serviceSpecificCredentialId", value, wrong));
        }
    }
    for value in [
        None,
        Some(""),
        Some("active"),
        Some("ACTIVE"),
        Some("expired"),
        Some(" Active"),
        Some("Active "),
        Some("Deleted"),
    ] {
        let wrong = if value.is_none() { null.clone() } else { enumerated.clone() };
        table.push((UPDATE, "Status", "status", value.map(str::to_owned), vec![wrong]));
    }
    for (name, wire, action, max) in [
        ("CredentialAgeDays", "credentialAgeDays", CREATE, 36_600),
        ("MaxItems", "maxItems", LIST, 1000),
        ("MaxItems", "maxItems", "ListUsers", 1000),
    ] {
        for low in ["0", "-0", "-1", "-2147483648", "00"] {
            table.push((action, name, wire, Some(low.into()), vec![below.clone()]));
        }
        for high in [(max + 1).to_string(), "2147483647".into()] {
            table.push((action, name, wire, Some(high), vec![above(max)]));
        }
    }
    for action in [LIST, "ListUsers"] {
        for (value, wrong) in [
            (String::new(), vec![shortest(1)]),
            ("a".repeat(321), vec![longest(320)]),
            ("a\n".into(), vec![marker.clone()]),
            ("\u{100}".into(), vec![marker.clone()]),
            ("\u{1f600}".repeat(321), vec![longest(320), marker.clone()]),
        ] {
            table.push((action, "Marker", "marker", Some(value), wrong));
        }
    }

    for (action, name, wire, value, wrong) in table {
        // Another violation beside it, so that no special text stands in.
        let beside = match (name, action) {
            ("UserName" | "NewUserName", _) => "",
            _ => "UserName=&",
        };
        let mut others = vec![
            ("ServiceName", "codecommit.amazonaws.com"),
            ("ServiceSpecificCredentialId", ID),
            ("Status", "Active"),
            ("UserName", "anika"),
        ];
        others.retain(|(known, _)| *known != name && !beside.starts_with(known));
        let mut parameters = beside.to_owned();
        for (name, value) in others {
            parameters += &format!("{name}={value}&");
        }
        if let Some(value) = &value {
            parameters += &format!("{name}={}", encoded(value));
        }
        let mut expected: Vec<_> = wrong.iter().map(|wrong| violation(wire, wrong)).collect();
        if !beside.is_empty() && action != "ListUsers" {
            expected.insert(0, violation("userName", &shortest(1)));
        }
        if let [only] = &expected[..]
            && only.contains("pattern")
            && ["userName", "newUserName", "serviceName"].contains(&wire)
        {
            continue; // They have a text of their own.
        }
        assert_eq!(violations(action, &parameters), expected, "{action} {parameters}");
    }
}

#[test]
fn two_values_have_a_text_of_their_own_when_theirs_is_the_only_violation() {
    let world = World::new();
    let of = |name: &str| {
        format!(
            "The specified value for {name} is invalid. It must contain only alphanumeric \
             characters and/or the following: +=,.@_-"
        )
    };
    let refuses = |action: &str, parameters: &str, message: &str| {
        world.refuses(action, parameters, "ValidationError", message);
    };
    for name in ["an+ika", "a/b", "%C3%A9", "anika%0A", "%FF", "a%00", "%EF%BC%A1", "<a>"] {
        let user = format!("UserName={name}");
        let with_id = format!("{user}&ServiceSpecificCredentialId={{active}}");
        refuses(CREATE, &format!("{user}&ServiceName=x"), &of("userName"));
        refuses(UPDATE, &format!("{with_id}&Status=Active"), &of("userName"));
        refuses(RESET, &with_id, &of("userName"));
        refuses(DELETE, &with_id, &of("userName"));
        for action in [LIST, "CreateUser", "GetUser", "UpdateUser", "DeleteUser"] {
            refuses(action, &user, &of("userName"));
        }
        let renamed = format!("UserName=anika&NewUserName={name}");
        refuses("UpdateUser", &renamed, &of("newUserName"));
    }
    for name in ["code_commit", "%C3%A9", "a%0A", "a+b", "a/b", "%EF%BC%A1"] {
        let parameters = format!("UserName=anika&ServiceName={name}");
        for action in [CREATE, LIST] {
            refuses(action, &parameters, "ServiceName must match [a-zA-Z0-9.-]*");
        }
    }
    // Another's text, of one violation and of the same value.
    let alone = "UserName=anika&ServiceSpecificCredentialId=--------------------";
    let id =
        violation("serviceSpecificCredentialId", r"must satisfy regular expression pattern: [\w]+");
    refuses(RESET, alone, &format!("1 validation error detected: {id}"));
    let user = r"Member must satisfy regular expression pattern: [\w+=,.@-]+";
    let long = format!("UserName={}", "*".repeat(65));
    refuses(
        LIST,
        &long,
        &format!(
            "2 validation errors detected: Value at 'userName' failed to satisfy constraint: \
             Member must have length less than or equal to 64; Value at 'userName' failed to \
             satisfy constraint: {user}"
        ),
    );
    refuses(
        CREATE,
        "UserName=*&ServiceName=*",
        &format!(
            "2 validation errors detected: Value at 'userName' failed to satisfy constraint: \
             {user}; Value at 'serviceName' failed to satisfy constraint: Member must satisfy \
             regular expression pattern: [a-zA-Z0-9.-]*"
        ),
    );
}

#[test]
fn all_violations_are_reported_in_the_documented_order() {
    // In the form they come in another order.
    let long = "*".repeat(400);
    let cases = [
        (
            CREATE,
            format!("CredentialAgeDays=0&ServiceName={long}&UserName={long}"),
            vec!["userName", "userName", "serviceName", "serviceName", "credentialAgeDays"],
        ),
        (
            LIST,
            format!("MaxItems=0&Marker={long}%0A&ServiceName=*&UserName="),
            vec!["userName", "serviceName", "marker", "marker", "maxItems"],
        ),
        (
            UPDATE,
            format!("Status=&ServiceSpecificCredentialId={long}&UserName=*"),
            vec![
                "userName",
                "serviceSpecificCredentialId",
                "serviceSpecificCredentialId",
                "status",
            ],
        ),
        (UPDATE, String::new(), vec!["serviceSpecificCredentialId", "status"]),
        (
            RESET,
            "ServiceSpecificCredentialId=&UserName=".into(),
            vec!["userName", "serviceSpecificCredentialId"],
        ),
        (
            DELETE,
            "ServiceSpecificCredentialId=*&UserName=*".into(),
            vec!["userName", "serviceSpecificCredentialId", "serviceSpecificCredentialId"],
        ),
        ("UpdateUser", "NewUserName=".into(), vec!["userName", "newUserName"]),
        ("ListUsers", "MaxItems=0&Marker=".into(), vec!["marker", "maxItems"]),
    ];
    for (action, parameters, names) in cases {
        let violations = violations(action, &parameters);
        let found: Vec<_> =
            violations.iter().map(|violation| violation.split('\'').nth(1).unwrap()).collect();
        assert_eq!(found, names, "{action} {parameters}");
    }
}

#[test]
fn the_longest_and_shortest_values_are_taken() {
    let world = World::new();
    let name = "a+=,.@_-".repeat(8);
    let long_user = encoded(&name);
    assert_eq!(world.post("CreateUser", &format!("UserName={long_user}")).text("UserName"), name);
    assert_eq!(world.post("CreateUser", "UserName=-").text("UserName"), "-");
    let missing = (404, "NoSuchEntity".to_owned(), "No such credential ID exists".to_owned());
    for id in ["_".repeat(20), "A".repeat(128)] {
        let parameters = format!("UserName=anika&ServiceSpecificCredentialId={id}");
        assert_eq!(world.refusal(&Call::post(RESET, &parameters)), missing);
    }
    for service in [".".to_owned(), "-".repeat(128)] {
        let parameters = format!("UserName=anika&ServiceName={service}");
        for action in [CREATE, LIST] {
            let (status, _, message) = world.refusal(&Call::post(action, &parameters));
            let expected =
                format!("No such service {service} is supported for Service Specific Credentials");
            assert_eq!((status, message), (404, expected));
        }
    }
    for marker in ["%C3%BF".repeat(320), "%20".into(), "%C2%80".into()] {
        let parameters = format!("UserName=anika&Marker={marker}");
        world.refuses(LIST, &parameters, "ValidationError", "Invalid Marker.");
    }
}

#[test]
fn integers_are_read_as_recorded() {
    let world = World::new();
    for one in ["1", "01", "%2B1", "%2b01", "0000000000000000001"] {
        for action in [LIST, "ListUsers"] {
            let reply = world.post(action, &format!("UserName=anika&MaxItems={one}"));
            assert_eq!(reply.texts("UserName").len(), 1, "{one}: {}", reply.body);
        }
        let parameters =
            format!("UserName=carl&ServiceName=logs.amazonaws.com&CredentialAgeDays={one}");
        let reply = World::new().post(CREATE, &parameters);
        assert_eq!(reply.text("ExpirationDate"), "2016-11-03T17:47:22.385Z");
    }
    let malformed = [
        "",
        "+1",
        "1+",
        "+1+",
        "1.0",
        "1e0",
        "1.",
        "2147483648",
        "-2147483649",
        "4294967297",
        "99999999999999999999999",
        "x",
        "0x1",
        "1_000",
        "1,000",
        "%C2%B2",
        "%D9%A1",
        "%2B",
        "-",
        "--1",
        "%2B-1",
        "1%00",
        "%0A1",
        "1%0D",
        "true",
        "%EF%BC%91",
        "NaN",
    ];
    for text in malformed {
        let list = format!("UserName=anika&MaxItems={text}");
        let message = "MaxItems must be an integer";
        world.refuses(LIST, &list, "MalformedInput", message);
        world.refuses("ListUsers", &list, "MalformedInput", message);
        let create =
            format!("UserName=carl&ServiceName=logs.amazonaws.com&CredentialAgeDays={text}");
        world.refuses(CREATE, &create, "MalformedInput", "CredentialAgeDays must be an integer");
    }
}

#[test]
fn booleans_are_read_as_recorded() {
    let world = World::new();
    for yes in ["true", "1", "%74rue"] {
        let reply = world.post(LIST, &format!("AllUsers={yes}"));
        assert!(reply.texts("UserName").contains(&"bo".to_owned()), "{}", reply.body);
    }
    for no in ["false", "0"] {
        let reply = world.post(LIST, &format!("AllUsers={no}&UserName=bo"));
        assert_eq!(reply.texts("UserName"), ["bo"]);
        world.refuses(
            LIST,
            &format!("AllUsers={no}"),
            "ValidationError",
            "Must specify userName when calling with non-User credentials",
        );
    }
    for text in [
        "", "True", "TRUE", "False", "+true", "true+", "+1", "01", "00", "2", "-1", "yes", "t",
        "on", "null", "true%00", "%0Afalse", "1.0",
    ] {
        for user in ["", "&UserName=anika"] {
            let parameters = format!("AllUsers={text}{user}");
            world.refuses(LIST, &parameters, "MalformedInput", "AllUsers must be a boolean");
        }
    }
}

#[test]
fn ages_and_page_sizes_have_bounds() {
    for (days, expires) in
        [("1", "2016-11-03T17:47:22.385Z"), ("36600", "2117-01-17T17:47:22.385Z")]
    {
        let parameters =
            format!("UserName=carl&ServiceName=logs.amazonaws.com&CredentialAgeDays={days}");
        assert_eq!(World::new().post(CREATE, &parameters).text("ExpirationDate"), expires);
    }
    let world = World::new();
    for (items, listed) in [("1", 1), ("4", 4), ("1000", 4)] {
        let reply = world.post(LIST, &format!("UserName=anika&MaxItems={items}"));
        assert_eq!(reply.texts("UserName").len(), listed);
    }
}

#[test]
fn a_request_tells_what_it_asks_for() {
    let read = |action: &str, parameters: &str| {
        let request = Request::from_form(form(action, parameters).as_bytes()).unwrap();
        assert_eq!(request.action(), action);
        let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
        [
            text(request.user_name().map(AsRef::as_ref)),
            text(request.service_name().map(AsRef::as_ref)),
            text(request.credential_id().map(AsRef::as_ref)),
        ]
    };
    let of = "UserName=Anika&ServiceName=Logs&ServiceSpecificCredentialId=ACCA12345ABCDEXAMPLE";
    let with_status = format!("{of}&Status=Active");
    assert_eq!(read(CREATE, of), ["Anika", "logs", "-"]);
    assert_eq!(read(CREATE, "ServiceName=logs"), ["-", "logs", "-"]);
    assert_eq!(read(LIST, of), ["Anika", "logs", "-"]);
    assert_eq!(read(LIST, "ServiceName="), ["-", "-", "-"]);
    assert_eq!(read(UPDATE, &with_status), ["Anika", "-", ID]);
    assert_eq!(read(RESET, of), ["Anika", "-", ID]);
    assert_eq!(read(DELETE, of), ["Anika", "-", ID]);
    assert_eq!(read("ListUsers", of), ["-", "-", "-"]);
    for action in ["CreateUser", "GetUser", "UpdateUser", "DeleteUser"] {
        assert_eq!(read(action, of), ["Anika", "-", "-"]);
    }
}
