//! What stands in the file, and how changes and look-ups read and write it.
//!
//! Three tables: `records` maps the 16 bytes of a user's id to the encoded record, `index` maps each
//! encoded key of a record to the user's id, and `meta` says which format the file has.

use std::{io, ops::Bound, sync::Arc};

use redb::{
    BackendError, Builder, Database, DatabaseError, ReadOnlyTable, ReadableDatabase as _,
    ReadableTable as _, ReadableTableMetadata as _, StorageBackend, StorageError, Table,
    TableDefinition, TableError, WriteTransaction,
};

use super::{OpenError, RedbError};
use crate::{
    UserId,
    store::{Change, Commit, Key, Range, UserRecord},
};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const INDEX: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("index");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 1;

/// Opens what `storage` holds, and makes a database if it holds nothing.
pub(super) fn open(
    builder: &Builder,
    storage: impl StorageBackend,
) -> Result<Database, DatabaseError> {
    let whole = (Bound::Unbounded, Bound::Unbounded);
    match storage.try_lock_range(whole.0, whole.1) {
        Ok(true) => {
            clear_unfinished(&storage)?;
            storage.unlock_range(whole.0, whole.1).map_err(StorageError::from)?;
        }
        Ok(false) => return Err(DatabaseError::DatabaseAlreadyOpen),
        Err(BackendError::Unsupported) => clear_unfinished(&storage)?,
        Err(error) => return Err(StorageError::from(error).into()),
    }
    builder.create_with_backend(storage)
}

/// Empties storage in which a database was being made when the process or the power failed. It has
/// its length by then, and maybe the rest of a header, but not the bytes that say that it is one,
/// and redb refuses it from then on. Nobody was told of anything in it.
fn clear_unfinished(storage: &impl StorageBackend) -> io::Result<()> {
    const MAGIC: usize = 9;
    const HEADER: u64 = 512;
    const SMALLEST: u64 = 1 << 20;
    let len = storage.len()?;
    if len < SMALLEST {
        return Ok(());
    }
    let mut magic = [0; MAGIC];
    storage.read(0, &mut magic)?;
    let mut empty = magic == [0; MAGIC];
    let mut chunk = vec![0; 1 << 16];
    let mut at = HEADER;
    while empty && at < len {
        let size = usize::try_from(len - at).unwrap_or(usize::MAX).min(chunk.len());
        chunk.truncate(size);
        storage.read(at, &mut chunk)?;
        empty = chunk.iter().all(|&byte| byte == 0);
        at += chunk.len() as u64;
    }
    if empty { storage.set_len(0) } else { Ok(()) }
}

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
        } else if let Some(after) = change.after()
            && self.records.get(&after.id().as_bytes()[..])?.is_some()
        {
            return Ok(Ok(Commit::KeyTaken));
        }
        if let Some(after) = change.after()
            && !self.claim(change, after.id())?
        {
            return Ok(Ok(Commit::KeyTaken));
        }
        for key in change.released() {
            self.index.remove(key.encode().as_slice())?;
        }
        match (change.before(), change.after()) {
            (_, Some(after)) => {
                self.records.insert(&after.id().as_bytes()[..], after.encode().as_slice())?;
            }
            (Some(before), None) => {
                self.records.remove(&before.id().as_bytes()[..])?;
            }
            (None, None) => {}
        }
        Ok(Ok(Commit::Applied))
    }

    /// Enters what `change` claims, or nothing if any of it is taken. A key is seldom taken: it is
    /// entered first, and put back if it was, since looking costs as much as entering.
    fn claim(&mut self, change: &Change, user: UserId) -> Result<bool, redb::Error> {
        let keys: Vec<_> = change.claimed().map(|key| key.encode()).collect();
        for (place, key) in keys.iter().enumerate() {
            let held = self.index.insert(key.as_slice(), &user.as_bytes()[..])?;
            if let Some(held) = held.map(|held| held.value().to_vec()) {
                self.index.insert(key.as_slice(), held.as_slice())?;
                for key in keys.iter().take(place) {
                    self.index.remove(key.as_slice())?;
                }
                return Ok(false);
            }
        }
        Ok(true)
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
