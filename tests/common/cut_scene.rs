//! Cuts connections at every point of an operation: the change is atomic, and the reported outcome
//! is true.
//!
//! Only every n-th byte is tried. `SSC_CUT_STEP` sets n; with 1, every byte is tried.

#![allow(clippy::future_not_send, reason = "a test blocks on its future")]

use service_specific_credentials::{
    AsyncCredentialManager, Credential, Error, IssuedCredential, UserName, store::AsyncStore,
};

use crate::{
    common::{ACCOUNT, CODECOMMIT, name},
    proxy::{
        Direction::{self, ToClient, ToServer},
        Proxy,
    },
};

/// The reported outcome of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Applied,
    NotApplied,
    Unknown,
}

/// What a store reports of a cut connection, and where it keeps the users.
pub(crate) trait Subject {
    type Store: AsyncStore + Clone;

    /// The default of `SSC_CUT_STEP`.
    const STEP: usize;

    /// The outcome that an error reports: *not applied* or *unknown*. Panics if the error is not
    /// that of a cut connection.
    fn outcome(error: &Error) -> Outcome;

    /// Waits until no change is in progress, and checks that the users are consistent.
    async fn check(&self);
}

/// A manager behind a proxy, and one with a direct connection.
pub(crate) struct Scene<T: Subject> {
    subject: T,
    proxy: Proxy,
    cut: AsyncCredentialManager<T::Store>,
    direct: AsyncCredentialManager<T::Store>,
    user: UserName,
}

/// The changes of one kind, with the connection cut in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) applied: usize,
    pub(crate) unknown: usize,
    /// The number of bytes of an operation that was not cut, rounded up.
    pub(crate) bytes: usize,
}

impl<T: Subject> Scene<T> {
    /// `behind` connects through the proxy.
    pub(crate) async fn set(subject: T, proxy: Proxy, behind: T::Store, direct: T::Store) -> Self {
        let [cut, direct] =
            [behind, direct].map(|store| AsyncCredentialManager::new(name(ACCOUNT), store));
        let user: UserName = name("anika");
        direct.register_user(&user).await.unwrap();
        Self { subject, proxy, cut, direct, user }
    }

    /// Cuts each kind of change in both directions.
    pub(crate) async fn cut_all(&self) -> Vec<Counts> {
        let mut counts = Vec::new();
        for direction in [ToServer, ToClient] {
            counts.push(self.create(direction).await);
            counts.push(self.reset(direction).await);
            counts.push(self.rename(direction).await);
        }
        counts
    }

    /// Repeats `work`, cut at one byte after another, until it is not cut. `verify` verifies each
    /// result.
    async fn cut_everywhere<R>(
        &self,
        direction: Direction,
        mut prepare: impl AsyncFnMut(),
        mut work: impl AsyncFnMut() -> Result<R, Error>,
        mut verify: impl AsyncFnMut(Outcome, Result<R, Error>),
    ) -> Counts {
        let step = std::env::var("SSC_CUT_STEP").map_or(T::STEP, |step| step.parse().unwrap());
        let mut counts = Counts::default();
        loop {
            prepare().await;
            // The connection is established.
            self.cut.user(&self.user).await.unwrap();
            self.proxy.cut_after(direction, counts.bytes);
            let result = work().await;
            let was_cut = self.proxy.was_cut();
            self.subject.check().await;
            let outcome = result.as_ref().err().map_or(Outcome::Applied, T::outcome);
            counts.applied += usize::from(outcome == Outcome::Applied);
            counts.unknown += usize::from(outcome == Outcome::Unknown);
            verify(outcome, result).await;
            if !was_cut {
                assert_eq!(outcome, Outcome::Applied);
                return counts;
            }
            counts.bytes += step;
        }
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

    async fn create(&self, direction: Direction) -> Counts {
        let clear = async || self.clear().await;
        let create = async || self.cut.create(&self.user, &name(CODECOMMIT)).await;
        let counts = self.cut_everywhere(direction, clear, create, async |outcome, result| {
            let listed = self.list().await;
            match (outcome, result) {
                (Outcome::Applied, Ok(issued)) => {
                    assert_eq!(listed, [issued.credential().clone()]);
                    assert!(self.authenticates(&issued).await);
                }
                (Outcome::NotApplied, _) => assert!(listed.is_empty()),
                (_, Err(Error::OutcomeUnknown { credential, .. })) => {
                    let unknown = credential.unwrap();
                    assert!(listed.iter().all(|credential| credential.id() == unknown.id()));
                    assert!(listed.len() < 2);
                }
                _ => unreachable!(),
            }
        });
        let counts = counts.await;
        self.clear().await;
        counts
    }

    async fn reset(&self, direction: Direction) -> Counts {
        let mut old = Some(self.direct.create(&self.user, &name(CODECOMMIT)).await.unwrap());
        let id = old.as_ref().unwrap().id().clone();
        let reset = async || self.cut.reset(&self.user, &id).await;
        let nothing = async || {};
        let counts = self.cut_everywhere(direction, nothing, reset, async |outcome, result| {
            let old_authenticates = match &old {
                Some(old) => self.authenticates(old).await,
                None => false,
            };
            match (outcome, result) {
                (Outcome::Applied, Ok(issued)) => {
                    assert!(!old_authenticates && self.authenticates(&issued).await);
                    old = Some(issued);
                }
                (Outcome::NotApplied, _) => assert!(old_authenticates || old.is_none()),
                (_, Err(Error::OutcomeUnknown { credential: named, .. })) => {
                    assert_eq!(*named.unwrap().id(), id);
                    // The new secret is lost. If the change was applied, the old one is invalid
                    // too.
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

    async fn rename(&self, direction: Direction) -> Counts {
        let (here, there): (UserName, UserName) = (self.user.clone(), name("beate"));
        let back = async || {
            let renamed = self.direct.rename_user(&there, &here).await;
            assert!(matches!(renamed, Ok(_) | Err(Error::NoSuchUser { .. })));
        };
        let issued = self.direct.create(&here, &name(CODECOMMIT)).await.unwrap();
        let rename = async || self.cut.rename_user(&here, &there).await;
        let counts = self.cut_everywhere(direction, back, rename, async |outcome, _| {
            let (old, new) = (self.direct.user(&here).await, self.direct.user(&there).await);
            assert_ne!(old.is_ok(), new.is_ok());
            match outcome {
                Outcome::Applied => assert!(new.is_ok()),
                Outcome::NotApplied => assert!(old.is_ok()),
                Outcome::Unknown => {}
            }
            assert!(self.authenticates(&issued).await);
        });
        let counts = counts.await;
        back().await;
        self.clear().await;
        counts
    }
}
