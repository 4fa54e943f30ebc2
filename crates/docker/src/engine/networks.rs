//! Networks: whether one is there.

use bollard::query_parameters::InspectNetworkOptions;
use stigmer_core::Result;

use super::Engine;
use super::errors::EngineError;

impl Engine {
    /// Looks for a network. A container is created with one that is not there, and only its start
    /// fails.
    ///
    /// # Errors
    /// `bad_configuration` if there is none.
    pub(crate) async fn network(&self, name: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        let asked = self.asked("use the network", None);
        let found = client.inspect_network(name, None::<InspectNetworkOptions>);
        self.limited(&asked, found).await.map(drop)
    }
}
