//! What the cache decides, compiled from where it is.

#[path = "../../../src/cache/rules/implicit_vary.rs"]
pub mod implicit_vary;
#[path = "../../../src/cache/rules/key.rs"]
pub mod key;
#[path = "../../../src/cache/rules/site.rs"]
pub mod site;
#[path = "../../../src/cache/rules/vary_by.rs"]
pub mod vary_by;
