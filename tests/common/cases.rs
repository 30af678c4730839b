//! Cases for stores that several processes share.

use std::{
    num::NonZeroUsize,
    ops::Bound,
    sync::{Arc, Barrier},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use service_specific_credentials::{
    AccountId, AsyncCredentialManager, CredentialManager, Error, MemoryStore, UserName,
    store::{
        AsyncStore, Change, CommitOutcome, CopyUsers, Key, Listing, ScanRange, Store as _,
        StoreError, copy_users,
    },
    testing::SeededEntropy,
};
use tokio::task::JoinSet;

use crate::{
    client::Client,
    common::{ACCOUNT, CODECOMMIT, name},
    emulator::Server,
};

pub(crate) const CALLERS: usize = 16;

pub(crate) fn manager<S: AsyncStore>(store: S) -> AsyncCredentialManager<S> {
    AsyncCredentialManager::new(name(ACCOUNT), store)
}

/// In each of ten rounds, all callers create for one user.
pub(crate) async fn creations_stop_at_the_limit<S>(callers: &[AsyncCredentialManager<S>])
where
    S: AsyncStore + Clone + 'static,
{
    for round in 0..10 {
        let user: UserName = name(&format!("user-{round}"));
        callers[0].register_user(&user).await.unwrap();
        let barrier = Arc::new(tokio::sync::Barrier::new(callers.len()));
        let mut tasks = JoinSet::new();
        for iam in callers {
            let (iam, user, barrier) = (iam.clone(), user.clone(), Arc::clone(&barrier));
            tasks.spawn(async move {
                barrier.wait().await;
                iam.create(&user, &name(CODECOMMIT)).await
            });
        }
        let mut created = Vec::new();
        for result in tasks.join_all().await {
            match result {
                Ok(issued) => created.push(issued.id().clone()),
                Err(Error::LimitExceeded { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        let mut listed: Vec<_> = callers[1].list(&user).await.unwrap();
        assert_eq!(listed.len(), 2);
        listed.retain(|credential| created.contains(credential.id()));
        assert_eq!((listed.len(), created.len()), (2, 2));
    }
}

/// Two stores of the same users share their state. The users are removed.
pub(crate) async fn changes_of_one_store_are_visible_to_another<S: AsyncStore>(first: S, other: S) {
    let (one, two) = (manager(first), manager(&other));
    let anika: UserName = name("anika");
    one.register_user(&anika).await.unwrap();
    let issued = two.create(&anika, &name(CODECOMMIT)).await.unwrap();
    let (login, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
    let identity = one.authenticate(&name(CODECOMMIT), login, secret).await.unwrap();
    assert_eq!(identity.user_name(), &anika);
    one.delete(&anika, issued.id()).await.unwrap();
    assert!(two.authenticate(&name(CODECOMMIT), login, secret).await.is_err());
    let listing = Listing::Holders { service: None };
    let range = ScanRange::new(name(ACCOUNT), listing, Bound::Unbounded, NonZeroUsize::MIN);
    assert!(other.scan(&range).await.unwrap().is_empty());
    two.remove_user(&anika).await.unwrap();
    assert!(matches!(one.remove_user(&anika).await, Err(Error::NoSuchUser { .. })));
}

/// A user who was copied, and renamed since, is not registered under the new name as well. Both
/// stores are empty. The second one keeps one user.
pub(crate) async fn a_repeated_copy_does_not_register_a_user_twice<S>(store: S, copy: S)
where
    S: AsyncStore,
{
    let iam = manager(&store);
    let anika: UserName = name("anika");
    iam.register_user(&anika).await.unwrap();
    assert_eq!(copy_users(&store, &copy, name(ACCOUNT)).await.unwrap(), 1);
    iam.rename_user(&anika, &name("beate")).await.unwrap();
    assert_eq!(
        copy_users(&store, &copy, name(ACCOUNT)).await.unwrap_err().to_string(),
        "the store to copy to has a conflict on a key of the user beate"
    );
    let key = Key::User { account: name(ACCOUNT), name: &anika };
    assert!(copy.find(&key).await.unwrap().is_some());
}

/// The registration of a user whose id comes from this entropy.
fn registration(user: &UserName, entropy: SeededEntropy) -> Change {
    let (account, store) = (name(ACCOUNT), MemoryStore::new());
    let manager = CredentialManager::builder(account, store.clone()).entropy(entropy).build();
    manager.register_user(user).unwrap();
    let record = store.find(&Key::User { account, name: user }).unwrap().unwrap();
    Change::Register { record }
}

/// Two users with the same id are registered, one after the other or at the same time. The store
/// keeps one user.
pub(crate) async fn one_of_two_users_with_an_id_is_registered(store: impl AsyncStore, race: bool) {
    let anika = registration(&name("anika"), SeededEntropy::new(7));
    let bo = registration(&name("bo"), SeededEntropy::new(7));
    assert_eq!(anika.record().unwrap().id(), bo.record().unwrap().id());
    let mut outcomes = if race {
        let (one, two) = tokio::join!(Box::pin(store.commit(&anika)), Box::pin(store.commit(&bo)));
        [one.unwrap(), two.unwrap()]
    } else {
        [store.commit(&anika).await.unwrap(), store.commit(&bo).await.unwrap()]
    };
    if race {
        outcomes.sort_by_key(|outcome| *outcome != CommitOutcome::Applied);
    }
    assert_eq!(outcomes, [CommitOutcome::Applied, CommitOutcome::KeyTaken]);
}

/// The accounts of a store are those that have users, in order. `CopyUsers` copies them all.
pub(crate) async fn all_accounts_are_copied<S: AsyncStore>(
    from: &S,
    to: &S,
    list: impl AsyncFn(&S) -> Result<Vec<AccountId>, StoreError>,
) {
    assert_eq!(list(from).await.unwrap(), []);
    let accounts = ["000000000000", ACCOUNT, "123456789013", "999999999999"].map(name);
    let (anika, beate): (UserName, UserName) = (name("anika"), name("beate"));
    for account in accounts.iter().rev() {
        let iam = AsyncCredentialManager::new(*account, from);
        iam.register_user(&anika).await.unwrap();
        iam.register_user(&beate).await.unwrap();
        let _ = iam.create(&anika, &name(CODECOMMIT)).await.unwrap();
    }
    let emptied = AsyncCredentialManager::new(name("210987654321"), from);
    emptied.register_user(&anika).await.unwrap();
    emptied.remove_user(&anika).await.unwrap();
    assert_eq!(list(from).await.unwrap(), accounts);

    let copy = CopyUsers::new(list(from).await.unwrap());
    assert_eq!(copy.run_async(from, to).await.unwrap(), 2 * accounts.len());
    assert_eq!(list(to).await.unwrap(), accounts);
    for account in accounts {
        let [old, new] = [from, to].map(|store| AsyncCredentialManager::new(account, store));
        for user in [&anika, &beate] {
            assert_eq!(new.user(user).await.unwrap(), old.user(user).await.unwrap());
            assert_eq!(new.list(user).await.unwrap(), old.list(user).await.unwrap());
        }
    }
}

const CREATE: &str = "Action=CreateServiceSpecificCredential&ServiceName=codecommit.amazonaws.com";

/// The status of `/authenticate` for a name and a password.
fn sign_in(client: &mut Client, name: &str, password: &str) -> u16 {
    let pair = STANDARD.encode(format!("{name}:{password}"));
    let header = format!("Authorization: Basic {pair}");
    client.request(&format!("GET /authenticate/{CODECOMMIT}"), &[&header], b"").status
}

/// Two emulators with the same users, who are none yet. They register two.
pub(crate) fn two_emulators_behave_as_one(servers: &[Server; 2]) {
    let [mut here, mut there] = [&servers[0], &servers[1]].map(|it| Client::new(it.address));

    assert_eq!(here.post("Action=CreateUser&UserName=anika").status, 200);
    let issued = there.post(&format!("{CREATE}&UserName=Anika"));
    let id = issued.element("ServiceSpecificCredentialId").to_owned();
    let name = issued.element("ServiceUserName").to_owned();
    assert_eq!(name, "anika+1-at-123456789012");
    let password = issued.element("ServicePassword").to_owned();
    assert_eq!(sign_in(&mut here, &name, &password), 200);
    let listed = here.post("Action=ListServiceSpecificCredentials&UserName=anika");
    assert_eq!(listed.element("ServiceSpecificCredentialId"), id);

    let reset = format!(
        "Action=ResetServiceSpecificCredential&UserName=anika&ServiceSpecificCredentialId={id}"
    );
    let renewed = here.post(&reset).element("ServicePassword").to_owned();
    assert_eq!(sign_in(&mut there, &name, &password), 401);
    assert_eq!(sign_in(&mut there, &name, &renewed), 200);

    here.post("Action=CreateUser&UserName=ben");
    let barrier = Barrier::new(CALLERS);
    let responses: Vec<_> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|number| {
                let (barrier, server) = (&barrier, &servers[number % 2]);
                scope.spawn(move || {
                    let mut client = Client::new(server.address);
                    barrier.wait();
                    client.post(&format!("{CREATE}&UserName=ben"))
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let mut names: Vec<_> = responses
        .iter()
        .filter(|response| response.status == 200)
        .map(|response| response.element("ServiceUserName"))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["ben+1-at-123456789012", "ben+2-at-123456789012"]);
    for response in responses.iter().filter(|response| response.status != 200) {
        assert_eq!(response.rejection(), (409, "LimitExceeded"));
    }
}
