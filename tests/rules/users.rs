//! Paths and tags: what a user can be called and labelled, in one change or in none.

use serde_json::json;
use service_specific_credentials::{
    AsyncCredentialManager, CreateOptions, CredentialId, CredentialManager, Error, ErrorCode,
    InvalidTags, Lifetime, ListUsersRequest, Marker, MaxItems, MemoryStore, Page, Policy,
    RegisterOptions, Tags, UpdateOptions, User, UserName, UserPath,
    store::{Key, Store as _, SyncAdapter},
};

use crate::common::{ACCOUNT, CODECOMMIT, manager, name};

type Manager = CredentialManager<MemoryStore>;

fn tags(pairs: &[(&str, &str)]) -> Tags {
    Tags::from_pairs(pairs.iter().copied()).unwrap()
}

fn numbered(keys: std::ops::Range<u32>) -> Tags {
    Tags::from_pairs(keys.map(|key| (key.to_string(), ""))).unwrap()
}

/// A manager, a user with a path and a tag, and a credential with a tag.
fn anika() -> (Manager, UserName, CredentialId) {
    let (iam, _) = manager(MemoryStore::new(), Policy::default());
    let anika = name("anika");
    let options = RegisterOptions::new().path(name("/staff/")).tags(tags(&[("team", "a")]));
    iam.register_user_with_options(&anika, &options).unwrap();
    let options = CreateOptions::new().tags(tags(&[("device", "laptop")]));
    let issued = iam.create_with_options(&anika, &name(CODECOMMIT), &options).unwrap();
    assert_eq!(issued.credential().tags(), &tags(&[("device", "laptop")]));
    (iam, anika, issued.id().clone())
}

fn revision(iam: &Manager, user: &UserName) -> u64 {
    let key = Key::User { account: iam.account(), name: user };
    iam.store().find(&key).unwrap().unwrap().revision().count()
}

#[test]
fn a_user_has_a_path_and_tags_from_the_registration_on() {
    let (iam, anika, id) = anika();
    let user = iam.user(&anika).unwrap();
    assert_eq!(user.path().as_str(), "/staff/");
    assert_eq!(user.tags(), &tags(&[("team", "a")]));
    // One who exists is returned as is.
    let other = RegisterOptions::new().path(name("/other/"));
    assert_eq!(iam.ensure_user_with_options(&anika, &other).unwrap(), user);
    assert!(matches!(
        iam.register_user_with_options(&anika, &other),
        Err(Error::UserExists { .. })
    ));
    let bo = iam.ensure_user_with_options(&name("bo"), &other).unwrap();
    assert_eq!(bo.path().as_str(), "/other/");
    let plain = iam.register_user(&name("carl")).unwrap();
    assert_eq!((plain.path(), plain.tags()), (&UserPath::ROOT, &Tags::new()));
    // Neither belongs to the credential, nor the tags of the credential to the user.
    let credential = iam.list(&anika).unwrap().remove(0);
    assert_eq!((credential.id(), credential.tags()), (&id, &tags(&[("device", "laptop")])));
}

#[test]
fn a_name_and_a_path_change_in_one_change_or_not_at_all() {
    let (iam, anika, _) = anika();
    iam.register_user(&name("bo")).unwrap();
    let id = iam.user(&anika).unwrap().id();
    let (both, changes) = (UpdateOptions::new().path(name("/new/")), revision(&iam, &anika));
    let taken = iam.update_user(&anika, &both.clone().name(name("BO")));
    assert!(matches!(taken, Err(Error::UserExists { user, .. }) if user.as_str() == "BO"));
    assert_eq!(iam.user(&anika).unwrap().path().as_str(), "/staff/");

    let seen = |user: User| (user.name().to_string(), user.path().to_string(), user.id());
    let updated = iam.update_user(&anika, &both.clone().name(name("Anne"))).unwrap();
    assert_eq!(seen(updated), ("Anne".into(), "/new/".into(), id));
    let anne = name("anne");
    assert_eq!(revision(&iam, &anne), changes + 1);
    assert!(matches!(iam.user(&anika), Err(Error::NoSuchUser { .. })));

    // What stays the same is no change.
    for same in [UpdateOptions::new(), both.clone(), both.name(name("Anne"))] {
        assert_eq!(seen(iam.update_user(&anne, &same).unwrap()).1, "/new/");
    }
    assert_eq!(revision(&iam, &anne), changes + 1);
    iam.rename_user(&anne, &name("anika")).unwrap();
    let moved = iam.update_user(&anika, &UpdateOptions::new().path(UserPath::ROOT)).unwrap();
    assert_eq!(seen(moved), ("anika".into(), "/".into(), id));
    assert_eq!(iam.user(&anika).unwrap().tags(), &tags(&[("team", "a")]));
}

