//! A record of the purge log: any bytes are decoded to the order that encodes to them, or to an order that purges everything.

#![no_main]

mod store;

use libfuzzer_sys::fuzz_target;
use store::{
    entry::{log_position::Seq, state::Verdict, tag::Subject},
    history::{
        map::Purges,
        record::{Mode, Order, PurgeRecord},
    },
};

fuzz_target!(|bytes: &[u8]| {
    let order = Order::decode(bytes);
    if order.encode() != bytes {
        assert!(order.mode == Mode::Hard && order.tags.is_empty());
    }
    let mut purges = Purges::default();
    let begin = Order {
        mode: Mode::Begin,
        token: order.token,
        tags: Vec::new(),
    };
    let mut apply = |count, order: &Order| {
        purges.apply(&PurgeRecord {
            epoch: 1,
            count,
            order: order.clone(),
            at_ms: 0,
        });
    };
    apply(0, &begin);
    apply(1, &order);
    let judge = |count, subject| {
        let (epoch, token) = (1, order.token);
        let seq = Seq {
            epoch,
            count,
            token,
        };
        purges.judge(seq, subject, order.tags.iter().copied())
    };
    let is_named = match order.mode {
        Mode::Begin => false,
        Mode::Hard | Mode::Soft => true,
        Mode::Invalidate => !order.tags.is_empty(),
    };
    assert_eq!(judge(0, Subject::Response) != Verdict::Holds, is_named);
    let is_named = is_named && order.mode != Mode::Invalidate;
    assert_eq!(judge(0, Subject::Value) != Verdict::Holds, is_named);
    for subject in [Subject::Response, Subject::Value] {
        assert_eq!(judge(1, subject), Verdict::Holds);
    }
});
