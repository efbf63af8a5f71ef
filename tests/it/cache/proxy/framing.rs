use std::io::{BufRead, Read, Write};

use super::{Proxy, origin, read_head, script, talking};
use crate::support::Server;

#[test]
fn a_request_says_once_which_host_it_is_for() {
    let server = Server::start();
    let (address, _) = origin(script);
    let proxy = Proxy::start(&server, &address);
    let mut client = proxy.connect();
    // RFC 9112 §3.2: no host, two of them, and what is none.
    for hosts in [
        "",
        "Host: shop.example\r\nHost: shop.example\r\n",
        "Host: a b\r\n",
        "Host: user@shop.example\r\n",
    ] {
        let (head, _) = client.ask(&format!("GET /fresh HTTP/1.1\r\n{hosts}\r\n"));
        assert!(head.starts_with("http/1.1 400"), "{hosts} {head}");
    }
    // RFC 9112 §3.2.2: the target's host counts, for the origin and for the cache.
    let absolute = |path: &str| {
        format!("GET http://shop.example{path} HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    };
    let (_, seen) = client.ask(&absolute("/seen"));
    assert!(seen.starts_with("get /seen "), "{seen}");
    assert!(seen.contains("\r\nhost: shop.example\r\n"), "{seen}");
    assert!(!seen.contains("evil"), "{seen}");
    client.ask(&absolute("/fresh"));
    assert!(client.get("/fresh", "").0.contains("; hit; "));
}

#[test]
fn old_clients_and_pipelines_are_served() {
    let server = Server::start();
    let (address, _) = origin(script);
    let proxy = Proxy::start(&server, &address);
    // No chunks, no interim response, and the end of the connection, for a client of HTTP/1.0.
    for (path, end) in [
        ("/trailers", "hello"),
        ("/early", "hello"),
        ("/fresh", "hello"),
    ] {
        let mut client = proxy.connect();
        client.send(&format!("GET {path} HTTP/1.0\r\n\r\n"));
        let all = client.rest();
        let (head, body) = all.split_once("\r\n\r\n").expect("a head");
        assert!(
            head.starts_with("http/1.") && head.contains(" 200 "),
            "{all}"
        );
        assert!(!head.contains("transfer-encoding"), "{all}");
        assert_eq!(body, end, "{all}");
    }
    let mut client = proxy.connect();
    client.send("GET /seen HTTP/1.0\r\n\r\n");
    let all = client.rest();
    assert!(
        all.contains("via: 1.0 tower-fred") && all.contains(&address),
        "{all}"
    );

    // Many requests at once are answered in their order.
    let mut client = proxy.connect();
    let paths = ["/early", "/gone", "/fresh", "/trailers", "/seen", "/fresh"];
    let requests = paths
        .map(|path| format!("GET {path} HTTP/1.1\r\nHost: new.example\r\nTE: trailers\r\n\r\n"));
    client.send(&requests.concat());
    let answers = paths.map(|_| client.answer(false));
    assert!(answers[0].0.starts_with("http/1.1 103") && answers[0].1 == "hello");
    assert!(answers[1].0.starts_with("http/1.1 502"), "{answers:?}");
    assert!(answers[2].0.contains("cdn-cache-control") && answers[2].1 == "hello");
    assert!(
        answers[3].1.to_ascii_lowercase().contains("x-sum"),
        "{answers:?}"
    );
    assert!(answers[4].1.starts_with("get /seen"), "{answers:?}");
    assert!(answers[5].0.contains("; hit; ") && answers[5].1 == "hello");
}

#[test]
fn request_bodies_go_through_as_they_come() {
    let server = Server::start();
    // Says how many bytes came, and with what head.
    let (address, _) = talking(|head, stream| {
        let count = count_body(head, stream);
        let body = format!("{count} {head}");
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream
            .get_mut()
            .write_all((head + &body).as_bytes())
            .is_ok()
    });
    let proxy = Proxy::start(&server, &address);
    let mut client = proxy.connect();
    let post = |fields: &str| format!("POST /in HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n");

    client.send(&post("Expect: 100-continue\r\nContent-Length: 5\r\n"));
    assert!(read_head(&mut client.0).starts_with("http/1.1 100"));
    client.send("hello");
    let (_, seen) = client.answer(false);
    assert!(seen.starts_with("5 ") && !seen.contains("expect"), "{seen}");

    client.send(&post("Content-Length: 33554432\r\n"));
    client.send(&"x".repeat(1 << 25));
    let (_, seen) = client.answer(false);
    assert!(seen.starts_with("33554432 "), "{seen}");

    client.send(&post("Transfer-Encoding: chunked\r\n"));
    client.send("5;name=value\r\nhello\r\n3\r\nyou\r\n0\r\nX-Sum: 1\r\n\r\n");
    let (_, seen) = client.answer(false);
    assert!(seen.starts_with("8 "), "{seen}");

    // RFC 9112 §6.3: of two framings, the chunks count, and the origin is told of one.
    client.send(&post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"));
    client.send("5\r\nhello\r\n0\r\n\r\n");
    let (_, seen) = client.answer(false);
    assert!(
        seen.starts_with("5 ") && !seen.contains("content-length"),
        "{seen}"
    );

    // A body that breaks off, or is none, is the client's error.
    let mut client = proxy.connect();
    client.send(&post("Transfer-Encoding: chunked\r\n"));
    client.send("5\r\nhello\r\nno chunk\r\n");
    let (head, _) = client.answer(false);
    assert!(head.starts_with("http/1.1 400"), "{head}");
}

fn count_body(head: &str, stream: &mut impl BufRead) -> u64 {
    let of = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    if let Some(length) = of("content-length: ") {
        let body = stream.take(length.parse().expect("a length"));
        return std::io::copy(&mut { body }, &mut std::io::sink()).unwrap_or(0);
    }
    if of("transfer-encoding: chunked").is_none() {
        return 0;
    }
    let mut all = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap_or(0) == 0 {
            return all;
        }
        let size = u64::from_str_radix(line.trim(), 16).expect("a size");
        // With the line's end; what follows the last chunk is a head without a first line.
        if size == 0 {
            read_head_rest(stream);
            return all;
        }
        let chunk = stream.by_ref().take(size + 2);
        std::io::copy(&mut { chunk }, &mut std::io::sink()).expect("a chunk");
        all += size;
    }
}

fn read_head_rest(stream: &mut impl BufRead) {
    let mut line = String::new();
    while stream.read_line(&mut line).unwrap_or(0) > 0 && line.trim() != "" {
        line.clear();
    }
}

#[test]
fn methods_for_the_proxy_itself_are_answered_by_it() {
    let server = Server::start();
    let (address, _) = origin(|head| {
        let length = head.len();
        Some(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}"
        ))
    });
    let proxy = Proxy::start(&server, &address);
    let mut client = proxy.connect();
    let mut ask = |line: &str, fields: &str| {
        client.ask(&format!(
            "{line} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n"
        ))
    };
    let (_, seen) = ask("OPTIONS *", "");
    assert!(seen.starts_with("options * http/1.1"), "{seen}");
    // RFC 9110 §7.6.2
    let (_, seen) = ask("OPTIONS /page", "Max-Forwards: 2\r\n");
    assert!(seen.contains("\r\nmax-forwards: 1\r\n"), "{seen}");
    for method in ["OPTIONS", "TRACE"] {
        let (head, _) = ask(&format!("{method} /page"), "Max-Forwards: 0\r\n");
        assert!(!head.contains("via: "), "{head}");
    }
    let (_, seen) = ask("GET /page", "Max-Forwards: 0\r\n");
    assert!(seen.contains("\r\nmax-forwards: 0\r\n"), "{seen}");
    let (head, _) = ask("CONNECT shop.example:80", "");
    assert!(head.starts_with("http/1.1 501"), "{head}");
}

#[test]
fn an_upgrade_is_not_offered_to_the_origin() {
    let server = Server::start();
    // Upgrades whether asked to or not.
    let (address, _) = origin(|head| {
        let upgrade =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n";
        let stays = head.starts_with("get /page");
        let page = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}",
            head.len()
        );
        Some(if stays { page } else { upgrade.to_owned() })
    });
    let proxy = Proxy::start(&server, &address);
    let mut client = proxy.connect();
    let upgrade = "Connection: Upgrade\r\nUpgrade: chat\r\n";
    let (head, seen) = client.get("/page", upgrade);
    assert!(
        head.starts_with("http/1.1 200") && !seen.contains("upgrade"),
        "{head} {seen}"
    );
    // Nobody asked for it.
    let (head, _) = client.get("/chat", upgrade);
    assert!(head.starts_with("http/1.1 502"), "{head}");
    assert!(client.get("/page", "").0.starts_with("http/1.1 200"));
}
