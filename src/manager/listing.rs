//! The pages of a listing: the ranges to scan for them, and their items in order.

use std::{
    num::NonZeroUsize,
    ops::{Bound, RangeInclusive},
    sync::Arc,
};

use super::{
    list_request::{ListRequest, ListUsersRequest},
    marker::{Position, Query},
};
use crate::{
    credential::Credential,
    error::Error,
    lifetime::Lifetime,
    names::{account_id::AccountId, user_name::UserName},
    paging::Page,
    policy::Policy,
    record::{UserRecord, key::Listing},
    store::scan_range::ScanRange,
    timestamp::Timestamp,
    user::User,
};

/// Fills a page with credentials.
pub(crate) struct CredentialPager<'a> {
    account: AccountId,
    request: &'a ListRequest,
    query: Query<'a>,
    after: Option<Position>,
    per_user: usize,
    now: Timestamp,
    items: Vec<Credential>,
    /// The last user whose credentials were added.
    last_user: Option<UserName>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotReached,
    OfPage,
    OfListing,
    /// As many users were examined as one page may examine.
    OfExamination,
}

impl<'a> CredentialPager<'a> {
    /// The smallest number of users that a scan after the first one fetches.
    const MIN_FETCH: usize = 100;

    pub(crate) fn new(
        account: AccountId,
        request: &'a ListRequest,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let query = Query::credentials(account, request);
        let after = request.marker.as_ref().map(|marker| query.locate(marker)).transpose()?;
        Ok(Self {
            account,
            request,
            query,
            after,
            per_user: policy.credentials_per_service(),
            now,
            items: Vec::new(),
            last_user: None,
            end: End::NotReached,
        })
    }

    /// The next range to scan of all users, or `None` once the page is full or nothing is left.
    pub(crate) fn next_range(&self) -> Option<ScanRange<'_>> {
        let start = match (&self.last_user, &self.after) {
            (Some(last_user), _) => Bound::Excluded(last_user),
            // The user at whom the last page ended may have more credentials.
            (None, Some(after)) => Bound::Included(&after.user),
            (None, None) => Bound::Unbounded,
        };
        let listing = Listing::Holders { service: self.request.service.as_ref() };
        (self.end == End::NotReached)
            .then(|| ScanRange::new(self.account, listing, start, self.limit()))
    }

    /// Adds the records of a scan.
    pub(crate) fn add(&mut self, records: &[Arc<UserRecord>]) {
        if records.len() < self.limit().get() {
            self.end = End::OfListing;
        }
        for record in records {
            self.add_record(record);
            if self.end == End::OfPage {
                return;
            }
        }
        self.last_user = records.last().map(|record| record.name().clone());
    }

    /// Adds the credentials of one user.
    pub(crate) fn add_record(&mut self, record: &UserRecord) {
        let ListRequest { service, older_than, secret_older_than, max_items, .. } = self.request;
        let until = |age: Option<Lifetime>| age.map(|age| self.now.minus_days(age.as_days()));
        let (created, secret_changed) = (until(*older_than), until(*secret_older_than));
        for held in record.credentials() {
            let listed = service.as_ref().is_none_or(|service| held.service() == service)
                && created.is_none_or(|until| held.created() <= until)
                && secret_changed.is_none_or(|until| held.secret_changed() <= until)
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

    /// The number of users to fetch: first as many as fill the page if each has all the credentials
    /// that the policy allows, then as many as certainly fill it (unless a filter leaves some out),
    /// at least [`MIN_FETCH`](Self::MIN_FETCH). One more is the look-ahead, and one may be the user
    /// that the last page ended at.
    fn limit(&self) -> NonZeroUsize {
        let lacking = self.request.max_items.as_usize() - self.items.len();
        let users = match self.last_user {
            None => lacking.div_ceil(self.per_user),
            Some(_) => lacking.max(Self::MIN_FETCH),
        };
        NonZeroUsize::MIN.saturating_add(users + 1)
    }
}

/// Fills a page with users.
pub(crate) struct UserPager<'a> {
    account: AccountId,
    request: &'a ListUsersRequest,
    query: Query<'a>,
    /// The last user that was read, or at which the last page ended.
    after: Option<UserName>,
    /// The number of users that were read.
    examined: usize,
    items: Vec<User>,
    end: End,
}

impl<'a> UserPager<'a> {
    /// The smallest and the largest number of users that a scan with a filter fetches.
    const FETCH: RangeInclusive<usize> = 100..=1000;

    pub(crate) fn new(account: AccountId, request: &'a ListUsersRequest) -> Result<Self, Error> {
        let query = Query::users(account, request.path_prefix.as_ref());
        let after = request.marker.as_ref().map(|marker| query.locate(marker)).transpose()?;
        let after = after.map(|after| after.user);
        let (examined, items) = (0, Vec::new());
        Ok(Self { account, request, query, after, examined, items, end: End::NotReached })
    }

    /// The next range to scan, or `None` once the page is full or nothing is left.
    pub(crate) fn next_range(&self) -> Option<ScanRange<'_>> {
        let start = self.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        (self.end == End::NotReached)
            .then(|| ScanRange::new(self.account, Listing::Users, start, self.limit()))
    }

    /// Adds the records of a scan.
    pub(crate) fn add(&mut self, records: &[Arc<UserRecord>]) {
        if records.len() < self.limit().get() {
            self.end = End::OfListing;
        }
        let prefix = self.request.path_prefix.as_ref();
        for record in records {
            if prefix.is_none_or(|prefix| prefix.matches(record.path())) {
                if self.items.len() == self.request.max_items.as_usize() {
                    self.end = End::OfPage;
                    return;
                }
                self.items.push(record.user());
            }
        }
        self.after = records.last().map(|record| record.name().clone());
        self.examined += records.len();
        if self.end == End::NotReached && self.examined >= ListUsersRequest::MAX_EXAMINED {
            self.end = End::OfExamination;
        }
    }

    pub(crate) fn finish(self) -> Page<User> {
        let last = match self.end {
            End::OfPage => self.items.last().map(|user| user.name().clone()),
            End::OfExamination => self.after,
            End::NotReached | End::OfListing => None,
        };
        let next = last.map(|user| self.query.mark(&Position { user, credential: None }));
        Page { items: self.items, next }
    }

    /// The number of users to fetch: those of a page and one more, the look-ahead. With a filter,
    /// first some more, then as many as were examined so far.
    fn limit(&self) -> NonZeroUsize {
        let page = self.request.max_items.as_usize() + 1;
        let left = ListUsersRequest::MAX_EXAMINED.saturating_sub(self.examined);
        let users = match (&self.request.path_prefix, self.examined) {
            (None, _) => page,
            (Some(_), 0) => page.max(*Self::FETCH.start()),
            (Some(_), examined) => examined.min(*Self::FETCH.end()).min(left),
        };
        NonZeroUsize::new(users).unwrap_or(NonZeroUsize::MIN)
    }
}
