//! Options of a new user, and changes of one.

use crate::{
    names::{user_name::UserName, user_path::UserPath},
    tags::Tags,
};

/// Options of a new user.
///
/// ```
/// use service_specific_credentials::RegisterOptions;
///
/// let options = RegisterOptions::new().path("/staff/".parse()?);
/// # Ok::<(), service_specific_credentials::InvalidUserPath>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterOptions {
    pub(in crate::manager) path: UserPath,
    pub(in crate::manager) tags: Tags,
}

impl RegisterOptions {
    /// The default options: the path `/` and no tags.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the path.
    #[must_use]
    pub fn path(mut self, path: UserPath) -> Self {
        self.path = path;
        self
    }

    /// Sets the tags.
    #[must_use]
    pub fn tags(mut self, tags: Tags) -> Self {
        self.tags = tags;
        self
    }
}

/// Changes of a user: a new name, a new path, or both.
///
/// ```
/// use service_specific_credentials::UpdateOptions;
///
/// let changes = UpdateOptions::new().path("/staff/".parse()?);
/// # Ok::<(), service_specific_credentials::InvalidUserPath>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateOptions {
    pub(in crate::manager) name: Option<UserName>,
    pub(in crate::manager) path: Option<UserPath>,
}

impl UpdateOptions {
    /// No change.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the name, or the spelling of the name.
    #[must_use]
    pub fn name(mut self, name: UserName) -> Self {
        self.name = Some(name);
        self
    }

    /// Changes the path.
    #[must_use]
    pub fn path(mut self, path: UserPath) -> Self {
        self.path = Some(path);
        self
    }
}
