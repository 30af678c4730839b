//! Cuts connections at every point of an operation: see `tests/common/cut_scene.rs`.

use service_specific_credentials::{
    Error,
    store::{PostgresError, PostgresOptions, PostgresStore},
};
use tokio_postgres::Client;

use crate::{
    LEVELS,
    cut_scene::{Outcome, Scene, Subject},
    database::{check, client, shared, until, wait},
    proxy::Proxy,
};

/// A schema, observed through a direct connection.
struct Observed {
    client: Client,
    /// The name that connections through the proxy tell the server.
    application: String,
}

impl Subject for Observed {
    type Store = PostgresStore;

    const STEP: usize = 29;

    fn outcome(error: &Error) -> Outcome {
        let Error::OutcomeUnknown { source, .. } = error else { panic!("{error:?}") };
        match source.get_ref().downcast_ref().unwrap() {
            PostgresError::Unknown(cause) => {
                assert!(matches!(**cause, PostgresError::ConnectionLost), "{cause:?}");
                Outcome::Unknown
            }
            // The connection was cut before a change was sent.
            PostgresError::ConnectionLost => Outcome::NotApplied,
            other => panic!("{other:?}"),
        }
    }

    async fn check(&self) {
        until("the server to be done", async || {
            let busy = "SELECT count(*) = 0 FROM pg_stat_activity \
                WHERE application_name = $1 AND state <> 'idle'";
            self.client.query_one(busy, &[&self.application]).await.unwrap().get(0)
        })
        .await;
        check(&self.client).await;
    }
}

#[test]
fn changes_on_a_cut_connection_are_atomic_and_reported_truthfully() {
    let Some(server) = shared() else { return };
    wait(async {
        for level in LEVELS {
            let space = server.space().await;
            let options = PostgresOptions::new().isolation(level);
            let direct = space.store(&options).await;
            let proxy = Proxy::start(space.port()).await;
            let behind = space.via(proxy.port()).url();
            let url = format!("{behind}&application_name={}", space.name);
            let options = options.max_connections(1);
            let behind = PostgresStore::connect_with(&options, &url).await.unwrap();
            let client = client(&space.url()).await;
            let subject = Observed { client, application: space.name };
            for counts in Scene::set(subject, proxy, behind, direct).await.cut_all().await {
                assert!(counts.applied > 0 && counts.unknown > 1, "{counts:?}");
                assert!(counts.bytes > 100, "{counts:?}");
            }
        }
    });
}
