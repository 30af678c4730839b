//! Failures of DynamoDB and of the connection: which requests are retried, and which error a change
//! reports. Every change is applied at most once.

use std::{error::Error as StdError, fmt::Write as _, time::Duration};

use aws_sdk_dynamodb::{
    primitives::Blob,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
        ScalarAttributeType,
    },
};
use service_specific_credentials::{
    AsyncCredentialManager, AuthenticationError, Error, IssuedCredential, ListUsersRequest,
    MaxItems, MemoryStore, Policy, UserName,
    store::{
        AsyncStore as _, CopyError, DynamoDbError, DynamoDbOptions, DynamoDbStore, Key, StoreError,
        SyncAdapter, copy_users,
    },
};

use crate::{
    common::{ACCOUNT, CODECOMMIT, name},
    gateway::{Action, Gateway, Response},
    local::{Item, Table, client, shared, until, wait},
};

type Manager = AsyncCredentialManager<DynamoDbStore>;

const THROTTLED: Response = Response::new(400, "ProvisionedThroughputExceededException");
const LIMITED: Response = Response::new(400, "ThrottlingException");
const CONFLICT: Response = Response::new(400, "TransactionConflictException");
const IN_PROGRESS: Response = Response::new(400, "TransactionInProgressException");
const BROKEN: Response = Response::new(500, "InternalServerError");
const UNAVAILABLE: Response = Response::new(503, "ServiceUnavailable");
/// An error of an intermediary: it has no error code of DynamoDB.
const INTERMEDIARY: Response = Response::new(400, "");

/// A user with a credential, in a table behind a gateway.
struct Setup {
    table: Table,
    gateway: Gateway,
    /// Connects through the gateway.
    iam: Manager,
    direct: Manager,
    user: UserName,
    issued: IssuedCredential,
}

impl Setup {
    async fn start(options: &DynamoDbOptions) -> Option<Self> {
        let table = shared()?.table().await;
        let gateway = Gateway::start(table.port).await;
        let direct = AsyncCredentialManager::new(name(ACCOUNT), table.store());
        let store = table.behind(gateway.port()).store_with(options);
        let iam = AsyncCredentialManager::new(name(ACCOUNT), store);
        let user: UserName = name("anika");
        direct.register_user(&user).await.unwrap();
        let issued = direct.create(&user, &name(CODECOMMIT)).await.unwrap();
        Some(Self { table, gateway, iam, direct, user, issued })
    }

    async fn authenticates(&self, issued: &IssuedCredential) -> bool {
        let (login, secret) = (issued.service_user_name().as_str(), issued.secret().expose());
        self.direct.authenticate(&name(CODECOMMIT), login, secret).await.is_ok()
    }

    /// The number of changes of the user since the registration.
    async fn revision(&self) -> u64 {
        let records = self.table.check().await;
        assert_eq!(records.len(), 1);
        records[0].revision().count()
    }
}

fn cause(error: &StoreError) -> &DynamoDbError {
    error.get_ref().downcast_ref().unwrap()
}

/// The store's error for a change.
fn commit_error<T>(result: Result<T, Error>) -> StoreError {
    match result.map(drop).unwrap_err() {
        Error::OutcomeUnknown { source, .. } => source,
        error => panic!("{error:?}"),
    }
}

/// The store's error for a read.
fn read_error<T>(result: Result<T, Error>) -> StoreError {
    match result.map(drop).unwrap_err() {
        Error::Store(error) => error,
        error => panic!("{error:?}"),
    }
}

/// The `Display` and `Debug` output of an error and its sources.
fn formatted(error: &dyn StdError) -> String {
    let mut output = format!("{error} {error:?} {error:#?}");
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(output, " {cause} {cause:?}");
        next = cause.source();
    }
    output
}

fn once() -> DynamoDbOptions {
    DynamoDbOptions::new().attempts(1)
}

