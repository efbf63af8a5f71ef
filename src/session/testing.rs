//! For the tests of applications: a browser that is logged in, without a login page.

use http::HeaderValue;
use serde::Serialize;

use super::{cookie::fields::pair, layer::SessionLayer, record::login::Login};
use crate::error::Error;

impl SessionLayer {
    /// The `Cookie` field of a browser in which a user is logged in to a session with these fields: for tests of an
    /// application, so that they need not click through its login.
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
