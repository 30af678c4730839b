//! An HTTP proxy in front of DynamoDB Local. It records each request and its response. It simulates
//! failures of the managed service.

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

/// A request, and the response to it.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// `GetItem`, for example.
    pub(crate) operation: String,
    pub(crate) request: Value,
    /// The response of the server, or `Null` if the request was not forwarded.
    pub(crate) response: Value,
}

/// The action of the gateway for a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    Forward,
    /// Responds with this error, and does not forward the request.
    Respond(Response),
    /// Forwards the request, and replaces the response by this error.
    ForwardThenRespond(Response),
    /// Closes the connection, and does not forward the request.
    Close,
    /// Forwards the request, and closes the connection without a response.
    ForwardThenClose,
    /// Forwards the request, and never sends the response.
    ForwardThenHang,
    /// Closes the connection at once. Forwards the request after its
    /// [release](Gateway::release).
    Delay,
    /// Holds the request until its [release](Gateway::release), then performs this action.
    Hold(&'static Action),
    /// Forwards the request, and changes the response.
    Rewrite(fn(&mut Value)),
    /// Forwards this many keys of a batch, and reports the others as unprocessed.
    ForwardKeys(usize),
}

/// An error response of DynamoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    /// The reasons of a cancelled transaction.
    pub(crate) reasons: &'static [&'static str],
}

impl Response {
    pub(crate) const fn new(status: u16, code: &'static str) -> Self {
        Self { status, code, reasons: &[] }
    }

    pub(crate) const fn cancelled(reasons: &'static [&'static str]) -> Self {
        Self { status: 400, code: "TransactionCanceledException", reasons }
    }

    fn head(status: u16) -> Vec<String> {
        vec![
            format!("HTTP/1.1 {status} Simulated"),
            "content-type: application/x-amz-json-1.0".to_owned(),
        ]
    }

    fn message(&self) -> Message {
        // Without a code, simulates the response of an intermediary.
        if self.code.is_empty() {
            return Message { head: Self::head(self.status), body: b"<h1>Bad request</h1>".into() };
        }
        let mut body = serde_json::json!({
            "__type": format!("com.amazonaws.dynamodb.v20120810#{}", self.code),
            "message": "simulated by the gateway",
        });
        if !self.reasons.is_empty() {
            let reason = |code: &&str| serde_json::json!({ "Code": code });
            body["CancellationReasons"] = self.reasons.iter().map(reason).collect();
        }
        Message { head: Self::head(self.status), body: serde_json::to_vec(&body).unwrap() }
    }
}

type Decide = Box<dyn FnMut(&str, &Value) -> Action + Send>;

#[derive(Default)]
struct State {
    exchanges: Vec<Exchange>,
    /// The number of exchanges that [`Gateway::take`] has removed.
    taken: usize,
    /// The number of delayed requests that the server has received and responded to.
    delayed_responses: usize,
    decide: Option<Decide>,
}

/// A running proxy. Dropping it stops the proxy.
pub(crate) struct Gateway {
    port: u16,
    state: Arc<Mutex<State>>,
    released: Arc<Semaphore>,
    listening: JoinHandle<()>,
}