#[test]
fn reads_are_retried_a_limited_number_of_times() {
    wait(async {
        let Some(setup) = Setup::start(&DynamoDbOptions::new().attempts(4)).await else { return };
        let actions = [
            Action::Respond(THROTTLED),
            Action::Respond(LIMITED),
            Action::Respond(BROKEN),
            Action::Respond(UNAVAILABLE),
            Action::Respond(INTERMEDIARY),
            Action::Close,
            Action::ForwardThenClose,
        ];
        for operation in ["GetItem", "TransactGetItems", "Query", "BatchGetItem", "Scan"] {
            let read = async || match operation {
                "GetItem" | "TransactGetItems" => setup.iam.user(&setup.user).await.map(drop),
                "Scan" => setup.iam.store().accounts().await.map(drop).map_err(Error::from),
                _ => setup
                    .iam
                    .list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
                    .await
                    .map(drop),
            };
            for action in actions {
                setup.gateway.inject(operation, [action; 3]);
                setup.gateway.take();
                read().await.unwrap();
                let sent = setup.gateway.operations();
                let repeated = sent.iter().filter(|sent| *sent == operation).count();
                let once = if operation == "Query" { 8 } else { 1 };
                assert_eq!(repeated, once + 3, "{operation} {action:?}");

                setup.gateway.inject(operation, vec![action; 100]);
                let error = read_error(read().await);
                let expected = match action {
                    Action::Respond(THROTTLED | LIMITED) => {
                        matches!(cause(&error), DynamoDbError::Throttled { .. })
                    }
                    Action::Respond(_) => {
                        matches!(cause(&error), DynamoDbError::Unavailable { .. })
                    }
                    _ => matches!(cause(&error), DynamoDbError::ConnectionLost(_)),
                };
                assert!(expected && cause(&error).is_retryable(), "{operation} {error:?}");
                setup.gateway.forward_all();
            }
        }
        // Another transaction on the item is in progress.
        let conflict = Action::Respond(Response::cancelled(&["TransactionConflict"]));
        setup.gateway.inject("TransactGetItems", [conflict; 3]);
        setup.iam.user(&setup.user).await.unwrap();
        setup.gateway.inject("TransactGetItems", vec![conflict; 100]);
        let error = read_error(setup.iam.user(&setup.user).await);
        assert!(matches!(cause(&error), DynamoDbError::Contended), "{error:?}");
        assert!(cause(&error).is_retryable());
    });
}

#[test]
fn unprocessed_keys_of_a_batch_are_retried() {
    wait(async {
        let Some(setup) = Setup::start(&DynamoDbOptions::new().attempts(4)).await else { return };
        for number in 0..150 {
            setup.direct.register_user(&name(&format!("user-{number:03}"))).await.unwrap();
        }
        // DynamoDB Local leaves no key unprocessed unless the response has 16 MB.
        let process_at_most = |limit: usize| {
            move |operation: &str, _: &serde_json::Value| match operation {
                "BatchGetItem" => Action::ForwardKeys(limit),
                _ => Action::Forward,
            }
        };
        let all = ListUsersRequest::new().max_items(MaxItems::new(1000).unwrap());
        for limit in [1, 7, 99] {
            setup.gateway.decide(process_at_most(limit));
            let users = setup.iam.list_users_page(&all).await.unwrap();
            assert_eq!(users.items.len(), 151, "{limit}");
        }
        // Three responses in a row without an item: the fourth attempt succeeds.
        setup.gateway.inject("BatchGetItem", [Action::ForwardKeys(0); 3]);
        assert_eq!(setup.iam.list_users_page(&all).await.unwrap().items.len(), 151);
        setup.gateway.decide(process_at_most(0));
        let error = read_error(setup.iam.list_users_page(&all).await);
        assert!(matches!(cause(&error), DynamoDbError::Throttled { .. }), "{error:?}");
    });
}

/// The failed attempts were not executed. The change is applied once.
#[test]
fn throttled_and_conflicting_changes_are_retried() {
    wait(async {
        let Some(setup) = Setup::start(&DynamoDbOptions::new().attempts(4)).await else { return };
        let cancelled = |reasons| Action::Respond(Response::cancelled(reasons));
        let mut revision = setup.revision().await;
        for action in [
            Action::Respond(THROTTLED),
            Action::Respond(LIMITED),
            Action::Respond(CONFLICT),
            Action::Respond(UNAVAILABLE),
            Action::Respond(INTERMEDIARY),
            Action::Close,
        ] {
            setup.gateway.inject("PutItem", [action; 3]);
            let _ = setup.iam.reset(&setup.user, setup.issued.id()).await.unwrap();
            revision += 1;
            assert_eq!(setup.revision().await, revision, "{action:?}");
        }
        for action in [
            Action::Respond(THROTTLED),
            Action::Respond(IN_PROGRESS),
            Action::Respond(BROKEN),
            Action::Close,
            cancelled(&["None", "TransactionConflict", "None"]),
            cancelled(&["TransactionConflict", "ConditionalCheckFailed", "None"]),
            cancelled(&["None", "ProvisionedThroughputExceeded", "None"]),
            cancelled(&["ThrottlingError", "None", "ConditionalCheckFailed"]),
        ] {
            setup.gateway.inject("TransactWriteItems", [action; 3]);
            setup.gateway.take();
            let created = setup.iam.create(&setup.user, &name(CODECOMMIT)).await.unwrap();
            let sent = setup.gateway.take();
            let written = sent.iter().filter(|sent| sent.operation == "TransactWriteItems");
            let tokens: Vec<_> = written.map(|sent| &sent.request["ClientRequestToken"]).collect();
            assert_eq!(tokens.len(), 4);
            assert!(tokens[0].is_string() && tokens.iter().all(|token| *token == tokens[0]));
            setup.iam.delete(&setup.user, created.id()).await.unwrap();
            revision += 2;
            assert_eq!(setup.revision().await, revision, "{action:?}");
        }
    });
}

