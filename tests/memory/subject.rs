//! The searched process: executes operations on stores, one per line, and drops secrets as early as
//! possible.
//!
//! Lines are read and secrets are written without buffers, and every operation runs deep in the
//! stack, so that waiting for the next line does not overwrite what the operation left there.

use std::{
    fs::File,
    hint::black_box,
    io::{self, Read as _, Write as _},
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
};

use service_specific_credentials::{
    Alphabet, CredentialKind, CredentialManager, Error, IssuedCredential, MemoryStore, Policy,
    query::{self, Dialect, RequestId},
    store::{RedbStore, Store},
};
use zeroize::Zeroizing;

use crate::{
    common::{ACCOUNT, name},
    scan::{decode, words},
};

/// The depth at which an operation begins.
const DEPTH: usize = 64 * 1024;

/// A secret that the search must find.
static PLANTED: Mutex<[u8; 128]> = Mutex::new([0; _]);

/// The stores, until they are dropped.
struct Subject {
    memory: Option<Arc<MemoryStore>>,
    redb: Option<Arc<RedbStore>>,
    output: File,
}

/// Executes lines until the input ends.
pub(crate) fn run(path: &str) {
    let mut input = unbuffered(&io::stdin());
    let mut subject = Subject {
        memory: Some(Arc::default()),
        redb: Some(Arc::new(RedbStore::create(path).unwrap())),
        output: unbuffered(&io::stdout()),
    };
    loop {
        let mut line = Zeroizing::new(vec![0; 1024]);
        // A line is written by one call, and so read by one call.
        let length = input.read(&mut line).unwrap();
        let Some((b'\n', text)) = line[..length].split_last() else { break };
        let words: Vec<&str> = str::from_utf8(text).unwrap().split(' ').collect();
        deep(|| subject.work(&words));
    }
}

fn unbuffered(stream: &impl AsFd) -> File {
    stream.as_fd().try_clone_to_owned().unwrap().into()
}

#[inline(never)]
fn deep(work: impl FnOnce()) {
    let mut room = [0_u8; DEPTH];
    black_box(&mut room);
    call(work);
    black_box(&mut room);
}

/// Puts the locals of `work` below those of its caller.
#[inline(never)]
fn call(work: impl FnOnce()) {
    work();
}

impl Subject {
    fn work(&mut self, words: &[&str]) {
        match *words {
            ["drop"] => (self.memory, self.redb) = (None, None),
            ["overwrite", ..] => overwrite_free_blocks(),
            ["plant", place, form, secret] => plant(place, form, secret),
            ["over", secret, ref rest @ ..] => {
                fill_stack(secret);
                return self.work(rest);
            }
            [store, bytes, alphabet, ref operation @ ..] => {
                let alphabet = match alphabet {
                    "standard" => Alphabet::Standard,
                    _ => Alphabet::UrlSafe,
                };
                let policy = Policy::builder().password_bytes(bytes.parse().unwrap());
                let policy = policy.alphabet(alphabet).build().unwrap();
                match (store, self.memory.clone(), self.redb.clone()) {
                    ("memory", Some(store), _) => self.operate(store, policy, operation),
                    ("redb", _, Some(store)) => self.operate(store, policy, operation),
                    _ => panic!("no such store"),
                }
            }
            _ => panic!("no such line"),
        }
        self.output.write_all(b"\n").unwrap();
    }

