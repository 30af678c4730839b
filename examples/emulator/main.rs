//! An emulator of the five operations on service-specific credentials, and of the operations on
//! users that they need, for existing AWS clients.
//!
//! ```console
//! $ cargo run --example emulator
//! listening on http://127.0.0.1:4566
//! ```
//!
//! # What is served
//!
//! Errors have the form of the API, except for a request that is not valid HTTP or has a request
//! target of more than 64 KiB: its response is a bare status.
//!
//! `/` is the IAM API. It checks no signature: any access keys will do, and every client that
//! reaches the port is an administrator. So it listens on loopback only, and rejects what a web
//! page may have sent, unless it is started with `--insecure`. `--host NAME` has it also serve
//! clients that know it by this name, such as those in other containers.
//!
//! Each account has its own users. The account of a request is the access key id of its signature,
//! if that is twelve digits, and otherwise `--account`.
//!
//! Besides the actions of the crate it serves the calls with which clients prepare the deletion of
//! a user: see `before_deletion`.
//!
//! `GET /authenticate/SERVICE` authenticates a request at that service: by HTTP Basic with a
//! service user name and a password, or by Bearer with the secret of an API key. The status is 200,
//! with the credential as JSON; 401; 503 if the store is unavailable; or 404 if the service is not
//! supported. It serves all accounts. This fits the `auth_request` of nginx:
//!
//! ```text
//! location /git/ { auth_request /authenticated; … }
//! location = /authenticated {
//!     internal;
//!     proxy_pass http://127.0.0.1:4566/authenticate/codecommit.amazonaws.com;
//!     proxy_pass_request_body off;
//!     proxy_set_header Content-Length "";
//!     proxy_set_header Origin "";
//!     proxy_set_header Referer "";
//!     proxy_set_header Sec-Fetch-Site "";
//! }
//! ```
//!
//! `GET /health` has the status 200 while the store can be read, and otherwise 503.

use std::{alloc::System, error::Error, net::SocketAddr, process::ExitCode, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
    routing::get,
    serve::ListenerExt as _,
};
use clap::{Parser, ValueEnum};
use service_specific_credentials::{
    AccountId, AsyncAuthenticator, AsyncCredentialManager, Error as ServiceError, Policy,
    ServiceName, UserName,
    http::{AsyncHttpAuthenticator, Rejection, RejectionReason},
    query::{Dialect, ErrorResponse},
    store::{DynAsyncStore, RedbStore},
};
use tokio::sync::oneshot;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _};
use zeroizing_alloc::ZeroAlloc;

mod api;
mod before_deletion;
#[path = "../support/explain.rs"]
mod explain;
#[path = "../support/iam.rs"]
mod iam;
mod repeatable;
#[path = "../support/store.rs"]
mod store;

use explain::explain;
use iam::{Access, Iam};
use repeatable::Repeatable;
use store::StoreUrl;

