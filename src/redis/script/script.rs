//! Lua scripts, sent by their hash, and by their text to a server that does not have them.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use fred::{
    clients::{Client, WithOptions},
    error::Error as FredError,
    types::{FromValue, Value},
};

use super::loaded_script::{LoadedScript, Run, out_of_turn};
use crate::{
    error::{Error, Kind},
    redis::connection::server_clock::ServerClock,
};

/// A Lua script over one key, or over keys of one hash tag. The text of `prelude.lua` stands before it. Its own arguments
/// begin at `ARGV[3]`, and it returns `reply(…)`.
///
/// The first argument of each run is its proof: a number that no other run of this process has. The reply begins with
/// the same number. A reply without it answers another command and is dropped.
#[derive(Debug)]
pub(crate) struct Script {
    flags: &'static str,
    body: &'static str,
    loaded: OnceLock<LoadedScript>,
}

impl Script {
    pub(crate) const fn new(body: &'static str) -> Self {
        Self {
            flags: "",
            body,
            loaded: OnceLock::new(),
        }
    }

    /// One that writes nothing, and says so: a server that holds back writes (`CLIENT PAUSE … WRITE`, a failover, Valkey 9
    /// while it moves slots) runs it at once.
    #[cfg(feature = "session")]
    pub(crate) const fn reading(body: &'static str) -> Self {
        Self {
            flags: "#!lua flags=no-writes\n",
            body,
            loaded: OnceLock::new(),
        }
    }

    fn loaded(&self) -> &LoadedScript {
        self.loaded
            .get_or_init(|| LoadedScript::new(&[self.flags, PRELUDE, self.body]))
    }
}

/// One run of a script. Its words are reference-counted, not copied.
pub(crate) struct Call {
    script: &'static LoadedScript,
    keys: Vec<Bytes>,
    since: Option<Instant>,
    proof: Bytes,
    args: Vec<Value>,
    begun: Instant,
}

impl Call {
    pub(crate) fn new(
        script: &'static Script,
        keys: Vec<Bytes>,
        since: Option<Instant>,
        args: Vec<Value>,
    ) -> Self {
        let proof = NEXT_PROOF.fetch_add(1, Ordering::Relaxed);
        Self {
            script: script.loaded(),
            keys,
            since,
            proof: proof.to_string().into(),
            args,
            begun: Instant::now(),
        }
    }

    /// Runs it on `client`, and once more if the server's clock must have been set.
    pub(crate) async fn run(
        &self,
        client: &WithOptions<Client>,
        clock: &ServerClock,
        deadline: Duration,
    ) -> Result<Value, FredError> {
        let reply = self.send(client, clock.limit(deadline), deadline).await?;
        learn(&reply, clock);
        if !is_late(&reply) {
            return Ok(reply);
        }
        // The answer came in time, so the server's clock must have been set. `learn` has the new time.
        self.send(client, clock.limit(deadline), deadline).await
    }

    async fn send(
        &self,
        client: &WithOptions<Client>,
        limit: i64,
        deadline: Duration,
    ) -> Result<Value, FredError> {
        let words = |script: &Bytes| -> Vec<Value> {
            let count = self.keys.len().to_string().into();
            let first = [script, &count].into_iter();
            let words = first.chain(&self.keys).chain([&self.proof]);
            let age = self.since.map(|since| {
                let age = since.elapsed().as_millis();
                Value::from(i64::try_from(age).unwrap_or(i64::MAX / 4))
            });
            words
                .map(|word| Value::from(word.clone()))
                .chain([limit.into()])
                .chain(age)
                .chain(self.args.iter().cloned())
                .collect()
        };
        let run = Run {
            script: self.script,
            client,
            key: self.keys.first().map_or(b"", |key| key),
            begun: self.begun,
            deadline,
        };
        let reply = run.send(words).await?;
        if is_proven(&reply, &self.proof) {
            Ok(reply)
        } else {
            Err(out_of_turn())
        }
    }
}

/// Whether a reply answers the run with this proof. A reply that is no list comes from a script that failed half-way.
fn is_proven(reply: &Value, proof: &[u8]) -> bool {
    match reply {
        Value::Array(values) => values.first().and_then(Value::as_bytes) == Some(proof),
        _ => false,
    }
}

