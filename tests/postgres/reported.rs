//! Errors that the server reports while it executes a statement: what each becomes, and how often
//! the statement is sent again.

use std::mem::discriminant;

use service_specific_credentials::{
    AsyncCredentialManager, Error, UserName,
    store::{PostgresError, PostgresOptions, PostgresStore, StoreError},
};
use tokio_postgres::Client;

use crate::{
    common::{ACCOUNT, name},
    database::{Space, shared, wait},
};

/// Tables that report errors as planned, and a manager whose connections see them.
struct Failing {
    client: Client,
    iam: AsyncCredentialManager<PostgresStore>,
}

impl Failing {
    /// Reads and changes of `credential_users` call a function that fails as planned. A sequence
    /// counts the calls, since it keeps its value when a transaction fails.
    async fn new(space: &Space) -> Self {
        space.store(&PostgresOptions::new()).await;
        let client = space.client().await;
        client
            .batch_execute(
                "CREATE SEQUENCE calls;
                 CREATE TABLE plan (code text, message text, times bigint);
                 INSERT INTO plan VALUES ('', '', 0);
                 CREATE FUNCTION fail() RETURNS boolean LANGUAGE plpgsql
                     SET search_path FROM CURRENT AS $$
                 DECLARE planned plan;
                 BEGIN
                     SELECT * INTO planned FROM plan;
                     IF nextval('calls') <= planned.times THEN
                         RAISE EXCEPTION USING ERRCODE = planned.code, MESSAGE = planned.message;
                     END IF;
                     RETURN true;
                 END $$;
                 CREATE FUNCTION fail_change() RETURNS trigger LANGUAGE plpgsql
                     SET search_path FROM CURRENT AS $$
                 BEGIN
                     PERFORM fail();
                     RETURN NULL;
                 END $$;
                 ALTER TABLE credential_users RENAME TO kept_users;
                 CREATE VIEW credential_users AS SELECT * FROM kept_users WHERE fail();
                 CREATE TRIGGER fails BEFORE INSERT ON kept_users
                     FOR EACH STATEMENT EXECUTE FUNCTION fail_change();",
            )
            .await
            .unwrap();
        let store = PostgresStore::connect(&space.url()).await.unwrap();
        let iam = AsyncCredentialManager::new(name(ACCOUNT), store);
        iam.register_user(&name("anika")).await.unwrap();
        Self { client, iam }
    }

    /// The next calls fail with this SQLSTATE. Of an operation, every statement that reads or
    /// changes a user calls at least once.
    async fn plan(&self, code: &str, message: &str, times: i64) {
        self.client
            .execute(
                "UPDATE plan SET code = $1, message = $2, times = $3",
                &[&code, &message, &times],
            )
            .await
            .unwrap();
        self.client.batch_execute("ALTER SEQUENCE calls RESTART").await.unwrap();
    }

