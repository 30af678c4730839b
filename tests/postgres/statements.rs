//! The statements that are sent, their number, and their cost on the server.

use std::{
    collections::BTreeMap, fmt::Write as _, fs, num::NonZeroUsize, ops::Bound, path::Path,
    time::Duration,
};

use serde_json::Value;
use service_specific_credentials::{
    AsyncCredentialManager, Error, ListRequest, ListUsersRequest, MaxItems, ServiceName, UserName,
    store::{Isolation, Listing, PostgresOptions, PostgresStore, ScanRange},
};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::{
    common::{ACCOUNT, CODECOMMIT, name},
    database::{Space, check, shared, wait},
    proxy::Proxy,
};

/// The statements, by the name of their file.
fn files() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/postgres/sql");
    let files: BTreeMap<_, _> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(files.len() > 10);
    files
}

/// The words of a statement, in upper case, without its comments.
fn words(statement: &str) -> Vec<String> {
    statement
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default())
        .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ';'))
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_uppercase)
        .collect()
}

#[test]
fn the_statements_use_portable_sql_only() {
    const MISSING: &[&str] = &[
        // Objects and types.
        "SEQUENCE",
        "SERIAL",
        "BIGSERIAL",
        "SMALLSERIAL",
        "IDENTITY",
        "GENERATED",
        "NEXTVAL",
        "REFERENCES",
        "FOREIGN",
        "TRIGGER",
        "FUNCTION",
        "PROCEDURE",
        "DOMAIN",
        "TYPE",
        "EXTENSION",
        "TABLESPACE",
        "PARTITION",
        "INHERITS",
        "TEMP",
        "TEMPORARY",
        "UNLOGGED",
        "EXCLUDE",
        "COLLATE",
        // Commands.
        "TRUNCATE",
        "LISTEN",
        "NOTIFY",
        "VACUUM",
        "LOCK",
        "COPY",
        "DO",
        "CALL",
        "MERGE",
        "SET_CONFIG",
        // Transactions of several statements, and explicit locks.
        "BEGIN",
        "START",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT",
        "SHARE",
        "SKIP",
        "NOWAIT",
        ";",
    ];
    for (file, statement) in files() {
        let words = words(&statement);
        let has = |word: &str| words.iter().any(|own| own == word);
        for missing in MISSING {
            // `ON CONFLICT … DO NOTHING` is no `DO`.
            let allowed = *missing == "DO" && has("CONFLICT") && has("NOTHING");
            assert!(allowed || !has(missing), "{file} has {missing}");
        }
        // The catalogue has the owners of tables and the sources of settings.
        let is_catalogue = |word: &str| match &*file {
            "owners.sql" => ["PG_CATALOG", "PG_CLASS", "PG_ROLES"].contains(&word),
            "lost_settings.sql" => ["PG_CATALOG", "PG_SETTINGS"].contains(&word),
            _ => false,
        };
        let advisory = words.iter().any(|word| {
            word.contains("ADVISORY") || (word.starts_with("PG_") && !is_catalogue(word))
        });
        assert!(!advisory, "{file} calls a function that only PostgreSQL has");
        let locks = words.windows(2).any(|pair| pair == ["FOR", "UPDATE"]);
        assert!(!locks, "{file} has an explicit lock");

        let defines = ["CREATE", "ALTER", "DROP"].iter().any(|word| has(word));
        let changes: Vec<String> = words
            .windows(3)
            .filter_map(|three| match [&*three[0], &*three[1], &*three[2]] {
                ["INSERT", "INTO", table]
                | ["DELETE", "FROM", table]
                | ["UPDATE", table, "SET"] => Some(table.to_owned()),
                _ => None,
            })
            .collect();
        assert!(!defines || changes.is_empty(), "{file} both defines and changes tables");
        for table in ["CREDENTIAL_USERS", "CREDENTIAL_KEYS", "CREDENTIAL_SCHEMA"] {
            let times = changes.iter().filter(|changed| *changed == table).count();
            let allowed = if file == "replace_and_exchange.sql" { 2 } else { 1 };
            assert!(times <= allowed, "{file} changes {table} {times} times");
        }
        assert!(
            changes.iter().all(|table| table.starts_with("CREDENTIAL_")),
            "{file}: {changes:?}"
        );
    }
}

