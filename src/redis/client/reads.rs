//! Plain reads: a `GET` alone, or an `MGET` for those that wait.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use fred::{interfaces::KeysInterface, types::Key};
use tokio::time::Instant;

use crate::{
    error::{Error, Kind},
    redis::{
        batch::{
            batcher::Batcher,
            carrier::{Carrier, Outcome},
            refusal::Refusal,
            sizes::Sizes,
        },
        connection::settings::CommandOptions,
        topology::deployment::Deployment,
    },
};

/// The plain reads of one handle.
#[derive(Debug)]
pub(crate) struct Reads {
    batcher: Arc<Batcher<Mget>>,
    mget: Mget,
}

/// Sends `MGET`.
#[derive(Clone, Debug)]
struct Mget {
    deployment: Arc<Deployment>,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    sizes: Sizes,
    refusal: Refusal,
}

impl Reads {
    pub(crate) fn new(deployment: &Arc<Deployment>) -> Self {
        Self {
            batcher: Batcher::new(),
            mget: Mget {
                deployment: Arc::clone(deployment),
                seen: Arc::default(),
            },
        }
    }

    /// Reads `key`.
    pub(crate) async fn get(
        &self,
        key: &str,
        options: &CommandOptions,
    ) -> Result<Option<Bytes>, Error> {
        let Mget { deployment, seen } = &self.mget;
        let until = Instant::now() + options.deadline;
        let value = if seen.sizes.is_large(key) || seen.refusal.is_now() {
            get_alone(deployment, key, options).await?
        } else {
            let alone = async |waited: bool| {
                let rest = waited.then(|| CommandOptions::until(until));
                // Most callers wait for others, and do not have to carry the state of a command.
                Box::pin(get_alone(deployment, key, rest.as_ref().unwrap_or(options))).await
            };
            let question = || key.to_owned();
            let (mget, lane) = (self.mget.clone(), deployment.lane(key));
            self.batcher.ask(mget, lane, until, question, alone).await?
        };
        seen.sizes.note(key, value.as_ref().map_or(0, Bytes::len));
        Ok(value)
    }

    /// Notes the size of a value that is written.
    pub(crate) fn note(&self, key: &str, value: &Bytes) {
        self.mget.seen.sizes.note(key, value.len());
    }
}

async fn get_alone(
    deployment: &Deployment,
    key: &str,
    options: &CommandOptions,
) -> Result<Option<Bytes>, Error> {
    deployment
        .read(key, options, async |client, _| client.get(key).await)
        .await
}

impl Carrier for Mget {
    type Question = String;
    type Answer = Option<Bytes>;

    fn most(&self) -> usize {
        self.seen.sizes.most()
    }

    async fn carry(&self, keys: Vec<String>, until: Instant) -> Vec<Outcome<Option<Bytes>>> {
        let (places, once) = distinct(keys);
        let options = CommandOptions::until(until);
        let outcomes = match self.mget(&once, &options).await {
            // A value of another type looks like none: whoever stores something there finds out.
            Ok(values) => values.into_iter().map(Outcome::Answered).collect(),
            Err(error) => self.seen.refusal.outcomes("MGET", &error, once.len()),
        };
        places.iter().map(|place| outcomes[*place].same()).collect()
    }
}

impl Mget {
    async fn mget(
        &self,
        keys: &[Arc<str>],
        options: &CommandOptions,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        let first = keys.first().map_or("", |key| key);
        let values: Vec<Option<Bytes>> = self
            .deployment
            .read(first, options, async |client, _| {
                client.mget(words(keys.iter())).await
            })
            .await?;
        match values.len() == keys.len() {
            true => Ok(values),
            false => Err(Error::new(
                Kind::Corrupt,
                "redis answered a batch with another number of values",
            )),
        }
    }
}

/// The place of each key among the distinct keys, and these.
fn distinct(keys: Vec<String>) -> (Vec<usize>, Vec<Arc<str>>) {
    let mut places = HashMap::with_capacity(keys.len());
    let mut once: Vec<Arc<str>> = Vec::with_capacity(keys.len());
    let places = keys.into_iter().map(|key| {
        let key: Arc<str> = key.into();
        *places.entry(Arc::clone(&key)).or_insert_with(|| {
            once.push(key);
            once.len() - 1
        })
    });
    (places.collect(), once)
}

fn words<'a>(keys: impl Iterator<Item = &'a Arc<str>>) -> Vec<Key> {
    keys.map(|key| Key::from(&**key)).collect()
}
