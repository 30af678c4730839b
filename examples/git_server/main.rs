//! A Git server that lets people in by service-specific credentials.
//!
//! It speaks Git's smart HTTP protocol: `git clone`, `fetch` and `push` work with the user name and
//! the password of a credential for the one service that `--service` names. This file decides who
//! is let in, `repository` what a name in a URL stands for, and `backend` hands the request to
//! Git's own `git http-backend`.
//!
//! ```console
//! $ cargo run --example credentials -- --store redb:credentials.redb user add anika
//! $ cargo run --example credentials -- --store redb:credentials.redb create anika
//! $ cargo run --example git_server -- --store redb:credentials.redb --repositories repositories \
//!     --create
//! ```
//!
//! Whoever is let in may read and write every repository. Who may do what in which of them is a
//! question for [`Identity::user_id`], and for hooks, which find it in `REMOTE_USER_ID`. The
//! server speaks HTTP: put a proxy in front of it that speaks TLS before passwords cross a network.

use std::{
    error::Error,
    fmt,
    io::{self, Write as _},
    net::SocketAddr,
    num::NonZeroU16,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Parser;
use service_specific_credentials::{
    AccountId, Alphabet, AsyncCredentialManager, AuthenticationError, CredentialKind, Identity,
    Policy, ServiceName,
    query::Dialect,
    store::{DynAsyncStore, RedbStore},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use zeroize::Zeroizing;

mod backend;
#[path = "../support/explain.rs"]
mod explain;
#[path = "../support/iam.rs"]
mod iam;
mod repository;
#[path = "../support/store.rs"]
mod store;

use backend::Processes;
use explain::explain;
use iam::Iam;
use repository::{Endpoint, Repositories};
use store::StoreUrl;

/// How many seconds a server that is to end waits for what is under way. Enough for most clones:
/// but a client that sends half a request, or reads no answer, could keep it up forever.
const PATIENCE: u64 = 60;

/// A Git server that lets people in by service-specific credentials
#[derive(Debug, Parser)]
// For whoever wraps this in a script with options of its own: the last one counts.
#[command(args_override_self = true)]
struct Options {
    /// The folder that the bare repositories are in
    #[arg(long, value_name = "FOLDER")]
    repositories: PathBuf,
    /// Make a repository when somebody pushes to one that is not there
    #[arg(long)]
    create: bool,
    /// Where the credentials are: `memory`, `redb:PATH` of an existing file or `postgres:URL`;
    /// `postgres` alone takes the URL from `DATABASE_URL`. Built with the feature `dynamodb`: also
    /// `dynamodb:TABLE`
    #[arg(long, value_name = "STORE")]
    store: StoreUrl,
    /// Where to listen; port 0 takes one that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The service whose credentials open this server
    #[arg(long, value_name = "NAME", default_value = "codecommit.amazonaws.com")]
    service: ServiceName,
    /// The account whose users are let in
    #[arg(long, value_name = "ID", default_value = "123456789012")]
    account: AccountId,
    /// Where to serve the IAM Query API, for the AWS CLI to make, disable and reset credentials
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Serve the IAM Query API to other machines and to web pages, without asking who they are
    #[arg(long, requires = "admin")]
    insecure: bool,
    /// Have the IAM Query API make passwords that can stand in a URL as they are
    #[arg(long, requires = "admin")]
    url_safe: bool,
    /// How long to wait for what is still under way when the server is to end
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE)]
    patience: u64,
    /// For how many requests Git may run at a time; those above it are told to try again
    #[arg(long, value_name = "NUMBER", default_value = "64")]
    processes: NonZeroU16,
}

/// What every request needs.
#[derive(Debug)]
struct Server {
    manager: AsyncCredentialManager<DynAsyncStore>,
    service: ServiceName,
    /// The `WWW-Authenticate` of a refusal.
    challenge: HeaderValue,
    repositories: Repositories,
    processes: Processes,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(format_args!("git_server: {}", explain(&*error)));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let Options { repositories, store, listen, service, .. } = options;
    let policy = policy(&service, options.url_safe)?;
    backend::check()?;
    let repositories = Repositories::open(&repositories, options.create)
        .map_err(|error| format!("{}: {error}", repositories.display()))?;
    let opened = store
        .open(RedbStore::open)
        .await
        .map_err(|error| format!("{store}: {}", explain(&error)))?;
    let manager = AsyncCredentialManager::builder(options.account, opened);
    let manager = manager.policy(policy).build_async();

    // From here on a signal ends the server in good order.
    let mut stopping = stopping()?;
    let git = TcpListener::bind(listen).await.map_err(|error| format!("{listen}: {error}"))?;
    let admin = match options.admin {
        None => None,
        Some(address) => {
            let listener = iam::bind(address, options.insecure)
                .await
                .map_err(|error| format!("{address}: {error}"))?;
            let (manager, dialect) = (manager.clone(), Dialect::Documented);
            let router = Iam { manager, caller: None, dialect }.router();
            let guarded = !options.insecure;
            let router = if guarded { iam::guard(router, address.ip()) } else { router };
            Some((listener, router))
        }
    };
    println!("listening on http://{}", git.local_addr()?);
    if let Some((listener, _)) = &admin {
        println!("admin on http://{}", listener.local_addr()?);
    }

