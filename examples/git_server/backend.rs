//! Runs `git http-backend` for one request.
//!
//! `git http-backend` is a CGI program: it takes the head of the request from environment
//! variables, the body from its standard input, and writes the head and the body of the response to
//! its standard output. Both bodies are streamed, so memory does not depend on the size of a push
//! or a clone.
//!
//! No process outlives its request: if the body of the request turns out to be incomplete, or the
//! client disconnects, the process group is terminated.

use std::{
    convert::Infallible,
    ffi::OsStr,
    io,
    net::IpAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header::CONTENT_TYPE},
    response::Response,
};
use futures_util::{FutureExt as _, TryStreamExt as _, future::BoxFuture, stream};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use service_specific_credentials::Identity;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::{
    bytes::BytesMut,
    sync::{CancellationToken, DropGuard},
};
use tracing::Span;

use crate::{
    repository::{self, Endpoint, Service},
    slots::Slot,
    upload::{PIECE, Upload, UploadError},
};

/// The number of bytes of output that are buffered until the body of the request has ended, and
/// with HTTP/1.0 until Git has ended. Before the end of the body, Git writes the head and progress
/// messages: this is enough for hours of them. The response to a push is shorter.
const MAX_BUFFERED: usize = 1 << 20;
/// The maximum size of the head of the output. Git writes a few lines.
const MAX_HEAD: usize = 8 * 1024;
/// How long a process group may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// A `git` command without the environment of this process, except `PATH`, and without the
/// configuration of the system and the user. It has its own process group: Ctrl-C in the terminal
/// of the server does not interrupt it, and the group is terminated as a whole.
pub(crate) fn git() -> std::process::Command {
    let mut git = std::process::Command::new("git");
    git.env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("LC_ALL", "C")
        .process_group(0);
    git
}

/// Fails if Git cannot be run.
pub(crate) fn check() -> io::Result<()> {
    let status = git().args(["--version"]).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(io::Error::other(format!("`git --version` fails: {status}"))),
        Err(error) => Err(io::Error::other(format!("git cannot be run: {error}"))),
    }
}

