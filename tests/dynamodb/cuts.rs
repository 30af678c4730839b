//! Connections that are cut at every point of an operation: the table is whole afterwards, and what
//! the caller was told is true.
//!
//! Every so many-th byte is tried. `SSC_CUT_STEP` sets how many; with 1, every byte is.

use service_specific_credentials::{
    AsyncCredentialManager, Credential, Error, IssuedCredential, UserName,
    store::{DynamoDbError, DynamoDbOptions, DynamoDbStore, StoreError},
};

use crate::{
    common::{ACCOUNT, CODECOMMIT, name},
    local::{Server, Table, shared, wait},
    proxy::{
        Direction::{self, ToClient, ToServer},
        Proxy,
    },
};

type Manager = AsyncCredentialManager<DynamoDbStore>;

/// A manager behind a proxy, and one that is not.
struct Scene {
    table: Table,
    proxy: Proxy,
    cut: Manager,
    direct: Manager,
    user: UserName,
}

/// What the caller was told of a change.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Applied,
    NotApplied,
    Unknown,
}

fn cause(error: &StoreError) -> &DynamoDbError {
    error.get_ref().downcast_ref().unwrap()
}

impl Scene {
    async fn set(server: &Server, options: &DynamoDbOptions) -> Self {
        let table = server.table().await;
        let proxy = Proxy::start(table.port).await;
        let direct = AsyncCredentialManager::new(name(ACCOUNT), table.store());
        let store = table.behind(proxy.port()).store_with(options);
        let cut = AsyncCredentialManager::new(name(ACCOUNT), store);
        let user: UserName = name("anika");
        direct.register_user(&user).await.unwrap();
        Self { table, proxy, cut, direct, user }
    }

