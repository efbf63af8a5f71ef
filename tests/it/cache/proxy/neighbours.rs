use std::io::{BufReader, Read, Write};

use super::{
    Proxy, origin, read_head,
    talk::{Client, talking},
};
use crate::support::Server;

/// An answer that is fresh for a minute and says what the origin saw.
fn echo(head: &str, fields: &str) -> String {
    let length = head.len();
    format!(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{fields}Content-Length: {length}\r\n\r\n{head}"
    )
}

/// The program took out every field that `Connection` named. Without `Content-Length` a request with content was answered
/// from the cache, and its content reached the origin; without `Cache-Control` what must not be stored was stored.
#[test]
fn connection_options_do_not_take_out_what_is_for_all() {
    let server = Server::start();
    let (address, _) = talking(|head, stream| {
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length"))];
        stream.read_exact(&mut body).expect("the content");
        let fields = match head.split(' ').nth(1).expect("a path") {
            "/response-no-store" => "Connection: cache-control\r\nCache-Control: no-store\r\n",
            "/response-vary" => "Connection: Vary\r\nVary: *\r\n",
            "/response-cookie" => "Connection: x, set-cookie\r\nSet-Cookie: a=b\r\n",
            _ => "",
        };
        let seen = format!("{head}content={}", String::from_utf8_lossy(&body));
        stream
            .get_mut()
            .write_all(echo(&seen, fields).as_bytes())
            .is_ok()
    });
    let proxy = Proxy::start(&server, &address);
    let mut client = proxy.connect();
    for (path, fields, content) in [
        (
            "/content",
            "Connection: content-length\r\nContent-Length: 6\r\n",
            "secret",
        ),
        (
            "/content-again",
            "connection: close-not, CONTENT-LENGTH\r\nContent-Length: 6\r\n",
            "secret",
        ),
        (
            "/no-store",
            "Connection: cache-control\r\nCache-Control: no-store\r\n",
            "",
        ),
        (
            "/authorization",
            "Connection: Authorization\r\nAuthorization: Basic eA==\r\n",
            "",
        ),
        ("/response-no-store", "", ""),
        ("/response-vary", "", ""),
        ("/response-cookie", "", ""),
    ] {
        client.send(&format!(
            "GET {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n{content}"
        ));
        let (_, seen) = client.answer(false);
        assert!(
            seen.ends_with(&format!("content={content}")),
            "{path} {seen}"
        );
        let (head, seen) = client.get(path, "");
        assert!(!head.contains("; hit"), "{path} {head}");
        assert!(seen.ends_with("content="), "{path} {seen}");
    }
}

