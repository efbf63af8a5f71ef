//! What the RFCs require.

mod conformance;
mod fields;
mod oracle;