/// The buffers of the HTTP server contain passwords: they are zeroized when they are freed.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// Emulates the service-specific credentials of AWS IAM.
#[derive(Debug, Parser)]
struct Options {
    /// The address to listen on; port 0 picks a free port.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:4566")]
    listen: SocketAddr,
    /// The account of requests whose access key id is not an account
    #[arg(long, value_name = "ACCOUNT", default_value = "123456789012")]
    account: AccountId,
    /// The rules, and the codes of errors
    #[arg(long, value_enum, default_value = "documented")]
    dialect: DialectName,
    /// The store: `memory`, `redb:PATH` for a file, created if missing, or `postgres:URL` for a
    /// database that several emulators share; `postgres` alone takes the URL from `DATABASE_URL`.
    /// With the feature `dynamodb`: also `dynamodb:TABLE`.
    #[arg(long, value_name = "STORE", default_value = "memory")]
    store: StoreUrl,
    /// The IAM user that is the caller of requests without a user name.
    #[arg(long, value_name = "USER")]
    caller: Option<UserName>,
    /// Write a line to standard error for each request
    #[arg(long)]
    log: bool,
    #[command(flatten)]
    repeatable: Repeatable,
    #[command(flatten)]
    access: Access,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DialectName {
    /// As AWS documents it.
    Documented,
    /// As recorded from AWS.
    Recorded,
}

impl DialectName {
    fn choose(self) -> (Policy, Dialect) {
        match self {
            Self::Documented => (Policy::default(), Dialect::Documented),
            Self::Recorded => (Policy::recorded(), Dialect::Recorded),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("emulator: {}", explain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let listener = iam::bind(options.listen, &options.access)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", options.listen))?;
    let (policy, dialect) = options.dialect.choose();
    let url = options.store;
    let store =
        url.open(RedbStore::create).await.map_err(|error| format!("{url}: {}", explain(&error)))?;
    let clock = options.repeatable.clock();
    let authenticator = AsyncAuthenticator::new(store.clone(), policy.clone(), clock.clone());
    let manager = AsyncCredentialManager::builder(options.account, store)
        .policy(policy)
        .clock(clock)
        .entropy(options.repeatable.entropy())
        .build_async();
    let authentication = Router::new()
        .route("/authenticate/{service}", get(authenticate).fallback(only_get))
        .with_state(authenticator);
    let health =
        Router::new().route("/health", get(health).fallback(only_get)).with_state(manager.clone());
    let iam = Iam { manager, caller: options.caller, dialect };
    let router = api::router(iam).merge(authentication).merge(health);
    let router = iam::protect(router, options.listen.ip(), &options.access);
    if options.log {
        log_requests()?;
    }
    if let Some(warning) = options.repeatable.warning() {
        eprintln!("emulator: {warning}");
    }

    println!("listening on http://{}", listener.local_addr()?);
    // A response is sent when it is written, without waiting for more data (no Nagle delay).
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });

    let (stop, stopped) = oneshot::channel();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    tokio::select! {
        served = serving => served?,
        () = async {
            signals.next().await;
            let _ = stop.send(());
            // Unfinished requests could delay the end forever.
            let _ = tokio::time::timeout(Duration::from_secs(10), signals.next()).await;
        } => {}
    }
    Ok(())
}

/// Writes the events of `api`, one per request, to standard error.
fn log_requests() -> Result<(), Box<dyn Error>> {
    let own = Targets::new().with_target(module_path!(), LevelFilter::INFO);
    let writer = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false);
    tracing::subscriber::set_global_default(writer.finish().with(own))?;
    Ok(())
}

/// Whether the store can be read.
async fn health(State(manager): State<AsyncCredentialManager<DynAsyncStore>>) -> Response {
    let any = const { UserName::from_static("health") };
    match manager.user(&any).await {
        Ok(_) | Err(ServiceError::NoSuchUser { .. }) => "ok\n".into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store cannot be read\n").into_response(),
    }
}

/// Signals to stop. They are caught as long as this exists.
struct Signals {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 2],
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
        Ok(Self { signals })
    }

    async fn next(&mut self) {
        let [terminate, interrupt] = &mut self.signals;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {})
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Authenticates the request at the service in its path.
async fn authenticate(
    State(authenticator): State<AsyncAuthenticator<DynAsyncStore>>,
    service: Result<Path<ServiceName>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(Path(service)) = service else { return iam::reject(&iam::nothing_here()) };
    let authenticator = match AsyncHttpAuthenticator::all_accounts(&authenticator, service) {
        Ok(authenticator) => authenticator,
        Err(error) => {
            return iam::reject(&ErrorResponse::from_error(&error, Dialect::Documented));
        }
    };
    let identity = match authenticator.authenticate(&headers).await {
        Ok(identity) => identity,
        Err(rejection) => return reject(&rejection),
    };
    match serde_json::to_vec(&identity.credential()) {
        Ok(json) => {
            let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
            (headers, json).into_response()
        }
        Err(_) => iam::reject(&ErrorResponse::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "ServiceFailure",
            "the credential cannot be written",
        )),
    }
}

/// Converts a rejection to the form of the API.
fn reject(rejection: &Rejection) -> Response {
    let (code, message) = match rejection.reason() {
        RejectionReason::Unavailable(_) => ("ServiceFailure", "the store failed"),
        _ => ("AccessDenied", "the credential is not valid for this service"),
    };
    let mut response = iam::reject(&ErrorResponse::new(rejection.status(), code, message));
    let (name, value) = rejection.header();
    response.headers_mut().insert(name, value.clone());
    response
}

async fn only_get(body: Body) -> Response {
    let message = "Only GET is supported";
    let rejection = ErrorResponse::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
    let mut response = iam::reject_after(body, &rejection).await;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    response
}
