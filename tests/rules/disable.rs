//! Lookup by id and by service user name, and disabling by id and of a whole user.

use service_specific_credentials::{
    CreateOptions, CredentialManager, Error, Lifetime, MemoryStore, Policy, ServiceUserName,
    Status,
    store::{Key, Store as _},
};
use time::Duration;

use crate::common::{BEDROCK, CASSANDRA, CODECOMMIT, manager, name};

const MISSING_ID: &str = "ACCA12345ABCDEXAMPLE";

#[test]
fn a_credential_is_found_by_id_and_by_name() {
    let (iam, clock) = manager(MemoryStore::new(), Policy::default());
    let [anika, bo] = ["anika", "bo"].map(name);
    for user in [&anika, &bo] {
        iam.register_user(user).unwrap();
        let day = CreateOptions::new().lifetime(Lifetime::days(1).unwrap());
        let issued = iam.create_with_options(user, &name(CODECOMMIT), &day).unwrap();
        let key = iam.create(user, &name(BEDROCK)).unwrap();
        for issued in [&issued, &key] {
            let credential = issued.credential();
            assert_eq!(iam.credential(credential.id()).unwrap(), *credential);
            let upper = credential.service_user_name().as_str().to_ascii_uppercase();
            for login in [credential.service_user_name().clone(), name(&upper)] {
                let found = iam.credential_by_name(credential.service(), &login).unwrap();
                assert_eq!(found, *credential);
            }
        }
    }
    clock.advance(Duration::DAY);
    let mut listed = iam.list(&anika).unwrap().into_iter();
    let expired = listed.find(|credential| credential.expires().is_some()).unwrap();
    assert_eq!(expired.status(), Status::Expired);
    assert_eq!(iam.credential(expired.id()).unwrap(), expired);

    let error = iam.credential(&name(MISSING_ID)).unwrap_err();
    assert!(matches!(error, Error::NoSuchCredential { .. }), "{error:?}");
    let login: ServiceUserName = name("anika+1-at-123456789012");
    let error = iam.credential_by_name(&name(CASSANDRA), &login).unwrap_err();
    assert!(matches!(error, Error::NoSuchServiceUser { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "no credential at cassandra.amazonaws.com has the service user name \
         anika+1-at-123456789012"
    );
    let other = iam.for_account(name("000000000001"));
    assert!(other.credential(expired.id()).is_err());
    assert!(other.credential_by_name(&name(CODECOMMIT), &login).is_err());
}

#[test]
fn a_credential_of_a_service_that_the_policy_no_longer_supports_is_found_and_disabled() {
    let store = MemoryStore::new();
    let (iam, _) = manager(store.clone(), Policy::default());
    let anika = name("anika");
    iam.register_user(&anika).unwrap();
    let issued = iam.create(&anika, &name(CODECOMMIT)).unwrap();
    let policy = Policy::builder().without_service(&name(CODECOMMIT)).build().unwrap();
    let without = CredentialManager::builder(iam.account(), store).policy(policy).build();
    let login = issued.service_user_name();
    let found = without.credential_by_name(&name(CODECOMMIT), login).unwrap();
    assert_eq!(without.disable(found.id()).unwrap().status(), Status::Inactive);
}

#[test]
fn a_leaked_id_is_disabled_in_one_call() {
    let (iam, clock) = manager(MemoryStore::new(), Policy::default());
    let anika = name("anika");
    iam.register_user(&anika).unwrap();
    let issued = iam.create(&anika, &name(CODECOMMIT)).unwrap();
    let bystander = iam.create(&anika, &name(CODECOMMIT)).unwrap();
    for _ in 0..2 {
        let disabled = iam.disable(issued.id()).unwrap();
        assert_eq!((disabled.status(), disabled.user_name()), (Status::Inactive, &anika));
        assert_eq!(iam.credential(issued.id()).unwrap(), disabled);
    }
    assert_eq!(iam.credential(bystander.id()).unwrap().status(), Status::Active);
    let (login, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
    assert!(iam.authenticate(&name(CODECOMMIT), login, secret).is_err());

    let error = iam.disable(&name(MISSING_ID)).unwrap_err();
    assert!(matches!(error, Error::NoSuchCredential { .. }), "{error:?}");
    let error = iam.for_account(name("000000000001")).disable(bystander.id()).unwrap_err();
    assert!(matches!(error, Error::NoSuchCredential { .. }), "{error:?}");
    assert_eq!(iam.credential(bystander.id()).unwrap().status(), Status::Active);

    let day = CreateOptions::new().lifetime(Lifetime::days(1).unwrap());
    let expiring = iam.create_with_options(&anika, &name(CASSANDRA), &day).unwrap();
    clock.advance(Duration::DAY);
    let error = iam.disable(expiring.id()).unwrap_err();
    assert!(matches!(error, Error::CredentialExpired { .. }), "{error:?}");
}

#[test]
fn all_credentials_of_a_user_are_disabled_in_one_change() {
    let (iam, clock) = manager(MemoryStore::new(), Policy::default());
    let [anika, bo] = ["anika", "bo"].map(name);
    for user in [&anika, &bo] {
        iam.register_user(user).unwrap();
    }
    let day = CreateOptions::new().lifetime(Lifetime::days(1).unwrap());
    let expired = iam.create_with_options(&anika, &name(CASSANDRA), &day).unwrap();
    clock.advance(Duration::DAY);
    let inactive = iam.create(&anika, &name(CODECOMMIT)).unwrap();
    iam.set_status(&anika, inactive.id(), Status::Inactive).unwrap();
    let active = [CODECOMMIT, BEDROCK].map(|at| iam.create(&anika, &name(at)).unwrap());
    let of_bo = iam.create(&bo, &name(CODECOMMIT)).unwrap();

    let disabled = iam.disable_all(&name("ANIKA")).unwrap();
    let ids: Vec<_> = disabled.iter().map(|one| (one.id(), one.status())).collect();
    let mut expected = active.each_ref().map(|one| (one.id(), Status::Inactive));
    expected.sort_by_key(|(id, _)| *id);
    assert_eq!(ids, expected);
    for credential in iam.list(&anika).unwrap() {
        let is_expired = credential.id() == expired.id();
        let status = if is_expired { Status::Expired } else { Status::Inactive };
        assert_eq!(credential.status(), status);
    }
    assert_eq!(iam.credential(of_bo.id()).unwrap().status(), Status::Active);
    let revision = || {
        let key = Key::User { account: iam.account(), name: &anika };
        iam.store().find(&key).unwrap().unwrap().revision()
    };
    let before = revision();
    assert_eq!(iam.disable_all(&anika).unwrap(), []);
    assert_eq!(revision(), before, "nothing is written");
    // A clock that steps back shows the stored status of the credential that had expired.
    clock.advance(-Duration::DAY);
    assert_eq!(iam.credential(expired.id()).unwrap().status(), Status::Active);
    assert!(matches!(iam.disable_all(&name("nobody")), Err(Error::NoSuchUser { .. })));
}
