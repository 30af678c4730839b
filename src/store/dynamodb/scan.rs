//! Reads a listing: its shards concurrently, merged by name.

use std::{
    collections::{HashMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use futures_util::future::try_join_all;

use super::{
    DynamoDbError,
    items::{self, Item, PrimaryKey, SHARDS, holder, listed_name, listing_partition},
    requests::{BATCH, Page, Requests},
};
use crate::{record::UserRecord, store::scan_range::ScanRange, user::UserId};

/// The number of batches of records that are read at once.
const BATCHES: usize = 4;

/// A key of the listing.
struct Entry {
    /// The name in lower case.
    name: Vec<u8>,
    holder: UserId,
}

/// The keys of one shard that were read and not yet taken.
struct Shard {
    partition: Vec<u8>,
    entries: VecDeque<Entry>,
    /// The start of the next page, if there may be one.
    rest: Option<Rest>,
}

enum Rest {
    All,
    From(Item),
}

impl Shard {
    fn is_unread(&self) -> bool {
        self.entries.is_empty() && self.rest.is_some()
    }

    /// The lowest name that was read.
    fn first(&self) -> Option<&[u8]> {
        self.entries.front().map(|entry| &*entry.name)
    }

    fn take_page(&mut self, page: Page) -> Result<(), DynamoDbError> {
        for item in &page.items {
            self.entries.push_back(Entry { name: listed_name(item)?, holder: holder(item)? });
        }
        self.rest = page.next.map(Rest::From);
        Ok(())
    }
}

/// The shards of a listing, as one sequence of keys.
struct Merge<'a> {
    requests: &'a Requests,
    start: Bound<Vec<u8>>,
    /// The number of keys of a shard to read at a time.
    page: usize,
    shards: Vec<Shard>,
}

impl<'a> Merge<'a> {
    fn new(requests: &'a Requests, range: &ScanRange<'_>) -> Self {
        let shard = |shard| Shard {
            partition: listing_partition(range.account(), range.listing(), shard),
            entries: VecDeque::new(),
            rest: Some(Rest::All),
        };
        // The names of a page are distributed over the shards at random. With this margin, one of
        // 5,000 pages of 100 reads a shard a second time.
        let average = range.limit() / usize::from(SHARDS);
        let page = average + average / 8 + 16;
        Self {
            requests,
            start: items::start(range),
            page: page.min(range.limit()),
            shards: (0..SHARDS).map(shard).collect(),
        }
    }

    /// Returns the next keys in the order of names: at most `most`, and none only at the end.
    async fn next(&mut self, most: usize) -> Result<Vec<Entry>, DynamoDbError> {
        let mut entries = Vec::new();
        while entries.len() < most {
            self.read().await?;
            let left = self.shards.iter_mut().filter(|shard| !shard.entries.is_empty());
            let first = left.min_by(|left, right| left.first().cmp(&right.first()));
            match first.and_then(|shard| shard.entries.pop_front()) {
                Some(entry) => entries.push(entry),
                None => break,
            }
        }
        Ok(entries)
    }

    /// Reads the next page of each shard whose keys are used up, so that the lowest name of all
    /// shards has been read.
    async fn read(&mut self) -> Result<(), DynamoDbError> {
        while self.shards.iter().any(Shard::is_unread) {
            let Self { requests, start, page, shards } = self;
            let unread = shards.iter_mut().filter(|shard| shard.is_unread());
            let pages = unread.map(async |shard| {
                let next = match shard.rest.take() {
                    Some(Rest::From(next)) => Some(next),
                    Some(Rest::All) | None => None,
                };
                let page = requests.query(&shard.partition, start, next, *page).await?;
                shard.take_page(page)
            });
            try_join_all(pages).await?;
        }
        Ok(())
    }
}

impl Requests {
    pub(super) async fn scan(
        &self,
        range: &ScanRange<'_>,
    ) -> Result<Vec<Arc<UserRecord>>, DynamoDbError> {
        let mut merge = Merge::new(self, range);
        let mut found = Vec::new();
        loop {
            let missing = range.limit() - found.len();
            let entries = merge.next(missing.min(BATCHES * BATCH)).await?;
            if entries.is_empty() {
                return Ok(found);
            }
            let records = self.records(&entries).await?;
            // A record that has released its key since is omitted.
            found.extend(entries.iter().filter_map(|entry| {
                let record = records.get(&entry.holder)?;
                let key = range.key(record.name());
                let named = record.name().as_str().as_bytes().eq_ignore_ascii_case(&entry.name);
                (named && record.holds(&key)).then(|| Arc::clone(record))
            }));
        }
    }

    /// Reads the records of the users who hold the keys. One user may hold two after a change of
    /// name between reads of two shards.
    async fn records(
        &self,
        entries: &[Entry],
    ) -> Result<HashMap<UserId, Arc<UserRecord>>, DynamoDbError> {
        let mut holders: Vec<UserId> = entries.iter().map(|entry| entry.holder).collect();
        holders.sort_unstable();
        holders.dedup();
        let batches = holders
            .chunks(BATCH)
            .map(|holders| self.batch_get(holders.iter().copied().map(PrimaryKey::record)));
        let items = try_join_all(batches).await?;
        items
            .iter()
            .flatten()
            .map(|item| items::record(item).map(|record| (record.id(), record)))
            .collect()
    }
}
