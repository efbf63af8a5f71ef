//! Whether another application uses the default namespace of the same server.

use std::time::Duration;

use fred::{
    clients::Client,
    interfaces::{ClientLike, KeysInterface},
    types::{Expiration, Value},
};

/// The namespace of a builder that is given none.
pub(super) const DEFAULT_NAMESPACE: &str = "tower-fred";

/// Where the application that connected last has left its name.
pub(super) const MARKER: &str = "tower-fred:application";

/// How long a start waits for that.
pub(super) const MARKER_TIMEOUT: Duration = Duration::from_secs(1);

/// Leaves this application's name beside the data of the default namespace, and logs a warning if another's was there.
///
/// One command, `SET … GET`. An error of it is no error of the application: it may not be allowed to write there.
pub(super) async fn introduce(client: Client) {
    let Some(name) = own_name() else { return };
    if client.wait_for_connect().await.is_err() {
        return;
    }
    let expiry = Expiration::PX(i64::try_from(LIFE.as_millis()).unwrap_or(i64::MAX));
    let last = client.set::<Value, _, _>(MARKER, name.as_str(), Some(expiry), None, true);
    match last.await {
        Ok(last) => {
            if let Some(other) = last.as_str().filter(|last| *last != name) {
                tracing::warn!(
                    target: "tower_fred::redis",
                    ?other,
                    ours = ?name,
                    "another application uses the default namespace of this server: they share sessions, limits and \
                     stored responses unless RedisBuilder::namespace is set"
                );
            }
        }
        Err(error) => {
            tracing::debug!(target: "tower_fred::redis", %error, "cannot tell whether another application is there");
        }
    }
}

/// The file name of the executable: the same in all processes of an application, on every machine.
fn own_name() -> Option<String> {
    let path = std::env::current_exe().ok()?;
    let name = path.file_name()?.to_string_lossy();
    Some(name.chars().take(MOST_CHARS).collect())
}

/// Longer than most applications go without a start of one of their processes.
const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
const MOST_CHARS: usize = 100;