    fn operate(&mut self, store: Arc<impl Store>, policy: Policy, operation: &[&str]) {
        let iam = CredentialManager::builder(name(ACCOUNT), store).policy(policy).build();
        match *operation {
            ["register", user] => drop(iam.register_user(&name(user)).unwrap()),
            ["create", user, service] => self.issue(iam.create(&name(user), &name(service))),
            ["reset", user, id] => self.issue(iam.reset(&name(user), &name(id))),
            ["api-create", user, service] => self.request(
                &iam,
                &format!(
                    "Action=CreateServiceSpecificCredential&UserName={user}&ServiceName={service}"
                ),
            ),
            ["api-reset", user, id] => self.request(
                &iam,
                &format!(
                    "Action=ResetServiceSpecificCredential&UserName={user}\
                 &ServiceSpecificCredentialId={id}"
                ),
            ),
            ["authenticate", service, login, secret] => {
                let (service, everywhere) = (name(service), iam.authenticator());
                let wrong = secret.get(1..).unwrap();
                if iam.policy().kind(&service) == Some(CredentialKind::ApiKey) {
                    iam.authenticate_api_key(&service, secret).unwrap();
                    everywhere.authenticate_api_key(&service, secret).unwrap();
                    iam.authenticate_api_key(&service, wrong).unwrap_err();
                } else {
                    iam.authenticate(&service, login, secret).unwrap();
                    everywhere.authenticate(&service, login, secret).unwrap();
                    iam.authenticate(&service, login, wrong).unwrap_err();
                }
            }
            ["rename", user, new] => drop(iam.rename_user(&name(user), &name(new)).unwrap()),
            ["delete", user, id] => iam.delete(&name(user), &name(id)).unwrap(),
            _ => panic!("no such operation"),
        }
    }

    fn issue(&mut self, issued: Result<IssuedCredential, Error>) {
        let issued = issued.unwrap();
        let (id, name) = (issued.id().as_str(), issued.service_user_name().as_str());
        self.print_secret([id, name, issued.secret().expose()]);
    }

    /// Calls the API operation that issues a secret.
    fn request(&mut self, iam: &CredentialManager<impl Store>, form: &str) {
        let request = http::Request::get(format!("/?Version=2010-05-08&{form}")).body("").unwrap();
        let id = RequestId::random();
        let response = query::handle(iam, &request, None, Dialect::Documented, id);
        let xml = str::from_utf8(response.body().as_ref()).unwrap();
        let element = |names: [&str; 2]| {
            let after = names.iter().find_map(|name| xml.split_once(&format!("<{name}>")));
            after.unwrap().1.split_once('<').unwrap().0
        };
        self.print_secret([
            element(["ServiceSpecificCredentialId"; 2]),
            element(["ServiceUserName", "ServiceCredentialAlias"]),
            element(["ServicePassword", "ServiceCredentialSecret"]),
        ]);
    }

    /// Writes a new secret: its id, its service user name and the secret.
    fn print_secret(&mut self, [id, name, secret]: [&str; 3]) {
        self.output.write_all(format!("{id} {name} ").as_bytes()).unwrap();
        self.output.write_all(secret.as_bytes()).unwrap();
    }
}

/// Fills the stack below the caller with copies of a secret.
#[inline(never)]
fn fill_stack(secret: &str) {
    let mut room = [0_u8; DEPTH];
    for copy in room.chunks_mut(secret.len()) {
        copy.copy_from_slice(&secret.as_bytes()[..copy.len()]);
    }
    black_box(&mut room);
}

/// Allocates free blocks of every size that a record or a list of keys has, overwrites them, and
/// frees them.
fn overwrite_free_blocks() {
    let sizes = (1..=256).map(|size| size * 16).flat_map(|size| [size; 200]);
    let blocks: Vec<Vec<u8>> = sizes.map(|size| vec![1; size]).collect();
    drop(black_box(blocks));
}

/// Leaves a secret behind.
fn plant(place: &str, form: &str, secret: &str) {
    let bytes = Zeroizing::new(match form {
        "text" => secret.as_bytes().to_vec(),
        "decoded" => decode(secret),
        "words" => words(secret),
        // The minimum that must be found, at an odd offset and with an odd length, so that no word
        // of memory is aligned to it.
        _ => secret.as_bytes()[5..17].to_vec(),
    });
    match place {
        "heap" => std::mem::forget(black_box(bytes.to_vec())),
        "freed" => drop(black_box(bytes.to_vec())),
        "stack" => deep(|| {
            let mut room = [0_u8; 128];
            room[3..][..bytes.len()].copy_from_slice(&bytes);
            black_box(&mut room);
        }),
        _ => {
            let mut planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
            planted[1..][..bytes.len()].copy_from_slice(&bytes);
        }
    }
}
