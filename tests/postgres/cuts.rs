//! Cuts connections at every point of an operation: the change is atomic, and the reported outcome
//! is true.
//!
//! Only every n-th point is tried. `SSC_CUT_STEP` sets n; with 1, every point is tried.

use service_specific_credentials::{
    AsyncCredentialManager, Credential, Error, IssuedCredential, UserName,
    store::{PostgresError, PostgresOptions, PostgresStore, StoreError},
};
use tokio_postgres::Client;

use crate::{
    LEVELS,
    common::{ACCOUNT, CODECOMMIT, name},
    database::{Space, check, client, shared, until, wait},
    proxy::{
        Direction::{self, ToClient, ToServer},
        Proxy,
    },
};

type Manager = AsyncCredentialManager<PostgresStore>;

/// A manager behind a proxy, and one with a direct connection.
struct Scene {
    space: Space,
    proxy: Proxy,
    cut: Manager,
    direct: Manager,
    client: Client,
    user: UserName,
}

/// The reported outcome of an operation.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Made,
    NotMade,
    Unknown,
}

fn cause(error: &StoreError) -> &PostgresError {
    error.get_ref().downcast_ref().unwrap()
}

impl Scene {
    async fn set(space: Space, options: &PostgresOptions) -> Self {
        let proxy = Proxy::start(space.port()).await;
        let direct = AsyncCredentialManager::new(name(ACCOUNT), space.store(options).await);
        let behind = space.via(proxy.port());
        let url = format!("{}&application_name={}", behind.url(), space.name);
        let options = options.clone().max_connections(1);
        let store = PostgresStore::connect_with(&options, &url).await.unwrap();
        let cut = AsyncCredentialManager::new(name(ACCOUNT), store);
        let user: UserName = name("anika");
        direct.register_user(&user).await.unwrap();
        let client = client(&space.url()).await;
        Self { space, proxy, cut, direct, client, user }
    }

    /// Repeats `work`, cut at one point after another, until it was not cut. Then `verify` checks
    /// the reported outcome.
    async fn cut_everywhere<T>(
        &self,
        direction: Direction,
        mut prepare: impl AsyncFnMut(),
        mut work: impl AsyncFnMut() -> Result<T, Error>,
        mut verify: impl AsyncFnMut(&Outcome, Result<T, Error>),
    ) {
        let step = std::env::var("SSC_CUT_STEP").map_or(29, |step| step.parse().unwrap());
        let (mut made, mut unknown) = (0, 0);
        for point in (0..).step_by(step) {
            prepare().await;
            // The connection exists, and the look-up is prepared.
            self.cut.user(&self.user).await.unwrap();
            self.proxy.cut_after(direction, point);
            let result = work().await;
            let was_cut = self.proxy.was_cut();
            self.rest().await;
            check(&self.client).await;
            let outcome = match &result {
                Ok(_) => Outcome::Made,
                Err(Error::OutcomeUnknown { source, .. }) => match cause(source) {
                    PostgresError::Unknown(cause) => {
                        assert!(matches!(**cause, PostgresError::ConnectionLost), "{cause:?}");
                        unknown += 1;
                        Outcome::Unknown
                    }
                    // The connection was cut before a change was sent.
                    PostgresError::ConnectionLost => Outcome::NotMade,
                    other => panic!("{other:?}"),
                },
                Err(other) => panic!("{other:?}"),
            };
            made += usize::from(outcome == Outcome::Made);
            verify(&outcome, result).await;
            if !was_cut {
                assert_eq!(outcome, Outcome::Made);
                assert!(point > 100 && unknown > 1, "{point} {unknown}");
                break;
            }
        }
        assert!(made > 0);
    }

    /// Waits until no statement or transaction that came through the proxy is still running.
    async fn rest(&self) {
        until("the server to be done", async || {
            let busy = "SELECT count(*) = 0 FROM pg_stat_activity \
                WHERE application_name = $1 AND state <> 'idle'";
            self.client.query_one(busy, &[&self.space.name]).await.unwrap().get(0)
        })
        .await;
    }

