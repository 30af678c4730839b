//! Hands a request to `git http-backend`, and its answer to the client.
//!
//! `git http-backend` is a CGI program: the request's head comes to it as environment variables,
//! the body as its input, and its output is a head and a body. Both bodies stream: whatever is
//! pushed or cloned, no more than a few pieces of it are in this process at a time.

use std::{
    io, net::SocketAddr, os::unix::process::CommandExt as _, path::Path, process::Stdio, sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use futures_util::{TryStreamExt as _, stream};
use rustix::process::{Pid, Signal, kill_process_group};
use service_specific_credentials::Identity;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::repository::Endpoint;

/// How many bytes are read at a time.
const PIECE: usize = 32 * 1024;
/// How long the head of an answer may be. Git's is a few lines.
const HEAD: u64 = 8 * 1024;

/// How many requests may have Git run for them at a time, whoever they are from: a client may take
/// forever over a request, and have any number of them.
#[derive(Debug)]
pub(crate) struct Processes(Arc<Semaphore>);

/// The right to run Git for one request, as long as any copy of it lives.
pub(crate) type Place = Arc<OwnedSemaphorePermit>;

impl Processes {
    pub(crate) fn new(limit: u16) -> Self {
        Self(Arc::new(Semaphore::new(limit.into())))
    }

    /// `None` if all are taken. Nobody waits for one: that would keep a connection, too, for what
    /// may be held by clients that take forever.
    pub(crate) fn place(&self) -> Option<Place> {
        Arc::clone(&self.0).try_acquire_owned().ok().map(Arc::new)
    }
}

/// Git, without anything that this process or its user has set for it. In a group of its own, so
/// that a Ctrl-C for this process is not one for what it has accepted, and so that it can be ended
/// together with what it starts.
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

/// Fails if there is no Git to hand anything to.
pub(crate) fn check() -> io::Result<()> {
    let status = git().args(["--version"]).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(io::Error::other(format!("`git --version` fails: {status}"))),
        Err(error) => Err(io::Error::other(format!("git cannot be run: {error}"))),
    }
}

/// Answers a request that has been let in, for a repository that has been found.
pub(crate) async fn run(
    repository: &Path,
    endpoint: Endpoint,
    who: &Identity,
    client: SocketAddr,
    request: Request,
    place: Place,
) -> io::Result<Response> {
    let (head, body) = request.into_parts();
    let mut git = Command::from(git());
    git.arg("http-backend");
    // One repository, and only this one, even if another user of the system owns the folder.
    git.env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", repository)
        .env("GIT_PROJECT_ROOT", repository)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GATEWAY_INTERFACE", "CGI/1.1")
        .env("SERVER_PROTOCOL", "HTTP/1.1")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", format!("/{}", endpoint.path()))
        .env("QUERY_STRING", endpoint.query())
        .env("REMOTE_ADDR", client.ip().to_string())
        // For hooks, and for the reflog. That there is somebody is why Git takes pushes, unless the
        // repository's own `http.receivepack` says otherwise. The id is what to authorise by: names
        // are used again.
        .env("REMOTE_USER", who.user_name().as_str())
        .env("REMOTE_USER_ID", who.user_id().to_string());
    for (name, variable) in [
        (header::CONTENT_TYPE, "CONTENT_TYPE"),
        (header::CONTENT_LENGTH, "CONTENT_LENGTH"),
        // Git compresses its questions, and decompresses them itself.
        (header::CONTENT_ENCODING, "HTTP_CONTENT_ENCODING"),
        (HeaderName::from_static("git-protocol"), "HTTP_GIT_PROTOCOL"),
    ] {
        if let Some(value) = head.headers.get(name).and_then(|value| value.to_str().ok()) {
            git.env(variable, value);
        }
    }

    let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let running = Running(Some((child, place)));
    let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
        return Err(io::Error::other("git has no input or output"));
    };
    tokio::spawn(feed(body, stdin));
    let mut output = BufReader::with_capacity(PIECE, stdout);
    let mut response = Response::new(Body::empty());
    read_head(&mut output, &mut response).await?;
    let pieces = stream::try_unfold((running, output), async |(mut running, mut output)| {
        let piece = next(&mut output).await?;
        if piece.is_none() {
            // The answer is complete. What it did may still be under way: a hook, a clean-up.
            running.wait().await?;
        }
        io::Result::Ok(piece.map(|piece| (piece, (running, output))))
    });
    *response.body_mut() = Body::from_stream(pieces);
    Ok(response)
}

/// Hands over the body of the request, piece by piece. Ends when either side has had enough: if
/// that is the client, in the midst of a push, Git finds what it has got incomplete and drops it.
async fn feed(body: Body, mut stdin: ChildStdin) {
    let mut pieces = body.into_data_stream();
    while let Ok(Some(piece)) = pieces.try_next().await {
        if stdin.write_all(&piece).await.is_err() {
            return;
        }
    }
}

async fn next(output: &mut BufReader<ChildStdout>) -> io::Result<Option<Bytes>> {
    let mut piece = Vec::with_capacity(PIECE);
    output.read_buf(&mut piece).await?;
    Ok((!piece.is_empty()).then(|| piece.into()))
}

/// Reads lines such as `Content-Type: text/plain`, up to an empty one.
async fn read_head(output: &mut BufReader<ChildStdout>, response: &mut Response) -> io::Result<()> {
    let unreadable = || io::Error::new(io::ErrorKind::InvalidData, "git's answer has no head");
    let mut head = output.take(HEAD);
    loop {
        let mut line = String::new();
        head.read_line(&mut line).await?;
        let line = line.strip_suffix('\n').ok_or_else(unreadable)?;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Ok(());
        }
        let (name, value) = line.split_once(':').ok_or_else(unreadable)?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            // `404 Not Found`
            let code = value.split(' ').next().and_then(|code| StatusCode::try_from(code).ok());
            *response.status_mut() = code.ok_or_else(unreadable)?;
        } else {
            let name = name.parse::<HeaderName>().map_err(io::Error::other)?;
            let value = value.parse::<HeaderValue>().map_err(io::Error::other)?;
            response.headers_mut().append(name, value);
        }
    }
}

/// `git http-backend` and what it has started. Dropped while it still runs, because the client has
/// gone away, it is told to end. It is asked, not killed, so that it takes its lock files with it:
/// one that stays behind would refuse every push to come. It has its place until it has ended.
struct Running(Option<(Child, Place)>);

impl Running {
    async fn wait(&mut self) -> io::Result<()> {
        if let Some((git, _)) = &mut self.0 {
            git.wait().await?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some((mut git, place)) = self.0.take() else { return };
        // No id means that it has been waited for.
        let id = git.id().and_then(|id| i32::try_from(id).ok());
        if let Some(group) = id.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::TERM);
        }
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                let _ = git.wait().await;
                drop(place);
            });
        }
    }
}
