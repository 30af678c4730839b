//! Loses a primary: every acknowledged change is on the standby that is promoted.
//!
//! Commits are acknowledged once one of two standbys has flushed them (`ANY 1`). The log is one
//! sequence, so the standby that has received more has everything that either has. That one is
//! promoted. Promoting the other could lose acknowledged changes.
//!
//! The callers have one URL of all three servers, and continue with the one that accepts writes.
//!
//! `SSC_FAILOVERS` sets the number of primaries that are lost. Default: 1.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use crate::common::{ACCOUNT, CODECOMMIT, name};
use crate::database::{Installation, Server, check, client, until, wait};
use crate::progress::Run;
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha20Rng};
use service_specific_credentials::{
    AsyncCredentialManager, CredentialId, Error, IssuedCredential, ServiceName, UserName,
    store::{PostgresError, PostgresOptions, PostgresStore, StoreError},
};

const CALLERS: usize = 16;
/// The number of changes that the new primary acknowledges before the end. Up to twice as many are
/// acknowledged before the old one is stopped.
const CHANGES: usize = 200;

type Manager = AsyncCredentialManager<PostgresStore>;

/// The acknowledged state of one caller.
#[derive(Default)]
struct Acknowledged {
    /// The last secret of each credential that exists, or `None` if it is uncertain.
    held: BTreeMap<CredentialId, Option<IssuedCredential>>,
    /// Credentials that may exist or not, because a response is missing.
    uncertain: Vec<CredentialId>,
    /// Credentials whose secrets must never authenticate again.
    revoked: Vec<IssuedCredential>,
}

/// The progress of all callers.
#[derive(Default)]
struct Progress {
    acknowledged: AtomicUsize,
    unknown: AtomicUsize,
    failed: AtomicUsize,
    enough: AtomicBool,
}

fn cause(error: &StoreError) -> &PostgresError {
    error.get_ref().downcast_ref().unwrap()
}

/// Creates, resets and deletes in a loop, until `progress` ends it.
async fn work(iam: Manager, user: UserName, progress: Arc<Progress>) -> Acknowledged {
    let codecommit: ServiceName = name(CODECOMMIT);
    let mut acknowledged = Acknowledged::default();
    let mut turn = 0_usize;
    while !progress.enough.load(SeqCst) {
        turn += 1;
        let known: Vec<CredentialId> = acknowledged.held.keys().cloned().collect();
        let result = if let Some(id) = acknowledged.uncertain.first().cloned() {
            // Delete it if it exists. The server that received the creation is gone by now, so a
            // credential that does not exist cannot appear later.
            match iam.delete(&user, &id).await {
                Ok(()) | Err(Error::NoSuchCredential { .. }) => {
                    acknowledged.uncertain.retain(|uncertain| *uncertain != id);
                    Ok(())
                }
                Err(Error::OutcomeUnknown { source, .. }) => Err(source),
                Err(Error::Store(error)) => Err(error),
                Err(error) => panic!("{error:?}"),
            }
        } else if known.len() < 2 {
            match iam.create(&user, &codecommit).await {
                Ok(issued) => {
                    acknowledged.held.insert(issued.id().clone(), Some(issued));
                    Ok(())
                }
                Err(Error::OutcomeUnknown { credential, source, .. }) => {
                    acknowledged.uncertain.push(credential.unwrap().id().clone());
                    Err(source)
                }
                Err(Error::Store(error)) => Err(error),
                Err(error) => panic!("{error:?}"),
            }
        } else if turn.is_multiple_of(5) {
            match iam.delete(&user, &known[0]).await {
                Ok(()) => {
                    acknowledged.revoked.extend(acknowledged.held.remove(&known[0]).flatten());
                    Ok(())
                }
                Err(Error::OutcomeUnknown { source, .. }) => {
                    acknowledged.held.remove(&known[0]);
                    acknowledged.uncertain.push(known[0].clone());
                    Err(source)
                }
                Err(Error::Store(error)) => Err(error),
                Err(error) => panic!("{error:?}"),
            }
        } else {
            let id = &known[turn % 2];
            match iam.reset(&user, id).await {
                Ok(issued) => {
                    acknowledged
                        .revoked
                        .extend(acknowledged.held.insert(id.clone(), Some(issued)).flatten());
                    Ok(())
                }
                Err(Error::OutcomeUnknown { credential: named, source, .. }) => {
                    assert_eq!(named.unwrap().id(), id);
                    // It exists, with the old secret or with one that was lost.
                    acknowledged.held.insert(id.clone(), None);
                    Err(source)
                }
                Err(Error::Store(error)) => Err(error),
                Err(error) => panic!("{error:?}"),
            }
        };
        match result {
            Ok(()) => {
                progress.acknowledged.fetch_add(1, SeqCst);
            }
            Err(error) => {
                let (error, counter) = match cause(&error) {
                    PostgresError::Unknown(error) => (&**error, &progress.unknown),
                    error => (error, &progress.failed),
                };
                counter.fetch_add(1, SeqCst);
                assert!(error.is_retryable(), "{error:?}");
            }
        }
    }
    acknowledged
}

