//! Streams that go on where they broke off.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_core::Stream;
use futures_util::stream::unfold;
use prost::{Message, Name};
use stigmer_core::{ErrorCode, Result, ToolError};

use super::Client;
use super::call::Messages;
use super::failure::Failure;
use super::methods::Method;
use super::patience::Patience;

/// What knows how far a stream has come.
pub(super) trait Resumable: Send + 'static {
    /// What opens the stream.
    type Request: Message;
    /// What the server sends.
    type Message: Message + Name + Default + Send + Sync + 'static;
    /// What becomes of it.
    type Item: Send + 'static;

    /// Where the stream comes from.
    const METHOD: Method<Self::Request, Self::Message>;

    /// The request for what has not arrived yet; nothing if it is not known where that begins.
    fn request(&mut self) -> Option<Self::Request>;

    /// Checks what arrived, and goes on behind it. Nothing if it had arrived before.
    ///
    /// # Errors
    /// `io` if it is not what comes next.
    fn arrived(&mut self, message: Self::Message) -> Result<Option<Self::Item>>;

    /// Whether the server may say now that there is no more.
    fn may_end(&self) -> bool;

    /// Whether nothing more can come, whatever becomes of the connection.
    fn is_over(&self) -> bool;
}

/// A stream that is resumed as often as it breaks.
struct Resuming<T: Resumable> {
    client: Client,
    source: T,
    messages: Option<Messages<T::Message>>,
    opened: Instant,
    patience: Patience,
}

/// Opens a stream that is resumed as often as it breaks.
///
/// # Errors
/// What the server says, and `unavailable`. Later errors are items of the stream, its last ones.
pub(super) async fn resuming<T: Resumable>(
    client: &Client,
    mut source: T,
) -> Result<Pin<Box<dyn Stream<Item = Result<T::Item>> + Send>>> {
    let request = source.request().ok_or_else(cannot_resume)?;
    let messages = client.call(T::METHOD)?.open(&request).await?;
    let resuming = Resuming {
        client: client.clone(),
        source,
        messages: Some(messages),
        opened: Instant::now(),
        patience: client.patience(),
    };
    Ok(Box::pin(unfold(Some(resuming), async |state| {
        let mut resuming = state?;
        match resuming.next().await {
            Ok(Some(item)) => Some((Ok(item), Some(resuming))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })))
}

impl<T: Resumable> Resuming<T> {
    async fn next(&mut self) -> Result<Option<T::Item>> {
        loop {
            let Some(messages) = &mut self.messages else {
                return Err(ToolError::new(ErrorCode::Io, "the stream has ended"));
            };
            match messages.next().await {
                Ok(Some(message)) => {
                    if let Some(item) = self.source.arrived(message)? {
                        self.patience.renew();
                        return Ok(Some(item));
                    }
                }
                Ok(None) if self.source.may_end() => return Ok(None),
                Ok(None) => {
                    let reason = "the server ended a stream before it was whole";
                    return Err(ToolError::new(ErrorCode::Io, reason));
                }
                Err(Failure::Answered(error)) => return Err(error),
                Err(_) if self.source.is_over() => return Ok(None),
                Err(failure) => {
                    self.client.report::<()>(&Err(failure.clone()));
                    self.reopen(failure).await?;
                }
            }
        }
    }

    async fn reopen(&mut self, mut failure: Failure) -> Result<()> {
        self.messages = None;
        let mut lasted = self.opened.elapsed();
        let request = self.source.request().ok_or_else(cannot_resume)?;
        loop {
            if let Failure::Unseen { error, for_good: true, .. } = failure {
                return Err(error);
            }
            if !self.patience.wait(lasted).await? {
                return Err(failure.into_reason());
            }
            match self.client.call(T::METHOD)?.reopen(&request).await {
                Ok(messages) => {
                    self.messages = Some(messages);
                    self.opened = Instant::now();
                    return Ok(());
                }
                Err(Failure::Answered(error)) => return Err(error),
                Err(again) => failure = again,
            }
            lasted = Duration::ZERO;
        }
    }
}

fn cannot_resume() -> ToolError {
    let reason = "the connection broke before it was known where the stream begins";
    ToolError::new(ErrorCode::Unavailable, reason)
        .with_hint("open it anew: something may be missing")
}
