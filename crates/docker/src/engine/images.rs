//! Images: whether one is there, and getting it.

use bollard::auth::DockerCredentials;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::{Stream, StreamExt as _};
use stigmer_core::Result;

use super::errors::{EngineError, Kind, Said};
use super::{Engine, said};

impl Engine {
    /// An image's id; nothing if the engine does not have it.
    pub(crate) async fn image(&self, image: &str) -> Result<Option<String>, EngineError> {
        let client = self.client().await?;
        let asked = self.asked("look at the image", Some(image));
        match self.limited(&asked, client.inspect_image(image)).await {
            Ok(found) => Ok(Some(found.id.unwrap_or_default())),
            Err(failed) if failed.kind == Kind::ImageMissing => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// Pulls an image; what comes are the engine's own messages.
    pub(crate) async fn pull<'a>(
        &'a self,
        image: &'a str,
        name: &str,
        tag: &str,
        credentials: Option<DockerCredentials>,
    ) -> Result<impl Stream<Item = Result<CreateImageInfo, EngineError>> + 'a, EngineError> {
        let client = self.client().await?;
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let messages = client.create_image(Some(options), None, credentials);
        let failed = move |said: &Said| EngineError::of(said, &self.asked("pull", Some(image)));
        Ok(messages.map(move |message| match message {
            Ok(CreateImageInfo { error_detail: Some(error), .. }) => {
                Err(failed(&Said::Stream(error.message.unwrap_or_default())))
            }
            Ok(message) => Ok(message),
            Err(error) => Err(failed(&said(&error))),
        }))
    }

    /// The failure of a pull that stands still.
    pub(crate) fn stalled(&self, image: &str, milliseconds: u128) -> EngineError {
        EngineError::of(&Said::Late(milliseconds), &self.asked("pull the image", Some(image)))
    }
}
