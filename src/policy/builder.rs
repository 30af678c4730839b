use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::{
    lifetime::Lifetime,
    names::{service_name::ServiceName, service_user_name::ServiceUserName},
    policy::{Numbering, Policy, Scheme},
    secret::{Alphabet, MAX_PRESENTED},
};

/// The longest prefix of an API key.
const MAX_PREFIX_LENGTH: usize = 32;

/// Builds a [`Policy`], which is validated by [`build`](Self::build).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct PolicyBuilder {
    pub(super) services: BTreeMap<ServiceName, Scheme>,
    pub(super) credentials_per_service: usize,
    pub(super) numbering: Numbering,
    pub(super) password_bytes: usize,
    pub(super) alphabet: Alphabet,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub(super) default_lifetime: Option<Lifetime>,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub(super) max_lifetime: Option<Lifetime>,
}

impl PolicyBuilder {
    /// Supports `service` by service user name and password.
    #[must_use]
    pub fn password_service(mut self, service: ServiceName) -> Self {
        self.services.insert(service, Scheme::Password {});
        self
    }

    /// Supports `service` by API keys with this prefix: 1 to 32 ASCII letters and digits. Keys that
    /// were issued with another prefix do not authenticate until they are reset.
    #[must_use]
    pub fn api_key_service(mut self, service: ServiceName, prefix: impl AsRef<str>) -> Self {
        self.services.insert(service, Scheme::ApiKey { prefix: SmolStr::new(prefix) });
        self
    }

    /// Removes `service` from the supported ones.
    ///
    /// Its credentials do not authenticate, and create and reset fail. They can still be listed
    /// (without a filter of that service), disabled and deleted. The same holds for credentials of
    /// one kind at a service that now takes the other.
    #[must_use]
    pub fn without_service(mut self, service: &ServiceName) -> Self {
        self.services.remove(service);
        self
    }

    /// Removes all services, as the start of a policy that names its own.
    #[must_use]
    pub fn without_services(mut self) -> Self {
        self.services.clear();
        self
    }

    /// Sets the maximum number of credentials of a user at one service: 1 to 10, by default 2. A
    /// lower limit deletes no existing credential.
    #[must_use]
    pub const fn credentials_per_service(mut self, limit: usize) -> Self {
        self.credentials_per_service = limit;
        self
    }

    /// Sets the numbering of service user names, by default [`Numbering::FromOne`].
    #[must_use]
    pub const fn numbering(mut self, numbering: Numbering) -> Self {
        self.numbering = numbering;
        self
    }

    /// Sets the number of random bytes of a password: 16 to 96, by default 32. With padding these
    /// are 24 to 128 characters.
    #[must_use]
    pub const fn password_bytes(mut self, bytes: usize) -> Self {
        self.password_bytes = bytes;
        self
    }

    /// Sets the alphabet of passwords, by default [`Alphabet::Standard`]. The secret of an API key
    /// always has the standard alphabet, its inner password this one.
    #[must_use]
    pub const fn alphabet(mut self, alphabet: Alphabet) -> Self {
        self.alphabet = alphabet;
        self
    }

    /// Sets the lifetime of a credential that is created without one, by default that of
    /// [`max_lifetime`](Self::max_lifetime). Without either, it never expires.
    #[must_use]
    pub const fn default_lifetime(mut self, lifetime: Lifetime) -> Self {
        self.default_lifetime = Some(lifetime);
        self
    }

    /// Sets the longest lifetime of a credential, by default none. Creating a credential with a
    /// longer one fails with [`LifetimeTooLong`](crate::Error::LifetimeTooLong). Existing
    /// credentials keep their expiration dates.
    #[must_use]
    pub const fn max_lifetime(mut self, lifetime: Lifetime) -> Self {
        self.max_lifetime = Some(lifetime);
        self
    }

