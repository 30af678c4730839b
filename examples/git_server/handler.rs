//! Authenticates each request, finds its repository, and decides whether it is served.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use service_specific_credentials::{
    Identity,
    http::{AsyncHttpAuthenticator, Credentials, DecodeBuffer, RejectionReason},
    store::DynAsyncStore,
};
use tracing::Instrument as _;

use crate::{
    backend::{self, BackendError, GitRequest},
    explain::explain,
    repository::{Endpoint, Repositories},
    slots::{Busy, Slots},
    throttle::Throttle,
    upload::{Upload, UploadError},
};

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) authenticator: AsyncHttpAuthenticator<DynAsyncStore>,
    pub(crate) repositories: Repositories,
    pub(crate) slots: Slots,
    pub(crate) throttle: Throttle,
    /// The proxies whose `X-Forwarded-For` is trusted.
    pub(crate) proxies: Vec<IpAddr>,
    /// How long 32 KiB of a body, or the rest of it, may take to arrive.
    pub(crate) piece_timeout: Duration,
}

/// Serves one request.
pub(crate) async fn handle(
    State(server): State<Arc<Server>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let client = server.client(peer.ip().to_canonical(), &head.headers);
    let mut upload = Upload::new(body, server.piece_timeout);
    let serving = async {
        // A client that expects `100 Continue` has not sent a body yet.
        let has_sent = !head.headers.contains_key(header::EXPECT);
        match server.admit(head, client, &mut upload).await {
            Ok(request) => {
                backend::run(request, upload).await.unwrap_or_else(|error| match error {
                    BackendError::Upload(error) => incomplete(&error),
                    BackendError::Git(error) => failed("Git cannot be run", &error),
                })
            }
            Err(response) => {
                if has_sent {
                    upload.discard().await;
                }
                response
            }
        }
    };
    serving.instrument(tracing::info_span!("request", %client)).await
}

impl Server {
    /// The address of the client. A proxy appends it to `X-Forwarded-For`. The client may have
    /// forged the values before it.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.proxies.contains(&peer) {
            return peer;
        }
        let last = headers.get_all("x-forwarded-for").iter().next_back();
        let last = last.and_then(|value| value.to_str().ok()?.rsplit(',').next());
        last.and_then(|address| address.trim().parse().ok())
            .map_or(peer, |address: IpAddr| address.to_canonical())
    }

    /// Authenticates the request, takes a slot and finds the repository.
    async fn admit(
        &self,
        head: Parts,
        client: IpAddr,
        upload: &mut Upload,
    ) -> Result<GitRequest, Response> {
        let Parts { method, uri, version, headers, .. } = head;
        let user = self.authenticate(&headers, client).await?;
        let (name, endpoint) = Endpoint::of(&method, &uri).ok_or_else(not_found)?;
        upload.decode(&headers).map_err(|error| incomplete(&error))?;
        // A slow client occupies no slot while it sends a short body, such as that of a fetch.
        let first = upload.piece().await.map_err(|error| incomplete(&error))?;
        let slot = self.slots.take(user.user_id()).map_err(busy)?;
        let repository = self.repositories.find(&name, endpoint, &slot).await;
        let repository = repository
            .map_err(|error| failed("a repository cannot be opened", &error))?
            .ok_or_else(not_found)?;
        Ok(GitRequest { repository, endpoint, method, version, headers, user, client, slot, first })
    }

    /// Authenticates a request. The authenticator emits one event for each login and each denial,
    /// in the span of the request.
    async fn authenticate(
        &self,
        headers: &HeaderMap,
        client: IpAddr,
    ) -> Result<Identity, Response> {
        let mut buffer = DecodeBuffer::new();
        let name = match Credentials::parse(headers, &mut buffer) {
            Ok(Some(Credentials::Basic { name, .. })) => Some(name),
            _ => None,
        };
        let delay = self.throttle.delay(client, name.unwrap_or_default(), Instant::now());
        if !delay.is_zero() && headers.contains_key(header::AUTHORIZATION) {
            tracing::info!(operation = "authenticate", outcome = "denied", reason = "throttled");
            let text = "too many logins have failed\n";
            return Err(retry_after(delay, plain(StatusCode::TOO_MANY_REQUESTS, text)));
        }
        self.authenticator.authenticate(headers).await.map_err(|rejection| {
            if matches!(
                rejection.reason(),
                RejectionReason::InvalidHeader(_) | RejectionReason::Denied(_)
            ) {
                self.throttle.failed(client, name, Instant::now());
            }
            rejection.into()
        })
    }
}

fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "there is no such repository\n")
}

fn busy(busy: Busy) -> Response {
    let (status, text) = match busy {
        Busy::Server => (StatusCode::SERVICE_UNAVAILABLE, "too many requests are in progress\n"),
        Busy::User => {
            (StatusCode::TOO_MANY_REQUESTS, "too many requests of this user are in progress\n")
        }
    };
    tracing::warn!("{}", text.trim_end());
    retry_after(Duration::from_secs(1), plain(status, text))
}

fn incomplete(error: &UploadError) -> Response {
    tracing::info!(error = explain(error), "a request failed");
    plain(error.status(), format!("{error}\n"))
}

fn failed(what: &str, error: &std::io::Error) -> Response {
    tracing::error!(error = explain(error), "{what}");
    plain(StatusCode::INTERNAL_SERVER_ERROR, "the server failed\n")
}

/// Adds a `Retry-After` header, rounded up to a second.
fn retry_after(delay: Duration, mut response: Response) -> Response {
    let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    response
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let text = text.into();
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
