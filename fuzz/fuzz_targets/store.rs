//! The rooms of the byte store that read what Redis holds, compiled from where they are.

#![allow(dead_code, unused_imports, unreachable_pub)]

#[path = "../../src/store/entry/mod.rs"]
pub mod entry;
#[path = "../../src/store/history/mod.rs"]
pub mod history;

pub(crate) use entry::{
    key::{Digest, Key, KeyBuilder},
    tag::Tag,
    uri,
};