/// The statements as in the files, without the schema of a space.
fn without_schema(space: &Space, statements: Vec<String>) -> Vec<String> {
    let schema = format!("\"{}\".", space.name);
    statements.into_iter().map(|statement| statement.replace(&schema, "")).collect()
}

/// The manager of a space, and the proxy in front of it.
async fn observed(space: &Space) -> (AsyncCredentialManager<PostgresStore>, Proxy) {
    let proxy = Proxy::start(space.port()).await;
    let behind = space.via(proxy.port());
    let store = behind.store(&PostgresOptions::new().max_connections(1)).await;
    (AsyncCredentialManager::new(name(ACCOUNT), store), proxy)
}

#[test]
fn operations_take_the_documented_number_of_round_trips() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let (iam, proxy) = observed(&space).await;
        let (codecommit, anika): (ServiceName, UserName) = (name(CODECOMMIT), name("anika"));
        let page = ListRequest::all_users().max_items(MaxItems::new(10).unwrap());
        let mut sent = Vec::new();
        let _migrating = proxy.take();
        // Run once to prepare the statements, and once more to count.
        for counted in [false, true] {
            let count = |what: &str, expected: usize, sent: &mut Vec<String>| {
                let (round_trips, statements) = proxy.take();
                if counted {
                    assert_eq!(round_trips, expected, "{what}");
                    assert!(statements.is_empty(), "{what} prepares {statements:?} again");
                }
                sent.extend(statements);
            };
            count("nothing", 0, &mut sent);
            iam.register_user(&anika).await.unwrap();
            count("register", 2, &mut sent);
            let issued = iam.create(&anika, &codecommit).await.unwrap();
            count("create", 2, &mut sent);
            let login = issued.service_user_name().as_str();
            iam.authenticate(&codecommit, login, issued.secret().expose()).await.unwrap();
            count("authenticate", 1, &mut sent);
            let unknown = "nobody+1-at-123456789012";
            iam.authenticate(&codecommit, unknown, "nothing").await.unwrap_err();
            count("authenticate an unknown name", 1, &mut sent);
            iam.authenticate(&codecommit, "nobody", "nothing").await.unwrap_err();
            count("authenticate text that is no service user name", 0, &mut sent);
            let _ = iam.reset(&anika, issued.id()).await.unwrap();
            count("reset", 2, &mut sent);
            iam.list(&anika).await.unwrap();
            count("list", 1, &mut sent);
            iam.list_page(&page).await.unwrap();
            count("a page of all users", 1, &mut sent);
            let more = iam
                .list_users_page(&ListUsersRequest::new().max_items(MaxItems::new(10).unwrap()))
                .await
                .unwrap();
            assert_eq!(more.items.len(), 1);
            count("a page of users", 1, &mut sent);
            iam.rename_user(&anika, &name("beate")).await.unwrap();
            count("rename", 2, &mut sent);
            iam.rename_user(&name("beate"), &anika).await.unwrap();
            count("rename back", 2, &mut sent);
            iam.delete(&anika, issued.id()).await.unwrap();
            count("delete", 2, &mut sent);
            iam.remove_user(&anika).await.unwrap();
            count("remove", 2, &mut sent);
            let result = iam.remove_user(&anika).await;
            assert!(matches!(result, Err(Error::NoSuchUser { .. })));
            count("a rejection", 1, &mut sent);
        }

        // Each statement qualifies its tables.
        let is_bare = |statement: &String| statement.contains(" credential_");
        assert!(!sent.iter().any(is_bare), "{sent:?}");
        let mut sent = without_schema(&space, sent);
        // Everything sent is a statement that another test reads. All statements were sent, except
        // the one that no manager needs.
        sent.sort();
        let count = sent.len();
        sent.dedup();
        assert_eq!(sent.len(), count, "a statement was prepared twice");
        let migrating = ["create_keys.sql", "create_schema.sql", "create_users.sql"];
        let others = ["finish_migration.sql", "lost_settings.sql", "owners.sql", "version.sql"];
        let migrating = [&migrating[..], &others].concat();
        let mut expected: Vec<String> = files()
            .into_iter()
            .filter(|(file, _)| file != "replace_and_exchange.sql")
            .filter(|(file, _)| !migrating.contains(&file.as_str()))
            .map(|(_, statement)| statement)
            .collect();
        expected.sort();
        assert_eq!(sent, expected);
    });
}

