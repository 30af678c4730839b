//! Two accounts of one store: no operation of one reads, changes or authenticates users of the
//! other.

use service_specific_credentials::{
    AccountId, AuthenticationError, Authenticator, CredentialManager, DenialReason, Error,
    Identity, IssuedCredential, ListRequest, ListUsersRequest, MaxItems, MemoryStore, Policy,
    ServiceName, Status, UserName,
    store::{Key, Store as _},
    testing::{FixedClock, SeededEntropy},
};
use time::OffsetDateTime;

type Iam = CredentialManager<MemoryStore>;

/// The same user, with a password and an API key, in each of two accounts.
struct Accounts {
    first: Iam,
    second: Iam,
    anika: UserName,
    codecommit: ServiceName,
    bedrock: ServiceName,
    /// The one of the first account, then the one of the second.
    passwords: [IssuedCredential; 2],
    keys: [IssuedCredential; 2],
}

fn accounts() -> Accounts {
    let first = CredentialManager::builder("123456789012".parse().unwrap(), MemoryStore::new())
        .policy(Policy::recorded())
        .clock(FixedClock::new(OffsetDateTime::UNIX_EPOCH))
        .entropy(SeededEntropy::new(7))
        .build();
    let second = first.for_account("000000000001".parse().unwrap());
    let anika: UserName = "anika".parse().unwrap();
    let codecommit: ServiceName = "codecommit.amazonaws.com".parse().unwrap();
    let bedrock: ServiceName = "bedrock.amazonaws.com".parse().unwrap();
    for iam in [&first, &second] {
        iam.register_user(&anika).unwrap();
    }
    let passwords = [&first, &second].map(|iam| iam.create(&anika, &codecommit).unwrap());
    let keys = [&first, &second].map(|iam| iam.create(&anika, &bedrock).unwrap());
    Accounts { first, second, anika, codecommit, bedrock, passwords, keys }
}

