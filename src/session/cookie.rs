//! Cookies, read and written by hand.

use http::{HeaderMap, HeaderValue, header};

use super::{config::CookieConfig, state::Cookie, token::Token};

/// The tokens among the request's cookies of this name, in order, each once, at most [`MAX_CANDIDATES`].
///
/// There may be several: another host of the same site can set a cookie of the same name, in another path or domain.
/// Which of them is the session only its record tells.
pub(super) fn candidates(headers: &HeaderMap, name: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut seen: Vec<&[u8]> = Vec::new();
    // RFC 6265 §5.4 has clients send one field; HTTP/2 (RFC 9113 §8.2.3) allows several.
    for field in headers.get_all(header::COOKIE) {
        for pair in field.as_bytes().split(|byte| *byte == b';') {
            let Some(value) = value_of(pair, name).filter(|value| !seen.contains(value)) else {
                continue;
            };
            // What is no token costs nothing, so it takes nobody's place.
            if let Some(token) = Token::parse(value) {
                tokens.push(token);
                seen.push(value);
            }
            if tokens.len() == MAX_CANDIDATES {
                return tokens;
            }
        }
    }
    tokens
}

fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&pair[..equals], &pair[equals + 1..]);
    (key.trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
}

/// The one place where a `Set-Cookie` value is made: a removal has the attributes of what it removes.
pub(super) fn set_cookie(config: &CookieConfig, cookie: &Cookie) -> HeaderValue {
    let (name, attributes) = (config.name(), config.attributes());
    let text = match cookie {
        Cookie::Set(token) => format!("{name}={}{attributes}", token.cookie_value()),
        Cookie::Remove => format!("{name}={attributes}; Max-Age=0"),
    };
    let mut value = HeaderValue::from_str(&text)
        .expect("the token is base64 and the rest was checked when it was set");
    value.set_sensitive(true);
    value
}

/// How many cookies of one name are asked about: each costs a command.
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
