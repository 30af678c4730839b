//! The allocations of operations, counted on the calling thread.

use std::thread;

use allocation_counter::measure;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use service_specific_credentials::{
    CredentialManager, MemoryStore, ServiceName, UserName, http::HttpAuthenticator,
};

use crate::common::{ACCOUNT, BEDROCK, CODECOMMIT, name};

#[test]
fn authenticating_allocates_nothing() {
    let iam = CredentialManager::new(name(ACCOUNT), MemoryStore::new());
    let anika: UserName = name("anika");
    let [codecommit, bedrock] = [CODECOMMIT, BEDROCK].map(name::<ServiceName>);
    iam.register_user(&anika).unwrap();
    let password = iam.create(&anika, &codecommit).unwrap();
    let key = iam.create(&anika, &bedrock).unwrap();
    let (user_name, secret) = (password.service_user_name().as_str(), password.secret().expose());
    let door = iam.authenticator();
    // On a thread of its own: whatever a first call prepares is counted too.
    let count = |call: &(dyn Fn() + Sync)| {
        thread::scope(|scope| scope.spawn(|| measure(call).count_total).join().unwrap())
    };

    assert_eq!(count(&|| drop(iam.authenticate(&codecommit, user_name, secret).unwrap())), 0);
    assert_eq!(count(&|| drop(iam.authenticate(&codecommit, user_name, "x").unwrap_err())), 0);
    assert_eq!(count(&|| drop(iam.authenticate(&codecommit, "x", secret).unwrap_err())), 0);
    assert_eq!(count(&|| drop(door.authenticate(&codecommit, user_name, secret).unwrap())), 0);
    let header = |value: String| HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
    let basic = header(format!("Basic {}", STANDARD.encode(format!("{user_name}:{secret}"))));
    let http = HttpAuthenticator::new(&iam, codecommit).unwrap();
    assert_eq!(count(&|| drop(http.authenticate(&basic).unwrap())), 0);
    let secret = key.secret().expose();
    let bearer = header(format!("Bearer {secret}"));
    let http = HttpAuthenticator::new(&iam, bedrock.clone()).unwrap();
    assert_eq!(count(&|| drop(http.authenticate(&bearer).unwrap())), 0);
    assert_eq!(count(&|| drop(iam.authenticate_api_key(&bedrock, secret).unwrap())), 0);
    assert_eq!(count(&|| drop(door.authenticate_api_key(&bedrock, secret).unwrap())), 0);
    assert_eq!(count(&|| drop(iam.list(&anika).unwrap())), 1, "the list itself");
}

#[test]
fn a_user_with_two_credentials_takes_less_than_a_kibibyte() {
    const USERS: u32 = 5_000;
    let iam = CredentialManager::new(name(ACCOUNT), MemoryStore::new());
    let codecommit: ServiceName = name(CODECOMMIT);
    let heap = measure(|| {
        for number in 0..USERS {
            let user: UserName = name(&format!("user{number:06}"));
            iam.register_user(&user).unwrap();
            for _ in 0..2 {
                drop(iam.create(&user, &codecommit).unwrap());
            }
        }
    });
    let bytes = heap.bytes_current / i64::from(USERS);
    assert!((500..1024).contains(&bytes), "{bytes}");
}
