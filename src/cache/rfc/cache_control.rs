//! The `Cache-Control` field of requests and responses (RFC 9111 §5.2).

use http::{HeaderMap, HeaderName, header};

/// The directives of all `Cache-Control` lines of one message. Unknown ones are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheControl {
    pub(crate) no_store: bool,
    pub(crate) no_cache: Scope,
    pub(crate) private: Scope,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<u32>,
    pub(crate) s_maxage: Option<u32>,
    pub(crate) min_fresh: Option<u32>,
    /// `u32::MAX` if it has no argument: any staleness is accepted.
    pub(crate) max_stale: Option<u32>,
    pub(crate) stale_while_revalidate: Option<u32>,
    pub(crate) stale_if_error: Option<u32>,
}

/// What `no-cache` or `private` applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    #[default]
    Nothing,
    Fields(Vec<HeaderName>),
    Everything,
}

impl Scope {
    pub(crate) fn is_everything(&self) -> bool {
        *self == Self::Everything
    }

    pub(crate) fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(names) => names,
            Self::Nothing | Self::Everything => &[],
        }
    }

    /// Widens the scope by a directive with this argument. An invalid argument applies to everything.
    fn widen(&mut self, argument: &Argument<'_>) {
        let names = match argument {
            Argument::Text(text) => field_names(text),
            Argument::Missing | Argument::Malformed => None,
        };
        *self = match (std::mem::take(self), names) {
            (Self::Nothing, Some(names)) => Self::Fields(names),
            (Self::Fields(mut all), Some(names)) => {
                all.extend(names);
                Self::Fields(all)
            }
            _ => Self::Everything,
        };
    }
}

impl CacheControl {
    pub(crate) fn parse(headers: &HeaderMap) -> Self {
        let mut parsed = Self::default();
        for line in headers.get_all(header::CACHE_CONTROL) {
            parsed.read_line(line.as_bytes());
        }
        parsed
    }

    fn read_line(&mut self, line: &[u8]) {
        let mut rest = line;
        while !rest.is_empty() {
            let (directive, closed, after) = next_member(rest);
            if !closed {
                // The text after an open quotation mark may contain a restriction.
                self.no_store = true;
            }
            self.read_directive(directive);
            rest = after;
        }
    }

    fn read_directive(&mut self, directive: &[u8]) {
        let (name, argument) = match directive.iter().position(|byte| *byte == b'=') {
            Some(at) => (&directive[..at], Argument::parse(&directive[at + 1..])),
            None => (directive, Argument::Missing),
        };
        // RFC 9111 §5.2: no space around the equals sign. With one, a restriction still applies, a permission does not.
        let strict = !name.ends_with(b" ") && !name.ends_with(b"\t");
        let argument = if strict {
            argument
        } else {
            Argument::Malformed
        };
        self.apply(name, &argument);
    }

    pub(crate) fn apply(&mut self, name: &[u8], argument: &Argument<'_>) {
        let bare = matches!(argument, Argument::Missing);
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache.widen(argument),
            b"private" => self.private.widen(argument),
            b"public" => self.public |= bare,
            b"must-revalidate" => self.must_revalidate |= bare,
            b"proxy-revalidate" => self.proxy_revalidate |= bare,
            b"must-understand" => self.must_understand |= bare,
            b"only-if-cached" => self.only_if_cached |= bare,
            b"max-age" => seconds(&mut self.max_age, argument),
            b"s-maxage" => seconds(&mut self.s_maxage, argument),
            b"min-fresh" => seconds(&mut self.min_fresh, argument),
            b"max-stale" if bare => self.max_stale = Some(u32::MAX),
            b"max-stale" => seconds(&mut self.max_stale, argument),
            b"stale-while-revalidate" => seconds(&mut self.stale_while_revalidate, argument),
            b"stale-if-error" => seconds(&mut self.stale_if_error, argument),
            _ => {}
        }
    }

    /// Whether the answer must not be used stale (RFC 9111 §4.2.4).
    pub(crate) fn forbids_stale(&self) -> bool {
        // RFC 9111 §5.2.2.2, §5.2.2.8, and §5.2.2.10: s-maxage implies proxy-revalidate
        self.must_revalidate
            || self.proxy_revalidate
            || self.s_maxage.is_some()
            // RFC 9111 §5.2.2.4
            || self.no_cache.is_everything()
    }
}

/// The argument of a directive: the part after the equals sign.
pub(crate) enum Argument<'a> {
    Missing,
    Malformed,
    /// A token, or the text between quotation marks.
    Text(&'a [u8]),
}

impl<'a> Argument<'a> {
    fn parse(text: &'a [u8]) -> Self {
        match text {
            [b'"', inner @ .., b'"'] => Self::Text(inner),
            [] | [b'"' | b' ' | b'\t', ..] => Self::Malformed,
            token => Self::Text(token),
        }
    }
}

