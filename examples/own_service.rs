//! HTTP Basic logins at `/`; JSON management, for administrators, at `/users` and `/credentials`.
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Router, response::Response, routing};
use serde_json::json;
use service_specific_credentials::{
    AsyncCredentialManager, CredentialId, Error, Policy, ServiceName, UserName,
    http::AsyncHttpAuthenticator, query::Dialect, query::ErrorResponse, store::AsyncStore,
    store::RedbStore,
};
use std::{alloc::System, env, error::Error as StdError};
use zeroizing_alloc::ZeroAlloc;
#[global_allocator] // zeroizes freed buffers: JSON and HTTP leave copies of passwords in them
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);
type Shared<S> = State<(AsyncCredentialManager<S>, AsyncHttpAuthenticator<S>)>;
type Login = Result<String, Response>;
type Reply = Result<String, (StatusCode, String)>;
async fn login<S: AsyncStore>(State((_, at)): Shared<S>, headers: HeaderMap) -> Login {
    Ok(at.authenticate(&headers).await?.user_name().to_string())
}
async fn create<S: AsyncStore>(State((iam, at)): Shared<S>, Path(user): Path<UserName>) -> Reply {
    iam.ensure_user(&user).await.map_err(|error| failed(&error))?;
    let created = iam.create(&user, at.service()).await;
    if let Err(Error::OutcomeUnknown { credential: Some(unknown), .. }) = &created {
        let _ = iam.resolve(unknown).await; // deletes a credential whose password is lost
    }
    let (credential, secret) = created.map_err(|error| failed(&error))?.into_parts();
    Ok(json!({ "credential": credential, "password": secret.expose() }).to_string())
}
async fn list<S: AsyncStore>(State((iam, _)): Shared<S>, Path(user): Path<UserName>) -> Reply {
    Ok(json!(iam.list(&user).await.map_err(|error| failed(&error))?).to_string())
}
async fn disable<S: AsyncStore>(State((iam, _)): Shared<S>, Path(id): Path<CredentialId>) -> Reply {
    Ok(json!(iam.disable(&id).await.map_err(|error| failed(&error))?).to_string())
}
fn failed(error: &Error) -> (StatusCode, String) {
    let status = ErrorResponse::from_error(error, Dialect::Documented).status();
    let status = if status.is_server_error() { StatusCode::SERVICE_UNAVAILABLE } else { status };
    (status, json!({ "error": error.to_string() }).to_string())
}
pub(crate) fn router<S: AsyncStore + 'static>(store: S) -> Result<Router, Box<dyn StdError>> {
    let git: ServiceName = "git.example.com".parse()?;
    let policy = Policy::builder().without_services().password_service(git.clone()).build()?;
    let iam = AsyncCredentialManager::builder("000000000001".parse()?, store);
    let iam = iam.policy(policy).build_async();
    let authenticator = AsyncHttpAuthenticator::new(&iam, git)?;
    let router = Router::new()
        .route("/", routing::get(login))
        .route("/users/{user}", routing::get(list).post(create))
        .route("/credentials/{id}/disable", routing::post(disable));
    Ok(router.with_state((iam, authenticator)))
}
#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let path = env::args().nth(1).unwrap_or("credentials.redb".into());
    let address = env::args().nth(2).unwrap_or("127.0.0.1:8000".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router(RedbStore::create(path)?.into_async())?).await?)
}