    // A service name has no quotes in it.
    let challenge = format!("Basic realm=\"{service}\", charset=\"UTF-8\"").parse()?;
    let processes = Processes::new(options.processes.get());
    let server = Arc::new(Server { manager, service, challenge, repositories, processes });
    let router = Router::new().fallback(answer).with_state(server);
    let serving = serve(git, router, stopping.clone());
    let until = stopping.clone();
    let serving_admin = async {
        match admin {
            Some((listener, router)) => serve(listener, router, until).await,
            None => Ok(()),
        }
    };
    tokio::select! {
        result = async { tokio::try_join!(serving, serving_admin) } => {
            result?;
        }
        () = async {
            let _ = stopping.wait_for(|stopping| *stopping).await;
            tokio::time::sleep(Duration::from_secs(options.patience)).await;
        } => log(format_args!("git_server: what is not finished by now is given up")),
    }
    Ok(())
}

/// The default policy, and in it the service, which takes passwords if it is one of one's own.
fn policy(service: &ServiceName, url_safe: bool) -> Result<Policy, Box<dyn Error>> {
    let mut policy = Policy::builder();
    match Policy::default().kind(service) {
        Some(CredentialKind::Password) => {}
        Some(CredentialKind::ApiKey) => {
            let why = "takes API keys, and Git sends a user name and a password";
            return Err(format!("{service} {why}").into());
        }
        None => policy = policy.password_service(service.clone()),
    }
    if url_safe {
        policy = policy.alphabet(Alphabet::UrlSafe);
    }
    Ok(policy.build()?)
}

/// Answers requests until it is time to stop, and then those that were accepted by then.
async fn serve(
    listener: TcpListener,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) -> io::Result<()> {
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
        })
        .await
}

/// Turns true at the first SIGTERM or SIGINT. The second ends the process, for whoever cannot wait.
fn stopping() -> io::Result<watch::Receiver<bool>> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, stopping) = watch::channel(false);
    tokio::spawn(async move {
        for last in [false, true] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if last {
                std::process::exit(1);
            }
            let _ = stop.send(true);
        }
    });
    Ok(stopping)
}

/// Answers one request: first who is asking, then for what.
async fn answer(
    State(server): State<Arc<Server>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
) -> Response {
    let who = match server.authenticate(request.headers()).await {
        Ok(who) => who,
        Err(Denied::NotPresented) => {
            return server.unauthorized("a user name and a password are needed\n".to_owned());
        }
        Err(Denied::NotAdmitted(AuthenticationError::Denied(refusal))) => {
            // The reason is for this log alone: a stranger is told nothing but no.
            log(format_args!("{client}: refused: {}", refusal.reason()));
            return server.unauthorized(format!("{refusal}\n"));
        }
        // Not a refusal: Git forgets a stored password that is refused, and this one may be right.
        Err(Denied::NotAdmitted(AuthenticationError::Unavailable(error))) => {
            log(format_args!("{client}: cannot tell who this is: {}", explain(&error)));
            return plain(StatusCode::SERVICE_UNAVAILABLE, "try again later\n");
        }
    };
    let Some((name, endpoint)) = Endpoint::of(request.method(), request.uri()) else {
        return not_found();
    };
    let Some(place) = server.processes.place() else {
        return busy();
    };
    let repository = match server.repositories.find(&name, endpoint, &place).await {
        Ok(Some(repository)) => repository,
        Ok(None) => return not_found(),
        Err(error) => return failed(client, &error),
    };
    match backend::run(&repository, endpoint, &who, client, request, place).await {
        Ok(response) => response,
        Err(error) => failed(client, &error),
    }
}

/// Why a request is not answered.
enum Denied {
    /// It comes without a user name and a password, as the first of every Git command does.
    NotPresented,
    NotAdmitted(AuthenticationError),
}

impl Server {
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Identity, Denied> {
        let presented = basic(headers).ok_or(Denied::NotPresented)?;
        let (name, password) = presented.split_once(':').ok_or(Denied::NotPresented)?;
        self.manager.authenticate(&self.service, name, password).await.map_err(Denied::NotAdmitted)
    }

    /// Git asks the user, or a credential helper, when it is told so.
    fn unauthorized(&self, text: String) -> Response {
        let mut response = plain(StatusCode::UNAUTHORIZED, text);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, self.challenge.clone());
        response
    }
}

/// The user name and the password of HTTP Basic authentication, with a colon between them.
fn basic(headers: &HeaderMap) -> Option<Zeroizing<String>> {
    let presented = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = presented.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim_start()).ok()?);
    let text = std::str::from_utf8(&decoded).ok()?;
    Some(Zeroizing::new(text.to_owned()))
}

fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "there is no such repository\n")
}

fn busy() -> Response {
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests are under way\n");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn failed(client: SocketAddr, error: &io::Error) -> Response {
    log(format_args!("{client}: {error}"));
    plain(StatusCode::INTERNAL_SERVER_ERROR, "the server failed\n")
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    let text = text.into();
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// Writes a line of the log. That it cannot be written, as when the disk is full, is no reason to
/// serve nobody.
fn log(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
