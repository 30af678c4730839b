//! The IAM Query API over HTTP, for the examples that serve it.
//!
//! It checks no signatures: whoever reaches it may do everything. So it keeps to this machine, and
//! tells programs, which are meant to reach it, from web pages, which run here too and are not. A
//! page gives itself away by an `Origin`, by a `Sec-Fetch-Site` where it sends no `Origin` (an image
//! does not), and, where it has had its own name point to this machine, by its `Host`.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use service_specific_credentials::{
    AsyncCredentialManager, SystemEntropy,
    query::{self, Dialect, ErrorResponse, MAX_BYTES, RequestError, RequestId},
    store::AnyStore,
};
use tokio::net::TcpListener;

/// What every request needs.
struct Api {
    iam: AsyncCredentialManager<AnyStore>,
    dialect: Dialect,
    guard: Guard,
}

/// Serves the API of `iam`.
pub(crate) fn router(
    iam: AsyncCredentialManager<AnyStore>,
    dialect: Dialect,
    guard: Guard,
) -> Router {
    Router::new().fallback(answer).with_state(Arc::new(Api { iam, dialect, guard }))
}

async fn answer(State(api): State<Arc<Api>>, request: Request) -> Response {
    let Ok(id) = RequestId::generate(&SystemEntropy) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let refuse = |refusal: ErrorResponse| refusal.response(id).map(Body::from);
    if !api.guard.admits(request.headers()) {
        let message = "Only programs on this machine are served, and no web pages";
        return refuse(ErrorResponse::new(StatusCode::FORBIDDEN, "AccessDenied", message));
    }
    let (head, body) = request.into_parts();
    // Fails for a client that has gone away, too: it does not hear the answer.
    let Ok(body) = axum::body::to_bytes(body, MAX_BYTES).await else {
        return refuse(RequestError::TooLarge.into());
    };
    let request = Request::from_parts(head, body);
    query::handle_async(&api.iam, &request, None, api.dialect, id).await.map(Body::from)
}

/// Who is served.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Guard {
    /// Programs on this machine, which address the server as `localhost` or by this address.
    ThisMachine(SocketAddr),
    Everybody,
}

impl Guard {
    /// Listens at an address, which is one of this machine alone unless everybody is served.
    pub(crate) async fn listen(
        address: SocketAddr,
        insecure: bool,
    ) -> io::Result<(TcpListener, Self)> {
        if !insecure && !address.ip().is_loopback() {
            let message = "whoever reaches it may do everything: 127.0.0.1, or --insecure";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        let listener = TcpListener::bind(address).await?;
        let guard =
            if insecure { Self::Everybody } else { Self::ThisMachine(listener.local_addr()?) };
        Ok((listener, guard))
    }

    fn admits(self, headers: &HeaderMap) -> bool {
        let Self::ThisMachine(address) = self else { return true };
        // Somebody who types an address into a browser is no web page.
        let by_page = headers.contains_key(header::ORIGIN)
            || headers.get("sec-fetch-site").is_some_and(|site| site != "none");
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        // Whichever port it names: a tunnel has another one, and only a name can lie.
        let host = host.to_str().unwrap_or_default();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
            _ => host,
        };
        let own = match address {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        !by_page && (name == own || name.eq_ignore_ascii_case("localhost"))
    }
}
