use std::{error::Error, fmt};

/// Prints an error and its causes on one line, joined by `: `.
pub(crate) struct Causes<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.0.to_string();
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Some errors print their cause themselves.
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            next = cause.source();
        }
        f.pad(&line)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Outer {
        #[error("writing failed")]
        Chained(#[source] Box<Self>),
        #[error("the disk failed: {0}")]
        Repeating(#[source] io::Error),
        #[error("the disk failed")]
        Plain(#[source] io::Error),
        #[error("")]
        Empty,
    }

    #[test]
    fn every_cause_is_printed_once() {
        let full = || io::Error::other("no space left on device");
        for (error, expected) in [
            (Outer::Empty, ""),
            (Outer::Plain(full()), "the disk failed: no space left on device"),
            (Outer::Repeating(full()), "the disk failed: no space left on device"),
            (
                Outer::Chained(Outer::Plain(full()).into()),
                "writing failed: the disk failed: no space left on device",
            ),
            (
                Outer::Chained(Outer::Repeating(full()).into()),
                "writing failed: the disk failed: no space left on device",
            ),
            (Outer::Chained(Outer::Empty.into()), "writing failed"),
        ] {
            assert_eq!(Causes(&error).to_string(), expected);
        }
    }
}
