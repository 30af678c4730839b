//! The users around the credentials: paths, tags, ids, and parameters that are rejected.

use service_specific_credentials::{Lifetime, Policy};

use crate::world::{CREATE, Call, LIST, World, encoded};

#[test]
fn a_user_has_a_path_and_an_arn() {
    let world = World::new();
    let created = world.post("CreateUser", "UserName=Dora&Path=/staff/");
    assert_eq!(created.text("Path"), "/staff/");
    assert_eq!(created.text("Arn"), "arn:aws:iam::123456789012:user/staff/Dora");
    let id = created.text("UserId");
    assert!(id.len() == 30 && id.starts_with("AIDA"), "{id}");
    assert_eq!(world.post("GetUser", "UserName=anika").text("Path"), "/");

    assert_eq!(world.post("UpdateUser", "UserName=dora&NewPath=/a//b/").status, 200);
    assert_eq!(world.post("GetUser", "UserName=dora").text("Path"), "/a//b/");
    let both = "UserName=dora&NewPath=/&NewUserName=dina";
    assert_eq!(world.post("UpdateUser", both).elements().len(), 3);
    let dina = world.post("GetUser", "UserName=dina");
    assert_eq!((dina.text("Path"), dina.text("UserId")), ("/".into(), id));
    assert_eq!(dina.text("Arn"), "arn:aws:iam::123456789012:user/dina");
    let taken = Call::post("UpdateUser", "UserName=dina&NewPath=/x/&NewUserName=bo");
    assert_eq!(world.rejection(&taken).1, "EntityAlreadyExists");
}

#[test]
fn an_invalid_path_is_rejected() {
    let world = World::new();
    for path in ["//", "/team", "team/", "/ a/"] {
        let path = encoded(path);
        let message = |name: &str| {
            format!(
                "The specified value for {name} is invalid. It must begin and end with / and \
                 contain only alphanumeric characters and/or / characters."
            )
        };
        for (action, parameters, name) in [
            ("CreateUser", format!("UserName=dora&Path={path}"), "path"),
            ("UpdateUser", format!("UserName=anika&NewPath={path}"), "newPath"),
        ] {
            world.rejects(action, &parameters, "ValidationError", &message(name));
        }
    }
    let long = format!("UserName=dora&Path=/{}/", "a".repeat(511));
    let message = "1 validation error detected: Value at 'path' failed to satisfy constraint: \
                   Member must have length less than or equal to 512";
    world.rejects("CreateUser", &long, "ValidationError", message);
}

#[test]
fn users_are_listed_by_path_prefix() {
    let world = World::new();
    for (user, path) in [("d", "/a/"), ("e", "/a/b/"), ("f", "/ab/")] {
        world.post("CreateUser", &format!("UserName={user}&Path={path}"));
    }
    for (prefix, expected) in [
        ("/", &["anika", "bo", "carl", "d", "e", "f"][..]),
        ("/a", &["d", "e", "f"]),
        ("/a/", &["d", "e"]),
        ("/nowhere/", &[]),
    ] {
        let listed = world.post("ListUsers", &format!("PathPrefix={prefix}"));
        assert_eq!(listed.texts("UserName"), expected);
        assert_eq!(listed.text("IsTruncated"), "false");
    }
    let first = world.post("ListUsers", "PathPrefix=/a&MaxItems=2");
    let marker = first.text("Marker");
    let next = world.post("ListUsers", &format!("PathPrefix=/a&Marker={marker}"));
    assert_eq!(next.texts("UserName"), ["f"]);
    for other in ["PathPrefix=/a/&", "PathPrefix=/&", ""] {
        let parameters = format!("{other}Marker={marker}");
        world.rejects("ListUsers", &parameters, "ValidationError", "Invalid Marker.");
    }
}

fn numbered(keys: std::ops::RangeInclusive<u32>) -> String {
    let tag = |key| format!("&Tags.member.{key}.Key=k{key:02}&Tags.member.{key}.Value=");
    keys.map(tag).collect::<Vec<_>>().concat()
}

