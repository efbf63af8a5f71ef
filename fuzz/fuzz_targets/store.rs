//! The files of the byte store that decode stored data. They are compiled from the folder of the crate.

#![allow(dead_code, unused_imports, unreachable_pub)]

#[path = "../../src/store/entry.rs"]
pub mod entry;
#[path = "../../src/store/history.rs"]
pub mod history;
#[path = "../../src/store/key.rs"]
pub mod key;
#[path = "../../src/store/life.rs"]
pub mod life;
#[path = "../../src/store/outdated.rs"]
pub mod outdated;
#[path = "../../src/store/pack.rs"]
pub mod pack;
#[path = "../../src/store/purges.rs"]
pub mod purges;
#[path = "../../src/store/tags.rs"]
pub mod tags;
#[path = "../../src/store/uri.rs"]
pub mod uri;
#[path = "../../src/store/writer.rs"]
pub mod writer;

pub(crate) use key::{Digest, Key, KeyBuilder};
pub(crate) use life::Tag;
