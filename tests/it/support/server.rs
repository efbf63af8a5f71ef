//! A private `redis-server` (or `valkey-server`) on a port of its own.

use std::{
    fs,
    future::Future,
    io::Write,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tower_fred::{
    Redis,
    fred::{
        clients::{Client, Pool},
        interfaces::ClientLike,
        types::{
            Builder,
            config::{Config, ReconnectPolicy},
        },
    },
    redis::{Health, RedisBuilder},
};

use super::{
    counts::Counts,
    patience::{patiently, until},
};

/// A running server. It ends when it is dropped, and also when the test process dies.
pub struct Server {
    port: u16,
    arguments: Vec<String>,
    configuration: Option<PathBuf>,
    directory: TempDir,
    guard: Mutex<Option<Child>>,
}

impl Server {
    /// A server for one test, which may harm it or count its commands.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more `redis-server` arguments, such as `["--requirepass", "secret"]`.
    pub fn start_with(arguments: &[&str]) -> Self {
        let server = Self {
            port: free_port(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            configuration: None,
            directory: TempDir::with_prefix("tower-fred-").expect("a temporary directory"),
            guard: Mutex::new(None),
        };
        server.launch();
        server
    }

    /// A sentinel with this configuration file, which it also writes to.
    pub fn start_sentinel(configuration: &std::path::Path) -> Self {
        let server = Self {
            port: free_port(),
            arguments: vec!["--sentinel".into()],
            configuration: Some(configuration.to_owned()),
            directory: TempDir::with_prefix("tower-fred-").expect("a temporary directory"),
            guard: Mutex::new(None),
        };
        server.launch();
        server
    }

    /// The server that the tests of this process share, unless they harm it or count its commands.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The URL of the server's unix socket.
    pub fn unix_url(&self) -> String {
        format!(
            "redis+unix://{}/redis.sock",
            self.directory.path().display()
        )
    }

    /// A handle with its own connection and namespace.
    pub async fn redis(&self) -> Redis {
        handle(&self.url()).await
    }

    /// The same with more settings.
    pub async fn redis_with(&self, set: impl FnOnce(RedisBuilder) -> RedisBuilder) -> Redis {
        handle_with(&self.url(), set).await
    }

    /// A handle that shares a pool of the application.
    pub async fn pooled(&self) -> Redis {
        Redis::builder()
            .namespace(namespace())
            .pool(&self.pool().await)
            .expect("a handle over a pool")
    }

    /// A connected pool of the application with two connections.
    pub async fn pool(&self) -> Pool {
        let pool = application_builder(&self.url()).build_pool(2);
        let pool = pool.expect("a pool");
        pool.init().await.expect("a connected pool");
        pool
    }

    /// A raw client that is not tested: it looks at keys, breaks them, or counts commands.
    pub async fn admin(&self) -> Client {
        Self::client(&self.url()).await
    }

    /// A raw client of the database with this number.
    pub async fn admin_of(&self, database: u8) -> Client {
        Self::client(&format!("{}/{database}", self.url())).await
    }

    async fn client(url: &str) -> Client {
        let client = Builder::from_config(Config::from_url(url).expect("a URL"))
            .build()
            .expect("a client");
        client.init().await.expect("a connection");
        client
    }

    /// The commands that the server ran during `work`, without those that count them.
    pub async fn count<T>(&self, work: impl Future<Output = T>) -> (Counts, T) {
        let admin = self.admin().await;
        let before = Counts::read(&admin).await;
        let value = work.await;
        let after = Counts::read(&admin).await;
        admin.quit().await.expect("a closed connection");
        (after.since(&before), value)
    }

    /// `kill -9`; returns when the process has ended.
    pub fn kill(&self) {
        self.signal("KILL");
        let mut guard = self.guard.lock().expect("the server's process");
        if let Some(mut child) = guard.take() {
            drop(child.stdin.take());
            child.wait().expect("the end of the server");
        }
    }

    /// Starts the server again on the same port after [`kill`](Self::kill). It has no data.
    pub fn restart(&self) {
        self.launch();
    }

    /// Removes the data that was saved, so that a restart begins without any.
    pub fn forget_saved(&self) {
        fs::remove_file(self.directory.path().join("dump.rdb")).expect("saved data");
    }

    /// SIGSTOP: connections stay open, and get no answers.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    /// SIGCONT after [`stop`](Self::stop).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = fs::read_to_string(self.pid_file()).expect("the server's pid");
        let status = Command::new("kill")
            .args([&format!("-{signal}"), pid.trim()])
            .status()
            .expect("kill");
        assert!(status.success(), "kill -{signal} {pid}");
    }

    fn pid_file(&self) -> PathBuf {
        self.directory.path().join("pid")
    }

    /// Starts the process under a shell, which kills it as soon as the pipe from this process closes.
    fn launch(&self) {
        let log = fs::File::create(self.directory.path().join("log")).expect("a log file");
        let mut child = Command::new("sh")
            .args([
                "-c",
                r#""$@" & echo $! > "$PID_FILE"; read -r _; kill -9 $! 2>/dev/null; wait"#,
                "sh",
            ])
            .arg(binary())
            .args(self.command_line())
            .env("PID_FILE", self.pid_file())
            .stdin(Stdio::piped())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("sh");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.answers() {
            let ended = child.try_wait().expect("the state of the server").is_some();
            assert!(
                !ended && Instant::now() < deadline,
                "redis-server does not start:\n{}",
                self.log()
            );
            std::thread::yield_now();
        }
        *self.guard.lock().expect("the server's process") = Some(child);
    }

    fn command_line(&self) -> Vec<String> {
        let directory = self.directory.path().display().to_string();
        let mut words: Vec<String> = Vec::new();
        // redis-server takes a configuration file only as its first argument.
        words.extend(
            self.configuration
                .iter()
                .map(|path| path.display().to_string()),
        );
        words.extend(["--port".into(), self.port.to_string()]);
        words.extend(["--bind", "127.0.0.1", "--dir"].map(String::from));
        words.push(directory.clone());
        if self.configuration.is_none() {
            words.extend(["--save", "", "--appendonly", "no", "--unixsocket"].map(String::from));
            words.push(format!("{directory}/redis.sock"));
        }
        words.extend(self.arguments.iter().cloned());
        words
    }

    /// Whether there is any answer: a server with a password answers with an error.
    fn answers(&self) -> bool {
        use std::io::Read;
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else {
            return false;
        };
        // Another program on the port may accept the connection and not answer.
        let patience = Some(Duration::from_secs(1));
        let mut byte = [0];
        stream.set_read_timeout(patience).is_ok()
            && stream.write_all(b"PING\r\n").is_ok()
            && stream.read(&mut byte).is_ok_and(|count| count == 1)
    }

    /// Waits until the server answers `PONG`. While it loads its data, it answers with an error.
    pub fn wait_for_pong(&self) {
        use std::io::Read;
        let mut answer = [0; 5];
        while answer != *b"+PONG" {
            let mut stream =
                TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("the server");
            stream.write_all(b"PING\r\n").expect("a ping");
            stream.read_exact(&mut answer).expect("an answer");
            std::thread::yield_now();
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let guard = self
            .guard
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(mut child) = guard.take() {
            // This ends a stopped server too: SIGKILL needs no SIGCONT.
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// A namespace that no other test has, and no process that a test starts.
pub fn namespace() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!(
        "t{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A handle to the server at `url`, with its own namespace.
pub async fn handle(url: &str) -> Redis {
    handle_with(url, |builder| builder).await
}

/// The same with more settings.
pub async fn handle_with(url: &str, set: impl FnOnce(RedisBuilder) -> RedisBuilder) -> Redis {
    let builder = set(Redis::builder().namespace(namespace()));
    builder.connect(url).await.expect("a handle")
}

/// The settings of a client that the application makes.
pub fn application_builder(url: &str) -> Builder {
    let mut builder = Builder::from_config(Config::from_url(url).expect("a URL"));
    builder.set_policy(ReconnectPolicy::new_constant(0, 20));
    builder
}

/// Waits until `redis` is served again after a fault.
pub async fn until_served(redis: &Redis) {
    until("a server that answers", async || redis.ping().await.is_ok()).await;
}

/// Waits until `redis` finds out by its own probes that all servers answer. Sends nothing.
pub async fn until_up(redis: &Redis) {
    let mut health = redis.watch_health();
    let up = health.wait_for(|health| *health == Health::Up);
    patiently("a healthy handle", up)
        .await
        .expect("the handle lives");
}

fn binary() -> &'static str {
    ["redis-server", "valkey-server"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok())
        .expect("redis-server or valkey-server on PATH: `make setup` installs one")
}

/// A port on which no program listens. It is below the range for outgoing connections, so that none takes it before it is
/// used. Each process of the tests starts at another port.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = std::process::id().wrapping_mul(499);
    loop {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST_PORT + (begin.wrapping_add(step) % u32::from(PORTS)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 20_000;