#[test]
fn a_user_has_tags() {
    let world = World::new();
    let two =
        "&Tags.member.2.Key=b&Tags.member.2.Value=2&Tags.member.1.Key=A&Tags.member.1.Value=1";
    let created = world.post("CreateUser", &format!("UserName=dora{two}"));
    assert_eq!(
        (created.texts("Key"), created.texts("Value")),
        (vec!["A".to_owned(), "b".into()], vec!["1".to_owned(), "2".into()],)
    );
    let tagged = world.post("TagUser", "UserName=dora&Tags.member.1.Key=a&Tags.member.1.Value=3");
    assert_eq!(tagged.elements(), ["TagUserResponse", "ResponseMetadata", "RequestId"]);
    let keys = "TagKeys.member.1=B&TagKeys.member.2=none";
    assert_eq!(world.post("UntagUser", &format!("UserName=dora&{keys}")).status, 200);
    let one = world.post("GetUser", "UserName=dora");
    assert_eq!((one.text("Key"), one.text("Value")), ("a".into(), "3".into()));
    assert!(!world.post("ListUsers", "").elements().contains(&"Tags".into()));
    assert!(!world.post("GetUser", "UserName=bo").elements().contains(&"Tags".into()));

    let listed = world.post("ListUserTags", "UserName=bo");
    assert_eq!(
        listed.elements(),
        [
            "ListUserTagsResponse",
            "ListUserTagsResult",
            "Tags",
            "IsTruncated",
            "ResponseMetadata",
            "RequestId",
        ]
    );
    assert_eq!(listed.text("IsTruncated"), "false");
}

#[test]
fn the_tags_of_a_user_are_listed_in_pages() {
    let world = World::new();
    for user in ["anika", "bo"] {
        world.post("TagUser", &format!("UserName={user}{}", numbered(1..=50)));
    }
    let (mut keys, mut marker) = (Vec::new(), String::new());
    loop {
        let page = world.post("ListUserTags", &format!("UserName=anika&MaxItems=20{marker}"));
        keys.extend(page.texts("Key"));
        let Some(next) = page.texts("Marker").pop() else { break };
        assert_eq!(page.text("IsTruncated"), "true");
        marker = format!("&Marker={next}");
        for (action, user) in [("ListUserTags", "bo"), (LIST, "anika")] {
            let stray = format!("UserName={user}{marker}");
            world.rejects(action, &stray, "ValidationError", "Invalid Marker.");
        }
        // A tag that is removed or added between pages moves no other one.
        let last = keys.last().unwrap().clone();
        world.post("UntagUser", &format!("UserName=anika&TagKeys.member.1={last}"));
    }
    let expected: Vec<_> = (1..=50).map(|key| format!("k{key:02}")).collect();
    assert_eq!(keys, expected);
    world.rejects("ListUserTags", "UserName=anika&Marker=x", "ValidationError", "Invalid Marker.");
}

#[test]
fn invalid_tags_are_rejected() {
    let world = World::new();
    let repeated = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
    let violation = |what: &str, constraint: &str| {
        format!(
            "1 validation error detected: Value at '{what}' failed to satisfy constraint: Member \
             must {constraint}"
        )
    };
    let tag = |key: &str, value: &str| {
        format!("&Tags.member.1.Key={}&Tags.member.1.Value={}", encoded(key), encoded(value))
    };
    let rows = [
        (tag("aws:a", ""), "InvalidInput", "tag keys must not begin with `aws:`".to_owned()),
        (
            tag("a", "") + "&Tags.member.2.Key=A&Tags.member.2.Value=",
            "InvalidInput",
            repeated.to_owned(),
        ),
        (
            numbered(1..=51),
            "ValidationError",
            violation("tags", "have length less than or equal to 50"),
        ),
        (
            tag(&"k".repeat(129), ""),
            "ValidationError",
            violation("tags.1.member.key", "have length less than or equal to 128"),
        ),
        (
            tag("a", &"v".repeat(257)),
            "ValidationError",
            violation("tags.1.member.value", "have length less than or equal to 256"),
        ),
        (
            "&Tags.member.1.Key=a".into(),
            "ValidationError",
            violation("tags.1.member.value", "not be null"),
        ),
        ("&Tags=".into(), "InvalidInput", "Tags must not be empty".into()),
    ];
    for (parameters, code, message) in &rows {
        for (action, user) in [("TagUser", "anika"), ("CreateUser", "dora")] {
            world.rejects(action, &format!("UserName={user}{parameters}"), code, message);
        }
    }
    let message = "TagKeys must not be empty";
    world.rejects("UntagUser", "UserName=anika&TagKeys=", "InvalidInput", message);
    for (action, name) in [("TagUser", "tags"), ("UntagUser", "tagKeys")] {
        let message = violation(name, "not be null");
        world.rejects(action, "UserName=anika", "ValidationError", &message);
    }
    let several = "UserName=anika&Tags.member.2.Key=*&Tags.member.7.Value=&TagKeys.member.3=";
    let message = "3 validation errors detected: \
         Value at 'tags.2.member.key' failed to satisfy constraint: Member must satisfy regular \
         expression pattern: [\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]+; \
         Value at 'tags.2.member.value' failed to satisfy constraint: Member must not be null; \
         Value at 'tags.7.member.key' failed to satisfy constraint: Member must not be null";
    world.rejects("TagUser", several, "ValidationError", message);
    let message = violation("tagKeys.3.member", "have length greater than or equal to 1");
    world.rejects("UntagUser", several, "ValidationError", &message);
    world.post("TagUser", &format!("UserName=anika{}", numbered(1..=50)));
    let full = world.rejection(&Call::post(
        "TagUser",
        "UserName=anika&Tags.member.1.Key=z&Tags.member.1.Value=",
    ));
    assert_eq!((full.0, &*full.1), (409, "LimitExceeded"));
    for action in ["TagUser", "UntagUser", "ListUserTags"] {
        let nobody = "UserName=Nobody&Tags.member.1.Key=z&Tags.member.1.Value=&TagKeys.member.1=z";
        let rejection = world.rejection(&Call::post(action, nobody));
        assert_eq!((rejection.0, &*rejection.1), (404, "NoSuchEntity"), "{action}");
    }
}

