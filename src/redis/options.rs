//! The settings of a handle.

use std::{sync::Arc, time::Duration};

#[cfg(feature = "tls")]
use super::connection::tls::Tls;
use super::{
    client::client::Redis,
    connection::{health::OverallHealth, settings::check_deadline},
    neighbour::DEFAULT_NAMESPACE,
    topology::deployment::Deployment,
};
use crate::error::Error;

/// Settings for a [`Redis`] handle; [`Redis::builder`] begins one.
///
/// It ends with [`connect`](Self::connect), or with [`client`](Self::client) or [`pool`](Self::pool) when the
/// application already has a connected fred client.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct RedisBuilder {
    /// None for the default, which other applications may use too.
    pub(super) namespace: Option<String>,
    pub(super) deadline: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) pool_size: usize,
    pub(super) max_in_flight: usize,
    pub(super) lazy: bool,
    #[cfg(feature = "tls")]
    pub(super) tls: Tls,
}

impl Redis {
    /// Settings other than the default: namespace, deadline, pool size, a client of your own.
    pub fn builder() -> RedisBuilder {
        RedisBuilder::new()
    }
}

impl RedisBuilder {
    pub(super) fn new() -> Self {
        Self {
            namespace: None,
            deadline: Duration::from_millis(250),
            connect_timeout: Duration::from_secs(5),
            pool_size: 1,
            max_in_flight: 1024,
            lazy: false,
            #[cfg(feature = "tls")]
            tls: Tls::default(),
        }
    }

    /// What every key of this crate begins with; default `tower-fred`. Two applications on one server need two: in one
    /// namespace they share sessions, limits and stored responses.
    ///
    /// Where it is not set, [`connect`](Self::connect) logs a warning if another application connected so in the last 30 days:
    /// one whose executable has another file name, which is left under the key `tower-fred:application`.
    ///
    /// 1 to 64 visible ASCII characters without `{` and `}`: in a cluster those would move the keys. Checked when the
    /// builder ends.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// How long a command may take, including the wait for a connection; default 250 ms, 1 ms to 1 hour.
    ///
    /// Keep it shorter than any timeout around the request: a command that this deadline ends is not sent later, one
    /// whose future is dropped may be.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long [`connect`](Self::connect) may take in all; default 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How many connections to open; default 1, which is as fast as more unless values are large.
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.pool_size = connections;
        self
    }

    /// How many commands of this crate may wait for Redis at once; default 1024. One more fails at once.
    pub fn max_in_flight(mut self, commands: usize) -> Self {
        self.max_in_flight = commands;
        self
    }

    /// Does not wait for the server: [`connect`](Self::connect) returns at once, and connects in the background for as long
    /// as it takes. Until then each command fails, and the layers do what they do while Redis is away.
    ///
    /// Only an invalid URL or setting is still an error of `connect`; a server that is too old is logged.
    pub fn lazy(mut self) -> Self {
        self.lazy = true;
        self
    }

    /// Trusts servers whose certificate one of these CAs signed, in place of the platform's root certificates.
    ///
    /// One or more certificates in PEM; other things in the text are passed over. Only with a URL that asks for TLS, such
    /// as `rediss://`. Checked by [`connect`](Self::connect).
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let redis = tower_fred::Redis::builder()
    ///     .ca_certificate(std::fs::read("ca.pem")?)
    ///     .client_certificate(std::fs::read("shop.pem")?, std::fs::read("shop.key")?)
    ///     .connect("rediss://redis.internal:6379")
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "tls")]
    pub fn ca_certificate(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.tls.set_ca(pem.as_ref());
        self
    }

    /// Shows the server this certificate, as one does that has `tls-auth-clients yes`; none is shown by default.
    ///
    /// The certificate with the chain that follows it, and its private key without a passphrase, in PEM. Only with a URL
    /// that asks for TLS. Checked by [`connect`](Self::connect); the key is never shown.
    #[cfg(feature = "tls")]
    pub fn client_certificate(
        mut self,
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Self {
        self.tls.set_identity(certificate.as_ref(), key.as_ref());
        self
    }

    /// Refuses settings that cannot work. The error names the setting.
    pub(super) fn check(&self) -> Result<(), Error> {
        let visible = |c: char| c.is_ascii_graphic() && c != '{' && c != '}';
        let namespace = self.chosen_namespace();
        if !(1..=64).contains(&namespace.len()) || !namespace.chars().all(visible) {
            return Err(Error::config(
                "namespace must be 1 to 64 visible ASCII characters without braces",
            ));
        }
        check_deadline(self.deadline)?;
        if self.connect_timeout.is_zero() {
            return Err(Error::config("connect_timeout must not be zero"));
        }
        if !(1..=1024).contains(&self.pool_size) {
            return Err(Error::config("pool_size must be 1 to 1024"));
        }
        // The upper bound is that of the semaphore behind it.
        if !(1..=1 << 20).contains(&self.max_in_flight) {
            return Err(Error::config("max_in_flight must be 1 to 1048576"));
        }
        Ok(())
    }

    fn chosen_namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
    }

    /// Makes the handle to the servers that were found.
    pub(super) fn build(self, deployment: Deployment, health: Arc<OverallHealth>) -> Redis {
        Redis::new(
            deployment,
            health,
            self.chosen_namespace(),
            self.max_in_flight,
            self.deadline,
        )
    }
}
