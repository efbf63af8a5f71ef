//! Tokens and strings of structured fields (RFC 9651).

/// Writes a text as a token if it is one, else as a string (RFC 9651 §3.3); `None` if it can be neither.
pub(crate) fn identifier(name: &str) -> Option<String> {
    if is_token(name) {
        return Some(name.to_owned());
    }
    let visible = |c: char| (' '..='~').contains(&c);
    let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
    (!name.is_empty() && name.chars().all(visible)).then(|| format!("\"{escaped}\""))
}

/// RFC 9651 §3.3.4
pub(crate) fn is_token(text: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '*';
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c);
    text.starts_with(first) && text.chars().all(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_or_strings() {
        assert_eq!(identifier("tower-fred").as_deref(), Some("tower-fred"));
        assert_eq!(identifier("7 \"up\"\\").as_deref(), Some(r#""7 \"up\"\\""#));
        assert_eq!(identifier("").as_deref(), None);
        assert_eq!(identifier("a\r\nb: c"), None);
        assert_eq!(identifier("caf\u{e9}"), None);
    }
}