#[test]
fn a_parameter_below_the_name_of_a_list_is_of_a_member() {
    let world = World::new();
    let tag = "Tags.member.1.Key=a&Tags.member.1.Value=&TagKeys.member.1=a";
    for (stray, list) in [
        ("Tags.member.0.Key=b", "Tags"),
        ("Tags.member.01.Key=b", "Tags"),
        ("Tags.member.+2.Key=b", "Tags"),
        ("Tags.member.4294967296.Key=b", "Tags"),
        ("Tags.member..Key=b", "Tags"),
        ("Tags.member.2=b", "Tags"),
        ("Tags.member.1.Name=b", "Tags"),
        ("Tags.member.1.Key.a=b", "Tags"),
        ("Tags.1.Key=b", "Tags"),
        ("Tags.entry.1.Key=b", "Tags"),
        ("Tags=", "Tags"),
        ("Tags=b", "Tags"),
        ("TagKeys.member.0=b", "TagKeys"),
        ("TagKeys.member.1.Key=b", "TagKeys"),
        ("TagKeys.2=b", "TagKeys"),
        ("TagKeys=", "TagKeys"),
        ("TagKeys=b", "TagKeys"),
    ] {
        let parameters = format!("UserName=anika&{tag}&{stray}").replace('+', "%2B");
        let message = format!("{list} must be a list of numbered members");
        let actions = if list == "Tags" { &["TagUser", "CreateUser"][..] } else { &["UntagUser"] };
        for action in actions {
            world.rejects(action, &parameters, "MalformedInput", &message);
        }
        // Actions without such a list do not know the parameter.
        assert_eq!(world.post("GetUser", &parameters).text("UserName"), "anika", "{stray}");
    }
    // Numbers may be missing.
    let gap = "UserName=anika&Tags.member.9.Key=b&Tags.member.9.Value=2&Tags.member.4294967295.Key\
               =a&Tags.member.4294967295.Value=1";
    assert_eq!(world.post("TagUser", gap).status, 200);
    assert_eq!(world.post("ListUserTags", "UserName=anika").texts("Key"), ["a", "b"]);
    let message = "PermissionsBoundary is not supported";
    let both = "UserName=dora&Tags=&PermissionsBoundary=a";
    world.rejects("CreateUser", both, "InvalidInput", message);
}

#[test]
fn a_parameter_that_is_not_supported_is_rejected_by_name() {
    let world = World::new();
    let parameters = "UserName=dora&PermissionsBoundary=arn:aws:iam::aws:policy/ReadOnlyAccess";
    let message = "PermissionsBoundary is not supported";
    world.rejects("CreateUser", parameters, "InvalidInput", message);
}

#[test]
fn a_request_without_an_age_has_the_default_lifetime_of_the_policy() {
    let policy = Policy::builder()
        .default_lifetime(Lifetime::from_static_days(1))
        .max_lifetime(Lifetime::from_static_days(90));
    let world = World::by(policy.build().unwrap());
    let of_carl = "UserName=carl&ServiceName=codecommit.amazonaws.com";
    let created = world.post(CREATE, of_carl);
    assert!(created.text("ExpirationDate") > created.text("CreateDate"));
    let message = "the lifetime must not exceed 90 days";
    world.rejects(CREATE, &format!("{of_carl}&CredentialAgeDays=91"), "InvalidInput", message);
    assert_eq!(world.post(CREATE, &format!("{of_carl}&CredentialAgeDays=90")).status, 200);
}
