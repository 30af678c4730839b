//! The tables of the file: reading records and applying changes.
//!
//! `records` maps the 16 bytes of a user's id to the encoded record, `index` maps each encoded key
//! of a record to the user's id, and `meta` holds the format of the file.

use std::sync::Arc;

use redb::{
    Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition,
    TableError, WriteTransaction,
};

use super::{
    error::{OpenError, RedbError},
    guard::Guarded,
};
use crate::{
    record::{UserRecord, key::Key},
    store::{
        change::{Change, CommitOutcome},
        scan_range::ScanRange,
    },
    user::UserId,
};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const INDEX: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 1;

/// Creates the tables in a database without tables.
pub(super) fn create(database: &Database) -> Result<(), OpenError> {
    let transaction = begin(database)?;
    create_in(&transaction)?;
    transaction.commit().map_err(redb::Error::from)?;
    Ok(())
}

fn create_in(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert("format", FORMAT)?;
    Tables::open(transaction)?;
    Ok(())
}

/// Checks that the database is a store, in the format of this release.
pub(super) fn check_format(database: &Database) -> Result<(), OpenError> {
    let reading = database.begin_read().map_err(redb::Error::from)?;
    let meta = match reading.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(redb::Error::from(error).into()),
        Err(_) => return Err(OpenError::NotAStore),
    };
    match meta.get("format").map_err(redb::Error::from)?.map(|format| format.value()) {
        Some(FORMAT) => Ok(()),
        Some(later) => Err(OpenError::LaterFormat(later)),
        None => Err(OpenError::NotAStore),
    }
}

