//! Errors on one line.

use std::error::Error;

/// What went wrong, and why.
pub(crate) fn explain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let why = cause.to_string();
        // Some errors repeat what caused them.
        if !line.ends_with(&why) {
            line = format!("{line}: {why}");
        }
        source = cause.source();
    }
    line
}
