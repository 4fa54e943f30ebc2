//! The server, whatever it is mounted on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CustomRequest, CustomResult, ErrorCode,
    Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use stigmer_core::process::Caller;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call::Call;
use crate::progress::Progress;
use crate::tools::{TOOLS, tool_named};
use crate::{Scope, Workspaces, answer};

/// What a model is told of the server as a whole.
const INSTRUCTIONS: &str = "\
stigmer runs commands, edits files and searches code in a workspace, a directory. Paths are relative \
to it, or absolute beneath it; in the shell of `run` the same paths hold.

- Change files with `edit` and `write`, not with sed or echo: they are atomic and show what changed.
- Find names with `find` and lines with `grep`; both leave out what .gitignore names.
- A command that fails is a result with its exit code. A tool that fails says a code, a message and \
mostly a hint; repeat the call only if it says `retryable`.
- What is too long is cut, and the result says where the rest is: `process_output` with the process \
and the offset, `read` with the next line.
- Start servers and other long work with `run` and `background`, then look with `process_output` and \
end it with `process_kill`. When a command times out or is cancelled, all that it started is gone; \
what one that ends has put in the background itself goes on, and `process_kill` ends it.";

/// How commands are run that say nothing else.
pub struct CommandSettings {
    /// How long one may take; `None` is without end.
    pub timeout: Option<Duration>,
    /// The time between TERM and KILL when one is ended.
    pub termination_grace: Duration,
    /// The circumstances of whoever has started the server, for commands that shall run as if they
    /// had. Without it they have the executor's own.
    pub caller: Option<Box<dyn Fn() -> Caller + Send + Sync>>,
}

impl fmt::Debug for CommandSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timeout, termination_grace, caller } = self;
        formatter
            .debug_struct("CommandSettings")
            .field("timeout", timeout)
            .field("termination_grace", termination_grace)
            .field("caller", &caller.is_some())
            .finish()
    }
}

/// The server. Clones are the same one.
#[derive(Clone)]
pub struct Server {
    pub(crate) workspaces: Arc<dyn Workspaces>,
    pub(crate) commands: Arc<CommandSettings>,
    /// For clients that come without one of their own.
    scope: Scope,
    /// Cancelled when there is no client any more.
    pub(crate) gone: CancellationToken,
    /// Commands that are run for somebody who waits.
    pub(crate) running: TaskTracker,
}

impl Server {
    /// A server of these workspaces. `scope` is for clients that bring none themselves.
    pub fn new(workspaces: Arc<dyn Workspaces>, commands: CommandSettings, scope: Scope) -> Self {
        let commands = Arc::new(commands);
        let running = TaskTracker::new();
        Self { workspaces, commands, scope, gone: CancellationToken::new(), running }
    }

    /// The scope of clients that bring none.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The client's own scope, where the request came with one.
    fn scope_of(&self, context: &RequestContext<RoleServer>) -> Scope {
        let parts = context.extensions.get::<http::request::Parts>();
        let own = parts.and_then(|parts| parts.extensions.get::<Scope>());
        own.unwrap_or(&self.scope).clone()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Server").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let server = Implementation::new("stigmer", env!("CARGO_PKG_VERSION"))
            .with_title("stigmer")
            .with_description("Runs commands, edits files and searches code for agents");
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(server)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        // All are on the first page, so nobody was given a cursor.
        if request.is_some_and(|request| request.cursor.is_some()) {
            return Err(ErrorData::invalid_params("no list of tools has this cursor", None));
        }
        Ok(ListToolsResult::with_all_items(TOOLS.iter().map(|entry| entry.tool.clone()).collect()))
    }

    /// What is called as a tool is, but not in its form.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        if request.method == "tools/call" {
            let message = "`params` needs `name`, a text, and may have `arguments`, an object";
            return Err(ErrorData::invalid_params(message, None));
        }
        Err(ErrorData::new(ErrorCode::METHOD_NOT_FOUND, request.method, None))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tool_named(name).map(|entry| entry.tool.clone())
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(entry) = tool_named(&request.name) else {
            let names: Vec<_> = TOOLS.iter().map(|entry| &*entry.tool.name).collect();
            let message =
                format!("there is no tool {:?}; there are {}", request.name, names.join(", "));
            return Err(ErrorData::invalid_params(message, None));
        };
        let scope = self.scope_of(&context);
        let token = context.meta.get_progress_token();
        let call = Call {
            server: self.clone(),
            scope,
            progress: token.map(|token| Progress::new(context.peer.clone(), token)),
            taken_back: context.ct,
        };
        let result = (entry.call)(request.arguments.unwrap_or_default(), call).await;
        Ok(result.unwrap_or_else(|error| answer::failure(&error)).into())
    }
}
