use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::{
    credential::CredentialKind, error::Error, names::service_name::ServiceName,
    secret::MAX_PRESENTED,
};

/// Which services there are, and how their credentials are made.
///
/// [`Policy::default`] follows the documentation of the interface, [`Policy::recorded`] what the
/// real service was seen to do; a [builder](Policy::builder) makes any other.
///
/// | | default | recorded |
/// |---|---|---|
/// | numbering of service user names | from one | bare first |
/// | random bytes of a password | 32 (44 characters) | 44 (60 characters) |
/// | alphabet of passwords | standard | standard |
/// | credentials of a user at a service | 2 | 2 |
///
/// Both support `codecommit.amazonaws.com` and `cassandra.amazonaws.com` by service user name and
/// password, and by API keys (*recorded*) `bedrock.amazonaws.com`, `logs.amazonaws.com`,
/// `cloudwatch.amazonaws.com` and `aws-external-anthropic.amazonaws.com`.
///
/// ```
/// use service_specific_credentials::{Alphabet, CredentialKind, Policy};
///
/// let policy = Policy::builder()
///     .password_service("git.example.com".parse()?)
///     .api_key_service("builds.example.com".parse()?, "BLDK")
///     .alphabet(Alphabet::UrlSafe)
///     .build()?;
/// assert_eq!(policy.kind(&"builds.example.com".parse()?), Some(CredentialKind::ApiKey));
/// assert_eq!(policy.password_bytes(), 32);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "PolicyBuilder", into = "PolicyBuilder"))]
pub struct Policy(PolicyBuilder);

impl Policy {
    /// What the real service was seen to do (*recorded*).
    #[must_use]
    pub fn recorded() -> Self {
        let defaults = PolicyBuilder::default();
        Self(PolicyBuilder { numbering: Numbering::BareFirst, password_bytes: 44, ..defaults })
    }

    /// Starts from the default policy.
    #[must_use]
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// Starts from this policy.
    #[must_use]
    pub fn to_builder(&self) -> PolicyBuilder {
        self.0.clone()
    }

    /// The supported services in order of their names, each with the kind of its credentials.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, CredentialKind)> {
        self.0.services.iter().map(|(name, scheme)| (name, scheme.kind()))
    }

    /// The kind of the credentials of `service`, or `None` if it is not supported.
    #[must_use]
    pub fn kind(&self, service: &ServiceName) -> Option<CredentialKind> {
        self.0.services.get(service).map(Scheme::kind)
    }

    /// The service as the policy names it, and the kind of its credentials.
    pub(crate) fn supported(
        &self,
        service: &ServiceName,
    ) -> Result<(&ServiceName, CredentialKind), Error> {
        let (name, scheme) = self
            .0
            .services
            .get_key_value(service)
            .ok_or_else(|| Error::ServiceNotSupported { service: service.clone() })?;
        Ok((name, scheme.kind()))
    }

    /// What the API key secrets of `service` begin with, if it takes API keys.
    #[must_use]
    pub fn api_key_prefix(&self, service: &ServiceName) -> Option<&str> {
        match self.0.services.get(service)? {
            Scheme::Password {} => None,
            Scheme::ApiKey { prefix } => Some(prefix),
        }
    }

    /// How many credentials a user may have at one service.
    #[must_use]
    pub const fn credentials_per_service(&self) -> usize {
        self.0.credentials_per_service
    }

    /// How service user names are numbered.
    #[must_use]
    pub const fn numbering(&self) -> Numbering {
        self.0.numbering
    }

    /// How many random bytes a password holds.
    #[must_use]
    pub const fn password_bytes(&self) -> usize {
        self.0.password_bytes
    }

    /// The characters that a password is written in.
    #[must_use]
    pub const fn alphabet(&self) -> Alphabet {
        self.0.alphabet
    }
}

/// How the secrets of a service are made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields))]
enum Scheme {
    // With braces, so that an unknown field of it is refused too.
    Password {},
    ApiKey { prefix: SmolStr },
}

impl Scheme {
    const fn kind(&self) -> CredentialKind {
        match self {
            Self::Password {} => CredentialKind::Password,
            Self::ApiKey { .. } => CredentialKind::ApiKey,
        }
    }
}

/// How the service user names of one user at one service are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Numbering {
    /// `anika+1-at-…`, then `anika+2-at-…`: the sample of the API reference.
    FromOne,
    /// `anika-at-…`, then `anika+1-at-…` (*recorded*).
    BareFirst,
}

