use std::time::Duration;

/// How a [`DynamoDbStore`](super::DynamoDbStore) sends its requests.
#[derive(Clone, Debug)]
pub struct DynamoDbOptions {
    pub(super) attempts: u32,
    pub(super) attempt_timeout: Duration,
}

impl Default for DynamoDbOptions {
    fn default() -> Self {
        Self { attempts: 10, attempt_timeout: Duration::from_secs(5) }
    }
}

impl DynamoDbOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How often a request is sent at most, instead of 10 times; at least once.
    ///
    /// It is sent again after a conflict with another transaction, a limit of the rate, a status of
    /// 500 or higher, a lost connection, or no response in time. The pause before the second
    /// attempt is a random time of up to 20 ms. The limit doubles with each attempt, up to one
    /// second: at most 4.3 seconds before the tenth, half of that on average.
    #[must_use]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = if attempts == 0 { 1 } else { attempts };
        self
    }

    /// How long to wait for the response to one attempt, instead of 5 seconds. A timeout that the
    /// client of [`from_client_with`](super::DynamoDbStore::from_client_with) sets for an attempt
    /// takes precedence.
    #[must_use]
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }
}
