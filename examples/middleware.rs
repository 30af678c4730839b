//! A middleware that authenticates requests, and handlers that receive the identity.
//!
//! ```console
//! $ cargo run --example middleware
//! service user name  anika+1-at-123456789012
//! password           zFyKiLqn4stBraBH1aO9qfhF7oFcXKV/RtoNnFz3duc=
//! listening on http://127.0.0.1:8000
//! ```
//!
//! Anonymous clients may read. Writing requires an identity:
//!
//! ```console
//! $ curl http://127.0.0.1:8000
//! hello, anonymous client
//! $ curl --user anika+1-at-123456789012 --request POST http://127.0.0.1:8000
//! anika wrote
//! ```
//!
//! The credentials are in memory and end with the program, which is why the password is printed.

use std::{env, error::Error};

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::header::AUTHORIZATION,
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use service_specific_credentials::{
    AsyncCredentialManager, Identity, MemoryStore, ServiceName, http::AsyncHttpAuthenticator,
    store::SyncAdapter,
};
use tokio::net::TcpListener;

type Authenticator = AsyncHttpAuthenticator<SyncAdapter<MemoryStore>>;

/// Inserts the identity into the request, or rejects the request.
async fn authenticate(
    State(authenticator): State<Authenticator>,
    mut request: Request,
    next: Next,
) -> Result<Response, Response> {
    let result = authenticator.authenticate(request.headers()).await;
    // No later layer can log or forward the password.
    request.headers_mut().remove(AUTHORIZATION);
    match result {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
        }
        Err(rejection) if rejection.is_missing_credentials() && request.method().is_safe() => {}
        Err(rejection) => {
            // The reason is for the log. The client gets the same response for every reason.
            eprintln!("{} {}: {}", request.method(), request.uri(), rejection.reason().as_str());
            return Err(rejection.into());
        }
    }
    Ok(next.run(request).await)
}

async fn read(identity: Option<Extension<Identity>>) -> String {
    match identity {
        Some(Extension(identity)) => format!("hello, {}\n", identity.user_name()),
        None => "hello, anonymous client\n".to_owned(),
    }
}

async fn write(Extension(identity): Extension<Identity>) -> String {
    format!("{} wrote\n", identity.user_name())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = SyncAdapter::new(MemoryStore::new());
    let manager = AsyncCredentialManager::new("123456789012".parse()?, store);
    let service: ServiceName = "codecommit.amazonaws.com".parse()?;
    let anika = "anika".parse()?;
    manager.register_user(&anika).await?;
    let issued = manager.create(&anika, &service).await?;
    println!("service user name  {}", issued.service_user_name());
    println!("password           {}", issued.secret().expose());

    let authenticator = AsyncHttpAuthenticator::new(&manager, service)?;
    let router = Router::new()
        .route("/", get(read).post(write))
        .layer(middleware::from_fn_with_state(authenticator, authenticate));
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}
