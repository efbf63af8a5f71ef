//! What a response says about the session: `Set-Cookie`, and `Cache-Control` and `Vary` for caches.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, SET_COOKIE, VARY},
};

use super::{attributes::CookieAttributes, change::CookieChange, fields::set_cookie};

/// Adds the cookie to the response, and keeps it out of shared caches.
pub(crate) fn write(
    headers: &mut HeaderMap,
    config: &CookieAttributes,
    cookie: Option<&CookieChange>,
    read: bool,
) {
    if let Some(cookie) = cookie {
        headers.append(SET_COOKIE, set_cookie(config, cookie));
        // RFC 9111 §5.2.2.4: a cache must not reuse the named field without asking.
        if !has_member(headers, &CACHE_CONTROL, &[NO_CACHED_COOKIE]) {
            append_member(headers, CACHE_CONTROL, NO_CACHED_COOKIE);
        }
    }
    // RFC 9110 §12.5.5: the response may depend on the cookie.
    if read && !has_member(headers, &VARY, &["cookie", "*"]) {
        append_member(headers, VARY, "Cookie");
    }
}

/// Whether one of `members` is in the list field `name`, in any case.
fn has_member(headers: &HeaderMap, name: &HeaderName, members: &[&str]) -> bool {
    headers.get_all(name).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|member| {
            let member = member.trim_ascii();
            members
                .iter()
                .any(|wanted| member.eq_ignore_ascii_case(wanted.as_bytes()))
        })
    })
}

/// Adds to a list field, on its first line if there is one: some caches read only the first line.
fn append_member(headers: &mut HeaderMap, name: HeaderName, member: &'static str) {
    if let Some(value) = headers.get_mut(&name) {
        let joined = [value.as_bytes(), b", ", member.as_bytes()].concat();
        if let (false, Ok(joined)) = (value.is_empty(), HeaderValue::from_bytes(&joined)) {
            *value = joined;
            return;
        }
    }
    headers.insert(name, HeaderValue::from_static(member));
}

const NO_CACHED_COOKIE: &str = "no-cache=\"Set-Cookie\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn written(before: &[(&'static str, &'static str)], cookie: bool, read: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in before {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let cookie = cookie.then_some(CookieChange::Remove);
        write(
            &mut headers,
            &CookieAttributes::new(),
            cookie.as_ref(),
            read,
        );
        headers
    }

    fn lines(headers: &HeaderMap, name: HeaderName) -> Vec<&str> {
        headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }

    #[test]
    fn nothing_is_said_of_a_session_that_was_not_used() {
        assert!(written(&[], false, false).is_empty());
    }

    #[test]
    fn vary_is_merged_and_not_repeated() {
        let vary = |before: &[_]| {
            let headers = written(before, false, true);
            lines(&headers, VARY).join(" | ")
        };
        assert_eq!(vary(&[]), "Cookie");
        assert_eq!(vary(&[("vary", "")]), "Cookie");
        assert_eq!(vary(&[("vary", "Accept")]), "Accept, Cookie");
        assert_eq!(vary(&[("vary", "a"), ("vary", "b")]), "a, Cookie | b");
        assert_eq!(
            vary(&[("vary", "a"), ("vary", "b,  COOKIE")]),
            "a | b,  COOKIE"
        );
        assert_eq!(vary(&[("vary", "*")]), "*");
        assert_eq!(vary(&[("vary", "Cookie2")]), "Cookie2, Cookie");
    }

    #[test]
    fn a_cookie_is_kept_out_of_caches() {
        let control = |before: &[_]| {
            let headers = written(before, true, false);
            assert_eq!(lines(&headers, SET_COOKIE).len(), 1);
            assert!(!headers.contains_key(VARY));
            lines(&headers, CACHE_CONTROL).join(" | ")
        };
        assert_eq!(control(&[]), r#"no-cache="Set-Cookie""#);
        assert_eq!(
            control(&[("cache-control", "public, max-age=60")]),
            r#"public, max-age=60, no-cache="Set-Cookie""#
        );
        assert_eq!(
            control(&[("cache-control", r#"private, No-Cache="set-cookie""#)]),
            r#"private, No-Cache="set-cookie""#
        );
    }

    #[test]
    fn cookies_of_others_stay() {
        let headers = written(&[("set-cookie", "theme=dark")], true, false);
        assert_eq!(
            lines(&headers, SET_COOKIE),
            [
                "theme=dark",
                "__Host-id=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0"
            ]
        );
        let last = headers.get_all(SET_COOKIE).iter().next_back();
        assert!(last.is_some_and(HeaderValue::is_sensitive));
    }
}
