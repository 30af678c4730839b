//! Users and credentials to query, and responses that are checked completely.

use std::{
    fmt::{self, Debug},
    ops::Bound,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, Method, Request, Response};
use roxmltree::{Document, Node};
use service_specific_credentials::{
    AsyncCredentialManager, CreateOptions, CredentialManager, IssuedCredential, Lifetime, Policy,
    Status, UserName,
    query::{self, Dialect, RequestId},
    store::{
        AsyncStore, Change, CommitOutcome, Key, Listing, ScanRange, Store, StoreError, UserRecord,
    },
    testing::{FixedClock, SeededEntropy},
};
use time::Duration;

use crate::common::{
    ACCOUNT, BEDROCK, CASSANDRA, CODECOMMIT, HookAction, HookedStore, StoreCall, dawn, name,
};

pub(crate) const CREATE: &str = "CreateServiceSpecificCredential";
pub(crate) const LIST: &str = "ListServiceSpecificCredentials";
pub(crate) const UPDATE: &str = "UpdateServiceSpecificCredential";
pub(crate) const RESET: &str = "ResetServiceSpecificCredential";
pub(crate) const DELETE: &str = "DeleteServiceSpecificCredential";
pub(crate) const NAMESPACE: &str = "https://iam.amazonaws.com/doc/2010-05-08/";
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
/// The id of every request: the same in all golden files.
pub(crate) const REQUEST_ID: &str = "01020304-0506-0708-090a-0b0c0d0e0f10";

pub(crate) const fn request_id() -> RequestId {
    RequestId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
}

/// A fault of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Another change is always applied first.
    Stale,
    Read,
    Write,
    /// The change is applied before the failure.
    AfterWriting,
}

impl Fault {
    fn does(self, asked: StoreCall<'_>) -> HookAction {
        match (self, asked) {
            (Self::Stale, StoreCall::Commit(_)) => HookAction::Return(CommitOutcome::Stale),
            (Self::Read, StoreCall::Find | StoreCall::Scan(_))
            | (Self::Write, StoreCall::Commit(_)) => HookAction::Fail,
            (Self::AfterWriting, StoreCall::Commit(_)) => HookAction::FailAfterwards,
            _ => HookAction::Proceed,
        }
    }
}

type Hook = Box<dyn Fn(StoreCall<'_>) -> HookAction + Send + Sync>;
type Shared = Arc<HookedStore<Hook>>;

/// The same store with an async interface. It is pending once per operation.
#[derive(Debug)]
pub(crate) struct AsyncHooked(Shared);

impl AsyncStore for AsyncHooked {
    async fn find(&self, key: &Key<'_>) -> Result<Option<Arc<UserRecord>>, StoreError> {
        tokio::task::yield_now().await;
        self.0.find(key)
    }

    async fn commit(&self, change: &Change) -> Result<CommitOutcome, StoreError> {
        tokio::task::yield_now().await;
        self.0.commit(change)
    }

    async fn scan(&self, range: &ScanRange<'_>) -> Result<Vec<Arc<UserRecord>>, StoreError> {
        tokio::task::yield_now().await;
        self.0.scan(range)
    }
}

/// `anika` has an active and an inactive credential at CodeCommit, an expired one at Cassandra and
/// an API key. `bo` has a credential that expires, `carl` none.
pub(crate) struct World {
    pub(crate) iam: CredentialManager<Shared>,
    pub(crate) waiting: AsyncCredentialManager<AsyncHooked>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) fault: Arc<Mutex<Fault>>,
    names: Vec<(&'static str, String)>,
}

/// A request and its caller.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) query: String,
    pub(crate) body: Vec<u8>,
    pub(crate) caller: Option<&'static str>,
    pub(crate) dialect: Dialect,
}

impl Call {
    /// A POST of a form.
    pub(crate) fn form(body: impl Into<Vec<u8>>) -> Self {
        Self {
            method: Method::POST,
            content_type: Some(FORM),
            query: String::new(),
            body: body.into(),
            caller: None,
            dialect: Dialect::Documented,
        }
    }

    /// A POST of an action and its parameters.
    pub(crate) fn post(action: &str, parameters: &str) -> Self {
        Self::form(form(action, parameters))
    }

    pub(crate) fn get(query: impl Into<String>) -> Self {
        Self { method: Method::GET, content_type: None, query: query.into(), ..Self::form("") }
    }

    pub(crate) fn caller(self, caller: &'static str) -> Self {
        Self { caller: Some(caller), ..self }
    }

    pub(crate) fn dialect(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }

    pub(crate) fn content_type(self, content_type: Option<&'static str>) -> Self {
        Self { content_type, ..self }
    }

