//! The IAM API of the emulator: the crate's operations and those of `before_deletion`, in several
//! accounts, with one event per request.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request as HttpRequest, State},
    http::{Method, Response, header::AUTHORIZATION},
    routing::any,
};
use service_specific_credentials::{
    AccountId,
    query::{ErrorResponse, Request, RequestError, RequestId},
};
use tracing::info;

use crate::{
    before_deletion::Call,
    iam::{self, Iam},
};

/// The API on `/`. Other paths are rejected in its own form.
pub(crate) fn router(iam: Iam) -> Router {
    // Every method, so that the API rejects the others.
    Router::new().route("/", any(serve)).fallback(iam::not_found).with_state(Arc::new(iam))
}

async fn serve(State(iam): State<Arc<Iam>>, request: HttpRequest) -> Response<Body> {
    let (start, id) = (Instant::now(), RequestId::random());
    let request = match iam::read_request(request).await {
        Ok(request) => request,
        Err(error) => return iam::reject(&error),
    };
    let account = account_of(&request);
    let manager = account.map_or_else(|| iam.manager.clone(), |it| iam.manager.for_account(it));
    let (caller, dialect) = (iam.caller.as_ref(), iam.dialect);
    let (action, response) = match Request::read(&request) {
        Ok(parsed) => {
            let response = parsed.execute_async(&manager, caller, dialect, id).await;
            (Some(parsed.action()), response.map(Body::new))
        }
        Err(error) => match before_deletion(&error) {
            Some(call) => {
                let form = form(&request);
                let response = call.execute(form, &manager, caller, dialect, id).await;
                (Some(call.action), response)
            }
            None => (None, ErrorResponse::from(error).response(id).map(Body::new)),
        },
    };
    info!(
        %id,
        account = %manager.account(),
        action,
        status = response.status().as_u16(),
        microseconds = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX),
    );
    response
}

/// The call that the crate does not know, if this emulator does.
fn before_deletion(error: &RequestError) -> Option<Call> {
    match error {
        RequestError::UnknownAction { action, version, .. } if version == "2010-05-08" => {
            Call::find(action)
        }
        _ => None,
    }
}

fn form(request: &http::Request<Bytes>) -> &[u8] {
    if request.method() == Method::GET {
        request.uri().query().unwrap_or_default().as_bytes()
    } else {
        request.body()
    }
}

/// The account that the access key id of the signature names, if it is one: twelve digits, as test
/// suites for other emulators use them. The signature is not verified.
fn account_of(request: &http::Request<Bytes>) -> Option<AccountId> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let in_header = header.and_then(|header| {
        let parameters = header.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let mut parameters = parameters.split(',').map(str::trim);
        parameters.find_map(|parameter| parameter.strip_prefix("Credential=")).map(str::to_owned)
    });
    let credential = in_header.or_else(|| {
        let query = request.uri().query().unwrap_or_default();
        let mut parameters = form_urlencoded::parse(query.as_bytes());
        let (_, credential) = parameters.find(|(name, _)| name == "X-Amz-Credential")?;
        Some(credential.into_owned())
    })?;
    credential.split('/').next()?.parse().ok()
}
