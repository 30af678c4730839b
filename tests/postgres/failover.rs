//! A primary that is lost: what was acknowledged is there on the standby that takes its place.
//!
//! Commits are acknowledged once one of two standbys has them on its disk (`ANY 1`). The log is one
//! sequence, and so the standby that has the most of it has everything that any of the two has:
//! that is the one to promote. Promoting the other one could lose what was acknowledged.
//!
//! The callers know all three servers by one URL, and go on against whichever takes changes.
//!
//! `SSC_FAILOVER_ROUNDS` sets how often. Without it, once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use crate::common::{ACCOUNT, CODECOMMIT, name};
use crate::database::{Installation, Server, check, client, until, wait};
use service_specific_credentials::{
    AsyncCredentialManager, CredentialId, Error, IssuedCredential, ServiceName, UserName,
    store::{PostgresError, PostgresOptions, PostgresStore, StoreError},
};

const CALLERS: usize = 16;
/// How many changes are acknowledged before the primary is stopped, and by the new one afterwards.
const CHANGES: usize = 200;

type Manager = AsyncCredentialManager<PostgresStore>;

/// What one caller was told.
#[derive(Default)]
struct Notes {
    /// Of each credential that is known to be there, the last secret that was handed out, if it is
    /// certain that it is the last.
    held: BTreeMap<CredentialId, Option<IssuedCredential>>,
    /// Of those for which an answer is missing: it may be there or not.
    doubtful: Vec<CredentialId>,
    /// What must never open anything again.
    void: Vec<IssuedCredential>,
}

/// What all callers see.
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