/// Begins a durable transaction.
///
/// It commits in two phases. With one phase, only checksums tell a commit from a torn write after a
/// crash.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// The tables, as a transaction has changed them so far.
pub(super) struct Tables<'t> {
    records: Table<'t, &'static [u8], &'static [u8]>,
    index: Table<'t, &'static [u8], &'static [u8]>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let (records, index) = (transaction.open_table(RECORDS)?, transaction.open_table(INDEX)?);
        Ok(Self { records, index })
    }

    /// Applies one change unless it conflicts. An outer error means that the database failed. An
    /// inner error means that the previous record cannot be decoded and nothing was changed.
    pub(super) fn apply(
        &mut self,
        change: &Change,
    ) -> Result<Result<CommitOutcome, RedbError>, redb::Error> {
        if let Some(previous) = change.previous() {
            let held = self.records.get(&previous.id().as_bytes()[..])?;
            let held = held.map(|bytes| UserRecord::decode(bytes.value())).transpose();
            match held {
                Ok(Some(held)) if held.revision() == previous.revision() => {}
                Ok(_) => return Ok(Ok(CommitOutcome::Stale)),
                Err(error) => return Ok(Err(RedbError::Record(error))),
            }
        }
        let taken = match change {
            Change::Register { record } => {
                self.records.get(&record.id().as_bytes()[..])?.is_some()
                    || !self.claim(change, record.id())?
            }
            Change::Replace { record, .. } => !self.claim(change, record.id())?,
            Change::Remove { .. } => false,
        };
        if taken {
            return Ok(Ok(CommitOutcome::KeyTaken));
        }
        for key in change.released() {
            self.index.remove(key.encode().as_slice())?;
        }
        match change {
            Change::Register { record } | Change::Replace { record, .. } => {
                self.records.insert(&record.id().as_bytes()[..], record.encode().as_slice())?;
            }
            Change::Remove { previous } => {
                self.records.remove(&previous.id().as_bytes()[..])?;
            }
        }
        Ok(Ok(CommitOutcome::Applied))
    }

    /// Inserts the keys that `change` claims, or none if one of them is taken. Keys are inserted
    /// first and restored on a conflict, because conflicts are rare and a look-up costs as much as
    /// an insertion.
    fn claim(&mut self, change: &Change, user: UserId) -> Result<bool, redb::Error> {
        let keys: Vec<_> = change.claimed().map(|key| key.encode()).collect();
        for (entered, key) in keys.iter().enumerate() {
            let held = self.index.insert(key.as_slice(), &user.as_bytes()[..])?;
            if let Some(held) = held.map(|held| held.value().to_vec()) {
                self.index.insert(key.as_slice(), held.as_slice())?;
                for key in keys.iter().take(entered) {
                    self.index.remove(key.as_slice())?;
                }
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The database as of one commit. Reads do not wait for writers.
#[derive(Debug)]
pub(super) struct Snapshot {
    tables: Guarded<ReadTables>,
    generation: u64,
}

struct ReadTables {
    records: ReadOnlyTable<&'static [u8], &'static [u8]>,
    index: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl Snapshot {
    /// Reads the last commit of a database that was opened as generation `generation`.
    pub(super) fn take(database: &Database, generation: u64) -> Result<Self, RedbError> {
        let reading = database.begin_read().map_err(redb::Error::from)?;
        let records = reading.open_table(RECORDS).map_err(redb::Error::from)?;
        let index = reading.open_table(INDEX).map_err(redb::Error::from)?;
        Ok(Self { tables: Guarded::new(ReadTables { records, index }), generation })
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, RedbError> {
        self.tables.call(|tables| {
            let id = tables.index.get(key.encode().as_slice()).map_err(redb::Error::from)?;
            id.map(|id| tables.record(id.value())).transpose()
        })
    }

    pub(super) fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, RedbError> {
        let (start, end) = range.encode();
        let bounds = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        self.tables.call(|tables| {
            let rows = tables.index.range::<&[u8]>(bounds).map_err(redb::Error::from)?;
            rows.take(range.limit())
                .map(|row| {
                    let (_, id) = row.map_err(redb::Error::from)?;
                    tables.record(id.value())
                })
                .collect()
        })
    }

    /// Returns whether the index holds exactly the keys of the records, each with the id of its
    /// record, and every record is stored under its own id.
    pub(super) fn is_consistent(&self) -> Result<bool, RedbError> {
        self.tables.call(ReadTables::is_consistent)
    }

    /// Copies everything into a new store.
    pub(super) fn copy_to(&self, database: &Database) -> Result<(), RedbError> {
        self.tables.call(|tables| Ok(tables.copy_to(database)?))
    }
}

impl ReadTables {
    fn record(&self, id: &[u8]) -> Result<Arc<UserRecord>, RedbError> {
        let bytes = self.records.get(id).map_err(redb::Error::from)?.ok_or(RedbError::Index)?;
        Ok(Arc::new(UserRecord::decode(bytes.value()).map_err(RedbError::Record)?))
    }

    fn is_consistent(&self) -> Result<bool, RedbError> {
        let mut keys = 0_u64;
        for row in self.records.range::<&[u8]>(..).map_err(redb::Error::from)? {
            let (id, bytes) = row.map_err(redb::Error::from)?;
            let record = UserRecord::decode(bytes.value()).map_err(RedbError::Record)?;
            if record.id().as_bytes()[..] != *id.value() {
                return Ok(false);
            }
            for key in record.keys() {
                let entry = self.index.get(key.encode().as_slice()).map_err(redb::Error::from)?;
                if entry.is_none_or(|entry| entry.value() != id.value()) {
                    return Ok(false);
                }
                keys += 1;
            }
        }
        // The entries of all keys were found, so the index has other entries only if it has more.
        let mut entries = 0_u64;
        for row in self.index.range::<&[u8]>(..).map_err(redb::Error::from)? {
            row.map_err(redb::Error::from)?;
            entries += 1;
        }
        Ok(entries == keys)
    }

    fn copy_to(&self, database: &Database) -> Result<(), redb::Error> {
        let transaction = begin(database)?;
        let mut tables = Tables::open(&transaction)?;
        for (from, to) in [(&self.records, &mut tables.records), (&self.index, &mut tables.index)] {
            for row in from.range::<&[u8]>(..)? {
                let (key, value) = row?;
                to.insert(key.value(), value.value())?;
            }
        }
        drop(tables);
        transaction.commit()?;
        Ok(())
    }
}
