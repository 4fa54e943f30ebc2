//! The time that a client gives a request.
//!
//! `grpc-timeout` bounds the whole call, streams included: what takes longer is dropped, and so is
//! the work behind it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;
use stigmer_core::{ErrorCode, Result, ToolError};
use tokio::time::{Instant, Sleep};
use tonic::{Code, Status};

use crate::convert::errors;
use crate::methods::{self, Level};

/// The header.
const TIMEOUT: &str = "grpc-timeout";

/// The most digits that gRPC allows.
const MAX_DIGITS: usize = 8;

/// The time that a request has.
///
/// # Errors
/// `invalid_argument` if it cannot be understood.
pub(super) fn of(headers: &HeaderMap) -> Result<Option<Duration>> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let time = value.to_str().ok().and_then(parse);
    let wrong = || ToolError::invalid_argument(TIMEOUT, "is not up to eight digits and a unit");
    time.ok_or_else(wrong).map(Some)
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// The status of a call whose time is up. To gRPC it is its deadline; the error says what may be
/// concluded from it.
pub(super) fn expired(path: &str, most: usize) -> Status {
    let reads = methods::at(path).is_some_and(|method| method.level == Level::NoSideEffects);
    let error = if reads {
        ToolError::new(ErrorCode::DeadlineExceeded, "the time that the client gave is up")
    } else {
        let message = "the time that the client gave is up; whether it was done is not known";
        ToolError::new(ErrorCode::CompletionUnknown, message)
    };
    let status = errors::status_within(&error, most);
    Status::with_metadata(Code::DeadlineExceeded, status.message(), status.metadata().clone())
}

/// The response, which ends when the time is up.
pub(super) fn bound(
    response: Response<Body>,
    sleep: Pin<Box<Sleep>>,
    path: String,
    most: usize,
) -> Response<Body> {
    response.map(|body| Body::new(Bound { body: Some(body), sleep, path, most }))
}

struct Bound {
    /// `None` once the time is up.
    body: Option<Body>,
    sleep: Pin<Box<Sleep>>,
    path: String,
    most: usize,
}

impl http_body::Body for Bound {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        // What is there is given, also late: an answer is better than none.
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            // A stream that always has more must come to its end all the same.
            if Instant::now() < this.sleep.deadline() || frame.as_ref().is_none_or(is_last) {
                return Poll::Ready(frame);
            }
        } else if this.sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        this.body = None;
        let mut trailers = HeaderMap::new();
        let status = expired(&this.path, this.most);
        if let Err(other) = status.add_header(&mut trailers) {
            return Poll::Ready(Some(Err(axum::Error::new(other))));
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

fn is_last(frame: &Result<Frame<Bytes>, axum::Error>) -> bool {
    frame.as_ref().is_ok_and(Frame::is_trailers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_understood_and_nothing_else_is() {
        for (text, time) in [
            ("1H", Duration::from_secs(3600)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("4m", Duration::from_millis(4)),
            ("5u", Duration::from_micros(5)),
            ("00000006n", Duration::from_nanos(6)),
        ] {
            assert_eq!(parse(text), Some(time), "{text}");
        }
        for bad in ["", "1", "S", "+1S", "-1S", "1s", "123456789S", "1é", "1 S"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_only_reads_may_be_asked_again() {
        let error = |path| {
            let status = expired(path, 1000);
            assert_eq!(status.code(), Code::DeadlineExceeded);
            errors::from_status(&status).code
        };
        assert_eq!(error("/stigmer.v1.Files/Read"), ErrorCode::DeadlineExceeded);
        assert_eq!(error("/stigmer.v1.Files/Write"), ErrorCode::CompletionUnknown);
        assert_eq!(error("/stigmer.v1.Processes/CloseStdin"), ErrorCode::CompletionUnknown);
    }

    #[tokio::test]
    async fn a_stream_that_always_has_more_ends_too() {
        let more = || Ok::<_, std::convert::Infallible>(Bytes::from_static(b"more"));
        let more = futures_util::stream::repeat_with(more);
        let sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
        let path = "/stigmer.v1.Processes/Output".to_owned();
        let mut body = bound(Response::new(Body::from_stream(more)), sleep, path, 1000).into_body();
        let frame = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
        let status = Status::from_header_map(frame.trailers_ref().unwrap()).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(http_body_util::BodyExt::frame(&mut body).await.is_none());
    }
}
