//! A purged value is not seen again on any node, whatever happens to Redis.
//!
//! Four processes read, write and purge the same keys. The truth is a number in a file for each key; a process
//! that changes it purges afterwards, and every load reads it. A read that began after a purge had returned must not give a number that is
//! older than the one before the purge: at once in the process that purged, and 50 ms later in the others.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Child,
    sync::Mutex,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::future::join_all;
use tempfile::TempDir;
use tower_fred::{Redis, fred::clients::Client, memo::Memo};

use super::values;
use crate::support::{
    Server, process,
    proxy::{Mode, Proxy},
    topology::run as run_command,
};

const KEYS: u64 = 12;
const PROCESSES: u64 = 4;
/// The last process only reads: a process that purges learns of other purges by that.
const WRITERS: u64 = 3;
const OTHERS_KNOW_AFTER: u64 = 50_000;

/// What one process did, one word and three numbers a line: `read key value began` or `purge key value returned`, times in
/// microseconds.
struct Deed {
    process: u64,
    is_purge: bool,
    key: u64,
    value: u64,
    at: u64,
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.expect("after 1970").as_micros()).expect("before the year 500000")
}

fn truth(directory: &Path, key: u64) -> u64 {
    let text = fs::read_to_string(directory.join(key.to_string()));
    text.map_or(0, |text| text.parse().expect("a number"))
}

fn set_truth(directory: &Path, key: u64, value: u64) {
    let new = directory.join(format!("{key}.new"));
    fs::write(&new, value.to_string()).expect("written");
    fs::rename(new, directory.join(key.to_string())).expect("in its place");
}

/// A pseudo-random number (no crate needed).
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// One of the processes.
struct Node {
    number: u64,
    redis: Redis,
    memo: Memo<u64>,
    directory: PathBuf,
    log: Mutex<BufWriter<File>>,
    until: Instant,
}

impl Node {
    /// From the arguments that [`Run::start`] gives.
    async fn of(input: &str) -> Self {
        let mut words = input.split(' ');
        let mut word = || words.next().expect("a word").to_owned();
        let (url, number, directory, millis) = (word(), word(), PathBuf::from(word()), word());
        let builder = Redis::builder().namespace("coherence").lazy();
        let redis = builder.connect(&url).await.expect("a handle");
        let memo = Memo::new(redis.clone(), "numbers", Duration::from_secs(60))
            .near(1 << 20)
            .wait(Duration::from_secs(2))
            .tag("numbers")
            .tags_by(|value: &u64| vec![format!("tag:{}", value % KEYS)]);
        let log = File::create(directory.join(format!("log.{number}"))).expect("a log");
        let millis = millis.parse().expect("milliseconds");
        Self {
            number: number.parse().expect("a number"),
            redis,
            memo,
            directory,
            log: Mutex::new(BufWriter::new(log)),
            until: Instant::now() + Duration::from_millis(millis),
        }
    }

    fn note(&self, what: &str, key: u64, value: u64, at: u64) {
        let mut log = self.log.lock().expect("no panic");
        writeln!(log, "{what} {key} {value} {at}").expect("written");
    }

    async fn read_on(&self, reader: u64) {
        let mut state = 1 + self.number * 7919 + reader * 104_729;
        while Instant::now() < self.until {
            let key = random(&mut state) % KEYS;
            let pause = Duration::from_micros(random(&mut state) % 3000);
            let began = now();
            let load = async || {
                let value = truth(&self.directory, key);
                // Loads of different lengths overlap with writes in different ways.
                tokio::time::sleep(pause).await;
                // The key is part of the value, since the tag is made from it.
                value * KEYS + key
            };
            let value = self.memo.get_or_set(key, load).await;
            assert_eq!(value % KEYS, key, "another key's value");
            self.note("read", key, value / KEYS, began);
            if reader > 0 {
                tokio::time::sleep(pause / 4).await;
            }
        }
    }