    async fn read(&self) -> Result<(), StoreError> {
        match self.iam.user(&name("anika")).await {
            Ok(_) => Ok(()),
            Err(Error::Store(error)) => Err(error),
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn change(&self, user: &UserName) -> Result<(), StoreError> {
        match self.iam.register_user(user).await {
            Ok(_) => Ok(()),
            Err(Error::OutcomeUnknown { source, .. }) => Err(source),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn cause(error: &StoreError) -> &PostgresError {
    error.get_ref().downcast_ref().unwrap()
}

/// A SQLSTATE, what it becomes, and whether a change with it may have been applied.
type Row = (&'static str, PostgresError, bool);

fn rows() -> Vec<Row> {
    use PostgresError::*;

    let unreachable = || Unreachable(std::io::ErrorKind::ConnectionRefused.into());
    vec![
        ("40001", Contended, false),
        ("40P01", Contended, false),
        ("57014", TimedOut, false),
        ("55P03", TimedOut, false),
        ("42P01", SchemaMissing, false),
        ("3F000", NoSchema, false),
        ("25006", ReadOnly, false),
        ("42501", Denied, false),
        ("28P01", WrongCredentials, false),
        ("28000", WrongCredentials, false),
        ("3D000", NoDatabase, false),
        ("53300", ServerFull, false),
        ("26000", StatementsLost, false),
        ("42P05", StatementsLost, false),
        ("57P01", ConnectionLost, true),
        ("57P02", ConnectionLost, true),
        ("57P03", unreachable(), true),
    ]
}

/// Errors that have no variant of their own, and whether a change may have been applied.
const OTHERS: [(&str, bool); 7] = [
    ("22012", false),
    ("0A000", false),
    ("40003", true),
    ("08006", true),
    ("57000", true),
    ("58030", true),
    ("XX000", true),
];

#[test]
fn each_reported_error_is_named_and_tells_whether_a_change_may_have_been_applied() {
    let Some(server) = shared() else { return };
    wait(async {
        let failing = Failing::new(&server.space().await).await;
        let check = async |code: &str, message: &str, expected: &PostgresError, perhaps: bool| {
            failing.plan(code, message, 1_000).await;
            let error = failing.read().await.unwrap_err();
            assert_eq!(discriminant(cause(&error)), discriminant(expected), "{code}: {error:?}");
            if let PostgresError::Server { code: reported, .. } = cause(&error) {
                assert_eq!(reported, code);
            }
            let error = failing.change(&name("ben")).await.unwrap_err();
            let (reported, unknown) = match cause(&error) {
                PostgresError::Unknown(reported) => (&**reported, true),
                reported => (reported, false),
            };
            assert_eq!(discriminant(reported), discriminant(expected), "{code}: {error:?}");
            assert_eq!(unknown, perhaps, "{code}: {error:?}");
        };
        for (code, expected, perhaps) in rows() {
            // 64 attempts of each kind of statement are another test.
            if !matches!(expected, PostgresError::Contended) {
                check(code, "planned", &expected, perhaps).await;
            }
        }
        // What any other error becomes: an undefined function, for example.
        failing.plan("42883", "planned", 1_000).await;
        let error = failing.read().await.unwrap_err();
        assert!(matches!(cause(&error), PostgresError::Server { .. }), "{error:?}");
        for (code, perhaps) in OTHERS {
            check(code, "planned", cause(&error), perhaps).await;
        }
        let plan = "cached plan must not change result type";
        check("0A000", plan, &PostgresError::StatementsLost, false).await;
        failing.plan("", "", 0).await;
        failing.read().await.unwrap();
        failing.change(&name("ben")).await.unwrap();
    });
}

#[test]
fn a_statement_that_conflicts_is_sent_64_times() {
    let Some(server) = shared() else { return };
    wait(async {
        for code in ["40001", "40P01"] {
            let failing = Failing::new(&server.space().await).await;
            failing.plan(code, "planned", 63).await;
            failing.read().await.unwrap();
            failing.plan(code, "planned", 64).await;
            let error = failing.read().await.unwrap_err();
            assert!(matches!(cause(&error), PostgresError::Contended), "{error:?}");
            failing.read().await.unwrap();

            failing.plan(code, "planned", 63).await;
            failing.change(&name("ben")).await.unwrap();
            failing.plan(code, "planned", 64).await;
            let error = failing.change(&name("carla")).await.unwrap_err();
            assert!(matches!(cause(&error), PostgresError::Contended), "{error:?}");
            failing.change(&name("carla")).await.unwrap();
        }
    });
}

/// A new connection may be to another server.
#[test]
fn a_read_is_sent_over_a_second_connection_if_the_first_is_unusable() {
    let Some(server) = shared() else { return };
    wait(async {
        let failing = Failing::new(&server.space().await).await;
        for code in ["25006", "26000"] {
            failing.plan(code, "planned", 1).await;
            failing.read().await.unwrap();
            failing.plan(code, "planned", 2).await;
            failing.read().await.unwrap_err();
            failing.read().await.unwrap();
            // A change is not sent again.
            failing.plan(code, "planned", 1).await;
            failing.change(&name("ben")).await.unwrap_err();
        }
    });
}
