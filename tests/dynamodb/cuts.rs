//! Cuts connections at every point of an operation: see `tests/common/cut_scene.rs`.

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
            // The look-up was cut.
            Error::Store(error) => (error, Outcome::NotApplied),
            other => panic!("{other:?}"),
        };
        let cause = match (error.get_ref().downcast_ref().unwrap(), outcome) {
            (DynamoDbError::Unknown(cause), Outcome::Unknown) => cause,
            (cause, Outcome::NotApplied) => cause,
            (other, _) => panic!("{other:?}"),
        };
        // DynamoDB Local may respond to a partly read request with the status 500, or without an
        // error code.
        let is_of_a_cut =
            matches!(cause, DynamoDbError::ConnectionLost(_) | DynamoDbError::Unavailable { .. });
        assert!(is_of_a_cut, "{cause:?}");
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

/// Without retries, the reported outcome is true.
#[test]
fn what_is_told_of_a_change_that_was_cut_is_true() {
    let Some(server) = shared() else { return };
    let counts = wait(cut_all(server, &DynamoDbOptions::new().attempts(1)));
    assert!(counts.iter().all(|of| of.applied > 0 && of.unknown > 0), "{counts:?}");
}

/// With retries, every change is applied exactly once despite a cut.
#[test]
fn a_change_that_was_cut_is_applied_once() {
    let Some(server) = shared() else { return };
    let counts = wait(cut_all(server, &DynamoDbOptions::new()));
    assert!(counts.iter().all(|of| of.applied > 3 && of.unknown == 0), "{counts:?}");
}
