//! Several servers: a primary with replicas and sentinels, and a cluster.

use std::{fmt::Write as _, fs};

use futures_util::future::join_all;
use tempfile::TempDir;
use tower_fred::{
    Redis,
    fred::{clients::Client, interfaces::ClientLike, types::Value},
};

pub use super::command::run;
use super::{
    patience::{patiently, until},
    server::{Server, application_builder, free_port, handle, until_served},
};

/// A primary, and a replica that has its data.
pub async fn replicated() -> (Server, Server) {
    let primary = Server::start_with(&SYNC_AT_ONCE);
    let port = primary.port().to_string();
    let replica = ["--replicaof", "127.0.0.1", &port];
    let replica = Server::start_with(&[&SYNC_AT_ONCE[..], &replica].concat());
    synced(&replica.admin().await).await;
    (primary, replica)
}

/// A primary and two replicas, watched by three sentinels, which call a server dead after one second.
pub struct Sentinels {
    pub servers: Vec<Server>,
    pub sentinels: Vec<Server>,
    _configurations: TempDir,
}

impl Sentinels {
    pub async fn start() -> Self {
        let primary = Server::start_with(&SYNC_AT_ONCE);
        let port = primary.port().to_string();
        let mut servers = vec![primary];
        for _ in 0..2 {
            let replica = ["--replicaof", "127.0.0.1", &port];
            servers.push(Server::start_with(&[&SYNC_AT_ONCE[..], &replica].concat()));
        }
        let configurations = TempDir::with_prefix("tower-fred-").expect("a temporary directory");
        let mut sentinels = Vec::new();
        for number in 0..3 {
            // Each sentinel writes to its configuration file, so each needs its own.
            let mut text = format!("sentinel monitor {SERVICE} 127.0.0.1 {port} 2\n");
            for (setting, value) in [
                ("down-after-milliseconds", 1000),
                ("failover-timeout", 3000),
            ] {
                writeln!(text, "sentinel {setting} {SERVICE} {value}").expect("text");
            }
            let file = configurations
                .path()
                .join(format!("sentinel-{number}.conf"));
            fs::write(&file, text).expect("a configuration");
            sentinels.push(Server::start_sentinel(&file));
        }
        let started = Self {
            servers,
            sentinels,
            _configurations: configurations,
        };
        started.settle().await;
        started
    }

    pub fn url(&self) -> String {
        self.url_with("", "")
    }

    /// The URL with credentials, such as `user:password@`, and a path, such as `/3`.
    pub fn url_with(&self, credentials: &str, path: &str) -> String {
        let mut ports = self.sentinels.iter().map(Server::port);
        let first = ports.next().expect("a sentinel");
        let others: String = ports
            .map(|port| format!("&node=127.0.0.1:{port}"))
            .collect();
        format!(
            "redis-sentinel://{credentials}127.0.0.1:{first}{path}?sentinelServiceName={SERVICE}{others}"
        )
    }

    /// A planned failover: another server becomes the primary.
    pub async fn fail_over(&self) {
        let sentinel = self.sentinels[0].admin().await;
        let _: () = run(&sentinel, "SENTINEL", &["FAILOVER", SERVICE])
            .await
            .expect("a failover");
    }

    /// A handle that is served, with its own namespace.
    pub async fn redis(&self) -> Redis {
        let redis = handle(&self.url()).await;
        until_served(&redis).await;
        redis
    }

    /// The port of the primary, as the first sentinel sees it.
    pub async fn primary(&self) -> u16 {
        let sentinel = self.sentinels[0].admin().await;
        let address: Vec<String> =
            run(&sentinel, "SENTINEL", &["GET-MASTER-ADDR-BY-NAME", SERVICE])
                .await
                .expect("an address");
        sentinel.quit().await.expect("a closed connection");
        address[1].parse().expect("a port")
    }

    /// The server that is the primary, as the first sentinel sees it.
    pub async fn primary_server(&self) -> &Server {
        let port = self.primary().await;
        let mut servers = self.servers.iter();
        servers
            .find(|server| server.port() == port)
            .expect("a server")
    }

    /// Waits until a failover can succeed: every sentinel knows the replicas and the other sentinels, and the replicas have
    /// the data. A sentinel would also make a replica without data the primary.
    async fn settle(&self) {
        for replica in &self.servers[1..] {
            synced(&replica.admin().await).await;
        }
        join_all(self.sentinels.iter().map(async |sentinel| {
            let admin = sentinel.admin().await;
            until("sentinels that know all servers", async || {
                let info: String = run(&admin, "INFO", &["sentinel"]).await.expect("info");
                info.contains("slaves=2,sentinels=3") && info.contains("status=ok")
            })
            .await;
        }))
        .await;
    }
}

