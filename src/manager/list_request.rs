//! Requests for a page of a listing.

use crate::{
    lifetime::Lifetime,
    names::{path_prefix::PathPrefix, service_name::ServiceName, user_name::UserName},
    paging::{Marker, MaxItems},
};

/// A request for a page of credentials: of one user, or of all users of the account.
///
/// The credentials of one user are in the order of creation, then of id (our decision); those of
/// all users are in the order of the user names first.
///
/// ```
/// use service_specific_credentials::{Lifetime, ListRequest, MaxItems};
///
/// // The credentials that are due for rotation: a reset or a deletion removes one from the list.
/// let request = ListRequest::all_users()
///     .secret_older_than(Lifetime::days(90)?)
///     .max_items(MaxItems::new(500)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// `None` for all users.
    user: Option<UserName>,
    pub(super) service: Option<ServiceName>,
    pub(super) older_than: Option<Lifetime>,
    pub(super) secret_older_than: Option<Lifetime>,
    pub(super) marker: Option<Marker>,
    pub(super) max_items: MaxItems,
}

impl ListRequest {
    /// The credentials of `user`.
    #[must_use]
    pub fn of(user: UserName) -> Self {
        Self { user: Some(user), ..Self::all_users() }
    }

    /// The credentials of all users of the account.
    #[must_use]
    pub fn all_users() -> Self {
        Self {
            user: None,
            service: None,
            older_than: None,
            secret_older_than: None,
            marker: None,
            max_items: MaxItems::default(),
        }
    }

    /// Lists only credentials of this service, which the policy must support.
    #[must_use]
    pub fn service(mut self, service: ServiceName) -> Self {
        self.service = Some(service);
        self
    }

    /// Lists only credentials that were created at least this long ago, whenever their secrets were
    /// reset. Not part of the AWS API. A page of all users is filled by reading on, to the end of
    /// the account if necessary.
    #[must_use]
    pub const fn older_than(mut self, age: Lifetime) -> Self {
        self.older_than = Some(age);
        self
    }

    /// Lists only credentials whose [present secrets](crate::Credential::secret_changed) were
    /// generated at least this long ago, by a reset or else by create. Not part of the AWS API. A
    /// page of all users is filled as for [`older_than`](Self::older_than), with which it can be
    /// combined.
    #[must_use]
    pub const fn secret_older_than(mut self, age: Lifetime) -> Self {
        self.secret_older_than = Some(age);
        self
    }

    /// Continues after the page that returned this marker. The rest of the request must be the
    /// same, except for the number of items.
    #[must_use]
    pub fn marker(mut self, marker: impl Into<Option<Marker>>) -> Self {
        self.marker = marker.into();
        self
    }

    /// Sets the maximum number of credentials of a page.
    #[must_use]
    pub const fn max_items(mut self, max_items: MaxItems) -> Self {
        self.max_items = max_items;
        self
    }

    /// The user, or `None` for all users.
    pub(crate) const fn user(&self) -> Option<&UserName> {
        self.user.as_ref()
    }

    pub(crate) const fn service_filter(&self) -> Option<&ServiceName> {
        self.service.as_ref()
    }
}

/// A request for a page of the users of an account, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListUsersRequest {
    pub(super) path_prefix: Option<PathPrefix>,
    pub(super) marker: Option<Marker>,
    pub(super) max_items: MaxItems,
}

impl ListUsersRequest {
    /// The most users that a page with a path prefix examines: 10,000 (our decision).
    pub const MAX_EXAMINED: usize = 10_000;

    /// All users.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lists only users whose paths begin with this text.
    ///
    /// No index has the paths. A page is filled by reading on from user to user, in at most 14
    /// scans of the store, and ends after [`MAX_EXAMINED`](Self::MAX_EXAMINED) users. So it may
    /// have fewer items than requested, or none, and still a marker, as the API permits: the
    /// listing is complete when a page has no marker. Among 1,000,000 users a listing has at least
    /// 100 pages, whichever users match.
    #[must_use]
    pub fn path_prefix(mut self, prefix: PathPrefix) -> Self {
        self.path_prefix = Some(prefix);
        self
    }

    /// Continues after the page that returned this marker. The path prefix must be the same.
    #[must_use]
    pub fn marker(mut self, marker: impl Into<Option<Marker>>) -> Self {
        self.marker = marker.into();
        self
    }

    /// Sets the maximum number of users of a page.
    #[must_use]
    pub const fn max_items(mut self, max_items: MaxItems) -> Self {
        self.max_items = max_items;
        self
    }
}
