//! A record of the purge log: whatever is there, it is read as it was written, or purges everything.

#![no_main]

mod store;

use libfuzzer_sys::fuzz_target;
use store::{
    life::Seq,
    purges::{Mode, Order, Purged, Purges, Verdict},
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
        let seq = Seq { epoch: 1, count };
        let order = order.clone();
        purges.apply(&Purged {
            seq,
            order,
            at_ms: 0,
        });
    };
    apply(0, &begin);
    apply(1, &order);
    let before = purges.judge(Seq { epoch: 1, count: 0 }, order.tags.iter().copied());
    assert_eq!(before == Verdict::Holds, order.mode == Mode::Begin);
    let after = purges.judge(Seq { epoch: 1, count: 1 }, order.tags.iter().copied());
    assert_eq!(after, Verdict::Holds);
});