    async fn write_on(&self) {
        let mut state = 3 + self.number * 6_700_417;
        let purge = self.redis.purge();
        while self.number < WRITERS && Instant::now() < self.until {
            // Each key is changed by one process.
            let key = (random(&mut state) % (KEYS / WRITERS)) * WRITERS + self.number;
            let value = truth(&self.directory, key) + 1;
            set_truth(&self.directory, key, value);
            let done = match random(&mut state) % 5 {
                0 => self.memo.set(key, &(value * KEYS + key)).await,
                1 => self.memo.invalidate(key).await.map(drop),
                2 => purge.all().await,
                _ => purge.tag(format!("tag:{key}")).await,
            };
            if done.is_ok() {
                self.note("purge", key, value, now());
            }
            // Purges come at random times.
            tokio::time::sleep(Duration::from_millis(random(&mut state) % 20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(input) = process::input() else {
        return;
    };
    let node = Node::of(&input).await;
    let readers = join_all((0..3).map(|reader| node.read_on(reader)));
    tokio::join!(readers, node.write_on());
    node.log.lock().expect("no panic").flush().expect("written");
    println!("coherent=done");
}

/// The processes, each with a relay of its own, and where they write.
struct Run {
    children: Vec<Child>,
    proxies: Vec<Proxy>,
    directory: TempDir,
}

impl Run {
    async fn start(server: &Server, time: Duration) -> Self {
        let directory = TempDir::with_prefix("tower-fred-").expect("a directory");
        let mut proxies = Vec::new();
        for _ in 0..PROCESSES {
            proxies.push(Proxy::start(server.port()).await);
        }
        let start = |(number, proxy): (usize, &Proxy)| {
            let (path, millis) = (directory.path().display(), time.as_millis());
            let input = format!("{} {number} {path} {millis}", proxy.url());
            process::start("memo::coherence::child", &input)
        };
        Self {
            children: proxies.iter().enumerate().map(start).collect(),
            proxies,
            directory,
        }
    }

    /// Waits for the end of all, and gives what they did.
    async fn deeds(self) -> Vec<Deed> {
        for child in self.children {
            let output = tokio::task::spawn_blocking(|| process::output(child, "coherent="));
            assert_eq!(output.await.expect("no panic"), ["done"]);
        }
        let mut deeds = Vec::new();
        for process in 0..PROCESSES {
            let path = self.directory.path().join(format!("log.{process}"));
            for line in fs::read_to_string(path).expect("a log").lines() {
                let words: Vec<&str> = line.split(' ').collect();
                let number = |place: usize| words[place].parse().expect("a number");
                deeds.push(Deed {
                    process,
                    is_purge: words[0] == "purge",
                    key: number(1),
                    value: number(2),
                    at: number(3),
                });
            }
        }
        deeds
    }
}

/// Says how much was checked: reads and purges.
fn check(deeds: &[Deed]) -> (usize, usize) {
    let mut purges: HashMap<u64, Vec<&Deed>> = HashMap::new();
    for deed in deeds.iter().filter(|deed| deed.is_purge) {
        purges.entry(deed.key).or_default().push(deed);
    }
    for list in purges.values_mut() {
        // One process changes a key, so that this is also the order of the values.
        list.sort_by_key(|purge| purge.at);
        assert!(list.windows(2).all(|pair| pair[0].value < pair[1].value));
    }
    let mut reads = 0;
    for read in deeds.iter().filter(|deed| !deed.is_purge) {
        reads += 1;
        let Some(list) = purges.get(&read.key) else {
            continue;
        };
        let is_before = |purge: &&Deed| {
            let same = purge.process == read.process;
            purge.at + if same { 0 } else { OTHERS_KNOW_AFTER } < read.at
        };
        let before = list.partition_point(is_before);
        if let Some(last) = before.checked_sub(1).map(|last| list[last]) {
            assert!(
                read.value >= last.value,
                "process {} read {} of key {}, {} us after process {} had purged what was before {}",
                read.process,
                read.value,
                read.key,
                read.at - last.at,
                last.process,
                last.value,
            );
        }
    }
    (reads, deeds.len() - reads)
}

fn report(name: &str, deeds: &[Deed]) {
    let (reads, purges) = check(deeds);
    println!("coherence, {name}: {reads} reads and {purges} purges, none of them too old");
    assert!(reads > 500 && purges > 20, "{reads} reads, {purges} purges");
}

/// How long a run is: short, unless `TOWER_FRED_COHERENCE` says how many seconds.
fn length() -> Duration {
    let seconds = std::env::var("TOWER_FRED_COHERENCE");
    let seconds = seconds.map(|seconds| seconds.parse().expect("seconds"));
    Duration::from_secs(seconds.unwrap_or(4))
}

/// A part of the test's length, between two faults.
async fn pause() {
    tokio::time::sleep(length() / 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_older_than_a_purge_is_read_after_it() {
    let server = Server::start();
    let run = Run::start(&server, length()).await;
    report("undisturbed", &run.deeds().await);
    assert!(!values(&server.admin().await).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_when_everything_is_flushed() {
    let server = Server::start();
    let run = Run::start(&server, length()).await;
    let admin: Client = server.admin().await;
    for _ in 0..6 {
        pause().await;
        let _: String = run_command(&admin, "FLUSHALL", &[])
            .await
            .expect("FLUSHALL");
    }
    report("flushed", &run.deeds().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_when_redis_is_killed() {
    let server = Server::start();
    let run = Run::start(&server, length()).await;
    for _ in 0..2 {
        pause().await;
        pause().await;
        tokio::task::block_in_place(|| server.kill());
        pause().await;
        tokio::task::block_in_place(|| server.restart());
    }
    report("killed", &run.deeds().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_when_one_process_is_cut_off() {
    let server = Server::start();
    let run = Run::start(&server, length()).await;
    for proxy in run.proxies.iter().rev().take(2) {
        pause().await;
        proxy.set(Mode::BlackHole);
        pause().await;
        proxy.set(Mode::Relay);
    }
    report("cut off", &run.deeds().await);
}
