//! What happens to a request and its response: places, upgrades, and permits that come back.

mod concurrency;
mod returns;
mod upgrades;