fn learn(reply: &Value, clock: &ServerClock) {
    if let Value::Array(values) = reply {
        if let Some(now_ms) = values.get(1).and_then(Value::as_i64) {
            clock.learn(now_ms);
        }
    }
}

fn is_late(reply: &Value) -> bool {
    matches!(reply, Value::Array(values) if values.get(2).and_then(Value::as_bytes) == Some(b"late"))
}

/// What a script replied, if it ran.
pub(crate) fn unwrap_reply<R: FromValue>(reply: Value) -> Result<R, Error> {
    let Value::Array(mut values) = reply else {
        return Err(corrupt());
    };
    match values.get(2).and_then(Value::as_bytes) {
        Some(b"ran") => {}
        Some(b"late") => return Err(ran_late()),
        _ => return Err(corrupt()),
    }
    let rest = values.split_off(3);
    Value::Array(rest)
        .convert()
        .map_err(|error| corrupt().caused_by(error))
}

/// The reply has not the form that the script gives it.
pub(crate) fn corrupt() -> Error {
    Error::new(
        Kind::Corrupt,
        "redis answered a script with an unexpected value",
    )
}

pub(super) fn ran_late() -> Error {
    Error::new(
        Kind::Timeout,
        "the script reached redis after its time limit and did not run",
    )
}

const PRELUDE: &str = include_str!("lua/prelude.lua");

pub(super) static NEXT_PROOF: AtomicU64 = AtomicU64::new(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(values: &[&str]) -> Value {
        Value::Array(values.iter().copied().map(Value::from).collect())
    }

    #[test]
    fn only_the_reply_to_this_run_is_proven() {
        assert!(is_proven(&reply(&["7", "0", "ran", "a"]), b"7"));
        for other in [
            reply(&["8", "0", "ran", "a"]),
            reply(&[]),
            Value::Null,
            "7".into(),
        ] {
            assert!(!is_proven(&other, b"7"), "{other:?}");
        }
    }

    /// `fill.lua` used a second key that it made of the first: while a slot moves, such a script stops half-way.
    #[test]
    fn no_script_uses_a_key_that_is_not_among_its_keys() {
        let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut scripts = 0;
        while let Some(folder) = folders.pop() {
            for file in std::fs::read_dir(folder).expect("a folder") {
                let path = file.expect("a file").path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "lua") {
                    scripts += 1;
                    check_keys(&path);
                }
            }
        }
        assert!(scripts > 10, "{scripts}");
    }

    /// The first word after the name of a command is a key: one of `KEYS`, or a local name for one.
    fn check_keys(path: &std::path::Path) {
        let text = std::fs::read_to_string(path).expect("a script");
        let code: Vec<&str> = text
            .lines()
            .map(|line| line.split("--").next().unwrap_or_default())
            .collect();
        let code = code.join("\n");
        for call in code.split("call(").skip(1) {
            let words = call.split_once(')').map_or(call, |(words, _)| words);
            let Some((_, key)) = words.split_once(',') else {
                continue;
            };
            let key = key.split(',').next().unwrap_or_default().trim();
            let made = key.contains("..") || key.starts_with('\'') || key.starts_with("ARGV");
            assert!(!made, "{}: {key}", path.display());
        }
        for joined in code.split("..").map(str::trim_end) {
            let key = joined.rsplit([' ', '(', ',']).next().unwrap_or_default();
            assert!(!key.starts_with("KEYS["), "{}: {joined}", path.display());
        }
    }

    #[test]
    fn a_reply_of_another_form_is_corrupt() {
        let ours: Vec<String> = unwrap_reply(reply(&["7", "0", "ran", "a", "b"])).expect("ours");
        assert_eq!(ours, ["a", "b"]);
        for other in [Value::Null, reply(&["7"]), reply(&["7", "0", "a"])] {
            assert!(
                unwrap_reply::<Vec<String>>(other)
                    .expect_err("other")
                    .is_corrupt()
            );
        }
        let late = unwrap_reply::<Vec<String>>(reply(&["7", "0", "late"])).expect_err("late");
        assert!(late.is_timeout());
    }
}
