//! Unknown outcomes: what `resolve` and `fence` report and do.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use service_specific_credentials::{
    AsyncCredentialManager, Credential, CredentialManager, Error, IssuedCredential, MemoryStore,
    Resolution, Status, UnknownCredential, UserName,
    store::{Change, CommitOutcome, Key, ScanRange, Store, StoreError, SyncAdapter, UserRecord},
    testing::{FailingStore, Fault, FixedClock, When},
};

use crate::common::{ACCOUNT, BEDROCK, CODECOMMIT, HookAction, HookedStore, StoreCall, name};

type Failing = CredentialManager<FailingStore<MemoryStore>>;

fn anika() -> UserName {
    name("anika")
}

/// A manager with one user, and a credential of that user.
fn world() -> (Failing, IssuedCredential) {
    let store = FailingStore::new(MemoryStore::new());
    let clock = FixedClock::new(crate::common::dawn());
    let iam = CredentialManager::builder(name(ACCOUNT), store).clock(clock).build();
    iam.register_user(&anika()).unwrap();
    let issued = iam.create(&anika(), &name(CODECOMMIT)).unwrap();
    (iam, issued)
}

fn unknown<T>(result: Result<T, Error>) -> UnknownCredential {
    match result.map(drop).unwrap_err() {
        Error::OutcomeUnknown { credential: Some(unknown), .. } => unknown,
        error => panic!("{error:?}"),
    }
}

/// Fails one commit of an operation.
fn fail<T>(
    iam: &Failing,
    fault: Fault,
    operation: impl FnOnce(&Failing) -> Result<T, Error>,
) -> UnknownCredential {
    iam.store().fail(fault, When::Once);
    let unknown = unknown(operation(iam));
    assert_eq!(*unknown.user_name(), anika());
    unknown
}