    /// Validates the policy.
    ///
    /// # Errors
    ///
    /// If a setting is outside the bounds that its method states, there are more than 100 services,
    /// or the default lifetime is longer than the longest one.
    pub fn build(self) -> Result<Policy, InvalidPolicy> {
        if !(1..=Policy::MAX_CREDENTIALS_PER_SERVICE).contains(&self.credentials_per_service) {
            return Err(InvalidPolicy::CredentialsPerService(self.credentials_per_service));
        }
        if !(Policy::MIN_PASSWORD_BYTES..=Policy::MAX_PASSWORD_BYTES).contains(&self.password_bytes)
        {
            return Err(InvalidPolicy::PasswordBytes(self.password_bytes));
        }
        if self.services.len() > Policy::MAX_SERVICES {
            return Err(InvalidPolicy::Services(self.services.len()));
        }
        for (service, scheme) in &self.services {
            if let Scheme::ApiKey { prefix } = scheme
                && !((1..=MAX_PREFIX_LENGTH).contains(&prefix.len())
                    && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            {
                return Err(InvalidPolicy::ApiKeyPrefix(service.clone()));
            }
        }
        if let (Some(default), Some(max)) = (self.default_lifetime, self.max_lifetime)
            && default > max
        {
            return Err(InvalidPolicy::DefaultLifetime { default, max });
        }
        Ok(Policy::from_valid(self))
    }
}

// Authentication accepts the longest secret that a policy allows: the longest prefix, and the
// encoding of the longest alias, a colon and the longest password.
const _: () = {
    let password = Policy::MAX_PASSWORD_BYTES.div_ceil(3) * 4;
    let inner = ServiceUserName::MAX_LENGTH + 1 + password;
    assert!(MAX_PREFIX_LENGTH + inner.div_ceil(3) * 4 <= MAX_PRESENTED);
};

impl Default for PolicyBuilder {
    fn default() -> Self {
        let password = |name| (ServiceName::from_static(name), Scheme::Password {});
        let api_key = |name, prefix| {
            (ServiceName::from_static(name), Scheme::ApiKey { prefix: SmolStr::new_static(prefix) })
        };
        Self {
            services: BTreeMap::from([
                password("codecommit.amazonaws.com"),
                password("cassandra.amazonaws.com"),
                api_key("bedrock.amazonaws.com", "ABSK"),
                api_key("logs.amazonaws.com", "ACWL"),
                api_key("cloudwatch.amazonaws.com", "APIAACWM"),
                api_key("aws-external-anthropic.amazonaws.com", "AEAA"),
            ]),
            credentials_per_service: 2,
            numbering: Numbering::FromOne,
            password_bytes: 32,
            alphabet: Alphabet::Standard,
            default_lifetime: None,
            max_lifetime: None,
        }
    }
}

impl TryFrom<PolicyBuilder> for Policy {
    type Error = InvalidPolicy;

    fn try_from(builder: PolicyBuilder) -> Result<Self, InvalidPolicy> {
        builder.build()
    }
}

impl From<Policy> for PolicyBuilder {
    fn from(policy: Policy) -> Self {
        policy.to_builder()
    }
}

/// A setting of a [`PolicyBuilder`] is out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPolicy {
    /// The maximum number of credentials per service is not 1 to 10.
    #[error(
        "credentials per service must be between 1 and {max}, not {0}",
        max = Policy::MAX_CREDENTIALS_PER_SERVICE
    )]
    CredentialsPerService(usize),
    /// The number of random bytes of a password is not 16 to 96.
    #[error("password bytes must be between {min} and {max}, not {0}",
        min = Policy::MIN_PASSWORD_BYTES, max = Policy::MAX_PASSWORD_BYTES)]
    PasswordBytes(usize),
    /// There are more than 100 services.
    #[error("there can be at most {max} services, not {0}", max = Policy::MAX_SERVICES)]
    Services(usize),
    /// The prefix of an API key is not 1 to 32 ASCII letters and digits.
    #[error(
        "the API key prefix of `{0}` must be 1 to {MAX_PREFIX_LENGTH} ASCII letters and digits"
    )]
    ApiKeyPrefix(ServiceName),
    /// The default lifetime is longer than the longest one.
    #[error(
        "the default lifetime of {} days must not exceed the maximum of {} days",
        .default.as_days(), .max.as_days()
    )]
    #[non_exhaustive]
    DefaultLifetime {
        /// The default lifetime.
        default: Lifetime,
        /// The longest lifetime.
        max: Lifetime,
    },
}
