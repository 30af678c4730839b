//! A store in PostgreSQL compared with its own statements, sent directly over the same pool of 16
//! connections. From 1,000 users to 1,000,000.
//!
//! The benchmark starts its own server, in memory if the system supports it, on the same cores.
//! Nothing is flushed, so that the overhead of the store is visible.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark stops where it fails, and rounds"
)]

mod contest;
#[path = "../tests/common/postgres.rs"]
mod database;
mod measure;

use std::{hint::black_box, sync::Mutex};

use contest::Direct;
use database::{Installation, runtime, wait};
use deadpool_postgres::{Manager, Pool};
use measure::{Figures, sizes};
use service_specific_credentials::store::{Key, PostgresStore, UserRecord};
use tokio_postgres::NoTls;
use uuid::Uuid;

const FIND: &str = include_str!("../src/store/postgres/sql/find.sql");
const REPLACE: &str = include_str!("../src/store/postgres/sql/replace.sql");
const CLAIM: &str = include_str!("../src/store/postgres/sql/replace_and_claim.sql");

/// The statements without the store.
#[derive(Clone)]
struct Statements(Pool);

/// The rows of a user.
struct Rows {
    id: Uuid,
    name: String,
    record: Vec<u8>,
    claimed: Vec<Vec<u8>>,
    revision: Mutex<i64>,
}

impl Statements {
    async fn replace(&self, rows: &Rows, statement: &str) {
        let client = self.0.get().await.unwrap();
        let replace = client.prepare_cached(statement).await.unwrap();
        let from = *rows.revision.lock().unwrap();
        let (to, name) = (from + 1, &rows.name);
        let replaced = if statement == CLAIM {
            client
                .query(&replace, &[&rows.id, &from, &name, &to, &1, &rows.record, &rows.claimed])
                .await
        } else {
            client.query(&replace, &[&rows.id, &from, &name, &to, &1, &rows.record]).await
        };
        assert_eq!(replaced.unwrap().len(), 1);
        *rows.revision.lock().unwrap() = to;
    }
}

impl Direct for Statements {
    const READS: usize = 300;
    const CHANGES: usize = 300;

    type Place = Vec<u8>;
    type Rows = Rows;

    fn place(key: &Key<'_>, _: &UserRecord) -> Vec<u8> {
        key.encode()
    }

    fn rows(record: &UserRecord, claimed: &[Key<'_>]) -> Rows {
        Rows {
            id: Uuid::from_bytes(*record.id().as_bytes()),
            name: record.name().as_str().to_owned(),
            record: record.encode(),
            claimed: claimed.iter().map(Key::encode).collect(),
            revision: Mutex::new(i64::try_from(record.revision().count()).unwrap() - 1),
        }
    }

    async fn find(&self, key: &Vec<u8>) {
        let client = self.0.get().await.unwrap();
        let find = client.prepare_cached(FIND).await.unwrap();
        black_box(client.query(&find, &[&key]).await.unwrap()[0].get::<_, Vec<u8>>(0));
    }

    async fn create(&self, key: &Vec<u8>, rows: &Rows) {
        self.find(key).await;
        self.replace(rows, CLAIM).await;
    }

    async fn reset(&self, key: &Vec<u8>, rows: &Rows) {
        self.find(key).await;
        self.replace(rows, REPLACE).await;
    }
}

fn main() {
    let Some(installation) = Installation::find() else { return };
    let server = installation.server(&["fsync=off", "autovacuum=off"]);
    let config = server.url().parse().unwrap();
    let pool = Pool::builder(Manager::new(config, NoTls)).max_size(16).build().unwrap();
    let store = PostgresStore::from_pool(pool.clone());
    wait(store.migrate()).unwrap();
    let mut figures = Figures::default();
    contest::run(runtime(), &mut figures, &store, &sizes(1_000_000), || {
        wait(async { server.client().await.batch_execute("VACUUM ANALYZE").await.unwrap() });
        Statements(pool.clone())
    });
    figures.write("postgres");
}
