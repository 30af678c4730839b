//! Listings: of one user, of all users, of one service, and in pages.

use crate::world::{CREATE, Call, DELETE, LIST, Reply, World};

const INVALID: &str = "Invalid Marker.";

fn ids(reply: &Reply) -> Vec<String> {
    reply.texts("ServiceSpecificCredentialId")
}

/// The listing in pages of these sizes. The last size is repeated.
fn pages(world: &World, action: &str, of: &str, sizes: &[usize]) -> Vec<Reply> {
    let mut pages: Vec<Reply> = Vec::new();
    let mut marker = String::new();
    loop {
        let size = sizes.get(pages.len()).or(sizes.last()).unwrap();
        let page = world.post(action, &format!("{of}&MaxItems={size}{marker}"));
        let next = page.texts("Marker");
        assert_eq!(page.text("IsTruncated"), if next.is_empty() { "false" } else { "true" });
        pages.push(page);
        assert!(pages.len() < 100, "the listing does not end");
        match &next[..] {
            [] => return pages,
            [next] => marker = format!("&Marker={next}"),
            _ => panic!("{next:?}"),
        }
    }
}

#[test]
fn pages_of_every_size_contain_the_whole_listing_in_order() {
    let world = World::new();
    for of in ["UserName=anika", "AllUsers=true", "AllUsers=1&ServiceName=codecommit.amazonaws.com"]
    {
        let whole = world.post(LIST, of);
        let whole: Vec<_> = ids(&whole);
        assert!(whole.len() >= 3);
        for sizes in [&[1][..], &[2], &[3], &[4], &[5], &[1000], &[1, 2], &[3, 1]] {
            let pages = pages(&world, LIST, of, sizes);
            assert!(pages.iter().all(|page| !ids(page).is_empty()));
            assert_eq!(pages.iter().flat_map(ids).collect::<Vec<_>>(), whole, "{of} {sizes:?}");
        }
    }
    let users: Vec<_> =
        pages(&world, "ListUsers", "", &[1]).iter().map(|page| page.text("UserName")).collect();
    assert_eq!(users, ["anika", "bo", "carl"]);
}

#[test]
fn a_page_has_a_hundred_items_by_default() {
    let world = World::new();
    for number in 0..100 {
        let user = format!("UserName=user{number:03}");
        assert_eq!(world.post("CreateUser", &user).status, 200);
        let create = format!("{user}&ServiceName=codecommit.amazonaws.com");
        assert_eq!(world.post(CREATE, &create).status, 200);
    }
    for (action, of) in [("ListUsers", ""), (LIST, "AllUsers=true")] {
        let first = world.post(action, of);
        assert_eq!((first.texts("UserName").len(), &*first.text("IsTruncated")), (100, "true"));
        let next = world.post(action, &format!("{of}&Marker={}", first.text("Marker")));
        assert_eq!(next.text("IsTruncated"), "false");
        let whole = world.post(action, &format!("{of}&MaxItems=1000")).texts("UserName");
        assert_eq!([first.texts("UserName"), next.texts("UserName")].concat(), whole);
        assert!(whole.len() > 100);
    }
}

#[test]
fn any_caller_may_list_all_users() {
    let world = World::new();
    let everybody = ["anika", "anika", "anika", "anika", "bo"];
    for call in [
        Call::post(LIST, "AllUsers=true"),
        Call::post(LIST, "AllUsers=true").caller("carl"),
        Call::post(LIST, "AllUsers=1").caller("nobody"),
        Call::post(LIST, "AllUsers=true&ServiceName="),
    ] {
        assert_eq!(world.send(&call).texts("UserName"), everybody, "{call:?}");
    }
    for of in ["AllUsers=false&UserName=bo", "AllUsers=0&UserName=bo", "UserName=bo"] {
        assert_eq!(world.post(LIST, of).texts("UserName"), ["bo"]);
    }
    let caller = Call::post(LIST, "AllUsers=false").caller("bo");
    assert_eq!(world.send(&caller).texts("UserName"), ["bo"]);
    let message = "Cannot list credentials for all users if a username is given";
    for all in ["true", "1"] {
        for user in ["anika", "nobody"] {
            let parameters = format!("AllUsers={all}&UserName={user}");
            world.rejects(LIST, &parameters, "InvalidInput", message);
        }
    }
}

#[test]
fn a_service_filters_a_listing_and_an_empty_one_does_not() {
    let world = World::new();
    let list = |of: &str| world.post(LIST, of).texts("ServiceName");
    assert_eq!(list("UserName=anika&ServiceName=").len(), 4);
    assert_eq!(list("UserName=anika&ServiceName"), list("UserName=anika"));
    assert_eq!(list("UserName=anika&ServiceName=Bedrock.Amazonaws.Com"), ["bedrock.amazonaws.com"]);
    assert_eq!(list("UserName=anika&ServiceName=logs.amazonaws.com").len(), 0);
    let empty = world.post(LIST, "UserName=anika&ServiceName=logs.amazonaws.com");
    assert_eq!(empty.texts("ServiceSpecificCredentials"), [""]);
    assert_eq!(empty.text("IsTruncated"), "false");
    assert_eq!(
        world.post(LIST, "UserName=carl").elements(),
        [
            "ListServiceSpecificCredentialsResponse",
            "ListServiceSpecificCredentialsResult",
            "ServiceSpecificCredentials",
            "IsTruncated",
            "ResponseMetadata",
            "RequestId",
        ]
    );
}

