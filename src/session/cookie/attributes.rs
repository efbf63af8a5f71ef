//! The cookie's name and attributes, checked when they are set.

/// Which requests from other sites carry the cookie.
///
/// RFC 6265bis §5.6.7. The list is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// Only requests that this site itself starts. A request from a link on another site has no session.
    Strict,
    /// Also requests from a link on another site (top-level navigation). This is the default.
    Lax,
    /// All requests, also those of frames and forms of other sites. Needs Secure, and a protection against CSRF.
    None,
}

/// What every `Set-Cookie` of a layer has in common.
#[derive(Clone, Debug)]
pub(crate) struct CookieAttributes {
    bare_name: String,
    domain: Option<String>,
    path: String,
    same_site: SameSite,
    secure: bool,
    partitioned: bool,
    name: String,
    attributes: String,
}

impl CookieAttributes {
    pub(crate) fn new() -> Self {
        let config = Self {
            bare_name: DEFAULT_NAME.into(),
            domain: None,
            path: "/".into(),
            same_site: SameSite::Lax,
            secure: true,
            partitioned: false,
            name: String::new(),
            attributes: String::new(),
        };
        config.precomputed()
    }

    /// The name with its prefix.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What follows the value, beginning with `; `.
    pub(crate) fn attributes(&self) -> &str {
        &self.attributes
    }

    pub(crate) fn with_name(mut self, name: String) -> Self {
        let lower = name.to_ascii_lowercase();
        assert!(
            !PREFIXES.iter().any(|prefix| lower.starts_with(prefix)),
            "give the cookie's name without a prefix such as `__Host-`: the layer puts the right one before it"
        );
        assert!(
            (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_token_byte),
            "a cookie name must have 1 to {MAX_NAME} characters of an HTTP token"
        );
        self.bare_name = name;
        self.precomputed()
    }

    pub(crate) fn with_domain(mut self, domain: String) -> Self {
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        assert!(
            domain.len() <= 253 && domain.split('.').all(label),
            "a cookie domain must be a host name, without a dot before it"
        );
        self.domain = Some(domain);
        self.precomputed()
    }

    pub(crate) fn with_path(mut self, path: String) -> Self {
        let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b';';
        // RFC 6265bis §5.6: browsers ignore an attribute of more than 1024 bytes.
        assert!(
            path.starts_with('/') && path.len() <= 1024 && path.bytes().all(allowed),
            "a cookie path must begin with `/` and have at most 1024 visible ASCII characters without `;`"
        );
        self.path = path;
        self.precomputed()
    }

    pub(crate) fn with_same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = same_site;
        self.precomputed()
    }

    pub(crate) fn without_secure(mut self) -> Self {
        self.secure = false;
        self.precomputed()
    }

    pub(crate) fn with_partitions(mut self) -> Self {
        self.partitioned = true;
        self.precomputed()
    }

    /// Refuses cookies that browsers would drop, and precomputes name and attributes.
    fn precomputed(mut self) -> Self {
        // RFC 6265bis §5.7: a SameSite=None cookie without Secure is not stored.
        assert!(
            self.secure || self.same_site != SameSite::None,
            "a cookie with SameSite=None must be Secure"
        );
        // CHIPS: a Partitioned cookie without Secure is not stored.
        assert!(
            self.secure || !self.partitioned,
            "a Partitioned cookie must be Secure"
        );
        // RFC 6265bis §4.1.3: `__Host-` promises Secure, Path=/ and no Domain; `__Secure-` promises Secure.
        let prefix = match (&self.domain, self.path.as_str()) {
            _ if !self.secure => "",
            (None, "/") => "__Host-",
            _ => "__Secure-",
        };
        self.name = format!("{prefix}{}", self.bare_name);
        self.attributes = format!("; Path={}", self.path);
        if let Some(domain) = &self.domain {
            self.attributes.push_str("; Domain=");
            self.attributes.push_str(domain);
        }
        if self.secure {
            self.attributes.push_str("; Secure");
        }
        self.attributes.push_str("; HttpOnly; SameSite=");
        self.attributes.push_str(match self.same_site {
            SameSite::Strict => "Strict",
            SameSite::Lax => "Lax",
            SameSite::None => "None",
        });
        if self.partitioned {
            self.attributes.push_str("; Partitioned");
        }
        self
    }
}

