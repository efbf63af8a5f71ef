//! What is stored, under which key.

mod content;
mod isolation;
mod keys;
mod policy;
mod rewritten_uri;
mod storing;
mod threats;
