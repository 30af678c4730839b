//! The calls that clients make before they delete a user: they look for what else the user has, and
//! delete the login profile. This emulator has no groups, policies, access keys, MFA devices,
//! certificates and login profiles, so the lists are empty, and no login profile is found.
//!
//! They are here and not in the crate: an emulator with an IAM of its own has its own.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::Response,
};
use service_specific_credentials::{
    AsyncCredentialManager, Error, UserName,
    query::{Dialect, ErrorResponse, Request, RequestError, RequestId},
    store::AsyncStore,
};

/// A call with the name of its list, if it returns one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) action: &'static str,
    list: Option<&'static str>,
    user: User,
}

/// Whether a call is about a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Required,
    /// Without a user name, it is about the caller.
    Optional,
    /// It is about the account.
    None,
}

const CALLS: [Call; 9] = [
    list("ListGroupsForUser", "Groups", User::Required),
    list("ListUserPolicies", "PolicyNames", User::Required),
    list("ListAttachedUserPolicies", "AttachedPolicies", User::Required),
    list("ListAccessKeys", "AccessKeyMetadata", User::Optional),
    list("ListSSHPublicKeys", "SSHPublicKeys", User::Optional),
    list("ListVirtualMFADevices", "VirtualMFADevices", User::None),
    list("ListMFADevices", "MFADevices", User::Optional),
    list("ListSigningCertificates", "Certificates", User::Optional),
    Call { action: "DeleteLoginProfile", list: None, user: User::Optional },
];

const fn list(action: &'static str, list: &'static str, user: User) -> Call {
    Call { action, list: Some(list), user }
}

impl Call {
    /// The call of this name.
    pub(crate) fn find(action: &str) -> Option<Self> {
        CALLS.into_iter().find(|call| call.action == action)
    }

    /// Serves the call with the parameters of a form.
    pub(crate) async fn execute<S: AsyncStore>(
        self,
        form: &[u8],
        iam: &AsyncCredentialManager<S>,
        caller: Option<&UserName>,
        dialect: Dialect,
        id: RequestId,
    ) -> Response {
        match self.try_execute(form, iam, caller, dialect).await {
            Ok(()) => self.empty(id),
            Err(error) => error.response(id).map(Body::new),
        }
    }

    async fn try_execute<S: AsyncStore>(
        self,
        form: &[u8],
        iam: &AsyncCredentialManager<S>,
        caller: Option<&UserName>,
        dialect: Dialect,
    ) -> Result<(), ErrorResponse> {
        let parameters: Vec<_> = form_urlencoded::parse(form).collect();
        let parameter =
            |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
        match self.action {
            "ListVirtualMFADevices" => check_assignment_status(parameter("AssignmentStatus"))?,
            "ListAttachedUserPolicies" => check_policy_path(parameter("PathPrefix"))?,
            _ => {}
        }
        if self.user != User::None {
            let user = self.user_name(parameter("UserName"))?;
            let user = user.as_ref().or(caller);
            let failed = |error: Error| ErrorResponse::from_error(&error, dialect);
            let user = user.ok_or_else(|| failed(Error::UserNameMissing))?;
            iam.user(user).await.map_err(failed)?;
            if self.list.is_none() {
                let message = format!("Login Profile for User {user} cannot be found.");
                return Err(ErrorResponse::new(StatusCode::NOT_FOUND, "NoSuchEntity", message));
            }
        }
        check_page(parameter("Marker"), parameter("MaxItems"))
    }

    /// The user name, in the shape that the API requires: as it is validated for an operation that
    /// requires one, or does not.
    fn user_name(self, name: Option<&str>) -> Result<Option<UserName>, RequestError> {
        let like = if self.user == User::Required { "DeleteUser" } else { "GetUser" };
        let name = name.map(|name| ("UserName", name.to_owned()));
        let parsed = parse(like, name)?;
        Ok(parsed.user_name().cloned())
    }

    fn empty(self, id: RequestId) -> Response {
        let (action, list) = (self.action, self.list.unwrap_or_default());
        let mut response = Response::new(Body::from(format!(
            "<{action}Response xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
             <{action}Result><{list}/><IsTruncated>false</IsTruncated></{action}Result>\
             <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{action}Response>"
        )));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
        response
    }
}

/// Parses parameters as those of an operation of the crate.
fn parse(
    action: &str,
    parameters: impl IntoIterator<Item = (&'static str, String)>,
) -> Result<Request, RequestError> {
    let fixed = [("Action", action.to_owned()), ("Version", "2010-05-08".to_owned())];
    Request::from_pairs(fixed.into_iter().chain(parameters))
}

/// Validates the parameters of paging. No marker was ever issued for an empty list.
fn check_page(marker: Option<&str>, max_items: Option<&str>) -> Result<(), ErrorResponse> {
    let given = marker.is_some();
    let parameters = [("Marker", marker), ("MaxItems", max_items)];
    parse(
        "ListUsers",
        parameters.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))),
    )?;
    if given {
        let message = "Invalid Marker.";
        return Err(ErrorResponse::new(StatusCode::BAD_REQUEST, "ValidationError", message));
    }
    Ok(())
}

fn check_assignment_status(status: Option<&str>) -> Result<(), ErrorResponse> {
    match status {
        None | Some("Assigned" | "Unassigned" | "Any") => Ok(()),
        Some(_) => Err(invalid("assignmentStatus", "satisfy enum value set")),
    }
}

/// Validates the prefix of the paths of policies: names between slashes.
fn check_policy_path(prefix: Option<&str>) -> Result<(), ErrorResponse> {
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        !name.is_empty() && bytes.all(|it| it.is_ascii_alphanumeric() || b".,+@=_-".contains(&it))
    };
    let is_path = |path: &str| {
        let names = path.strip_prefix('/').map(|path| path.strip_suffix('/').unwrap_or(path));
        path == "/" || path.ends_with('/') && names.is_some_and(|it| it.split('/').all(is_name))
    };
    match prefix {
        Some(prefix) if prefix.len() > 512 => {
            Err(invalid("pathPrefix", "have length less than or equal to 512"))
        }
        Some(prefix) if !is_path(prefix) => Err(invalid(
            "pathPrefix",
            r"satisfy regular expression pattern: ((/[A-Za-z0-9\.,\+@=_-]+)*)/",
        )),
        _ => Ok(()),
    }
}

fn invalid(parameter: &str, constraint: &str) -> ErrorResponse {
    let message = format!(
        "1 validation error detected: Value at '{parameter}' failed to satisfy constraint: Member \
         must {constraint}"
    );
    ErrorResponse::new(StatusCode::BAD_REQUEST, "ValidationError", message)
}
