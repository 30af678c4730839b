use std::time::Duration;

/// Options of a [`DynamoDbStore`](super::DynamoDbStore).
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
    /// The default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the maximum number of attempts of a request: at least 1. Default: 10.
    ///
    /// A request is retried after a conflict with another transaction, a rate limit, a status of
    /// 500 or higher, a lost connection, or a timeout. The pause before the second attempt is a
    /// random time of up to 20 ms. The maximum doubles with each attempt, up to one second. The
    /// pauses before the tenth attempt add up to at most 4.3 seconds, half of that on average.
    #[must_use]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = if attempts == 0 { 1 } else { attempts };
        self
    }

    /// Sets how long to wait for the response to one attempt. Default: 5 seconds. An attempt
    /// timeout of the client passed to [`from_client_with`](super::DynamoDbStore::from_client_with)
    /// takes precedence.
    #[must_use]
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }
}
