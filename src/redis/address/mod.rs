//! Addresses: the URL of a deployment, and why a server at an address cannot be connected to.
//!
//! Every other room of the slice may import it; it imports none of them.

pub(crate) mod diagnosis;
pub(crate) mod url;
pub(crate) mod url_parts;
