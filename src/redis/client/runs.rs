//! Runs of scripts.

use std::{str, time::Instant};

use bytes::Bytes;
use fred::types::{FromValue, Value};

use super::handle::Redis;
#[cfg(feature = "rate-limit")]
use crate::redis::script::{
    packed_script::{PackedCall, PackedScript},
    script::corrupt,
};
use crate::{
    error::Error,
    redis::script::script::{Call, Script, unwrap_reply},
};

impl Redis {
    /// Runs `script` on `key`, with `args` from `ARGV[3]` on. Gives what the script replied.
    ///
    /// This takes one round trip, and two more when the server does not have the script yet, all within one deadline. A
    /// script that reaches the server after its time limit does not run.
    pub(crate) async fn run<R: FromValue>(
        &self,
        script: &'static Script,
        key: &str,
        args: impl IntoIterator<Item = Value>,
    ) -> Result<R, Error> {
        self.run_call(script, &[key], None, args).await
    }

    /// As [`run`](Self::run), on one or more keys. In a [cluster](Self::is_cluster) they have the same hash tag.
    pub(crate) async fn run_on<R: FromValue>(
        &self,
        script: &'static Script,
        keys: &[impl AsRef<str>],
        args: impl IntoIterator<Item = Value>,
    ) -> Result<R, Error> {
        self.run_call(script, keys, None, args).await
    }

    /// As [`run`](Self::run), with the milliseconds since an instant in `ARGV[3]`, and `args` from `ARGV[4]` on.
    ///
    /// The limit in `ARGV[2]`, which is two deadlines ahead, is computed first, the milliseconds after it. So the limit less
    /// the milliseconds is not later than two deadlines after the instant, on the server's clock.
    #[cfg(feature = "session")]
    pub(crate) async fn run_since<R: FromValue>(
        &self,
        script: &'static Script,
        key: &str,
        since: Instant,
        args: impl IntoIterator<Item = Value>,
    ) -> Result<R, Error> {
        self.run_call(script, &[key], Some(since), args).await
    }

    async fn run_call<R: FromValue>(
        &self,
        script: &'static Script,
        keys: &[impl AsRef<str>],
        since: Option<Instant>,
        args: impl IntoIterator<Item = Value>,
    ) -> Result<R, Error> {
        let words = keys
            .iter()
            .map(|key| Bytes::copy_from_slice(key.as_ref().as_bytes()));
        let call = Call::new(script, words.collect(), since, args.into_iter().collect());
        let key = keys.first().map_or("", AsRef::as_ref);
        let deadline = self.deadline();
        let reply = self
            .send(key, async |client, clock| {
                call.run(&client, &clock, deadline).await
            })
            .await?;
        unwrap_reply(reply)
    }

    /// Runs `script` on `key`, which is text. The argument after the proof and the time limit is `argument`. Gives the first
    /// numbers of the reply.
    ///
    /// As [`run`](Self::run) else.
    #[cfg(feature = "rate-limit")]
    pub(crate) async fn run_packed(
        &self,
        script: &PackedScript,
        key: &Bytes,
        argument: &[&[u8]],
    ) -> Result<[f64; 5], Error> {
        let call = PackedCall::new(script, std::slice::from_ref(key), argument);
        let deadline = self.deadline();
        let text = str::from_utf8(key).map_err(|_| corrupt())?;
        let numbers = self
            .send(text, async |client, clock| {
                call.run(&client, &clock, deadline).await
            })
            .await?;
        Ok(numbers.in_time()?.first())
    }
}