/// If a later attempt was not executed, an earlier attempt may have been applied nevertheless.
#[test]
fn a_lost_response_before_other_failures_leaves_the_outcome_unknown() {
    wait(async {
        let Some(setup) = Setup::start(&DynamoDbOptions::new().attempts(3)).await else { return };
        let denied = Response::new(400, "AccessDeniedException");
        for last in [THROTTLED, denied] {
            let actions = [Action::Close, Action::Respond(THROTTLED), Action::Respond(last)];
            setup.gateway.inject("TransactWriteItems", actions);
            let created = setup.iam.create(&setup.user, &name(CODECOMMIT)).await;
            setup.gateway.inject("PutItem", actions);
            let reset = setup.iam.reset(&setup.user, setup.issued.id()).await;
            for error in [commit_error(created), commit_error(reset)] {
                let DynamoDbError::Unknown(lost) = cause(&error) else { panic!("{error:?}") };
                assert!(matches!(**lost, DynamoDbError::ConnectionLost(_)), "{lost:?}");
            }
        }
        // An attempt with the same token is in progress.
        setup.gateway.inject("TransactWriteItems", [Action::Respond(IN_PROGRESS); 3]);
        let created = setup.iam.create(&setup.user, &name(CODECOMMIT)).await;
        let error = commit_error(created);
        let DynamoDbError::Unknown(cause) = cause(&error) else { panic!("{error:?}") };
        assert!(matches!(**cause, DynamoDbError::Contended), "{cause:?}");
    });
}

/// The outcome of a change that was certainly not executed is not reported as unknown.
#[test]
fn a_change_that_was_not_executed_reports_the_cause() {
    wait(async {
        let Some(setup) = Setup::start(&DynamoDbOptions::new().attempts(3)).await else { return };
        let revision = setup.revision().await;
        let cancelled = |reasons| Action::Respond(Response::cancelled(reasons));
        let create = async || setup.iam.create(&setup.user, &name(CODECOMMIT)).await;
        for (action, contended) in [
            (Action::Respond(THROTTLED), false),
            (cancelled(&["None", "TransactionConflict"]), true),
            (cancelled(&["None", "ThrottlingError"]), false),
            // A transient reason takes precedence.
            (cancelled(&["ValidationError", "TransactionConflict"]), true),
        ] {
            setup.gateway.inject("TransactWriteItems", [action; 3]);
            let error = commit_error(create().await);
            match cause(&error) {
                DynamoDbError::Contended => assert!(contended),
                DynamoDbError::Throttled { .. } => assert!(!contended),
                _ => panic!("{error:?}"),
            }
            assert!(cause(&error).is_retryable());
        }
        setup.gateway.inject("PutItem", [Action::Respond(CONFLICT); 3]);
        let error = commit_error(setup.iam.reset(&setup.user, setup.issued.id()).await);
        assert!(matches!(cause(&error), DynamoDbError::Contended), "{error:?}");
        // A permanent error is not retried.
        let denied = Response::new(400, "AccessDeniedException");
        setup.gateway.inject("TransactWriteItems", [Action::Respond(denied)]);
        let error = commit_error(create().await);
        assert!(matches!(cause(&error), DynamoDbError::Denied { .. }), "{error:?}");
        let other = cancelled(&["None", "ValidationError"]);
        setup.gateway.inject("TransactWriteItems", [other]);
        let error = commit_error(create().await);
        let DynamoDbError::Service { code, .. } = cause(&error) else { panic!("{error:?}") };
        assert_eq!(code, "ValidationError");
        assert_eq!(setup.revision().await, revision);
    });
}

