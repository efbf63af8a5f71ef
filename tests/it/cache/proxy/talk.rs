//! The proxy as a process, and clients and origins that speak in bytes.

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
pub(super) struct Proxy {
    child: Child,
    address: String,
}

impl Proxy {
    pub(super) fn start(server: &Server, origin: &str) -> Self {
        Self::patient(server, origin, 30)
    }

    /// Waits so many seconds for the origin.
    pub(super) fn patient(server: &Server, origin: &str, seconds: u64) -> Self {
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

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn connect(&self) -> Client {
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
pub(super) struct Client(pub(super) BufReader<TcpStream>);

impl Client {
    /// Sends a request and reads the heads of its responses, interim ones too, and the body by its length or chunks.
    pub(super) fn ask(&mut self, request: &str) -> (String, String) {
        self.send(request);
        self.answer(request.starts_with("HEAD"))
    }

    pub(super) fn send(&mut self, text: &str) {
        let stream = self.0.get_mut();
        stream.write_all(text.as_bytes()).expect("sent");
    }

    pub(super) fn answer(&mut self, to_head: bool) -> (String, String) {
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

    pub(super) fn get(&mut self, path: &str, fields: &str) -> (String, String) {
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

    /// Everything up to `text`, in lower case.
    pub(super) fn until(&mut self, text: &str) -> String {
        let (mut all, mut byte) = (String::new(), [0]);
        while !all.ends_with(text) {
            self.0.read_exact(&mut byte).expect("more");
            all.push(char::from(byte[0]).to_ascii_lowercase());
        }
        all
    }

    /// All that comes until the connection ends.
    pub(super) fn rest(&mut self) -> String {
        let mut all = Vec::new();
        let _ = self.0.read_to_end(&mut all);
        String::from_utf8_lossy(&all).to_ascii_lowercase()
    }
}

/// A head in lower case, up to the empty line.
pub(super) fn read_head(stream: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).expect("a line") == 0 {
            break;
        }
    }
    head.to_ascii_lowercase()
}

/// An origin that answers each request with the bytes that `reply` makes of its head; none: it closes the connection.
pub(super) fn origin(
    reply: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
) -> (String, Arc<AtomicUsize>) {
    talking(move |head, stream| match reply(head) {
        Some(bytes) => stream.get_mut().write_all(bytes.as_bytes()).is_ok(),
        None => false,
    })
}

/// An origin that does with each request, of which the head was read, what `talk` does; false: it closes the connection.
pub(super) fn talking(
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
