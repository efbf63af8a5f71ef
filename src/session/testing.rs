//! A cookie of a logged-in browser, for the tests of applications.

use http::HeaderValue;
use serde::Serialize;

use super::{cookie::fields::pair, layer::SessionLayer, record::login::Login};
use crate::error::Error;

impl SessionLayer {
    /// Begins a session of a user with these fields, and returns the `Cookie` header field that its browser would send:
    /// for tests of an application, which then need not use its login page.
    ///
    /// ```no_run
    /// use http::{Request, header};
    /// use tower_fred::{Error, SessionLayer};
    ///
    /// async fn request(layer: &SessionLayer) -> Result<Request<()>, Error> {
    ///     let cookie = layer.login_cookie("alice", &serde_json::json!({ "theme": "dark" })).await?;
    ///     let mut request = Request::new(());
    ///     request.headers_mut().insert(header::COOKIE, cookie);
    ///     Ok(request)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`SessionStore::create_for`](super::SessionStore::create_for).
    pub async fn login_cookie<T: Serialize + ?Sized>(
        &self,
        login: impl Into<Login>,
        fields: &T,
    ) -> Result<HeaderValue, Error> {
        let token = self.config.store.create_for(login, fields).await?;
        Ok(pair(&self.config.cookie, &token))
    }
}