/// The change was applied, and its response was lost. A retry does not apply it again.
#[test]
fn a_change_is_applied_once_after_a_lost_response() {
    wait(async {
        let options = DynamoDbOptions::new().attempt_timeout(Duration::from_secs(1));
        let Some(setup) = Setup::start(&options).await else { return };
        let mut revision = setup.revision().await;
        let mut password = setup.issued.secret().expose().to_owned();
        for action in [
            Action::ForwardThenRespond(BROKEN),
            Action::ForwardThenRespond(UNAVAILABLE),
            Action::ForwardThenRespond(INTERMEDIARY),
            Action::ForwardThenClose,
            Action::ForwardThenHang,
        ] {
            setup.gateway.inject("PutItem", [action]);
            let renewed = setup.iam.reset(&setup.user, setup.issued.id()).await.unwrap();
            revision += 1;
            assert_eq!(setup.revision().await, revision, "{action:?}");
            assert!(setup.authenticates(&renewed).await && password != renewed.secret().expose());
            renewed.secret().expose().clone_into(&mut password);

            setup.gateway.inject("TransactWriteItems", [action, action]);
            let created = setup.iam.create(&setup.user, &name(CODECOMMIT)).await.unwrap();
            revision += 1;
            assert_eq!(setup.revision().await, revision, "{action:?}");
            assert!(setup.authenticates(&created).await);

            setup.gateway.inject("TransactWriteItems", [action]);
            setup.iam.delete(&setup.user, created.id()).await.unwrap();
            revision += 1;
            assert_eq!(setup.revision().await, revision, "{action:?}");

            // A registration and a removal.
            setup.gateway.inject("TransactWriteItems", [action]);
            setup.iam.register_user(&name("beate")).await.unwrap();
            setup.gateway.inject("TransactWriteItems", [action]);
            setup.iam.remove_user(&name("beate")).await.unwrap();
        }
    });
}

#[test]
fn an_attempt_that_arrives_after_its_retry_has_no_effect() {
    wait(async {
        let Some(setup) = Setup::start(&DynamoDbOptions::new()).await else { return };
        setup.gateway.inject("PutItem", [Action::Delay]);
        let renewed = setup.iam.reset(&setup.user, setup.issued.id()).await.unwrap();
        setup.gateway.inject("TransactWriteItems", [Action::Delay]);
        let created = setup.iam.create(&setup.user, &name(CODECOMMIT)).await.unwrap();
        setup.iam.delete(&setup.user, created.id()).await.unwrap();
        let revision = setup.revision().await;
        for _ in 0..2 {
            setup.gateway.release();
        }
        until("the delayed attempts", async || setup.gateway.delayed_responses() == 2).await;
        assert_eq!(setup.revision().await, revision);
        assert!(setup.authenticates(&renewed).await && !setup.authenticates(&created).await);
    });
}

/// A put was applied, its response was lost, and another change followed before the next attempt.
#[test]
fn a_lost_response_before_another_change_leaves_the_outcome_unknown() {
    wait(async {
        for removes in [false, true] {
            let Some(setup) = Setup::start(&DynamoDbOptions::new()).await else { return };
            let (iam, direct) = (&setup.iam, &setup.direct);
            let (user, id) = (&setup.user, setup.issued.id());
            let actions = [Action::ForwardThenRespond(BROKEN), Action::Hold(&Action::Forward)];
            setup.gateway.inject("PutItem", actions);
            let (reset, ()) = tokio::join!(iam.reset(user, id), async {
                until("the second attempt", async || setup.gateway.count("PutItem") == 2).await;
                if removes {
                    direct.remove_user_with_credentials(user).await.unwrap();
                } else {
                    let _ = direct.reset(user, id).await.unwrap();
                }
                setup.gateway.release();
            });
            let error = commit_error(reset);
            assert!(matches!(cause(&error), DynamoDbError::Unknown(_)), "{error:?}");
            assert!(!cause(&error).is_retryable());
        }
    });
}

