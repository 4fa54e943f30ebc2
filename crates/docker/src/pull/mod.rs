//! Getting an image, and telling how far it is.

pub(crate) mod credentials;
mod progress;
pub(crate) mod reference;

use std::time::Duration;

use futures_util::StreamExt as _;
use stigmer_core::manager::{Listener, Progress};
use stigmer_core::{ErrorCode, Result, ToolError};

use crate::engine::{Engine, EngineError};
use crate::options::DockerOptions;
use progress::Throttle;

/// How long a pull may stand still. A registry that sends nothing for so long sends nothing more; how
/// long the whole takes is the network's affair.
const STALL: Duration = Duration::from_secs(120);

/// How long a whole one may take, however it goes on: gigabytes over a slow line. Somebody waits, and
/// those who want the same workspace wait for them.
const WHOLE: Duration = Duration::from_secs(3600);

/// Makes sure that the engine has the image; returns its id.
///
/// # Errors
/// `not_found` if it is missing and not to be pulled, or there is none; what pulling says.
pub(crate) async fn ensure(
    engine: &Engine,
    options: &DockerOptions,
    listener: Listener<'_>,
) -> Result<String> {
    let image = options.image.as_str();
    if let Some(id) = engine.image(image).await? {
        return Ok(id);
    }
    // What stands in for another is a build of this machine.
    if !options.auto_pull || options.instead_of.is_some() {
        return Err(engine.missing(image).into());
    }
    pull(engine, options, listener).await?;
    let there = engine.image(image).await?;
    there.ok_or_else(|| {
        let message = format!("the engine pulled {image} and does not have it");
        ToolError::new(ErrorCode::Io, message).with_detail("image", image)
    })
}

/// Pulls the image, whether it is there or not.
///
/// # Errors
/// What the engine and the registry say.
pub(crate) async fn pull(
    engine: &Engine,
    options: &DockerOptions,
    listener: Listener<'_>,
) -> Result<()> {
    let image = options.image.as_str();
    listener(Progress::Step(format!("pulling image {image}")));
    let credentials = credentials::find(options, listener).await;
    let (name, tag) = reference::split(image);
    let mut throttle = Throttle::default();
    let pulling = async {
        let mut messages = Box::pin(engine.pull(image, name, tag, credentials).await?);
        loop {
            let next = tokio::time::timeout(STALL, messages.next()).await;
            match next.map_err(|_| engine.stalled(image, STALL.as_millis()))? {
                Some(message) => {
                    if let Some(progress) = throttle.take(progress::of(&message?)) {
                        listener(progress);
                    }
                }
                None => return Ok::<(), EngineError>(()),
            }
        }
    };
    let late = |_| Err(engine.stalled(image, WHOLE.as_millis()));
    Ok(tokio::time::timeout(WHOLE, pulling).await.unwrap_or_else(late)?)
}
