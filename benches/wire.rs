//! The Query protocol in process, on one thread, from a form to XML, compared with the same
//! operations of the manager. The contenders run in turns. The medians are printed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a benchmark stops where it fails, and rounds"
)]

use std::{hint::black_box, time::Instant};

use service_specific_credentials::{
    CredentialManager, ListRequest, MemoryStore, ServiceName, UserName,
    query::{self, Dialect, RequestId},
};
use sha2::{Digest as _, Sha256};

const ROUNDS: usize = 15;
const USERS: usize = 10_000;
const SERVICE: &str = "codecommit.amazonaws.com";

type Form = http::Request<Vec<u8>>;

/// A request as a client sends it.
fn form(action: &str, user: &UserName) -> Form {
    let body = format!("Action={action}&Version=2010-05-08&UserName={user}&ServiceName={SERVICE}");
    http::Request::post("/")
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .body(body.into_bytes())
        .unwrap()
}

/// The nanoseconds of `work` per operation, of which it performs `count`.
fn time(count: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_nanos() as f64 / count as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A store in which every user has this many credentials.
fn populated(users: &[UserName], credentials: usize) -> CredentialManager<MemoryStore> {
    let iam = CredentialManager::new("123456789012".parse().unwrap(), MemoryStore::new());
    let service: ServiceName = SERVICE.parse().unwrap();
    for user in users {
        iam.register_user(user).unwrap();
        for _ in 0..credentials {
            drop(iam.create(user, &service).unwrap());
        }
    }
    iam
}

fn wire(iam: &CredentialManager<MemoryStore>, form: &Form) {
    let id = RequestId::random();
    let response = query::handle(iam, form, None, Dialect::Documented, id);
    assert_eq!(response.status(), 200);
    black_box(response);
}

fn row(what: &str, wire: f64, core: f64, target: u32) {
    let (rate, share) = (1e9 / wire, wire - core);
    println!("{what:<10}{wire:>10.0}{core:>10.0}{share:>10.0}{rate:>12.0}  at least {target}");
}

fn main() {
    let users: Vec<UserName> =
        (0..USERS).map(|number| format!("user{number:05}").parse().unwrap()).collect();
    let service: ServiceName = SERVICE.parse().unwrap();
    let creates: Vec<Form> =
        users.iter().map(|user| form("CreateServiceSpecificCredential", user)).collect();
    let lists: Vec<Form> =
        users.iter().map(|user| form("ListServiceSpecificCredentials", user)).collect();
    let pages: Vec<ListRequest> =
        users.iter().map(|user| ListRequest::of(user.clone()).service(service.clone())).collect();
    let listed = populated(&users, 2);

    let [mut create, mut create_core, mut list, mut list_core, mut hash] =
        std::array::from_fn(|_| Vec::new());
    for _ in 0..ROUNDS {
        let iam = populated(&users, 0);
        create.push(time(USERS, || creates.iter().for_each(|form| wire(&iam, form))));
        let iam = populated(&users, 0);
        create_core.push(time(USERS, || {
            for user in &users {
                black_box(&iam.create(user, &service).unwrap());
            }
        }));
        list.push(time(USERS, || lists.iter().for_each(|form| wire(&listed, form))));
        list_core.push(time(USERS, || {
            for page in &pages {
                black_box(&listed.list_page(page).unwrap());
            }
        }));
        hash.push(time(USERS, || {
            for _ in 0..USERS {
                black_box(Sha256::digest(black_box([7_u8; 44])));
            }
        }));
    }
    println!("SHA-256 of 44 bytes: {:.0} ns", median(hash));
    println!("{:<10}{:>10}{:>10}{:>10}{:>12}", "ns", "wire", "without", "share", "a second");
    row("create", median(create), median(create_core), 200_000);
    row("list of 2", median(list), median(list_core), 300_000);
}
