//! `examples/own_service.rs`: as a program, and over a store that fails on demand.

#![cfg(unix)]

use std::{net::SocketAddr, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use service_specific_credentials::{
    store::RedbStore,
    testing::{FailingStore, Fault, When},
};
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    client::Client,
    common::{Folder, example},
    server::Server,
};

#[allow(dead_code, reason = "`main` is run as a program")]
#[path = "../../examples/own_service.rs"]
mod program;

fn basic(name: &str, password: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// Sends a request without a body. Returns the status and the JSON of the response.
fn ask(client: &mut Client, line: &str) -> (u16, Value) {
    let response = client.request(line, &[], b"");
    (response.status, serde_json::from_str(&response.body).unwrap_or(Value::Null))
}

/// Creates a credential for `anika`. Returns its id, its service user name and its password.
fn create(client: &mut Client) -> [String; 3] {
    let (status, created) = ask(client, "POST /users/anika");
    assert_eq!(status, 200, "{created}");
    let credential = &created["credential"];
    let texts = [&credential["id"], &credential["service_user_name"], &created["password"]];
    texts.map(|text| text.as_str().unwrap().to_owned())
}

fn login(client: &mut Client, name: &str, password: &str) -> (u16, String) {
    let response = client.request("GET /", &[&basic(name, password)], b"");
    (response.status, response.body)
}

#[test]
fn it_logs_users_in_and_manages_credentials() {
    let folder = Folder::new("own-service");
    let path = folder.file("credentials.redb");
    let program = example("own_service");
    let start = || Server::run(Command::new(&program).arg(&path).arg("127.0.0.1:0"));
    let server = start();
    let mut client = Client::new(server.address);

    let [id, name, password] = create(&mut client);
    assert_eq!(name, "anika+1-at-000000000001");
    assert_eq!(login(&mut client, &name, &password), (200, "anika".to_owned()));
    assert_eq!(login(&mut client, &name, "wrong").0, 401);
    let anonymous = client.request("GET /", &[], b"");
    assert_eq!(anonymous.status, 401);
    let challenge = r#"Basic realm="git.example.com", charset="UTF-8""#;
    assert_eq!(anonymous.header("www-authenticate"), Some(challenge));

    create(&mut client);
    let (status, error) = ask(&mut client, "POST /users/anika");
    assert_eq!(status, 409);
    let limit = "user anika has reached the limit of 2 credentials at git.example.com";
    assert_eq!(error["error"], limit);
    assert_eq!(ask(&mut client, "GET /users/anika").1.as_array().unwrap().len(), 2);
    assert_eq!(ask(&mut client, "GET /users/nobody").0, 404);
    assert_eq!(ask(&mut client, "GET /users/a%20b").0, 400);
    assert_eq!(ask(&mut client, "POST /credentials/ACCA12345ABCDEXAMPLE/disable").0, 404);

    drop(server);
    let server = start();
    let mut client = Client::new(server.address);
    assert_eq!(login(&mut client, &name, &password).0, 200, "it is in the file");
    let (status, disabled) = ask(&mut client, &format!("POST /credentials/{id}/disable"));
    assert_eq!((status, disabled["status"].as_str()), (200, Some("Inactive")));
    assert_eq!(login(&mut client, &name, &password).0, 401);
}

#[test]
fn it_returns_503_while_the_store_fails_and_recovers() {
    let folder = Folder::new("own-service-failing");
    let file = RedbStore::create(folder.file("credentials.redb")).unwrap().into_async();
    let store = FailingStore::new(file);
    let runtime = Runtime::new().unwrap();
    let router = program::router(store.clone()).unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    // Ends with the runtime.
    runtime.spawn(async { axum::serve(listener, router).await });
    let mut client = Client::new(address);
    let [_, name, password] = create(&mut client);

    store.fail(Fault::Read, When::Always);
    let response = client.request("GET /", &[&basic(&name, &password)], b"");
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    for line in ["GET /users/anika", "POST /users/anika"] {
        let (status, error) = ask(&mut client, line);
        assert_eq!((status, error["error"].as_str()), (503, Some("the store failed")), "{line}");
    }
    store.recover();
    assert_eq!(login(&mut client, &name, &password).0, 200);

    // Whether or not a create is applied, no credential is left whose password is lost.
    for fault in [Fault::CommitBefore, Fault::CommitAfter] {
        store.fail(fault, When::Once);
        let (status, error) = ask(&mut client, "POST /users/anika");
        let unknown = "the store failed, and the outcome is unknown";
        assert_eq!((status, error["error"].as_str()), (503, Some(unknown)));
        assert_eq!(ask(&mut client, "GET /users/anika").1.as_array().unwrap().len(), 1);
    }
    assert_eq!(store.injected(), 5);
    create(&mut client);
}