    pub(crate) fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    fn request(&self) -> Request<&[u8]> {
        let uri = if self.query.is_empty() { "/".into() } else { format!("/?{}", self.query) };
        let mut request = Request::builder().method(self.method.clone()).uri(uri);
        if let Some(content_type) = self.content_type {
            request = request.header("content-type", content_type);
        }
        request.body(&self.body[..]).unwrap()
    }
}

impl Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, content_type, query, body, caller, .. } = self;
        let start = String::from_utf8_lossy(&body[..body.len().min(1000)]);
        write!(f, "{caller:?} {method} {query:?} {content_type:?} {start:?}")
    }
}

/// A form with an action, the API's version, and parameters.
pub(crate) fn form(action: &str, parameters: &str) -> String {
    format!("Action={action}&Version=2010-05-08&{parameters}")
}

impl World {
    pub(crate) fn new() -> Self {
        Self::by(Policy::default())
    }

    pub(crate) fn by(policy: Policy) -> Self {
        let fault = Arc::new(Mutex::new(Fault::None));
        let current = Arc::clone(&fault);
        let hook: Hook = Box::new(move |asked| current.lock().unwrap().does(asked));
        let store = Arc::new(HookedStore::new(hook));
        let clock = Arc::new(FixedClock::new(dawn()));
        let entropy = Arc::new(SeededEntropy::new(7));
        let iam = CredentialManager::builder(name(ACCOUNT), Arc::clone(&store))
            .policy(policy.clone())
            .clock(Arc::clone(&clock))
            .entropy(Arc::clone(&entropy))
            .build();
        let waiting = AsyncCredentialManager::builder(name(ACCOUNT), AsyncHooked(store))
            .policy(policy)
            .clock(Arc::clone(&clock))
            .entropy(entropy)
            .build_async();
        let names = populate(&iam, &clock);
        let mut world = Self { iam, waiting, clock, fault, names };
        let first = world.post(LIST, "UserName=anika&MaxItems=1");
        world.names.push(("marker", first.text("Marker")));
        world
    }

