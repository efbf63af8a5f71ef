//! A relay that cuts idle connections, as proxies do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::relay::Relay;

/// Closes both sides of a connection on which nothing was sent for a time.
pub struct IdleRelay {
    relay: Relay,
    cuts: Arc<AtomicUsize>,
}

impl IdleRelay {
    pub async fn start(to: u16, limit: Duration) -> Self {
        let cuts = Arc::new(AtomicUsize::new(0));
        let relay = Relay::start(to, {
            let cuts = Arc::clone(&cuts);
            move |client, server| connect(client, server, limit, Arc::clone(&cuts))
        })
        .await;
        Self { relay, cuts }
    }

    pub fn url(&self) -> String {
        self.relay.url()
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

async fn connect(
    mut client: TcpStream,
    mut server: TcpStream,
    limit: Duration,
    cuts: Arc<AtomicUsize>,
) {
    // With Nagle's algorithm, the relay would add delays of its own.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut commands, mut answers) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        let passed = timeout(limit, async {
            tokio::select! {
                count = client.read(&mut commands) => pass(count, &commands, &mut server).await,
                count = server.read(&mut answers) => pass(count, &answers, &mut client).await,
            }
        });
        match passed.await {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => {
                cuts.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
    }
}

/// Sends on what was read. False when a side has closed.
async fn pass(count: std::io::Result<usize>, bytes: &[u8], to: &mut TcpStream) -> bool {
    match count {
        Ok(count @ 1..) => to.write_all(&bytes[..count]).await.is_ok(),
        _ => false,
    }
}
