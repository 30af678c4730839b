//! Overwrites the stack that a computation with a secret used.
//!
//! A computation leaves copies of its input in places of the stack that only the compiler knows.
//! They stay until another call happens to overwrite them.

/// The number of overwritten bytes. Hashing, encoding and decoding leave traces up to 240 bytes
/// deep in an optimized build, and up to 19,000 bytes deep in an unoptimized one (measured on
/// x86-64, with and without the SHA-256 instructions).
const DEPTH: usize = if cfg!(debug_assertions) { 32 * 1024 } else { 1024 };

/// Computes with a secret and overwrites the stack that the computation used.
///
/// The result is moved, so it must not contain a secret, except on the heap.
pub(crate) fn overwriting_stack<T>(compute: impl FnOnce() -> T) -> T {
    let result = call(compute);
    overwrite();
    result
}

/// Puts the frames of `compute` below the frame of the caller.
#[inline(never)]
fn call<T>(compute: impl FnOnce() -> T) -> T {
    compute()
}

/// Creates a frame at the same address that covers the previous frames.
#[inline(never)]
#[cfg_attr(
    debug_assertions,
    expect(clippy::large_stack_arrays, reason = "unoptimized frames are large")
)]
fn overwrite() {
    let zeros = [0_u8; DEPTH];
    zeroize::optimization_barrier(&zeros);
}
