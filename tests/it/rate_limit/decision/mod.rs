//! What a client is told.

mod responses;
