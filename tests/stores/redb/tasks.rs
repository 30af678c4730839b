//! Concurrent callers, including tasks, and the batches that they share.

use std::{
    collections::HashSet,
    future::Future as _,
    io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use redb::{StorageBackend, backends::InMemoryBackend};
use service_specific_credentials::{
    AsyncCredentialManager, CredentialManager, Error, IssuedCredential, ListUsersRequest, MaxItems,
    Status, UserName,
    store::{AsyncStore, RedbOptions, RedbStore},
};

use super::{ACCOUNT, CODECOMMIT, Folder, async_manager, executor, is_denied, name};
use crate::common::BEDROCK;

/// The life cycle of a credential, in any store.
async fn live<S: AsyncStore>(iam: &AsyncCredentialManager<S>) -> Result<(), Error> {
    let (anika, codecommit) = (name("anika"), name(CODECOMMIT));
    iam.register_user(&anika).await?;
    let first = iam.create(&anika, &codecommit).await?;
    let presented = |issued: &IssuedCredential| {
        (issued.service_user_name().to_string(), issued.secret().expose().to_owned())
    };
    let (login, password) = presented(&first);
    iam.authenticate(&codecommit, &login, &password).await.unwrap();
    iam.set_status(&anika, first.id(), Status::Inactive).await?;
    assert!(is_denied(&iam.authenticate(&codecommit, &login, &password).await));
    iam.set_status(&anika, first.id(), Status::Active).await?;
    let renewed = presented(&iam.reset(&anika, first.id()).await?);
    assert!(is_denied(&iam.authenticate(&codecommit, &login, &password).await));
    iam.authenticate(&codecommit, &renewed.0, &renewed.1).await.unwrap();
    let key = iam.create(&anika, &name(BEDROCK)).await?;
    iam.authenticate_api_key(&name(BEDROCK), key.secret().expose()).await.unwrap();
    iam.rename_user(&anika, &name("berta")).await?;
    assert_eq!(iam.list(&name("berta")).await?.len(), 2);
    iam.delete(&name("berta"), first.id()).await?;
    assert!(is_denied(&iam.authenticate(&codecommit, &renewed.0, &renewed.1).await));
    assert_eq!(iam.remove_user_with_credentials(&name("berta")).await?.len(), 1);
    assert_eq!(
        iam.list_users_page(&ListUsersRequest::new().max_items(MaxItems::default())).await?.items,
        []
    );
    Ok(())
}

#[test]
fn the_life_cycle_of_a_credential_works_on_a_single_threaded_executor() {
    fn is_send<T: Send>(future: T) -> T {
        future
    }
    let folder = Folder::new("async");
    let store = RedbStore::create(folder.file("store.redb")).unwrap();
    executor().block_on(is_send(live(&async_manager(&store)))).unwrap();
}

#[test]
fn concurrent_creations_stop_at_the_limit() {
    let folder = Folder::new("async-race");
    let store = RedbStore::create(folder.file("store.redb")).unwrap();
    executor().block_on(async {
        let iam = async_manager(&store);
        iam.register_user(&name("anika")).await.unwrap();
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                let iam = iam.clone();
                tokio::spawn(async move { iam.create(&name("anika"), &name(CODECOMMIT)).await })
            })
            .collect();
        let mut names = HashSet::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(issued) => assert!(names.insert(issued.service_user_name().to_string())),
                Err(Error::LimitExceeded { limit: 2, .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(names, ["anika+1", "anika+2"].map(|name| format!("{name}-at-{ACCOUNT}")).into());
    });
}

/// The limit of waiting for an event that should happen at once.
const TIMEOUT: Duration = Duration::from_secs(60);

fn receive(gate: &mpsc::Receiver<()>) {
    gate.recv_timeout(TIMEOUT).unwrap();
}

/// Reports a flush, and waits for permission to continue.
type Barrier = (mpsc::Sender<()>, mpsc::Receiver<()>);

/// Storage whose next flush can be blocked. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    memory: Arc<InMemoryBackend>,
    closed: Arc<Mutex<Option<Barrier>>>,
}

impl Gate {
    pub(crate) fn open_store(&self) -> RedbStore {
        let gate = self.clone();
        RedbOptions::new().create_with_backend(move || Ok(gate.clone())).unwrap()
    }

    /// Waits until no store uses the storage.
    fn until_closed(&self) {
        let start = Instant::now();
        while Arc::strong_count(&self.memory) > 1 {
            assert!(start.elapsed() < TIMEOUT, "the storage is still in use");
            thread::yield_now();
        }
    }

    /// Blocks the next flush: it reports that it has begun, and waits. If the sender is dropped,
    /// the flush panics.
    pub(crate) fn close(&self) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((arrived, waits), (open, opened)) = (mpsc::channel(), mpsc::channel());
        *self.closed.lock().unwrap() = Some((arrived, opened));
        (waits, open)
    }
}

impl StorageBackend for Gate {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((arrived, opened)) = closed {
            let _ = arrived.send(());
            opened.recv().expect("the gate was dropped while a flush waited");
        }
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.memory.write(offset, data)
    }
}

