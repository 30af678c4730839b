//! Altered tables, in a file and in a database.

use std::{collections::BTreeSet, fs, path::Path};

use redb::{Database, TableDefinition};
use service_specific_credentials::{
    AccountId, CredentialId, ServiceName, UserName,
    store::{Key, RedbStore, Store},
};

use crate::{
    common::{ACCOUNT, CASSANDRA, CODECOMMIT, Folder, name},
    corrupt_index::world::{Found, OTHER_ACCOUNT, People, try_everything},
};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const INDEX: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index");

/// One alteration of the tables.
enum Alteration {
    /// A key refers to this user.
    Key { what: &'static str, key: Vec<u8>, user: Vec<u8> },
    /// The row of a user contains the record of another user.
    Record { user: Vec<u8>, record: Vec<u8> },
}

/// Every key of every user refers to another user, or to each of `others` users. So does each free
/// key, and each row contains the record of another user.
fn alterations(people: &People, store: &impl Store, others: usize) -> Vec<Alteration> {
    let records = people.records(store);
    let id = |place: usize| records[place].id().as_bytes().to_vec();
    let after = |place: usize| (1..=others).map(move |step| (place + step) % 4);
    let mut all = Vec::new();
    for (own, record) in records.iter().enumerate() {
        for other in after(own) {
            all.extend(record.keys().map(|key| Alteration::Key {
                what: kind(&key),
                key: key.encode(),
                user: id(other),
            }));
            let record = record.encode();
            all.push(Alteration::Record { user: id(other), record });
        }
    }
    let [early, late] = ["aaron", "zoe"].map(name::<UserName>);
    let [codecommit, cassandra] = [CODECOMMIT, CASSANDRA].map(name::<ServiceName>);
    let unused: CredentialId = name("ACCA12345ABCDEXAMPLE");
    for account in [ACCOUNT, OTHER_ACCOUNT].map(name::<AccountId>) {
        // The names of the next credentials.
        let logins = ["anika", "cleo"].map(|user| format!("{user}+1-at-{account}"));
        let service_user = |name| Key::ServiceUser { account, service: &cassandra, name };
        let planted = [
            Key::User { account, name: &early },
            Key::User { account, name: &late },
            Key::Credential { account, id: &unused },
            service_user(&logins[0]),
            service_user(&logins[1]),
            Key::Holder { account, service: None, user: &early },
            Key::Holder { account, service: Some(&codecommit), user: &late },
        ];
        for user in after(0).map(id) {
            all.extend(planted.iter().map(|key| Alteration::Key {
                what: kind(key),
                key: key.encode(),
                user: user.clone(),
            }));
        }
    }
    all
}

fn kind(key: &Key<'_>) -> &'static str {
    match key {
        Key::User { .. } => "user",
        Key::Credential { .. } => "credential",
        Key::ServiceUser { .. } => "service user",
        Key::Holder { .. } => "holder",
    }
}

/// The number of operations that detected each kind of alteration.
#[derive(Default)]
struct Tally(std::collections::BTreeMap<&'static str, BTreeSet<String>>);

impl Tally {
    fn add(&mut self, alteration: &Alteration, found: Found) {
        let what = match alteration {
            Alteration::Key { what, .. } => what,
            Alteration::Record { .. } => "record",
        };
        let found = found.into_iter().filter(|(_, times)| *times > 0).map(|(what, _)| what);
        self.0.entry(what).or_default().extend(found);
    }

    /// Every kind was detected, at least by these operations.
    fn check(&self) {
        for (what, operations) in [
            ("user", &["user", "users", "create", "reset", "copy_users from"][..]),
            ("credential", &["reset", "set_status", "delete"]),
            ("service user", &["authenticate", "authenticate_api_key for all accounts", "create"]),
            ("holder", &["list_page of all", "list_page at a service"]),
            ("record", &["user", "authenticate", "list_page of all", "remove_user"]),
        ] {
            for operation in operations {
                assert!(self.0[what].contains(*operation), "{what}: {:?}", self.0[what]);
            }
        }
    }
}

fn alter_file(path: &Path, alteration: &Alteration) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let (table, key, value) = match alteration {
        Alteration::Key { key, user, .. } => (INDEX, key, user),
        Alteration::Record { user, record } => (RECORDS, user, record),
    };
    transaction.open_table(table).unwrap().insert(&**key, &**value).unwrap();
    transaction.commit().unwrap();
}

#[test]
fn an_altered_file_is_detected_and_exposes_no_other_user() {
    let folder = Folder::new("corrupt-index");
    let [whole, altered] = ["whole", "altered"].map(|name| folder.file(name));
    let store = RedbStore::create(&whole).unwrap();
    let people = People::register(&store);
    let alterations = alterations(&people, &store, 3);
    drop(store);
    let mut tally = Tally::default();
    for alteration in &alterations {
        fs::copy(&whole, &altered).unwrap();
        alter_file(&altered, alteration);
        let store = RedbStore::open(&altered).unwrap();
        tally.add(alteration, try_everything(&people, &store));
    }
    tally.check();
}

#[cfg(unix)]
#[test]
fn an_altered_database_is_detected_and_exposes_no_other_user() {
    use crate::database::{Blocking, shared, wait};
    use service_specific_credentials::store::PostgresOptions;
    use uuid::Uuid;

    let Some(server) = shared() else { return };
    let space = wait(server.space());
    let store = Blocking(wait(space.store(&PostgresOptions::new())));
    let people = People::register(&store);
    let client = wait(space.client());
    let execute = |statements: &str| wait(client.batch_execute(statements)).unwrap();
    execute(
        "CREATE TABLE whole_users AS SELECT * FROM credential_users;
        CREATE TABLE whole_keys AS SELECT * FROM credential_keys;",
    );
    let uuid = |bytes: &[u8]| Uuid::from_slice(bytes).unwrap();
    let mut tally = Tally::default();
    // Only one other user, because each operation takes a round trip or two.
    for alteration in &alterations(&people, &store, 1) {
        execute(
            "DELETE FROM credential_users; INSERT INTO credential_users SELECT * FROM whole_users;
            DELETE FROM credential_keys; INSERT INTO credential_keys SELECT * FROM whole_keys;",
        );
        match alteration {
            Alteration::Key { key, user, .. } => {
                let statement = "INSERT INTO credential_keys (key, user_id) VALUES ($1, $2) \
                    ON CONFLICT (key) DO UPDATE SET user_id = excluded.user_id";
                wait(client.execute(statement, &[key, &uuid(user)])).unwrap();
            }
            Alteration::Record { user, record } => {
                let statement = "UPDATE credential_users SET record = $2 WHERE user_id = $1";
                wait(client.execute(statement, &[&uuid(user), record])).unwrap();
            }
        }
        tally.add(alteration, try_everything(&people, &store));
    }
    tally.check();
}