/// Checks that everything acknowledged is there.
async fn check_acknowledged(iam: &Manager, user: &UserName, acknowledged: &Acknowledged) {
    let codecommit: ServiceName = name(CODECOMMIT);
    let authenticates = async |issued: &IssuedCredential| {
        let (login, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
        iam.authenticate(&codecommit, login, secret).await.is_ok()
    };
    let listed = iam.list(user).await.unwrap();
    assert!(listed.len() <= 2);
    for (id, issued) in &acknowledged.held {
        let there = listed.iter().filter(|credential| credential.id() == id).count();
        assert_eq!(there, 1, "{id} of {user} was acknowledged");
        if let Some(issued) = issued {
            assert!(authenticates(issued).await, "the secret of {id} of {user} was acknowledged");
        }
    }
    for credential in &listed {
        let known = acknowledged.held.contains_key(credential.id());
        assert!(
            known || acknowledged.uncertain.contains(credential.id()),
            "{credential:?} is unknown"
        );
    }
    for revoked in &acknowledged.revoked {
        assert!(
            !authenticates(revoked).await,
            "an old secret of {} of {user} authenticates",
            revoked.id()
        );
    }
}

/// The end of a standby's log, once it has lost its primary.
async fn received(standby: &Server) -> u64 {
    let client = standby.client().await;
    until("the standby to lose its primary", async || {
        let gone = "SELECT count(*) = 0 FROM pg_stat_wal_receiver WHERE status = 'streaming'";
        client.query_one(gone, &[]).await.unwrap().get(0)
    })
    .await;
    let end = "SELECT (pg_last_wal_receive_lsn() - '0/0'::pg_lsn)::bigint";
    u64::try_from(client.query_one(end, &[]).await.unwrap().get::<_, i64>(0)).unwrap()
}

/// One failover.
struct Failover {
    /// The time from the loss of the primary to the next acknowledged change.
    interruption: Duration,
    /// The part of it after the promotion.
    promoted: Duration,
    acknowledged: usize,
    unknown: usize,
    /// Operations that failed and were known not to be applied.
    failed: usize,
}

/// Loses the primary after `changes` acknowledged changes.
async fn fail_over(installation: &Installation, changes: usize) -> Failover {
    // The disk's flush costs time and is not under test: no power is lost.
    let settings = ["fsync=off", "wal_level=replica", "hot_standby=on", "log_min_messages=log"];
    let primary = installation.server(&settings);
    let standbys = ["one", "two"].map(|name| installation.standby(&primary, name, &settings));
    let control = primary.client().await;
    let quorum = "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (one, two)'";
    control.batch_execute(quorum).await.unwrap();
    control.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    until("both standbys to be synchronous", async || {
        let asked = "SELECT count(*) = 2 FROM pg_stat_replication WHERE sync_state = 'quorum'";
        control.query_one(asked, &[]).await.unwrap().get(0)
    })
    .await;

    // The URL includes the standbys, which are skipped while they are read-only.
    let ports = [standbys[0].port(), primary.port(), standbys[1].port()];
    let [one, two, three] = ports;
    let url = format!(
        "postgres://postgres@127.0.0.1:{one},127.0.0.1:{two},127.0.0.1:{three}/postgres\
         ?sslmode=disable"
    );
    let options =
        PostgresOptions::new().max_connections(CALLERS).response_timeout(Duration::from_secs(20));
    let store = PostgresStore::connect_with(&options, &url).await.unwrap();
    store.migrate().await.unwrap();
    let iam = AsyncCredentialManager::new(name(ACCOUNT), store);
    let users: Vec<UserName> = (0..CALLERS).map(|caller| name(&format!("user-{caller}"))).collect();
    for user in &users {
        iam.register_user(user).await.unwrap();
    }

    let progress = Arc::new(Progress::default());
    let callers: Vec<_> = users
        .iter()
        .map(|user| tokio::spawn(work(iam.clone(), user.clone(), Arc::clone(&progress))))
        .collect();
    let acknowledged = || progress.acknowledged.load(SeqCst);
    until("changes before", async || acknowledged() >= changes).await;

    let lost = Instant::now();
    primary.crash();
    let ends = [received(&standbys[0]).await, received(&standbys[1]).await];
    let (next, other) = if ends[0] >= ends[1] { (0, 1) } else { (1, 0) };
    let before = acknowledged();
    let promoted = client(&standbys[next].url()).await;
    // The promoted server requires a synchronous standby with one of the same names, as the old
    // primary did.
    promoted.batch_execute("SELECT pg_promote()").await.unwrap();
    let promotion = Instant::now();
    let follow = client(&standbys[other].url()).await;
    let from = standbys[next].conninfo(["one", "two"][other]);
    follow.batch_execute(&format!("ALTER SYSTEM SET primary_conninfo = '{from}'")).await.unwrap();
    follow.batch_execute("SELECT pg_reload_conf()").await.unwrap();

    until("the first change after", async || acknowledged() > before).await;
    let (interruption, promoted_for) = (lost.elapsed(), promotion.elapsed());
    until("changes after", async || acknowledged() >= before + CHANGES).await;
    progress.enough.store(true, SeqCst);
    let mut revoked = 0;
    for (user, caller) in users.iter().zip(callers) {
        let acknowledged = caller.await.unwrap();
        check_acknowledged(&iam, user, &acknowledged).await;
        revoked += acknowledged.revoked.len();
    }
    assert!(revoked > CHANGES / 2);
    assert_eq!(check(&promoted).await.len(), CALLERS);
    let counts = [&progress.acknowledged, &progress.unknown, &progress.failed];
    let [acknowledged, unknown, failed] = counts.map(|count| count.load(SeqCst));
    assert!(unknown > 0, "no change was in flight when the primary was stopped");
    Failover { interruption, promoted: promoted_for, acknowledged, unknown, failed }
}

#[test]
fn acknowledged_changes_survive_the_loss_of_the_primary() {
    let Some(installation) = Installation::find() else { return };
    let run = Run::start("failovers under 16 callers", "SSC_FAILOVERS", 1);
    let mut rng = ChaCha20Rng::seed_from_u64(run.seed());
    let mut failovers = Vec::new();
    while !run.is_done() {
        let changes = rng.random_range(CHANGES / 2..CHANGES * 2);
        let failover = wait(fail_over(&installation, changes));
        let Failover { interruption, promoted, acknowledged, unknown, failed } = &failover;
        run.report(format_args!(
            "first change {interruption:.2?} after the loss, {promoted:.2?} after the promotion; \
             {acknowledged} acknowledged, {unknown} unknown, {failed} failed"
        ));
        failovers.push(failover);
        run.advance(1);
    }
    failovers.sort_by_key(|failover| failover.interruption);
    let median = failovers[failovers.len() / 2].interruption;
    let longest = failovers[failovers.len() - 1].interruption;
    let sum = |count: fn(&Failover) -> usize| failovers.iter().map(count).sum::<usize>();
    run.finish(format_args!(
        "0 changes lost; {} acknowledged, {} unknown outcomes; first change after the loss: median \
         {median:.2?}, longest {longest:.2?}",
        sum(|failover| failover.acknowledged),
        sum(|failover| failover.unknown),
    ));
}