/// The first attempt did not reach DynamoDB, and another change was applied before the retry.
#[test]
fn a_retry_after_another_change_is_stale() {
    wait(async {
        let Some(setup) = Setup::start(&DynamoDbOptions::new()).await else { return };
        let (iam, direct) = (&setup.iam, &setup.direct);
        let (user, id) = (&setup.user, setup.issued.id());
        let revision = setup.revision().await;
        setup.gateway.inject("PutItem", [Action::Close, Action::Hold(&Action::Forward)]);
        let (reset, ()) = tokio::join!(iam.reset(user, id), async {
            until("the second attempt", async || setup.gateway.count("PutItem") == 2).await;
            let _ = direct.reset(user, id).await.unwrap();
            setup.gateway.release();
        });
        // The change was stale, and the manager retried it.
        let renewed = reset.unwrap();
        assert_eq!(setup.revision().await, revision + 2);
        assert!(setup.authenticates(&renewed).await);
    });
}

#[test]
fn a_taken_key_after_a_lost_response_leaves_the_outcome_unknown() {
    wait(async {
        let Some(setup) = Setup::start(&DynamoDbOptions::new()).await else { return };
        setup.direct.register_user(&name("beate")).await.unwrap();
        let rename = async || setup.iam.rename_user(&setup.user, &name("beate")).await;
        assert!(matches!(rename().await, Err(Error::UserExists { .. })));
        setup.gateway.inject("TransactWriteItems", [Action::Close]);
        let error = commit_error(rename().await);
        assert!(matches!(cause(&error), DynamoDbError::Unknown(_)), "{error:?}");

        // The same for the registration of a copied user.
        let others = SyncAdapter::new(MemoryStore::new());
        let iam = AsyncCredentialManager::new(name(ACCOUNT), &others);
        iam.register_user(&name("Beate")).await.unwrap();
        let store = setup.table.behind(setup.gateway.port()).store();
        let copied = copy_users(&others, &store, name(ACCOUNT)).await;
        assert!(matches!(copied, Err(CopyError::Taken { .. })), "{copied:?}");
        setup.gateway.inject("TransactWriteItems", [Action::Close]);
        let copied = copy_users(&others, &store, name(ACCOUNT)).await;
        let Err(CopyError::Write(error)) = copied else { panic!("{copied:?}") };
        assert!(matches!(cause(&error), DynamoDbError::Unknown(_)), "{error:?}");
        assert_eq!(setup.table.check().await.len(), 2);
    });
}

/// DynamoDB reports that the condition of a key failed, and may not report whether the condition of
/// the record failed, too.
#[test]
fn the_revision_of_the_record_distinguishes_stale_from_key_taken() {
    const TAKEN: Action =
        Action::Respond(Response::cancelled(&["None", "ConditionalCheckFailed", "None"]));
    const STALE: Action = Action::Respond(Response::cancelled(&[
        "ConditionalCheckFailed",
        "ConditionalCheckFailed",
        "None",
    ]));
    wait(async {
        let Some(setup) = Setup::start(&DynamoDbOptions::new()).await else { return };
        let (iam, direct, user, beate) = (&setup.iam, &setup.direct, &setup.user, name("beate"));
        // The record has the expected revision, so the key is taken.
        setup.gateway.inject("TransactWriteItems", [TAKEN]);
        let renamed = iam.rename_user(user, &beate).await;
        assert!(matches!(renamed, Err(Error::UserExists { .. })), "{renamed:?}");
        // The record has changed, so the change is stale, and the manager retries it.
        setup.gateway.inject("TransactWriteItems", [Action::Hold(&TAKEN)]);
        setup.gateway.take();
        let (renamed, ()) = tokio::join!(iam.rename_user(user, &beate), async {
            let sent = async || setup.gateway.count("TransactWriteItems") == 1;
            until("the change to be sent", sent).await;
            let _ = direct.reset(user, setup.issued.id()).await.unwrap();
            setup.gateway.release();
        });
        assert_eq!(*renamed.unwrap().name(), beate);
        // The condition of the record failed, too, so the record is not read again.
        setup.gateway.inject("TransactWriteItems", [STALE]);
        setup.gateway.take();
        iam.rename_user(&beate, user).await.unwrap();
        let attempt = ["GetItem", "TransactGetItems", "TransactWriteItems"];
        assert_eq!(setup.gateway.operations(), [attempt, attempt].concat());
    });
}