#[test]
fn reads_continue_while_a_commit_waits_for_its_flush() {
    let gate = Gate::default();
    let store = gate.open_store();
    executor().block_on(async {
        let iam = async_manager(&store);
        let (anika, codecommit) = (name("anika"), name(CODECOMMIT));
        iam.register_user(&anika).await.unwrap();
        let first = iam.create(&anika, &codecommit).await.unwrap();

        let (waits, open) = gate.close();
        let creating = tokio::spawn({
            let iam = iam.clone();
            async move { iam.create(&name("anika"), &name(CODECOMMIT)).await }
        });
        tokio::task::yield_now().await;
        waits.recv().unwrap();

        // The task has returned the executor's only thread.
        let (login, password) = (first.service_user_name().as_str(), first.secret().expose());
        iam.authenticate(&codecommit, login, password).await.unwrap();
        assert_eq!(iam.list(&anika).await.unwrap(), [first.credential().clone()]);
        assert!(!creating.is_finished());

        open.send(()).unwrap();
        let second = creating.await.unwrap().unwrap();
        assert_eq!(iam.list(&anika).await.unwrap().len(), 2);
        let (login, password) = (second.service_user_name().as_str(), second.secret().expose());
        iam.authenticate(&codecommit, login, password).await.unwrap();
    });
}

#[test]
fn a_change_submitted_during_a_batch_is_written_even_if_its_future_is_dropped() {
    let gate = Gate::default();
    let users = ["anika", "ben", "carla"].map(name::<UserName>);
    {
        let store = gate.open_store();
        let iam = CredentialManager::new(name(ACCOUNT), store.clone());
        let (waits, open) = gate.close();
        let [anika, ben, carla] = &users;
        thread::scope(|scope| {
            let writing = scope.spawn(|| iam.register_user(anika).unwrap());
            waits.recv().unwrap();
            let async_iam = async_manager(&store);
            let mut dropped = Box::pin(async_iam.register_user(ben));
            let mut context = Context::from_waker(Waker::noop());
            assert!(dropped.as_mut().poll(&mut context).is_pending());
            drop(dropped);
            let queued = scope.spawn(|| iam.register_user(carla).unwrap());
            open.send(()).unwrap();
            writing.join().unwrap();
            queued.join().unwrap();
        });
    }
    let iam = CredentialManager::new(name(ACCOUNT), gate.open_store());
    for user in &users {
        assert_eq!(iam.user(user).unwrap().name(), user);
    }
}

/// A waker that runs a function.
struct Woken<F>(Mutex<Option<F>>);

impl<F: FnOnce() + Send + 'static> Woken<F> {
    fn waker(done: F) -> Waker {
        Arc::new(Self(Mutex::new(Some(done)))).into()
    }
}

impl<F: FnOnce() + Send + 'static> Wake for Woken<F> {
    fn wake(self: Arc<Self>) {
        let done = self.0.lock().unwrap().take();
        done.unwrap()();
    }
}

#[test]
fn a_waker_may_commit_synchronously() {
    let gate = Gate::default();
    let store = gate.open_store();
    let iam = CredentialManager::new(name(ACCOUNT), store.clone());
    let (flushing, open) = gate.close();
    let (done, waits) = mpsc::channel();
    let waker = Woken::waker({
        let iam = iam.clone();
        move || done.send(iam.register_user(&name("ben")).is_ok()).unwrap()
    });
    let (tasks, anika) = (async_manager(&store), name("anika"));
    let mut registering = Box::pin(tasks.register_user(&anika));
    assert!(registering.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    flushing.recv_timeout(TIMEOUT).unwrap();
    open.send(()).unwrap();
    assert!(waits.recv_timeout(TIMEOUT).unwrap());
    iam.user(&name("anika")).unwrap();
}

#[test]
fn a_panicking_waker_does_not_prevent_other_wake_ups() {
    let gate = Gate::default();
    let store = gate.open_store();
    let tasks = async_manager(&store);
    let (waits, open) = gate.close();
    let (done, woken) = mpsc::channel();
    let users = ["anika", "ben", "carla"].map(name::<UserName>);
    let wakers = [
        Woken::waker(|| ()),
        Woken::waker(|| panic!("a waker panics")),
        Woken::waker(move || done.send(()).unwrap()),
    ];
    let mut registering: Vec<_> =
        users.iter().map(|user| Box::pin(tasks.register_user(user))).collect();
    for (registering, waker) in registering.iter_mut().zip(&wakers) {
        assert!(registering.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
    }
    waits.recv_timeout(TIMEOUT).unwrap();
    open.send(()).unwrap();
    woken.recv_timeout(TIMEOUT).unwrap();
    executor().block_on(async {
        for registering in registering {
            registering.await.unwrap();
        }
    });
}

/// The file is then closed on the store's own thread.
#[test]
fn a_waker_may_drop_the_last_handle() {
    let gate = Gate::default();
    let store = gate.open_store();
    let (flushing, flush) = gate.close();
    let (begun, wakes) = mpsc::channel();
    let (done, waits) = mpsc::channel();
    let (opener, open) = mpsc::channel();
    let last = store.clone();
    let task = Woken::waker(move || {
        begun.send(()).unwrap();
        receive(&open);
        drop(last);
        done.send(()).unwrap();
    });
    {
        let (tasks, anika) = (async_manager(&store), name("anika"));
        let mut registering = Box::pin(tasks.register_user(&anika));
        assert!(registering.as_mut().poll(&mut Context::from_waker(&task)).is_pending());
        flushing.recv_timeout(TIMEOUT).unwrap();
        flush.send(()).unwrap();
        wakes.recv_timeout(TIMEOUT).unwrap();
    }
    drop((task, store));
    opener.send(()).unwrap();
    waits.recv_timeout(TIMEOUT).unwrap();
    gate.until_closed();
    CredentialManager::new(name(ACCOUNT), gate.open_store()).user(&name("anika")).unwrap();
}
