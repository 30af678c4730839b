//! Listings in pages: what is asked for, what to read for it, and in which order it is returned.

use std::{num::NonZeroUsize, ops::Bound, sync::Arc};

use super::marker::{Marker, Position, Query};
use crate::{
    constraint::{Constraint, invalid_value},
    credential::Credential,
    error::Error,
    lifetime::Lifetime,
    names::{account_id::AccountId, service_name::ServiceName, user_name::UserName},
    policy::Policy,
    record::{UserRecord, key::Listing},
    store::scan_range::ScanRange,
    timestamp::Timestamp,
    user::User,
};

/// Which credentials to list, and how many at a time.
///
/// Either of one user or of all users of the account. Those of one user are in order of creation,
/// then of id (our decision); those of all users are ordered by the user's name first.
///
/// ```
/// use service_specific_credentials::{Lifetime, ListRequest, MaxItems};
///
/// // Whose credentials are due for rotation?
/// let request = ListRequest::new()
///     .all_users(true)
///     .older_than(Lifetime::days(90)?)
///     .max_items(MaxItems::new(500)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    user: Option<UserName>,
    all_users: bool,
    service: Option<ServiceName>,
    older_than: Option<Lifetime>,
    marker: Option<Marker>,
    max_items: MaxItems,
}

impl ListRequest {
    /// Names nothing yet. A request names a [user](Self::user) or [all users](Self::all_users).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The credentials of this user.
    #[must_use]
    pub fn user(mut self, user: UserName) -> Self {
        self.user = Some(user);
        self
    }

    /// Whether to list the credentials of all users. Not together with one user.
    #[must_use]
    pub const fn all_users(mut self, all_users: bool) -> Self {
        self.all_users = all_users;
        self
    }

    /// Only credentials of this service. The policy must support it.
    #[must_use]
    pub fn service(mut self, service: ServiceName) -> Self {
        self.service = Some(service);
        self
    }

    /// Only credentials that were created this long ago or longer. Not part of the AWS interface.
    /// A page of all users then reads on until it is full, to the end of the account if need be.
    #[must_use]
    pub const fn older_than(mut self, age: Lifetime) -> Self {
        self.older_than = Some(age);
        self
    }

    /// Goes on where the page ended that this marker came with. The rest of the request must be
    /// the same, but for the number of items.
    #[must_use]
    pub fn marker(mut self, marker: Marker) -> Self {
        self.marker = Some(marker);
        self
    }

    /// How many credentials a page has at most.
    #[must_use]
    pub const fn max_items(mut self, max_items: MaxItems) -> Self {
        self.max_items = max_items;
        self
    }

    pub(crate) const fn service_filter(&self) -> Option<&ServiceName> {
        self.service.as_ref()
    }

    /// The one user that is asked for, or `None` for all.
    pub(crate) const fn subject(&self) -> Option<&UserName> {
        self.user.as_ref()
    }

    pub(crate) const fn check_subject(&self) -> Result<(), Error> {
        match (&self.user, self.all_users) {
            (Some(_), true) => Err(Error::AllUsersWithUserName),
            (None, false) => Err(Error::UserNameMissing),
            (Some(_), false) | (None, true) => Ok(()),
        }
    }
}

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a page is its items and what comes next")]
pub struct Page<T> {
    /// The items, in the order of the listing. Empty only if there were none left.
    pub items: Vec<T>,
    /// Where the next page begins, or `None` if this is the last.
    pub next: Option<Marker>,
}

/// How many items a page has at most: 1 to 1000 (*reported*), by default 100 (our decision).
///
/// ```
/// use service_specific_credentials::MaxItems;
///
/// assert_eq!(MaxItems::default(), MaxItems::new(100)?);
/// assert!(MaxItems::new(0).is_err());
/// # Ok::<(), service_specific_credentials::InvalidMaxItems>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaxItems(u32);

impl MaxItems {
    /// The fewest.
    pub const MIN: u32 = 1;
    /// The most.
    pub const MAX: u32 = 1000;

