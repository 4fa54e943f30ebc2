//! The places of workspaces: looked after by the daemon, or by the engine in this process.

use std::path::Path;

use futures_util::StreamExt as _;
use stigmer_api::client::Client;
use stigmer_api::{Preparing, PreparingStream, RequestContext};
use stigmer_core::manager::{Listener, PlaceStatus};
use stigmer_core::workspace::{OpenWorkspace, Preparation};
use stigmer_core::{ErrorCode, ExecutionMode, Result, ToolError};
use stigmer_engine::{Configuration, Engine, ProcessScope, Workspace};

use crate::arguments::Globals;
use crate::connection::{self, Server};
use crate::context::{self, Settings};

/// Who looks after places.
pub(crate) enum Places {
    /// The engine in this process.
    Here(Box<Engine>),
    /// A server.
    There(Client),
}

/// Places, and the settings that count for them.
pub(crate) struct Access {
    pub(crate) places: Places,
    pub(crate) configuration: Configuration,
}

impl Access {
    /// Whoever looks after places, found as for a command in a sandbox.
    pub(crate) fn open(globals: &Globals) -> Result<Self> {
        // Auto mode has the same sandbox.
        let has_places = |mode| matches!(mode, ExecutionMode::Sandbox | ExecutionMode::Auto);
        if let Some(mode) = globals.mode.filter(|mode| !has_places(*mode)) {
            let reason = format!("{mode}: only sandboxes have a place of their own");
            return Err(ToolError::invalid_argument("--mode", reason));
        }
        let globals = &Globals { mode: Some(ExecutionMode::Sandbox), ..globals.clone() };
        let settings = Settings::read(globals, context::surroundings())?;
        let configuration = settings.configuration().clone();
        let places = match settings.server {
            Some(Server { endpoint, .. }) => Places::There(connection::client(endpoint)),
            None => {
                let engine = Engine::new(configuration.clone(), None, ProcessScope::All);
                Places::Here(Box::new(engine))
            }
        };
        Ok(Self { places, configuration })
    }

    /// The directory that is meant where none is named.
    pub(crate) fn directory(&self, named: Option<&Path>, globals: &Globals) -> Result<Workspace> {
        let current = std::env::current_dir()
            .map_err(|error| context::io("open", "the current directory", &error))?;
        let named = named.or(globals.workspace.as_deref());
        Workspace::choose(named.or(self.configuration.workspace_directory()), &current)
    }

    /// What a workspace is called: its id, or its path.
    pub(crate) fn name(&self, named: Option<&str>, globals: &Globals) -> Result<String> {
        if let Some(id) = named.filter(|name| name.starts_with("ws-") && !Path::new(name).exists())
        {
            return Ok(id.to_owned());
        }
        let named = named.map(Path::new);
        let path = match self.directory(named, globals) {
            Ok(workspace) => workspace.root().to_owned(),
            // The place of one whose directory is gone can still be looked at and removed.
            Err(error) => match named.filter(|path| path.is_absolute()) {
                Some(path) if error.code == ErrorCode::NotFound => path.to_owned(),
                _ => return Err(error),
            },
        };
        path.into_os_string().into_string().map_err(|path| {
            let reason = format!("{} is not UTF-8", path.to_string_lossy());
            ToolError::invalid_argument("workspace", reason).with_hint("name it by its id")
        })
    }

    /// Makes a place ready.
    pub(crate) async fn prepare(
        &self,
        workspace: &Workspace,
        preparation: Preparation,
        listener: Listener<'_>,
    ) -> Result<PlaceStatus> {
        let request = OpenWorkspace {
            path: workspace.given().into(),
            mode: Some(ExecutionMode::Sandbox),
            settings: self.configuration.said_of_places(),
        };
        match &self.places {
            Places::Here(engine) => {
                let context = RequestContext::default();
                engine.prepare(request, preparation, &context, listener).await
            }
            Places::There(client) => {
                follow(client.prepare(request, preparation).await?, listener).await
            }
        }
    }

    /// How far a place is.
    pub(crate) async fn status(&self, name: &str) -> Result<PlaceStatus> {
        match &self.places {
            Places::Here(engine) => engine.place_status(name).await,
            Places::There(client) => client.place_status(name).await,
        }
    }

    /// All places.
    pub(crate) async fn list(&self) -> Result<Vec<PlaceStatus>> {
        match &self.places {
            Places::Here(engine) => engine.places().await,
            Places::There(client) => client.places().await,
        }
    }

    /// Ends the commands and keeps the place.
    pub(crate) async fn stop(&self, name: &str) -> Result<PlaceStatus> {
        match &self.places {
            Places::Here(engine) => engine.stop_place(name).await,
            Places::There(client) => client.stop_place(name).await,
        }
    }

    /// Forgets which toolchains live in the place.
    pub(crate) async fn reset_affinity(&self, name: &str) -> Result<PlaceStatus> {
        match &self.places {
            Places::Here(engine) => engine.reset_affinity(name).await,
            Places::There(client) => client.reset_affinity(name).await,
        }
    }

    /// Ends the commands and removes the place.
    pub(crate) async fn remove(&self, name: &str) -> Result<PlaceStatus> {
        match &self.places {
            Places::Here(engine) => engine.remove_place(name).await,
            Places::There(client) => client.remove_place(name).await,
        }
    }
}

/// Follows the making of a place to its end.
pub(crate) async fn follow(
    mut preparing: PreparingStream,
    listener: Listener<'_>,
) -> Result<PlaceStatus> {
    while let Some(event) = preparing.next().await {
        match event? {
            Preparing::Progress(event) => listener(event),
            Preparing::Done(status) => return Ok(status),
        }
    }
    let message = "the server has said nothing of how the sandbox is";
    Err(ToolError::new(ErrorCode::Unavailable, message))
}