#[test]
fn the_caller_is_the_default_user_and_overrides_no_name() {
    let world = World::new();
    let by = |action, parameters: &str| world.send(&Call::post(action, parameters).caller("BO"));
    assert_eq!(by(LIST, "").texts("UserName"), ["bo"]);
    assert_eq!(by(LIST, "UserName=anika&MaxItems=1").texts("UserName"), ["anika"]);
    assert_eq!(by("GetUser", "").text("UserName"), "bo");
    assert_eq!(by("GetUser", "UserName=anika").text("UserName"), "anika");
    let created = by(CREATE, "ServiceName=logs.amazonaws.com");
    assert_eq!(created.text("UserName"), "bo");
    let id = created.text("ServiceSpecificCredentialId");
    let of = format!("ServiceSpecificCredentialId={id}");
    assert_eq!(by("UpdateServiceSpecificCredential", &format!("{of}&Status=Inactive")).status, 200);
    assert_eq!(by("ResetServiceSpecificCredential", &of).text("Status"), "Inactive");
    assert_eq!(by(DELETE, &of).status, 200);
    // An empty name is a name of invalid length.
    let (status, _, message) = world.rejection(&Call::post(LIST, "UserName=").caller("bo"));
    assert_eq!(status, 400);
    assert!(message.ends_with("Member must have length greater than or equal to 1"), "{message}");
    // A credential of another user is not the caller's.
    let (_, _, message) =
        world.rejection(&Call::post(DELETE, "ServiceSpecificCredentialId={active}").caller("bo"));
    assert_eq!(
        message,
        world.fill("User bo does not have a service specific credential with id {active}")
    );
}

#[test]
fn a_missing_user_name_without_a_caller_is_rejected() {
    let world = World::new();
    let id = "ServiceSpecificCredentialId={active}";
    let with_status = format!("{id}&Status=Active");
    for (action, parameters) in [
        (CREATE, "ServiceName=ec2"),
        (LIST, "ServiceName=ec2&Marker=garbage"),
        ("UpdateServiceSpecificCredential", &*with_status),
        ("ResetServiceSpecificCredential", id),
        (DELETE, id),
        ("GetUser", ""),
    ] {
        let message = "Must specify userName when calling with non-User credentials";
        world.rejects(action, parameters, "ValidationError", message);
    }
}

#[test]
fn a_marker_of_another_query_is_rejected() {
    let world = World::new();
    let by = "ServiceName=codecommit.amazonaws.com";
    let queries = [
        (LIST, "UserName=anika".to_owned()),
        (LIST, format!("UserName=anika&{by}")),
        (LIST, "AllUsers=true".to_owned()),
        (LIST, format!("AllUsers=true&{by}")),
        ("ListUsers", String::new()),
    ];
    let others = [(LIST, "UserName=bo".to_owned()), (LIST, "UserName=carl".to_owned())];
    for (place, (action, query)) in queries.iter().enumerate() {
        let marker = world.post(action, &format!("{query}&MaxItems=1")).text("Marker");
        assert!((1..=320).contains(&marker.len()));
        for (other_place, (action, query)) in queries.iter().chain(&others).enumerate() {
            let parameters = format!("{query}&Marker={marker}");
            if place == other_place {
                let whole = world.post(action, query).texts("UserName");
                let rest = world.post(action, &parameters).texts("UserName");
                assert_eq!(rest, whole[1..], "{action} {query}");
            } else {
                world.rejects(action, &parameters, "ValidationError", INVALID);
            }
        }
    }
    // The same query in other words.
    let marker = "Marker={marker}";
    for query in [
        "UserName=anika&MaxItems=3",
        "UserName=ANIKA&MaxItems=1000",
        "UserName=anika&AllUsers=false",
        "UserName=anika&AllUsers=0&ServiceName=",
    ] {
        assert_eq!(ids(&world.post(LIST, &format!("{query}&{marker}"))).len(), 3, "{query}");
    }
    let caller = Call::post(LIST, marker).caller("Anika");
    assert_eq!(ids(&world.send(&caller)).len(), 3);
}

#[test]
fn an_invalid_marker_is_rejected() {
    let world = World::new();
    let marker = world.fill("{marker}");
    let mut texts: Vec<String> =
        ["garbage", "+", "%C3%BF", "AA", "AQ", "AQ==", "0", "%2F", "%7F"].map(str::to_owned).into();
    texts.extend([marker.clone() + "A", marker.clone() + "=", format!("+{marker}")]);
    for place in 0..marker.len() {
        let other = if marker.as_bytes()[place] == b'A' { "B" } else { "A" };
        let mut changed = marker.clone();
        changed.replace_range(place..=place, other);
        texts.push(changed);
        texts.extend((place > 0).then(|| marker.chars().take(place).collect()));
    }
    for text in texts {
        let parameters = format!("UserName=anika&Marker={text}");
        world.rejects(LIST, &parameters, "ValidationError", INVALID);
    }
    let parameters = "UserName=anika&Marker={marker}";
    assert_eq!(world.post(LIST, parameters).status, 200, "the marker itself");
}

#[test]
fn changes_between_pages_move_no_other_item() {
    let world = World::new();
    let first = world.post(LIST, "UserName=anika&MaxItems=2");
    let marker = first.text("Marker");
    let rest = ids(&world.post(LIST, "UserName=anika"))[2..].to_vec();
    for id in ids(&first) {
        let delete = format!("UserName=anika&ServiceSpecificCredentialId={id}");
        assert_eq!(world.post(DELETE, &delete).status, 200);
    }
    world.clock.advance(time::Duration::SECOND);
    let created = world.post(CREATE, "UserName=anika&ServiceName=logs.amazonaws.com");
    let next = world.post(LIST, &format!("UserName=anika&Marker={marker}"));
    assert_eq!(ids(&next), [rest, ids(&created)].concat());
}
