//! A small application with each layer on its own routes, so that an answer tells which layer failed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::OriginalUri, routing::get};
use http::{HeaderMap, HeaderName, Request, StatusCode, header};
use tower_fred::{
    CacheLayer, Error, RateLimitLayer, Redis, Session, SessionLayer,
    cache::{CacheStatus, Forward},
    rate_limit::{Header, Quota},
};

use super::super::http::call;

/// A route, and so a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The handler alone.
    Bare,
    /// The cache.
    Page,
    /// The session: one read and one write.
    Visit,
    /// A limit that decides in this process when Redis fails.
    Limited,
    /// A limit that refuses when Redis fails.
    Strict,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The same answer as without a fault.
    Served,
    /// Denied by a limit.
    Denied,
    /// Answered by the handler, since the cache could not reach Redis.
    Bypassed,
    /// 503 with `Retry-After`.
    Unavailable,
    /// The session of the cookie is gone.
    SessionLost,
    /// The session lacks a write that an earlier answer confirmed.
    WriteLost,
    /// The answer for another visitor or another page.
    Wrong,
    /// The cookie was removed or replaced.
    CookieTouched,
    /// Any other status.
    Status(u16),
}

impl Outcome {
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Served | Self::Denied)
    }
}

#[derive(Clone)]
pub struct Shop {
    router: Router,
}

impl Shop {
    pub fn new(redis: &Redis) -> Self {
        let limit = |name: &str| {
            RateLimitLayer::new(redis.clone(), QUOTA)
                .name(name)
                .by(Header::new(WHO))
        };
        let page = async |OriginalUri(uri): OriginalUri| uri.to_string();
        let router = Router::new()
            .route("/bare", get(async || "bare"))
            .route(
                "/page",
                get(page).layer(CacheLayer::new(redis.clone()).ttl(Duration::from_secs(60))),
            )
            .route("/visit", get(visit).layer(SessionLayer::new(redis.clone())))
            .route("/limited", get(async || "in").layer(limit("limited")))
            .route(
                "/strict",
                get(async || "in").layer(limit("strict").fail_closed()),
            );
        Self { router }
    }
}

/// Counts the visits in the session, and tells whose session it is.
async fn visit(session: Session, headers: HeaderMap) -> Result<String, Error> {
    let owner: Option<String> = session.get("owner").await?;
    let visits: u64 = session.get("visits").await?.unwrap_or(0) + 1;
    let owner = owner.unwrap_or_else(|| {
        let who = headers.get(WHO).and_then(|who| who.to_str().ok());
        who.unwrap_or("nobody").to_owned()
    });
    session.insert("owner", &owner)?;
    session.insert("visits", &visits)?;
    Ok(format!(
        "{owner} {visits} {}",
        session.id().unwrap_or_default()
    ))
}

/// Sends requests of one kind, one after the other, and remembers what the answers confirmed.
pub struct Visitor {
    shop: Shop,
    pub kind: Kind,
    who: String,
    asked: u64,
    admitted: u64,
    cookie: Option<String>,
    /// The number of visits in the last answer.
    visits: u64,
    session: Arc<str>,
}

impl Visitor {
    pub fn new(shop: Shop, kind: Kind, number: usize) -> Self {
        Self {
            shop,
            kind,
            who: format!("visitor-{number}"),
            asked: 0,
            admitted: 0,
            cookie: None,
            visits: 0,
            session: "".into(),
        }
    }

    /// How often a limit admitted this visitor.
    pub fn admitted(&self) -> u64 {
        self.admitted
    }

    /// The id of the visitor's session, as in its key in Redis.
    pub fn session(&self) -> &Arc<str> {
        &self.session
    }

    /// Sends one request: what came of it, and how long it took.
    pub async fn ask(&mut self) -> (Outcome, Duration) {
        let path = match self.kind {
            Kind::Bare => "/bare".to_owned(),
            // A new page every eighth time, so that there are misses.
            Kind::Page => format!("/page?of={}&number={}", self.who, self.asked / 8),
            Kind::Visit => "/visit".to_owned(),
            Kind::Limited => "/limited".to_owned(),
            Kind::Strict => "/strict".to_owned(),
        };
        self.asked += 1;
        let mut request = Request::get(&path)
            .header(header::HOST, "shop.example")
            .header(WHO, &self.who);
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let request = request.body(Body::empty()).expect("a request");
        let router = self.shop.router.clone();
        let begun = Instant::now();
        let (parts, body) = call(router, request).await.into_parts();
        let took = begun.elapsed();
        let text = String::from_utf8_lossy(&body);
        (self.judge(&parts, &text, &path), took)
    }

    fn judge(&mut self, answer: &http::response::Parts, text: &str, path: &str) -> Outcome {
        let set_cookie = answer.headers.get(header::SET_COOKIE);
        match answer.status {
            status if set_cookie.is_some() && status != StatusCode::OK => Outcome::CookieTouched,
            StatusCode::SERVICE_UNAVAILABLE if answer.headers.contains_key(header::RETRY_AFTER) => {
                Outcome::Unavailable
            }
            StatusCode::TOO_MANY_REQUESTS => Outcome::Denied,
            StatusCode::OK => match self.kind {
                Kind::Bare => Outcome::Served,
                Kind::Page if text != path => Outcome::Wrong,
                Kind::Page => {
                    let status = answer.extensions.get::<CacheStatus>();
                    match status.and_then(CacheStatus::forward) {
                        Some(Forward::Bypass) => Outcome::Bypassed,
                        _ => Outcome::Served,
                    }
                }
                Kind::Visit => self.read_visit(answer, text),
                Kind::Limited | Kind::Strict => {
                    self.admitted += 1;
                    Outcome::Served
                }
            },
            other => Outcome::Status(other.as_u16()),
        }
    }

    fn read_visit(&mut self, answer: &http::response::Parts, text: &str) -> Outcome {
        let mut words = text.split(' ');
        let owner = words.next().unwrap_or_default();
        let visits = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        if let Some(id) = words.next().filter(|id| !id.is_empty()) {
            self.session = id.into();
        }
        let known = self.cookie.is_some();
        let new_cookie = answer.headers.get(header::SET_COOKIE);
        if let Some(cookie) = new_cookie {
            let cookie = cookie.to_str().expect("a cookie");
            self.cookie = cookie.split(';').next().map(ToOwned::to_owned);
        }
        let before = std::mem::replace(&mut self.visits, visits);
        match () {
            () if owner != self.who => Outcome::Wrong,
            () if known && visits == 1 && before > 0 => Outcome::SessionLost,
            () if known && new_cookie.is_some() => Outcome::CookieTouched,
            () if visits <= before => Outcome::WriteLost,
            () => Outcome::Served,
        }
    }
}

/// Far less than what each visitor asks for, so that a limit that admits too much is noticed.
const QUOTA: Quota = Quota::per_second(RATE).burst(BURST);
pub const RATE: u32 = 5;
pub const BURST: u32 = 10;

const WHO: HeaderName = HeaderName::from_static("x-visitor");
