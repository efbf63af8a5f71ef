//! The length that a body may have to be stored.

use http::{HeaderMap, header};
use http_body::SizeHint;

/// The most bytes that may be copied of a body, and its stated length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    limit: usize,
    length: Option<u64>,
}

impl Limits {
    /// `None` if the head and the hint show that the body is too long, or that its length is not the stated one.
    pub(crate) fn of(headers: &HeaderMap, hint: &SizeHint, limit: usize) -> Option<Self> {
        let length = match stated_length(headers) {
            Ok(length) => length.or(hint.exact()),
            Err(Unreadable) => return None,
        };
        let most = u64::try_from(limit).unwrap_or(u64::MAX);
        let possible = hint.lower()..=hint.upper().unwrap_or(u64::MAX);
        let is_too_long = hint.lower() > most;
        let is_wrong = length.is_some_and(|length| length > most || !possible.contains(&length));
        (!is_too_long && !is_wrong).then_some(Self { limit, length })
    }

    /// Whether `length` bytes are within the limit and the stated length.
    pub(crate) fn allow(&self, length: usize) -> bool {
        let is_too_long = |stated| length as u64 > stated;
        length <= self.limit && !self.length.is_some_and(is_too_long)
    }

    /// Whether a body that ended after so many bytes is complete.
    pub(crate) fn is_whole(&self, length: usize) -> bool {
        self.length.is_none_or(|stated| length as u64 == stated)
    }

    /// Whether a body is complete with so many bytes although it has not reported its end.
    pub(crate) fn is_surely_whole(&self, length: usize) -> bool {
        self.length == Some(length as u64)
    }
}

struct Unreadable;

fn stated_length(headers: &HeaderMap) -> Result<Option<u64>, Unreadable> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return if headers.contains_key(header::CONTENT_LENGTH) {
            Err(Unreadable)
        } else {
            Ok(None)
        };
    };
    let digits = std::str::from_utf8(line.as_bytes()).map_err(|_| Unreadable)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unreadable);
    }
    digits.parse().map(Some).map_err(|_| Unreadable)
}
