//! The settings of a handle.

use std::{sync::Arc, time::Duration};

#[cfg(feature = "tls")]
use super::connection::tls::Tls;
use super::{
    client::handle::Redis,
    connection::{
        health::OverallHealth,
        settings::{Timing, check_deadline},
    },
    neighbour::DEFAULT_NAMESPACE,
    topology::deployment::Deployment,
};
use crate::error::Error;

/// Settings for a [`Redis`] handle; [`Redis::builder`] begins one.
///
/// [`connect`](Self::connect) makes the handle. If the application already has a connected fred client,
/// [`client`](Self::client) or [`pool`](Self::pool) does.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it connects"]
pub struct RedisBuilder {
    /// None for the default, which other applications may use too.
    pub(super) namespace: Option<String>,
    pub(super) deadline: Duration,
    pub(super) connect_timeout: Duration,
    heartbeat: Duration,
    pub(super) pool_size: usize,
    pub(super) max_in_flight: usize,
    pub(super) lazy: bool,
    coherence: Duration,
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
            heartbeat: Duration::from_secs(30),
            pool_size: 1,
            max_in_flight: 1024,
            lazy: false,
            coherence: Duration::from_millis(50),
            #[cfg(feature = "tls")]
            tls: Tls::default(),
        }
    }

    /// What every key of this crate begins with; default `tower-fred`. Each application on a server needs its own: in one
    /// namespace, two applications share sessions, limits and stored responses.
    ///
    /// Where it is not set, [`connect`](Self::connect) logs a warning if another application connected without a namespace in
    /// the last 30 days. Applications are told apart by the file name of their executable, which is stored under the key
    /// `tower-fred:application`.
    ///
    /// 1 to 64 visible ASCII characters without `{` and `}`, which would change the slots of the keys in a cluster. Checked
    /// when the handle is made.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// How long a command may take, including the wait for a connection; default 250 ms, 1 ms to 1 hour.
    ///
    /// Keep it shorter than any timeout around the request. A command that this deadline ends is not sent later. A command
    /// whose future is dropped by a timeout outside may be sent later.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How long [`connect`](Self::connect) may take in total; default 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How often a `PING` is sent on a connection of this handle, so that no proxy between takes it for idle and closes it;
    /// default 30 s, 10 ms to 1 hour. Choose less than the proxy's idle timeout.
    ///
    /// Not for a client that the application made, and in a cluster not for the connections of
    /// [`Redis::client`](crate::Redis::client) to all servers but one.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// How many connections to open; default 1, which is as fast as more unless values are large.
    pub fn pool_size(mut self, connections: usize) -> Self {
        self.pool_size = connections;
        self
    }

    /// How many commands of this crate may wait for Redis at the same time; default 1024. Further ones fail at once.
    pub fn max_in_flight(mut self, commands: usize) -> Self {
        self.max_in_flight = commands;
        self
    }

    /// How old what this process knows of purges may be; default 50 ms, 10 ms to 1 minute.
    ///
    /// A purge that has returned is known to every process within this time, and at once to the one that made it. In most
    /// cases it is known within milliseconds, whatever the setting: each process also waits for purges on a connection of its
    /// own. The setting is for the case that this connection is lost and nothing shows it.
    ///
    /// What it costs: while a process uses a cache or a memo, it asks the server of the purge log for new records once in
    /// 0.4 times this time, or once in this time less the [deadline](Self::deadline) and 150 ms if that is longer. With the
    /// default that is 50 commands a second for each process. With one second it is 1.7: a thousand processes then send 1,900
    /// commands a second with those of the connections that wait, in place of 50,000. A process that uses nothing for two
    /// seconds, or for twice the interval, stops asking.
    ///
    /// A near copy whose entry another process has replaced without a purge is used for at most a second, or for this time
    /// if it is longer.
    ///
    /// All layers and memos with this handle share the setting.
    #[cfg(feature = "cache")]
    pub fn coherence(mut self, bound: Duration) -> Self {
        self.coherence = bound;
        self
    }

    /// Does not wait for the server: [`connect`](Self::connect) returns at once, and the handle connects in the background.
    /// Until then each command fails, and the layers do what they do when Redis is unavailable.
    ///
    /// `connect` still fails for an invalid URL or setting. A server that is too old is logged.
    pub fn lazy(mut self) -> Self {
        self.lazy = true;
        self
    }

    /// Trusts servers whose certificate one of these CAs signed, in place of the platform's root certificates.
    ///
    /// One or more certificates in PEM; anything else in the text is ignored. Only with a URL that asks for TLS, such as
    /// `rediss://`. Checked by [`connect`](Self::connect).
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

    /// Presents this certificate to the server, for a server with `tls-auth-clients yes`; default none.
    ///
    /// In PEM: the certificate with the chain that follows it, and its private key without a passphrase. Only with a URL
    /// that asks for TLS. Checked by [`connect`](Self::connect). No message or `Debug` output shows the key.
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
        if !(Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&self.heartbeat) {
            return Err(Error::config("heartbeat must be 10 ms to 1 hour"));
        }
        if !(1..=1024).contains(&self.pool_size) {
            return Err(Error::config("pool_size must be 1 to 1024"));
        }
        if !(Duration::from_millis(10)..=Duration::from_secs(60)).contains(&self.coherence) {
            return Err(Error::config("coherence must be 10 ms to 1 minute"));
        }
        // The upper bound is below that of tokio's semaphore on all platforms.
        if !(1..=1 << 20).contains(&self.max_in_flight) {
            return Err(Error::config("max_in_flight must be 1 to 1048576"));
        }
        Ok(())
    }

    pub(super) fn timing(&self) -> Timing {
        Timing {
            deadline: self.deadline,
            heartbeat: self.heartbeat,
        }
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
            self.coherence,
        )
    }
}