/// The characters that a password is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Alphabet {
    /// Base64 with padding: letters, digits, `+`, `/` and `=`.
    Standard,
    /// Base64 for URLs, without padding: letters, digits, `-` and `_`. A password of these can
    /// stand in the URL of a Git remote as it is.
    UrlSafe,
}

/// Makes a [`Policy`]. The policy is checked when it is built.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct PolicyBuilder {
    services: BTreeMap<ServiceName, Scheme>,
    credentials_per_service: usize,
    numbering: Numbering,
    password_bytes: usize,
    alphabet: Alphabet,
}

impl PolicyBuilder {
    /// Supports `service` by service user name and password.
    #[must_use]
    pub fn password_service(mut self, service: ServiceName) -> Self {
        self.services.insert(service, Scheme::Password {});
        self
    }

    /// Supports `service` by API keys that begin with `prefix`: 1 to 32 ASCII letters and digits.
    /// Keys that were issued with another prefix do not authenticate until they are reset.
    #[must_use]
    pub fn api_key_service(mut self, service: ServiceName, prefix: impl AsRef<str>) -> Self {
        self.services.insert(service, Scheme::ApiKey { prefix: SmolStr::new(prefix) });
        self
    }

    /// Does not support `service`.
    ///
    /// Its credentials do not authenticate, none can be created and none reset. They can still be
    /// listed (not by a filter of that service), set inactive and deleted. The same holds for the
    /// credentials of one kind at a service that now takes the other.
    #[must_use]
    pub fn without_service(mut self, service: &ServiceName) -> Self {
        self.services.remove(service);
        self
    }

    /// Supports no service, to name just the ones that are wanted.
    #[must_use]
    pub fn without_services(mut self) -> Self {
        self.services.clear();
        self
    }

    /// How many credentials a user may have at one service: 1 to 10. Lowering it later deletes
    /// none.
    #[must_use]
    pub const fn credentials_per_service(mut self, limit: usize) -> Self {
        self.credentials_per_service = limit;
        self
    }

    /// How service user names are numbered.
    #[must_use]
    pub const fn numbering(mut self, numbering: Numbering) -> Self {
        self.numbering = numbering;
        self
    }

    /// How many random bytes a password holds: 16 to 96, which is 24 to 128 characters with
    /// padding.
    #[must_use]
    pub const fn password_bytes(mut self, bytes: usize) -> Self {
        self.password_bytes = bytes;
        self
    }

    /// The characters that a password is written in. The secret of an API key is always of the
    /// standard ones, its inner password of these.
    #[must_use]
    pub const fn alphabet(mut self, alphabet: Alphabet) -> Self {
        self.alphabet = alphabet;
        self
    }

    /// Checks the policy.
    ///
    /// # Errors
    ///
    /// If one of the settings is outside of the bounds that its method states, or there are more
    /// than 100 services.
    pub fn build(self) -> Result<Policy, InvalidPolicy> {
        if !(1..=10).contains(&self.credentials_per_service) {
            return Err(InvalidPolicy::CredentialsPerService(self.credentials_per_service));
        }
        if !(16..=96).contains(&self.password_bytes) {
            return Err(InvalidPolicy::PasswordBytes(self.password_bytes));
        }
        if self.services.len() > 100 {
            return Err(InvalidPolicy::Services(self.services.len()));
        }
        for (service, scheme) in &self.services {
            if let Scheme::ApiKey { prefix } = scheme
                && !((1..=32).contains(&prefix.len())
                    && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric()))
            {
                return Err(InvalidPolicy::ApiKeyPrefix(service.clone()));
            }
        }
        Ok(Policy(self))
    }
}

// The longest secret that a policy allows can be presented: the longest prefix, and the encoding of
// the longest alias, a colon and the longest password.
const _: () = assert!(32 + (200_usize + 1 + 128).div_ceil(3) * 4 <= MAX_PRESENTED);

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
        policy.0
    }
}

/// A setting of a [`PolicyBuilder`] is out of bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidPolicy {
    /// A user may have 1 to 10 credentials at one service.
    #[error("credentials per service must be between 1 and 10, not {0}")]
    CredentialsPerService(usize),
    /// A password holds 16 to 96 random bytes.
    #[error("password bytes must be between 16 and 96, not {0}")]
    PasswordBytes(usize),
    /// A policy names at most 100 services.
    #[error("there can be at most 100 services, not {0}")]
    Services(usize),
    /// The prefix of an API key is 1 to 32 ASCII letters and digits.
    #[error("the API key prefix of `{0}` must be 1 to 32 ASCII letters and digits")]
    ApiKeyPrefix(ServiceName),
}
