//! Moving trees in and out, and watching them change.

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use stigmer_core::transfer::{Change, UploadSummary};
use stigmer_core::{ByteStream, Result, ToolError};
use tonic::{Request, Streaming};

use super::context::Asked;
use super::{Answer, Answers, Api};
use crate::convert;
use crate::convert::{Fault, InWorkspace as _, errors};
use crate::wire;
use crate::wire::transfers_server::Transfers;

#[tonic::async_trait]
impl Transfers for Api {
    async fn upload(
        &self,
        request: Request<Streaming<wire::UploadRequest>>,
    ) -> Answer<wire::UploadSummary> {
        let (asked, input) = Asked::take(request);
        let done = self.take(&asked, input).await;
        asked.answer(done.map(Into::into))
    }

    type DownloadStream = Answers<wire::DownloadPart>;

    async fn download(
        &self,
        request: Request<wire::DownloadRequest>,
    ) -> Answer<Self::DownloadStream> {
        let (asked, message) = Asked::take(request);
        let content = async {
            let executor = self.provider.executor(&message.workspace, &asked.context).await?;
            executor.download(convert::request(message)?).await
        };
        let content = content.await;
        let each = asked.clone();
        asked.answer(content.map(|content| -> Self::DownloadStream {
            let part = move |data: Result<Bytes>| match data {
                Ok(data) => Ok(wire::DownloadPart { data }),
                Err(error) => Err(each.refuse(&error)),
            };
            Box::pin(content.map(part))
        }))
    }

    type WatchStream = Answers<wire::WatchEvent>;

    async fn watch(&self, request: Request<wire::WatchRequest>) -> Answer<Self::WatchStream> {
        let (asked, message) = Asked::take(request);
        let changes = async {
            let executor = self.provider.executor(&message.workspace, &asked.context).await?;
            executor.watch(convert::request(message)?).await
        };
        let changes = changes.await;
        let each = asked.clone();
        asked.answer(changes.map(|changes| -> Self::WatchStream {
            // The watch is in place, and its client must hear of that before anything changes.
            let in_place = stream::iter([Ok(wire::WatchEvent { change: None })]);
            let event = move |change: Result<Change>| {
                change.map(Into::into).map_err(|error| each.refuse(&error))
            };
            Box::pin(in_place.chain(changes.map(event)))
        }))
    }
}

/// One message of an upload, whatever is uploaded.
pub(super) enum Part<B> {
    /// What is uploaded where.
    Begin(B),
    /// The next bytes.
    Data(Bytes),
    /// There are no more.
    Finish,
}

/// A message that is a part of an upload.
pub(super) trait Message: Send + 'static {
    /// What is uploaded where.
    type Begin;

    /// What it says; `None` if nothing that this build knows.
    fn part(self) -> Option<Part<Self::Begin>>;
}

impl Message for wire::UploadRequest {
    type Begin = wire::UploadBegin;

    fn part(self) -> Option<Part<wire::UploadBegin>> {
        Some(match self.part? {
            wire::upload_request::Part::Begin(begin) => Part::Begin(begin),
            wire::upload_request::Part::Data(data) => Part::Data(data),
            wire::upload_request::Part::Finish(_) => Part::Finish,
        })
    }
}

impl Api {
    async fn take(
        &self,
        asked: &Asked,
        input: Streaming<wire::UploadRequest>,
    ) -> Result<UploadSummary> {
        let (begin, content) = begun(input).await?;
        let executor = self.provider.executor(begin.workspace(), &asked.context).await?;
        executor.upload(convert::request(begin)?, content).await
    }
}

/// What an upload begins with, and its bytes. They end with an error if the client does not say that
/// there are no more, so that nothing half-written is left.
pub(super) async fn begun<M: Message>(mut input: Streaming<M>) -> Result<(M::Begin, ByteStream)> {
    let Some(Part::Begin(begin)) = next(&mut input).await? else {
        return Err(Fault::new("begin", "must be the first message").in_request());
    };
    let input = Input { messages: input, finished: false };
    let content: ByteStream = Box::pin(stream::unfold(input, |mut input| async {
        let data = input.data().await.transpose()?;
        Some((data, input))
    }));
    Ok((begin, content))
}

/// The messages after the first.
struct Input<M> {
    messages: Streaming<M>,
    finished: bool,
}

impl<M: Message> Input<M> {
    /// The next bytes; `None` once the client has said that there are no more.
    async fn data(&mut self) -> Result<Option<Bytes>> {
        if self.finished {
            return Ok(None);
        }
        match next(&mut self.messages).await? {
            Some(Part::Data(data)) => Ok(Some(data)),
            Some(Part::Finish) => {
                self.finished = true;
                Ok(None)
            }
            Some(Part::Begin(_)) => Err(Fault::new("begin", "is said twice").in_request()),
            // So that the executor leaves nothing half-written.
            None => Err(ToolError::invalid_argument("finish", "the upload ended without it")),
        }
    }
}

async fn next<M: Message>(messages: &mut Streaming<M>) -> Result<Option<Part<M::Begin>>> {
    // A fault of ours was said in the stream; anything else is the connection's.
    let message = messages.message().await.map_err(|status| errors::from_status(&status))?;
    let Some(message) = message else { return Ok(None) };
    let missing = || Fault::new("begin, data or finish", "is missing").in_request();
    message.part().ok_or_else(missing).map(Some)
}