fn authenticates(iam: &Failing, issued: &IssuedCredential) -> bool {
    let (login, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
    iam.authenticate(issued.credential().service(), login, secret).is_ok()
}

fn list(iam: &Failing) -> Vec<Credential> {
    iam.list(&anika()).unwrap()
}

#[test]
fn an_unknown_create_is_absent_or_deleted() {
    for service in [CODECOMMIT, BEDROCK] {
        let (iam, issued) = world();
        let before = list(&iam);
        let create = |iam: &Failing| iam.create(&anika(), &name(service));

        let lost = fail(&iam, Fault::CommitBefore, create);
        assert_eq!(iam.resolve(&lost).unwrap(), Resolution::Absent);
        assert_eq!(list(&iam), before);

        let lost = fail(&iam, Fault::CommitAfter, create);
        let held = iam.credential(lost.id()).unwrap();
        assert_eq!(iam.resolve(&lost).unwrap(), Resolution::Deleted(held));
        assert_eq!(iam.resolve(&lost).unwrap(), Resolution::Absent, "again");
        assert_eq!(list(&iam), before);
        assert!(authenticates(&iam, &issued));
    }
}

#[test]
fn an_unknown_reset_leaves_the_credential_or_deletes_it() {
    let (iam, issued) = world();
    let reset = |iam: &Failing| iam.reset(&anika(), issued.id());
    let lost = fail(&iam, Fault::CommitBefore, reset);
    assert_eq!(iam.resolve(&lost).unwrap(), Resolution::Exists(issued.credential().clone()));
    assert!(authenticates(&iam, &issued));

    let lost = fail(&iam, Fault::CommitAfter, reset);
    assert!(!authenticates(&iam, &issued));
    let held = iam.credential(lost.id()).unwrap();
    assert_eq!(iam.resolve(&lost).unwrap(), Resolution::Deleted(held));
    assert_eq!(list(&iam), []);
}

#[test]
fn a_credential_whose_lost_secret_was_replaced_is_not_deleted() {
    let (iam, _) = world();
    let lost = fail(&iam, Fault::CommitAfter, |iam| iam.create(&anika(), &name(CODECOMMIT)));
    let renewed = iam.reset(&anika(), lost.id()).unwrap();
    assert_eq!(iam.resolve(&lost).unwrap(), Resolution::Exists(renewed.credential().clone()));
    assert!(authenticates(&iam, &renewed));
}

#[test]
fn an_unknown_change_of_the_status_and_an_unknown_deletion_are_reported() {
    for fault in [Fault::CommitBefore, Fault::CommitAfter] {
        let (iam, issued) = world();
        let lost = fail(&iam, fault, |iam| iam.set_status(&anika(), issued.id(), Status::Inactive));
        let Resolution::Exists(found) = iam.resolve(&lost).unwrap() else { unreachable!() };
        assert_eq!(found.status() == Status::Inactive, fault == Fault::CommitAfter);

        iam.set_status(&anika(), issued.id(), Status::Active).unwrap();
        let lost = fail(&iam, fault, |iam| iam.disable(issued.id()));
        let Resolution::Exists(found) = iam.resolve(&lost).unwrap() else { unreachable!() };
        assert_eq!(found.status() == Status::Inactive, fault == Fault::CommitAfter);

        let lost = fail(&iam, fault, |iam| iam.delete(&anika(), issued.id()));
        match (fault, iam.resolve(&lost).unwrap()) {
            (Fault::CommitBefore, Resolution::Exists(found)) => assert_eq!(found.id(), issued.id()),
            (_, resolution) => assert_eq!(resolution, Resolution::Absent),
        }
    }
}

#[test]
fn a_resolution_that_fails_is_repeated() {
    for fault in [Fault::Read, Fault::CommitBefore, Fault::CommitAfter] {
        let (iam, _) = world();
        let before = list(&iam);
        let lost = fail(&iam, Fault::CommitAfter, |iam| iam.create(&anika(), &name(CODECOMMIT)));
        iam.store().fail(fault, When::Once);
        match iam.resolve(&lost).unwrap_err() {
            Error::Store(_) => assert_eq!(fault, Fault::Read),
            Error::OutcomeUnknown { credential, .. } => {
                assert_eq!(credential.unwrap().id(), lost.id());
            }
            error => panic!("{error:?}"),
        }
        iam.resolve(&lost).map(drop).unwrap();
        assert_eq!(list(&iam), before, "{fault:?}");
    }
}

#[test]
fn another_account_resolves_nothing() {
    let (iam, _) = world();
    let lost = fail(&iam, Fault::CommitAfter, |iam| iam.create(&anika(), &name(CODECOMMIT)));
    let other = iam.for_account(name("000000000001"));
    other.register_user(&anika()).unwrap();
    let error = other.resolve(&lost).unwrap_err();
    assert!(
        matches!(error, Error::NoSuchCredential { ref id, .. } if id == lost.id()),
        "{error:?}"
    );
    assert_eq!(list(&iam).len(), 2);
}

/// A change that a store has lost sight of: it failed, and is applied later.
type Late = Arc<Mutex<Option<Change>>>;

/// A manager over a store that fails the next commit and remembers the change.
fn late_world() -> (CredentialManager<impl Store>, Late, Late) {
    let [armed, late]: [Late; 2] = Default::default();
    let (arm, remember) = (Arc::clone(&armed), Arc::clone(&late));
    let store = HookedStore::new(move |call: StoreCall<'_>| match call {
        StoreCall::Commit(change) if arm.lock().unwrap().take().is_some() => {
            *remember.lock().unwrap() = Some(change.clone());
            HookAction::Fail
        }
        _ => HookAction::Proceed,
    });
    let iam = CredentialManager::new(name(ACCOUNT), store);
    iam.register_user(&anika()).unwrap();
    (iam, armed, late)
}

/// What happens between the unknown change and its resolution.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meanwhile {
    Nothing,
    Renamed,
    Removed,
    RegisteredAnew,
}

