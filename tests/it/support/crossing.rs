//! A relay that hands the replies of one connection to another, as a client with a bug would.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex,
    task::JoinHandle,
};

/// Relays to a port of this host, until it is dropped. While it crosses, what the server sends to a connection goes to
/// the one that was opened before or after it.
pub struct Crossing {
    port: u16,
    crossed: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

type Writers = Arc<Mutex<Vec<OwnedWriteHalf>>>;

impl Crossing {
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let crossed = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let crossed = Arc::clone(&crossed);
            async move {
                let writers = Writers::default();
                while let Ok((near, _)) = listener.accept().await {
                    let far = TcpStream::connect((Ipv4Addr::LOCALHOST, to))
                        .await
                        .expect("the server");
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    let mut all = writers.lock().await;
                    let own = all.len();
                    all.push(near_write);
                    tokio::spawn(requests(near_read, far_write));
                    tokio::spawn(replies(
                        far_read,
                        Arc::clone(&writers),
                        own,
                        Arc::clone(&crossed),
                    ));
                }
            }
        });
        Self {
            port,
            crossed,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn cross(&self, crossed: bool) {
        self.crossed.store(crossed, Ordering::Relaxed);
    }
}

impl Drop for Crossing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn replies(mut from: OwnedReadHalf, writers: Writers, own: usize, crossed: Arc<AtomicBool>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mut writers = writers.lock().await;
        let other = own ^ 1;
        let to = if crossed.load(Ordering::Relaxed) && other < writers.len() {
            other
        } else {
            own
        };
        // A connection that has ended takes nothing.
        let _ = writers[to].write_all(&buffer[..count]).await;
    }
}