/// Three primaries with a replica each; a primary is called dead after two seconds.
pub struct Cluster {
    /// The primaries, in the order of their slots, then their replicas.
    pub servers: Vec<Server>,
    admins: Vec<Client>,
    ids: Vec<String>,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::start_with(|_| Vec::new()).await
    }

    /// With more `redis-server` arguments for the server with each index.
    pub async fn start_with(arguments: impl Fn(usize) -> Vec<String>) -> Self {
        // The default bus port is the port plus 10,000, which may be taken or above the highest port.
        let buses: Vec<String> = (0..6).map(|_| free_port().to_string()).collect();
        let start = |(index, bus): (usize, &String)| {
            let more = arguments(index);
            let mut words = SYNC_AT_ONCE.to_vec();
            words.extend(["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
            words.extend(["--cluster-port", bus]);
            words.extend(more.iter().map(String::as_str));
            Server::start_with(&words)
        };
        let servers: Vec<Server> = buses.iter().enumerate().map(start).collect();
        let admins = join_all(servers.iter().map(Server::admin)).await;
        let mut ids = Vec::new();
        for admin in &admins {
            ids.push(
                run::<String>(admin, "CLUSTER", &["MYID"])
                    .await
                    .expect("an id"),
            );
        }
        let cluster = Self {
            servers,
            admins,
            ids,
        };
        patiently("a cluster", cluster.join_up(&buses)).await;
        cluster
    }

    pub fn url(&self) -> String {
        self.url_with("")
    }

    /// The URL with credentials, such as `user:password@`.
    pub fn url_with(&self, credentials: &str) -> String {
        let mut ports = self.servers.iter().map(Server::port);
        let first = ports.next().expect("a server");
        let others: Vec<String> = ports.map(|port| format!("node=127.0.0.1:{port}")).collect();
        format!(
            "redis-cluster://{credentials}127.0.0.1:{first}?{}",
            others.join("&")
        )
    }

    /// A cluster client of the application.
    pub async fn application_client(&self) -> Client {
        let mut builder = application_builder(&self.url());
        builder.with_connection_config(|config| config.max_redirections = 0);
        let client = builder.build().expect("a client");
        client.init().await.expect("a connection");
        client
    }

    /// Raw connections to the primaries.
    pub fn primaries(&self) -> &[Client] {
        &self.admins[..3]
    }

    /// Raw connections to all servers.
    pub fn admins(&self) -> &[Client] {
        &self.admins
    }

    pub async fn redis(&self) -> Redis {
        handle(&self.url()).await
    }

    /// A raw connection to the server with this index.
    pub fn admin(&self, index: usize) -> &Client {
        &self.admins[index]
    }

    /// The index of the primary that has `slot` from the start.
    pub fn owner(slot: u16) -> usize {
        usize::from(slot) / usize::from(SHARE + 1)
    }

    /// Begins to move `slot` to the primary `to`. From now on its owner answers ASK for keys that it does not have.
    pub async fn begin_migration(&self, slot: u16, to: usize) {
        let from = Self::owner(slot);
        let slot = slot.to_string();
        self.cluster(to, &["SETSLOT", &slot, "IMPORTING", &self.ids[from]])
            .await;
        self.cluster(from, &["SETSLOT", &slot, "MIGRATING", &self.ids[to]])
            .await;
    }

    /// Ends the move of `slot` to the primary `to`. From now on the other servers answer MOVED.
    pub async fn end_migration(&self, slot: u16, to: usize) {
        let slot = slot.to_string();
        for primary in [to, Self::owner(slot.parse().expect("a slot")), 0, 1, 2] {
            self.cluster(primary, &["SETSLOT", &slot, "NODE", &self.ids[to]])
                .await;
        }
    }

    /// `CLUSTER …` on the server with this index.
    pub async fn cluster(&self, index: usize, arguments: &[&str]) {
        let _: Value = run(&self.admins[index], "CLUSTER", arguments)
            .await
            .expect("CLUSTER");
    }

    /// `CONFIG SET` on all servers.
    pub async fn config(&self, setting: &str, value: &str) {
        for admin in &self.admins {
            let _: Value = run(admin, "CONFIG", &["SET", setting, value])
                .await
                .expect("CONFIG");
        }
    }

    async fn join_up(&self, buses: &[String]) {
        for (server, bus) in self.servers.iter().zip(buses).skip(1) {
            let meet = ["MEET", "127.0.0.1", &server.port().to_string(), bus];
            self.cluster(0, &meet).await;
        }
        for index in 0..3u16 {
            let (first, last) = (
                index * (SHARE + 1),
                (index * (SHARE + 1) + SHARE).min(LAST_SLOT),
            );
            let range = ["ADDSLOTSRANGE", &first.to_string(), &last.to_string()];
            self.cluster(index.into(), &range).await;
        }
        // A server can only become the replica of a primary that it knows.
        for index in 3..6 {
            let replicate = ["REPLICATE", self.ids[index - 3].as_str()];
            let admin = &self.admins[index];
            until("a replica", async || {
                run::<Value>(admin, "CLUSTER", &replicate).await.is_ok()
            })
            .await;
        }
        for (index, admin) in self.admins.iter().enumerate() {
            until("a server that knows the cluster", async || {
                let info: String = run(admin, "CLUSTER", &["INFO"]).await.expect("info");
                let nodes: String = run(admin, "CLUSTER", &["NODES"]).await.expect("nodes");
                let replicas = nodes.lines().filter(|line| line.contains("slave")).count();
                info.contains("cluster_state:ok") && replicas == 3
            })
            .await;
            if index >= 3 {
                synced(admin).await;
            }
        }
    }
}

/// Waits until a replica has its primary's data.
async fn synced(replica: &Client) {
    until("a replica with the data", async || {
        let info: String = run(replica, "INFO", &["replication"]).await.expect("info");
        info.contains("master_link_status:up")
    })
    .await;
}

/// By default a primary waits five seconds for more replicas before it sends the data.
const SYNC_AT_ONCE: [&str; 2] = ["--repl-diskless-sync-delay", "0"];
const SERVICE: &str = "main";
const LAST_SLOT: u16 = 16383;
/// One less than a third of the slots, rounded up.
const SHARE: u16 = 5461;
