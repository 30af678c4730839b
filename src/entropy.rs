//! The source of random bytes, which tests can seed.

use std::{
    error::Error as StdError,
    fmt,
    sync::{Arc, Mutex},
};

use rand::TryCryptoRng;

use crate::causes::Causes;

/// The source of the random bytes that secrets and ids are made of.
///
/// An implementation must be a cryptographic generator; no guarantee of this crate holds otherwise.
/// It may be called by many threads at once, and is never called while a lock is held.
///
/// ```
/// use service_specific_credentials::{Entropy, SystemEntropy};
///
/// let mut bytes = [0; 32];
/// SystemEntropy.fill(&mut bytes)?;
/// assert_ne!(bytes, [0; 32]);
/// # Ok::<(), service_specific_credentials::EntropyError>(())
/// ```
pub trait Entropy: fmt::Debug + Send + Sync {
    /// Fills all of `bytes`.
    ///
    /// # Errors
    ///
    /// If the generator cannot fill all of them. The caller then uses none of them.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

/// The generator of the operating system. Safe across `fork`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(EntropyError::new)
    }
}

macro_rules! forward {
    ($($pointer:ty),+) => {$(
        impl<T: Entropy + ?Sized> Entropy for $pointer {
            fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
                (**self).fill(bytes)
            }
        }
    )+};
}

forward!(&T, Box<T>, Arc<T>);

/// A cryptographic generator of the `rand` family behind a lock.
///
/// Such a generator keeps its state in the process. After a `fork`, parent and child would draw the
/// same passwords: seed another generator in the child, or use [`SystemEntropy`]. An attacker who
/// reads the state from memory can compute the passwords to come and often the previous ones: a
/// block generator also keeps the random bytes of its last block.
pub struct RngEntropy<R>(Mutex<R>);

impl<R: TryCryptoRng> RngEntropy<R> {
    /// Draws from `rng`, which must be seeded from the operating system or be unpredictable
    /// otherwise.
    pub const fn new(rng: R) -> Self {
        Self(Mutex::new(rng))
    }
}

impl<R> Entropy for RngEntropy<R>
where
    R: TryCryptoRng + Send,
    R::Error: StdError + Send + Sync + 'static,
{
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        // A generator that panicked may be in a state that repeats: it is not used again.
        let mut rng = self.0.lock().map_err(|_| EntropyError::new("the generator panicked"))?;
        rng.try_fill_bytes(bytes).map_err(EntropyError::new)
    }
}

impl<R> fmt::Debug for RngEntropy<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RngEntropy(..)")
    }
}

/// The random number generator failed. Nothing was created or changed.
///
/// `Display` is one line for a log: the cause and its causes, joined by colons. The
/// [`source`](StdError::source) is therefore `None`; [`get_ref`](Self::get_ref) returns the cause.
/// The message of an [`Error`](crate::Error) does not contain it.
#[derive(Debug)]
pub struct EntropyError(Box<dyn StdError + Send + Sync>);

impl fmt::Display for EntropyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Causes(&*self.0).fmt(f)
    }
}

impl StdError for EntropyError {}

impl EntropyError {
    /// A failure with this cause.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(cause.into())
    }

    /// The cause.
    #[must_use]
    pub fn get_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }
}

/// The source of randomness yields the same bytes again: ids or secrets that it has just yielded
/// are already in use. That never happens by chance.
///
/// A manager puts it into an [`EntropyError`], to be had by [`get_ref`](EntropyError::get_ref) and
/// `downcast_ref`. What it does before: an id or a secret that is already in use is drawn again, a
/// few times. Typical causes are a generator with a fixed seed and a copy of a virtual machine or
/// process that shares the state of its generator with the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entropy source repeats itself")]
#[non_exhaustive]
pub struct RepeatedEntropy;

impl From<RepeatedEntropy> for EntropyError {
    fn from(repeated: RepeatedEntropy) -> Self {
        Self::new(repeated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_or_panicked_generator_is_an_error() {
        #[derive(Debug)]
        struct Broken;

        impl rand::TryRng for Broken {
            type Error = std::io::Error;

            fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
                panic!("half way")
            }

            fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
                panic!("half way")
            }

            fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
                match bytes.len() {
                    1 => panic!("half way"),
                    _ => Err(std::io::Error::other("drained")),
                }
            }
        }

        impl TryCryptoRng for Broken {}

        let entropy = Arc::new(RngEntropy::new(Broken));
        let source = entropy.fill(&mut [0; 2]).unwrap_err().0.to_string();
        assert_eq!(source, "drained");

        let panicking = Arc::clone(&entropy);
        std::thread::spawn(move || panicking.fill(&mut [0; 1])).join().unwrap_err();
        let source = entropy.fill(&mut [0; 2]).unwrap_err().0.to_string();
        assert_eq!(source, "the generator panicked");
    }
}
