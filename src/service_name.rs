use smol_str::{SmolStr, StrExt};

use crate::name::name;

name! {
    /// The service principal name of the one service that a credential opens, such as
    /// `codecommit.amazonaws.com`.
    ///
    /// Kept in lower case, so that two spellings of one service are the same name (*recorded*).
    /// Which services there are is a matter of the [`Policy`](crate::Policy). The pattern is
    /// *recorded*, the lengths are our decision.
    ///
    /// ```
    /// use service_specific_credentials::ServiceName;
    ///
    /// let service: ServiceName = "CodeCommit.amazonaws.com".parse()?;
    /// assert_eq!(service.as_str(), "codecommit.amazonaws.com");
    /// # Ok::<(), service_specific_credentials::InvalidServiceName>(())
    /// ```
    #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub struct ServiceName, "service name", parameter "serviceName";
    pattern "[a-zA-Z0-9.-]*", 1 to 128 characters, kept as StrExt::to_ascii_lowercase_smolstr;
    /// The text is not a [`ServiceName`].
    pub struct InvalidServiceName;
}

impl ServiceName {
    /// A name that is written in this crate, in lower case. It is never allocated.
    pub(crate) const fn well_known(name: &'static str) -> Self {
        Self(SmolStr::new_static(name))
    }
}
