//! A small shop with the three layers: a cached catalogue, a limited search, a cart in the session.
//!
//! ```text
//! make demo
//! ```
//!
//! It serves one page that shows what the layers did with each answer. `REDIS_URL` is the URL of Redis. `PORT` is the port to
//! listen on; default 3000, or any free port when that is taken.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, RwLock},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tower_fred::{
    CacheLayer, Error, RateLimitLayer, Redis, Session, SessionLayer, cache::Purge,
    rate_limit::Quota, redis::Health,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter("info").init();
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".into());
    let redis = Redis::builder()
        .namespace("storefront")
        .connect(&url)
        .await?;

    let listener = listen().await?;
    println!(
        "\n  The storefront is open at http://localhost:{}\n",
        listener.local_addr()?.port()
    );
    let app = shop(&redis).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    Ok(())
}

/// The three layers over one handle. Each is only on the routes that need it.
fn shop(redis: &Redis) -> Router {
    let cache = CacheLayer::new(redis.clone()).ttl(Duration::from_secs(60));
    let shop = Shop {
        products: Arc::new(RwLock::new(catalogue())),
        purge: Purge::new(redis.clone()),
    };

    let catalogue = Router::new()
        .route("/api/products", get(list))
        .route("/api/products/{id}", get(product).put(edit))
        .layer(cache);
    let search = Router::new()
        .route("/api/search", get(search))
        .layer(RateLimitLayer::new(redis.clone(), Quota::per_minute(30).burst(5)).name("search"));
    let account = Router::new()
        .route("/api/me", get(me))
        .route("/api/cart", post(add_to_cart))
        .route("/api/login", post(login))
        .route("/api/logout", post(logout))
        .layer(SessionLayer::new(redis.clone()));

    Router::new()
        .route("/", get(|| async { Html(include_str!("storefront.html")) }))
        .route("/ready", get(ready).with_state(redis.clone()))
        .merge(catalogue)
        .merge(search)
        .merge(account)
        .layer(middleware::from_fn(show_cookie))
        .with_state(shop)
}

async fn list(State(shop): State<Shop>) -> Json<Vec<Product>> {
    slow().await;
    Json(shop.read().clone())
}

async fn product(
    State(shop): State<Shop>,
    Path(id): Path<u32>,
) -> Result<Json<Product>, StatusCode> {
    slow().await;
    shop.find(id).map(Json).ok_or(StatusCode::NOT_FOUND)
}

/// Sets a new price. The cache invalidates the product's page by itself, since an unsafe method succeeded on its URL. The
/// list shows the price too, so it is purged here.
async fn edit(
    State(shop): State<Shop>,
    Path(id): Path<u32>,
    headers: HeaderMap,
    Json(edit): Json<Edit>,
) -> Result<Json<Product>, Failure> {
    let product = shop.set_price(id, edit.cents).ok_or(Failure::NotFound)?;
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    if let Ok(list) = format!("http://{host}/api/products").parse() {
        shop.purge.url(&list).await?;
    }
    Ok(Json(product))
}

async fn search(State(shop): State<Shop>, Query(search): Query<Search>) -> Json<Vec<Product>> {
    let word = search.q.to_lowercase();
    let mut found = shop.read().clone();
    found.retain(|product| product.name.to_lowercase().contains(&word));
    Json(found)
}

/// The user and the cart of the visitor. For a visitor without a cookie no command is sent.
async fn me(State(shop): State<Shop>, session: Session) -> Result<Json<Me>, Failure> {
    let cart: Vec<(u32, u32)> = session.get("cart").await?.unwrap_or_default();
    let line = |(id, count)| {
        Some(Line {
            name: shop.find(id)?.name,
            count,
        })
    };
    Ok(Json(Me {
        user: session.user().await?,
        session: session.id(),
        cart: cart.into_iter().filter_map(line).collect(),
    }))
}

async fn add_to_cart(
    State(shop): State<Shop>,
    session: Session,
    Json(item): Json<Item>,
) -> Result<StatusCode, Failure> {
    shop.find(item.id).ok_or(Failure::NotFound)?;
    let mut cart: Vec<(u32, u32)> = session.get("cart").await?.unwrap_or_default();
    match cart.iter_mut().find(|(id, _)| *id == item.id) {
        Some((_, count)) => *count = count.saturating_add(1),
        None => cart.push((item.id, 1)),
    }
    session.insert("cart", &cart)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A real shop would check a password here. The session keeps the cart and gets a new token.
async fn login(session: Session, Json(login): Json<Login>) -> Result<StatusCode, Failure> {
    session.login(login.user)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn logout(session: Session) -> StatusCode {
    session.logout();
    StatusCode::NO_CONTENT
}

/// For a load balancer. Without Redis the shop works slowly and has no carts.
async fn ready(State(redis): State<Redis>) -> StatusCode {
    match redis.health() {
        Health::Up => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Scripts of the page cannot see the cookie, as it should be. This header tells the page that a cookie was set or removed.
async fn show_cookie(request: axum::extract::Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(cookie) = response.headers().get(header::SET_COOKIE) {
        let removed = cookie
            .as_bytes()
            .windows(9)
            .any(|window| window == b"Max-Age=0");
        let what = if removed { "removed" } else { "set" };
        response
            .headers_mut()
            .insert("x-demo-cookie", header::HeaderValue::from_static(what));
    }
    response
}

/// The time that the catalogue takes without a cache.
async fn slow() {
    tokio::time::sleep(Duration::from_millis(400)).await;
}

async fn listen() -> std::io::Result<TcpListener> {
    let port = std::env::var("PORT")
        .ok()
        .and_then(|port| port.parse().ok());
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(3000))).await {
        Err(error) if port.is_none() && error.kind() == std::io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
        }
        result => result,
    }
}

/// The database of the shop, and the purges of cached answers about it.
#[derive(Clone)]
struct Shop {
    products: Arc<RwLock<Vec<Product>>>,
    purge: Purge,
}

impl Shop {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<Product>> {
        self.products
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn find(&self, id: u32) -> Option<Product> {
        self.read().iter().find(|product| product.id == id).cloned()
    }

    fn set_price(&self, id: u32, cents: u32) -> Option<Product> {
        let mut products = self
            .products
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let product = products.iter_mut().find(|product| product.id == id)?;
        product.cents = cents;
        Some(product.clone())
    }
}

#[derive(Clone, Serialize)]
struct Product {
    id: u32,
    name: String,
    kind: &'static str,
    cents: u32,
}

fn catalogue() -> Vec<Product> {
    let products = [
        ("Desk lamp", "lamp", 3900),
        ("Notebook", "notebook", 850),
        ("Reading chair", "sofa", 26400),
        ("Fountain pen", "pen", 2750),
    ];
    (1..)
        .zip(products)
        .map(|(id, (name, kind, cents))| Product {
            id,
            name: name.to_owned(),
            kind,
            cents,
        })
        .collect()
}

#[derive(Serialize)]
struct Me {
    user: Option<String>,
    session: Option<String>,
    cart: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    name: String,
    count: u32,
}

#[derive(Deserialize)]
struct Edit {
    cents: u32,
}

#[derive(Deserialize)]
struct Item {
    id: u32,
}

#[derive(Deserialize)]
struct Login {
    user: String,
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
}

enum Failure {
    NotFound,
    Redis(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Redis(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND.into_response(),
            // 503 with Retry-After when Redis is unavailable.
            Self::Redis(error) => error.into_response(),
        }
    }
}