#[test]
fn a_change_is_never_applied_after_its_resolution() {
    for meanwhile in
        [Meanwhile::Nothing, Meanwhile::Renamed, Meanwhile::Removed, Meanwhile::RegisteredAnew]
    {
        for by_fence in [false, true] {
            let (iam, armed, late) = late_world();
            let previous = iam_record(&iam);
            *armed.lock().unwrap() = Some(Change::Remove { previous });
            let lost = unknown(iam.create(&anika(), &name(CODECOMMIT)));
            let anna = name("anna");
            match meanwhile {
                Meanwhile::Nothing => {}
                Meanwhile::Renamed => drop(iam.rename_user(&anika(), &anna).unwrap()),
                Meanwhile::Removed => iam.remove_user(&anika()).unwrap(),
                Meanwhile::RegisteredAnew => {
                    iam.remove_user(&anika()).unwrap();
                    iam.register_user(&anika()).unwrap();
                }
            }
            if by_fence {
                let user = if meanwhile == Meanwhile::Renamed { anna } else { anika() };
                let fenced = iam.fence(&user);
                assert_eq!(fenced.is_ok(), meanwhile != Meanwhile::Removed, "{fenced:?}");
                assert!(fenced.unwrap_or_default().is_empty());
            } else {
                assert_eq!(iam.resolve(&lost).unwrap(), Resolution::Absent);
                // The user of that name is another one.
                let is_untouched = meanwhile != Meanwhile::RegisteredAnew
                    || iam_record(&iam).revision().count() == 0;
                assert!(is_untouched);
            }
            let change = late.lock().unwrap().take().unwrap();
            let outcome = iam.store().commit(&change).unwrap();
            assert_eq!(outcome, CommitOutcome::Stale, "{meanwhile:?}");
            assert!(iam.credential(lost.id()).is_err());
        }
    }
}

#[test]
fn a_reset_is_never_applied_after_its_resolution() {
    let (iam, armed, late) = late_world();
    let issued = iam.create(&anika(), &name(CODECOMMIT)).unwrap();
    *armed.lock().unwrap() = Some(Change::Remove { previous: iam_record(&iam) });
    let lost = unknown(iam.reset(&anika(), issued.id()));
    assert_eq!(iam.resolve(&lost).unwrap(), Resolution::Exists(issued.credential().clone()));
    let change = late.lock().unwrap().take().unwrap();
    assert_eq!(iam.store().commit(&change).unwrap(), CommitOutcome::Stale);
}

/// Before the second look-up, the late change is applied, and the user is renamed.
#[derive(Debug)]
struct Overtaken<'a, S> {
    iam: &'a CredentialManager<S>,
    late: Late,
    finds: AtomicUsize,
}

impl<S: Store> Store for Overtaken<'_, S> {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        if self.finds.fetch_add(1, Relaxed) == 1 {
            let change = self.late.lock().unwrap().take().unwrap();
            assert_eq!(self.iam.store().commit(&change)?, CommitOutcome::Applied);
            self.iam.rename_user(&anika(), &name("anna")).unwrap();
        }
        self.iam.store().find(key)
    }

    fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        self.iam.store().commit(change)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.iam.store().scan(range)
    }
}

#[test]
fn a_change_that_is_applied_during_its_resolution_is_found_under_the_new_name() {
    let (iam, armed, late) = late_world();
    *armed.lock().unwrap() = Some(Change::Remove { previous: iam_record(&iam) });
    let lost = unknown(iam.create(&anika(), &name(CODECOMMIT)));
    let overtaken = Overtaken { iam: &iam, late, finds: AtomicUsize::new(0) };
    let resolution = CredentialManager::new(name(ACCOUNT), overtaken).resolve(&lost).unwrap();
    assert!(matches!(resolution, Resolution::Deleted(held) if held.user_name().as_str() == "anna"));
    assert!(iam.credential(lost.id()).is_err());
}