#[test]
fn an_unresponsive_server_leaves_the_outcome_unknown() {
    wait(async {
        let options =
            DynamoDbOptions::new().attempts(2).attempt_timeout(Duration::from_millis(300));
        let Some(setup) = Setup::start(&options).await else { return };
        let revision = setup.revision().await;
        setup.gateway.inject("PutItem", vec![Action::ForwardThenHang; 2]);
        let reset = setup.iam.reset(&setup.user, setup.issued.id()).await;
        let Err(Error::OutcomeUnknown { credential, source, .. }) = reset else {
            panic!("{reset:?}")
        };
        assert_eq!(credential.unwrap().id(), setup.issued.id());
        let DynamoDbError::Unknown(lost) = cause(&source) else { panic!("{source:?}") };
        assert!(matches!(**lost, DynamoDbError::TimedOut), "{lost:?}");
        assert!(!cause(&source).is_retryable() && lost.is_retryable());
        assert_eq!(setup.revision().await, revision + 1);

        setup.gateway.inject("GetItem", vec![Action::ForwardThenHang; 2]);
        let error = read_error(setup.iam.user(&setup.user).await);
        assert!(matches!(cause(&error), DynamoDbError::TimedOut), "{error:?}");
        assert!(cause(&error).is_retryable());
    });
}

#[test]
fn a_dead_server_is_unreachable_not_a_denial() {
    wait(async {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let table = Table { port, name: "credentials".to_owned() };
        let iam = AsyncCredentialManager::new(name(ACCOUNT), table.store_with(&once()));
        let error = read_error(iam.user(&name("anika")).await);
        assert!(matches!(cause(&error), DynamoDbError::Unreachable(_)), "{error:?}");
        assert!(cause(&error).is_retryable());
        let result = iam.authenticate(&name(CODECOMMIT), "anika+1-at-123456789012", "x").await;
        let Err(AuthenticationError::Unavailable(error)) = result else { panic!("{result:?}") };
        assert!(matches!(cause(&error), DynamoDbError::Unreachable(_)), "{error:?}");
        assert!(!formatted(&error).contains("hunter2"));
    });
}

#[test]
fn a_change_larger_than_a_transaction_is_rejected_and_not_sent() {
    wait(async {
        let Some(server) = shared() else { return };
        let table = server.table().await;
        let gateway = Gateway::start(table.port).await;
        let services: Vec<String> = (0..21).map(|number| format!("s{number}.example")).collect();
        let mut policy = Policy::builder().without_services();
        for service in &services {
            policy = policy.password_service(name(service));
        }
        let store = table.behind(gateway.port()).store();
        let iam = AsyncCredentialManager::builder(name(ACCOUNT), store)
            .policy(policy.build().unwrap())
            .build_async();
        let user: UserName = name("anika");
        iam.register_user(&user).await.unwrap();
        for service in &services {
            for _ in 0..2 {
                let _ = iam.create(&user, &name(service)).await.unwrap();
            }
        }
        gateway.take();
        let error = commit_error(iam.remove_user_with_credentials(&user).await);
        // The record, one key of the user, one of a holder, and five of each of the 21 services.
        assert!(matches!(cause(&error), DynamoDbError::TooManyItems { items: 108, .. }));
        assert!(!cause(&error).is_retryable());
        assert_eq!(
            error.to_string(),
            "the change writes 108 items, and a transaction at most 100: limit the policy's \
             services (S) and credentials per service (C) so that 3 + S * (2 * C + 1) is at most \
             100, or delete credentials one by one"
        );
        assert_eq!(gateway.operations(), ["GetItem", "TransactGetItems"]);
        // Each deleted credential has two keys, so 100 items remain.
        for service in services.iter().take(4) {
            let credentials = iam.list_for_service(&user, &name(service)).await.unwrap();
            iam.delete(&user, credentials[0].id()).await.unwrap();
        }
        iam.rename_user(&user, &name("beate")).await.unwrap();
        assert_eq!(table.check().await[0].keys().count(), 99);
        iam.remove_user_with_credentials(&name("beate")).await.unwrap();
        assert!(table.check().await.is_empty());
    });
}