/// `Content-Length` beside `Transfer-Encoding` went on to the client, whose body was cut; `3, 3` went on as it was; and a
/// body with another coding than `chunked` was stored without the name of that coding.
#[test]
fn a_response_states_its_length_once() {
    let server = Server::start();
    let (address, _) = origin(|head| {
        let framing = match head.split(' ').nth(1)? {
            "/both" => {
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            }
            "/both-turned" => {
                "Transfer-Encoding: Chunked\r\nContent-Length: 300\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            }
            "/list" => "Content-Length: 5, 5\r\n\r\nhello",
            "/lines" => "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
            "/gzip" => "Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "/gzip-lines" => {
                "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            }
            "/identity" => "Transfer-Encoding: identity\r\nConnection: close\r\n\r\nhello",
            "/differ" => "Content-Length: 5, 6\r\n\r\nhello",
            path => panic!("{path}"),
        };
        Some(format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{framing}"
        ))
    });
    let proxy = Proxy::start(&server, &address);
    let mut client = proxy.connect();
    for path in ["/both", "/both-turned", "/list", "/lines"] {
        for hit in [false, true] {
            let (head, body) = client.get(path, "");
            assert!(body.contains("hello"), "{path} {head} {body}");
            assert_eq!(head.contains("; hit"), hit, "{path} {head}");
            for wrong in [": 3\r\n", ": 300\r\n", "5, 5"] {
                assert!(!head.contains(wrong), "{path} {head}");
            }
            assert!(head.matches("content-length").count() <= 1, "{path} {head}");
        }
    }
    for path in ["/gzip", "/gzip-lines", "/identity", "/differ"] {
        for _ in 0..2 {
            let (head, _) = client.get(path, "");
            assert!(head.starts_with("http/1.1 502"), "{path} {head}");
        }
    }
    // RFC 9112 §6.1: a coding of the request that the proxy does not understand.
    client.send(
        "POST /both HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    );
    assert!(client.answer(false).0.starts_with("http/1.1 501"));
}

/// `X-Forwarded-For` and `Via` were added between the cache and the origin, so that the cache compared requests without them.
#[tokio::test]
async fn what_the_proxy_adds_counts_in_vary() {
    let server = Server::start();
    let (address, _) = origin(|head| Some(echo(head, "Vary: X-Forwarded-For, Via\r\n")));
    let proxy = Proxy::start(&server, &address);
    let mut seen = Vec::new();
    for peer in ["127.0.0.1", "127.0.0.2"] {
        for hit in [false, true] {
            let mut client = from(&proxy, peer).await;
            let (head, body) = client.get("/page", "");
            assert_eq!(head.contains("; hit"), hit, "{peer} {head}");
            assert!(
                body.contains(&format!("x-forwarded-for: {peer}\r\n")),
                "{body}"
            );
            seen.push(body);
        }
    }
    // Another version of HTTP is another `Via`.
    let mut client = proxy.connect();
    client.send("GET /page HTTP/1.0\r\nHost: shop.example\r\n\r\n");
    let old = client.rest();
    assert!(!old.contains("; hit") && old.contains("via: 1.0 "), "{old}");
}

/// A client whose address is `peer`.
async fn from(proxy: &Proxy, peer: &str) -> Client {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .bind(format!("{peer}:0").parse().expect("an address"))
        .expect("a loopback address");
    let stream = socket.connect(proxy.address().parse().expect("an address"));
    let stream = stream.await.expect("the proxy").into_std().expect("std");
    stream.set_nonblocking(false).expect("blocking");
    Client(BufReader::new(stream))
}

/// An interim response took the fields of its own connection to the client.
#[test]
fn an_interim_response_leaves_out_what_is_for_the_neighbour() {
    let server = Server::start();
    let (address, _) = origin(|head| {
        let early = "HTTP/1.1 103 Early Hints\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n\
                     Content-Length: 0\r\nLink: </a>\r\n\r\n";
        Some(early.to_owned() + &echo(head, ""))
    });
    let proxy = Proxy::start(&server, &address);
    let (heads, _) = proxy.connect().get("/page", "");
    let (early, _) = heads.split_once("\r\n\r\n").expect("two heads");
    assert_eq!(early, "http/1.1 103 early hints\r\nlink: </a>");
}

/// A `TRACE` for the proxy itself was answered with 204.
#[test]
fn a_trace_that_ends_here_is_sent_back() {
    let server = Server::start();
    let (address, calls) = origin(|head| Some(echo(head, "")));
    let proxy = Proxy::start(&server, &address);
    let mut client = proxy.connect();
    let (head, body) = client.ask(
        "TRACE /page?q HTTP/1.1\r\nHost: shop.example\r\nMax-Forwards: 0\r\nCookie: a=b\r\nAuthorization: c\r\n\
         Via: 1.1 before\r\n\r\n",
    );
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: message/http\r\n"), "{head}");
    let message = body.to_ascii_lowercase();
    assert!(
        message.starts_with("trace /page?q http/1.1\r\n"),
        "{message}"
    );
    assert!(message.contains("via: 1.1 before\r\n"), "{message}");
    for secret in ["cookie", "authorization"] {
        assert!(!message.contains(secret), "{message}");
    }
    let (head, body) =
        client.ask("OPTIONS /page HTTP/1.1\r\nHost: shop.example\r\nMax-Forwards: 0\r\n\r\n");
    assert!(
        head.starts_with("http/1.1 204") && body.is_empty(),
        "{head}"
    );
    assert_eq!(calls.load(std::sync::atomic::Ordering::SeqCst), 0);
}

/// Requests without a `Host`, with an empty one, and with one that `Connection` named were one to the cache, and three to
/// the origin.
#[test]
fn each_host_has_its_own_answers() {
    let server = Server::start();
    let (address, _) = origin(|head| Some(echo(head, "")));
    let proxy = Proxy::start(&server, &address);
    for (version, fields, host) in [
        ("1.0", "", address.as_str()),
        ("1.1", "Host:\r\n", ""),
        (
            "1.1",
            "Host: a.example\r\nConnection: host\r\n",
            "a.example",
        ),
        ("1.1", "Host: b.example\r\n", "b.example"),
    ] {
        let mut client = proxy.connect();
        client.send(&format!("GET /page HTTP/{version}\r\n{fields}\r\n"));
        let head = read_head(&mut client.0);
        assert!(!head.contains("; hit"), "{fields} {head}");
        let seen = read_head(&mut client.0);
        assert!(
            seen.contains(&format!("\r\nhost: {host}\r\n"))
                || seen.contains(&format!("\r\nhost:{host}\r\n")),
            "{fields} {seen}"
        );
    }
}
