//! Lua scripts with one binary argument and a binary reply, for what is run with each request.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bytes::Bytes;
use fred::{
    clients::{Client, WithOptions},
    error::Error as FredError,
    types::Value,
};

use super::{
    loaded_script::{LoadedScript, Run, out_of_turn},
    script::{NEXT_PROOF, ran_late},
};
use crate::{error::Error, redis::connection::server_clock::ServerClock};

/// A Lua script over one key, or over keys of one slot, without a prelude.
///
/// Its argument begins with the proof of the run in 8 bytes, and a double: the last microsecond on the server's clock at
/// which it may run. The reply begins with the same proof; then come doubles, the first of them the time. A reply of the
/// proof and the time alone says that the script came too late and did not run.
#[derive(Debug)]
pub(crate) struct PackedScript(LoadedScript);

impl PackedScript {
    pub(crate) fn new(parts: &[&str]) -> Self {
        Self(LoadedScript::new(parts))
    }
}

/// The doubles of a reply, after the proof.
#[derive(Debug)]
pub(crate) struct Numbers(Value);

impl Numbers {
    /// The number at this place, or 0 if the reply is shorter.
    pub(crate) fn get(&self, at: usize) -> f64 {
        let bytes = self.0.as_bytes().unwrap_or_default();
        let number = bytes.get(8 + 8 * at..).and_then(<[u8]>::first_chunk::<8>);
        number.map_or(0.0, |bytes| f64::from_le_bytes(*bytes))
    }

    /// The first five numbers.
    pub(crate) fn first(&self) -> [f64; 5] {
        [0, 1, 2, 3, 4].map(|at| self.get(at))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        let bytes = self.0.as_bytes().unwrap_or_default();
        (bytes.len() / 8).saturating_sub(1)
    }

    fn is_proven(&self, proof: u64) -> bool {
        let bytes = self.0.as_bytes().unwrap_or_default();
        bytes.len() % 8 == 0 && bytes.starts_with(&proof.to_le_bytes())
    }

    /// The numbers of a run that came in time.
    pub(crate) fn in_time(self) -> Result<Self, Error> {
        match self.is_late() {
            true => Err(ran_late()),
            false => Ok(self),
        }
    }

    fn is_late(&self) -> bool {
        self.0.as_bytes().is_some_and(|bytes| bytes.len() == 16)
    }
}

/// One run of a script.
pub(crate) struct PackedCall<'a> {
    script: &'a PackedScript,
    keys: &'a [Bytes],
    argument: &'a [&'a [u8]],
    proof: u64,
    begun: Instant,
}

impl<'a> PackedCall<'a> {
    /// The argument after the proof and the time limit is `argument`.
    pub(crate) fn new(
        script: &'a PackedScript,
        keys: &'a [Bytes],
        argument: &'a [&'a [u8]],
    ) -> Self {
        Self {
            script,
            keys,
            argument,
            proof: NEXT_PROOF.fetch_add(1, Ordering::Relaxed),
            begun: Instant::now(),
        }
    }

    /// Runs it on `client`, and once more if the server's clock must have been set.
    pub(crate) async fn run(
        &self,
        client: &WithOptions<Client>,
        clock: &ServerClock,
        deadline: Duration,
    ) -> Result<Numbers, FredError> {
        let numbers = self.send(client, clock.limit(deadline), deadline).await?;
        let now = numbers.get(0);
        if now > 0.0 {
            clock.learn((now / 1_000.0) as i64);
        }
        if !numbers.is_late() {
            return Ok(numbers);
        }
        // The answer came in time, so the server's clock must have been set. The clock has learnt the new time.
        self.send(client, clock.limit(deadline), deadline).await
    }

    async fn send(
        &self,
        client: &WithOptions<Client>,
        limit_ms: i64,
        deadline: Duration,
    ) -> Result<Numbers, FredError> {
        let argument = pack(self.proof, limit_ms, self.argument);
        let words = |script: &Bytes| -> Vec<Value> {
            let count = match self.keys.len() {
                1 => Bytes::from_static(b"1"),
                count => count.to_string().into(),
            };
            let mut words = Vec::with_capacity(3 + self.keys.len());
            words.extend([script.clone(), count].map(Value::from));
            words.extend(self.keys.iter().cloned().map(Value::from));
            words.push(argument.clone().into());
            words
        };
        let run = Run {
            script: &self.script.0,
            client,
            key: self.keys.first().map_or(b"", |key| key),
            begun: self.begun,
            deadline,
        };
        let numbers = Numbers(run.send(words).await?);
        match numbers.is_proven(self.proof) {
            true => Ok(numbers),
            false => Err(out_of_turn()),
        }
    }
}

/// The argument of a run; a limit of 0 milliseconds is none.
fn pack(proof: u64, limit_ms: i64, argument: &[&[u8]]) -> Bytes {
    let limit = match limit_ms {
        0 => f64::INFINITY,
        // The last microsecond of the millisecond.
        limit => (limit as f64).mul_add(1_000.0, 999.0),
    };
    let length: usize = argument.iter().map(|part| part.len()).sum();
    let mut packed = Vec::with_capacity(16 + length);
    packed.extend_from_slice(&proof.to_le_bytes());
    packed.extend_from_slice(&limit.to_le_bytes());
    for part in argument {
        packed.extend_from_slice(part);
    }
    packed.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(words: &[[u8; 8]]) -> Numbers {
        Numbers(Value::Bytes(words.concat().into()))
    }

    #[test]
    fn only_the_reply_to_this_run_is_proven() {
        let [seven, eight] = [7_u64, 8].map(u64::to_le_bytes);
        let now = 5.0_f64.to_le_bytes();
        assert!(numbers(&[seven]).is_proven(7));
        assert!(numbers(&[seven, now]).is_proven(7));
        assert!(!numbers(&[eight, now]).is_proven(7));
        for other in [
            Value::Null,
            "7".into(),
            Value::Integer(7),
            Value::Array(vec![]),
        ] {
            assert!(!Numbers(other).is_proven(7));
        }
        assert!(!Numbers(Value::Bytes(vec![7, 0, 0, 0, 0, 0, 0, 0, 1].into())).is_proven(7));
    }

    #[test]
    fn a_reply_of_the_time_alone_is_late() {
        let [proof, now] = [7_u64.to_le_bytes(), 5.0_f64.to_le_bytes()];
        assert!(numbers(&[proof, now]).is_late());
        assert!(!numbers(&[proof]).is_late());
        let ran = numbers(&[proof, now, now]);
        assert!(!ran.is_late());
        assert_eq!([ran.get(0), ran.get(1), ran.get(2)], [5.0, 5.0, 0.0]);
    }

    #[test]
    fn a_limit_is_the_end_of_its_millisecond() {
        let limit = |ms| {
            let packed = pack(7, ms, &[b"rest"]);
            assert_eq!(
                (&packed[..8], &packed[16..]),
                (&7_u64.to_le_bytes()[..], &b"rest"[..])
            );
            f64::from_le_bytes(*packed[8..].first_chunk().expect("a double"))
        };
        assert_eq!(limit(0), f64::INFINITY);
        assert_eq!(limit(1_750_000_000_000), 1_750_000_000_000_999.0);
    }
}
