//! Iteration over listings, page by page.

use std::{fmt, future::Future, vec};

use super::{
    CredentialManager,
    async_manager::AsyncCredentialManager,
    list_request::{ListRequest, ListUsersRequest},
};
use crate::{
    credential::Credential,
    error::Error,
    paging::{Marker, Page},
    store::{
        AsyncStore, Store,
        sync_adapter::{SyncAdapter, poll_ready},
    },
    user::User,
};

/// A request of a listing: [`ListRequest`] or [`ListUsersRequest`].
pub trait Listable: Clone + fmt::Debug + Send + Sync + sealed::Sealed {
    /// The items of the listing.
    type Item: fmt::Debug + Send + Sync;

    #[doc(hidden)]
    #[must_use]
    fn after(self, marker: Marker) -> Self;

    #[doc(hidden)]
    fn page<S: AsyncStore>(
        &self,
        manager: &AsyncCredentialManager<S>,
    ) -> impl Future<Output = Result<Page<Self::Item>, Error>> + Send;
}

mod sealed {
    use super::{ListRequest, ListUsersRequest};

    pub trait Sealed {}

    impl Sealed for ListRequest {}
    impl Sealed for ListUsersRequest {}
}

impl Listable for ListRequest {
    type Item = Credential;

    fn after(self, marker: Marker) -> Self {
        self.marker(marker)
    }

    fn page<S: AsyncStore>(
        &self,
        manager: &AsyncCredentialManager<S>,
    ) -> impl Future<Output = Result<Page<Credential>, Error>> + Send {
        manager.list_page(self)
    }
}

impl Listable for ListUsersRequest {
    type Item = User;

    fn after(self, marker: Marker) -> Self {
        self.marker(marker)
    }

    fn page<S: AsyncStore>(
        &self,
        manager: &AsyncCredentialManager<S>,
    ) -> impl Future<Output = Result<Page<User>, Error>> + Send {
        manager.list_users_page(self)
    }
}

/// The items of a listing over an async store, page by page: the result of
/// [`AsyncCredentialManager::credentials`] and [`AsyncCredentialManager::users`].
///
/// Items are those of the pages: neither repeated nor skipped if they exist during the whole
/// listing. It owns a clone of the manager and holds one page at a time.
///
/// ```
/// use service_specific_credentials::{
///     AsyncCredentialManager, ListRequest, MemoryStore, store::SyncAdapter,
/// };
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = SyncAdapter::new(MemoryStore::new());
/// let iam = AsyncCredentialManager::new("123456789012".parse()?, store);
/// # let anika = "anika".parse()?;
/// # iam.register_user(&anika).await?;
/// # let _issued = iam.create(&anika, &"codecommit.amazonaws.com".parse()?).await?;
/// let mut credentials = iam.credentials(ListRequest::all_users());
/// while let Some(credential) = credentials.next().await? {
///     println!("{} of {}", credential.id(), credential.user_name());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a pager does nothing until it is asked for items"]
pub struct Pager<S, R: Listable> {
    manager: AsyncCredentialManager<S>,
    /// The request of the next page, `None` after the last one.
    request: Option<R>,
    items: vec::IntoIter<R::Item>,
}

impl<S, R: Listable> Pager<S, R> {
    pub(super) fn new(manager: AsyncCredentialManager<S>, request: R) -> Self {
        Self { manager, request: Some(request), items: Vec::new().into_iter() }
    }
}

impl<S: AsyncStore, R: Listable> Pager<S, R> {
    /// The next item, or `None` after the last one.
    ///
    /// # Errors
    ///
    /// As [`list_page`](AsyncCredentialManager::list_page). No item was skipped: the next call
    /// requests the same page again.
    pub async fn next(&mut self) -> Result<Option<R::Item>, Error> {
        loop {
            if let Some(item) = self.items.next() {
                return Ok(Some(item));
            }
            match self.next_page().await? {
                Some(items) => self.items = items.into_iter(),
                None => return Ok(None),
            }
        }
    }

    /// The rest of the present page, or the next page, or `None` after the last one.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn next_page(&mut self) -> Result<Option<Vec<R::Item>>, Error> {
        if !self.items.as_slice().is_empty() {
            return Ok(Some(std::mem::take(&mut self.items).collect()));
        }
        let Some(request) = &self.request else { return Ok(None) };
        let Page { items, next } = request.page(&self.manager).await?;
        self.request = self.request.take().zip(next).map(|(request, next)| request.after(next));
        Ok(Some(items))
    }
}

impl<S: fmt::Debug, R: Listable> fmt::Debug for Pager<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pager")
            .field("manager", &self.manager)
            .field("request", &self.request)
            .field("items", &self.items.as_slice())
            .finish()
    }
}

/// The items of a listing: the iterator that [`CredentialManager::credentials`] and
/// [`CredentialManager::users`] return.
///
/// Items are those of the pages: neither repeated nor skipped if they exist during the whole
/// listing. It owns a clone of the manager and holds one page at a time. It ends after an error.
#[must_use = "an iterator does nothing until it is iterated over"]
pub struct Items<S, R: Listable> {
    pager: Pager<SyncAdapter<S>, R>,
    is_finished: bool,
}

impl<S, R: Listable> Items<S, R> {
    pub(super) fn new(manager: &CredentialManager<S>, request: R) -> Self {
        Self { pager: Pager::new(manager.0.clone(), request), is_finished: false }
    }
}

impl<S: Store, R: Listable> Iterator for Items<S, R> {
    type Item = Result<R::Item, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_finished {
            return None;
        }
        let next = poll_ready(self.pager.next()).transpose();
        self.is_finished = !matches!(next, Some(Ok(_)));
        next
    }
}

impl<S: Store, R: Listable> std::iter::FusedIterator for Items<S, R> {}

impl<S: fmt::Debug, R: Listable> fmt::Debug for Items<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pager, is_finished } = self;
        f.debug_struct("Items").field("pager", pager).field("is_finished", is_finished).finish()
    }
}
