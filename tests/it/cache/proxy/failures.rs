use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use super::{Proxy, origin, talking};
use crate::support::Server;

#[test]
fn each_failure_of_an_origin_has_an_answer() {
    let server = Server::start();
    let (address, _) = origin(|head| {
        let path = head.split(' ').nth(1)?;
        Some(match path {
            "/garbage" => "no HTTP at all\r\n\r\n".to_owned(),
            "/half-a-head" => "HTTP/1.1 200 OK\r\nContent-Le".to_owned(),
            "/two-lengths" => {
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!".to_owned()
            }
            "/silent" => String::new(),
            "/closes" => return None,
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_owned(),
        })
    });
    let proxy = Proxy::patient(&server, &address, 1);
    let mut client = proxy.connect();
    for (path, status) in [
        ("/garbage", "502"),
        ("/two-lengths", "502"),
        ("/closes", "502"),
        ("/half-a-head", "504"),
        ("/silent", "504"),
    ] {
        let began = Instant::now();
        let (head, _) = client.get(path, "");
        assert!(
            head.starts_with(&format!("http/1.1 {status}")),
            "{path} {head}"
        );
        assert!(began.elapsed() < Duration::from_secs(10), "{path}");
        // On the same connection.
        assert_eq!(client.get("/page", "").1, "ok", "after {path}");
    }
}

#[test]
fn an_origin_out_of_reach_leaves_what_is_stored() {
    let server = Server::start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let proxy = Proxy::start(&server, &address);
    // Answers twice, then refuses connections.
    let origin = thread::spawn(move || {
        for lifetime in ["max-age=0", "max-age=0, must-revalidate"] {
            let (mut stream, _) = listener.accept().expect("a connection");
            super::read_head(&mut std::io::BufReader::new(&stream));
            let fields = "Connection: close\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\nhello";
            let answer = format!("HTTP/1.1 200 OK\r\nCache-Control: {lifetime}\r\n{fields}");
            stream.write_all(answer.as_bytes()).expect("sent");
        }
    });
    let mut client = proxy.connect();
    assert_eq!(client.get("/stale", "").1, "hello");
    assert_eq!(client.get("/strict", "").1, "hello");
    origin.join().expect("both requests");
    let (head, body) = client.get("/stale", "");
    assert!(
        head.starts_with("http/1.1 200") && body == "hello",
        "{head}"
    );
    for path in ["/strict", "/never-seen"] {
        let (head, _) = client.get(path, "");
        assert!(head.starts_with("http/1.1 502"), "{path} {head}");
    }
    assert_eq!(client.get("/stale", "").1, "hello");
}

#[test]
fn a_body_that_breaks_off_is_seen_to_and_not_stored() {
    let server = Server::start();
    let (close, closed) = mpsc::channel();
    let closed = Mutex::new(closed);
    let (address, calls) = talking(move |head, stream| {
        let framing = match head.split(' ').nth(1) {
            Some("/length") => "Content-Length: 10\r\n\r\nhello",
            _ => "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        };
        let answer = format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{framing}");
        let _ = stream.get_mut().write_all(answer.as_bytes());
        // An HTTP server may drop data that it has not sent yet when the body fails: the client has to have it before.
        let _ = closed.lock().expect("one at a time").recv();
        false
    });
    let proxy = Proxy::start(&server, &address);
    for (path, asked) in [
        ("/length", 1),
        ("/length", 2),
        ("/chunks", 3),
        ("/chunks", 4),
    ] {
        let mut client = proxy.connect();
        client.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n"
        ));
        let mut all = client.until("hello");
        close.send(()).expect("an origin");
        all.push_str(&client.rest());
        assert!(
            all.starts_with("http/1.1 200") && all.contains("hello"),
            "{all}"
        );
        assert!(!all.ends_with("0\r\n\r\n"), "{all}");
        assert_eq!(calls.load(Ordering::SeqCst), asked, "{path}");
    }
}

#[test]
fn connections_that_the_origin_gave_up_are_not_used() {
    let server = Server::start();
    // Says that it keeps the connection, and closes it soon.
    let (address, calls) = talking(|_, stream| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let _ = stream.get_mut().write_all(answer);
        // The client reuses the connection if it is not closed at once: only time makes it close later.
        thread::sleep(Duration::from_millis(20));
        false
    });
    let proxy = Proxy::start(&server, &address);
    let mut client = proxy.connect();
    for count in 1..=10 {
        assert_eq!(client.get("/page", "").1, "ok");
        assert_eq!(calls.load(Ordering::SeqCst), count);
        // Until the connection is closed; the proxy tells nobody when it notices.
        thread::sleep(Duration::from_millis(60));
    }
}

#[test]
fn an_early_answer_to_a_long_request_arrives() {
    let server = Server::start();
    let (address, _) = talking(|_, stream| {
        let answer =
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
        let _ = stream.get_mut().write_all(answer);
        // What is sent meanwhile would reset the connection.
        let _ = std::io::copy(&mut stream.take(1 << 16), &mut std::io::sink());
        false
    });
    let proxy = Proxy::start(&server, &address);
    let mut client = proxy.connect();
    client.send("POST /in HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000000\r\n\r\n");
    client.send(&"x".repeat(1 << 17));
    let (head, body) = client.answer(false);
    assert!(head.starts_with("http/1.1 413") && body == "no", "{head}");
}

#[test]
fn neither_end_is_read_faster_than_the_other_takes() {
    let server = Server::start();
    let written = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&written);
    let (address, _) = talking(move |_, stream| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {LONG}\r\n\r\n"
        );
        let _ = stream.get_mut().write_all(head.as_bytes());
        let piece = vec![b'x'; 1 << 16];
        while counted.load(Ordering::SeqCst) < LONG {
            if stream.get_mut().write_all(&piece).is_err() {
                return false;
            }
            counted.fetch_add(piece.len(), Ordering::SeqCst);
        }
        true
    });
    let proxy = Proxy::start(&server, &address);
    let mut client = proxy.connect();
    client.send("GET /long HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    // Until nothing is written for half a second: that nothing more comes is seen only by waiting.
    let mut before = usize::MAX;
    while before != written.load(Ordering::SeqCst) {
        before = written.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(500));
    }
    assert!(
        before < LONG / 2,
        "{before} bytes are somewhere on their way"
    );
    let (_, body) = client.answer(false);
    assert_eq!(body.len(), LONG);
    assert!(body.bytes().all(|byte| byte == b'x'));
}

/// More than sockets hold.
const LONG: usize = 1 << 27;
