//! Interim responses (RFC 9110 §15.2). hyper's server does not send them, so they are written to the connection here.

use std::{
    fmt::Write as _,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// A connection. hyper and the senders of interim responses share its write half.
pub(super) struct Wire {
    read: OwnedReadHalf,
    write: Arc<Mutex<Sending>>,
}

struct Sending {
    half: OwnedWriteHalf,
    /// The rest of the interim responses. It is written before anything of hyper.
    early: BytesMut,
    /// Whether hyper's last write was written completely.
    clean: bool,
}

/// Sends interim responses to one request until its final response.
#[derive(Clone)]
pub(super) struct Early {
    write: Arc<Mutex<Sending>>,
    open: Arc<Mutex<bool>>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        let (read, half) = stream.into_split();
        let sending = Sending {
            half,
            early: BytesMut::new(),
            clean: true,
        };
        Self {
            read,
            write: Arc::new(Mutex::new(sending)),
        }
    }

    pub(super) fn sender(&self) -> Sender {
        Sender(Arc::clone(&self.write))
    }
}

/// Makes an [`Early`] for each request of a connection.
#[derive(Clone)]
pub(super) struct Sender(Arc<Mutex<Sending>>);

impl Sender {
    pub(super) fn early(&self) -> Early {
        Early {
            write: Arc::clone(&self.0),
            open: Arc::new(Mutex::new(true)),
        }
    }
}

impl Early {
    pub(super) fn send(&self, status: StatusCode, headers: &HeaderMap) {
        // Held to the end, so that nothing is written after `close`.
        let open = lock(&self.open);
        let is_ours = status == StatusCode::CONTINUE || status == StatusCode::SWITCHING_PROTOCOLS;
        if !*open || is_ours {
            return;
        }
        let mut sending = lock(&self.write);
        if !sending.clean {
            return;
        }
        let mut head = format!(
            "HTTP/1.1 {} {}\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or_default()
        );
        for name in headers.keys() {
            let _ = write!(head, "{name}: ");
            let lines: Vec<&[u8]> = headers.get_all(name).iter().map(AsRef::as_ref).collect();
            sending.early.extend_from_slice(head.as_bytes());
            sending.early.extend_from_slice(&lines.join(&b", "[..]));
            head = "\r\n".to_owned();
        }
        sending.early.extend_from_slice(head.as_bytes());
        sending.early.extend_from_slice(b"\r\n");
        if let Ok(written) = sending.half.try_write(&sending.early) {
            sending.early.advance(written);
        }
    }

    /// Called at the final response: from now on nothing is sent.
    pub(super) fn close(&self) {
        *lock(&self.open) = false;
    }
}

impl Sending {
    fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.early.is_empty() {
            let written = ready!(Pin::new(&mut self.half).poll_write(cx, &self.early))?;
            self.early.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.read).poll_read(cx, buffer)
    }
}

// Without vectored writes, hyper passes all its data in one slice, and `clean` is about all of it.
impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut sending = lock(&self.write);
        sending.clean = false;
        ready!(sending.poll_early(cx))?;
        let written = ready!(Pin::new(&mut sending.half).poll_write(cx, bytes))?;
        sending.clean = written == bytes.len();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.write).poll_early(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut lock(&self.write).half).poll_shutdown(cx)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
