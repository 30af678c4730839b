use smol_str::SmolStr;

use self::builder::PolicyBuilder;
use crate::{
    credential::CredentialKind, lifetime::Lifetime, names::service_name::ServiceName,
    secret::Alphabet,
};

pub(crate) mod builder;

/// The supported services, and how their credentials are generated.
///
/// [`Policy::default`] follows the documentation of the API, [`Policy::recorded`] the recordings of
/// the real service, a [builder](Policy::builder) makes any other policy.
///
/// | | default | recorded |
/// |---|---|---|
/// | numbering of service user names | from one | bare first |
/// | random bytes of a password | 32 (44 characters) | 44 (60 characters) |
/// | alphabet of passwords | standard | standard |
/// | credentials of a user at a service | 2 | 2 |
/// | default and longest lifetime | none | none |
///
/// Both support `codecommit.amazonaws.com` and `cassandra.amazonaws.com` by service user name and
/// password, and by API keys (*recorded*) `bedrock.amazonaws.com`, `logs.amazonaws.com`,
/// `cloudwatch.amazonaws.com` and `aws-external-anthropic.amazonaws.com`.
///
/// ```
/// use service_specific_credentials::{Alphabet, CredentialKind, Lifetime, Policy};
///
/// let policy = Policy::builder()
///     .password_service("git.example.com".parse()?)
///     .api_key_service("builds.example.com".parse()?, "BLDK")
///     .credentials_per_service(1)
///     .alphabet(Alphabet::UrlSafe)
///     .default_lifetime(Lifetime::days(30)?)
///     .max_lifetime(Lifetime::days(90)?)
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
    /// The largest maximum number of credentials of a user at one service.
    pub const MAX_CREDENTIALS_PER_SERVICE: usize = 10;
    /// The largest number of supported services.
    pub const MAX_SERVICES: usize = 100;
    /// The smallest number of random bytes of a password: 128 bits.
    pub const MIN_PASSWORD_BYTES: usize = 16;
    /// The largest number of random bytes of a password.
    pub const MAX_PASSWORD_BYTES: usize = 96;

    const fn from_valid(builder: PolicyBuilder) -> Self {
        Self(builder)
    }

    /// The policy of the real service (*recorded*).
    #[must_use]
    pub fn recorded() -> Self {
        let defaults = PolicyBuilder::default();
        Self(PolicyBuilder { numbering: Numbering::BareFirst, password_bytes: 44, ..defaults })
    }

    /// A builder that starts from the default policy.
    #[must_use]
    pub fn builder() -> PolicyBuilder {
        PolicyBuilder::default()
    }

    /// A builder that starts from this policy.
    #[must_use]
    pub fn to_builder(&self) -> PolicyBuilder {
        self.0.clone()
    }

    /// The supported services in the order of their names, each with the kind of its credentials.
    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, CredentialKind)> {
        self.0.services.iter().map(|(name, scheme)| (name, scheme.kind()))
    }

    /// The kind of the credentials of `service`, or `None` if it is not supported.
    #[must_use]
    pub fn kind(&self, service: &ServiceName) -> Option<CredentialKind> {
        self.scheme(service).map(|(_, scheme)| scheme.kind())
    }

    /// The name of `service` in the policy, which is shared instead of allocated, and the kind of
    /// its credentials.
    pub(crate) fn supported(
        &self,
        service: &ServiceName,
    ) -> Result<(&ServiceName, CredentialKind), UnsupportedService> {
        let (name, scheme) =
            self.scheme(service).ok_or_else(|| UnsupportedService(service.clone()))?;
        Ok((name, scheme.kind()))
    }

    /// The service and its scheme. Few services are supported, and most names differ in their
    /// length: equality is found faster than order.
    fn scheme(&self, service: &ServiceName) -> Option<(&ServiceName, &Scheme)> {
        let text = service.as_str();
        self.0.services.iter().find(|(name, _)| name.as_str() == text)
    }

    /// The prefix of the API key secrets of `service`, if it takes API keys.
    #[must_use]
    pub fn api_key_prefix(&self, service: &ServiceName) -> Option<&str> {
        match self.scheme(service)? {
            (_, Scheme::Password {}) => None,
            (_, Scheme::ApiKey { prefix }) => Some(prefix),
        }
    }

    /// The maximum number of credentials of a user at one service.
    #[must_use]
    pub const fn credentials_per_service(&self) -> usize {
        self.0.credentials_per_service
    }

    /// The numbering of service user names.
    #[must_use]
    pub const fn numbering(&self) -> Numbering {
        self.0.numbering
    }

    /// The number of random bytes of a password.
    #[must_use]
    pub const fn password_bytes(&self) -> usize {
        self.0.password_bytes
    }

    /// The alphabet of passwords.
    #[must_use]
    pub const fn alphabet(&self) -> Alphabet {
        self.0.alphabet
    }

    /// The lifetime of a credential that is created without one: the default lifetime, else the
    /// longest one, else `None` for a credential that never expires.
    #[must_use]
    pub const fn default_lifetime(&self) -> Option<Lifetime> {
        match self.0.default_lifetime {
            Some(default) => Some(default),
            None => self.0.max_lifetime,
        }
    }

    /// The longest lifetime of a credential, or `None` for no limit.
    #[must_use]
    pub const fn max_lifetime(&self) -> Option<Lifetime> {
        self.0.max_lifetime
    }

    /// The lifetime of a new credential for which the caller requests `requested`.
    pub(crate) fn lifetime(
        &self,
        requested: Option<Lifetime>,
    ) -> Result<Option<Lifetime>, LifetimeTooLong> {
        match (requested, self.max_lifetime()) {
            (Some(requested), Some(max)) if requested > max => Err(LifetimeTooLong { max }),
            (Some(requested), _) => Ok(Some(requested)),
            (None, _) => Ok(self.default_lifetime()),
        }
    }
}

/// The policy does not support a service.
pub(crate) struct UnsupportedService(pub(crate) ServiceName);

/// The requested lifetime is longer than the policy allows.
pub(crate) struct LifetimeTooLong {
    pub(crate) max: Lifetime,
}

/// The kind of the secrets of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields))]
enum Scheme {
    // With braces, so that an unknown field is rejected.
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

/// The numbering of the service user names of one user at one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Numbering {
    /// `anika+1-at-…`, then `anika+2-at-…`: the sample of the API reference.
    FromOne,
    /// `anika-at-…`, then `anika+1-at-…` (*recorded*).
    BareFirst,
}
