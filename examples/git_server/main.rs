//! A Git server that authenticates with service-specific credentials.
//!
//! It serves Git's smart HTTP protocol: `git clone`, `fetch` and `push` work with the service user
//! name and the password of a credential for the one service that `--service` names. [The README of
//! this example](README.md) describes how to run it in production.
//!
//! ```console
//! $ cargo run --example credentials -- --store redb:git.redb user add anika
//! $ cargo run --example credentials -- --store redb:git.redb create anika
//! $ cargo run --example git_server -- --store redb:git.redb --repositories repositories --create
//! ```
//!
//! Every user may read and write every repository. To restrict access, use [`Identity::user_id`],
//! or hooks, which receive it in `REMOTE_USER_ID`. The server speaks HTTP: before passwords cross a
//! network, put a proxy in front of it that terminates TLS.
//!
//! A request passes through these modules: `connections` accepts its connection, `handler`
//! authenticates it and uses `throttle`, `slots` and `repository` to decide whether it is served,
//! `upload` reads its body, and `backend` runs `git http-backend`.
//!
//! [`Identity::user_id`]: service_specific_credentials::Identity::user_id

use std::{
    alloc::System,
    error::Error,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use axum::{Router, http::StatusCode};
use clap::{CommandFactory as _, FromArgMatches as _, Parser};
use futures_util::future::OptionFuture;
use service_specific_credentials::{
    AccountId, Alphabet, AsyncCredentialManager, CredentialKind, Policy, ServiceName,
    http::AsyncHttpAuthenticator, query::Dialect, store::RedbStore,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tower_http::timeout::TimeoutLayer;
use zeroizing_alloc::ZeroAlloc;

#[path = "../support/admin.rs"]
mod admin;
mod backend;
mod connections;
#[path = "../support/explain.rs"]
mod explain;
mod handler;
#[path = "../support/iam.rs"]
mod iam;
mod repository;
mod slots;
#[path = "../support/store.rs"]
mod store;
#[path = "../support/throttle.rs"]
mod throttle;
mod upload;

use connections::{Limits, serve};
use explain::explain;
use handler::Server;
use iam::{Access, Iam};
use repository::Repositories;
use slots::Slots;
use store::StoreUrl;
use throttle::Throttle;

/// The buffers of the HTTP server contain passwords: they are zeroized when they are freed.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

/// The maximum number of connections of the admin address. Those of Git clients are not included.
const ADMIN_CONNECTIONS: usize = 64;
/// The maximum number of open files besides connections and pipes: the store, a pool of database
/// connections.
const OTHER_FILES: u64 = 128;

/// A Git server that authenticates with service-specific credentials
#[derive(Debug, Parser)]
// The last value of an option counts, so a script can pass on options that override its own.
#[command(args_override_self = true)]
struct Options {
    /// The folder of the bare repositories
    #[arg(long, value_name = "FOLDER")]
    repositories: PathBuf,
    /// Make a repository when it is first pushed to
    #[arg(long)]
    create: bool,
    /// Where the credentials are: `memory`, `redb:PATH` of an existing file or `postgres:URL`;
    /// `postgres` alone takes the URL from `DATABASE_URL`. Built with the feature `dynamodb`: also
    /// `dynamodb:TABLE`
    #[arg(long, value_name = "STORE")]
    store: StoreUrl,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Take the address of a client from the `X-Forwarded-For` of this proxy. Repeatable
    #[arg(long = "proxy", value_name = "ADDRESS")]
    proxies: Vec<IpAddr>,
    /// The service whose credentials are valid
    #[arg(long, value_name = "NAME", default_value = "codecommit.amazonaws.com")]
    service: ServiceName,
    /// The account whose users may log in
    #[arg(long, value_name = "ID", default_value = "123456789012")]
    account: AccountId,
    /// Where to serve the IAM Query API, for the AWS CLI to make, disable and reset credentials
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    #[command(flatten)]
    access: Access,
    /// Have the IAM Query API make passwords that need no encoding in a URL
    #[arg(long, requires = "admin")]
    url_safe: bool,
    /// How many requests may run Git at a time; further ones fail with 503
    #[arg(long, value_name = "NUMBER", default_value = "64")]
    processes: NonZeroU16,
    /// How many requests of one user may run Git at a time; further ones fail with 429 [default: a
    /// quarter of all]
    #[arg(long, value_name = "NUMBER")]
    processes_per_user: Option<NonZeroU16>,
    /// How many connections Git clients may have at a time; further ones wait
    #[arg(long, value_name = "NUMBER", default_value = "512")]
    connections: NonZeroU16,
    /// How many logins may fail in a minute for one address and one user name
    #[arg(long, value_name = "NUMBER", default_value = "10")]
    failed_logins: NonZeroU16,
    /// How long a connection may take to send the head of a request, and stay idle before it
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    head_timeout: Duration,
    /// How long 32 KiB of a request's body, or the rest of it, may take to arrive
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    body_timeout: Duration,
    /// How long a client may leave a response unread
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    response_timeout: Duration,
    /// How long a shutdown waits for requests in progress
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    grace_period: Duration,
}

/// A number of seconds, with decimals.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

impl Options {
    fn read() -> Self {
        let command = Self::command()
            .mut_arg("hosts", |hosts| hosts.requires("admin"))
            .mut_arg("insecure", |insecure| insecure.requires("admin"));
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }

    fn open_files(&self) -> u64 {
        // Two pipes and a process descriptor.
        let for_git = 3 * u64::from(self.processes.get());
        u64::from(self.connections.get()) + ADMIN_CONNECTIONS as u64 + for_git + OTHER_FILES
    }

    fn processes_per_user(&self) -> u16 {
        let quarter = self.processes.get().div_ceil(4);
        self.processes_per_user.map_or(quarter, NonZeroU16::get)
    }

    fn limits(&self) -> Limits {
        let (head, response) = (self.head_timeout, self.response_timeout);
        Limits { connections: self.connections.get().into(), buffer: 32 << 10, head, response }
    }

    fn admin_limits(&self) -> Limits {
        // The API accepts 64 KiB in the URL of a request.
        Limits { connections: ADMIN_CONNECTIONS, buffer: 128 << 10, ..self.limits() }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::read();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        // If the log cannot be written, for example on a full disk, requests are still served.
        .log_internal_errors(false)
        .init();
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "git_server: {}", explain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let policy = policy(&options.service, options.url_safe)?;
    backend::check()?;
    connections::allow_open_files(options.open_files())?;
    let folder = &options.repositories;
    let repositories = Repositories::open(folder, options.create)
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    let url = &options.store;
    let store =
        url.open(RedbStore::open).await.map_err(|error| format!("{url}: {}", explain(&error)))?;
    let manager = AsyncCredentialManager::builder(options.account, store);
    let manager = manager.policy(policy).build_async();

    // From here on, a signal stops the server gracefully.
    let stopping = stopping()?;
    let address = options.listen;
    let git = TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))?;
    let admin = match options.admin {
        None => None,
        Some(address) => {
            let listener = iam::bind(address, &options.access).await;
            let listener = listener.map_err(|error| format!("{address}: {error}"))?;
            Some((listener, address.ip()))
        }
    };
    println!("listening on http://{}", git.local_addr()?);
    if let Some((listener, _)) = &admin {
        println!("admin on http://{}", listener.local_addr()?);
    }

    let serving_admin = OptionFuture::from(admin.map(|(listener, own)| {
        let (manager, dialect) = (manager.clone(), Dialect::Documented);
        let router = Iam { manager, caller: None, dialect }.router();
        let timeout =
            TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, options.body_timeout);
        let router = iam::protect(router, own, &options.access).layer(timeout);
        serve(listener, router, options.admin_limits(), stopping.clone())
    }));
    let slots = Slots::new(options.processes.get(), options.processes_per_user());
    let limits = options.limits();
    let server = Server {
        authenticator: AsyncHttpAuthenticator::new(&manager, options.service)?,
        repositories,
        slots: slots.clone(),
        throttle: Throttle::new(options.failed_logins),
        proxies: options.proxies,
        piece_timeout: options.body_timeout,
    };
    let router = Router::new().fallback(handler::handle).with_state(Arc::new(server));
    let serving = serve(git, router, limits, stopping.clone());
    tokio::select! {
        _ = async { tokio::join!(serving, serving_admin) } => {}
        () = async {
            stopping.cancelled().await;
            tokio::time::sleep(options.grace_period).await;
        } => tracing::warn!("requests still in progress are aborted"),
    }
    // No process outlives the server.
    slots.all_free().await;
    Ok(())
}

/// The default policy. Adds the service if the default policy does not have it.
fn policy(service: &ServiceName, url_safe: bool) -> Result<Policy, Box<dyn Error>> {
    let mut policy = Policy::builder();
    match Policy::default().kind(service) {
        Some(CredentialKind::Password) => {}
        Some(CredentialKind::ApiKey) => {
            let reason = "takes API keys, and Git sends a user name and a password";
            return Err(format!("{service} {reason}").into());
        }
        None => policy = policy.password_service(service.clone()),
    }
    if url_safe {
        policy = policy.alphabet(Alphabet::UrlSafe);
    }
    Ok(policy.build()?)
}

/// Returns a token that the first SIGTERM or SIGINT cancels. A second signal ends the process at
/// once.
fn stopping() -> io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stopping = CancellationToken::new();
    let token = stopping.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if token.is_cancelled() {
                std::process::exit(1);
            }
            token.cancel();
        }
    });
    Ok(stopping)
}
