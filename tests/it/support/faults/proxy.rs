//! A relay that delays, swallows or resets on demand.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::relay::Relay;

/// Relays connections to a port of this host, until it is dropped.
pub struct Proxy {
    relay: Relay,
    state: Arc<watch::Sender<State>>,
}

/// What the relay does with the bytes that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Relay,
    /// Delays the server's answers by this time.
    Delay(Duration),
    /// Swallows everything. Connections stay open and new ones are accepted; a connection that lost bytes stays dead.
    BlackHole,
    /// Closes a connection on which no command came for this time.
    IdleTimeout(Duration),
    /// Resets a connection when a command of a layer arrives. The handshake and probes pass.
    Reset,
}

#[derive(Clone, Copy)]
struct State {
    mode: Mode,
    /// Connections of an earlier generation swallow everything.
    generation: u64,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let state = Arc::new(watch::Sender::new(State {
            mode: Mode::Relay,
            generation: 0,
        }));
        let relay = Relay::start(to, {
            let state = Arc::clone(&state);
            move |client, server| connect(client, server, state.subscribe())
        })
        .await;
        Self { relay, state }
    }

    pub fn url(&self) -> String {
        self.relay.url()
    }

    /// Sets what it does from now on, also for open connections.
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// New connections lead to another port; open ones stay where they are.
    pub fn lead_to(&self, port: u16) {
        self.relay.lead_to(port);
    }

    /// Swallows everything on the connections that are open now. They stay open. New ones are relayed.
    pub fn swallow_open_connections(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }
}

async fn connect(mut client: TcpStream, mut server: TcpStream, state: watch::Receiver<State>) {
    // With Nagle's algorithm, the relay would add delays of its own.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (commands, to_client) = client.split();
    let (answers, to_server) = server.split();
    let end = tokio::select! {
        end = pump(commands, to_server, Direction::Commands, state.clone()) => end,
        end = pump(answers, to_client, Direction::Answers, state) => end,
    };
    if end == End::Reset {
        // Closing a socket that does not linger sends a reset.
        let _ = client.set_zero_linger();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Commands,
    Answers,
}

#[derive(PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    direction: Direction,
    state: watch::Receiver<State>,
) -> End {
    let generation = state.borrow().generation;
    let mut dead = false;
    let mut held: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let idle = match state.borrow().mode {
            Mode::IdleTimeout(idle) if direction == Direction::Commands => Some(idle),
            _ => None,
        };
        let due = held.front().map(|(due, _)| *due);
        let count = tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(count @ 1..) => count,
                _ => return End::Closed,
            },
            () = sleep(idle.unwrap_or_default()), if idle.is_some() => return End::Closed,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                let (_, bytes) = held.pop_front().unwrap_or_else(|| unreachable!("something is due"));
                if to.write_all(&bytes).await.is_err() {
                    return End::Closed;
                }
                continue;
            }
        };
        let (chunk, now) = (&buffer[..count], *state.borrow());
        dead |= now.generation != generation || now.mode == Mode::BlackHole;
        let delay = match now.mode {
            _ if dead => continue,
            Mode::Reset if direction == Direction::Commands && is_request(chunk) => {
                return End::Reset;
            }
            Mode::Delay(delay) if direction == Direction::Answers => delay,
            _ => Duration::ZERO,
        };
        if delay.is_zero() && held.is_empty() {
            if to.write_all(chunk).await.is_err() {
                return End::Closed;
            }
        } else {
            held.push_back((Instant::now() + delay, chunk.to_vec()));
        }
    }
}

/// Whether these bytes contain a command that only a layer sends.
fn is_request(bytes: &[u8]) -> bool {
    [b"EVAL".as_slice(), b"GET", b"SET"]
        .iter()
        .any(|word| bytes.windows(word.len()).any(|window| window == *word))
}