#[test]
fn the_state_of_the_table_is_reported() {
    let Some(server) = shared() else { return };
    wait(async {
        let table = server.unused();
        let store = table.store();
        let shown = format!("{store:?}");
        assert_eq!(shown, format!("DynamoDbStore {{ table: {:?}, .. }}", table.name));
        let error = store.check_table().await.unwrap_err();
        assert!(matches!(error, DynamoDbError::TableMissing), "{error:?}");
        assert!(!error.is_retryable());
        let iam = AsyncCredentialManager::new(name(ACCOUNT), store.clone());
        let error = read_error(iam.user(&name("anika")).await);
        assert!(matches!(cause(&error), DynamoDbError::TableMissing), "{error:?}");

        // A table with the right keys that `create_table` did not create.
        create(&table, [("pk", ScalarAttributeType::B), ("sk", ScalarAttributeType::B)]).await;
        let error = store.check_table().await.unwrap_err();
        assert!(matches!(error, DynamoDbError::FormatMissing), "{error:?}");
        store.create_table().await.unwrap();
        store.check_table().await.unwrap();
        iam.register_user(&name("anika")).await.unwrap();
        store.create_table().await.unwrap();
        assert_eq!(table.check().await.len(), 1);

        // A table with the format of a later release.
        let later = |number: &str| {
            let byte = || AttributeValue::B(Blob::new([0]));
            let number = AttributeValue::N(number.to_owned());
            let put = table.client().put_item().table_name(&table.name);
            put.item("pk", byte()).item("sk", byte()).item("format", number)
        };
        later("2").send().await.unwrap();
        for result in [store.check_table().await, store.create_table().await] {
            let error = result.unwrap_err();
            assert!(matches!(error, DynamoDbError::LaterFormat(2)), "{error:?}");
            assert!(!error.is_retryable());
        }

        // Tables with wrong keys.
        for keys in [
            [("pk", ScalarAttributeType::B), ("sk", ScalarAttributeType::S)],
            [("id", ScalarAttributeType::B), ("sk", ScalarAttributeType::B)],
            [("sk", ScalarAttributeType::B), ("pk", ScalarAttributeType::B)],
        ] {
            let table = server.unused();
            create(&table, keys).await;
            for result in [table.store().check_table().await, table.store().create_table().await] {
                let error = result.unwrap_err();
                assert!(matches!(error, DynamoDbError::WrongTable(_)), "{error:?}");
                assert!(!error.is_retryable());
            }
            assert!(table.items().await.is_empty());
        }
    });
}

async fn create(table: &Table, keys: [(&str, ScalarAttributeType); 2]) {
    let mut request = table
        .client()
        .create_table()
        .table_name(&table.name)
        .billing_mode(BillingMode::PayPerRequest);
    for ((name, kind), role) in keys.into_iter().zip([KeyType::Hash, KeyType::Range]) {
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(kind);
        let key = KeySchemaElement::builder().attribute_name(name).key_type(role);
        request = request
            .attribute_definitions(attribute.build().unwrap())
            .key_schema(key.build().unwrap());
    }
    request.send().await.unwrap();
}

#[test]
fn the_table_is_billed_per_request_and_protected_from_deletion() {
    let Some(server) = shared() else { return };
    wait(async {
        let table = server.table().await;
        let client = table.client();
        let described = client.describe_table().table_name(&table.name).send().await.unwrap();
        let described = described.table.unwrap();
        let billing = described.billing_mode_summary.unwrap().billing_mode.unwrap();
        assert_eq!(billing, BillingMode::PayPerRequest);
        assert_eq!(described.deletion_protection_enabled, Some(true));
        client.delete_table().table_name(&table.name).send().await.unwrap_err();
    });
}

#[test]
fn a_table_created_concurrently_by_another_process_is_used() {
    let Some(server) = shared() else { return };
    wait(async {
        let invalid = Response::new(400, "ValidationException");
        for (operation, created) in [
            ("CreateTable", Response::new(400, "ResourceInUseException")),
            ("PutItem", Response::new(400, "ConditionalCheckFailedException")),
        ] {
            let table = server.unused();
            let gateway = Gateway::start(table.port).await;
            let store = table.behind(gateway.port()).store();
            gateway.inject(operation, [Action::Respond(invalid)]);
            let error = store.create_table().await.unwrap_err();
            assert!(
                matches!(&error, DynamoDbError::Service { code, .. } if code == invalid.code),
                "{operation}: {error:?}"
            );
            gateway.inject(operation, [Action::ForwardThenRespond(created)]);
            store.create_table().await.unwrap();
            assert_eq!(gateway.count(operation), 2);
            store.check_table().await.unwrap();
        }
    });
}