/// A pooler may share a session, so nothing is set on it.
#[test]
fn a_change_sends_its_settings_and_a_read_none() {
    let Some(server) = shared() else { return };
    let options = PostgresOptions::new();
    let serializable = options.clone().isolation(Isolation::Serializable);
    wait(async {
        for (options, begin) in [
            (options.clone(), Some("BEGIN; SET LOCAL statement_timeout = 10000")),
            (options.clone().statement_timeout(None), None),
            (
                serializable.clone().statement_timeout(Duration::from_secs(77)),
                Some("BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL statement_timeout = 77000"),
            ),
            (serializable.statement_timeout(None), Some("BEGIN ISOLATION LEVEL SERIALIZABLE")),
            (
                options.isolation(Isolation::RepeatableRead).statement_timeout(None),
                Some("BEGIN ISOLATION LEVEL REPEATABLE READ"),
            ),
        ] {
            let space = server.space().await;
            let proxy = Proxy::start(space.port()).await;
            let store = space.via(proxy.port()).store(&options.max_connections(1)).await;
            let iam = AsyncCredentialManager::new(name(ACCOUNT), store);
            proxy.take_transactions();
            iam.register_user(&name("anika")).await.unwrap();
            let expected = begin.map_or(vec![], |begin| vec![begin, "COMMIT"]);
            assert_eq!(proxy.take_transactions(), expected);
            iam.user(&name("anika")).await.unwrap();
            assert!(proxy.take_transactions().is_empty());
            let (_, sent) = proxy.take();
            assert!(!sent.iter().any(|statement| words(statement)[0] == "SET"), "{sent:?}");
        }
    });
}

#[test]
fn a_change_with_settings_takes_one_round_trip() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let (iam, proxy) = observed(&space).await;
        // This prepares the statement.
        iam.register_user(&name("anika")).await.unwrap();
        proxy.hold_transactions();
        iam.register_user(&name("beate")).await.unwrap();
        assert_eq!(proxy.take_transactions().last().unwrap(), "COMMIT");
    });
}

#[test]
fn a_migration_sends_only_statements_from_files() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let (_iam, proxy) = observed(&space).await;
        let (_, sent) = proxy.take();
        // The check whether the server accepts writes.
        let (first, sent) = sent.split_first().unwrap();
        assert_eq!(first, "SHOW transaction_read_only");
        let (known, sent) = (files(), without_schema(&space, sent.to_vec()));
        assert!(sent.len() >= 5);
        assert!(sent.iter().all(|sent| known.values().any(|file| file == sent)), "{sent:?}");
    });
}

