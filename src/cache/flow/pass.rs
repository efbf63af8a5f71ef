//! Answers a request without the cache.

use http::{Request, Response};
use tower_service::Service;

use crate::cache::{
    fill::body::CacheBody,
    rfc::cache_status::{CacheStatus, Forward},
};

/// A response and what the cache did for it, or the error of the service.
pub(crate) type Answer<B, E> = Result<(Response<CacheBody<B>>, CacheStatus), E>;

/// Calls the handler and passes its answer on.
pub(crate) async fn pass<S, ReqBody, B>(
    mut inner: S,
    request: Request<ReqBody>,
    why: Forward,
    detail: Option<&'static str>,
) -> Answer<B, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    let response = inner.call(request).await?;
    let status = CacheStatus::forwarded(why).detail(detail);
    Ok((response.map(CacheBody::wrapped), status))
}
