//! Maps a URL to a repository and an endpoint of Git's protocol, and creates repositories.
//!
//! Only URLs of the grammar below are accepted. URLs are not percent-decoded, so `%2e%2e` is
//! rejected.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use axum::http::{Method, Uri};

use crate::{backend, slots::Slot};

/// The endpoints of Git's smart HTTP protocol. The dumb protocol, which reads the files of a
/// repository, is not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// The list of refs, before a fetch or a push.
    Refs(Service),
    /// The fetch or the push itself.
    Exchange(Service),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    UploadPack,
    ReceivePack,
}

impl Service {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "git-upload-pack",
            Self::ReceivePack => "git-receive-pack",
        }
    }
}

impl Endpoint {
    /// The repository and the endpoint of a request; `None` if it is not part of the protocol.
    pub(crate) fn of(method: &Method, uri: &Uri) -> Option<(Name, Self)> {
        let both = [Service::UploadPack, Service::ReceivePack];
        let path = uri.path().strip_prefix('/')?;
        if let Some(name) = path.strip_suffix("/info/refs") {
            let requested = uri.query()?.strip_prefix("service=")?;
            let service = both.into_iter().find(|service| service.name() == requested)?;
            return (method == Method::GET).then_some((Name::new(name)?, Self::Refs(service)));
        }
        let (name, last) = path.rsplit_once('/')?;
        let service = both.into_iter().find(|service| service.name() == last)?;
        (method == Method::POST).then_some((Name::new(name)?, Self::Exchange(service)))
    }

    /// The path of the endpoint below the repository.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Refs(_) => "info/refs",
            Self::Exchange(service) => service.name(),
        }
    }

    pub(crate) fn query(self) -> String {
        match self {
            Self::Refs(service) => format!("service={}", service.name()),
            Self::Exchange(_) => String::new(),
        }
    }
}

/// The name of a repository: up to four parts, separated by slashes. A part consists of letters,
/// digits, `_`, `.` and `-`, and starts with a letter, a digit or `_`. So no part is empty, `..`,
/// the name of a hidden file, or an option of a command.
///
/// Only the last part may end in `.git`. The folder of a repository always ends in `.git`, so no
/// repository is inside another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    fn new(text: &str) -> Option<Self> {
        let bare = text.strip_suffix(".git").unwrap_or(text);
        let parts: Vec<_> = bare.split('/').collect();
        let allowed = parts.len() <= 4 && parts.iter().all(|part| Self::is_part(part));
        allowed.then(|| Self(format!("{bare}.git")))
    }

    fn is_part(part: &str) -> bool {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        part.len() <= 100
            && part.bytes().next().is_some_and(word)
            && part.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
            && !Path::new(part).extension().is_some_and(|end| end.eq_ignore_ascii_case("git"))
    }
}

/// The folder of the repositories.
#[derive(Debug)]
pub(crate) struct Repositories {
    /// An absolute path without symbolic links.
    root: PathBuf,
    create: bool,
}

impl Repositories {
    pub(crate) fn open(folder: &Path, create: bool) -> io::Result<Self> {
        if create {
            fs::create_dir_all(folder)?;
        }
        let root = folder.canonicalize()?;
        if !root.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { root, create })
    }

    /// The path of the repository, or `None` if it does not exist. With `create`, the first request
    /// of a push creates it.
    pub(crate) async fn find(
        &self,
        name: &Name,
        endpoint: Endpoint,
        slot: &Arc<Slot>,
    ) -> io::Result<Option<PathBuf>> {
        let path = self.root.join(&name.0);
        // A file or a link at this path is not replaced.
        let free = path.symlink_metadata().is_err();
        if free && self.create && endpoint == Endpoint::Refs(Service::ReceivePack) {
            // A hidden file, so it is never the name of a repository. Random, since servers in
            // several containers may have the same process id and share the folder.
            let temporary = self.root.join(format!(".new-{:016x}", getrandom::u64()?));
            let (root, path, slot) = (self.root.clone(), path.clone(), Arc::clone(slot));
            // The repository is created even if the client disconnects.
            let creating = tokio::task::spawn_blocking(move || {
                let _slot = slot;
                create_repository(&root, &temporary, &path)
            });
            creating.await.map_err(io::Error::other)??;
        }
        Ok(is_folder(&path)?.then_some(path))
    }
}

/// Creates a bare repository under a temporary name and then renames it, so that concurrent
/// requests see a complete repository or none.
fn create_repository(root: &Path, temporary: &Path, path: &Path) -> io::Result<()> {
    let parents: Vec<_> = path.ancestors().skip(1).take_while(|parent| *parent != root).collect();
    for parent in parents.into_iter().rev() {
        match fs::create_dir(parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            // A symbolic link could point outside the root.
            _ if is_folder(parent)? => {}
            _ => return Ok(()),
        }
    }
    // Fails if another server has chosen the same name.
    fs::create_dir(temporary)?;
    let initialized = backend::git()
        .args(["init", "--quiet", "--bare", "--initial-branch=main", "--"])
        .arg(temporary)
        .stdin(Stdio::null())
        .status();
    let created = match initialized {
        Ok(status) if status.success() => fs::rename(temporary, path),
        Ok(_) => Err(io::Error::other("a repository cannot be created")),
        Err(error) => Err(error),
    };
    if created.is_err() {
        let _ = fs::remove_dir_all(temporary);
    }
    // A concurrent request may have created it.
    if is_folder(path)? { Ok(()) } else { created }
}

/// Points HEAD at an existing branch if its current branch does not exist: otherwise clones would
/// have an empty work tree. Prefers `master`, then the first branch in order. So HEAD of a new
/// repository follows the first branch that is pushed.
pub(crate) async fn update_head(repository: &Path) -> io::Result<()> {
    let git = async |arguments: &[&str]| {
        let mut git = tokio::process::Command::from(backend::git());
        git.env("GIT_DIR", repository).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        git.kill_on_drop(true).output().await
    };
    if git(&["rev-parse", "--quiet", "--verify", "HEAD"]).await?.status.success() {
        return Ok(());
    }
    for pattern in ["refs/heads/master", "refs/heads"] {
        let found =
            git(&["for-each-ref", "--count=1", "--format=%(refname)", "--", pattern]).await?;
        let branch = String::from_utf8(found.stdout).map_err(io::Error::other)?;
        if let branch @ [_, ..] = branch.trim_end().as_bytes() {
            let branch = str::from_utf8(branch).map_err(io::Error::other)?;
            git(&["symbolic-ref", "HEAD", branch]).await?;
            break;
        }
    }
    Ok(())
}

/// Whether this is the path of a folder, without a symbolic link in the path.
fn is_folder(path: &Path) -> io::Result<bool> {
    match path.canonicalize() {
        Ok(found) => Ok(found == path && found.is_dir()),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(false),
            _ => Err(error),
        },
    }
}
