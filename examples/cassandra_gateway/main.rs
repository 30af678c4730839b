//! A gateway to Cassandra that authenticates drivers by service-specific credentials.
//!
//! It implements the CQL binary protocol, versions 3 to 5. `handshake` authenticates a client, with
//! `throttle` against guessing. Then `proxy` copies bytes between the client and a Cassandra, or
//! `local` serves the requests of connecting drivers. `envelope` and `channel` read and write
//! messages. This file listens, limits connections, and closes those whose credential has become
//! invalid.
//!
//! ```console
//! $ store=redb:credentials.redb service=cassandra.amazonaws.com
//! $ cargo run --example credentials -- --store $store user add anika
//! $ cargo run --example credentials -- --store $store create anika --service $service
//! $ cargo run --example cassandra_gateway -- --store $store --upstream 127.0.0.1:9043
//! ```
//!
//! `README.md` describes the options, the login and the limits.

use std::{
    error::Error, fmt, io, io::Write as _, net::SocketAddr, num::NonZeroU16, ops::RangeInclusive,
    path::PathBuf, process::ExitCode, sync::Arc, time::Duration,
};

use clap::Parser;
use service_specific_credentials::{
    AccountId, AsyncCredentialManager, AuthenticationError, CredentialKind, DenialReason, Identity,
    Policy, ServiceName, query::Dialect, store::RedbStore,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

#[path = "../support/admin.rs"]
mod admin;
mod channel;
mod envelope;
#[path = "../support/explain.rs"]
mod explain;
mod handshake;
#[path = "../support/iam.rs"]
mod iam;
mod local;
mod proxy;
#[path = "../support/store.rs"]
mod store;
#[path = "../support/throttle.rs"]
mod throttle;

use channel::Channel;
use envelope::{Failure, VERSIONS, code};
use explain::explain;
use handshake::{Handshake, Login};
use iam::{Access, Iam};
use proxy::{SaslPlain, Upstream};
use store::StoreUrl;
use throttle::Throttle;

/// The maximum number of clients in the handshake. Others wait in the backlog of the operating
/// system, at most until the logins of these time out.
const HANDSHAKES: usize = 256;

/// A gateway to Cassandra that authenticates drivers by service-specific credentials
#[derive(Debug, Parser)]
// A script can override options: the last one counts.
#[command(args_override_self = true)]
struct Options {
    /// The store of the credentials: `memory`, `redb:PATH` or `postgres:URL`; `postgres` alone
    /// takes the URL from `DATABASE_URL`
    #[arg(long, value_name = "STORE")]
    store: StoreUrl,
    /// The address to listen on; port 0 takes one that is free
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9042")]
    listen: SocketAddr,
    /// The service that the credentials are for
    #[arg(long, value_name = "NAME", default_value = "cassandra.amazonaws.com")]
    service: ServiceName,
    /// The account of the credentials
    #[arg(long, value_name = "ID", default_value = "123456789012")]
    account: AccountId,
    /// The Cassandra to forward to after the login; without it, only the queries that drivers
    /// send to connect are supported
    #[arg(long, value_name = "HOST:PORT")]
    upstream: Option<String>,
    /// The user name that the upstream knows the gateway by, if it does not trust it as it is; the
    /// password is read from `UPSTREAM_PASSWORD`
    #[arg(long, value_name = "NAME", requires = "upstream")]
    upstream_user: Option<String>,
    /// The certificate chain of the gateway, in a PEM file; with it, only TLS is served
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of the certificate, in a PEM file
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The address to serve the IAM Query API on, for the AWS CLI to manage credentials; only
    /// loopback addresses are allowed
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// Within how many seconds a connection is closed after its credential was disabled, reset or
    /// deleted, or has expired
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    recheck: NonZeroU16,
    /// How many seconds a client may take to log in
    #[arg(long, value_name = "SECONDS", default_value = "10")]
    login_timeout: NonZeroU16,
    /// How many clients may be logged in at a time
    #[arg(long, value_name = "NUMBER", default_value = "400")]
    connections: NonZeroU16,
    /// How many logins may fail in a minute for one address and one user name
    #[arg(long, value_name = "NUMBER", default_value = "10")]
    failed_logins: NonZeroU16,
}

/// The shared state of all connections.
struct Gateway {
    handshake: Handshake,
    tls: Option<TlsAcceptor>,
    upstream: Option<Upstream>,
    versions: RangeInclusive<u8>,
    recheck: Duration,
    login_timeout: Duration,
    /// The permits of logged-in connections.
    connections: Arc<Semaphore>,
}

/// A connection before its login.
struct Connection {
    client: SocketAddr,
    /// The gateway's own address from the client's view.
    gateway: SocketAddr,
    /// The deadline of the login.
    deadline: Instant,
    handshake: OwnedSemaphorePermit,
}

/// A connection after its login.
struct LoggedIn {
    identity: Identity,
    upstream: Option<TcpStream>,
    _permit: OwnedSemaphorePermit,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(format_args!("cassandra_gateway: {}", explain(&*error)));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let Options { store, listen, service, .. } = options;
    let policy = policy(&service)?;
    let tls = match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => Some(acceptor(cert, key)?),
        _ => None,
    };
    let opened = store
        .open(RedbStore::open)
        .await
        .map_err(|error| format!("{store}: {}", explain(&error)))?;
    let manager = AsyncCredentialManager::builder(options.account, opened);
    let manager = manager.policy(policy).build_async();
    let (upstream, versions) = match options.upstream {
        None => (None, VERSIONS),
        Some(address) => {
            let token = options.upstream_user.map(|name| {
                let password = std::env::var("UPSTREAM_PASSWORD").map(zeroize::Zeroizing::new)?;
                Ok::<_, std::env::VarError>(SaslPlain::new(&name, &password))
            });
            let token = token.transpose().map_err(|error| format!("UPSTREAM_PASSWORD: {error}"))?;
            let upstream = Upstream::new(address.clone(), token);
            let versions = upstream.versions().await;
            let versions = versions.map_err(|error| format!("{address}: {}", explain(&error)))?;
            (Some(upstream), versions)
        }
    };

    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = TcpListener::bind(listen).await.map_err(|error| format!("{listen}: {error}"))?;
    let admin = match options.admin {
        None => None,
        Some(address) => {
            let listener = iam::bind(address, &Access::default()).await;
            let listener = listener.map_err(|error| format!("{address}: {error}"))?;
            let iam = Iam { manager: manager.clone(), caller: None, dialect: Dialect::Documented };
            Some((listener, iam::protect(iam.router(), address.ip(), &Access::default())))
        }
    };
    println!("listening on {}", listener.local_addr()?);
    if let Some((listener, _)) = &admin {
        println!("admin on http://{}", listener.local_addr()?);
    }
    let serving_admin = async {
        match admin {
            None => std::future::pending().await,
            Some((listener, router)) => axum::serve(listener, router).await,
        }
    };

    let throttle = Throttle::new(options.failed_logins);
    let gateway = Arc::new(Gateway {
        handshake: Handshake { manager, service, throttle },
        tls,
        upstream,
        versions,
        recheck: Duration::from_secs(options.recheck.get().into()),
        login_timeout: Duration::from_secs(options.login_timeout.get().into()),
        connections: Arc::new(Semaphore::new(usize::from(options.connections.get()))),
    });
    // Connections last for days, so the end does not wait for them. Drivers reconnect.
    tokio::select! {
        () = accept(listener, gateway) => {}
        result = serving_admin => result?,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The default policy with the service, which has passwords if it is a custom one.
fn policy(service: &ServiceName) -> Result<Policy, Box<dyn Error>> {
    let policy = Policy::default();
    match policy.kind(service) {
        Some(CredentialKind::Password) => Ok(policy),
        Some(CredentialKind::ApiKey) => {
            let why = "takes API keys, and drivers send a user name and a password";
            Err(format!("{service} {why}").into())
        }
        None => Ok(policy.to_builder().password_service(service.clone()).build()?),
    }
}

fn acceptor(cert: &PathBuf, key: &PathBuf) -> Result<TlsAcceptor, Box<dyn Error>> {
    let of = |file: &PathBuf, error| format!("{}: {error}", file.display());
    let chain = CertificateDer::pem_file_iter(cert).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|error| of(cert, error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| of(key, error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, gateway: Arc<Gateway>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(handshake) = Arc::clone(&handshakes).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, client)) => {
                let gateway = Arc::clone(&gateway);
                tokio::spawn(async move { gateway.serve(stream, client, handshake).await });
            }
            Err(error) => {
                // For example too many open files, until a connection closes.
                log(format_args!("cassandra_gateway: {error}"));
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Gateway {
    async fn serve(&self, stream: TcpStream, client: SocketAddr, handshake: OwnedSemaphorePermit) {
        let deadline = Instant::now() + self.login_timeout;
        let (Ok(gateway), Ok(())) = (stream.local_addr(), proxy::prepare(&stream)) else { return };
        let connection = Connection { client, gateway, deadline, handshake };
        match &self.tls {
            None => self.connection(stream, connection).await,
            Some(acceptor) => match timeout_at(deadline, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => self.connection(stream, connection).await,
                Ok(Err(error)) => log(format_args!("{client}: no TLS: {error}")),
                Err(_) => log(format_args!("{client}: no login in time")),
            },
        }
    }

    async fn connection<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, of: Connection) {
        let Connection { client, gateway, deadline, handshake } = of;
        let (versions, limit) = (self.versions.clone(), handshake::LIMIT);
        let mut channel = Channel::server(stream, versions, limit, self.login_timeout);
        let login = match timeout_at(deadline, self.log_in(&mut channel, client)).await {
            Ok(Ok(Some(login))) => login,
            Ok(Ok(None)) => return,
            Ok(Err(failure)) => return channel.fail(failure).await,
            Err(_) => return log(format_args!("{client}: no login in time")),
        };
        drop(handshake);
        let LoggedIn { identity, upstream, _permit } = login;
        let session = async {
            match upstream {
                Some(upstream) => proxy::forward(channel, upstream).await,
                None => local::serve(channel, gateway.ip()).await,
            }
        };
        // Logged before `select` drops the session, which closes the connection.
        let revoked = async {
            let reason = self.revoked(identity).await;
            log(format_args!("{client}: closed: {reason}"));
        };
        tokio::select! {
            () = session => {}
            () = revoked => {}
        }
    }

    async fn log_in<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        channel: &mut Channel<S>,
        client: SocketAddr,
    ) -> Result<Option<LoggedIn>, Failure> {
        let login = self.handshake.log_in(channel, client).await?;
        let Some(Login { identity, startup, success }) = login else { return Ok(None) };
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            log(format_args!("{client}: too many connections"));
            return Err(success.fail(code::OVERLOADED, "too many connections, try again later"));
        };
        let upstream = match &self.upstream {
            None => None,
            Some(upstream) => Some(upstream.open(&startup).await.map_err(|error| {
                log(format_args!("{client}: no upstream: {}", explain(&error)));
                let (code, message) = error.report();
                success.fail(code, message)
            })?),
        };
        channel.write(&success).await?;
        let (user, id) = (identity.user_id(), identity.credential_id());
        log(format_args!("{client}: logged in: user {user}, credential {id}"));
        Ok(Some(LoggedIn { identity, upstream, _permit: permit }))
    }

    /// Waits until a credential no longer authenticates. Returns the reason.
    async fn revoked(&self, mut identity: Identity) -> DenialReason {
        // A margin for the duration of the look-up.
        let pause = self.recheck * 9 / 10;
        loop {
            sleep(pause).await;
            match self.handshake.manager.recheck(&identity).await {
                Ok(present) => identity = present,
                Err(AuthenticationError::Denied(denial)) => return denial.reason(),
                // The credential may still be valid, and a failing store must not disconnect all
                // clients.
                Err(AuthenticationError::Unavailable(error)) => {
                    let id = identity.credential_id();
                    log(format_args!("cannot recheck credential {id}: {}", explain(&error)));
                }
            }
        }
    }
}

/// Writes a line of the log. Failing to write, as on a full disk, does not stop the gateway.
fn log(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