/// Splits a list at its first comma outside quotation marks; false if a quotation mark is not closed.
pub(crate) fn next_member(list: &[u8]) -> (&[u8], bool, &[u8]) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in list.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => return (list[..at].trim_ascii(), true, &list[at + 1..]),
            _ => {}
        }
    }
    (list.trim_ascii(), !quoted, &[])
}

/// Keeps the first value of a repeated directive (RFC 9111 §4.2.1), and 0 for an invalid one.
fn seconds(value: &mut Option<u32>, argument: &Argument<'_>) {
    let read = match argument {
        Argument::Text(text) => delta_seconds(text).unwrap_or(0),
        Argument::Missing | Argument::Malformed => 0,
    };
    value.get_or_insert(read);
}

/// A number of seconds (RFC 9111 §1.2.2): digits only, at most 2^31.
pub(crate) fn delta_seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = text.iter().fold(0u32, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(u32::from(digit - b'0'))
    });
    Some(value.min(MAX_SECONDS))
}

/// A list of at least one field name; `None` if a member is not one.
fn field_names(list: &[u8]) -> Option<Vec<HeaderName>> {
    list.split(|byte| *byte == b',')
        .map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

/// RFC 9111 §1.2.2: a greater number counts as this one.
pub(crate) const MAX_SECONDS: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn parse(lines: &[&str]) -> CacheControl {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(
                header::CACHE_CONTROL,
                HeaderValue::from_bytes(line.as_bytes()).expect("a field value"),
            );
        }
        CacheControl::parse(&headers)
    }

    #[test]
    fn numbers() {
        for (text, seconds) in [
            ("max-age=3600", Some(3600)),
            ("MaX-aGe=3600", Some(3600)),
            ("max-age=003600", Some(3600)),
            ("max-age=\"3600\"", Some(3600)),
            ("max-age=2147483647", Some(2_147_483_647)),
            ("max-age=2147483649", Some(MAX_SECONDS)),
            ("max-age=99999999999999999999", Some(MAX_SECONDS)),
            ("max-age=0", Some(0)),
            ("max-age=-3600", Some(0)),
            ("max-age=+1", Some(0)),
            ("max-age=1.5", Some(0)),
            ("max-age=a3600", Some(0)),
            ("max-age=3600a", Some(0)),
            ("max-age =3600", Some(0)),
            ("max-age= 3600", Some(0)),
            ("max-age=", Some(0)),
            ("max-age", Some(0)),
            ("max-age=\"\"", Some(0)),
            ("max-age='3600'", Some(0)),
            ("max-age=1800, max-age=1", Some(1800)),
            ("max-age=1, max-age=1800", Some(1)),
            (", ,max-age=7 ,", Some(7)),
            ("x-max-age=7", None),
            ("extension=\"max-age=3600\"", None),
            ("extension=\"a, max-age=3600\"", None),
            ("extension=\"a\\\", max-age=3600\"", None),
            ("", None),
        ] {
            assert_eq!(parse(&[text]).max_age, seconds, "{text}");
        }
    }

    #[test]
    fn directives_in_quotation_marks_are_none() {
        assert_eq!(
            parse(&["extension=\"max-age=3600\", max-age=1"]).max_age,
            Some(1)
        );
        assert!(!parse(&["a=\"no-store\", b=\"x, private, y\""]).no_store);
        assert_eq!(parse(&["b=\"x, private, y\""]).private, Scope::Nothing);
    }

    #[test]
    fn an_open_quotation_mark_hides_no_restriction() {
        assert!(parse(&["a=\"b, max-age=3600, no-store"]).no_store);
        assert!(parse(&["a=\"b", "max-age=60"]).no_store);
    }

    #[test]
    fn several_lines_count_as_one() {
        let both = parse(&["max-age=3600", "s-maxage=1, No-StOrE"]);
        assert_eq!(
            (both.max_age, both.s_maxage, both.no_store),
            (Some(3600), Some(1), true)
        );
    }

    #[test]
    fn fields_can_be_named() {
        let names = |text: &str| parse(&[text]).private.fields().to_vec();
        assert_eq!(names("private=\"X-User, x-b\""), ["x-user", "x-b"]);
        assert_eq!(names("private=x-user"), ["x-user"]);
        assert_eq!(names("private=\"a\", private=\"b\""), ["a", "b"]);
        for everything in [
            "PRIVATE",
            "private=",
            "private=\"\"",
            "private=\"a,,b\"",
            "private=\"a b\"",
            "private =\"a\"",
            "private=\"a\", private",
            "private, private=\"a\"",
        ] {
            assert!(parse(&[everything]).private.is_everything(), "{everything}");
        }
    }

    #[test]
    fn a_malformed_permission_permits_nothing() {
        assert!(parse(&["public"]).public);
        assert!(!parse(&["public=1"]).public && !parse(&["public =1"]).public);
        assert!(!parse(&["must-revalidate=0"]).must_revalidate);
        assert!(parse(&["no-store=0"]).no_store && parse(&["no-store =0"]).no_store);
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[a-z=\", \\\\0-9\t-]{0,60}") {
            parse(&[text.as_str()]);
        }
    }
}
