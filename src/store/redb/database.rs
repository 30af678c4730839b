//! What stands in the file, and how changes and look-ups read and write it.
//!
//! Three tables: `records` maps the 16 bytes of a user's id to the encoded record, `index` maps each
//! encoded key of a record to the user's id, and `meta` says which format the file has.

use std::sync::Arc;

use redb::{
    Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    Table, TableDefinition, TableError, WriteTransaction,
};

use super::{OpenError, RedbError};
use crate::store::{Change, Commit, Key, Range, UserRecord};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const INDEX: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 1;

/// Makes a new file ours, and refuses one that is somebody else's or a later release's.
pub(super) fn prepare(database: &Database) -> Result<(), OpenError> {
    let reading = database.begin_read().map_err(redb::Error::from)?;
    match reading.open_table(META) {
        Ok(meta) => {
            let format = meta.get("format").map_err(redb::Error::from)?;
            return match format.map(|format| format.value()) {
                Some(FORMAT) => Ok(()),
                Some(later) => Err(OpenError::LaterFormat(later)),
                None => Err(OpenError::NotAStore),
            };
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(TableError::Storage(error)) => return Err(redb::Error::from(error).into()),
        Err(_) => return Err(OpenError::NotAStore),
    }
    if reading.list_tables().map_err(redb::Error::from)?.next().is_some() {
        return Err(OpenError::NotAStore);
    }
    drop(reading);
    let transaction = begin(database)?;
    create(&transaction)?;
    transaction.commit().map_err(redb::Error::from)?;
    Ok(())
}

/// Makes the tables of a new file.
fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert("format", FORMAT)?;
    Tables::open(transaction)?;
    Ok(())
}

/// Begins a durable transaction.
///
/// It commits in two phases: after a crash, a commit of one phase is told from a torn one by its
/// checksums alone.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

/// The tables, as a transaction has made them so far.
pub(super) struct Tables<'t> {
    records: Table<'t, &'static [u8], &'static [u8]>,
    index: Table<'t, &'static [u8], &'static [u8]>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        let (records, index) = (transaction.open_table(RECORDS)?, transaction.open_table(INDEX)?);
        Ok(Self { records, index })
    }

    /// Makes one change, if it can be made. An error of the outer kind: the database failed; of the
    /// inner kind: the record that is there cannot be read, and nothing was changed.
    pub(super) fn apply(
        &mut self,
        change: &Change,
    ) -> Result<Result<Commit, RedbError>, redb::Error> {
        if let Some(before) = change.before() {
            let held = self.records.get(&before.id().as_bytes()[..])?;
            let held = held.map(|bytes| UserRecord::decode(bytes.value())).transpose();
            match held {
                Ok(Some(held)) if held.revision() == before.revision() => {}
                Ok(_) => return Ok(Ok(Commit::Stale)),
                Err(error) => return Ok(Err(RedbError::Record(error))),
            }
        }
        for key in change.claimed() {
            if self.index.get(key.encode().as_slice())?.is_some() {
                return Ok(Ok(Commit::KeyTaken));
            }
        }
        for key in change.released() {
            self.index.remove(key.encode().as_slice())?;
        }
        match (change.before(), change.after()) {
            (_, Some(after)) => {
                let id = after.id();
                for key in change.claimed() {
                    self.index.insert(key.encode().as_slice(), &id.as_bytes()[..])?;
                }
                self.records.insert(&id.as_bytes()[..], after.encode().as_slice())?;
            }
            (Some(before), None) => {
                self.records.remove(&before.id().as_bytes()[..])?;
            }
            (None, None) => {}
        }
        Ok(Ok(Commit::Applied))
    }
}

/// The database as it was after some flush. Reading it waits for nobody.
pub(super) struct Snapshot {
    records: ReadOnlyTable<&'static [u8], &'static [u8]>,
    index: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl Snapshot {
    pub(super) fn take(database: &Database) -> Result<Self, redb::Error> {
        let reading = database.begin_read()?;
        Ok(Self { records: reading.open_table(RECORDS)?, index: reading.open_table(INDEX)? })
    }

    pub(super) fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, RedbError> {
        let id = self.index.get(key.encode().as_slice()).map_err(redb::Error::from)?;
        id.map(|id| self.record(id.value())).transpose()
    }

    pub(super) fn scan(&self, range: &Range<'_>) -> Result<Vec<Arc<UserRecord>>, RedbError> {
        let (start, end) = range.encode();
        let bounds = (start.as_ref().map(Vec::as_slice), end.as_ref().map(Vec::as_slice));
        let rows = self.index.range::<&[u8]>(bounds).map_err(redb::Error::from)?;
        rows.take(range.limit())
            .map(|row| {
                let (_, id) = row.map_err(redb::Error::from)?;
                self.record(id.value())
            })
            .collect()
    }

    /// Whether every key of every record leads to it, and every key in the index is one of those.
    pub(super) fn agrees(&self) -> Result<bool, RedbError> {
        let mut keys = 0;
        for row in self.records.range::<&[u8]>(..).map_err(redb::Error::from)? {
            let (id, bytes) = row.map_err(redb::Error::from)?;
            let record = UserRecord::decode(bytes.value()).map_err(RedbError::Record)?;
            for key in record.keys() {
                let leads = self.index.get(key.encode().as_slice()).map_err(redb::Error::from)?;
                if leads.is_none_or(|leads| leads.value() != id.value()) {
                    return Ok(false);
                }
                keys += 1;
            }
        }
        Ok(self.index.len().map_err(redb::Error::from)? == keys)
    }

    /// Copies all of it into a new database.
    pub(super) fn copy_to(&self, database: &Database) -> Result<(), redb::Error> {
        let transaction = begin(database)?;
        create(&transaction)?;
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

    fn record(&self, id: &[u8]) -> Result<Arc<UserRecord>, RedbError> {
        let bytes = self.records.get(id).map_err(redb::Error::from)?.ok_or(RedbError::Index)?;
        Ok(Arc::new(UserRecord::decode(bytes.value()).map_err(RedbError::Record)?))
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot(..)")
    }
}
