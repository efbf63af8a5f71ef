//! A relay that sends the replies of one connection to another, as a client with a bug would.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{OwnedReadHalf, OwnedWriteHalf},
    sync::Mutex,
};

use super::relay::Relay;

/// While it crosses, what the server sends to a connection goes to the one that was opened before or after it.
pub struct Crossing {
    relay: Relay,
    crossed: Arc<AtomicBool>,
}

/// Where replies go: the connections by their number.
type Clients = Arc<Mutex<HashMap<usize, OwnedWriteHalf>>>;

impl Crossing {
    pub async fn start(to: u16) -> Self {
        let crossed = Arc::new(AtomicBool::new(false));
        let clients = Clients::default();
        let mut numbers = 0..;
        let is_crossed = Arc::clone(&crossed);
        let relay = Relay::start(to, move |client, server| {
            let own = numbers.next().unwrap_or(0);
            let (clients, crossed) = (Arc::clone(&clients), Arc::clone(&is_crossed));
            let (mut requests, client) = client.into_split();
            let (server, mut to_server) = server.into_split();
            async move {
                clients.lock().await.insert(own, client);
                tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut requests, &mut to_server).await;
                });
                replies(server, clients, own, crossed).await;
            }
        });
        Self {
            relay: relay.await,
            crossed,
        }
    }

    pub fn url(&self) -> String {
        self.relay.url()
    }

    pub fn cross(&self, crossed: bool) {
        self.crossed.store(crossed, Ordering::Relaxed);
    }
}

async fn replies(
    mut server: OwnedReadHalf,
    clients: Clients,
    own: usize,
    crossed: Arc<AtomicBool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = server.read(&mut buffer).await {
        let mut clients = clients.lock().await;
        let other = own ^ 1;
        let to = if crossed.load(Ordering::Relaxed) && clients.contains_key(&other) {
            other
        } else {
            own
        };
        if let Some(client) = clients.get_mut(&to) {
            // A connection that was closed takes nothing.
            let _ = client.write_all(&buffer[..count]).await;
        }
    }
}
