//! The session of tower-sessions that a browser names, and what this request did with it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderMap;

use super::tower_sessions::TowerSessions;
use crate::session::cookie::fields::values;

/// A session that the browser names, and its cookie.
pub(crate) struct Legacy {
    pub(crate) id: i128,
    pub(crate) settings: TowerSessions,
    pub(crate) stage: Stage,
}

/// What this request has done with the old session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing yet.
    Untouched,
    /// It was logged out and has to be ended.
    LoggedOut,
    /// It was taken over or has ended: its cookie is removed.
    Over,
}

impl Legacy {
    /// The session that a browser names, if it does.
    pub(crate) fn named_in(headers: &HeaderMap, settings: &TowerSessions) -> Option<Self> {
        let mut found = None;
        values(headers, settings.cookie.name(), |value| {
            let mut bytes = [0; 16];
            if value.len() == 22 && URL_SAFE_NO_PAD.decode_slice(value, &mut bytes) == Ok(16) {
                found = Some(i128::from_le_bytes(bytes));
            }
        });
        Some(Self {
            id: found?,
            settings: settings.clone(),
            stage: Stage::Untouched,
        })
    }
}