    /// Replaces `{active}`, `{inactive}`, `{expired}`, `{key}` and `{bo}` by ids, and `{marker}` by
    /// the marker of a first page of `anika`.
    pub(crate) fn fill(&self, text: &str) -> String {
        let mut text = text.replace("{missing}", "ACCA12345ABCDEXAMPLE");
        for (name, value) in &self.names {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    fn filled(&self, call: &Call) -> Call {
        let body = match std::str::from_utf8(&call.body) {
            Ok(body) if body.len() < 10_000 => self.fill(body).into(),
            _ => call.body.clone(),
        };
        Call { query: self.fill(&call.query), body, ..call.clone() }
    }

    pub(crate) fn send(&self, call: &Call) -> Reply {
        let call = self.filled(call);
        let caller: Option<UserName> = call.caller.map(name);
        let response =
            query::handle(&self.iam, &call.request(), caller.as_ref(), call.dialect, request_id());
        Reply::of(response.map(Vec::from), &call)
    }

    /// Calls the async manager.
    pub(crate) fn send_async(&self, call: &Call) -> Reply {
        let call = self.filled(call);
        let caller: Option<UserName> = call.caller.map(name);
        let (request, caller) = (call.request(), caller.as_ref());
        let response =
            query::handle_async(&self.waiting, &request, caller, call.dialect, request_id());
        let executor = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Reply::of(executor.block_on(response).map(Vec::from), &call)
    }

    pub(crate) fn post(&self, action: &str, parameters: &str) -> Reply {
        self.send(&Call::post(action, parameters))
    }

    /// Sends an invalid request, and checks that nothing has changed.
    pub(crate) fn rejection(&self, call: &Call) -> (u16, String, String) {
        let before = self.dump();
        let reply = self.send(call);
        assert_eq!(self.dump(), before, "{call:?} changed something");
        assert!(reply.status >= 400, "{call:?}: {}", reply.body);
        (reply.status, reply.text("Code"), reply.text("Message"))
    }

    /// Sends an invalid request, and checks that the status is 400.
    #[track_caller]
    pub(crate) fn rejects(&self, action: &str, parameters: &str, code: &str, message: &str) {
        let rejection = self.rejection(&Call::post(action, parameters));
        let message = self.fill(message);
        assert_eq!(rejection, (400, code.into(), message), "{action} {parameters}");
    }

    /// The contents of the store, including digests.
    pub(crate) fn dump(&self) -> Vec<Vec<u8>> {
        let fault = std::mem::replace(&mut *self.fault.lock().unwrap(), Fault::None);
        let limit = 1000.try_into().unwrap();
        let range = ScanRange::new(self.iam.account(), Listing::Users, Bound::Unbounded, limit);
        let records = self.iam.store().scan(&range).unwrap();
        *self.fault.lock().unwrap() = fault;
        records.iter().map(|record| record.encode()).collect()
    }
}

fn populate(iam: &CredentialManager<Shared>, clock: &FixedClock) -> Vec<(&'static str, String)> {
    let [anika, bo, carl] = ["anika", "bo", "carl"].map(name::<UserName>);
    for user in [&anika, &bo, &carl] {
        iam.register_user(user).unwrap();
    }
    let create = |user: &UserName, service: &str| {
        clock.advance(Duration::MILLISECOND);
        iam.create(user, &name(service)).unwrap()
    };
    let days = |days| Lifetime::days(days).unwrap();
    let expired = iam
        .create_with_options(&anika, &name(CASSANDRA), &CreateOptions::new().lifetime(days(1)))
        .unwrap();
    clock.advance(Duration::DAY);
    let inactive = create(&anika, CODECOMMIT);
    iam.set_status(&anika, inactive.id(), Status::Inactive).unwrap();
    let active = create(&anika, CODECOMMIT);
    let key = create(&anika, BEDROCK);
    let of_bo = iam
        .create_with_options(&bo, &name(CODECOMMIT), &CreateOptions::new().lifetime(days(90)))
        .unwrap();
    let id = |issued: &IssuedCredential| issued.id().to_string();
    vec![
        ("active", id(&active)),
        ("inactive", id(&inactive)),
        ("expired", id(&expired)),
        ("key", id(&key)),
        ("bo", id(&of_bo)),
    ]
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Reply {
    /// Checks everything that all responses have in common.
    fn of(response: Response<Vec<u8>>, call: &Call) -> Self {
        let (parts, body) = response.into_parts();
        let body = String::from_utf8(body).unwrap();
        let reply = Self { status: parts.status.as_u16(), headers: parts.headers, body };
        assert_eq!(reply.header("content-type"), Some("text/xml"));
        assert_eq!(reply.header("x-amzn-RequestId"), Some(REQUEST_ID));
        let known = call.method == Method::GET || call.method == Method::POST;
        assert_eq!(reply.header("allow"), (!known).then_some("GET, POST"));
        assert_eq!(reply.status == 405, !known);

        let document = Document::parse(&reply.body).unwrap();
        let root = document.root_element();
        assert_eq!(reply.texts("RequestId"), [REQUEST_ID]);
        assert!(
            root.descendants()
                .filter(Node::is_element)
                .all(|element| { element.tag_name().namespace() == Some(NAMESPACE) })
        );
        assert_eq!(reply.status == 200, reply.status < 400);
        assert_eq!(root.tag_name().name() == "ErrorResponse", reply.status >= 400);
        if reply.status >= 400 {
            let fault = if reply.status >= 500 { "Receiver" } else { "Sender" };
            assert_eq!(reply.path(&["ErrorResponse", "Error", "Type"]), fault);
            reply.path(&["ErrorResponse", "Error", "Code"]);
            reply.path(&["ErrorResponse", "Error", "Message"]);
            reply.path(&["ErrorResponse", "RequestId"]);
        } else {
            reply.path(&[root.tag_name().name(), "ResponseMetadata", "RequestId"]);
        }
        reply
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        assert!(self.headers.get_all(name).iter().count() <= 1);
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The text at the end of a path. Each of its elements must be unique.
    fn path(&self, path: &[&str]) -> String {
        let document = Document::parse(&self.body).unwrap();
        let mut at = document.root();
        for step in path {
            let mut children = at.children().filter(|child| child.tag_name().name() == *step);
            at = children.next().unwrap_or_else(|| panic!("{path:?} in {}", self.body));
            assert!(children.next().is_none(), "{path:?} twice in {}", self.body);
        }
        text(&at)
    }

    /// The texts of all elements with this name, in order.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let document = Document::parse(&self.body).unwrap();
        let elements = document.descendants().filter(|node| node.tag_name().name() == name);
        elements.map(|element| text(&element)).collect()
    }

    /// The text of the only element with this name.
    #[track_caller]
    pub(crate) fn text(&self, name: &str) -> String {
        let mut texts = self.texts(name);
        assert_eq!(texts.len(), 1, "{name} in {}", self.body);
        texts.remove(0)
    }

    /// The names of the elements, in order.
    pub(crate) fn elements(&self) -> Vec<String> {
        let document = Document::parse(&self.body).unwrap();
        let elements = document.descendants().filter(Node::is_element);
        elements.map(|element| element.tag_name().name().to_owned()).collect()
    }
}

/// The text of an element that contains only text.
fn text(element: &Node<'_, '_>) -> String {
    element.children().filter_map(|child| child.text()).collect()
}

/// Percent-encodes every byte.
pub(crate) fn encoded(text: impl AsRef<[u8]>) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap();
    text.as_ref().iter().flat_map(|byte| ['%', digit(byte >> 4), digit(byte & 15)]).collect()
}
