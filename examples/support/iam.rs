//! The Query API over HTTP, for whoever can reach a port of this machine.
//!
//! Nobody's signature is checked, so whoever reaches the port is an administrator. That is why
//! [`bind`] takes loopback addresses only, and why [`guard`] refuses what a web page has sent: with
//! an `Origin`; with a `Sec-Fetch-Site` or a `Referer`, where it sends no `Origin`, as an image and
//! a link do; or, where a page has pointed a name of its own to this machine, with that name as the
//! `Host`. No AWS client sends any of the three.

use std::{
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody as _},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, StatusCode, Uri,
        header::{HOST, ORIGIN, REFERER},
        uri::Authority,
    },
    middleware::{self, Next},
    response::Response,
    routing::any,
};
use service_specific_credentials::{
    AsyncCredentialManager, UserName,
    query::{self, Dialect, ErrorResponse, MAX_BYTES, RequestError, RequestId},
    store::DynAsyncStore,
};
use tokio::net::TcpListener;

/// What the API is served with.
#[derive(Clone, Debug)]
pub(crate) struct Iam {
    pub(crate) manager: AsyncCredentialManager<DynAsyncStore>,
    /// The user that requests without a user name stand for.
    pub(crate) caller: Option<UserName>,
    pub(crate) dialect: Dialect,
}

impl Iam {
    /// The API on `/`. Other paths are refused in its own form.
    pub(crate) fn router(self) -> Router {
        // Every method, so that `query` refuses the others.
        Router::new().route("/", any(answer)).fallback(not_found).with_state(Arc::new(self))
    }
}

async fn answer(State(iam): State<Arc<Iam>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let request = match read(body).await {
        Ok(body) => Request::from_parts(head, body),
        Err(refusal) => return refuse(&refusal),
    };
    let Iam { manager, caller, dialect } = &*iam;
    let answer =
        query::handle_async(manager, &request, caller.as_ref(), *dialect, RequestId::random());
    answer.await.map(Body::new)
}

/// Reads a body, keeping no more of it than a request may have.
///
/// Of a longer one some more is read and dropped: a client that is still writing when the
/// connection is closed sees that, and not the refusal. For the same reason bodies are read that
/// nobody needs.
async fn read(mut body: Body) -> Result<Bytes, ErrorResponse> {
    const READ: usize = 16 * MAX_BYTES;

    let (mut kept, mut length) = (Vec::new(), 0);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(frame) = frame else {
            let message = "The body cannot be read";
            return Err(ErrorResponse::new(StatusCode::BAD_REQUEST, "MalformedInput", message));
        };
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= MAX_BYTES {
            kept.extend_from_slice(&data);
        } else if length <= READ {
            kept = Vec::new();
        } else {
            break;
        }
    }
    if length > MAX_BYTES { Err(RequestError::TooLarge.into()) } else { Ok(kept.into()) }
}

async fn not_found(body: Body) -> Response {
    refuse_after(body, &nothing_here()).await
}

/// Refuses a path.
pub(crate) fn nothing_here() -> ErrorResponse {
    ErrorResponse::new(StatusCode::NOT_FOUND, "NotFound", "There is nothing at this path")
}

/// Refuses a request, once its body is read.
pub(crate) async fn refuse_after(body: Body, refusal: &ErrorResponse) -> Response {
    let _ = read(body).await;
    refuse(refusal)
}

/// A refusal, as a response with a request id of its own.
pub(crate) fn refuse(refusal: &ErrorResponse) -> Response {
    refusal.response(RequestId::random()).map(Body::new)
}

/// Listens on a loopback address, or, insecurely, on any.
pub(crate) async fn bind(address: SocketAddr, insecure: bool) -> io::Result<TcpListener> {
    if !insecure && !address.ip().is_loopback() {
        let message = "only a loopback address is safe, since no signature is checked; \
                       `--insecure` listens there nevertheless";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    TcpListener::bind(address).await
}

/// Refuses requests that a web page may have sent, to a server that listens on `own`.
pub(crate) fn guard(router: Router, own: IpAddr) -> Router {
    router.layer(middleware::from_fn(move |request: Request, next: Next| async move {
        match admit(request.uri(), request.headers(), own) {
            Ok(()) => next.run(request).await,
            Err(why) => {
                let refusal = ErrorResponse::new(StatusCode::FORBIDDEN, "AccessDenied", why);
                refuse_after(request.into_body(), &refusal).await
            }
        }
    }))
}

fn admit(uri: &Uri, headers: &HeaderMap, own: IpAddr) -> Result<(), &'static str> {
    // Whichever site it is: a page may have had somebody follow a link, or sent them here.
    let of_page = [ORIGIN, REFERER, HeaderName::from_static("sec-fetch-site")];
    if of_page.iter().any(|header| headers.contains_key(header)) {
        return Err("Requests of web pages are not served");
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
        _ => None,
    };
    // A whole address in the request line takes the place of the header.
    let named = [host.as_ref(), uri.authority().or(host.as_ref())];
    if named.iter().all(|host| host.is_some_and(|host| is_local(host, own))) {
        Ok(())
    } else {
        Err("The host is neither this server's address nor localhost")
    }
}

/// Whether this is the address that the server listens on or one of this machine alone. The port
/// may be another, for somebody forwards one.
fn is_local(host: &Authority, own: IpAddr) -> bool {
    let name = host.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let address: Option<IpAddr> = address.parse().ok();
    let local = [own, Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    name.eq_ignore_ascii_case("localhost") || address.is_some_and(|it| local.contains(&it))
}
