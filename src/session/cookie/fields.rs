//! The cookies in the header fields `Cookie` and `Set-Cookie`.

use http::{HeaderMap, HeaderValue, header};

use super::{attributes::CookieAttributes, change::CookieChange};
use crate::session::credential::token::Token;

/// The tokens among the request's cookies of this name, in order, each once, at most [`MAX_CANDIDATES`].
///
/// There may be several: another host of the same site can set a cookie of the same name, in another path or domain.
/// Only the record in Redis tells which of them is the session's.
pub(crate) fn candidates(headers: &HeaderMap, name: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut seen: Vec<&[u8]> = Vec::new();
    values(headers, name, |value| {
        if tokens.len() == MAX_CANDIDATES || seen.contains(&value) {
            return;
        }
        // A value that is no token costs no command, so it does not count.
        if let Some(token) = Token::parse(value) {
            tokens.push(token);
            seen.push(value);
        }
    });
    tokens
}

/// Visits the value of each cookie with this name.
pub(crate) fn values<'a>(headers: &'a HeaderMap, name: &str, mut visit: impl FnMut(&'a [u8])) {
    // RFC 6265 §5.4 has clients send one field; HTTP/2 (RFC 9113 §8.2.3) allows several.
    for field in headers.get_all(header::COOKIE) {
        for pair in field.as_bytes().split(|byte| *byte == b';') {
            if let Some(value) = value_of(pair, name) {
                visit(value);
            }
        }
    }
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&pair[..equals], &pair[equals + 1..]);
    (key.trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
}

/// The value of `Set-Cookie`. A removal needs the same attributes as the cookie that it removes, so all are made here.
pub(crate) fn set_cookie(config: &CookieAttributes, cookie: &CookieChange) -> HeaderValue {
    let (name, attributes) = (config.name(), config.attributes());
    let text = match cookie {
        CookieChange::Set(token, None) => format!("{name}={}{attributes}", token.cookie_value()),
        CookieChange::Set(token, Some(lifetime)) => {
            let seconds = lifetime.as_secs().min(MAX_AGE);
            format!(
                "{name}={}{attributes}; Max-Age={seconds}",
                token.cookie_value()
            )
        }
        CookieChange::Remove => format!("{name}={attributes}; Max-Age=0"),
    };
    sensitive(&text)
}

/// The `Cookie` field that a browser sends back.
pub(crate) fn pair(config: &CookieAttributes, token: &Token) -> HeaderValue {
    sensitive(&format!("{}={}", config.name(), token.cookie_value()))
}

fn sensitive(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text)
        .expect("the token is base64 and the rest was checked when it was set");
    value.set_sensitive(true);
    value
}

/// RFC 6265bis §5.5: browsers keep a cookie for at most 400 days.
const MAX_AGE: u64 = 400 * 24 * 60 * 60;
/// How many cookies of one name are looked up: each costs a command.
const MAX_CANDIDATES: usize = 3;

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use proptest::prelude::*;

    use super::*;

    const NAME: &str = "__Host-id";

    fn token() -> Token {
        Token::generate().unwrap()
    }

    fn found(lines: &[&[u8]]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        let tokens = candidates(&headers, NAME);
        tokens.iter().map(Token::cookie_value).collect()
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let value = token().cookie_value();
        let expected = std::slice::from_ref(&value);
        for line in [
            format!("{NAME}={value}"),
            format!("a=b; {NAME}={value}; c=d"),
            format!("a=b;{NAME}={value}"),
            format!(" {NAME} = {value} "),
            format!("garbage; =; ;;==; {NAME}={value};"),
            format!("a=\"x; {NAME}={value}; y\""),
        ] {
            assert_eq!(found(&[line.as_bytes()]), expected, "{line}");
        }
        let ours = format!("{NAME}={value}");
        assert_eq!(found(&[b"\xff\xfe=1", ours.as_bytes()]), expected);
        assert_eq!(found(&[b"x=\xff", ours.as_bytes()]), expected);
    }

    #[test]
    fn names_are_exact() {
        let value = token().cookie_value();
        for name in ["id", "__host-id", "__Host-id2", "x__Host-id", ""] {
            assert!(found(&[format!("{name}={value}").as_bytes()]).is_empty());
        }
    }

    #[test]
    fn several_are_kept_in_order_up_to_three_and_garbage_takes_no_place() {
        let values: Vec<String> = (0..4).map(|_| token().cookie_value()).collect();
        let line = format!(
            "{NAME}=garbage; {NAME}=; {NAME}={}; {NAME}=\"quoted\"; {NAME}={}; {NAME}={}",
            values[0], values[0], values[1]
        );
        let more = format!("{NAME}={}; {NAME}={}", values[2], values[3]);
        assert_eq!(found(&[line.as_bytes(), more.as_bytes()]), values[..3]);
    }

    #[test]
    fn d20_a_cookie_that_is_kept_says_for_how_long_up_to_400_days() {
        let lifetime = |days: u64| {
            let lifetime = std::time::Duration::from_secs(days * 24 * 60 * 60);
            let cookie = CookieChange::Set(token(), Some(lifetime));
            let value = set_cookie(&CookieAttributes::new(), &cookie);
            let text = value.to_str().unwrap().to_owned();
            text.rsplit_once("; Max-Age=").unwrap().1.to_owned()
        };
        assert_eq!(lifetime(30), "2592000");
        assert_eq!(lifetime(401), "34560000");
    }

    proptest! {
        #[test]
        fn no_cookie_makes_it_panic(
            lines in proptest::collection::vec(
                proptest::collection::vec(prop_oneof![any::<u8>(), Just(b';'), Just(b'=')], 0..300),
                0..4,
            ),
        ) {
            let mut headers = HeaderMap::new();
            for line in &lines {
                if let Ok(value) = HeaderValue::from_bytes(line) {
                    headers.append(HeaderName::from_static("cookie"), value);
                }
            }
            prop_assert!(candidates(&headers, "id").len() <= MAX_CANDIDATES);
        }
    }
}
