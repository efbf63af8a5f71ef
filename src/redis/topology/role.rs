//! Whether a server is a primary.

use std::time::Duration;

use fred::{clients::Client, interfaces::ClientLike, types::InfoKind};
use tokio::time::timeout;

use crate::redis::connection::fred_error::is_unanswered;

/// What a server says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Primary,
    Replica,
    /// The server does not say, or the user may not ask.
    Unsaid,
    /// No answer.
    Unknown,
}

impl Role {
    /// Asks with `INFO replication`: `ROLE` is a permission that users of this crate need not have.
    pub(crate) async fn ask(client: &Client, limit: Duration) -> Self {
        let info = client.info::<String>(Some(InfoKind::Replication));
        match timeout(limit, info).await {
            Ok(Ok(info)) => Self::read(&info),
            Ok(Err(error)) if is_unanswered(&error) => Self::Unknown,
            Ok(Err(_)) => Self::Unsaid,
            Err(_) => Self::Unknown,
        }
    }

    /// Whether nothing is known that speaks against it.
    pub(crate) fn may_be_primary(self) -> bool {
        matches!(self, Self::Primary | Self::Unsaid)
    }

    fn read(info: &str) -> Self {
        let mut lines = info.lines().map(str::trim);
        match lines.find_map(|line| line.strip_prefix("role:")) {
            Some("master") => Self::Primary,
            Some(_) => Self::Replica,
            None => Self::Unsaid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_a_line_of_its_own() {
        assert_eq!(
            Role::read("# Replication\r\nrole:master\r\n"),
            Role::Primary
        );
        assert_eq!(Role::read("# Replication\r\nrole:slave\r\n"), Role::Replica);
        assert_eq!(Role::read("role:replica"), Role::Replica);
        assert_eq!(Role::read("a_role:master"), Role::Unsaid);
        assert_eq!(Role::read(""), Role::Unsaid);
    }
}
