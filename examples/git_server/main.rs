//! A Git server that lets people in by service-specific credentials.
//!
//! It speaks Git's smart HTTP protocol: `git clone`, `fetch` and `push` work with the user name and
//! the password of a credential for the one service that `--service` names. This file decides who is
//! let in, `repository` what a name in a URL stands for, and `backend` hands the request to Git's
//! own `git http-backend`.
//!
//! ```console
//! $ cargo run --example credentials -- --store redb:credentials.redb user add anika
//! $ cargo run --example credentials -- --store redb:credentials.redb create anika
//! $ cargo run --example git_server -- --store redb:credentials.redb --repositories repositories --create
//! ```
//!
//! Whoever is let in may read and write every repository. Who may do what in which of them is a
//! question for [`Authenticated::user_id`], and for hooks, which find it in `REMOTE_USER_ID`. The
//! server speaks HTTP: put a proxy in front of it that speaks TLS before passwords cross a network.

use std::{error::Error, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Parser;
use service_specific_credentials::{
    AccountId, AsyncCredentialManager, Authenticated, AuthenticationError, CredentialKind, Policy,
    ServiceName, store::AnyStore,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

mod backend;
#[path = "../support/explain.rs"]
mod explain;
mod repository;
#[path = "../support/store.rs"]
mod store;

use explain::explain;
use repository::{Endpoint, Repositories};
use store::StoreChoice;

/// A Git server that lets people in by service-specific credentials
#[derive(Debug, Parser)]
struct Options {
    /// The folder that the bare repositories are in
    #[arg(long, value_name = "FOLDER")]
    repositories: PathBuf,
    /// Make a repository when somebody pushes to one that is not there
    #[arg(long)]
    create: bool,
    /// Where the credentials are: `memory` or `redb:PATH`
    #[arg(long, value_name = "STORE")]
    store: StoreChoice,
    /// Where to listen; port 0 takes one that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The service whose credentials open this server
    #[arg(long, value_name = "NAME", default_value = "codecommit.amazonaws.com")]
    service: ServiceName,
    /// The account whose users are let in
    #[arg(long, value_name = "ID", default_value = "123456789012")]
    account: AccountId,
}

/// What every request needs.
#[derive(Debug)]
struct Server {
    iam: AsyncCredentialManager<AnyStore>,
    service: ServiceName,
    /// The `WWW-Authenticate` of a refusal.
    challenge: HeaderValue,
    repositories: Repositories,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("git_server: {}", explain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let Options { repositories, create, store, listen, service, account } = options;
    let policy = policy(&service)?;
    backend::check()?;
    let repositories = Repositories::open(&repositories, create)
        .map_err(|error| format!("{}: {error}", repositories.display()))?;
    let opened = store.open().await.map_err(|error| format!("{store}: {}", explain(&error)))?;
    let iam = AsyncCredentialManager::builder(account, opened).policy(policy).build_async();
    // A service name has no quotes in it.
    let challenge = format!("Basic realm=\"{service}\", charset=\"UTF-8\"").parse()?;
    let server = Arc::new(Server { iam, service, challenge, repositories });

    // From here on a signal ends the server in good order.
    let stopping = stopping()?;
    let git = TcpListener::bind(listen).await.map_err(|error| format!("{listen}: {error}"))?;
    println!("listening on http://{}", git.local_addr()?);
    serve(git, Router::new().fallback(answer).with_state(server), stopping).await?;
    Ok(())
}

/// The default policy. A service that it does not know takes passwords too.
fn policy(service: &ServiceName) -> Result<Policy, Box<dyn Error>> {
    let policy = Policy::default();
    match policy.kind(service) {
        Some(CredentialKind::Password) => Ok(policy),
        Some(CredentialKind::ApiKey) => {
            Err(format!("{service} takes API keys, and Git sends a user name and a password")
                .into())
        }
        None => Ok(policy.to_builder().password_service(service.clone()).build()?),
    }
}

/// Answers requests until it is time to stop, and then those that were accepted by then.
async fn serve(
    listener: TcpListener,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) -> std::io::Result<()> {
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
        })
        .await
}

/// Turns true at the first SIGTERM or SIGINT. The second ends the process, for whoever cannot wait.
fn stopping() -> std::io::Result<watch::Receiver<bool>> {
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
        Err(Denied::NotPresented) => return server.unauthorized(),
        Err(Denied::NotAdmitted(AuthenticationError::Refused(refusal))) => {
            // The reason is for this log alone: a stranger is told nothing but no.
            eprintln!("{client}: refused: {}", refusal.reason());
            return server.unauthorized();
        }
        // Not a refusal: Git forgets a stored password that is refused, and this one may be right.
        Err(Denied::NotAdmitted(AuthenticationError::Unavailable(error))) => {
            eprintln!("{client}: cannot tell who this is: {}", explain(&error));
            return plain(StatusCode::SERVICE_UNAVAILABLE, "try again later\n");
        }
    };
    let Some((name, endpoint)) = Endpoint::of(request.method(), request.uri()) else {
        return not_found();
    };
    let repository = match server.repositories.find(&name, endpoint).await {
        Ok(Some(repository)) => repository,
        Ok(None) => return not_found(),
        Err(error) => return failed(client, &error),
    };
    match backend::run(&repository, endpoint, &who, client, request).await {
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
    async fn authenticate(&self, headers: &HeaderMap) -> Result<Authenticated, Denied> {
        let (name, password) = basic(headers).ok_or(Denied::NotPresented)?;
        self.iam.authenticate(&self.service, &name, &password).await.map_err(Denied::NotAdmitted)
    }

    /// Git asks the user, or a credential helper, when it is told so.
    fn unauthorized(&self) -> Response {
        let mut response = plain(StatusCode::UNAUTHORIZED, "a user name and a password, please\n");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, self.challenge.clone());
        response
    }
}

/// The user name and the password of HTTP Basic authentication.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let presented = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = presented.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim_start()).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "there is no such repository\n")
}

fn failed(client: SocketAddr, error: &std::io::Error) -> Response {
    eprintln!("{client}: {error}");
    plain(StatusCode::INTERNAL_SERVER_ERROR, "the server failed\n")
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
