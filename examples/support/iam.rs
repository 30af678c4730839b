//! The Query API over HTTP, for programs that can reach a port of this machine.
//!
//! Signatures are not checked: every client that reaches the port is an administrator. So [`bind`]
//! accepts only loopback addresses, and [`protect`] rejects requests of web pages. They carry an
//! `Origin`; or a `Sec-Fetch-Site` or a `Referer`, where they carry no `Origin`, as for an image or
//! a link; or, if the page has pointed a name of its own to this machine, that name as `Host`. AWS
//! clients send none of the three. [`Access`] extends this.

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
    extract::Request,
    http::{
        HeaderMap, HeaderName, StatusCode, Uri,
        header::{HOST, ORIGIN, REFERER},
        uri::Authority,
    },
    middleware::{self, Next},
    response::Response,
};
use clap::Args;
use service_specific_credentials::{
    AsyncCredentialManager, UserName,
    query::{Dialect, ErrorResponse, MAX_BYTES, RequestError, RequestId},
    store::DynAsyncStore,
};
use tokio::net::TcpListener;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

/// What the API is served with.
#[derive(Clone, Debug)]
pub(crate) struct Iam {
    pub(crate) manager: AsyncCredentialManager<DynAsyncStore>,
    /// The user that requests without a user name stand for.
    pub(crate) caller: Option<UserName>,
    pub(crate) dialect: Dialect,
}

/// Reads the body of a request.
pub(crate) async fn read_request(request: Request) -> Result<http::Request<Bytes>, ErrorResponse> {
    let (head, body) = request.into_parts();
    Ok(http::Request::from_parts(head, read(body).await?))
}

/// Reads a body, keeping no more of it than a request may have.
///
/// The rest of a longer body is read up to a limit and dropped: a client that is still writing when
/// the connection is closed sees the reset, and not the error response. For the same reason the
/// body of a rejected request is read.
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

pub(crate) async fn not_found(body: Body) -> Response {
    reject_after(body, &nothing_here()).await
}

/// Rejects a path.
pub(crate) fn nothing_here() -> ErrorResponse {
    ErrorResponse::new(StatusCode::NOT_FOUND, "NotFound", "There is nothing at this path")
}

/// Rejects a request, once its body is read.
pub(crate) async fn reject_after(body: Body, rejection: &ErrorResponse) -> Response {
    let _ = read(body).await;
    reject(rejection)
}

/// A rejection, as a response with a request id of its own.
pub(crate) fn reject(rejection: &ErrorResponse) -> Response {
    rejection.response(RequestId::random()).map(Body::new)
}

/// Which clients are served besides programs on this machine.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Access {
    /// Serve the IAM Query API under this host name, too, such as that of a container or of a
    /// proxy's upstream; with it, any address can be listened on. Repeatable
    #[arg(long = "host", value_name = "NAME", value_parser = host)]
    pub(crate) hosts: Vec<String>,
    /// Serve the IAM Query API on any address, under any name, and to web pages
    #[arg(long)]
    pub(crate) insecure: bool,
}

fn host(text: &str) -> Result<String, &'static str> {
    match text.parse::<Authority>() {
        Ok(authority) if authority.host() == text => Ok(text.to_owned()),
        _ => Err("a host name, without a port"),
    }
}

/// Listens on a loopback address or, if access is extended, on any.
pub(crate) async fn bind(address: SocketAddr, access: &Access) -> io::Result<TcpListener> {
    if !access.insecure && access.hosts.is_empty() && !address.ip().is_loopback() {
        let message = "only a loopback address is safe, since no signature is checked; \
                       `--host NAME` serves all clients that use this name, and `--insecure` all \
                       clients and web pages";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    TcpListener::bind(address).await
}

/// Rejects requests that a web page may have sent to a server that listens on `own`. With
/// `--insecure`, allows web pages to send them and to read the responses.
pub(crate) fn protect(router: Router, own: IpAddr, access: &Access) -> Router {
    if access.insecure {
        return router.layer(
            CorsLayer::new()
                .allow_origin(Any)
                .allow_methods(Any)
                // `*` would not include `Authorization`.
                .allow_headers(AllowHeaders::mirror_request())
                .expose_headers(Any)
                .allow_private_network(true),
        );
    }
    let hosts: Arc<[String]> = access.hosts.as_slice().into();
    router.layer(middleware::from_fn(move |request: Request, next: Next| {
        let hosts = Arc::clone(&hosts);
        async move {
            match admit(request.uri(), request.headers(), own, &hosts) {
                Ok(()) => next.run(request).await,
                Err(why) => {
                    let rejection = ErrorResponse::new(StatusCode::FORBIDDEN, "AccessDenied", why);
                    reject_after(request.into_body(), &rejection).await
                }
            }
        }
    }))
}

fn admit(
    uri: &Uri,
    headers: &HeaderMap,
    own: IpAddr,
    hosts: &[String],
) -> Result<(), &'static str> {
    // Of any site: the request may be a link that a page made its user follow.
    let of_page = [ORIGIN, REFERER, HeaderName::from_static("sec-fetch-site")];
    if of_page.iter().any(|header| headers.contains_key(header)) {
        return Err("Requests of web pages are not served");
    }
    let mut values = headers.get_all(HOST).iter();
    let host = match (values.next(), values.next()) {
        (Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
        _ => None,
    };
    // An absolute URI in the request line takes precedence over the header.
    let named = [host.as_ref(), uri.authority().or(host.as_ref())];
    if named.iter().all(|host| host.is_some_and(|host| is_served(host, own, hosts))) {
        Ok(())
    } else {
        Err("The host is neither this server's address nor localhost nor a `--host`")
    }
}

/// Whether this names the server: by the address that it listens on, a loopback address, or one of
/// the names that it was given. The port may be another, such as that of a forwarding.
fn is_served(host: &Authority, own: IpAddr, hosts: &[String]) -> bool {
    let name = host.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let address: Option<IpAddr> = address.parse().ok();
    let local = [own, Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let mut names = hosts.iter().map(String::as_str).chain(["localhost"]);
    names.any(|own| name.eq_ignore_ascii_case(own)) || address.is_some_and(|it| local.contains(&it))
}
