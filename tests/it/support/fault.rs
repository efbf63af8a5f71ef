//! What can happen to a server, for real.

use std::{future::Future, time::Duration};

use tower_fred::{
    Redis,
    fred::{
        clients::Client,
        interfaces::{ClientLike, LuaInterface},
        types::{ClusterHash, CustomCommand, Value},
    },
};

use super::{
    proxy::{Mode, Proxy},
    server::{Server, free_port, namespace},
};

/// A fault of one server, or of the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Killed,
    Stopped,
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
    pub const ALL: [Self; 13] = [
        Self::Killed,
        Self::Stopped,
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

    /// How often the server forgets what it was told.
    pub fn losses(self) -> u32 {
        match self {
            Self::Killed | Self::FlushAll => 1,
            // From the moment that the data was saved.
            Self::Loading => 1,
            _ => 0,
        }
    }

    /// Whether sessions are lost with it. A saved one comes back as it was when it was saved.
    pub fn loses_sessions(self) -> bool {
        matches!(self, Self::Killed | Self::FlushAll)
    }

    /// Whether everything works on, if slower.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Slow | Self::ScriptFlush | Self::FlushAll)
    }
}

/// A server with a relay before it, and a handle that goes through the relay.
pub struct Rig {
    pub redis: Redis,
    server: Server,
    proxy: Proxy,
    admin: Client,
}

impl Rig {
    pub async fn start(deadline: Duration) -> Self {
        let settings = [
            // What makes reading a file of a few thousand keys last a second or two, and answer meanwhile.
            "--key-load-delay",
            "500",
            "--loading-process-events-interval-bytes",
            "1024",
        ];
        let server = Server::start_with(&settings);
        let proxy = Proxy::start(server.port()).await;
        let redis = Redis::builder()
            .namespace(namespace())
            .deadline(deadline)
            .connect(&proxy.url())
            .await
            .expect("a handle");
        let admin = server.admin().await;
        Self {
            redis,
            server,
            proxy,
            admin,
        }
    }

    /// Lets `fault` happen, waits for `hold`, and has it end. Returns when the server is back.
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

    /// What goes on while the fault lasts; never returns.
    async fn repeat(&self, fault: Fault) {
        loop {
            match fault {
                Fault::ScriptFlush => self.tell("SCRIPT", &["FLUSH"]).await,
                Fault::ClientKill => self.tell("CLIENT", &["KILL", "TYPE", "normal"]).await,
                _ => std::future::pending().await,
            }
            tokio::time::sleep(REPEAT).await;
        }
    }

    async fn end(&self, fault: Fault) {
        match fault {
            Fault::Killed => tokio::task::block_in_place(|| self.server.restart()),
            Fault::Stopped => self.server.resume(),
            Fault::BlackHole | Fault::Reset | Fault::Slow => self.proxy.set(Mode::Relay),
            Fault::Loading => tokio::task::block_in_place(|| self.server.wait_for_pong()),
            Fault::OutOfMemory => self.tell("CONFIG", &["SET", "maxmemory", "0"]).await,
            Fault::ReadOnly => self.tell("REPLICAOF", &["NO", "ONE"]).await,
            Fault::Password => self.tell("CONFIG", &["SET", "requirepass", ""]).await,
            Fault::HalfOpen | Fault::ScriptFlush | Fault::FlushAll | Fault::ClientKill => {}
        }
    }

    async fn tell(&self, command: &'static str, arguments: &[&str]) {
        let name = CustomCommand::new_static(command, ClusterHash::Random, false);
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let _: Value = self.admin.custom(name, arguments).await.expect(command);
    }
}

const FILL: &str =
    "for i = 1, ARGV[1] do redis.call('SET', KEYS[1] .. i, string.rep('x', 100)) end";
const REPEAT: Duration = Duration::from_millis(20);
