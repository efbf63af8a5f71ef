//! Taking answers out of the cache.

use http::Uri;

use super::{
    key::{normal_host, resource},
    remote::Remote,
};
use crate::{error::Error, redis::Redis};

/// Takes stored answers out of the cache, from a handler, a job or another program: it needs no layer.
///
/// It reaches all processes that share the handle's namespace, with one command.
///
/// ```no_run
/// # async fn example(redis: tower_fred::Redis) -> Result<(), Box<dyn std::error::Error>> {
/// use tower_fred::cache::Purge;
///
/// let purge = Purge::new(redis);
/// purge.url(&"https://shop.example/products/7".parse()?).await?;
/// # Ok(())
/// # }
/// ```
///
/// # What it cannot do
///
/// An answer that a handler is making while the purge runs may be stored right after it, and then stays for its
/// lifetime. Purge after the data changed, not before, and keep lifetimes short where this matters.
#[derive(Clone, Debug)]
pub struct Purge {
    remote: Remote,
}

impl Purge {
    /// A handle for the answers that are stored under the namespace of `redis`.
    pub fn new(redis: Redis) -> Self {
        Self {
            remote: Remote::new(redis),
        }
    }

    /// Removes the answer stored for `url` with all its variants; true when there was one.
    ///
    /// The URL is compared as it is written: host without letter case and default port, path and query byte for byte. A
    /// URL without a host stands for requests without one. The scheme makes no difference.
    ///
    /// # Errors
    ///
    /// An error when Redis did not confirm it: the answer may still be there.
    pub async fn url(&self, url: &Uri) -> Result<bool, Error> {
        let host = normal_host(url.authority().map_or("", |authority| authority.as_str()));
        let path = match url.path() {
            "" => "/",
            path => path,
        };
        let resource = resource(&host, path, url.query());
        self.remote.delete(&self.remote.primary(&resource)).await
    }
}