    async fn list(&self) -> Vec<Credential> {
        self.direct.list(&self.user).await.unwrap()
    }

    async fn authenticates(&self, issued: &IssuedCredential) -> bool {
        let (login, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
        self.direct.authenticate(&name(CODECOMMIT), login, secret).await.is_ok()
    }

    async fn clear(&self) {
        for credential in self.list().await {
            self.direct.delete(&self.user, credential.id()).await.unwrap();
        }
    }

    async fn create(&self, direction: Direction) {
        let clear = async || self.clear().await;
        let create = async || self.cut.create(&self.user, &name(CODECOMMIT)).await;
        self.cut_everywhere(direction, clear, create, async |outcome, result| {
            let listed = self.list().await;
            match (outcome, result) {
                (Outcome::Made, Ok(issued)) => {
                    assert_eq!(listed, [issued.credential().clone()]);
                    assert!(self.authenticates(&issued).await);
                }
                (Outcome::NotMade, _) => assert!(listed.is_empty()),
                (_, Err(Error::OutcomeUnknown { credential, .. })) => {
                    let unknown = credential.unwrap();
                    assert!(listed.iter().all(|credential| credential.id() == unknown.id()));
                    assert!(listed.len() < 2);
                }
                _ => unreachable!(),
            }
        })
        .await;
        self.clear().await;
    }

    async fn reset(&self, direction: Direction) {
        let mut old = Some(self.direct.create(&self.user, &name(CODECOMMIT)).await.unwrap());
        let id = old.as_ref().unwrap().id().clone();
        let (user, cut) = (&self.user, &self.cut);
        let reset = async || cut.reset(user, &id).await;
        self.cut_everywhere(
            direction,
            async || {},
            reset,
            async |outcome, result| {
                let still_valid = match &old {
                    Some(old) => self.authenticates(old).await,
                    None => false,
                };
                match (outcome, result) {
                    (Outcome::Made, Ok(issued)) => {
                        assert!(!still_valid && self.authenticates(&issued).await);
                        old = Some(issued);
                    }
                    (Outcome::NotMade, _) => assert!(still_valid || old.is_none()),
                    (_, Err(Error::OutcomeUnknown { credential: named, .. })) => {
                        assert_eq!(*named.unwrap().id(), id);
                        // The new secret is lost. If the change was applied, the old one is invalid
                        // too.
                        old = old.take().filter(|_| still_valid);
                    }
                    _ => unreachable!(),
                }
                assert_eq!(self.list().await.len(), 1);
            },
        )
        .await;
        self.clear().await;
    }

    async fn rename(&self, direction: Direction) {
        let (here, there): (UserName, UserName) = (self.user.clone(), name("beate"));
        let back = async || {
            let renamed = self.direct.rename_user(&there, &here).await;
            assert!(matches!(renamed, Ok(_) | Err(Error::NoSuchUser { .. })));
        };
        let issued = self.direct.create(&here, &name(CODECOMMIT)).await.unwrap();
        let rename = async || self.cut.rename_user(&here, &there).await;
        self.cut_everywhere(direction, back, rename, async |outcome, _| {
            let (old, new) = (self.direct.user(&here).await, self.direct.user(&there).await);
            assert_ne!(old.is_ok(), new.is_ok());
            match outcome {
                Outcome::Made => assert!(new.is_ok()),
                Outcome::NotMade => assert!(old.is_ok()),
                Outcome::Unknown => {}
            }
            assert!(self.authenticates(&issued).await);
        })
        .await;
        back().await;
        self.clear().await;
    }
}

#[test]
fn changes_on_a_cut_connection_are_atomic_and_reported_truthfully() {
    let Some(server) = shared() else { return };
    wait(async {
        for level in LEVELS {
            let options = PostgresOptions::new().isolation(level);
            let scene = Scene::set(server.space().await, &options).await;
            for direction in [ToServer, ToClient] {
                scene.create(direction).await;
                scene.reset(direction).await;
                scene.rename(direction).await;
            }
        }
    });
}