#[test]
fn a_resolution_that_loses_a_race_is_repeated() {
    let (iam, _) = world();
    let lost = fail(&iam, Fault::CommitAfter, |iam| iam.create(&anika(), &name(CODECOMMIT)));
    let commits = AtomicUsize::new(0);
    let store = HookedStore::new(move |call: StoreCall<'_>| match call {
        StoreCall::Commit(_) if commits.fetch_add(1, Relaxed) == 1 => {
            HookAction::Return(CommitOutcome::Stale)
        }
        _ => HookAction::Proceed,
    });
    let change = Change::Register { record: iam_record(&iam) };
    assert_eq!(store.commit(&change).unwrap(), CommitOutcome::Applied);
    let other = CredentialManager::new(name(ACCOUNT), store);
    assert!(matches!(other.resolve(&lost).unwrap(), Resolution::Deleted(_)));
    assert!(other.credential(lost.id()).is_err());
}

fn iam_record<S: Store>(iam: &CredentialManager<S>) -> Arc<UserRecord> {
    let (account, user) = (iam.account(), anika());
    let key = Key::User { account, name: &user };
    iam.store().find(&key).unwrap().unwrap()
}

#[test]
fn a_change_that_was_applied_is_resolved_under_the_new_name_of_the_user() {
    let (iam, _) = world();
    let lost = fail(&iam, Fault::CommitAfter, |iam| iam.create(&anika(), &name(CODECOMMIT)));
    let anna = name("anna");
    iam.rename_user(&anika(), &anna).unwrap();
    iam.register_user(&anika()).unwrap();
    let held = iam.credential(lost.id()).unwrap();
    assert_eq!(held.user_name(), &anna);
    assert_eq!(iam.resolve(&lost).unwrap(), Resolution::Deleted(held));
    assert_eq!(iam.list(&anna).unwrap().len(), 1);
    assert_eq!(iam.list(&anika()).unwrap(), []);
}

#[test]
fn a_fence_returns_the_credentials_and_changes_nothing() {
    let (iam, issued) = world();
    let before = iam_record(&iam);
    assert_eq!(iam.fence(&name("Anika")).unwrap(), [issued.credential().clone()]);
    let after = iam_record(&iam);
    assert_eq!(after.revision().count(), before.revision().count() + 1);
    assert_eq!(list(&iam), [issued.credential().clone()]);
    assert!(matches!(iam.fence(&name("nobody")), Err(Error::NoSuchUser { .. })));
}

#[test]
fn a_resolution_gives_up_after_64_attempts() {
    let (iam, _) = world();
    let lost = fail(&iam, Fault::CommitAfter, |iam| iam.create(&anika(), &name(CODECOMMIT)));
    let store = HookedStore::new(|_: StoreCall<'_>| HookAction::Proceed);
    let change = Change::Register { record: iam_record(&iam) };
    assert_eq!(store.commit(&change).unwrap(), CommitOutcome::Applied);
    let stuck = CredentialManager::new(name(ACCOUNT), Stuck(store));
    assert!(matches!(stuck.resolve(&lost), Err(Error::Contended { user, .. }) if user == anika()));
}

/// Its commits are always stale.
#[derive(Debug)]
struct Stuck<S>(S);

impl<S: Store> Store for Stuck<S> {
    fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        self.0.find(key)
    }

    fn commit(&self, _: &Change) -> Result<CommitOutcome, StoreError> {
        Ok(CommitOutcome::Stale)
    }

    fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        self.0.scan(range)
    }
}

#[test]
fn the_async_manager_resolves_alike() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = FailingStore::new(SyncAdapter::new(MemoryStore::new()));
        let iam = AsyncCredentialManager::new(name(ACCOUNT), store.clone());
        iam.register_user(&anika()).await.unwrap();
        for (fault, is_applied) in [(Fault::CommitBefore, false), (Fault::CommitAfter, true)] {
            store.fail(fault, When::Once);
            let lost = unknown(iam.create(&anika(), &name(CODECOMMIT)).await);
            let resolution = iam.resolve(&lost).await.unwrap();
            assert_eq!(matches!(resolution, Resolution::Deleted(_)), is_applied);
            assert_eq!(iam.fence(&anika()).await.unwrap(), []);
        }
        assert_eq!(store.injected(), 2);
    });
}