/// An authenticated request for an existing repository.
pub(crate) struct GitRequest {
    pub(crate) repository: PathBuf,
    pub(crate) endpoint: Endpoint,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) user: Identity,
    pub(crate) client: IpAddr,
    pub(crate) slot: Arc<Slot>,
    /// The first piece of the body.
    pub(crate) first: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum BackendError {
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Git(#[from] io::Error),
}

/// Runs Git, and returns its response after the body of the request has ended. Git writes a head
/// and progress messages earlier, but several proxies treat a response as the end of the request.
pub(crate) async fn run(request: GitRequest, upload: Upload) -> Result<Response, BackendError> {
    let version = request.version;
    let mut exchange = Exchange::start(request, upload)?;
    let mut buffered = BytesMut::new();
    while exchange.feeding.is_some() && buffered.len() < MAX_BUFFERED {
        exchange.advance(&mut buffered).await?;
    }
    let mut response = loop {
        if let Some(response) = split_head(&mut buffered)? {
            break response;
        }
        if exchange.has_ended() {
            exchange.result()?;
        }
        if exchange.has_ended() || buffered.len() > MAX_HEAD {
            return Err(no_head().into());
        }
        exchange.advance(&mut buffered).await?;
    };
    if version == Version::HTTP_10 {
        // Without a length, the end of the connection marks the end of the response. A proxy
        // mistakes a truncated response for a complete one, and then `git push` waits forever for
        // the rest.
        while buffered.len() < MAX_BUFFERED && !exchange.has_ended() {
            exchange.advance(&mut buffered).await?;
        }
        if exchange.has_ended() {
            exchange.result()?;
            *response.body_mut() = Body::from(buffered.freeze());
            return Ok(response);
        }
    }
    let pieces = stream::try_unfold((exchange, buffered), async |(mut exchange, mut buffered)| {
        while buffered.is_empty() && !exchange.has_ended() {
            exchange.advance(&mut buffered).await?;
        }
        if buffered.is_empty() {
            if let Err(error) = exchange.result() {
                // Without this error, the response would look complete. The yield lets hyper send
                // the previous output first, which may contain the error message of Git.
                tokio::task::yield_now().await;
                return Err(BackendError::Git(error));
            }
            return Ok(None);
        }
        Ok(Some((buffered.split().freeze(), (exchange, buffered))))
    });
    let span = Span::current();
    *response.body_mut() = Body::from_stream(pieces.inspect_err(move |error| {
        span.in_scope(|| tracing::error!(%error, "a response is incomplete"));
    }));
    Ok(response)
}

/// A request in progress. Dropping it before its end terminates the process group.
struct Exchange {
    /// Writes the body of the request to Git. `None` after the end of the body.
    feeding: Option<BoxFuture<'static, Result<(), UploadError>>>,
    output: Option<Output>,
    process: JoinHandle<io::Result<ExitStatus>>,
    /// `None` until the process has ended.
    status: Option<ExitStatus>,
    _abandon: DropGuard,
}

/// The output of Git. Dropped when Git has closed it.
struct Output {
    pipe: ChildStdout,
    _open: oneshot::Sender<Infallible>,
}

impl Exchange {
    fn start(request: GitRequest, upload: Upload) -> io::Result<Self> {
        let mut git = Command::from(command(&request));
        let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let pushed_to = match request.endpoint {
            Endpoint::Exchange(Service::ReceivePack) => Some(request.repository),
            _ => None,
        };
        let (open, closed) = oneshot::channel();
        let abandoned = CancellationToken::new();
        let abandon = abandoned.clone().drop_guard();
        let process = Process { group: group(&child), child, pushed_to, slot: request.slot };
        Ok(Self {
            feeding: stdin.map(|stdin| feed(request.first, upload, stdin).boxed()),
            output: stdout.map(|pipe| Output { pipe, _open: open }),
            process: tokio::spawn(process.supervise(closed, abandoned)),
            status: None,
            _abandon: abandon,
        })
    }

    /// Waits for the next event, and appends the output of Git to `buffered`.
    async fn advance(&mut self, buffered: &mut BytesMut) -> Result<(), BackendError> {
        buffered.reserve(PIECE);
        let feeding = async {
            match &mut self.feeding {
                Some(feeding) => feeding.await,
                None => std::future::pending().await,
            }
        };
        let reading = async {
            match &mut self.output {
                Some(output) => output.pipe.read_buf(buffered).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            fed = feeding => {
                self.feeding = None;
                fed?;
            }
            read = reading => if read? == 0 {
                self.output = None;
            },
            status = &mut self.process, if self.status.is_none() => {
                self.status = Some(status.map_err(io::Error::other)??);
            }
        }
        Ok(())
    }

    const fn has_ended(&self) -> bool {
        self.feeding.is_none() && self.output.is_none() && self.status.is_some()
    }

    fn result(&self) -> io::Result<()> {
        match self.status {
            Some(status) if !status.success() => {
                Err(io::Error::other(format!("git http-backend failed: {status}")))
            }
            _ => Ok(()),
        }
    }
}

fn command(request: &GitRequest) -> std::process::Command {
    let GitRequest { repository, endpoint, method, headers, user, client, .. } = request;
    let mut git = git();
    git.arg("http-backend")
        .env("GIT_PROJECT_ROOT", repository)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GATEWAY_INTERFACE", "CGI/1.1")
        .env("SERVER_PROTOCOL", "HTTP/1.1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", format!("/{}", endpoint.path()))
        .env("QUERY_STRING", endpoint.query())
        .env("REMOTE_ADDR", client.to_string())
        // For hooks and the reflog. If this is set, Git accepts pushes, unless `http.receivepack`
        // of the repository disables them. Hooks should authorize by the id: names are reused.
        .env("REMOTE_USER", user.user_name().as_str())
        .env("REMOTE_USER_ID", user.user_id().to_string());
    // `CONTENT_LENGTH` is not set: http-backend does not detect a body that is shorter.
    for (name, variable) in [
        (CONTENT_TYPE, "CONTENT_TYPE"),
        (HeaderName::from_static("git-protocol"), "HTTP_GIT_PROTOCOL"),
    ] {
        if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
            git.env(variable, value);
        }
    }
    configure(&mut git, repository);
    git
}

/// Sets the configuration that applies to all repositories.
fn configure(git: &mut std::process::Command, repository: &Path) {
    let settings: [(&str, &OsStr); 5] = [
        // Trusts only this repository, even if another user of the system owns its folder.
        ("safe.directory", repository.as_os_str()),
        // Allows partial clones, which fetch missing objects later by their ids.
        ("uploadpack.allowFilter", "true".as_ref()),
        ("uploadpack.allowAnySHA1InWant", "true".as_ref()),
        // Garbage collection runs as part of the request that starts it, in the same slot.
        ("gc.autoDetach", "false".as_ref()),
        ("maintenance.autoDetach", "false".as_ref()),
    ];
    git.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (number, (key, value)) in settings.iter().enumerate() {
        git.env(format!("GIT_CONFIG_KEY_{number}"), key);
        git.env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
}

/// Writes the body of a request to Git. After Git has closed its input, reads and drops the rest.
async fn feed(
    mut piece: Vec<u8>,
    mut upload: Upload,
    stdin: ChildStdin,
) -> Result<(), UploadError> {
    let mut stdin = Some(stdin);
    while !piece.is_empty() {
        if let Some(input) = &mut stdin
            && input.write_all(&piece).await.is_err()
        {
            stdin = None;
        }
        piece = upload.piece().await?;
    }
    Ok(())
}

/// Splits the head off the output. Returns `None` if the head is incomplete.
fn split_head(output: &mut BytesMut) -> io::Result<Option<Response>> {
    let mut fields = [httparse::EMPTY_HEADER; 16];
    let parsed = httparse::parse_headers(output, &mut fields).map_err(io::Error::other)?;
    let httparse::Status::Complete((length, fields)) = parsed else { return Ok(None) };
    let mut response = Response::new(Body::empty());
    for field in fields {
        if field.name.eq_ignore_ascii_case("status") {
            // `404 Not Found`
            let code = field.value.split(|byte| *byte == b' ').next().unwrap_or_default();
            *response.status_mut() = StatusCode::from_bytes(code).map_err(io::Error::other)?;
        } else {
            let name = field.name.parse::<HeaderName>().map_err(io::Error::other)?;
            let value = HeaderValue::from_bytes(field.value).map_err(io::Error::other)?;
            response.headers_mut().append(name, value);
        }
    }
    let _ = output.split_to(length);
    Ok(Some(response))
}

fn no_head() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "git http-backend wrote no head")
}

