//! What every call passes through.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use http::Response;

use super::context::most_error;
use super::{deadline, unknown};
use crate::convert::errors;

/// Looks at the request's fields and bounds its time.
pub(super) async fn guard(request: Request, next: Next) -> Response<Body> {
    let most = most_error(request.headers());
    let time = match deadline::of(request.headers()) {
        Ok(time) => time,
        Err(error) => return errors::status_within(&error, most).into_http(),
    };
    if let Err(error) = unknown::known_method(request.uri().path()) {
        return errors::status_within(&error, most).into_http();
    }
    let request = unknown::look_at(request);
    let Some(time) = time else { return next.run(request).await };
    let path = request.uri().path().to_owned();
    let mut sleep = Box::pin(tokio::time::sleep(time));
    tokio::select! {
        biased;
        response = next.run(request) => deadline::bound(response, sleep, path, most),
        () = &mut sleep => deadline::expired(&path, most).into_http(),
    }
}