/// The statement that no manager needs, sent as the store would.
#[test]
fn exchanging_keys_for_more_or_fewer_keys() {
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let store = space.store(&PostgresOptions::new()).await;
        let iam = AsyncCredentialManager::new(name(ACCOUNT), store);
        let user = iam.register_user(&name("anika")).await.unwrap();
        iam.register_user(&name("beate")).await.unwrap();
        let client = space.client().await;
        let statement = &files()["replace_and_exchange.sql"];
        let exchange = client.prepare(statement).await.unwrap();
        let id = uuid::Uuid::from_bytes(*user.id().as_bytes());
        let keys = async || -> Vec<Vec<u8>> {
            let held = "SELECT key FROM credential_keys WHERE user_id = $1 ORDER BY key";
            client.query(held, &[&id]).await.unwrap().iter().map(|row| row.get(0)).collect()
        };
        let own = keys().await;
        let new = vec![b"one".to_vec(), b"two".to_vec()];
        let send = async |from: i64, to: i64, released: &Vec<Vec<u8>>, claimed: &Vec<Vec<u8>>| {
            let (name, record): (&str, &[u8]) = ("anika", b"");
            let rows = client
                .query(&exchange, &[&id, &from, &name, &to, &0_i32, &record, released, claimed])
                .await;
            rows.map(|rows| rows.len())
        };
        assert_eq!(send(7, 8, &own, &new).await.unwrap(), 0, "stale");
        assert_eq!(keys().await, own);
        assert_eq!(send(0, 1, &own, &new).await.unwrap(), 1);
        assert_eq!(keys().await, new);
        let others = "SELECT key FROM credential_keys WHERE user_id <> $1";
        let others: Vec<u8> = client.query_one(others, &[&id]).await.unwrap().get(0);
        let taken = vec![b"three".to_vec(), others.clone()];
        let code = send(1, 2, &new, &taken).await.unwrap_err();
        assert_eq!(code.code().unwrap().code(), "23505");
        assert_eq!(keys().await, new);
        assert_eq!(send(0, 2, &new, &taken).await.unwrap(), 0, "stale takes precedence over taken");
        // A key of another user is not released.
        assert_eq!(send(1, 2, &vec![new[0].clone(), others.clone()], &own).await.unwrap(), 1);
        assert_eq!(keys().await, [own[0].clone(), new[1].clone()]);
    });
}

/// A plan with its cost.
struct Plan {
    nodes: Vec<Value>,
    pages: u64,
}

impl Plan {
    async fn of(client: &Client, range: &ScanRange<'_>) -> Self {
        let (start, end) = range.encode();
        let (Bound::Included(start), Bound::Excluded(end)) = (start, end) else { unreachable!() };
        let hex = |bytes: Vec<u8>| {
            bytes.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            })
        };
        let explain = format!(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE listing ('\\x{}', '\\x{}', {})",
            hex(start),
            hex(end),
            range.limit(),
        );
        // Run once before, because the first reader also tidies up pages.
        client.batch_execute(&explain).await.unwrap();
        let rows = client.simple_query(&explain).await.unwrap();
        let row = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        let plan: Value = serde_json::from_str(row.unwrap()).unwrap();
        let root = &plan[0]["Plan"];
        let pages = ["Shared Hit Blocks", "Shared Read Blocks"];
        let pages = pages.iter().map(|key| root[key].as_u64().unwrap()).sum();
        let mut nodes = Vec::new();
        let mut left = vec![root.clone()];
        while let Some(node) = left.pop() {
            left.extend(node["Plans"].as_array().into_iter().flatten().cloned());
            nodes.push(node);
        }
        Self { nodes, pages }
    }

    fn has(&self, kind: &str) -> bool {
        self.nodes.iter().any(|node| node["Node Type"] == kind)
    }

    /// The node that reads the index of keys.
    fn index(&self) -> &Value {
        let reads = |node: &&Value| node["Index Name"] == "credential_keys_primary_key";
        self.nodes.iter().find(reads).expect("the plan reads the index")
    }
}

