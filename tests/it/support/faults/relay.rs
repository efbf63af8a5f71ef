//! A TCP relay in front of a server: what the faulty relays have in common.

use std::{
    future::Future,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Accepts connections on a free port and opens one to the server for each, until it is dropped.
pub struct Relay {
    port: u16,
    to: Arc<AtomicU16>,
    task: JoinHandle<()>,
}

impl Relay {
    /// Relays to the port `to` of this host. `connect` gets both connections: the client's, then the server's.
    pub async fn start<F>(
        to: u16,
        mut connect: impl FnMut(TcpStream, TcpStream) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let to = Arc::new(AtomicU16::new(to));
        let target = Arc::clone(&to);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // While the server is gone, clients are disconnected.
                let to = target.load(Ordering::Relaxed);
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await {
                    tokio::spawn(connect(client, server));
                }
            }
        });
        Self { port, to, task }
    }

    /// New connections lead to another port; open ones stay where they are.
    pub fn lead_to(&self, port: u16) {
        self.to.store(port, Ordering::Relaxed);
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
