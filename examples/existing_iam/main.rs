//! An IAM emulator with users, access keys and policies of its own, into which the five operations
//! on service-specific credentials are plugged.
//!
//! ```console
//! $ cargo run --example existing_iam
//! listening on http://127.0.0.1:4567
//! ```
//!
//! `existing` is what the emulator had before. [`Emulator::credentials`] is the plug: it takes the
//! parameters that the emulator has parsed, has the emulator's policies decide, and executes the
//! request. [`Emulator::create_user`] and [`Emulator::delete_user`] keep the users of both sides
//! the same.
//!
//! Two users are there at the start: `admin` (access key `AKIAADMIN`) may do everything; `anika`
//! (`AKIAANIKA`, path `/team/`) may manage her own credentials for CodeCommit, if they expire
//! within 90 days. Signatures are not verified.

use std::{collections::HashMap, env, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Response},
    routing::post,
};
use service_specific_credentials::{
    CredentialManager, Error, InvalidUserName, MemoryStore, UserName,
    query::{CREDENTIAL_ACTIONS, Dialect, ErrorResponse, Request, RequestId, SERVICE_NAME_KEY},
};
use tokio::{net::TcpListener, sync::Mutex};

mod existing;

use existing::{Users, denied, unknown_action};

/// The parameters of a request, by name.
type Parameters = HashMap<String, String>;

struct Emulator {
    users: Mutex<Users>,
    manager: CredentialManager<MemoryStore>,
}

impl Emulator {
    /// Finds out who is calling, and routes the request by its action.
    async fn dispatch(
        &self,
        headers: &HeaderMap,
        parameters: &Parameters,
        id: RequestId,
    ) -> Result<Response<Body>, ErrorResponse> {
        let mut users = self.users.lock().await;
        let caller = users.caller(headers)?.name.clone();
        let action = parameters.get("Action").map_or("", String::as_str);
        if CREDENTIAL_ACTIONS.contains(&action) {
            return self.credentials(&users, &caller, parameters, id);
        }
        if !users.may(&caller, &format!("iam:{action}"), "*", &HashMap::new()) {
            return Err(denied(&caller, action));
        }
        let user_name = || {
            let name = parameters.get("UserName").map_or("", String::as_str);
            name.parse().map_err(|invalid: InvalidUserName| failed(invalid))
        };
        let result = match action {
            "CreateUser" => self.create_user(&mut users, user_name()?)?,
            "DeleteUser" => self.delete_user(&mut users, &user_name()?)?,
            _ => return Err(unknown_action(action)),
        };
        Ok(existing::done(action, &result, id))
    }

    /// Executes one of the five operations, if the policy of the caller allows it.
    fn credentials(
        &self,
        users: &Users,
        caller: &UserName,
        parameters: &Parameters,
        id: RequestId,
    ) -> Result<Response<Body>, ErrorResponse> {
        let request = Request::from_pairs(parameters)?;
        let mut keys: HashMap<_, _> = request.condition_keys().collect();
        let resource = if request.is_about_all_users() {
            request.resource_arn(self.manager.account(), None)
        } else {
            // The request has neither the path of the user nor the spelling of the name here.
            let user = users.find(request.user_name().unwrap_or(caller))?;
            // It names the service of a credential only to create one.
            if let Some(id) = request.credential_id() {
                let credentials = self.manager.list(&user.name).map_err(failed)?;
                let credential = credentials.iter().find(|credential| credential.id() == id);
                keys.extend(credential.map(|it| (SERVICE_NAME_KEY, it.service().to_string())));
            }
            Some(user.arn())
        };
        match resource {
            Some(resource) if users.may(caller, request.iam_action(), &resource, &keys) => {
                let response =
                    request.execute(&self.manager, Some(caller), Dialect::Documented, id);
                Ok(response.map(Body::new))
            }
            _ => Err(denied(caller, request.action())),
        }
    }

    /// Creates a user here and with the manager, which knows whether the name is taken.
    fn create_user(&self, users: &mut Users, name: UserName) -> Result<String, ErrorResponse> {
        self.manager.register_user(&name).map_err(failed)?;
        Ok(users.insert(name).created())
    }

    /// Deletes a user here and with the manager, which knows whether it has credentials.
    fn delete_user(&self, users: &mut Users, name: &UserName) -> Result<String, ErrorResponse> {
        self.manager.remove_user(name).map_err(failed)?;
        users.remove(name);
        Ok(String::new())
    }
}

fn failed(error: impl Into<Error>) -> ErrorResponse {
    ErrorResponse::from_error(&error.into(), Dialect::Documented)
}

async fn api(
    State(emulator): State<Arc<Emulator>>,
    headers: HeaderMap,
    body: String,
) -> Response<Body> {
    let parameters: Parameters = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let id = RequestId::random();
    let response = emulator.dispatch(&headers, &parameters, id).await;
    response.unwrap_or_else(|error| error.response(id).map(Body::new))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manager = CredentialManager::new(existing::ACCOUNT.parse()?, MemoryStore::new());
    let users = Users::at_the_start()?;
    // Users that were there before the manager was.
    for user in users.iter() {
        manager.ensure_user(&user.name)?;
    }
    let emulator = Arc::new(Emulator { users: Mutex::new(users), manager });
    let router = Router::new().route("/", post(api)).with_state(emulator);
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4567".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}
