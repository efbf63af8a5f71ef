//! A relay in front of a server that can be told to misbehave.

use std::{collections::VecDeque, net::Ipv4Addr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

/// Relays connections to a port of this host, until it is dropped.
pub struct Proxy {
    port: u16,
    state: Arc<watch::Sender<State>>,
    task: JoinHandle<()>,
}

/// What the relay does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Relay,
    /// Holds what the server says back for so long.
    Delay(Duration),
    /// Swallows everything; connections stay open and new ones are accepted. One that lost something is dead for good.
    BlackHole,
    /// Closes a connection on which no command came for so long.
    IdleTimeout(Duration),
    /// Resets a connection as soon as a command arrives that is not of the handshake or a probe.
    Reset,
}

#[derive(Clone, Copy)]
struct State {
    mode: Mode,
    /// Connections of an earlier generation swallow what they get.
    generation: u64,
    /// The port that new connections lead to.
    to: u16,
}

impl Proxy {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(watch::Sender::new(State {
            mode: Mode::Relay,
            generation: 0,
            to,
        }));
        let task = tokio::spawn({
            let state = Arc::clone(&state);
            async move {
                while let Ok((near, _)) = listener.accept().await {
                    tokio::spawn(connect(near, state.subscribe()));
                }
            }
        });
        Self { port, state, task }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on, for old and new connections.
    pub fn set(&self, mode: Mode) {
        self.state.send_modify(|state| state.mode = mode);
    }

    /// New connections lead to another port; open ones stay where they are.
    pub fn lead_to(&self, port: u16) {
        self.state.send_modify(|state| state.to = port);
    }

    /// The connections that are open now stay open, and nothing comes out of them again. New ones are relayed.
    pub fn swallow_open_connections(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(mut near: TcpStream, state: watch::Receiver<State>) {
    let to = state.borrow().to;
    let Ok(mut far) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else {
        return;
    };
    // Small writes that wait for each other would be a fault of their own.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = far.split();
    let end = tokio::select! {
        end = pump(near_read, far_write, Direction::Commands, state.clone()) => end,
        end = pump(far_read, near_write, Direction::Answers, state) => end,
    };
    if end == End::Reset {
        // Closing a socket that does not linger sends a reset.
        let _ = near.set_zero_linger();
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

/// Whether a command is among these bytes that only a layer sends.
fn is_request(bytes: &[u8]) -> bool {
    [b"EVAL".as_slice(), b"GET", b"SET"]
        .iter()
        .any(|word| bytes.windows(word.len()).any(|window| window == *word))
}
