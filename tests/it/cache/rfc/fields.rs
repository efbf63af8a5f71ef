//! The fields of a case in full: the lists of cases shorten names and dates.

use std::time::{Duration, SystemTime};

pub fn full_name(name: &str) -> &str {
    match name {
        "CC" => "cache-control",
        "CDN-CC" => "cdn-cache-control",
        "LM" => "last-modified",
        "INM" => "if-none-match",
        "IMS" => "if-modified-since",
        name => name,
    }
}

pub fn fields(text: &str, now: SystemTime) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for piece in text.split("; ") {
        let piece = piece.strip_suffix(';').unwrap_or(piece);
        let is_name = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        match piece
            .split_once(':')
            .filter(|(name, _)| is_name(name.trim()))
        {
            Some((name, value)) => {
                // One blank after the colon is not part of the value; more are.
                let value = value.strip_prefix(' ').unwrap_or(value);
                let name = full_name(name.trim()).to_owned();
                fields.push((name, date(value, now).unwrap_or(value.to_owned())));
            }
            // A semicolon within a value.
            None => {
                if let Some((_, value)) = fields.last_mut() {
                    value.push_str("; ");
                    value.push_str(piece);
                }
            }
        }
    }
    fields
}

/// `now`, `now-10s`, `now+10s`
pub fn date(text: &str, now: SystemTime) -> Option<String> {
    let offset = text.strip_prefix("now")?.trim_end_matches('s');
    let seconds: i64 = if offset.is_empty() {
        0
    } else {
        offset.parse().ok()?
    };
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let date = if seconds < 0 {
        now - distance
    } else {
        now + distance
    };
    Some(httpdate::fmt_http_date(date))
}
