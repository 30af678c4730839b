//! Parses named parameters into a typed request, or into all violations.

use std::borrow::Cow;

use http::{Method, header::CONTENT_TYPE};

use super::{
    MAX_BYTES,
    action::Action,
    form::Form,
    output::Output,
    request_error::RequestError,
    tag_pages,
    validator::{Presence, Validator},
};
use crate::{
    constraint::{Constraint, InvalidParameter},
    credential::Status,
    error::Error,
    lifetime::Lifetime,
    manager::{
        async_manager::AsyncCredentialManager,
        create_options::CreateOptions,
        list_request::{ListRequest, ListUsersRequest},
        user_options::{RegisterOptions, UpdateOptions},
    },
    names::{
        credential_id::CredentialId,
        path_prefix::PathPrefix,
        service_name::{InvalidServiceName, ServiceName},
        user_name::{InvalidUserName, UserName},
        user_path::{InvalidUserPath, UserPath},
    },
    paging::{InvalidMarker, Marker, MaxItems},
    store::AsyncStore,
    tags::Tags,
};

const VERSION: &str = "2010-05-08";

/// A parsed request: an action, and parameters that are valid by themselves.
///
/// [`handle`](super::handle) parses and executes a request in one call. A server that authorizes
/// requests first, or has parsed them already, does it in steps:
///
/// ```
/// use service_specific_credentials::{
///     CredentialManager, MemoryStore, UserName,
///     query::{Dialect, Request, RequestId},
/// };
///
/// let iam = CredentialManager::new("123456789012".parse()?, MemoryStore::new());
/// iam.register_user(&"anika".parse()?)?;
/// let caller: UserName = "anika".parse()?;
///
/// let request = Request::from_form(
///     b"Action=CreateServiceSpecificCredential&Version=2010-05-08\
///       &ServiceName=CodeCommit.amazonaws.com&CredentialAgeDays=30",
/// )?;
/// assert_eq!(request.iam_action(), "iam:CreateServiceSpecificCredential");
/// let resource = request.resource_arn(iam.account(), Some(&caller));
/// assert_eq!(resource.as_deref(), Some("arn:aws:iam::123456789012:user/anika"));
/// let keys: Vec<_> = request.condition_keys().collect();
/// assert_eq!(keys[0].0, "iam:ServiceSpecificCredentialServiceName");
/// assert_eq!(keys[0].1, "codecommit.amazonaws.com");
/// assert_eq!(keys[1], ("iam:ServiceSpecificCredentialAgeDays", "30".to_owned()));
///
/// let id = RequestId::random();
/// let response = request.execute(&iam, Some(&caller), Dialect::Documented, id);
/// assert_eq!(response.status(), 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Request {
    pub(super) action: Action,
    user: Option<UserName>,
    operation: Operation,
}

#[derive(Debug)]
enum Operation {
    Create { service: Service, lifetime: Option<Lifetime> },
    List { service: Option<Service>, all_users: bool, marker: Option<Marker>, max_items: MaxItems },
    Update { id: CredentialId, status: Status },
    Reset { id: CredentialId },
    Delete { id: CredentialId },
    CreateUser(RegisterOptions),
    GetUser,
    UpdateUser { name: Option<UserName>, path: Option<UserPath> },
    DeleteUser,
    ListUsers { path_prefix: Option<PathPrefix>, marker: Option<Marker>, max_items: MaxItems },
    TagUser { tags: Tags },
    UntagUser { keys: Vec<String> },
    ListUserTags { marker: Option<Marker>, max_items: MaxItems },
}

/// A service name, and its spelling in the request if that differs.
#[derive(Debug)]
struct Service {
    name: ServiceName,
    sent: Option<Box<str>>,
}

impl Service {
    /// A required service.
    fn read(text: Option<Cow<'_, str>>, validator: &mut Validator) -> Option<Self> {
        let sent = text.clone();
        let name: ServiceName =
            validator.required(text, &ServiceName::GRAMMAR, InvalidServiceName)?;
        let sent = sent.filter(|sent| *sent != name.as_str());
        Some(Self { name, sent: sent.map(|sent| sent.into_owned().into()) })
    }
}