/// Adds users without credentials, as rows whose records are never read.
async fn fill(client: &Client, from: i32, to: i32) {
    let account: i64 = ACCOUNT.parse().unwrap();
    client
        .execute(
            "INSERT INTO credential_users SELECT md5(number::text)::uuid, '', '', 0, 0, now(), \
             repeat('x', 60)::bytea FROM generate_series($1::integer, $2) AS number",
            &[&from, &to],
        )
        .await
        .unwrap();
    client
        .execute(
            "INSERT INTO credential_keys SELECT int8send($3) || '\\x01' || \
             convert_to('user' || lpad(number::text, 7, '0'), 'UTF8'), md5(number::text)::uuid \
             FROM generate_series($1::integer, $2) AS number",
            &[&from, &to, &account],
        )
        .await
        .unwrap();
    client.batch_execute("VACUUM ANALYZE credential_users").await.unwrap();
    client.batch_execute("VACUUM ANALYZE credential_keys").await.unwrap();
}

#[test]
fn the_cost_of_a_page_does_not_depend_on_the_number_of_users() {
    const FEW: i32 = 1_000;
    let many = std::env::var("SSC_PAGE_USERS").map_or(200_000, |many| many.parse().unwrap());
    let Some(server) = shared() else { return };
    wait(async {
        let space = server.space().await;
        let store = space.store(&PostgresOptions::new()).await;
        let iam = AsyncCredentialManager::new(name(ACCOUNT), store);
        let codecommit: ServiceName = name(CODECOMMIT);
        for number in 0..10 {
            let user: UserName = name(&format!("user{:07}-owner", number * 90));
            iam.register_user(&user).await.unwrap();
            let _ = iam.create(&user, &codecommit).await.unwrap();
        }
        assert_eq!(check(&space.client().await).await.len(), 10);
        let client = space.client().await;
        let statement = &files()["scan.sql"];
        client
            .batch_execute(&format!("PREPARE listing (bytea, bytea, bigint) AS {statement}"))
            .await
            .unwrap();
        let account = name(ACCOUNT);
        let middle: UserName = name("user0000500");
        let limit = NonZeroUsize::new(100).unwrap();
        let listings = [
            Listing::Holders { service: Some(&codecommit) },
            Listing::Holders { service: None },
            Listing::Users,
        ];
        let ranges: Vec<ScanRange<'_>> = listings
            .iter()
            .flat_map(|listing| {
                [Bound::Unbounded, Bound::Included(&middle)]
                    .map(|start| ScanRange::new(account, *listing, start, limit))
            })
            .collect();
        let modes = ["force_generic_plan", "force_custom_plan"];
        let mut pages = Vec::new();
        for (from, to) in [(1, FEW), (FEW + 1, many)] {
            fill(&client, from, to).await;
            for mode in modes {
                client.batch_execute(&format!("SET plan_cache_mode = {mode}")).await.unwrap();
                for range in &ranges {
                    let plan = Plan::of(&client, range).await;
                    let index = plan.index();
                    let condition = index["Index Cond"].as_str().unwrap();
                    assert!(condition.contains("key >=") && condition.contains("key <"));
                    assert!(index["Actual Rows"].as_u64().unwrap() <= 100);
                    assert!(index.get("Filter").is_none(), "{index}");
                    assert!(to < many || !plan.has("Seq Scan"), "{:?}", plan.nodes);
                    pages.push(plan.pages);
                }
            }
        }
        let (few, many) = pages.split_at(pages.len() / 2);
        // With the generic plan. The trees have one more level, and each user of a page is looked
        // up in one.
        for (few, many) in few.iter().zip(many).take(ranges.len()) {
            assert!(*many <= few + few / 2, "{pages:?}");
        }
        // The custom plan may differ for few users. For many it reads as little: ten holders or a
        // hundred users.
        for many in many.chunks(ranges.len()) {
            let (owners, users) = many.split_at(4);
            assert!(owners.iter().all(|pages| *pages < 60), "{pages:?}");
            assert!(users.iter().all(|pages| *pages < 500), "{pages:?}");
        }
        let found = iam.list_page(&ListRequest::all_users()).await.unwrap();
        assert_eq!(found.items.len(), 10);
    });
}
