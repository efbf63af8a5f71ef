//! A TCP relay in front of a server: what the faulty relays have in common.

use std::{future::Future, net::Ipv4Addr};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Accepts connections on a free port and opens one to the server for each, until it is dropped.
pub struct Relay {
    port: u16,
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
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // While the server is gone, clients are disconnected.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await {
                    tokio::spawn(connect(client, server));
                }
            }
        });
        Self { port, task }
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
