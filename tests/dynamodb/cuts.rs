//! Cuts the connection at every point of an operation: see `tests/common/cut_scene.rs`.

use service_specific_credentials::{
    Error,
    store::{DynamoDbError, DynamoDbOptions, DynamoDbStore},
};

use crate::{
    cut_scene::{Counts, Outcome, Scene, Subject},
    local::{Server, Table, shared, wait},
    proxy::Proxy,
};

impl Subject for Table {
    type Store = DynamoDbStore;

    const STEP: usize = 97;

    fn outcome(error: &Error) -> Outcome {
        let (error, outcome) = match error {
            Error::OutcomeUnknown { source, .. } => (source, Outcome::Unknown),
            // The connection was cut during the look-up.
            Error::Store(error) => (error, Outcome::NotApplied),
            other => panic!("{other:?}"),
        };
        let cause = match (error.get_ref().downcast_ref().unwrap(), outcome) {
            (DynamoDbError::Unknown(cause), Outcome::Unknown) => cause,
            (cause, Outcome::NotApplied) => cause,
            (other, _) => panic!("{other:?}"),
        };
        // DynamoDB Local may respond to an incomplete request with the status 500 or without an
        // error code.
        let is_expected =
            matches!(cause, DynamoDbError::ConnectionLost(_) | DynamoDbError::Unavailable { .. });
        assert!(is_expected, "{cause:?}");
        outcome
    }

    async fn check(&self) {
        Table::check(self).await;
    }
}

async fn cut_all(server: &Server, options: &DynamoDbOptions) -> Vec<Counts> {
    let table = server.table().await;
    let proxy = Proxy::start(table.port).await;
    let behind = table.behind(proxy.port()).store_with(options);
    let direct = table.store();
    let counts = Scene::set(table, proxy, behind, direct).await.cut_all().await;
    assert!(counts.iter().all(|counts| counts.bytes > 500), "{counts:?}");
    counts
}

/// Without retries, the outcome of some changes is unknown.
#[test]
fn changes_on_a_cut_connection_report_the_correct_outcome() {
    let Some(server) = shared() else { return };
    let counts = wait(cut_all(server, &DynamoDbOptions::new().attempts(1)));
    assert!(counts.iter().all(|of| of.applied > 0 && of.unknown > 0), "{counts:?}");
}

#[test]
fn retries_apply_a_change_on_a_cut_connection_exactly_once() {
    let Some(server) = shared() else { return };
    let counts = wait(cut_all(server, &DynamoDbOptions::new()));
    assert!(counts.iter().all(|of| of.applied > 3 && of.unknown == 0), "{counts:?}");
}
