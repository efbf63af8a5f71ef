//! Encoding and decoding entries, without Redis. Compiles the crate's own files.

#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "shared with the crate, which uses all of it"
)]

#[path = "../../src/store/entry/mod.rs"]
mod entry;

use std::{future::ready, hint::black_box};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::harness::Case;
use entry::{
    decode::{Entry, Head},
    encode::Writer,
    key::KeyBuilder,
    lifetime::Life,
};

pub(crate) fn cases() -> Vec<Case> {
    let head = head();
    let digest = KeyBuilder::new("bench").finish();
    let mut cases = Vec::new();
    for (encode, decode, size) in [
        ("entry, encode, 1 KiB", "entry, decode, 1 KiB", 1 << 10),
        (
            "entry, encode, 256 KiB",
            "entry, decode, 256 KiB",
            256 << 10,
        ),
    ] {
        let (head, body) = (head.clone(), vec![b'x'; size]);
        let write = move || {
            let mut writer = Writer::response(&head, &digest).expect("a head that fits");
            writer.push(&body);
            writer.finish()
        };
        let blob: Bytes = write();
        cases.push(Case::new(encode, &[], move || {
            black_box(write());
            ready(())
        }));
        cases.push(Case::new(decode, &[], move || {
            black_box(Entry::decode(blob.clone(), &digest).expect("an entry"));
            ready(())
        }));
    }
    cases
}

/// Twelve header fields, as a page has.
fn head() -> Head {
    let mut headers = HeaderMap::new();
    for number in 0..12 {
        let name = format!("x-field-{number}");
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            HeaderValue::from_static("a value of some length"),
        );
    }
    Head {
        status: StatusCode::OK,
        headers,
        life: Life::default(),
    }
}
