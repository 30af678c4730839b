use std::sync::Arc;

use super::error::RedbError;

/// The state of a [`RedbStore`](super::RedbStore).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RedbHealth {
    /// The store reads and writes.
    Ready,
    /// The store reads. The last write failed for this reason, and no write has succeeded since.
    WriteFailed(Arc<RedbError>),
    /// The store neither reads nor writes, for this reason. The next call reopens it.
    Closed(Arc<RedbError>),
}
