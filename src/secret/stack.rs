//! Overwrites the stack that a computation with a secret has used.
//!
//! A computation leaves copies of its input in places of the stack that only the compiler knows.
//! They stay until another call happens to overwrite them.

/// The number of overwritten bytes. A release build leaves traces of a hashed secret less than 512
/// bytes deep (measured: none remain with 512, some with 256).
const DEPTH: usize = 2048;

/// Computes with a secret and overwrites the stack that the computation used.
///
/// The result is moved, so it must not contain a secret, except on the heap.
pub(super) fn overwriting_stack<T>(compute: impl FnOnce() -> T) -> T {
    let result = call(compute);
    overwrite();
    result
}

/// Puts the frames of `compute` below the frame of the caller.
#[inline(never)]
fn call<T>(compute: impl FnOnce() -> T) -> T {
    compute()
}

/// Has a frame at the same place that covers the previous frames.
#[inline(never)]
fn overwrite() {
    let zeros = [0_u8; DEPTH];
    zeroize::optimization_barrier(&zeros);
}