/// RFC 9110 §5.6.2: a character of a token.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Prefixes that browsers give a meaning, in lower case: RFC 6265bis §5.4 compares them so.
const PREFIXES: [&str; 4] = ["__host-", "__secure-", "__http-", "__host-http-"];
const MAX_NAME: usize = 128;
/// The name of the cookie, before its prefix, unless another is set.
pub(crate) const DEFAULT_NAME: &str = "id";

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn refused(change: impl FnOnce(CookieAttributes) -> CookieAttributes) -> bool {
        catch_unwind(AssertUnwindSafe(|| change(CookieAttributes::new()))).is_err()
    }

    #[test]
    fn the_default_is_the_strictest_cookie_that_links_can_use() {
        let config = CookieAttributes::new();
        assert_eq!(config.name(), "__Host-id");
        assert_eq!(
            config.attributes(),
            "; Path=/; Secure; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn d17_the_prefix_promises_what_the_attributes_keep() {
        let new = CookieAttributes::new;
        let domain = new().with_domain("example.com".into());
        assert_eq!(domain.name(), "__Secure-id");
        assert_eq!(
            domain.attributes(),
            "; Path=/; Domain=example.com; Secure; HttpOnly; SameSite=Lax"
        );
        assert_eq!(new().with_path("/app".into()).name(), "__Secure-id");
        assert_eq!(new().with_path("/".into()).name(), "__Host-id");
        let plain = new().without_secure();
        assert_eq!(plain.name(), "id");
        assert_eq!(plain.attributes(), "; Path=/; HttpOnly; SameSite=Lax");
        let plain = new().with_domain("example.com".into()).without_secure();
        assert_eq!(plain.name(), "id");
    }

    #[test]
    fn d19_same_site_none_needs_secure_in_either_order() {
        assert!(!refused(|config| config.with_same_site(SameSite::None)));
        assert!(refused(|config| {
            config.with_same_site(SameSite::None).without_secure()
        }));
        assert!(refused(|config| {
            config.without_secure().with_same_site(SameSite::None)
        }));
    }

    #[test]
    fn d19_partitioned_needs_secure_in_either_order() {
        let partitioned = CookieAttributes::new()
            .with_partitions()
            .with_same_site(SameSite::None);
        assert!(
            partitioned
                .attributes()
                .ends_with("; SameSite=None; Partitioned")
        );
        assert!(refused(|config| config.with_partitions().without_secure()));
        assert!(refused(|config| config.without_secure().with_partitions()));
    }

    #[test]
    fn d20_nothing_can_be_smuggled_into_the_header() {
        for bad in ["", "a b", "a;b", "a=b", "a\r\nb", "ä", "a,b", "\"a\""] {
            assert!(refused(|config| config.with_name(bad.into())), "{bad:?}");
        }
        assert!(refused(|config| config.with_name("n".repeat(129))));
        for bad in [
            "", ".a.b", "a..b", "a;b", "a\r\nb", "a b", "-a.b", "a.b:80", "ä.b",
        ] {
            assert!(refused(|config| config.with_domain(bad.into())), "{bad:?}");
        }
        for bad in ["", "app", "/a;b", "/a\r\n", "/a b", "/ä"] {
            assert!(refused(|config| config.with_path(bad.into())), "{bad:?}");
        }
        assert!(refused(
            |config| config.with_path(format!("/{}", "p".repeat(1024)))
        ));
    }

    #[test]
    fn d17_a_prefix_in_the_name_is_refused_in_any_case() {
        for bad in [
            "__Host-id",
            "__host-id",
            "__SECURE-id",
            "__Http-id",
            "__Host-Http-id",
        ] {
            assert!(refused(|config| config.with_name(bad.into())), "{bad}");
        }
    }
}
