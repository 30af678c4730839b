//! Guards every call into redb: a panic in redb becomes an error.
//!
//! redb trusts a file that was closed cleanly, and some damage makes it panic. A destructor of redb
//! can panic too, so values that have one are dropped here.
//!
//! The panic hook still runs, and by default it prints the panic. Two failures cannot be turned
//! into an error and end the process: a panic while another one unwinds, and a stack overflow.

use std::{
    fmt,
    panic::{self, AssertUnwindSafe},
};

/// Code of redb, or of the storage behind it, panicked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panicked;

/// Runs `work`, and returns an error if it panics.
///
/// After a panic, the caller must drop whatever `work` was changing. What was only read is usable.
pub(super) fn call<T, E: From<Panicked>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Panicked.into()))
}

/// A value of redb. Calls into it and its destructor are guarded.
pub(super) struct Guarded<T>(
    /// `None` only while it is being dropped.
    Option<T>,
);

impl<T> Guarded<T> {
    pub(super) const fn new(value: T) -> Self {
        Self(Some(value))
    }

    pub(super) fn call<R, E: From<Panicked>>(
        &self,
        work: impl FnOnce(&T) -> Result<R, E>,
    ) -> Result<R, E> {
        call(|| self.0.as_ref().map_or_else(|| Err(Panicked.into()), work))
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(value)));
    }
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guarded(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct PanicsOnDrop;

    impl Drop for PanicsOnDrop {
        fn drop(&mut self) {
            panic!("on drop");
        }
    }

    #[test]
    fn a_panic_is_returned_as_an_error() {
        let value = Guarded::new(1);
        let work = |_: &i32| -> Result<(), Panicked> { panic!("in a call") };
        assert!(value.call(work).is_err());
        assert_eq!(value.call(|&value| Ok::<_, Panicked>(value)).unwrap(), 1);
    }

    #[test]
    fn a_panic_in_a_destructor_is_contained() {
        drop(Guarded::new(PanicsOnDrop));
        let moved = Guarded::new(PanicsOnDrop);
        assert!(
            call(move || -> Result<(), Panicked> {
                let _moved = moved;
                panic!("with a value that panics on drop")
            })
            .is_err()
        );
    }
}
