//! The rooms of the response cache that read field values: each has only the files that are tried here.

#![allow(dead_code, unreachable_pub)]

pub mod conditional;
pub mod rfc;
pub mod rules;
