//! A proxy in front of a PostgreSQL server that records statements and cuts connections.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a helper of tests may fail as a test does"
)]

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
    task::JoinHandle,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// Forwards connections until it is dropped.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
    listening: JoinHandle<()>,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is an instruction of its own")]
struct State {
    /// The number of connections.
    connections: usize,
    /// The number of connections, in the order of arrival, that are cut at the client's next
    /// message.
    lost: usize,
    /// The number of requests, without those that begin and end a transaction.
    round_trips: usize,
    statements: Vec<String>,
    /// The statements that began and ended transactions.
    transactions: Vec<String>,
    /// The number of bytes in one direction after which a connection is cut.
    cut: Option<(Direction, usize)>,
    /// Whether responses between `BEGIN` and `COMMIT` are held back, and whether they are now.
    holds_transactions: bool,
    held: bool,
    /// No response is forwarded.
    silent: bool,
    /// New connections are closed.
    closed: bool,
}

impl Proxy {
    /// A proxy in front of the server at `upstream`.
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = {
                    let mut state = shared.lock().unwrap();
                    if state.closed {
                        continue;
                    }
                    state.connections += 1;
                    state.connections
                };
                tokio::spawn(forward(client, upstream, number, Arc::clone(&shared)));
            }
        });
        Self { port, state, listening }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.state().connections
    }

    /// Resets the counts, and returns the number of round trips and the statements that were
    /// prepared or sent.
    pub(crate) fn take(&self) -> (usize, Vec<String>) {
        let mut state = self.state();
        let statements = std::mem::take(&mut state.statements);
        (std::mem::take(&mut state.round_trips), statements)
    }

    /// The statements since the last call that began and ended transactions.
    pub(crate) fn take_transactions(&self) -> Vec<String> {
        std::mem::take(&mut self.state().transactions)
    }

    /// Holds back all responses between the `BEGIN` and the `COMMIT` of a client.
    pub(crate) fn hold_transactions(&self) {
        self.state().holds_transactions = true;
    }

    /// Cuts the next connection that transfers more than `bytes` in this direction.
    pub(crate) fn cut_after(&self, direction: Direction, bytes: usize) {
        self.state().cut = Some((direction, bytes));
    }

    /// Whether a connection was cut since. If not, cancels the cut.
    pub(crate) fn was_cut(&self) -> bool {
        self.state().cut.take().is_none()
    }

    /// Cuts each existing connection at the client's next message.
    pub(crate) fn cut_those_there(&self) {
        let mut state = self.state();
        state.lost = state.connections;
    }

    pub(crate) fn be_silent(&self) {
        self.state().silent = true;
    }

    pub(crate) fn close(&self) {
        self.state().closed = true;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Forwards one connection until one side closes it or it is cut.
async fn forward(client: TcpStream, upstream: u16, number: usize, state: Arc<Mutex<State>>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let ended = Arc::new(Notify::new());
    let pumps = [
        pump(Direction::ToServer, from_client, to_server, number, &state, &ended),
        pump(Direction::ToClient, from_server, to_client, number, &state, &ended),
    ];
    ended.notified().await;
    pumps.iter().for_each(JoinHandle::abort);
}

fn pump(
    direction: Direction,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: usize,
    state: &Arc<Mutex<State>>,
    ended: &Arc<Notify>,
) -> JoinHandle<()> {
    let (state, ended) = (Arc::clone(state), Arc::clone(ended));
    tokio::spawn(async move {
        let mut parser = MessageParser { buffer: Vec::new(), started: false };
        let mut chunk = vec![0; 1 << 16];
        while let Ok(size @ 1..) = from.read(&mut chunk).await {
            while direction == Direction::ToClient && state.lock().unwrap().held {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let (allowed, cut) = {
                let mut state = state.lock().unwrap();
                if direction == Direction::ToServer {
                    if number <= state.lost {
                        break;
                    }
                    parser.parse(&chunk[..size], &mut state);
                } else if state.silent {
                    continue;
                }
                match &mut state.cut {
                    Some((what, left)) if *what == direction && size > *left => {
                        let allowed = *left;
                        state.cut = None;
                        (allowed, true)
                    }
                    Some((what, left)) if *what == direction => {
                        *left -= size;
                        (size, false)
                    }
                    _ => (size, false),
                }
            };
            if to.write_all(&chunk[..allowed]).await.is_err() || cut {
                break;
            }
        }
        ended.notify_one();
    })
}

/// Parses the messages of a client.
struct MessageParser {
    buffer: Vec<u8>,
    started: bool,
}

impl MessageParser {
    fn parse(&mut self, bytes: &[u8], state: &mut State) {
        self.buffer.extend(bytes);
        loop {
            // The first message has no tag.
            let tag = usize::from(self.started);
            let Some(length) = self.buffer.get(tag..tag + 4) else { return };
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
            if self.buffer.len() < tag + length {
                return;
            }
            let message: Vec<u8> = self.buffer.drain(..tag + length).collect();
            if !std::mem::replace(&mut self.started, true) {
                continue;
            }
            let text = |bytes: &[u8]| {
                let end = bytes.iter().position(|byte| *byte == 0).unwrap();
                String::from_utf8(bytes[..end].to_vec()).unwrap()
            };
            match message[0] {
                // Parse: a name and the statement.
                b'P' => {
                    let name = text(&message[5..]);
                    state.statements.push(text(&message[5 + name.len() + 1..]));
                }
                b'Q' => {
                    let statement = text(&message[5..]);
                    if statement.starts_with("BEGIN") || statement == "COMMIT" {
                        state.held = state.holds_transactions && statement != "COMMIT";
                        state.transactions.push(statement);
                    } else {
                        state.round_trips += 1;
                        state.statements.push(statement);
                    }
                }
                // Sync: the client waits until the server is ready again.
                b'S' => state.round_trips += 1,
                _ => {}
            }
        }
    }
}