/// The process group of a request, with the slot that it occupies.
struct Process {
    child: Child,
    group: Option<Pid>,
    /// The repository, if this is a push.
    pushed_to: Option<PathBuf>,
    slot: Arc<Slot>,
}

impl Process {
    /// Waits until Git has ended and its output is closed. If Git fails or the exchange is dropped
    /// earlier, terminates the process group. Then releases the slot.
    async fn supervise(
        mut self,
        closed: oneshot::Receiver<Infallible>,
        abandoned: CancellationToken,
    ) -> io::Result<ExitStatus> {
        let ending = async {
            let status = self.child.wait().await?;
            if status.success() {
                let _ = closed.await;
            }
            io::Result::Ok(status)
        };
        let status = tokio::select! {
            biased;
            () = abandoned.cancelled() => None,
            status = ending => Some(status?),
        };
        if !status.is_some_and(|status| status.success()) {
            self.terminate().await;
        }
        if let Some(repository) = &self.pushed_to
            && let Err(error) = repository::update_head(repository).await
        {
            tracing::error!(%error, "HEAD cannot be set");
        }
        drop(self.slot);
        self.child.wait().await
    }

    /// Terminates the group. On SIGTERM, Git removes its lock files, which would block later
    /// pushes. Processes that remain after [`GRACE`] are killed.
    async fn terminate(&mut self) {
        let Some(group) = self.group else { return };
        let deadline = Instant::now() + GRACE;
        let _ = kill_process_group(group, Signal::TERM);
        // Unless its leader is reaped, the group continues to exist.
        while matches!(self.child.try_wait(), Ok(None)) || test_kill_process_group(group).is_ok() {
            if Instant::now() >= deadline {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = self.child.wait().await;
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The process group of this leader.
fn group(leader: &Child) -> Option<Pid> {
    leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}
