//! Bodies on their way into the cache.

mod bodies;
mod feed;
mod filling;
mod slow_clients;
mod stored;
