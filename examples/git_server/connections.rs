//! Accepts connections, limits them, and serves HTTP/1 on them.
//!
//! `axum::serve` has no timeouts and no limit, so this uses hyper's connection builder.

use std::{
    future::ready,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    http::Version,
    middleware,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

/// The delay after a failed attempt to accept a connection.
const PAUSE: Duration = Duration::from_secs(1);

/// The limits for the connections to one listening address.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The maximum number of connections. Further ones wait in the backlog of the listener.
    pub(crate) connections: usize,
    /// The maximum number of bytes of the head or the body of a request in memory.
    pub(crate) buffer: usize,
    /// How long a client may take to send the head of the first or the next request.
    pub(crate) head: Duration,
    /// How long a client may leave a response unread, and its system may leave it unacknowledged.
    pub(crate) response: Duration,
}

/// Serves connections until `stopping` is cancelled, and then finishes the requests in progress.
/// Dropping the future closes all connections.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stopping: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepting = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepting => accepted,
            () = stopping.cancelled() => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let router = router.clone().layer(axum::Extension(ConnectInfo(peer)));
                let (limits, stopping) = (limits.clone(), stopping.clone());
                connections.spawn(async move {
                    connection(stream, router, limits, stopping).await;
                    drop(permit);
                });
            }
            Err(error) if is_connection_error(&error) => {}
            Err(error) => {
                tracing::error!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves the requests on one connection.
async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    stopping: CancellationToken,
) {
    if set_options(&stream, &limits).is_err() {
        return; // The connection is closed already.
    }
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.response));
    let is_http_1_0 = Arc::new(AtomicBool::new(false));
    let version = Arc::clone(&is_http_1_0);
    let router = router.layer(middleware::map_request(move |request: Request| {
        version.store(request.version() == Version::HTTP_10, Relaxed);
        ready(request)
    }));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(limits.buffer)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
    let ended = tokio::select! {
        result = &mut connection => Some(result),
        () = stopping.cancelled() => None,
    };
    let result = if let Some(result) = ended {
        result
    } else {
        Pin::new(&mut connection).graceful_shutdown();
        (&mut connection).await
    };
    if result.is_err_and(|error| error.is_user()) && is_http_1_0.load(Relaxed) {
        // The body of a response failed. With HTTP/1.0, the end of the connection marks the end of
        // the body, so only a reset shows the client that this body is incomplete. The client may
        // lose the last bytes before the reset.
        let stream = connection.into_parts().io.into_inner();
        let _ = stream.get_ref().set_zero_linger();
    }
}

fn set_options(stream: &TcpStream, limits: &Limits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Keepalive detects a vanished client on an idle connection, the user timeout on a busy one.
    let interval = Duration::from_secs(15);
    let keepalive = TcpKeepalive::new().with_time(interval).with_interval(interval);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive.with_retries(4))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(limits.response))?;
    Ok(())
}

fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Raises the limit on open files to at least this number, which includes connections. The default
/// is 1,024 on most systems.
pub(crate) fn allow_open_files(number: u64) -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= number) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < number) {
        let message = format!("the system allows fewer than {number} open files (`ulimit -Hn`)");
        return Err(io::Error::other(message));
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(number), maximum })?)
}
