//! Faults of one server, or of the connection to it.

use std::{future::Future, time::Duration};

use tower_fred::{
    Redis,
    fred::{
        clients::Client,
        interfaces::{ClientLike, LuaInterface},
        types::Value,
    },
};

use super::{
    super::{
        command::run,
        server::{Server, application_builder, free_port, handle_with},
    },
    proxy::{Mode, Proxy},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Killed,
    Stopped,
    Paused,
    BlackHole,
    HalfOpen,
    Reset,
    Slow,
    Loading,
    OutOfMemory,
    ReadOnly,
    ScriptFlush,
    FlushAll,
    Password,
    ClientKill,
}

impl Fault {
    pub const ALL: [Self; 14] = [
        Self::Killed,
        Self::Stopped,
        Self::Paused,
        Self::BlackHole,
        Self::HalfOpen,
        Self::Reset,
        Self::Slow,
        Self::Loading,
        Self::OutOfMemory,
        Self::ReadOnly,
        Self::ScriptFlush,
        Self::FlushAll,
        Self::Password,
        Self::ClientKill,
    ];

    /// How often the server loses its data.
    pub fn losses(self) -> u32 {
        match self {
            Self::Killed | Self::FlushAll => 1,
            // What was written after the data was saved.
            Self::Loading => 1,
            _ => 0,
        }
    }

    /// Whether sessions are lost. A saved session comes back as it was saved.
    pub fn loses_sessions(self) -> bool {
        matches!(self, Self::Killed | Self::FlushAll)
    }

    /// Whether all requests are served, if slower.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Slow | Self::ScriptFlush | Self::FlushAll)
    }
}

/// A server behind a relay, and a handle that is connected through the relay.
pub struct Rig {
    pub redis: Redis,
    server: Server,
    proxy: Proxy,
    admin: Client,
}

impl Rig {
    pub async fn start(deadline: Duration) -> Self {
        let settings = [
            // Loading a few thousand keys then takes a second or two, and the server answers meanwhile.
            "--key-load-delay",
            "500",
            "--loading-process-events-interval-bytes",
            "1024",
        ];
        let server = Server::start_with(&settings);
        let proxy = Proxy::start(server.port()).await;
        let redis = handle_with(&proxy.url(), |builder| builder.deadline(deadline)).await;
        // It connects again after a kill.
        let admin = application_builder(&server.url())
            .build()
            .expect("a client");
        admin.init().await.expect("a connection");
        Self {
            redis,
            server,
            proxy,
            admin,
        }
    }

    /// A client of the server that is not tested.
    #[allow(dead_code, reason = "the soak looks at keys")]
    pub fn admin(&self) -> &Client {
        &self.admin
    }

    /// Begins the fault, waits for `hold`, and ends the fault. Returns when the server is back.
    pub async fn suffer(&self, fault: Fault, hold: impl Future<Output = ()>) {
        self.begin(fault).await;
        tokio::select! {
            () = hold => {}
            () = self.repeat(fault) => {}
        }
        self.end(fault).await;
    }

    async fn begin(&self, fault: Fault) {
        match fault {
            Fault::Killed => tokio::task::block_in_place(|| self.server.kill()),
            Fault::Stopped => self.server.stop(),
            // Reads and PING are answered; what may write is not. The time is only for a fault that is not ended.
            Fault::Paused => self.tell("CLIENT", &["PAUSE", "60000", "WRITE"]).await,
            Fault::BlackHole => self.proxy.set(Mode::BlackHole),
            Fault::HalfOpen => self.proxy.swallow_open_connections(),
            Fault::Reset => self.proxy.set(Mode::Reset),
            Fault::Slow => self.proxy.set(Mode::Delay(Duration::from_millis(200))),
            Fault::Loading => {
                let _: Value = self.admin.eval(FILL, "filler", 4000).await.expect("EVAL");
                self.tell("SAVE", &[]).await;
                tokio::task::block_in_place(|| {
                    self.server.kill();
                    self.server.restart();
                });
            }
            Fault::OutOfMemory => self.tell("CONFIG", &["SET", "maxmemory", "1"]).await,
            Fault::ReadOnly => {
                let nobody = free_port().to_string();
                self.tell("REPLICAOF", &["127.0.0.1", &nobody]).await;
            }
            Fault::FlushAll => self.tell("FLUSHALL", &[]).await,
            Fault::Password => {
                self.tell("CONFIG", &["SET", "requirepass", "another"])
                    .await;
                self.tell("CLIENT", &["KILL", "TYPE", "normal"]).await;
            }
            Fault::ScriptFlush | Fault::ClientKill => {}
        }
    }

    /// Repeats what must be repeated while the fault lasts. Never returns.
    async fn repeat(&self, fault: Fault) {
        loop {
            match fault {
                Fault::ScriptFlush => self.tell("SCRIPT", &["FLUSH"]).await,
                Fault::ClientKill => self.tell("CLIENT", &["KILL", "TYPE", "normal"]).await,
                _ => std::future::pending().await,
            }
            // Only the pace of the repetitions.
            tokio::time::sleep(REPEAT).await;
        }
    }

    async fn end(&self, fault: Fault) {
        match fault {
            Fault::Killed => tokio::task::block_in_place(|| self.server.restart()),
            Fault::Stopped => self.server.resume(),
            Fault::Paused => self.tell("CLIENT", &["UNPAUSE"]).await,
            Fault::BlackHole | Fault::Reset | Fault::Slow => self.proxy.set(Mode::Relay),
            Fault::Loading => tokio::task::block_in_place(|| {
                self.server.wait_for_pong();
                // After the next kill it has no data.
                self.server.forget_saved();
            }),
            Fault::OutOfMemory => self.tell("CONFIG", &["SET", "maxmemory", "0"]).await,
            Fault::ReadOnly => self.tell("REPLICAOF", &["NO", "ONE"]).await,
            Fault::Password => self.tell("CONFIG", &["SET", "requirepass", ""]).await,
            Fault::HalfOpen | Fault::ScriptFlush | Fault::FlushAll | Fault::ClientKill => {}
        }
    }

    async fn tell(&self, command: &'static str, arguments: &[&str]) {
        let _: Value = run(&self.admin, command, arguments).await.expect(command);
    }
}

const FILL: &str =
    "for i = 1, ARGV[1] do redis.call('SET', KEYS[1] .. i, string.rep('x', 100)) end";
const REPEAT: Duration = Duration::from_millis(20);