/// The gateway simulates these states, which DynamoDB Local never reports.
#[test]
fn create_table_waits_until_the_table_is_active_and_rejects_one_without_transactions() {
    let Some(server) = shared() else { return };
    wait(async {
        let table = server.unused();
        let gateway = Gateway::start(table.port).await;
        let store = table.behind(gateway.port()).store();
        let creating = Action::Rewrite(|described| {
            described["Table"]["TableStatus"] = "CREATING".into();
        });
        let missing = Action::Respond(Response::new(400, "ResourceNotFoundException"));
        gateway.inject("DescribeTable", [missing, creating, creating]);
        store.create_table().await.unwrap();
        assert_eq!(gateway.count("DescribeTable"), 4);
        gateway.inject("DescribeTable", [creating]);
        let error = store.check_table().await.unwrap_err();
        assert!(matches!(&error, DynamoDbError::NotActive(status) if status == "CREATING"));
        assert!(error.is_retryable());

        let consistent = Action::Rewrite(|described| {
            described["Table"]["MultiRegionConsistency"] = "STRONG".into();
        });
        gateway.inject("DescribeTable", [consistent, consistent]);
        for result in [store.check_table().await, store.create_table().await] {
            let error = result.unwrap_err();
            assert!(matches!(error, DynamoDbError::WrongTable(_)), "{error:?}");
        }
        store.check_table().await.unwrap();
    });
}

#[test]
fn damaged_items_are_reported() {
    wait(async {
        let Some(setup) = Setup::start(&DynamoDbOptions::new()).await else { return };
        let client = client(setup.table.port);
        let items = setup.table.items().await;
        let is_kind = |item: &Item, kind: u8| item["pk"].as_b().unwrap().as_ref()[0] == kind;
        let kind = |kind| items.iter().find(|item| is_kind(item, kind)).unwrap().clone();
        let put = async |item| {
            let put = client.put_item().table_name(&setup.table.name).set_item(Some(item));
            put.send().await.unwrap();
        };
        let (record, listing) = (kind(1), kind(3));
        let mut damaged = record.clone();
        damaged.insert("record".to_owned(), AttributeValue::B(Blob::new(*b"\x01damaged")));
        put(damaged.clone()).await;
        let error = read_error(setup.direct.user(&setup.user).await);
        assert!(matches!(cause(&error), DynamoDbError::Record(_)), "{error:?}");
        damaged.insert("record".to_owned(), AttributeValue::S("text".to_owned()));
        put(damaged).await;
        let error = read_error(setup.direct.user(&setup.user).await);
        assert!(matches!(cause(&error), DynamoDbError::Item("record")), "{error:?}");
        put(record).await;

        let mut damaged = listing.clone();
        damaged.remove("user_id");
        put(damaged).await;
        let error = read_error(
            setup
                .direct
                .list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
                .await,
        );
        assert!(matches!(cause(&error), DynamoDbError::Item("user_id")), "{error:?}");
        put(listing).await;

        // The key items of the record are missing.
        for lookup in items.iter().filter(|item| is_kind(item, 2)) {
            let delete = client.delete_item().table_name(&setup.table.name);
            let delete = delete.key("pk", lookup["pk"].clone()).key("sk", lookup["sk"].clone());
            delete.send().await.unwrap();
        }
        let deleted = setup.direct.delete(&setup.user, setup.issued.id()).await;
        let error = commit_error(deleted);
        assert!(matches!(cause(&error), DynamoDbError::Index), "{error:?}");
    });
}

#[test]
fn rejected_aws_credentials_are_distinguished_from_missing_permissions() {
    wait(async {
        let Some(setup) = Setup::start(&once()).await else { return };
        for code in ["UnrecognizedClientException", "ExpiredTokenException"] {
            setup.gateway.inject("GetItem", [Action::Respond(Response::new(400, code))]);
            let error = read_error(setup.iam.user(&setup.user).await);
            let DynamoDbError::Credentials { code: reported, .. } = cause(&error) else {
                panic!("{error:?}")
            };
            assert_eq!(reported, code);
            assert!(!cause(&error).is_retryable() && !formatted(&error).contains("hunter2"));
        }
        let denied = Action::Respond(Response::new(400, "AccessDeniedException"));
        setup.gateway.inject("GetItem", [denied]);
        let error = read_error(setup.iam.user(&setup.user).await);
        assert!(matches!(cause(&error), DynamoDbError::Denied { .. }), "{error:?}");
        let store = setup.table.store();
        assert!(!format!("{store:?} {store:#?}").contains("hunter2"));
        let key = Key::User { account: name(ACCOUNT), name: &setup.user };
        assert!(store.find(&key).await.unwrap().is_some());
    });
}
