//! An entry as read from Redis: any bytes are decoded or are a miss, and what was decoded is encoded to the same entry.
//!
//! The first byte is the kind. The rest is put behind a valid digest and checksum, without which no input would reach the
//! parsers: as the version that is written, and as the one before it. The bytes are also decoded as they are.

#![no_main]

mod store;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use store::entry::{
    checksum::{VERSION, checksum},
    decode::Entry,
    encode::Writer,
    key::KeyBuilder,
};

fuzz_target!(|bytes: &[u8]| {
    let digest = KeyBuilder::new("fuzz").finish();
    let _ = Entry::decode(Bytes::copy_from_slice(bytes), &digest);

    let Some((kind, content)) = bytes.split_first() else {
        return;
    };
    let framed = |version: u8, sum: fn(&[u8]) -> [u8; 8]| {
        let mut framed = b"TF".to_vec();
        framed.extend([version, 0, 0, 0, 0, 0, 0, 0, 0, *kind]);
        framed.extend(digest.as_bytes());
        framed.extend(content);
        let sum = sum(&framed[11..]);
        framed[3..11].copy_from_slice(&sum);
        Entry::decode(framed.into(), &digest)
    };
    let written = framed(VERSION, checksum);
    assert_eq!(framed(VERSION - 1, sum_before), written);
    match written {
        Some(Entry::Response(stored)) => {
            let mut writer = Writer::response(&stored.head, &digest).expect("what was read fits");
            writer.push(&stored.body);
            let again = Entry::decode(writer.finish(), &digest);
            assert_eq!(again, Some(Entry::Response(stored)));
        }
        Some(Entry::Value(value)) => {
            let blob = Writer::value(&value.life, &value.bytes, &digest, None);
            assert_eq!(Entry::decode(blob, &digest), Some(Entry::Value(value)));
        }
        Some(Entry::Variants(_) | Entry::Lease) | None => {}
    }
});

/// The checksum of the version before.
fn sum_before(bytes: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    sum
}