impl Request {
    /// Reads a request: a POST from its body, a GET from its query string.
    ///
    /// # Errors
    ///
    /// The variants of [`RequestError`] are the causes.
    pub fn read<B: AsRef<[u8]>>(request: &http::Request<B>) -> Result<Self, RequestError> {
        match *request.method() {
            Method::GET => Self::from_form(request.uri().query().unwrap_or_default().as_bytes()),
            Method::POST => {
                let form_type = b"application/x-www-form-urlencoded";
                let content_type = request.headers().get(CONTENT_TYPE);
                let content_type = content_type.map_or(&b""[..], |value| value.as_bytes());
                let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default();
                if !essence.trim_ascii().eq_ignore_ascii_case(form_type) {
                    return Err(RequestError::ContentType);
                }
                Self::from_form(request.body().as_ref())
            }
            _ => Err(RequestError::Method),
        }
    }

    /// Reads a form: a body, or a query string.
    ///
    /// # Errors
    ///
    /// The variants of [`RequestError`] are the causes.
    pub fn from_form(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > MAX_BYTES {
            return Err(RequestError::TooLarge);
        }
        Self::from_parameters(Form::parse(bytes)?)
    }

    /// Parses the parameters of a request that was decoded already: pairs of a name and a value, in
    /// any order.
    ///
    /// Any map of strings will do, and so will a list of pairs. Parameters that an operation does
    /// not know are ignored, such as those of a signature.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use service_specific_credentials::query::Request;
    ///
    /// let parameters = HashMap::from([
    ///     ("Action", "ListServiceSpecificCredentials"),
    ///     ("Version", "2010-05-08"),
    ///     ("UserName", "anika"),
    /// ]);
    /// let request = Request::from_pairs(&parameters)?;
    /// assert_eq!(request.action(), "ListServiceSpecificCredentials");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The variants of [`RequestError`] are the causes. Names and values have at most [`MAX_BYTES`]
    /// in all, with two bytes more for each pair, as in a form.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, RequestError> {
        let (mut kept, mut length) = (Vec::new(), 0_usize);
        for (name, value) in pairs {
            length = length
                .saturating_add(2)
                .saturating_add(name.as_ref().len())
                .saturating_add(value.as_ref().len());
            if length > MAX_BYTES {
                return Err(RequestError::TooLarge);
            }
            kept.push((name, value));
        }
        let pairs = kept.iter().map(|(name, value)| (name.as_ref().into(), value.as_ref().into()));
        Self::from_parameters(Form::from_pairs(pairs)?)
    }

    fn from_parameters(form: Form<'_>) -> Result<Self, RequestError> {
        let action = action(&form)?;
        let mut validator = Validator::default();
        let user = match action {
            Action::ListUsers => None,
            Action::CreateUser
            | Action::UpdateUser
            | Action::DeleteUser
            | Action::TagUser
            | Action::UntagUser
            | Action::ListUserTags => {
                validator.required(form.user_name, &UserName::GRAMMAR, InvalidUserName)
            }
            _ => validator.text(form.user_name, &UserName::GRAMMAR, InvalidUserName),
        };
        let operation = match action {
            Action::Create => {
                let service = Service::read(form.service_name, &mut validator);
                let lifetime = validator.number("CredentialAgeDays", form.age, Lifetime::days)?;
                service.map(|service| Operation::Create { service, lifetime })
            }
            Action::List => {
                // An empty one is no filter (*recorded*).
                let filter = form.service_name.filter(|name| !name.is_empty());
                let service = filter.and_then(|name| Service::read(Some(name), &mut validator));
                let marker = validator.text(form.marker, &Marker::GRAMMAR, InvalidMarker);
                let max_items = validator.number("MaxItems", form.max_items, MaxItems::new)?;
                let all_users = boolean("AllUsers", form.all_users.as_deref())?;
                let max_items = max_items.unwrap_or_default();
                Some(Operation::List { service, all_users, marker, max_items })
            }
            Action::Update => {
                let id = validator.id(form.credential_id);
                let status = validator.status(form.status);
                id.zip(status).map(|(id, status)| Operation::Update { id, status })
            }
            Action::Reset => validator.id(form.credential_id).map(|id| Operation::Reset { id }),
            Action::Delete => validator.id(form.credential_id).map(|id| Operation::Delete { id }),
            Action::CreateUser => {
                let path = form.path.and_then(|path| validator.take(path.parse::<UserPath>()));
                if form.permissions_boundary.is_some() {
                    validator.reject(RequestError::NotSupported("PermissionsBoundary"));
                }
                let tags = validator.tags(form.tags, Presence::Optional)?;
                let options = RegisterOptions::new().path(path.unwrap_or_default()).tags(tags);
                Some(Operation::CreateUser(options))
            }
            Action::GetUser => Some(Operation::GetUser),
            Action::UpdateUser => {
                let name = validator.text(form.new_user_name, &UserName::GRAMMAR, invalid_new_name);
                let path = form.new_path.and_then(|path| {
                    let invalid = |InvalidUserPath(constraint)| InvalidParameter {
                        name: "newPath",
                        ..InvalidUserPath(constraint).into()
                    };
                    validator.take(path.parse().map_err(invalid))
                });
                Some(Operation::UpdateUser { name, path })
            }
            Action::DeleteUser => Some(Operation::DeleteUser),
            Action::ListUsers => {
                let marker = validator.text(form.marker, &Marker::GRAMMAR, InvalidMarker);
                let max_items = validator.number("MaxItems", form.max_items, MaxItems::new)?;
                let max_items = max_items.unwrap_or_default();
                let path_prefix = form.path_prefix.and_then(|text| validator.take(text.parse()));
                Some(Operation::ListUsers { path_prefix, marker, max_items })
            }
            Action::TagUser => {
                let tags = validator.tags(form.tags, Presence::Required)?;
                Some(Operation::TagUser { tags })
            }
            Action::UntagUser => {
                let keys = validator.tag_keys(form.tag_keys)?;
                Some(Operation::UntagUser { keys })
            }
            Action::ListUserTags => {
                let marker = validator.text(form.marker, &Marker::GRAMMAR, InvalidMarker);
                let max_items = validator.number("MaxItems", form.max_items, MaxItems::new)?;
                Some(Operation::ListUserTags { marker, max_items: max_items.unwrap_or_default() })
            }
        };
        match operation {
            Some(operation) if validator.is_satisfied() => Ok(Self { action, user, operation }),
            _ => Err(validator.into_error()),
        }
    }

    /// The name of the operation, as the API spells it.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        self.action.name()
    }

    /// The parameter `UserName`. Without it, the request is about the caller or, for some actions,
    /// about [all users](Self::is_about_all_users).
    #[must_use]
    pub const fn user_name(&self) -> Option<&UserName> {
        self.user.as_ref()
    }

    /// Whether the request is about all users of the account.
    #[must_use]
    pub const fn is_about_all_users(&self) -> bool {
        matches!(
            self.operation,
            Operation::List { all_users: true, .. } | Operation::ListUsers { .. }
        )
    }

    /// The parameter `NewUserName`.
    #[must_use]
    pub const fn new_user_name(&self) -> Option<&UserName> {
        match &self.operation {
            Operation::UpdateUser { name, .. } => name.as_ref(),
            _ => None,
        }
    }

    /// The parameter `ServiceName`.
    #[must_use]
    pub fn service_name(&self) -> Option<&ServiceName> {
        self.service().map(|service| &service.name)
    }

    /// The lifetime of a new credential: the parameter `CredentialAgeDays`.
    #[must_use]
    pub const fn lifetime(&self) -> Option<Lifetime> {
        match &self.operation {
            Operation::Create { lifetime, .. } => *lifetime,
            _ => None,
        }
    }

    /// The parameter `ServiceSpecificCredentialId`.
    #[must_use]
    pub const fn credential_id(&self) -> Option<&CredentialId> {
        match &self.operation {
            Operation::Update { id, .. } | Operation::Reset { id } | Operation::Delete { id } => {
                Some(id)
            }
            _ => None,
        }
    }

    const fn service(&self) -> Option<&Service> {
        match &self.operation {
            Operation::Create { service, .. } => Some(service),
            Operation::List { service, .. } => service.as_ref(),
            _ => None,
        }
    }

    /// The service's name in the spelling of the request.
    pub(super) fn service_as_sent(&self) -> Option<&str> {
        self.service().map(|service| service.sent.as_deref().unwrap_or(service.name.as_str()))
    }

    /// Executes the request. Without the parameter `UserName`, it is about `caller`.
    pub(super) async fn run<S: AsyncStore>(
        &self,
        iam: &AsyncCredentialManager<S>,
        caller: Option<&UserName>,
    ) -> Result<Output, Error> {
        let named = self.user.as_ref();
        let user = || named.or(caller).ok_or(Error::UserNameMissing);
        Ok(match &self.operation {
            Operation::Create { service, lifetime } => {
                let mut options = CreateOptions::new();
                if let Some(lifetime) = lifetime {
                    options = options.lifetime(*lifetime);
                }
                Output::Issued(iam.create_with_options(user()?, &service.name, &options).await?)
            }
            Operation::List { service, all_users, marker, max_items } => {
                let mut list = match (named, all_users) {
                    (Some(_), true) => return Err(Error::AllUsersWithUserName),
                    (None, true) => ListRequest::all_users(),
                    (_, false) => ListRequest::of(user()?.clone()),
                };
                list = list.max_items(*max_items);
                if let Some(service) = service {
                    list = list.service(service.name.clone());
                }
                if let Some(marker) = marker {
                    list = list.marker(marker.clone());
                }
                Output::Listed(iam.list_page(&list).await?)
            }
            Operation::Update { id, status } => {
                iam.set_status(user()?, id, *status).await?;
                Output::Done
            }
            Operation::Reset { id } => Output::Issued(iam.reset(user()?, id).await?),
            Operation::Delete { id } => {
                iam.delete(user()?, id).await?;
                Output::Done
            }
            Operation::CreateUser(options) => {
                Output::User(iam.register_user_with_options(user()?, options).await?)
            }
            Operation::GetUser => Output::User(iam.user(user()?).await?),
            Operation::UpdateUser { name, path } => {
                let mut changes = UpdateOptions::new();
                if let Some(name) = name {
                    changes = changes.name(name.clone());
                }
                if let Some(path) = path {
                    changes = changes.path(path.clone());
                }
                iam.update_user(user()?, &changes).await?;
                Output::Done
            }
            Operation::DeleteUser => {
                iam.remove_user(user()?).await?;
                Output::Done
            }
            Operation::ListUsers { path_prefix, marker, max_items } => {
                let mut list = ListUsersRequest::new().max_items(*max_items);
                if let Some(prefix) = path_prefix {
                    list = list.path_prefix(prefix.clone());
                }
                if let Some(marker) = marker {
                    list = list.marker(marker.clone());
                }
                Output::Users(iam.list_users_page(&list).await?)
            }
            Operation::TagUser { tags } => {
                iam.tag_user(user()?, tags).await?;
                Output::Done
            }
            Operation::UntagUser { keys } => {
                let keys: Vec<_> = keys.iter().map(String::as_str).collect();
                iam.untag_user(user()?, &keys).await?;
                Output::Done
            }
            Operation::ListUserTags { marker, max_items } => {
                let user = iam.user(user()?).await?;
                Output::Tags(tag_pages::page(&user, marker.as_ref(), *max_items)?)
            }
        })
    }
}

fn action(form: &Form<'_>) -> Result<Action, RequestError> {
    let name = form.action.as_deref().ok_or(RequestError::MissingAction)?;
    let version = form.version.as_deref().unwrap_or_default();
    let action = Action::from_name(name).filter(|_| version == VERSION);
    action.ok_or_else(|| RequestError::UnknownAction {
        action: name.to_owned(),
        version: version.to_owned(),
    })
}

/// An absent boolean is `false`.
fn boolean(name: &'static str, text: Option<&str>) -> Result<bool, RequestError> {
    match text {
        Some("true" | "1") => Ok(true),
        None | Some("false" | "0") => Ok(false),
        Some(_) => Err(RequestError::NotABoolean(name)),
    }
}

fn invalid_new_name(constraint: Constraint) -> InvalidParameter {
    InvalidParameter { name: "newUserName", ..InvalidUserName(constraint).into() }
}
