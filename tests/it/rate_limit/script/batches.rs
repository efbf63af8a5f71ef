//! The script that decides for many, against the one that decides for one.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use tower_fred::fred::{
    clients::Client,
    interfaces::ClientLike,
    types::{CustomCommand, Value},
};

use super::{
    harness::{NOW, Policy, Script, check},
    joint_argument::{Joint, Part},
    quota::Quota,
};
use crate::{
    rate_limit::command,
    support::{Server, server::namespace},
};

/// A budget, a set of numbers, and the permits that are asked for.
type Request = (usize, usize, u64);

/// The requests of a batch, and the microseconds since the one before.
type Batch = (Vec<Request>, i64);

const BUDGETS: usize = 4;

/// What may be stored there before: nothing, what other numbers or clocks left, what is none of ours.
const STORED: [&str; 8] = [
    "",
    "",
    "1750032000900000",
    "1750032000900000:1",
    "9999999999999999",
    "1750032000000000:0001010111",
    "no number",
    "a list",
];

/// What the script for many says of each request, or nothing where it leaves it to the script for one.
async fn decide(
    admin: &Client,
    requests: &[Request],
    keys: &[String],
    policies: &[Policy],
    now: u64,
) -> Vec<Option<f64>> {
    let mut text = include_str!("../../../../src/rate_limit/script/lua/gcra_batch.lua").to_owned();
    for (old, new) in [
        ("redis.call('TIME')", "{ARGV[2], ARGV[3]}"),
        // The server would let keys go by its own clock.
        ("sub(text, 1, 13)", "'9999999999999'"),
    ] {
        assert_eq!(text.matches(old).count(), 1, "{old}");
        text = text.replace(old, new);
    }
    let parts = requests.iter().map(|(budget, numbers, cost)| {
        let (head, text) = policies[*numbers].packed(*cost);
        Part::new(&Bytes::from(keys[*budget].clone()), &head, text.as_bytes())
    });
    let parts: Vec<Part> = parts.collect();
    let joint = Joint::of(&parts);
    let mut argument = b"a proof.".to_vec();
    argument.extend(f64::INFINITY.to_le_bytes());
    argument.extend(joint.argument);
    let count = joint.keys.len().to_string();
    let mut words: Vec<Value> = vec![text.into(), count.into()];
    words.extend(joint.keys.into_iter().map(Value::from));
    words.push(Bytes::from(argument).into());
    words.extend([now / 1_000_000, now % 1_000_000].map(|part| part.to_string().into()));
    let eval = CustomCommand::new_static("EVAL", None, false);
    let reply: Value = admin.custom(eval, words).await.expect("EVAL");
    let reply = reply.as_bytes().expect("bytes");
    assert!(reply.starts_with(b"a proof."));
    let numbers: Vec<f64> = reply[8..]
        .chunks(8)
        .map(|eight| f64::from_le_bytes(eight.try_into().expect("eight")))
        .collect();
    assert_eq!(
        (numbers[0], numbers.len()),
        (now as f64, 1 + requests.len())
    );
    let mut levels = vec![None; requests.len()];
    for (place, level) in joint.places.into_iter().zip(&numbers[1..]) {
        levels[place] = level.is_finite().then_some(*level);
    }
    levels
}

fn single<'a>(admin: &'a Client, key: &str, policy: &Policy) -> Script<'a> {
    Script {
        admin,
        policies: vec![(policy.clone(), key.to_owned())],
    }
}