impl Gateway {
    /// Starts a gateway in front of the server at the port `upstream`.
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let released = Arc::new(Semaphore::new(0));
        let (shared, release) = (Arc::clone(&state), Arc::clone(&released));
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, upstream, Arc::clone(&shared), Arc::clone(&release)));
            }
        });
        Self { port, state, released, listening }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Chooses the action for each request by its operation and content.
    pub(crate) fn decide(&self, decide: impl FnMut(&str, &Value) -> Action + Send + 'static) {
        self.state().decide = Some(Box::new(decide));
    }

    /// Performs these actions for the next requests of an operation, in order. Forwards all others.
    pub(crate) fn inject(&self, operation: &'static str, actions: impl Into<Vec<Action>>) {
        let mut actions = actions.into().into_iter();
        self.decide(move |requested, _| {
            if requested == operation {
                actions.next().unwrap_or(Action::Forward)
            } else {
                Action::Forward
            }
        });
    }

    pub(crate) fn forward_all(&self) {
        self.state().decide = None;
    }

    /// Removes and returns the exchanges since the last call.
    pub(crate) fn take(&self) -> Vec<Exchange> {
        let mut state = self.state();
        state.taken += state.exchanges.len();
        std::mem::take(&mut state.exchanges)
    }

    /// Removes the exchanges since the last call, and returns their operations.
    pub(crate) fn operations(&self) -> Vec<String> {
        self.take().into_iter().map(|exchange| exchange.operation).collect()
    }

    /// The number of requests of an operation since the last call of [`take`](Self::take).
    pub(crate) fn count(&self, operation: &str) -> usize {
        let state = self.state();
        state.exchanges.iter().filter(|exchange| exchange.operation == operation).count()
    }

    /// The number of these requests to which the server has responded.
    pub(crate) fn responses(&self, operation: &str) -> usize {
        let state = self.state();
        let has_response = |exchange: &&Exchange| !exchange.response.is_null();
        let sent = state.exchanges.iter().filter(|exchange| exchange.operation == operation);
        sent.filter(has_response).count()
    }

    /// The number of delayed requests that the server has received and responded to.
    pub(crate) fn delayed_responses(&self) -> usize {
        self.state().delayed_responses
    }

    /// Releases one held or delayed request.
    pub(crate) fn release(&self) {
        self.released.add_permits(1);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// An HTTP/1.1 message: the lines of its head, and its body.
struct Message {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Message {
    /// Reads a message. Returns `None` at the end of the connection.
    async fn read(from: &mut BufReader<impl AsyncRead + Unpin>) -> Option<Self> {
        let mut head = Vec::new();
        loop {
            let line = line(from).await?;
            if line.is_empty() {
                break;
            }
            head.push(line);
        }
        let mut message = Self { head, body: Vec::new() };
        if let Some(length) = message.header("content-length") {
            message.body = vec![0; length.parse().unwrap()];
            from.read_exact(&mut message.body).await.ok()?;
        } else if message.header("transfer-encoding").is_some() {
            loop {
                let size = usize::from_str_radix(&line(from).await?, 16).unwrap();
                let mut chunk = vec![0; size];
                from.read_exact(&mut chunk).await.ok()?;
                line(from).await?;
                message.body.extend(chunk);
                if size == 0 {
                    break;
                }
            }
        }
        Some(message)
    }

    fn header(&self, wanted: &str) -> Option<&str> {
        self.head.iter().skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then_some(value.trim())
        })
    }

    /// The encoded message, with its `content-length`.
    fn encode(&self) -> Vec<u8> {
        let framing = ["content-length", "transfer-encoding"];
        let is_framing = |line: &&String| {
            let name = line.split(':').next().unwrap_or_default();
            framing.iter().any(|framing| name.eq_ignore_ascii_case(framing))
        };
        let mut bytes = Vec::new();
        for line in self.head.iter().filter(|line| !is_framing(line)) {
            bytes.extend(line.as_bytes());
            bytes.extend(b"\r\n");
        }
        bytes.extend(format!("content-length: {}\r\n\r\n", self.body.len()).as_bytes());
        bytes.extend(&self.body);
        bytes
    }
}

