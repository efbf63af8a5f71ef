//! The reverse proxy of the examples, as a program between a client and an origin that both speak in bytes.

// How messages begin and end, and which host they are for.
mod framing;

// Origins that fail, in every way that they can.
mod failures;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::support::{Server, process};

/// The program, ended when this is dropped.
struct Proxy {
    child: Child,
    address: String,
}

impl Proxy {
    fn start(server: &Server, origin: &str) -> Self {
        Self::patient(server, origin, 30)
    }

    /// Waits so many seconds for the origin.
    fn patient(server: &Server, origin: &str, seconds: u64) -> Self {
        let mut child = process::example("reverse_proxy")
            .env("REDIS_URL", server.url())
            .env("ORIGIN", format!("http://{origin}"))
            .env("LISTEN", "127.0.0.1:0")
            .env("PATIENCE", seconds.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the proxy");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let address = line
            .strip_prefix("http://")
            .and_then(|line| line.split(' ').next())
            .expect("an address")
            .to_owned();
        Self { child, address }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(&self.address).expect("the proxy");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        Client(BufReader::new(stream))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection that is kept alive.
struct Client(BufReader<TcpStream>);

impl Client {
    /// Sends a request and reads the heads of its responses, interim ones too, and the body by its length or chunks.
    fn ask(&mut self, request: &str) -> (String, String) {
        self.send(request);
        self.answer(request.starts_with("HEAD"))
    }

    fn send(&mut self, text: &str) {
        let stream = self.0.get_mut();
        stream.write_all(text.as_bytes()).expect("sent");
    }

    fn answer(&mut self, to_head: bool) -> (String, String) {
        let mut heads = String::new();
        let head = loop {
            let head = read_head(&mut self.0);
            heads.push_str(&head);
            if !head.starts_with("http/1.1 1") {
                break head;
            }
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let has_body = !to_head && !head.starts_with("http/1.1 304");
        let body = match length {
            Some(length) if has_body => {
                let mut body = vec![0; length.trim().parse().expect("a length")];
                self.0.read_exact(&mut body).expect("a body");
                String::from_utf8_lossy(&body).into_owned()
            }
            None if has_body && head.contains("transfer-encoding: chunked") => self.chunks(),
            _ => String::new(),
        };
        (heads, body)
    }

    fn get(&mut self, path: &str, fields: &str) -> (String, String) {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n"
        ))
    }

    /// Chunks and trailers as they come.
    fn chunks(&mut self) -> String {
        let mut all = String::new();
        while !all.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut all).expect("a chunk") > 0, "{all}");
        }
        all
    }

    /// All that comes until the connection ends.
    fn rest(&mut self) -> String {
        let mut all = Vec::new();
        let _ = self.0.read_to_end(&mut all);
        String::from_utf8_lossy(&all).to_ascii_lowercase()
    }
}

/// A head in lower case, up to the empty line.
fn read_head(stream: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).expect("a line") == 0 {
            break;
        }
    }
    head.to_ascii_lowercase()
}

/// An origin that answers each request with the bytes that `reply` makes of its head; none: it closes the connection.
fn origin(
    reply: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    talking(move |head, stream| match reply(head) {
        Some(bytes) => stream.get_mut().write_all(bytes.as_bytes()).is_ok(),
        None => false,
    })
}

/// An origin that does with each request, of which the head was read, what `talk` does; false: it closes the connection.
fn talking(
    talk: impl Fn(&str, &mut BufReader<TcpStream>) -> bool + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let calls = Arc::new(AtomicUsize::new(0));
    let (counted, talk) = (Arc::clone(&calls), Arc::new(talk));
    // Ends with the process.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (counted, talk) = (Arc::clone(&counted), Arc::clone(&talk));
            thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                loop {
                    let head = read_head(&mut stream);
                    if head.is_empty() {
                        return;
                    }
                    counted.fetch_add(1, Ordering::SeqCst);
                    if !talk(&head, &mut stream) {
                        return;
                    }
                }
            });
        }
    });
    (address, calls)
}

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