/// Creates, resets and deletes, over and over, as long as there is a need.
async fn work(iam: Manager, user: UserName, progress: Arc<Progress>) -> Notes {
    let codecommit: ServiceName = name(CODECOMMIT);
    let mut notes = Notes::default();
    let mut turn = 0_usize;
    while !progress.enough.load(SeqCst) {
        turn += 1;
        let known: Vec<CredentialId> = notes.held.keys().cloned().collect();
        let result = if let Some(id) = notes.doubtful.first().cloned() {
            // It is deleted, if it is there. The server that it was sent to is gone by now, and so
            // what is not there will not be there later.
            match iam.delete(&user, &id).await {
                Ok(()) | Err(Error::NoSuchCredential { .. }) => {
                    notes.doubtful.retain(|doubtful| *doubtful != id);
                    Ok(())
                }
                Err(Error::OutcomeUnknown { source, .. }) => Err(source),
                Err(Error::Store(error)) => Err(error),
                Err(error) => panic!("{error:?}"),
            }
        } else if known.len() < 2 {
            match iam.create(&user, &codecommit).await {
                Ok(issued) => {
                    notes.held.insert(issued.id().clone(), Some(issued));
                    Ok(())
                }
                Err(Error::OutcomeUnknown { id, source, .. }) => {
                    notes.doubtful.push(id.unwrap());
                    Err(source)
                }
                Err(Error::Store(error)) => Err(error),
                Err(error) => panic!("{error:?}"),
            }
        } else if turn.is_multiple_of(5) {
            match iam.delete(&user, &known[0]).await {
                Ok(()) => {
                    notes.void.extend(notes.held.remove(&known[0]).flatten());
                    Ok(())
                }
                Err(Error::OutcomeUnknown { source, .. }) => {
                    notes.held.remove(&known[0]);
                    notes.doubtful.push(known[0].clone());
                    Err(source)
                }
                Err(Error::Store(error)) => Err(error),
                Err(error) => panic!("{error:?}"),
            }
        } else {
            let id = &known[turn % 2];
            match iam.reset(&user, id).await {
                Ok(issued) => {
                    notes.void.extend(notes.held.insert(id.clone(), Some(issued)).flatten());
                    Ok(())
                }
                Err(Error::OutcomeUnknown { id: named, source, .. }) => {
                    assert_eq!(named.as_ref(), Some(id));
                    // It is there, with the old secret or with one that nobody has.
                    notes.held.insert(id.clone(), None);
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
    notes
}

/// Looks whether everything that was said holds.
async fn judge(iam: &Manager, user: &UserName, notes: &Notes) {
    let codecommit: ServiceName = name(CODECOMMIT);
    let opens = async |issued: &IssuedCredential| {
        let (login, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
        iam.authenticate(&codecommit, login, secret).await.is_ok()
    };
    let listed = iam.list(user).await.unwrap();
    assert!(listed.len() <= 2);
    for (id, issued) in &notes.held {
        let there = listed.iter().filter(|credential| credential.id() == id).count();
        assert_eq!(there, 1, "{id} of {user} was acknowledged");
        if let Some(issued) = issued {
            assert!(opens(issued).await, "the secret of {id} of {user} was acknowledged");
        }
    }
    for credential in &listed {
        let known = notes.held.contains_key(credential.id());
        assert!(known || notes.doubtful.contains(credential.id()), "{credential:?} is nobody's");
    }
    for void in &notes.void {
        assert!(!opens(void).await, "an old secret of {} of {user} opens", void.id());
    }
}

/// How far a standby's log goes, once nothing more comes in.
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

async fn fail_over(installation: &Installation) {
    // Flushing costs what the disk makes it cost, and is not what is tested: nothing loses power.
    let settings = ["fsync=off", "wal_level=replica", "hot_standby=on", "log_min_messages=log"];
    let primary = installation.server(&settings);
    let standbys = ["one", "two"].map(|name| installation.standby(&primary, name, &settings));
    let control = primary.client().await;
    let quorum = "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (one, two)'";
    control.batch_execute(quorum).await.unwrap();
    control.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    until("both standbys to be asked", async || {
        let asked = "SELECT count(*) = 2 FROM pg_stat_replication WHERE sync_state = 'quorum'";
        control.query_one(asked, &[]).await.unwrap().get(0)
    })
    .await;

    // The standbys are tried too, and passed over as long as they take no changes.
    let ports = [standbys[0].port(), primary.port(), standbys[1].port()];
    let [one, two, three] = ports;
    let url = format!(
        "postgres://postgres@127.0.0.1:{one},127.0.0.1:{two},127.0.0.1:{three}/postgres\
         ?sslmode=disable"
    );
    let options =
        PostgresOptions::new().max_connections(CALLERS).answer_timeout(Duration::from_secs(20));
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
    until("changes before", async || acknowledged() >= CHANGES).await;

    primary.crash();
    let ends = [received(&standbys[0]).await, received(&standbys[1]).await];
    let (next, other) = if ends[0] >= ends[1] { (0, 1) } else { (1, 0) };
    let before = acknowledged();
    let promoted = client(&standbys[next].url()).await;
    // It asks for a standby as the old primary did, by the names that those have.
    promoted.batch_execute("SELECT pg_promote()").await.unwrap();
    let follow = client(&standbys[other].url()).await;
    let from = standbys[next].conninfo(["one", "two"][other]);
    follow.batch_execute(&format!("ALTER SYSTEM SET primary_conninfo = '{from}'")).await.unwrap();
    follow.batch_execute("SELECT pg_reload_conf()").await.unwrap();

    until("changes after", async || acknowledged() >= before + CHANGES).await;
    progress.enough.store(true, SeqCst);
    let mut changes = 0;
    for (user, caller) in users.iter().zip(callers) {
        let notes = caller.await.unwrap();
        judge(&iam, user, &notes).await;
        changes += notes.void.len();
    }
    assert!(changes > CHANGES / 2);
    assert_eq!(check(&promoted).await.len(), CALLERS);
    let counts = [&progress.acknowledged, &progress.unknown, &progress.failed];
    let [made, unknown, failed] = counts.map(|count| count.load(SeqCst));
    println!("{made} changes acknowledged, {unknown} outcomes unknown, {failed} failures to read");
    assert!(unknown > 0, "the primary was stopped between two changes");
}

#[test]
fn what_was_acknowledged_survives_the_loss_of_the_primary() {
    let rounds = std::env::var("SSC_FAILOVER_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    let Some(installation) = Installation::find() else { return };
    for _ in 0..rounds {
        wait(fail_over(&installation));
    }
}
