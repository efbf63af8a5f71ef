//! The text of a script and its hash, and how a server that does not have the script gets it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fred::{
    clients::{Client, WithOptions},
    error::{Error as FredError, ErrorKind},
    interfaces::ClientLike,
    types::{ClusterHash, CustomCommand, Value},
    util::sha1_hash,
};

use crate::redis::connection::{fred_error::is_unanswered, settings::CommandOptions};

#[derive(Debug)]
pub(super) struct LoadedScript {
    source: Bytes,
    sha1: Bytes,
}

impl LoadedScript {
    pub(super) fn new(parts: &[&str]) -> Self {
        let source = parts.concat();
        let sha1 = sha1_hash(&source).into();
        Self {
            source: source.into(),
            sha1,
        }
    }
}

/// One run of a script, on the server that has `key`.
pub(super) struct Run<'a> {
    pub(super) script: &'a LoadedScript,
    pub(super) client: &'a WithOptions<Client>,
    pub(super) key: &'a [u8],
    /// When the caller began to wait, for `deadline`.
    pub(super) begun: Instant,
    pub(super) deadline: Duration,
}

impl Run<'_> {
    /// `words` makes the words of the command from the first of them: the hash or the text of the script.
    pub(super) async fn send(
        &self,
        words: impl Fn(&Bytes) -> Vec<Value>,
    ) -> Result<Value, FredError> {
        let command = self.command("EVALSHA");
        let answer = self.client.custom(command, words(&self.script.sha1)).await;
        match answer {
            Err(error) if is_not_loaded(&error) => Box::pin(self.load_and_send(words)).await,
            answer => answer,
        }
    }

    /// Runs a script that its server does not have. Nothing ran before this, and each step that fails ran nothing either.
    ///
    /// Servers forget the scripts of `EVAL` after 500 others (Redis 7.4, Valkey 8), those of `SCRIPT LOAD` never.
    async fn load_and_send(
        &self,
        words: impl Fn(&Bytes) -> Vec<Value>,
    ) -> Result<Value, FredError> {
        let LoadedScript { source, sha1 } = self.script;
        let load = vec!["LOAD".into(), source.clone().into()];
        match self.step("SCRIPT", load).await {
            Ok(loaded) if loaded.as_bytes() == Some(&**sha1) => {
                match self.step("EVALSHA", words(sha1)).await {
                    // Forgotten again, or another server has the key by now.
                    Err(error) if is_not_loaded(&error) => {}
                    answer => return answer,
                }
            }
            Ok(_) => return Err(out_of_turn()),
            Err(error) if is_unanswered(&error) => return Err(error),
            // The user may not be allowed to load scripts.
            Err(_) => {}
        }
        self.step("EVAL", words(source)).await
    }

    /// One of several commands that have the deadline of one.
    async fn step(&self, name: &'static str, words: Vec<Value>) -> Result<Value, FredError> {
        let left = self.deadline.saturating_sub(self.begun.elapsed());
        let options = CommandOptions::new(left.max(Duration::from_millis(1)));
        let client = self.client.with_options(&options.options);
        client.custom(self.command(name), words).await
    }

    /// Typed `evalsha` would drop the options of the client.
    fn command(&self, name: &'static str) -> CustomCommand {
        CustomCommand::new_static(name, ClusterHash::from(self.key), false)
    }
}

/// A reply that does not belong to the command.
pub(super) fn out_of_turn() -> FredError {
    FredError::new(ErrorKind::Protocol, "the reply is to another command")
}

/// Whether the server ran nothing because it does not have the script.
fn is_not_loaded(error: &FredError) -> bool {
    error.details().starts_with("NOSCRIPT")
}
