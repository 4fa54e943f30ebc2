//! Moving trees in and out, and watching them change.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use prost::Message;
use stigmer_core::transfer::{Change, Download, Upload, UploadSummary, Watch};
use stigmer_core::{ByteStream, ChangeStream, ErrorCode, FilePath, Result, ToolError};

use super::RemoteExecutor;
use crate::client::call::Messages;
use crate::client::failure::Failure;
use crate::client::methods::{DOWNLOAD, UPLOAD, WATCH};
use crate::convert;
use crate::wire;
use crate::wire::upload_request::Part;

/// The most bytes in one message of an upload: enough that messages cost little, and little enough
/// that few wait in memory.
const PIECE: usize = 256 << 10;

impl RemoteExecutor {
    /// A stream that breaks ends with an error, so that what is cut is never taken for whole.
    pub(super) async fn download_content(&self, request: Download) -> Result<ByteStream> {
        let path = request.path.clone();
        let request: wire::DownloadRequest = self.about(request);
        let parts = self.client.call(DOWNLOAD)?.open(&request).await?;
        Ok(Box::pin(unfold(Some((parts, path)), async |downloading| {
            let (mut parts, path) = downloading?;
            match parts.next().await {
                Ok(Some(part)) => Some((Ok(part.data), Some((parts, path)))),
                Ok(None) => None,
                Err(failure) => Some((Err(cut_off(failure, &path)), None)),
            }
        })))
    }

    /// Changes that happen while a connection is made anew would be lost, so that a watch that
    /// breaks ends with an error.
    pub(super) async fn watch_changes(&self, request: Watch) -> Result<ChangeStream> {
        let request: wire::WatchRequest = self.about(request);
        let mut events = self.client.call(WATCH)?.open(&request).await?;
        // The first message says that the watch is in place.
        let first = next_event(&mut events).await?;
        if first.change.is_some() {
            let reason = "the server reports a change before it says that it watches";
            return Err(ToolError::new(ErrorCode::Io, reason));
        }
        Ok(Box::pin(unfold(Some(events), async |events| {
            let mut events = events?;
            let change = next_event(&mut events).await.and_then(convert::reply::<_, Change>);
            let events = change.is_ok().then_some(events);
            Some((change, events))
        })))
    }

    /// Content that fails is not finished, and then the server throws away the file that it was in.
    pub(super) async fn upload_content(
        &self,
        request: Upload,
        content: ByteStream,
    ) -> Result<UploadSummary> {
        let failed = Arc::new(Mutex::new(None));
        let begin: wire::UploadBegin = self.about(request);
        let pieces = Pieces {
            content: Some(content),
            ready: VecDeque::from([message(Part::Begin(begin))]),
            failed: Arc::clone(&failed),
        };
        let messages = unfold(pieces, async |mut pieces| Some((pieces.next().await?, pieces)));
        let answer = self.client.call(UPLOAD)?.upload(messages).await;
        if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        convert::reply(answer?)
    }
}

/// What ended a download before its end: what the server says, or that it could not be heard.
fn cut_off(failure: Failure, path: &FilePath) -> ToolError {
    if let Failure::Answered(error) = failure {
        return error;
    }
    let error = failure.into_reason();
    let message = format!("the download of {path} broke off: {}", error.message);
    ToolError { message, ..error }
        .with_detail("path", path.clone())
        .with_hint("what came is not the whole: download it again")
}

async fn next_event(events: &mut Messages<wire::WatchEvent>) -> Result<wire::WatchEvent> {
    match events.next().await {
        Ok(Some(event)) => Ok(event),
        Ok(None) => Err(ToolError::new(ErrorCode::Unavailable, "the server has ended the watch")),
        Err(failure) => Err(failure.into_reason()),
    }
}

fn message(part: Part) -> Bytes {
    wire::UploadRequest { part: Some(part) }.encode_to_vec().into()
}

/// The messages of an upload, made as they are sent.
struct Pieces {
    content: Option<ByteStream>,
    ready: VecDeque<Bytes>,
    /// What the content failed with.
    failed: Arc<Mutex<Option<ToolError>>>,
}

impl Pieces {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Some(piece);
            }
            match self.content.as_mut()?.next().await {
                Some(Ok(bytes)) => {
                    let pieces = bytes.chunks(PIECE).map(|piece| bytes.slice_ref(piece));
                    self.ready = pieces.map(|piece| message(Part::Data(piece))).collect();
                }
                Some(Err(error)) => {
                    *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    self.content = None;
                }
                None => {
                    self.content = None;
                    self.ready.push_back(message(Part::Finish(wire::UploadFinish {})));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::iter;

    use super::*;

    async fn parts(content: Vec<Result<Bytes>>) -> (Vec<Part>, Option<ToolError>) {
        let failed = Arc::new(Mutex::new(None));
        let mut pieces = Pieces {
            content: Some(Box::pin(iter(content))),
            ready: VecDeque::new(),
            failed: Arc::clone(&failed),
        };
        let mut parts = Vec::new();
        while let Some(piece) = pieces.next().await {
            parts.push(wire::UploadRequest::decode(piece).unwrap().part.unwrap());
        }
        let failed = failed.lock().unwrap().take();
        (parts, failed)
    }

    #[tokio::test]
    async fn content_is_cut_into_pieces_and_finished() {
        let content = Bytes::from(vec![7; 2 * PIECE + 1]);
        let (parts, failed) = parts(vec![Ok(Bytes::new()), Ok(content)]).await;
        let sizes: Vec<usize> = parts
            .iter()
            .map(|part| if let Part::Data(data) = part { data.len() } else { 0 })
            .collect();
        assert_eq!(sizes, [PIECE, PIECE, 1, 0]);
        assert!(matches!(parts[3], Part::Finish(_)));
        assert_eq!(failed, None);
    }

    #[tokio::test]
    async fn content_that_fails_is_never_finished() {
        let error = ToolError::new(ErrorCode::Io, "no more");
        let (parts, failed) =
            parts(vec![Ok(Bytes::from_static(b"a")), Err(error.clone()), Ok(Bytes::new())]).await;
        assert!(matches!(parts.as_slice(), [Part::Data(_)]), "{parts:?}");
        assert_eq!(failed, Some(error));
    }
}