    /// This many.
    ///
    /// # Errors
    ///
    /// If it is not between [`MIN`](Self::MIN) and [`MAX`](Self::MAX).
    pub const fn new(items: u32) -> Result<Self, InvalidMaxItems> {
        match items {
            ..Self::MIN => Err(InvalidMaxItems(Constraint::MinValue(Self::MIN))),
            Self::MIN..=Self::MAX => Ok(Self(items)),
            _ => Err(InvalidMaxItems(Constraint::MaxValue(Self::MAX))),
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl Default for MaxItems {
    fn default() -> Self {
        Self(100)
    }
}

/// The number is not a [`MaxItems`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvalidMaxItems(pub(crate) Constraint);

invalid_value!(InvalidMaxItems, "number of items", parameter "maxItems");

/// Fills a page with credentials.
pub(crate) struct CredentialPager<'a> {
    account: AccountId,
    request: &'a ListRequest,
    query: Query<'a>,
    after: Option<Position>,
    per_user: usize,
    now: Timestamp,
    items: Vec<Credential>,
    /// The last user whose credentials were taken.
    seen: Option<UserName>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotReached,
    OfPage,
    OfListing,
}

impl<'a> CredentialPager<'a> {
    const NO_FEW: usize = 100;

    pub(crate) fn new(
        account: AccountId,
        request: &'a ListRequest,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let ListRequest { user, service, older_than, .. } = request;
        let query = Query::credentials(account, user.as_ref(), service.as_ref(), *older_than);
        let after = request.marker.as_ref().map(|marker| query.locate(marker)).transpose()?;
        Ok(Self {
            account,
            request,
            query,
            after,
            per_user: policy.credentials_per_service(),
            now,
            items: Vec::new(),
            seen: None,
            end: End::NotReached,
        })
    }

    /// What to read next of all users, or `None` once the page is full or nothing is left.
    pub(crate) fn next_range(&self) -> Option<ScanRange<'_>> {
        let start = match (&self.seen, &self.after) {
            (Some(seen), _) => Bound::Excluded(seen),
            // The user whose credentials the last page ended among may have more.
            (None, Some(after)) => Bound::Included(&after.user),
            (None, None) => Bound::Unbounded,
        };
        let listing = Listing::Holders { service: self.request.service.as_ref() };
        (self.end == End::NotReached)
            .then(|| ScanRange::new(self.account, listing, start, self.limit()))
    }

    /// Takes what was read.
    pub(crate) fn take(&mut self, records: &[Arc<UserRecord>]) {
        if records.len() < self.limit().get() {
            self.end = End::OfListing;
        }
        for record in records {
            self.take_record(record);
            if self.end == End::OfPage {
                return;
            }
        }
        self.seen = records.last().map(|record| record.name().clone());
    }

    /// Takes the credentials of one user.
    pub(crate) fn take_record(&mut self, record: &UserRecord) {
        let ListRequest { service, older_than, max_items, .. } = self.request;
        let until = older_than.map(|age| self.now.minus_days(age.as_days()));
        for held in record.credentials() {
            let listed = service.as_ref().is_none_or(|service| held.service() == service)
                && until.is_none_or(|until| held.created() <= until)
                && !self.after.as_ref().is_some_and(|after| after.covers(record.name(), held));
            if listed && self.items.len() == max_items.as_usize() {
                self.end = End::OfPage;
                return;
            }
            if listed {
                self.items.push(record.describe(held, held.status(|| self.now)));
            }
        }
    }

    pub(crate) fn finish(self) -> Page<Credential> {
        let next = match (self.end, self.items.last()) {
            (End::OfPage, Some(last)) => Some(self.query.mark(&Position {
                user: last.user_name().clone(),
                credential: Some((last.created, last.id().clone())),
            })),
            _ => None,
        };
        Page { items: self.items, next }
    }

    /// How many users to read. At first as many as fill the page if each has all the credentials
    /// that the policy allows; then as many as fill it for certain, unless an age leaves some out,
    /// and no few. Of the two more, one may have been listed before, and one tells whether anything
    /// is left.
    fn limit(&self) -> NonZeroUsize {
        let lacking = self.request.max_items.as_usize() - self.items.len();
        let users = match self.seen {
            None => lacking.div_ceil(self.per_user),
            Some(_) => lacking.max(Self::NO_FEW),
        };
        NonZeroUsize::MIN.saturating_add(users + 1)
    }
}

/// Fills a page with users.
pub(crate) struct UserPager {
    account: AccountId,
    query: Query<'static>,
    after: Option<Position>,
    max_items: MaxItems,
}

impl UserPager {
    pub(crate) fn new(
        account: AccountId,
        marker: Option<&Marker>,
        max_items: MaxItems,
    ) -> Result<Self, Error> {
        let query = Query::users(account);
        let after = marker.map(|marker| query.locate(marker)).transpose()?;
        Ok(Self { account, query, after, max_items })
    }

    /// What to read: one user more than the page holds.
    pub(crate) fn range(&self) -> ScanRange<'_> {
        let start =
            self.after.as_ref().map_or(Bound::Unbounded, |after| Bound::Excluded(&after.user));
        let limit = NonZeroUsize::MIN.saturating_add(self.max_items.as_usize());
        ScanRange::new(self.account, Listing::Users, start, limit)
    }

    pub(crate) fn finish(self, records: &[Arc<UserRecord>]) -> Page<User> {
        let max_items = self.max_items.as_usize();
        let items: Vec<_> = records.iter().take(max_items).map(|record| record.user()).collect();
        let last = items.last().filter(|_| records.len() > max_items);
        let next = last
            .map(|last| self.query.mark(&Position { user: last.name().clone(), credential: None }));
        Page { items, next }
    }
}
