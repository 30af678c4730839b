//! The constraints of parameters, and the errors of invalid values.

use service_specific_credentials::query::{Request, RequestError};

use crate::world::{CREATE, Call, DELETE, LIST, RESET, UPDATE, World, encoded, form};

const ID: &str = "ACCA12345ABCDEXAMPLE";

/// The violations that the error lists, without their count.
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

/// A value or `None`, and its violations.
type Value = (Option<String>, Vec<String>);

/// A parameter of an action: its names in requests and in errors, and its values.
type Row = (&'static str, &'static str, &'static str, Vec<Value>);

fn longest(max: usize) -> String {
    format!("must have length less than or equal to {max}")
}

fn shortest(min: usize) -> String {
    format!("must have length greater than or equal to {min}")
}

fn pattern(regex: &str) -> String {
    format!("must satisfy regular expression pattern: {regex}")
}

fn null() -> Value {
    (None, vec!["must not be null".into()])
}

fn some(value: impl Into<String>, wrong: &[&str]) -> Value {
    (Some(value.into()), wrong.iter().map(|wrong| (*wrong).to_owned()).collect())
}

fn users() -> Vec<Row> {
    let (longest, shortest, pattern) = (&*longest(64), shortest(1), &*pattern(r"[\w+=,.@-]+"));
    let values = || {
        vec![
            some("", &[&shortest]),
            some("a".repeat(65), &[longest]),
            some("é".repeat(64), &[pattern]),
            some(" ".repeat(65), &[longest, pattern]),
            some("anika\n", &[pattern]),
            some("a/b", &[pattern]),
            some("\u{fffd}", &[pattern]),
        ]
    };
    let all = [CREATE, LIST, UPDATE, RESET, DELETE, "CreateUser", "GetUser", "DeleteUser"];
    let mut rows: Vec<Row> =
        all.into_iter().map(|action| (action, "UserName", "userName", values())).collect();
    rows.push(("UpdateUser", "NewUserName", "newUserName", values()));
    for action in ["CreateUser", "UpdateUser", "DeleteUser"] {
        rows.push((action, "UserName", "userName", vec![null()]));
    }
    rows
}

fn services() -> Vec<Row> {
    let (longest, pattern) = (&*longest(128), &*pattern("[a-zA-Z0-9.-]*"));
    let values = || {
        vec![
            some("a".repeat(129), &[longest]),
            some("_".repeat(129), &[longest, pattern]),
            some("code commit", &[pattern]),
            some("codecommit.amazonaws.com\n", &[pattern]),
        ]
    };
    // In a listing, an empty one is ignored.
    let needed = vec![null(), some("", &[&shortest(1)])];
    vec![
        (LIST, "ServiceName", "serviceName", values()),
        (CREATE, "ServiceName", "serviceName", values()),
        (CREATE, "ServiceName", "serviceName", needed),
    ]
}

fn ids() -> Vec<Row> {
    let (longest, shortest) = (&*longest(128), &*shortest(20));
    let pattern = &*pattern(r"[\w]+");
    let values = || {
        vec![
            null(),
            some("", &[shortest]),
            some("A".repeat(19), &[shortest]),
            some("-".repeat(19), &[shortest, pattern]),
            some("é".repeat(20), &[pattern]),
            some("A".repeat(129), &[longest]),
            some("-".repeat(129), &[longest, pattern]),
            some(format!("{ID}\n"), &[pattern]),
        ]
    };
    let row =
        |action| (action, "ServiceSpecificCredentialId", "serviceSpecificCredentialId", values());
    [UPDATE, RESET, DELETE].map(row).into()
}

fn statuses() -> Vec<Row> {
    let texts = ["", "active", "ACTIVE", "expired", " Active", "Active ", "Deleted"];
    let mut values: Vec<Value> =
        texts.map(|text| some(text, &["must satisfy enum value set"])).into();
    values.push(null());
    vec![(UPDATE, "Status", "status", values)]
}

fn numbers() -> Vec<Row> {
    let row = |action, name, wire, max: u32| {
        let below = "must have value greater than or equal to 1";
        let above = format!("must have value less than or equal to {max}");
        let low = ["0", "-0", "-1", "-2147483648", "00"].map(|text| some(text, &[below]));
        let high = [(max + 1).to_string(), "2147483647".into()].map(|text| some(text, &[&above]));
        (action, name, wire, low.into_iter().chain(high).collect())
    };
    vec![
        row(CREATE, "CredentialAgeDays", "credentialAgeDays", 36_600),
        row(LIST, "MaxItems", "maxItems", 1000),
        row("ListUsers", "MaxItems", "maxItems", 1000),
    ]
}

fn markers() -> Vec<Row> {
    let (longest, pattern) = (&*longest(320), &*pattern(r"[\u0020-\u00FF]+"));
    let values = || {
        vec![
            some("", &[&shortest(1)]),
            some("a".repeat(321), &[longest]),
            some("a\n", &[pattern]),
            some("\u{100}", &[pattern]),
            some("\u{1f600}".repeat(321), &[longest, pattern]),
        ]
    };
    vec![(LIST, "Marker", "marker", values()), ("ListUsers", "Marker", "marker", values())]
}

/// Each value together with another violation: alone, some have their own message.
#[test]
fn each_value_is_checked_for_null_length_pattern_enum_and_range_in_this_order() {
    let others = [
        ("ServiceName", "codecommit.amazonaws.com"),
        ("ServiceSpecificCredentialId", ID),
        ("Status", "Active"),
    ];
    let rows = [users(), services(), ids(), statuses(), numbers(), markers()].concat();
    for (action, name, wire, values) in rows {
        for (value, wrong) in values {
            let mut expected: Vec<_> = wrong.iter().map(|wrong| violation(wire, wrong)).collect();
            let mut parameters: Vec<_> = others
                .iter()
                .filter(|(other, _)| *other != name)
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            parameters.extend(value.iter().map(|value| format!("{name}={}", encoded(value))));
            if name != "UserName" && action != "ListUsers" {
                parameters.push("UserName=".into());
                expected.insert(0, violation("userName", &shortest(1)));
            }
            let special = "must satisfy regular expression pattern: [\\w+=,.@-]+";
            if expected == [violation("userName", special)] {
                continue;
            }
            assert_eq!(violations(action, &parameters.join("&")), expected, "{action} {value:?}");
        }
    }
}

#[test]
fn a_single_violation_of_two_parameters_has_its_own_message() {
    let world = World::new();
    let of = |name: &str| {
        format!(
            "The specified value for {name} is invalid. It must contain only alphanumeric \
             characters and/or the following: +=,.@_-"
        )
    };
    let rejects = |action: &str, parameters: &str, message: &str| {
        world.rejects(action, parameters, "ValidationError", message);
    };
    for name in ["an+ika", "a/b", "%C3%A9", "anika%0A", "%FF", "a%00", "%EF%BC%A1", "<a>"] {
        let user = format!("UserName={name}");
        let with_id = format!("{user}&ServiceSpecificCredentialId={{active}}");
        rejects(CREATE, &format!("{user}&ServiceName=x"), &of("userName"));
        rejects(UPDATE, &format!("{with_id}&Status=Active"), &of("userName"));
        rejects(RESET, &with_id, &of("userName"));
        rejects(DELETE, &with_id, &of("userName"));
        for action in [LIST, "CreateUser", "GetUser", "UpdateUser", "DeleteUser"] {
            rejects(action, &user, &of("userName"));
        }
        let renamed = format!("UserName=anika&NewUserName={name}");
        rejects("UpdateUser", &renamed, &of("newUserName"));
    }
    for name in ["code_commit", "%C3%A9", "a%0A", "a+b", "a/b", "%EF%BC%A1"] {
        let parameters = format!("UserName=anika&ServiceName={name}");
        for action in [CREATE, LIST] {
            rejects(action, &parameters, "ServiceName must match [a-zA-Z0-9.-]*");
        }
    }
    // Parameters without their own message, and a value that violates two constraints.
    let alone = "UserName=anika&ServiceSpecificCredentialId=--------------------";
    let id =
        violation("serviceSpecificCredentialId", r"must satisfy regular expression pattern: [\w]+");
    rejects(RESET, alone, &format!("1 validation error detected: {id}"));
    let user = r"Member must satisfy regular expression pattern: [\w+=,.@-]+";
    let long = format!("UserName={}", "*".repeat(65));
    rejects(
        LIST,
        &long,
        &format!(
            "2 validation errors detected: Value at 'userName' failed to satisfy constraint: \
             Member must have length less than or equal to 64; Value at 'userName' failed to \
             satisfy constraint: {user}"
        ),
    );
    rejects(
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
    // The form has them in another order.
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
fn the_longest_and_shortest_values_are_accepted() {
    let world = World::new();
    let name = "a+=,.@_-".repeat(8);
    let long_user = encoded(&name);
    assert_eq!(world.post("CreateUser", &format!("UserName={long_user}")).text("UserName"), name);
    assert_eq!(world.post("CreateUser", "UserName=-").text("UserName"), "-");
    for id in ["_".repeat(20), "A".repeat(128)] {
        let parameters = format!("UserName=anika&ServiceSpecificCredentialId={id}");
        let message = format!("No such credential {id} exists");
        let missing = (404, "NoSuchEntity".to_owned(), message);
        assert_eq!(world.rejection(&Call::post(RESET, &parameters)), missing);
    }
    for service in [".".to_owned(), "-".repeat(128)] {
        let parameters = format!("UserName=anika&ServiceName={service}");
        for action in [CREATE, LIST] {
            let (status, _, message) = world.rejection(&Call::post(action, &parameters));
            let expected =
                format!("No such service {service} is supported for Service Specific Credentials");
            assert_eq!((status, message), (404, expected));
        }
    }
    for marker in ["%C3%BF".repeat(320), "%20".into(), "%C2%80".into()] {
        let parameters = format!("UserName=anika&Marker={marker}");
        world.rejects(LIST, &parameters, "ValidationError", "Invalid Marker.");
    }
}

#[test]
fn integers_are_parsed_as_recorded() {
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
        world.rejects(LIST, &list, "MalformedInput", message);
        world.rejects("ListUsers", &list, "MalformedInput", message);
        let create =
            format!("UserName=carl&ServiceName=logs.amazonaws.com&CredentialAgeDays={text}");
        world.rejects(CREATE, &create, "MalformedInput", "CredentialAgeDays must be an integer");
    }
}

#[test]
fn booleans_are_parsed_as_recorded() {
    let world = World::new();
    for yes in ["true", "1", "%74rue"] {
        let reply = world.post(LIST, &format!("AllUsers={yes}"));
        assert!(reply.texts("UserName").contains(&"bo".to_owned()), "{}", reply.body);
    }
    for no in ["false", "0"] {
        let reply = world.post(LIST, &format!("AllUsers={no}&UserName=bo"));
        assert_eq!(reply.texts("UserName"), ["bo"]);
        world.rejects(
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
            world.rejects(LIST, &parameters, "MalformedInput", "AllUsers must be a boolean");
        }
    }
}

#[test]
fn lifetimes_and_page_sizes_have_bounds() {
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
fn accessors_return_the_action_and_parameters_of_a_request() {
    let read = |action: &str, parameters: &str| {
        let request = Request::from_form(form(action, parameters).as_bytes()).unwrap();
        assert_eq!(request.action(), action);
        let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
        [
            text(request.user_name().map(AsRef::as_ref)),
            text(request.service_name().map(AsRef::as_ref)),
            text(request.credential_id().map(AsRef::as_ref)),
            text(request.new_user_name().map(AsRef::as_ref)),
        ]
    };
    let of = "UserName=Anika&ServiceName=Logs&ServiceSpecificCredentialId=ACCA12345ABCDEXAMPLE";
    let renamed = format!("{of}&NewUserName=ben");
    let with_status = format!("{of}&Status=Active");
    assert_eq!(read(CREATE, of), ["Anika", "logs", "-", "-"]);
    assert_eq!(read(CREATE, "ServiceName=logs"), ["-", "logs", "-", "-"]);
    assert_eq!(read(LIST, of), ["Anika", "logs", "-", "-"]);
    assert_eq!(read(LIST, "ServiceName="), ["-", "-", "-", "-"]);
    assert_eq!(read(UPDATE, &with_status), ["Anika", "-", ID, "-"]);
    assert_eq!(read(RESET, of), ["Anika", "-", ID, "-"]);
    assert_eq!(read(DELETE, of), ["Anika", "-", ID, "-"]);
    assert_eq!(read("ListUsers", of), ["-", "-", "-", "-"]);
    assert_eq!(read("UpdateUser", &renamed), ["Anika", "-", "-", "ben"]);
    assert_eq!(read("GetUser", &renamed), ["Anika", "-", "-", "-"]);
    for action in ["CreateUser", "GetUser", "UpdateUser", "DeleteUser"] {
        assert_eq!(read(action, of), ["Anika", "-", "-", "-"]);
    }
}
