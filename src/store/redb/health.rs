use std::sync::Arc;

use super::error::RedbError;

/// What a [`RedbStore`](super::RedbStore) can do now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RedbHealth {
    /// It reads and writes.
    Ready,
    /// It reads. The last write failed for this reason, and no write has succeeded since.
    WriteFailed(Arc<RedbError>),
    /// It neither reads nor writes, for this reason. The next call reopens it.
    Closed(Arc<RedbError>),
}