fn reason(result: Result<Identity, AuthenticationError>) -> DenialReason {
    match result {
        Err(AuthenticationError::Denied(rejection)) => rejection.reason(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn equal_names_in_two_accounts_are_different_users() {
    let Accounts { first, second, anika, passwords, keys, .. } = accounts();
    let [one, other] = [&first, &second].map(|iam| iam.user(&anika).unwrap());
    assert_ne!(one.id(), other.id());
    assert_eq!([one.account(), other.account()], [first.account(), second.account()]);
    for issued in [&passwords, &keys] {
        let names = issued.each_ref().map(|issued| issued.service_user_name().as_str());
        assert_eq!(names, ["anika-at-123456789012", "anika-at-000000000001"]);
    }
}

#[test]
fn listings_contain_one_account_only() {
    let Accounts { first, second, anika, passwords, keys, .. } = accounts();
    for (iam, [password, key]) in
        [&first, &second].into_iter().zip([[&passwords[0], &keys[0]], [&passwords[1], &keys[1]]])
    {
        let mut held = [password.credential().clone(), key.credential().clone()];
        held.sort_by(|left, right| left.id().cmp(right.id()));
        assert_eq!(iam.list(&anika).unwrap(), held);
        let all = iam.list_page(&ListRequest::all_users()).unwrap();
        assert_eq!((all.items, all.next), (held.to_vec(), None));
        assert_eq!(
            iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
                .unwrap()
                .items
                .len(),
            1
        );
    }
    let third = first.for_account("999999999999".parse().unwrap());
    assert!(matches!(third.list(&anika), Err(Error::NoSuchUser { .. })));
    assert_eq!(third.list_page(&ListRequest::all_users()).unwrap().items, []);
    assert_eq!(
        third
            .list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
            .unwrap()
            .items,
        []
    );
}

#[test]
fn a_credential_id_of_another_account_is_unknown() {
    let Accounts { first, second, anika, codecommit, passwords: [foreign, own], .. } = accounts();
    let before = first.list(&anika).unwrap();
    let id = foreign.id();
    let rejected = [
        second.reset(&anika, id).map(drop),
        second.set_status(&anika, id, Status::Inactive),
        second.delete(&anika, id),
    ];
    for result in rejected {
        assert!(matches!(result, Err(Error::NoSuchCredential { .. })), "{result:?}");
    }
    assert_eq!(first.list(&anika).unwrap(), before);
    first
        .authenticate(&codecommit, foreign.service_user_name().as_str(), foreign.secret().expose())
        .unwrap();
    second
        .authenticate(&codecommit, own.service_user_name().as_str(), own.secret().expose())
        .unwrap();
}

#[test]
fn secrets_authenticate_in_their_own_account_only() {
    let Accounts { first, second, codecommit, bedrock, passwords, keys, .. } = accounts();
    for (iam, other, own, foreign) in [
        (&first, &second, &passwords[0], &passwords[1]),
        (&second, &first, &passwords[1], &passwords[0]),
    ] {
        let (name, secret) = (own.service_user_name().as_str(), own.secret().expose());
        let identity = iam.authenticate(&codecommit, name, secret).unwrap();
        assert_eq!((identity.account(), identity.credential().id()), (iam.account(), own.id()));
        let elsewhere = other.authenticate(&codecommit, name, secret);
        assert_eq!(reason(elsewhere), DenialReason::UnknownName);
        let crossed = iam.authenticate(&codecommit, name, foreign.secret().expose());
        assert_eq!(reason(crossed), DenialReason::WrongSecret);
        let crossed = iam.authenticate(&codecommit, foreign.service_user_name().as_str(), secret);
        assert_eq!(reason(crossed), DenialReason::UnknownName);
    }
    for (iam, other, key) in [(&first, &second, &keys[0]), (&second, &first, &keys[1])] {
        let identity = iam.authenticate_api_key(&bedrock, key.secret().expose()).unwrap();
        assert_eq!((identity.account(), identity.credential().id()), (iam.account(), key.id()));
        let elsewhere = other.authenticate_api_key(&bedrock, key.secret().expose());
        assert_eq!(reason(elsewhere), DenialReason::UnknownName);
    }
}

#[test]
fn an_authenticator_for_all_accounts_uses_the_account_of_the_name() {
    let Accounts { first, second, codecommit, bedrock, passwords, keys, .. } = accounts();
    let clock = FixedClock::new(OffsetDateTime::UNIX_EPOCH);
    let doors = [first.authenticator(), second.authenticator()];
    let borrowed = Authenticator::new(first.store(), Policy::recorded(), clock);
    for (iam, password, key) in
        [(&first, &passwords[0], &keys[0]), (&second, &passwords[1], &keys[1])]
    {
        let (name, secret) = (password.service_user_name().as_str(), password.secret().expose());
        let user_id = iam.user(password.credential().user_name()).unwrap().id();
        let bearer = key.secret().expose();
        let found = [
            doors[0].authenticate(&codecommit, name, secret),
            doors[1].authenticate(&codecommit, name, secret),
            borrowed.authenticate(&codecommit, &name.to_ascii_uppercase(), secret),
            doors[0].authenticate_api_key(&bedrock, bearer),
            doors[1].authenticate_api_key(&bedrock, bearer),
            borrowed.authenticate_api_key(&bedrock, bearer),
        ];
        for identity in found {
            let identity = identity.unwrap();
            assert_eq!((identity.account(), identity.user_id()), (iam.account(), user_id));
        }
    }
    let [one, other] = passwords.each_ref().map(|issued| issued.service_user_name().as_str());
    let [first_secret, second_secret] = passwords.each_ref().map(|issued| issued.secret().expose());
    for (name, secret, expected) in [
        (one, second_secret, DenialReason::WrongSecret),
        (other, first_secret, DenialReason::WrongSecret),
        ("anika-at-999999999999", first_secret, DenialReason::UnknownName),
        ("anika-at-", first_secret, DenialReason::UnknownName),
        ("anika", first_secret, DenialReason::UnknownName),
    ] {
        assert_eq!(reason(borrowed.authenticate(&codecommit, name, secret)), expected, "{name}");
    }
}

#[test]
fn changes_in_one_account_do_not_affect_the_other() {
    let Accounts { first, second, anika, codecommit, passwords, .. } = accounts();
    let before = second.list(&anika).unwrap();
    let user = second.user(&anika).unwrap();

    first.set_status(&anika, passwords[0].id(), Status::Inactive).unwrap();
    drop(first.create(&anika, &codecommit).unwrap());
    assert!(matches!(first.create(&anika, &codecommit), Err(Error::LimitExceeded { .. })));
    let renamed = "b".parse().unwrap();
    first.rename_user(&anika, &renamed).unwrap();
    first.register_user(&anika).unwrap();
    first.remove_user(&anika).unwrap();
    assert_eq!(first.remove_user_with_credentials(&renamed).unwrap().len(), 3);

    assert_eq!(second.list(&anika).unwrap(), before);
    assert_eq!(second.user(&anika).unwrap(), user);
    let own = &passwords[1];
    second
        .authenticate(&codecommit, own.service_user_name().as_str(), own.secret().expose())
        .unwrap();
    let issued = second.create(&anika, &codecommit).unwrap();
    assert_eq!(issued.service_user_name().as_str(), "anika+1-at-000000000001");
}

#[test]
fn a_marker_of_another_account_is_rejected() {
    let Accounts { first, second, anika, .. } = accounts();
    let one = MaxItems::new(1).unwrap();
    for request in [ListRequest::all_users(), ListRequest::of(anika.clone())] {
        let request = request.max_items(one);
        let next = first.list_page(&request).unwrap().next.unwrap();
        let foreign = second.list_page(&request.clone().marker(next.clone()));
        assert!(matches!(foreign, Err(Error::MarkerMismatch)));
        first.list_page(&request.marker(next)).unwrap();
    }
    first.register_user(&"b".parse().unwrap()).unwrap();
    let next =
        first.list_users_page(&ListUsersRequest::new().max_items(one)).unwrap().next.unwrap();
    assert!(matches!(
        second.list_users_page(&ListUsersRequest::new().marker(next.clone()).max_items(one)),
        Err(Error::MarkerMismatch)
    ));
}

#[test]
fn every_key_begins_with_its_account() {
    let Accounts { first, second, anika, codecommit, passwords, .. } = accounts();
    let find = |account: AccountId, issued: &IssuedCredential| {
        let service = &codecommit;
        [
            Key::User { account, name: &anika },
            Key::Holder { account, service: None, user: &anika },
            Key::Holder { account, service: Some(service), user: &anika },
            Key::Credential { account, id: issued.id() },
            Key::ServiceUser { account, service, name: issued.service_user_name().as_str() },
        ]
        .map(|key| first.store().find(&key).unwrap().map(|record| record.account()))
    };
    let [one, other] = [first.account(), second.account()];
    assert_eq!(find(one, &passwords[0]), [Some(one); 5]);
    assert_eq!(find(other, &passwords[1]), [Some(other); 5]);
    // The users of the other account have the name too, but none of the other keys.
    assert_eq!(find(other, &passwords[0])[3..], [None; 2]);
    assert_eq!(find(one, &passwords[1])[3..], [None; 2]);
    let nowhere = "999999999999".parse().unwrap();
    assert_eq!(find(nowhere, &passwords[0]), [None; 5]);
}
