//! Failures of DynamoDB and of the connection: which are retried, and what a change reports. Every
//! change is applied once or never.

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
    gateway::{Fate, Gateway, Response},
    local::{Item, Table, client, shared, until, wait},
};

type Manager = AsyncCredentialManager<DynamoDbStore>;

const THROTTLED: Response = Response::new(400, "ProvisionedThroughputExceededException");
const LIMITED: Response = Response::new(400, "ThrottlingException");
const CONFLICT: Response = Response::new(400, "TransactionConflictException");
const IN_PROGRESS: Response = Response::new(400, "TransactionInProgressException");
const BROKEN: Response = Response::new(500, "InternalServerError");
const UNAVAILABLE: Response = Response::new(503, "ServiceUnavailable");
const FOREIGN: Response = Response::new(400, "");

/// A user with a credential, in a table behind a gateway.
struct Scene {
    table: Table,
    gateway: Gateway,
    /// Behind the gateway.
    iam: Manager,
    direct: Manager,
    user: UserName,
    issued: IssuedCredential,
}

impl Scene {
    async fn set(options: &DynamoDbOptions) -> Option<Self> {
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

/// All texts of an error and its sources.
fn printed(error: &dyn StdError) -> String {
    let mut printed = format!("{error} {error:?} {error:#?}");
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(printed, " {cause} {cause:?}");
        next = cause.source();
    }
    printed
}

fn once() -> DynamoDbOptions {
    DynamoDbOptions::new().attempts(1)
}

#[test]
fn reads_are_retried_and_give_up() {
    wait(async {
        let Some(scene) = Scene::set(&DynamoDbOptions::new().attempts(4)).await else { return };
        let fates = [
            Fate::Responded(THROTTLED),
            Fate::Responded(LIMITED),
            Fate::Responded(BROKEN),
            Fate::Responded(UNAVAILABLE),
            Fate::Responded(FOREIGN),
            Fate::Lost,
            Fate::LostAfter,
        ];
        for operation in ["GetItem", "TransactGetItems", "Query", "BatchGetItem", "Scan"] {
            let read = async || match operation {
                "GetItem" | "TransactGetItems" => scene.iam.user(&scene.user).await.map(drop),
                "Scan" => scene.iam.store().accounts().await.map(drop).map_err(Error::from),
                _ => scene
                    .iam
                    .list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
                    .await
                    .map(drop),
            };
            for fate in fates {
                scene.gateway.befall(operation, [fate; 3]);
                scene.gateway.take();
                read().await.unwrap();
                let sent = scene.gateway.operations();
                let repeated = sent.iter().filter(|sent| *sent == operation).count();
                let once = if operation == "Query" { 8 } else { 1 };
                assert_eq!(repeated, once + 3, "{operation} {fate:?}");

                scene.gateway.befall(operation, vec![fate; 100]);
                let error = read_error(read().await);
                let expected = match fate {
                    Fate::Responded(THROTTLED | LIMITED) => {
                        matches!(cause(&error), DynamoDbError::Throttled { .. })
                    }
                    Fate::Responded(_) => {
                        matches!(cause(&error), DynamoDbError::Unavailable { .. })
                    }
                    _ => matches!(cause(&error), DynamoDbError::ConnectionLost(_)),
                };
                assert!(expected && cause(&error).is_retryable(), "{operation} {error:?}");
                scene.gateway.forward_all();
            }
        }
        // A transaction on the item that is read is in flight.
        let conflict = Fate::Responded(Response::cancelled(&["TransactionConflict"]));
        scene.gateway.befall("TransactGetItems", [conflict; 3]);
        scene.iam.user(&scene.user).await.unwrap();
        scene.gateway.befall("TransactGetItems", vec![conflict; 100]);
        let error = read_error(scene.iam.user(&scene.user).await);
        assert!(matches!(cause(&error), DynamoDbError::Contended), "{error:?}");
        assert!(cause(&error).is_retryable());
    });
}

#[test]
fn what_a_batch_leaves_out_is_read_again() {
    wait(async {
        let Some(scene) = Scene::set(&DynamoDbOptions::new().attempts(4)).await else { return };
        for number in 0..150 {
            scene.direct.register_user(&name(&format!("user-{number:03}"))).await.unwrap();
        }
        // DynamoDB Local processes all keys unless the response has 16 MB.
        let unprocessed = |most: usize| {
            move |operation: &str, _: &serde_json::Value| match operation {
                "BatchGetItem" => Fate::Partly(most),
                _ => Fate::Forwarded,
            }
        };
        let all = ListUsersRequest::new().max_items(MaxItems::new(1000).unwrap());
        for most in [1, 7, 99] {
            scene.gateway.decide(unprocessed(most));
            let users = scene.iam.list_users_page(&all).await.unwrap();
            assert_eq!(users.items.len(), 151, "{most}");
        }
        // Three responses in a row without an item, of four that are allowed.
        scene.gateway.befall("BatchGetItem", [Fate::Partly(0); 3]);
        assert_eq!(scene.iam.list_users_page(&all).await.unwrap().items.len(), 151);
        scene.gateway.decide(unprocessed(0));
        let error = read_error(scene.iam.list_users_page(&all).await);
        assert!(matches!(cause(&error), DynamoDbError::Throttled { .. }), "{error:?}");
    });
}

/// A change that was not executed is retried, and is applied once.
#[test]
fn throttled_and_conflicting_changes_are_retried() {
    wait(async {
        let Some(scene) = Scene::set(&DynamoDbOptions::new().attempts(4)).await else { return };
        let cancelled = |reasons| Fate::Responded(Response::cancelled(reasons));
        let mut revision = scene.revision().await;
        for fate in [
            Fate::Responded(THROTTLED),
            Fate::Responded(LIMITED),
            Fate::Responded(CONFLICT),
            Fate::Responded(UNAVAILABLE),
            Fate::Responded(FOREIGN),
            Fate::Lost,
        ] {
            scene.gateway.befall("PutItem", [fate; 3]);
            let _ = scene.iam.reset(&scene.user, scene.issued.id()).await.unwrap();
            revision += 1;
            assert_eq!(scene.revision().await, revision, "{fate:?}");
        }
        for fate in [
            Fate::Responded(THROTTLED),
            Fate::Responded(IN_PROGRESS),
            Fate::Responded(BROKEN),
            Fate::Lost,
            cancelled(&["None", "TransactionConflict", "None"]),
            cancelled(&["TransactionConflict", "ConditionalCheckFailed", "None"]),
            cancelled(&["None", "ProvisionedThroughputExceeded", "None"]),
            cancelled(&["ThrottlingError", "None", "ConditionalCheckFailed"]),
        ] {
            scene.gateway.befall("TransactWriteItems", [fate; 3]);
            scene.gateway.take();
            let created = scene.iam.create(&scene.user, &name(CODECOMMIT)).await.unwrap();
            let sent = scene.gateway.take();
            let written = sent.iter().filter(|sent| sent.operation == "TransactWriteItems");
            let tokens: Vec<_> = written.map(|sent| &sent.request["ClientRequestToken"]).collect();
            assert_eq!(tokens.len(), 4);
            assert!(tokens[0].is_string() && tokens.iter().all(|token| *token == tokens[0]));
            scene.iam.delete(&scene.user, created.id()).await.unwrap();
            revision += 2;
            assert_eq!(scene.revision().await, revision, "{fate:?}");
        }
    });
}

/// A later attempt that was certainly not executed tells nothing about an earlier one.
#[test]
fn a_lost_response_before_other_failures_leaves_the_outcome_unknown() {
    wait(async {
        let Some(scene) = Scene::set(&DynamoDbOptions::new().attempts(3)).await else { return };
        let denied = Response::new(400, "AccessDeniedException");
        for last in [THROTTLED, denied] {
            let fates = [Fate::Lost, Fate::Responded(THROTTLED), Fate::Responded(last)];
            scene.gateway.befall("TransactWriteItems", fates);
            let created = scene.iam.create(&scene.user, &name(CODECOMMIT)).await;
            scene.gateway.befall("PutItem", fates);
            let reset = scene.iam.reset(&scene.user, scene.issued.id()).await;
            for error in [commit_error(created), commit_error(reset)] {
                let DynamoDbError::Unknown(lost) = cause(&error) else { panic!("{error:?}") };
                assert!(matches!(**lost, DynamoDbError::ConnectionLost(_)), "{lost:?}");
            }
        }
        // An attempt with the same token is in progress.
        scene.gateway.befall("TransactWriteItems", [Fate::Responded(IN_PROGRESS); 3]);
        let created = scene.iam.create(&scene.user, &name(CODECOMMIT)).await;
        let error = commit_error(created);
        let DynamoDbError::Unknown(cause) = cause(&error) else { panic!("{error:?}") };
        assert!(matches!(**cause, DynamoDbError::Contended), "{cause:?}");
    });
}

/// A change that was certainly not executed is not reported as unknown.
#[test]
fn a_change_that_gives_up_says_what_it_met() {
    wait(async {
        let Some(scene) = Scene::set(&DynamoDbOptions::new().attempts(3)).await else { return };
        let revision = scene.revision().await;
        let cancelled = |reasons| Fate::Responded(Response::cancelled(reasons));
        let create = async || scene.iam.create(&scene.user, &name(CODECOMMIT)).await;
        for (fate, contended) in [
            (Fate::Responded(THROTTLED), false),
            (cancelled(&["None", "TransactionConflict"]), true),
            (cancelled(&["None", "ThrottlingError"]), false),
            // A transient reason takes precedence.
            (cancelled(&["ValidationError", "TransactionConflict"]), true),
        ] {
            scene.gateway.befall("TransactWriteItems", [fate; 3]);
            let error = commit_error(create().await);
            match cause(&error) {
                DynamoDbError::Contended => assert!(contended),
                DynamoDbError::Throttled { .. } => assert!(!contended),
                _ => panic!("{error:?}"),
            }
            assert!(cause(&error).is_retryable());
        }
        scene.gateway.befall("PutItem", [Fate::Responded(CONFLICT); 3]);
        let error = commit_error(scene.iam.reset(&scene.user, scene.issued.id()).await);
        assert!(matches!(cause(&error), DynamoDbError::Contended), "{error:?}");
        // A permanent error is not retried.
        let denied = Response::new(400, "AccessDeniedException");
        scene.gateway.befall("TransactWriteItems", [Fate::Responded(denied)]);
        let error = commit_error(create().await);
        assert!(matches!(cause(&error), DynamoDbError::Denied { .. }), "{error:?}");
        let other = cancelled(&["None", "ValidationError"]);
        scene.gateway.befall("TransactWriteItems", [other]);
        let error = commit_error(create().await);
        let DynamoDbError::Service { code, .. } = cause(&error) else { panic!("{error:?}") };
        assert_eq!(code, "ValidationError");
        assert_eq!(scene.revision().await, revision);
    });
}

/// A change was applied, and its response was lost.
#[test]
fn a_lost_response_is_made_up_for() {
    wait(async {
        let options = DynamoDbOptions::new().attempt_timeout(Duration::from_secs(1));
        let Some(scene) = Scene::set(&options).await else { return };
        let mut revision = scene.revision().await;
        let mut password = scene.issued.secret().expose().to_owned();
        for fate in [
            Fate::RespondedAfter(BROKEN),
            Fate::RespondedAfter(UNAVAILABLE),
            Fate::RespondedAfter(FOREIGN),
            Fate::LostAfter,
            Fate::SilencedAfter,
        ] {
            scene.gateway.befall("PutItem", [fate]);
            let renewed = scene.iam.reset(&scene.user, scene.issued.id()).await.unwrap();
            revision += 1;
            assert_eq!(scene.revision().await, revision, "{fate:?}");
            assert!(scene.authenticates(&renewed).await && password != renewed.secret().expose());
            renewed.secret().expose().clone_into(&mut password);

            scene.gateway.befall("TransactWriteItems", [fate, fate]);
            let created = scene.iam.create(&scene.user, &name(CODECOMMIT)).await.unwrap();
            revision += 1;
            assert_eq!(scene.revision().await, revision, "{fate:?}");
            assert!(scene.authenticates(&created).await);

            scene.gateway.befall("TransactWriteItems", [fate]);
            scene.iam.delete(&scene.user, created.id()).await.unwrap();
            revision += 1;
            assert_eq!(scene.revision().await, revision, "{fate:?}");

            // A removal and a registration.
            scene.gateway.befall("TransactWriteItems", [fate]);
            scene.iam.register_user(&name("beate")).await.unwrap();
            scene.gateway.befall("TransactWriteItems", [fate]);
            scene.iam.remove_user(&name("beate")).await.unwrap();
        }
    });
}

/// An attempt that arrives after its retry does nothing.
#[test]
fn a_late_attempt_does_nothing() {
    wait(async {
        let Some(scene) = Scene::set(&DynamoDbOptions::new()).await else { return };
        scene.gateway.befall("PutItem", [Fate::Delayed]);
        let renewed = scene.iam.reset(&scene.user, scene.issued.id()).await.unwrap();
        scene.gateway.befall("TransactWriteItems", [Fate::Delayed]);
        let created = scene.iam.create(&scene.user, &name(CODECOMMIT)).await.unwrap();
        scene.iam.delete(&scene.user, created.id()).await.unwrap();
        let revision = scene.revision().await;
        for _ in 0..2 {
            scene.gateway.release();
        }
        until("the late attempts to arrive", async || scene.gateway.late() == 2).await;
        assert_eq!(scene.revision().await, revision);
        assert!(scene.authenticates(&renewed).await && !scene.authenticates(&created).await);
    });
}

/// A put was applied, its response was lost, and another change followed before the next attempt.
#[test]
fn a_lost_response_before_another_change_leaves_the_outcome_unknown() {
    wait(async {
        for removes in [false, true] {
            let Some(scene) = Scene::set(&DynamoDbOptions::new()).await else { return };
            let (iam, direct) = (&scene.iam, &scene.direct);
            let (user, id) = (&scene.user, scene.issued.id());
            let fates = [Fate::RespondedAfter(BROKEN), Fate::Held(&Fate::Forwarded)];
            scene.gateway.befall("PutItem", fates);
            let (reset, ()) = tokio::join!(iam.reset(user, id), async {
                until("the second attempt", async || scene.gateway.count("PutItem") == 2).await;
                if removes {
                    direct.remove_user_with_credentials(user).await.unwrap();
                } else {
                    let _ = direct.reset(user, id).await.unwrap();
                }
                scene.gateway.release();
            });
            let error = commit_error(reset);
            assert!(matches!(cause(&error), DynamoDbError::Unknown(_)), "{error:?}");
            assert!(!cause(&error).is_retryable());
        }
    });
}

/// A put was not applied, its response was lost, and another change was applied first.
#[test]
fn a_change_that_was_overtaken_is_stale() {
    wait(async {
        let Some(scene) = Scene::set(&DynamoDbOptions::new()).await else { return };
        let (iam, direct) = (&scene.iam, &scene.direct);
        let (user, id) = (&scene.user, scene.issued.id());
        let revision = scene.revision().await;
        scene.gateway.befall("PutItem", [Fate::Lost, Fate::Held(&Fate::Forwarded)]);
        let (reset, ()) = tokio::join!(iam.reset(user, id), async {
            until("the second attempt", async || scene.gateway.count("PutItem") == 2).await;
            let _ = direct.reset(user, id).await.unwrap();
            scene.gateway.release();
        });
        // It was stale, and the manager retried it.
        let renewed = reset.unwrap();
        assert_eq!(scene.revision().await, revision + 2);
        assert!(scene.authenticates(&renewed).await);
    });
}

#[test]
fn a_key_that_is_taken_after_a_lost_response_leaves_the_outcome_unknown() {
    wait(async {
        let Some(scene) = Scene::set(&DynamoDbOptions::new()).await else { return };
        scene.direct.register_user(&name("beate")).await.unwrap();
        let rename = async || scene.iam.rename_user(&scene.user, &name("beate")).await;
        assert!(matches!(rename().await, Err(Error::UserExists { .. })));
        scene.gateway.befall("TransactWriteItems", [Fate::Lost]);
        let error = commit_error(rename().await);
        assert!(matches!(cause(&error), DynamoDbError::Unknown(_)), "{error:?}");

        // A registration.
        let others = SyncAdapter::new(MemoryStore::new());
        let iam = AsyncCredentialManager::new(name(ACCOUNT), &others);
        iam.register_user(&name("Beate")).await.unwrap();
        let store = scene.table.behind(scene.gateway.port()).store();
        let copied = copy_users(&others, &store, name(ACCOUNT)).await;
        assert!(matches!(copied, Err(CopyError::Taken { .. })), "{copied:?}");
        scene.gateway.befall("TransactWriteItems", [Fate::Lost]);
        let copied = copy_users(&others, &store, name(ACCOUNT)).await;
        let Err(CopyError::Write(error)) = copied else { panic!("{copied:?}") };
        assert!(matches!(cause(&error), DynamoDbError::Unknown(_)), "{error:?}");
        assert_eq!(scene.table.check().await.len(), 2);
    });
}

/// DynamoDB reports that the condition of a key failed, and nothing about the record's condition.
#[test]
fn the_record_decides_between_stale_and_key_taken() {
    const TAKEN: Fate =
        Fate::Responded(Response::cancelled(&["None", "ConditionalCheckFailed", "None"]));
    const STALE: Fate = Fate::Responded(Response::cancelled(&[
        "ConditionalCheckFailed",
        "ConditionalCheckFailed",
        "None",
    ]));
    wait(async {
        let Some(scene) = Scene::set(&DynamoDbOptions::new()).await else { return };
        let (iam, direct, user, beate) = (&scene.iam, &scene.direct, &scene.user, name("beate"));
        // The record is at its revision, so the key is taken.
        scene.gateway.befall("TransactWriteItems", [TAKEN]);
        let renamed = iam.rename_user(user, &beate).await;
        assert!(matches!(renamed, Err(Error::UserExists { .. })), "{renamed:?}");
        // The record has changed, so the change is stale, and the manager retries it.
        scene.gateway.befall("TransactWriteItems", [Fate::Held(&TAKEN)]);
        scene.gateway.take();
        let (renamed, ()) = tokio::join!(iam.rename_user(user, &beate), async {
            let sent = async || scene.gateway.count("TransactWriteItems") == 1;
            until("the change to be sent", sent).await;
            let _ = direct.reset(user, scene.issued.id()).await.unwrap();
            scene.gateway.release();
        });
        assert_eq!(*renamed.unwrap().name(), beate);
        // The condition of the record failed as well. Nothing more is read to tell.
        scene.gateway.befall("TransactWriteItems", [STALE]);
        scene.gateway.take();
        iam.rename_user(&beate, user).await.unwrap();
        let attempt = ["GetItem", "TransactGetItems", "TransactWriteItems"];
        assert_eq!(scene.gateway.operations(), [attempt, attempt].concat());
    });
}

#[test]
fn an_unresponsive_server_leaves_the_outcome_unknown() {
    wait(async {
        let options =
            DynamoDbOptions::new().attempts(2).attempt_timeout(Duration::from_millis(300));
        let Some(scene) = Scene::set(&options).await else { return };
        let revision = scene.revision().await;
        scene.gateway.befall("PutItem", vec![Fate::SilencedAfter; 2]);
        let reset = scene.iam.reset(&scene.user, scene.issued.id()).await;
        let Err(Error::OutcomeUnknown { credential, source, .. }) = reset else {
            panic!("{reset:?}")
        };
        assert_eq!(credential.unwrap().id(), scene.issued.id());
        let DynamoDbError::Unknown(why) = cause(&source) else { panic!("{source:?}") };
        assert!(matches!(**why, DynamoDbError::TimedOut), "{why:?}");
        assert!(!cause(&source).is_retryable() && why.is_retryable());
        assert_eq!(scene.revision().await, revision + 1);

        scene.gateway.befall("GetItem", vec![Fate::SilencedAfter; 2]);
        let error = read_error(scene.iam.user(&scene.user).await);
        assert!(matches!(cause(&error), DynamoDbError::TimedOut), "{error:?}");
        assert!(cause(&error).is_retryable());
    });
}

#[test]
fn a_dead_server_is_unreachable_and_no_denial() {
    wait(async {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let table = Table { port, name: "credentials".to_owned() };
        let iam = AsyncCredentialManager::new(name(ACCOUNT), table.store_with(&once()));
        let error = read_error(iam.user(&name("anika")).await);
        assert!(matches!(cause(&error), DynamoDbError::Unreachable(_)), "{error:?}");
        assert!(cause(&error).is_retryable());
        let denied = iam.authenticate(&name(CODECOMMIT), "anika+1-at-123456789012", "x").await;
        let Err(AuthenticationError::Unavailable(error)) = denied else { panic!("{denied:?}") };
        assert!(matches!(cause(&error), DynamoDbError::Unreachable(_)), "{error:?}");
        assert!(!printed(&error).contains("hunter2"));
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
        // The record, the keys of the user and of a holder, and five keys for each service.
        assert!(matches!(cause(&error), DynamoDbError::TooManyItems { items: 108, .. }));
        assert!(!cause(&error).is_retryable());
        assert_eq!(
            error.to_string(),
            "the change writes 108 items, and a transaction at most 100: limit the policy's \
             services (S) and credentials per service (C) so that 3 + S * (2 * C + 1) is at most \
             100, or delete credentials one by one"
        );
        assert_eq!(gateway.operations(), ["GetItem", "TransactGetItems"]);
        // Two keys fewer for each deleted credential: 100 items.
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

        // Created by other means, with the right keys.
        create(&table, [("pk", ScalarAttributeType::B), ("sk", ScalarAttributeType::B)]).await;
        let error = store.check_table().await.unwrap_err();
        assert!(matches!(error, DynamoDbError::FormatMissing), "{error:?}");
        store.create_table().await.unwrap();
        store.check_table().await.unwrap();
        iam.register_user(&name("anika")).await.unwrap();
        store.create_table().await.unwrap();
        assert_eq!(table.check().await.len(), 1);

        // Set up by a later release.
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

        // With other keys.
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
fn the_table_is_billed_by_request_and_protected() {
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
fn a_table_that_another_process_creates_meanwhile_is_used() {
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
            gateway.befall(operation, [Fate::Responded(invalid)]);
            let error = store.create_table().await.unwrap_err();
            assert!(
                matches!(&error, DynamoDbError::Service { code, .. } if code == invalid.code),
                "{operation}: {error:?}"
            );
            gateway.befall(operation, [Fate::RespondedAfter(created)]);
            store.create_table().await.unwrap();
            assert_eq!(gateway.count(operation), 2);
            store.check_table().await.unwrap();
        }
    });
}

/// States that DynamoDB Local does not have.
#[test]
fn a_table_that_is_not_active_is_waited_for_and_one_without_transactions_rejected() {
    let Some(server) = shared() else { return };
    wait(async {
        let table = server.unused();
        let gateway = Gateway::start(table.port).await;
        let store = table.behind(gateway.port()).store();
        let creating = Fate::Rewritten(|described| {
            described["Table"]["TableStatus"] = "CREATING".into();
        });
        let missing = Fate::Responded(Response::new(400, "ResourceNotFoundException"));
        gateway.befall("DescribeTable", [missing, creating, creating]);
        store.create_table().await.unwrap();
        assert_eq!(gateway.count("DescribeTable"), 4);
        gateway.befall("DescribeTable", [creating]);
        let error = store.check_table().await.unwrap_err();
        assert!(matches!(&error, DynamoDbError::NotActive(status) if status == "CREATING"));
        assert!(error.is_retryable());

        let consistent = Fate::Rewritten(|described| {
            described["Table"]["MultiRegionConsistency"] = "STRONG".into();
        });
        gateway.befall("DescribeTable", [consistent, consistent]);
        for result in [store.check_table().await, store.create_table().await] {
            let error = result.unwrap_err();
            assert!(matches!(error, DynamoDbError::WrongTable(_)), "{error:?}");
        }
        store.check_table().await.unwrap();
    });
}

#[test]
fn what_is_damaged_is_reported() {
    wait(async {
        let Some(scene) = Scene::set(&DynamoDbOptions::new()).await else { return };
        let client = client(scene.table.port);
        let items = scene.table.items().await;
        let is_kind = |item: &Item, kind: u8| item["pk"].as_b().unwrap().as_ref()[0] == kind;
        let kind = |kind| items.iter().find(|item| is_kind(item, kind)).unwrap().clone();
        let put = async |item| {
            let put = client.put_item().table_name(&scene.table.name).set_item(Some(item));
            put.send().await.unwrap();
        };
        let (record, listed) = (kind(1), kind(3));
        let mut damaged = record.clone();
        damaged.insert("record".to_owned(), AttributeValue::B(Blob::new(*b"\x01damaged")));
        put(damaged.clone()).await;
        let error = read_error(scene.direct.user(&scene.user).await);
        assert!(matches!(cause(&error), DynamoDbError::Record(_)), "{error:?}");
        damaged.insert("record".to_owned(), AttributeValue::S("text".to_owned()));
        put(damaged).await;
        let error = read_error(scene.direct.user(&scene.user).await);
        assert!(matches!(cause(&error), DynamoDbError::Item("record")), "{error:?}");
        put(record).await;

        let mut damaged = listed.clone();
        damaged.remove("user_id");
        put(damaged).await;
        let error = read_error(
            scene
                .direct
                .list_users_page(&ListUsersRequest::new().max_items(MaxItems::default()))
                .await,
        );
        assert!(matches!(cause(&error), DynamoDbError::Item("user_id")), "{error:?}");
        put(listed).await;

        // Keys of the record are missing.
        for lookup in items.iter().filter(|item| is_kind(item, 2)) {
            let delete = client.delete_item().table_name(&scene.table.name);
            let delete = delete.key("pk", lookup["pk"].clone()).key("sk", lookup["sk"].clone());
            delete.send().await.unwrap();
        }
        let deleted = scene.direct.delete(&scene.user, scene.issued.id()).await;
        let error = commit_error(deleted);
        assert!(matches!(cause(&error), DynamoDbError::Index), "{error:?}");
    });
}

#[test]
fn credentials_that_are_rejected_are_told_apart() {
    wait(async {
        let Some(scene) = Scene::set(&once()).await else { return };
        for code in ["UnrecognizedClientException", "ExpiredTokenException"] {
            scene.gateway.befall("GetItem", [Fate::Responded(Response::new(400, code))]);
            let error = read_error(scene.iam.user(&scene.user).await);
            let DynamoDbError::Credentials { code: reported, .. } = cause(&error) else {
                panic!("{error:?}")
            };
            assert_eq!(reported, code);
            assert!(!cause(&error).is_retryable() && !printed(&error).contains("hunter2"));
        }
        let denied = Fate::Responded(Response::new(400, "AccessDeniedException"));
        scene.gateway.befall("GetItem", [denied]);
        let error = read_error(scene.iam.user(&scene.user).await);
        assert!(matches!(cause(&error), DynamoDbError::Denied { .. }), "{error:?}");
        let store = scene.table.store();
        assert!(!format!("{store:?} {store:#?}").contains("hunter2"));
        let key = Key::User { account: name(ACCOUNT), name: &scene.user };
        assert!(store.find(&key).await.unwrap().is_some());
    });
}
