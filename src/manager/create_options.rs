use crate::{lifetime::Lifetime, tags::Tags};

/// Options of a new credential.
///
/// ```
/// use service_specific_credentials::{CreateOptions, Lifetime};
///
/// let options = CreateOptions::new().lifetime(Lifetime::days(90)?);
/// # Ok::<(), service_specific_credentials::InvalidLifetime>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateOptions {
    pub(in crate::manager) lifetime: Option<Lifetime>,
    pub(in crate::manager) tags: Tags,
}

impl CreateOptions {
    /// The default options: the [default lifetime](crate::Policy::default_lifetime) of the policy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the lifetime, at most the [longest](crate::Policy::max_lifetime) of the policy. The
    /// expiration date is the creation date plus the lifetime.
    #[must_use]
    pub const fn lifetime(mut self, lifetime: Lifetime) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Sets the tags.
    #[must_use]
    pub fn tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }
}
