//! Who is counted: the head of a request comes in, an [`Identity`](identity::Identity) goes out.
//! Pure: no Redis, no runtime, no clock.
//! All rooms above import it.

pub(crate) mod async_key;
pub(crate) mod forwarded_ip;
pub(crate) mod forwarding_headers;
pub(crate) mod identity;
pub(crate) mod key;
pub(crate) mod key_tuple;
pub(crate) mod lookup;
pub(crate) mod peer_ip;
pub(crate) mod request_keys;
pub(crate) mod search;