async fn line(from: &mut BufReader<impl AsyncRead + Unpin>) -> Option<String> {
    let mut line = String::new();
    let size = from.read_line(&mut line).await.ok()?;
    (size > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Serves one connection.
async fn serve(
    client: TcpStream,
    upstream: u16,
    state: Arc<Mutex<State>>,
    released: Arc<Semaphore>,
) {
    client.set_nodelay(true).unwrap();
    let mut client = BufReader::new(client);
    let mut server = None;
    while let Some(request) = Message::read(&mut client).await {
        let operation = request.header("x-amz-target").unwrap_or_default();
        let operation = operation.rsplit('.').next().unwrap_or_default().to_owned();
        let content: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let (index, mut action) = {
            let mut state = state.lock().unwrap();
            let decide = state.decide.as_mut();
            let action = decide.map_or(Action::Forward, |decide| decide(&operation, &content));
            let response = Value::Null;
            state.exchanges.push(Exchange { operation, request: content, response });
            (state.taken + state.exchanges.len() - 1, action)
        };
        if let Action::Hold(then) = action {
            released.acquire().await.unwrap().forget();
            action = *then;
        }
        let response = match action {
            Action::Respond(response) => response.message(),
            Action::Close => return,
            Action::Delay => {
                drop(client);
                released.acquire().await.unwrap().forget();
                if forward(&request, upstream, &mut server).await.is_some() {
                    state.lock().unwrap().delayed_responses += 1;
                }
                return;
            }
            Action::ForwardKeys(limit) => forward_keys(request, limit, upstream, &mut server).await,
            _ => {
                let Some(message) = forward(&request, upstream, &mut server).await else { return };
                let mut state = state.lock().unwrap();
                let index = index.checked_sub(state.taken);
                if let Some(exchange) = index.and_then(|index| state.exchanges.get_mut(index)) {
                    exchange.response = serde_json::from_slice(&message.body).unwrap_or_default();
                }
                message
            }
        };
        let response = match action {
            Action::ForwardThenRespond(response) => response.message(),
            Action::ForwardThenClose => return,
            Action::ForwardThenHang => std::future::pending().await,
            Action::Rewrite(rewrite) => {
                let mut content = serde_json::from_slice(&response.body).unwrap();
                rewrite(&mut content);
                Message { head: Response::head(200), body: serde_json::to_vec(&content).unwrap() }
            }
            _ => response,
        };
        if client.get_mut().write_all(&response.encode()).await.is_err() {
            return;
        }
    }
}

/// Forwards a batch with at most `limit` of its keys, and reports the others as unprocessed.
async fn forward_keys(
    mut request: Message,
    limit: usize,
    upstream: u16,
    server: &mut Option<BufReader<TcpStream>>,
) -> Message {
    let mut content: Value = serde_json::from_slice(&request.body).unwrap();
    let mut tables = content["RequestItems"].as_object().unwrap().clone();
    for table in tables.values_mut() {
        let keys = table["Keys"].as_array_mut().unwrap();
        let left = keys.split_off(limit.min(keys.len()));
        let forwarded = std::mem::replace(keys, left);
        content["RequestItems"].as_object_mut().unwrap().values_mut().next().unwrap()["Keys"] =
            Value::Array(forwarded);
    }
    tables.retain(|_, table| !table["Keys"].as_array().unwrap().is_empty());
    let mut response = Message { head: Response::head(200), body: b"{}".to_vec() };
    if limit > 0 {
        request.body = serde_json::to_vec(&content).unwrap();
        response = forward(&request, upstream, server).await.unwrap();
    }
    let mut content: Value = serde_json::from_slice(&response.body).unwrap();
    content["UnprocessedKeys"] = Value::Object(tables);
    Message { head: Response::head(200), body: serde_json::to_vec(&content).unwrap() }
}

/// Sends a request to the server, over the same connection as the previous one.
async fn forward(
    request: &Message,
    upstream: u16,
    server: &mut Option<BufReader<TcpStream>>,
) -> Option<Message> {
    let server = if let Some(server) = server {
        server
    } else {
        let stream = TcpStream::connect(("127.0.0.1", upstream)).await.ok()?;
        stream.set_nodelay(true).ok()?;
        server.insert(BufReader::new(stream))
    };
    server.get_mut().write_all(&request.encode()).await.ok()?;
    Message::read(server).await
}
