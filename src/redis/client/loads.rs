//! Reads of hashes: an `HGETALL` alone, or a script for those that wait.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use fred::{interfaces::HashesInterface, types::Value};
use tokio::time::Instant;

use crate::{
    error::{Error, Kind},
    redis::{
        batch::{
            batcher::Batcher,
            carrier::{Carrier, Outcome},
            refusal::Refusal,
        },
        connection::settings::CommandOptions,
        script::script::{Call, Script, unwrap_reply},
        topology::deployment::Deployment,
    },
};

/// The reads of hashes of one handle.
#[derive(Debug)]
pub(crate) struct Loads {
    batcher: Arc<Batcher<Together>>,
    carrier: Together,
}

/// Runs the script.
#[derive(Clone, Debug)]
struct Together {
    deployment: Arc<Deployment>,
    refusal: Arc<Refusal>,
}

impl Loads {
    pub(crate) fn new(deployment: &Arc<Deployment>) -> Self {
        Self {
            batcher: Batcher::new(),
            carrier: Together {
                deployment: Arc::clone(deployment),
                refusal: Arc::default(),
            },
        }
    }

    /// The fields of `key`; none when there is no such key.
    pub(crate) async fn get(
        &self,
        key: &str,
        options: &CommandOptions,
    ) -> Result<HashMap<String, Bytes>, Error> {
        let Together {
            deployment,
            refusal,
        } = &self.carrier;
        if refusal.is_now() {
            return fields(load_alone(deployment, key, options).await?);
        }
        let until = Instant::now() + options.deadline;
        let alone = async |waited: bool| {
            let rest = waited.then(|| CommandOptions::until(until));
            // As of reads: most callers wait for others.
            Box::pin(load_alone(
                deployment,
                key,
                rest.as_ref().unwrap_or(options),
            ))
            .await
        };
        let question = || Bytes::copy_from_slice(key.as_bytes());
        let (carrier, lane) = (self.carrier.clone(), deployment.lane(key));
        fields(
            self.batcher
                .ask(carrier, lane, until, question, alone)
                .await?,
        )
    }
}

async fn load_alone(
    deployment: &Deployment,
    key: &str,
    options: &CommandOptions,
) -> Result<Value, Error> {
    deployment
        .read(key, options, async |client, _| client.hgetall(key).await)
        .await
}

fn fields(value: Value) -> Result<HashMap<String, Bytes>, Error> {
    value.convert().map_err(|error| {
        Error::new(Kind::Corrupt, "redis answered with an unexpected value").caused_by(error)
    })
}

impl Carrier for Together {
    type Question = Bytes;
    type Answer = Value;

    fn most(&self) -> usize {
        MOST
    }

    async fn carry(&self, keys: Vec<Bytes>, until: Instant) -> Vec<Outcome<Value>> {
        let count = keys.len();
        let options = CommandOptions::until(until);
        let deadline = options.deadline;
        let first = keys.first().cloned().unwrap_or_default();
        let first = String::from_utf8_lossy(&first);
        let call = Call::new(&HASHES, keys, None, Vec::new());
        let reply = self
            .deployment
            .read(&first, &options, async |client, clock| {
                call.run(&client, &clock, deadline).await
            })
            .await;
        let outcome = |value| match value {
            Value::Null => Outcome::Alone,
            value => Outcome::Answered(value),
        };
        match reply.and_then(unwrap_reply) {
            Ok(Value::Array(values)) => values.into_iter().map(outcome).collect(),
            // The batcher takes what is missing for an error.
            Ok(_) => Vec::new(),
            Err(error) => self.refusal.outcomes("EVALSHA", &error, count),
        }
    }
}

static HASHES: Script = Script::reading(include_str!("lua/hashes.lua"));
/// How many hashes one run reads: some hundred microseconds for the server.
const MOST: usize = 64;
