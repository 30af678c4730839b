//! What a URL names: a repository, and one of the three things that can be done with it.
//!
//! A URL is believed only as far as the grammar below goes. It is compared as it was sent: nothing
//! is decoded, so that nothing can be hidden in `%2e%2e`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use axum::http::{Method, Uri};

use crate::backend::{self, Place};

/// The requests of Git's smart HTTP protocol. Nothing else is served: no files, as Git's older
/// protocol would have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Which refs there are, before a fetch or a push.
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
    /// Which repository and what of it is asked for, or `None` if that is nothing that Git asks.
    pub(crate) fn of(method: &Method, uri: &Uri) -> Option<(Name, Self)> {
        let both = [Service::UploadPack, Service::ReceivePack];
        let path = uri.path().strip_prefix('/')?;
        if let Some(name) = path.strip_suffix("/info/refs") {
            let asked = uri.query()?.strip_prefix("service=")?;
            let service = both.into_iter().find(|service| service.name() == asked)?;
            return (method == Method::GET).then_some((Name::new(name)?, Self::Refs(service)));
        }
        let (name, last) = path.rsplit_once('/')?;
        let service = both.into_iter().find(|service| service.name() == last)?;
        (method == Method::POST).then_some((Name::new(name)?, Self::Exchange(service)))
    }

    /// The end of the path that goes with it.
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

/// The name of a repository: up to four parts with slashes between them, each of letters, digits,
/// `_`, `.` and `-`, the first of them a letter, a digit or `_`. So no part is `..`, empty, hidden,
/// or an option of a command.
///
/// Only the last part may end in `.git`, and it always does on the disk, said or not: no repository
/// is ever inside of another one.
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

/// The folder that the repositories are in.
#[derive(Debug)]
pub(crate) struct Repositories {
    /// Without a symbolic link in it.
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

    /// Where the repository is, or `None` if there is none. The first request of a push makes one,
    /// if that is wanted.
    pub(crate) async fn find(
        &self,
        name: &Name,
        endpoint: Endpoint,
        place: &Place,
    ) -> io::Result<Option<PathBuf>> {
        let path = self.root.join(&name.0);
        // What is there and is no repository, such as a link, is left alone.
        let free = path.symlink_metadata().is_err();
        if free && self.create && endpoint == Endpoint::Refs(Service::ReceivePack) {
            // Hidden, so that no name can stand for it. Drawn, since other servers may share the
            // folder: each in a container, where they all have the same process id.
            let unfinished = self.root.join(format!(".new-{:016x}", getrandom::u64()?));
            let (root, path, place) = (self.root.clone(), path.clone(), Place::clone(place));
            // Goes on to its end even if the client goes away.
            let making = tokio::task::spawn_blocking(move || {
                let _place = place;
                make(&root, &unfinished, &path)
            });
            making.await.map_err(io::Error::other)??;
        }
        Ok(is_there(&path)?.then_some(path))
    }
}

/// Makes a bare repository under another name, and then gives it its own: another request that
/// makes the same one at the same time sees the whole of it or nothing.
fn make(root: &Path, unfinished: &Path, path: &Path) -> io::Result<()> {
    let parents: Vec<_> = path.ancestors().skip(1).take_while(|parent| *parent != root).collect();
    for parent in parents.into_iter().rev() {
        match fs::create_dir(parent) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            // Of what was there before, a link is no way out.
            _ if is_there(parent)? => {}
            _ => return Ok(()),
        }
    }
    // Not one that somebody else has begun, whatever was drawn.
    fs::create_dir(unfinished)?;
    let initialized = backend::git()
        .args(["init", "--quiet", "--bare", "--initial-branch=main", "--"])
        .arg(unfinished)
        .stdin(Stdio::null())
        .status();
    let made = match initialized {
        Ok(status) if status.success() => fs::rename(unfinished, path),
        Ok(_) => Err(io::Error::other("a repository cannot be made")),
        Err(error) => Err(error),
    };
    if made.is_err() {
        let _ = fs::remove_dir_all(unfinished);
    }
    // Somebody else may have been first.
    if is_there(path)? { Ok(()) } else { made }
}

/// Whether there is a folder at this path, and no symbolic link on the way to it.
fn is_there(path: &Path) -> io::Result<bool> {
    match path.canonicalize() {
        Ok(found) => Ok(found == path && found.is_dir()),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(false),
            _ => Err(error),
        },
    }
}
