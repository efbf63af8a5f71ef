//! The reverse proxy of the examples, as a program between a client and an origin that both speak in bytes.

// How messages begin and end, and which host they are for.
mod framing;

// What a message says to the next neighbour only, and what is for all recipients.
mod neighbours;

// The proxy as a process, its clients and its origins.
mod talk;

// Origins that fail, in every way that they can.
mod failures;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::Server;
use talk::{Client, Proxy, origin, read_head, talking};

fn script(head: &str) -> Option<String> {
    let path = head.split(' ').nth(1).expect("a path");
    let body = "Content-Length: 5\r\n\r\nhello";
    let response = match path {
        "/fresh" => format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nWarning: 199 - \"as it is\"\r\nLink: </a>\r\nLink: </b>\r\n\
             Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nAge: 0\r\n\
             CDN-Cache-Control: max-age=99999999999\r\n{body}"
        ),
        "/validated" if head.contains("if-none-match: \"a\"") => {
            "HTTP/1.1 304 Not Modified\r\nX-New: 1\r\n\r\n".to_owned()
        }
        "/validated" => {
            format!("HTTP/1.1 200 OK\r\nCache-Control: no-cache\r\nETag: \"a\"\r\n{body}")
        }
        "/early" => format!(
            "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\nX-My-Header: test\r\n\r\nHTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{body}"
        ),
        "/trailers" => "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n".to_owned(),
        "/seen" => {
            let length = head.len();
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}")
        }
        "/gone" => return None,
        _ => panic!("{path}"),
    };
    Some(response)
}

#[test]
fn the_reverse_proxy_is_a_conforming_intermediary() {
    let server = Server::start();
    let (address, calls) = origin(script);
    let proxy = Proxy::start(&server, &address);
    let mut client = proxy.connect();
    answers_are_kept_as_they_came(&mut client, &calls);
    streams_and_interim_responses_pass(&mut client);
    what_is_between_neighbours_does_not(&mut client);

    // The connection outlives an origin that does not answer.
    let (head, _) = client.get("/gone", "");
    assert!(head.starts_with("http/1.1 502"), "{head}");
    assert!(client.get("/fresh", "").0.contains("; hit; "));
}

fn answers_are_kept_as_they_came(client: &mut Client, calls: &AtomicUsize) {
    // What the origin says goes through as it is, but for what is between neighbours, and is answered from the cache.
    for (hit, asked) in [(false, 1), (true, 1)] {
        let (head, body) = client.get("/fresh", "Pragma: foo\r\n");
        assert_eq!(body, "hello");
        for line in [
            "warning: 199 - \"as it is\"\r\n",
            "link: </a>\r\nlink: </b>\r\n",
            "date: thu, 01 jan 1970 00:00:00 gmt\r\n",
            "via: 1.1 tower-fred\r\n",
            "cdn-cache-control: max-age=99999999999\r\n",
        ] {
            assert_eq!(head.matches(line).count(), 1, "{line} {head}");
        }
        assert!(
            !head.contains("x-hop") && !head.contains("keep-alive"),
            "{head}"
        );
        assert_eq!(head.contains("; hit; "), hit, "{head}");
        assert_eq!(calls.load(Ordering::SeqCst), asked);
    }
    let (head, _) = client.ask("HEAD /fresh HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    assert!(
        head.contains("content-length: 5\r\n") && head.contains("; hit; "),
        "{head}"
    );
    let (head, body) = client.get("/fresh", "Range: bytes=-2\r\n");
    assert!(head.starts_with("http/1.1 206") && body == "lo", "{head}");
    assert_eq!(calls.load(Ordering::SeqCst), 1);

    client.get("/validated", "");
    let (head, body) = client.get("/validated", "");
    assert!(
        head.contains("fwd-status=304") && head.contains("x-new: 1"),
        "{head}"
    );
    assert!(
        head.starts_with("http/1.1 200") && body == "hello",
        "{head}"
    );
}

fn streams_and_interim_responses_pass(client: &mut Client) {
    // interim-103, interim-not-cached, interim-no-header-reuse
    for interim in [true, false] {
        let (heads, body) = client.get("/early", "");
        let early = "http/1.1 103 early hints\r\nlink: </style.css>\r\nx-my-header: test\r\n\r\n";
        let rest = heads.strip_prefix(early);
        assert_eq!(rest.is_some(), interim, "{heads}");
        assert!(!rest.unwrap_or(&heads).contains("x-my-header"), "{heads}");
        assert!(heads.contains("http/1.1 200") && body == "hello");
    }
    let (_, body) = client.get("/trailers", "TE: trailers\r\n");
    assert!(
        body.to_ascii_lowercase().ends_with("0\r\nx-sum: 7\r\n\r\n"),
        "{body}"
    );
}

fn what_is_between_neighbours_does_not(client: &mut Client) {
    let fields = "Connection: X-Mine\r\nX-Mine: 1\r\nX-Forwarded-Host: evil\r\nUpgrade: h2c\r\nX-Kept: 1\r\n";
    let (_, seen) = client.get("/seen", fields);
    for line in [
        "host: shop.example\r\n",
        "x-forwarded-host: shop.example\r\n",
        "x-kept: 1\r\n",
        "via: ",
    ] {
        assert!(seen.contains(line), "{line} {seen}");
    }
    for name in ["x-mine", "evil", "upgrade", "connection:"] {
        assert!(!seen.contains(name), "{name} {seen}");
    }
}