    /// Does `work` again and again, cut at one byte after the other, until it is not cut. Has what
    /// it returned judged each time. Returns how often it was applied, and how often unknown.
    async fn cut_everywhere<T>(
        &self,
        direction: Direction,
        mut prepare: impl AsyncFnMut(),
        mut work: impl AsyncFnMut() -> Result<T, Error>,
        mut judge: impl AsyncFnMut(&Told, Result<T, Error>),
    ) -> (usize, usize) {
        let step = std::env::var("SSC_CUT_STEP").map_or(97, |step| step.parse().unwrap());
        let (mut applied, mut unknown) = (0, 0);
        for byte in (0..).step_by(step) {
            prepare().await;
            // The connection is there.
            self.cut.user(&self.user).await.unwrap();
            self.proxy.cut_after(direction, byte);
            let result = work().await;
            let was_cut = self.proxy.was_cut();
            self.table.check().await;
            let told = match &result {
                Ok(_) => Told::Applied,
                Err(Error::OutcomeUnknown { source, .. }) => match cause(source) {
                    DynamoDbError::Unknown(cause) => {
                        assert!(is_of_a_cut(cause), "{cause:?}");
                        Told::Unknown
                    }
                    other => panic!("{other:?}"),
                },
                // The look-up was cut.
                Err(Error::Store(error)) => {
                    assert!(is_of_a_cut(cause(error)), "{error:?}");
                    Told::NotApplied
                }
                Err(other) => panic!("{other:?}"),
            };
            applied += usize::from(told == Told::Applied);
            unknown += usize::from(told == Told::Unknown);
            judge(&told, result).await;
            if !was_cut {
                assert_eq!(told, Told::Applied);
                assert!(byte > 500, "{byte}");
                break;
            }
        }
        (applied, unknown)
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

    async fn create(&self, direction: Direction) -> (usize, usize) {
        let clear = async || self.clear().await;
        let create = async || self.cut.create(&self.user, &name(CODECOMMIT)).await;
        let counts = self.cut_everywhere(direction, clear, create, async |told, result| {
            let listed = self.list().await;
            match (told, result) {
                (Told::Applied, Ok(issued)) => {
                    assert_eq!(listed, [issued.credential().clone()]);
                    assert!(self.authenticates(&issued).await);
                }
                (Told::NotApplied, _) => assert!(listed.is_empty()),
                (_, Err(Error::OutcomeUnknown { id, .. })) => {
                    let id = id.unwrap();
                    assert!(listed.iter().all(|credential| *credential.id() == id));
                    assert!(listed.len() < 2);
                }
                _ => unreachable!(),
            }
        });
        let counts = counts.await;
        self.clear().await;
        counts
    }

    async fn reset(&self, direction: Direction) -> (usize, usize) {
        let mut old = Some(self.direct.create(&self.user, &name(CODECOMMIT)).await.unwrap());
        let id = old.as_ref().unwrap().id().clone();
        let reset = async || self.cut.reset(&self.user, &id).await;
        let nothing = async || {};
        let counts = self.cut_everywhere(direction, nothing, reset, async |told, result| {
            let old_authenticates = match &old {
                Some(old) => self.authenticates(old).await,
                None => false,
            };
            match (told, result) {
                (Told::Applied, Ok(issued)) => {
                    assert!(!old_authenticates && self.authenticates(&issued).await);
                    old = Some(issued);
                }
                (Told::NotApplied, _) => assert!(old_authenticates || old.is_none()),
                (_, Err(Error::OutcomeUnknown { id: named, .. })) => {
                    assert_eq!(named.as_ref(), Some(&id));
                    // The new secret is lost, and with it the old one if the change was applied.
                    old = old.take().filter(|_| old_authenticates);
                }
                _ => unreachable!(),
            }
            assert_eq!(self.list().await.len(), 1);
        });
        let counts = counts.await;
        self.clear().await;
        counts
    }

    async fn rename(&self, direction: Direction) -> (usize, usize) {
        let (here, there): (UserName, UserName) = (self.user.clone(), name("beate"));
        let back = async || {
            let renamed = self.direct.rename_user(&there, &here).await;
            assert!(matches!(renamed, Ok(_) | Err(Error::NoSuchUser { .. })));
        };
        let issued = self.direct.create(&here, &name(CODECOMMIT)).await.unwrap();
        let rename = async || self.cut.rename_user(&here, &there).await;
        let counts = self.cut_everywhere(direction, back, rename, async |told, _| {
            let (old, new) = (self.direct.user(&here).await, self.direct.user(&there).await);
            assert_ne!(old.is_ok(), new.is_ok());
            match told {
                Told::Applied => assert!(new.is_ok()),
                Told::NotApplied => assert!(old.is_ok()),
                Told::Unknown => {}
            }
            assert!(self.authenticates(&issued).await);
        });
        let counts = counts.await;
        back().await;
        self.clear().await;
        counts
    }
}

/// DynamoDB Local may respond to a part of a request, with the status 500 or without an error code.
fn is_of_a_cut(error: &DynamoDbError) -> bool {
    matches!(error, DynamoDbError::ConnectionLost(_) | DynamoDbError::Unavailable { .. })
}

/// Without retries, the caller learns what is known.
#[test]
fn what_is_told_of_a_change_that_was_cut_is_true() {
    let Some(server) = shared() else { return };
    wait(async {
        let scene = Scene::set(server, &DynamoDbOptions::new().attempts(1)).await;
        for direction in [ToServer, ToClient] {
            for (applied, unknown) in [
                scene.create(direction).await,
                scene.reset(direction).await,
                scene.rename(direction).await,
            ] {
                assert!(applied > 0 && unknown > 0, "{direction:?}");
            }
        }
    });
}

/// With them, no cut keeps a change from being applied, and none is applied twice.
#[test]
fn a_change_that_was_cut_is_applied_once() {
    let Some(server) = shared() else { return };
    wait(async {
        let scene = Scene::set(server, &DynamoDbOptions::new()).await;
        for direction in [ToServer, ToClient] {
            for (applied, unknown) in [
                scene.create(direction).await,
                scene.reset(direction).await,
                scene.rename(direction).await,
            ] {
                assert!(applied > 3 && unknown == 0, "{direction:?}");
            }
        }
    });
}
