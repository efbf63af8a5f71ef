//! Runs of a script for one, or of a script for many for those that wait.

use std::{slice, str, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    error::Error,
    redis::{
        batch::{
            batcher::Batcher,
            carrier::{Carrier, Outcome},
            refusal::Refusal,
        },
        connection::settings::CommandOptions,
        script::{
            joint_argument::{Joint, Part},
            packed_script::{Numbers, PackedCall, PackedScript},
            script::corrupt,
        },
        topology::deployment::Deployment,
    },
};

/// A script for one, and one that does the same for many: each of them gets one number after the time. A number that is not
/// finite says that nothing was done, and that the script for one has to do it.
#[derive(Debug)]
pub(crate) struct JointScript {
    pub(crate) one: PackedScript,
    pub(crate) many: PackedScript,
}

/// The runs of one handle. All are of the same script.
#[derive(Debug)]
pub(crate) struct JointRuns {
    batcher: Arc<Batcher<Together>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    deployment: Arc<Deployment>,
    refusal: Refusal,
}

/// Runs the script for many.
#[derive(Clone, Debug)]
struct Together {
    script: &'static PackedScript,
    shared: Arc<Shared>,
}

impl JointRuns {
    pub(crate) fn new(deployment: &Arc<Deployment>) -> Self {
        Self {
            batcher: Batcher::new(),
            shared: Arc::new(Shared {
                deployment: Arc::clone(deployment),
                refusal: Refusal::default(),
            }),
        }
    }

    /// Runs `script` on `key`, which is text. The argument is four doubles, the first of them the caller's own, and text.
    pub(crate) async fn run(
        &self,
        script: &'static JointScript,
        key: &Bytes,
        (head, text): (&[u8; 32], &[u8]),
        options: &CommandOptions,
    ) -> Result<[f64; 5], Error> {
        let Shared {
            deployment,
            refusal,
        } = &*self.shared;
        let word = str::from_utf8(key).map_err(|_| corrupt())?;
        let argument = [&head[..], text];
        let alone = async |options: &CommandOptions| {
            let keys = slice::from_ref(key);
            let run = run(deployment, &script.one, word, keys, &argument, options);
            // Most callers wait for others, and do not have to carry the state of a command.
            Ok(Box::pin(run).await?.first())
        };
        if refusal.is_now() {
            return alone(options).await;
        }
        let until = Instant::now() + options.deadline;
        let alone = async |waited| match waited {
            false => alone(options).await,
            true => alone(&CommandOptions::until(until)).await,
        };
        let carrier = Together {
            script: &script.many,
            shared: Arc::clone(&self.shared),
        };
        let question = || Part::new(key, head, text);
        let lane = deployment.lane(word);
        self.batcher
            .ask(carrier, lane, until, question, alone)
            .await
    }
}

async fn run(
    deployment: &Deployment,
    script: &PackedScript,
    key: &str,
    keys: &[Bytes],
    argument: &[&[u8]],
    options: &CommandOptions,
) -> Result<Numbers, Error> {
    let call = PackedCall::new(script, keys, argument);
    let numbers = deployment
        .send(key, options, async |client, clock| {
            call.run(&client, &clock, options.deadline).await
        })
        .await?;
    numbers.in_time()
}

impl Carrier for Together {
    type Question = Part;
    type Answer = [f64; 5];

    fn most(&self) -> usize {
        MOST
    }

    async fn carry(&self, parts: Vec<Part>, until: Instant) -> Vec<Outcome<[f64; 5]>> {
        let Joint {
            keys,
            argument,
            places,
        } = Joint::of(&parts);
        let options = CommandOptions::until(until);
        let first = keys.first().cloned().unwrap_or_default();
        let first = String::from_utf8_lossy(&first);
        let reply = run(
            &self.shared.deployment,
            self.script,
            &first,
            &keys,
            &[&argument],
            &options,
        )
        .await;
        let numbers = match reply {
            Ok(numbers) if numbers.count() == 1 + parts.len() => numbers,
            // The batcher takes what is missing for an error.
            Ok(_) => return Vec::new(),
            Err(error) => {
                return self
                    .shared
                    .refusal
                    .outcomes_of_write("EVALSHA", &error, parts.len());
            }
        };
        let mut outcomes: Vec<Outcome<[f64; 5]>> = parts.iter().map(|_| Outcome::Alone).collect();
        for (at, place) in (1..).zip(places) {
            let [now, number] = [0, at].map(|at| numbers.get(at));
            if number.is_finite() {
                outcomes[place] = Outcome::Answered([now, number, 0.0, 0.0, 0.0]);
            }
        }
        outcomes
    }
}

/// For how many one run decides: some hundred microseconds for the server.
const MOST: usize = 128;
