//! The state that all requests of one layer share.

use std::sync::Arc;

use super::{failures::Failures, fill_tasks::FillTasks, memory::Memory};
use crate::{cache::rules::config::Config, store::Store};

/// The settings of a layer, its store, and what its requests learn for each other.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Store,
    pub(crate) memory: Memory,
    pub(crate) failures: Failures,
    pub(crate) fill_tasks: FillTasks,
}
