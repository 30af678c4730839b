//! Options that make ids, secrets and dates repeatable, for tests of other programs.

use std::sync::Arc;

use clap::Args;
use service_specific_credentials::{
    Clock, Entropy, SystemClock, SystemEntropy,
    testing::{FixedClock, SeededEntropy},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Repeatable {
    /// Derive ids and secrets from this number: the same calls have the same results. The secrets
    /// are predictable
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Stop the clock at this time, such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    clock: Option<OffsetDateTime>,
}

fn time(text: &str) -> Result<OffsetDateTime, &'static str> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "a time as in RFC 3339, such as 2026-01-31T12:00:00Z")
}

impl Repeatable {
    /// What to tell before the emulator starts.
    pub(crate) const fn warning(&self) -> Option<&'static str> {
        match self.seed {
            Some(_) => Some("secrets are predictable, because of --seed"),
            None => None,
        }
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        match self.clock {
            Some(time) => Arc::new(FixedClock::new(time)),
            None => Arc::new(SystemClock),
        }
    }

    pub(crate) fn entropy(&self) -> Box<dyn Entropy> {
        match self.seed {
            Some(seed) => Box::new(SeededEntropy::new(seed)),
            None => Box::new(SystemEntropy),
        }
    }
}
