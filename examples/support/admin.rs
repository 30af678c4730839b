//! The IAM API of an administrative address: the actions of the crate, in one account.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::Response,
    routing::any,
};
use service_specific_credentials::query::{self, RequestId};

use crate::iam::{self, Iam};

impl Iam {
    /// The API on `/`. Other paths are rejected in its own form.
    pub(crate) fn router(self) -> Router {
        // Every method, so that `query` rejects the others.
        Router::new().route("/", any(serve)).fallback(iam::not_found).with_state(Arc::new(self))
    }
}

async fn serve(State(iam): State<Arc<Iam>>, request: Request) -> Response {
    let request = match iam::read_request(request).await {
        Ok(request) => request,
        Err(error) => return iam::reject(&error),
    };
    let Iam { manager, caller, dialect } = &*iam;
    let id = RequestId::random();
    query::handle_async(manager, &request, caller.as_ref(), *dialect, id).await.map(Body::new)
}
