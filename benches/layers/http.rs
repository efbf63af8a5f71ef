//! Near hits over HTTP: a hyper server with the cache beside the same server without it, under the same load.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime,
};
use tower::Layer;
use tower_fred::{CacheLayer, Redis};

use crate::{
    cache::sized,
    harness::{Handler, median},
};

/// Prints what each server answers in a second. Server and clients have one thread each; the servers take turns.
pub(crate) fn compare(redis: &Redis) {
    let cache = CacheLayer::new(redis.clone()).near(1 << 20);
    let servers = [serve(sized(1 << 10)), serve(cache.layer(sized(1 << 10)))];
    // After a few requests the near tier has the answer.
    for _ in 0..10 {
        load(servers[1], 1, Duration::from_millis(20));
    }
    let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for round in 0..=ROUNDS {
        let mut rate = [0.0; 2];
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for server in order {
            rate[server] = load(servers[server], CONNECTIONS, ROUND);
        }
        // The first round warms up.
        if round > 0 {
            rates
                .iter_mut()
                .zip(rate)
                .for_each(|(all, one)| all.push(one));
            ratios.push(rate[1] / rate[0]);
        }
    }
    let [bare, near] = rates.map(median);
    println!(
        "over HTTP, {CONNECTIONS} connections, one thread for the server and one for its clients"
    );
    println!("  {:<36} {:>10} {:>19}   target", "", "requests/s", "ratio");
    println!("  {:<36} {bare:>10.0}", "http, bare handler");
    let ratio = format!("{:.2} x", median(ratios));
    let name = "http, cache, near hit";
    println!("  {name:<36} {near:>10.0} {ratio:>19}   >= 0.9 x\n");
}

/// Serves on a free port until the process ends.
fn serve<S, B>(service: S) -> SocketAddr
where
    S: Handler<Incoming, B>,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::from_std(listener).expect("a listener");
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("a socket");
                let service = TowerToHyperService::new(service.clone());
                let io = TokioIo::new(stream);
                tokio::spawn(http1::Builder::new().serve_connection(io, service));
            }
        });
    });
    address
}

/// Answers per second to clients that send the next request as soon as they have an answer.
fn load(server: SocketAddr, connections: usize, time: Duration) -> f64 {
    let clients = thread::spawn(move || {
        runtime().block_on(async {
            let started = Instant::now();
            let clients = (0..connections).map(|_| ask(server, started + time));
            let answers: usize = join_all(clients).await.into_iter().sum();
            answers as f64 / started.elapsed().as_secs_f64()
        })
    });
    clients.join().expect("no panic")
}

async fn ask(server: SocketAddr, until: Instant) -> usize {
    let mut stream = TcpStream::connect(server).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    let mut answers = 0;
    let mut buffer = vec![0; 16 << 10];
    while Instant::now() < until {
        stream.write_all(REQUEST).await.expect("a request");
        let mut length = 0;
        while !is_whole(&buffer[..length]) {
            let read = stream.read(&mut buffer[length..]).await.expect("an answer");
            assert_ne!(read, 0, "the server is gone");
            length += read;
        }
        answers += 1;
    }
    answers
}

/// Whether the head and the whole body are there.
fn is_whole(answer: &[u8]) -> bool {
    let after = |name: &[u8]| {
        let at = answer.windows(name.len()).position(|here| here == name)?;
        Some(at + name.len())
    };
    let (Some(body), Some(length)) = (after(b"\r\n\r\n"), after(b"content-length: ")) else {
        return false;
    };
    let digits = answer[length..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    answer.len() >= body + length
}

fn runtime() -> runtime::Runtime {
    let mut builder = runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

const REQUEST: &[u8] = b"GET /page?of=bench HTTP/1.1\r\nhost: localhost\r\n\
    user-agent: a client of some name/1.0\r\naccept: */*\r\naccept-encoding: gzip, br\r\n\r\n";
const CONNECTIONS: usize = 32;
const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(200);
