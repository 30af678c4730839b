//! The Query protocol in process, on one thread, from a form to XML, compared with the same
//! operations of the manager.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a benchmark stops where it fails, and rounds"
)]

mod measure;

use std::hint::black_box;

use measure::{Figures, Target, time};
use service_specific_credentials::{
    CredentialManager, ListRequest, MemoryStore, ServiceName, UserName,
    query::{self, Dialect, RequestId},
};

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

    let mut figures = Figures::default();
    figures.compare(
        "create",
        (USERS, 1),
        Target::None,
        || {
            let iam = populated(&users, 0);
            time(USERS, || creates.iter().for_each(|form| wire(&iam, form)))
        },
        || {
            let iam = populated(&users, 0);
            time(USERS, || {
                for user in &users {
                    black_box(&iam.create(user, &service).unwrap());
                }
            })
        },
    );
    figures.compare(
        "list of 2",
        (USERS, 1),
        Target::None,
        || time(USERS, || lists.iter().for_each(|form| wire(&listed, form))),
        || {
            time(USERS, || {
                for page in &pages {
                    black_box(&listed.list_page(page).unwrap());
                }
            })
        },
    );
    let per_second = |place: usize| (1e9 / figures.comparisons[place].ours).round();
    let (create, list) = (per_second(0), per_second(1));
    figures.value("creates per second, one thread", create, "", Target::AtLeast(200_000.0));
    figures.value("lists of 2 per second, one thread", list, "", Target::AtLeast(300_000.0));
    figures.write("wire");
}