/// Two sets of numbers, and whether the budget has a name; what is stored; the batches.
fn cases() -> impl Strategy<Value = ((Quota, Quota, bool), Vec<usize>, Vec<Batch>)> {
    let quota = || {
        (1..2_000_u32, 1..3_000_000_u64, 1..20_u32).prop_map(|(permits, window, burst)| {
            Quota::new(permits, Duration::from_micros(window)).burst(burst)
        })
    };
    let request = || {
        (
            0..BUDGETS,
            prop_oneof![8 => Just(0_usize), 1 => Just(1)],
            1..6_u64,
        )
    };
    let batch = || {
        let requests = prop::collection::vec(request(), 1..24);
        (
            requests,
            prop_oneof![8 => 0..400_000_i64, 1 => -900_000_i64..0],
        )
    };
    let policies = (quota(), quota(), any::<bool>());
    let stored = prop::collection::vec(0..STORED.len(), BUDGETS);
    let batches = prop::collection::vec(batch(), 1..4);
    (policies, stored, batches)
}

async fn store(admin: &Client, keys: &[String], stored: &[usize]) {
    for (key, stored) in keys.iter().zip(stored) {
        match STORED[*stored] {
            "" => {}
            "a list" => command(admin, "RPUSH", &[key, "a"]).await,
            text => command(admin, "SET", &[key, text]).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_batch_decides_what_its_requests_get_one_by_one() {
    let server = Server::shared();
    let admin = server.admin().await;
    check(120, cases(), async |case| {
        let ((one, other, named), stored, batches) = case;
        let policy = |quota| match named {
            true => Policy::named("gcra", quota),
            false => Policy::new("gcra", quota),
        };
        let policies = [policy(one), policy(other)];
        let [keys, copies] = [(), ()].map(|()| {
            let keys = (0..BUDGETS).map(|_| namespace());
            keys.collect::<Vec<String>>()
        });
        for keys in [&keys, &copies] {
            store(&admin, keys, &stored).await;
        }
        let mut now = NOW;
        for (requests, pause) in batches {
            now = now.saturating_add_signed(pause);
            let levels = decide(&admin, &requests, &keys, &policies, now).await;
            // Those that are left are decided after the others.
            let mut order: Vec<_> = requests.iter().zip(&levels).collect();
            order.sort_by_key(|(_, level)| level.is_none());
            for ((budget, numbers, cost), level) in order {
                let policy = &policies[*numbers];
                let expected = single(&admin, &copies[*budget], policy);
                let expected = expected.ask_single(now, *cost).await;
                match level {
                    Some(level) => {
                        let fits = *level >= 0.0;
                        let level = if fits { *level } else { -1.0 - level };
                        let told = [fits.into(), level as i64, 0, 0, 0];
                        prop_assert_eq!(told, expected.policies[0]);
                    }
                    None => {
                        let alone = single(&admin, &keys[*budget], policy);
                        prop_assert_eq!(alone.ask_single(now, *cost).await, expected);
                    }
                }
            }
            for (key, copy) in keys.iter().zip(&copies) {
                let [one, other]: [Value; 2] = [
                    command(&admin, "DUMP", &[key]).await,
                    command(&admin, "DUMP", &[copy]).await,
                ];
                prop_assert_eq!(one.as_bytes(), other.as_bytes());
            }
        }
        Ok(())
    });
}

#[tokio::test]
async fn a_late_batch_writes_nothing() {
    let server = Server::shared();
    let admin = server.admin().await;
    let policy = Policy::new("gcra", Quota::per_minute(10));
    let key = namespace();
    let (head, text) = policy.packed(1);
    let joint = Joint::of(&[Part::new(&Bytes::from(key.clone()), &head, text.as_bytes())]);
    let mut argument = b"a proof.".to_vec();
    argument.extend(1_750_032_000_000_000_f64.to_le_bytes());
    argument.extend(joint.argument);
    let text = include_str!("../../../../src/rate_limit/script/lua/gcra_batch.lua");
    let words: Vec<Value> = vec![
        text.into(),
        "1".into(),
        key.clone().into(),
        Bytes::from(argument).into(),
    ];
    let eval = CustomCommand::new_static("EVAL", None, false);
    let reply: Value = admin.custom(eval, words).await.expect("EVAL");
    assert_eq!(reply.as_bytes().expect("bytes").len(), 16);
    let exists: i64 = command(&admin, "EXISTS", &[&key]).await;
    assert_eq!(exists, 0);
}