#[test]
fn tags_are_added_replaced_and_removed() {
    let (iam, anika, id) = anika();
    let user = |result: Result<User, Error>| format!("{:?}", result.unwrap().tags());
    let both = &tags(&[("TEAM", "b"), ("x", "")]);
    assert_eq!(user(iam.tag_user(&anika, both)), r#"{"TEAM": "b", "x": ""}"#);
    assert_eq!(user(iam.untag_user(&anika, &["X", "y", ""])), r#"{"TEAM": "b"}"#);
    assert_eq!(user(iam.set_user_tags(&anika, &tags(&[("z", "1")]))), r#"{"z": "1"}"#);
    assert_eq!(user(iam.set_user_tags(&anika, &Tags::new())), "{}");

    let held = |result: Result<_, Error>| {
        let credential: service_specific_credentials::Credential = result.unwrap();
        assert_eq!(iam.list(&anika).unwrap(), std::slice::from_ref(&credential));
        format!("{:?}", credential.tags())
    };
    let tagged = iam.tag_credential(&anika, &id, both);
    assert_eq!(held(tagged), r#"{"device": "laptop", "TEAM": "b", "x": ""}"#);
    let untagged = iam.untag_credential(&anika, &id, &["Device", "x", "y"]);
    assert_eq!(held(untagged), r#"{"TEAM": "b"}"#);
    assert_eq!(held(iam.set_credential_tags(&anika, &id, &tags(&[("z", "1")]))), r#"{"z": "1"}"#);
    drop(iam.reset(&anika, &id).unwrap());
    assert_eq!(iam.list(&anika).unwrap()[0].tags(), &tags(&[("z", "1")]));
    assert_eq!(held(iam.set_credential_tags(&anika, &id, &Tags::new())), "{}");

    // What stays the same is no change.
    let changes = revision(&iam, &anika);
    iam.tag_user(&anika, &Tags::new()).unwrap();
    iam.untag_credential(&anika, &id, &["z"]).unwrap();
    assert_eq!(revision(&iam, &anika), changes);
}

#[test]
fn a_deleted_credential_takes_its_tags_along() {
    let (iam, anika, id) = anika();
    let other = iam.create(&anika, &name(CODECOMMIT)).unwrap();
    iam.tag_credential(&anika, other.id(), &tags(&[("b", "2")])).unwrap();
    iam.delete(&anika, &id).unwrap();
    assert_eq!(iam.list(&anika).unwrap()[0].tags(), &tags(&[("b", "2")]));
    iam.delete(&anika, other.id()).unwrap();
    iam.set_user_tags(&anika, &Tags::new()).unwrap();
    iam.update_user(&anika, &UpdateOptions::new().path(UserPath::ROOT)).unwrap();
    // Nothing is left: the record is as large as one that never had any.
    iam.register_user(&name("carla")).unwrap();
    let size = |user| {
        let key = Key::User { account: iam.account(), name: &name(user) };
        iam.store().find(&key).unwrap().unwrap().encode().len()
    };
    assert_eq!(size("anika"), size("carla"));
}

#[test]
fn at_most_50_tags_are_kept() {
    let (iam, anika, id) = anika();
    let fifty = numbered(0..50);
    let too_many =
        [iam.tag_user(&anika, &fifty).map(drop), iam.tag_credential(&anika, &id, &fifty).map(drop)];
    for result in too_many {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::TooManyTags));
        assert_eq!(error.code(), ErrorCode::LimitExceeded);
        assert_eq!(error.to_string(), "there can be at most 50 tags");
    }
    assert_eq!(iam.user(&anika).unwrap().tags().len(), 1, "nothing has changed");
    iam.set_user_tags(&anika, &fifty).unwrap();
    iam.tag_user(&anika, &numbered(10..20)).unwrap();
    iam.set_credential_tags(&anika, &id, &fifty).unwrap();
    assert_eq!(iam.list(&anika).unwrap()[0].tags(), &fifty);
}

#[test]
fn the_errors_of_tags_have_their_codes() {
    let nobody = name("nobody");
    let (iam, anika, id) = anika();
    assert!(matches!(iam.tag_user(&nobody, &Tags::new()), Err(Error::NoSuchUser { .. })));
    let unknown = CredentialId::from_static("ACCA12345ABCDEXAMPLE");
    let missing = iam.untag_credential(&anika, &unknown, &[]);
    assert!(matches!(missing, Err(Error::NoSuchCredential { id, .. }) if id == unknown));
    iam.register_user(&nobody).unwrap();
    let another = iam.set_credential_tags(&nobody, &id, &Tags::new());
    assert!(matches!(another, Err(Error::CredentialOfAnotherUser { .. })));

    let invalid = |pairs: &[(&str, &str)]| Tags::from_pairs(pairs.iter().copied()).unwrap_err();
    for (invalid, code) in [
        (invalid(&[("", "")]), ErrorCode::ValidationError),
        (invalid(&[("a", "\n")]), ErrorCode::ValidationError),
        (InvalidTags::TooMany(51), ErrorCode::ValidationError),
        (invalid(&[("aws:a", "")]), ErrorCode::InvalidInput),
        (invalid(&[("a", ""), ("A", "")]), ErrorCode::InvalidInput),
    ] {
        let error = Error::from(invalid);
        assert_eq!((error.code(), error.to_string()), (code, invalid.to_string()));
    }
}

#[test]
fn the_async_manager_does_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let iam = AsyncCredentialManager::new(name(ACCOUNT), SyncAdapter::new(MemoryStore::new()));
    runtime.block_on(async {
        let (anika, a) = (name("anika"), tags(&[("a", "1")]));
        let options = RegisterOptions::new().path(name("/a/")).tags(a.clone());
        iam.ensure_user_with_options(&anika, &options).await.unwrap();
        assert!(iam.register_user_with_options(&anika, &options).await.is_err());
        let changes = UpdateOptions::new().path(name("/b/")).name(name("bo"));
        let bo = iam.update_user(&anika, &changes).await.unwrap();
        let bo = bo.name();
        assert_eq!(iam.user(bo).await.unwrap().path().as_str(), "/b/");
        let b = tags(&[("b", "2")]);
        assert_eq!(iam.tag_user(bo, &b).await.unwrap().tags().len(), 2);
        assert_eq!(iam.untag_user(bo, &["A"]).await.unwrap().tags(), &b);
        assert_eq!(iam.set_user_tags(bo, &a).await.unwrap().tags(), &a);
        let issued = iam.create(bo, &name(CODECOMMIT)).await.unwrap();
        let id = issued.id();
        assert_eq!(iam.tag_credential(bo, id, &a).await.unwrap().tags(), &a);
        assert_eq!(iam.set_credential_tags(bo, id, &b).await.unwrap().tags(), &b);
        assert!(iam.untag_credential(bo, id, &["b"]).await.unwrap().tags().is_empty());
    });
}

#[test]
fn users_and_pages_are_read_from_the_json_that_they_are_written_as() {
    let (iam, anika, _) = anika();
    let user = iam.user(&anika).unwrap();
    let written = json!({
        "account": ACCOUNT,
        "id": user.id().to_string(),
        "name": "anika",
        "path": "/staff/",
        "tags": { "team": "a" },
        "created": "2016-11-01T17:47:22.382Z",
    });
    assert_eq!(serde_json::to_value(&user).unwrap(), written);
    assert_eq!(serde_json::from_value::<User>(written).unwrap(), user);
    let plain = serde_json::to_value(iam.register_user(&name("bo")).unwrap()).unwrap();
    assert_eq!((&plain["path"], plain.get("tags")), (&json!("/"), None));

    let one = ListUsersRequest::new().max_items(MaxItems::new(1).unwrap());
    for request in [one, ListUsersRequest::new()] {
        let page = iam.list_users_page(&request).unwrap();
        let written = serde_json::to_value(&page).unwrap();
        assert_eq!(written["items"][0], serde_json::to_value(&user).unwrap());
        assert_eq!(written["next"].as_str(), page.next.as_ref().map(Marker::as_str));
        assert_eq!(serde_json::from_value::<Page<User>>(written).unwrap(), page);
    }
    assert_eq!(serde_json::to_value(Lifetime::from_static_days(90)).unwrap(), json!(90));
    assert_eq!(serde_json::from_value::<Lifetime>(json!(90)).unwrap().as_days(), 90);
    for days in [json!(0), json!(36_601), json!("90"), json!(-1)] {
        assert!(serde_json::from_value::<Lifetime>(days).is_err());
    }

    for tags in [json!({ "a": "", "A": "" }), json!({ "aws:a": "" }), json!({ "": "" })] {
        assert!(serde_json::from_value::<Tags>(tags).is_err());
    }
    assert!(serde_json::from_str::<Tags>(r#"{ "a": "1", "a": "2" }"#).is_err());
    let error = serde_json::from_str::<Tags>("[]").unwrap_err().to_string();
    assert!(error.contains("expected a map of at most 50 tags"), "{error}");
}
