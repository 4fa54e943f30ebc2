//! The server over HTTP (streamable HTTP), beside whatever else is served on the same port.
//!
//! Who may ask at all (token, host, origin) is for whoever mounts it, as for every other path.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::response::Response;
use axum::routing::any;
use futures_util::StreamExt;
use futures_util::stream::unfold;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use serde::Deserialize;
use stigmer_core::workspace::OpenWorkspace;
use stigmer_core::{ErrorCode, ExecutionMode, Result, ToolError, WorkspaceId};
use tokio_util::sync::CancellationToken;

use crate::sessions::Sessions;
use crate::{Scope, Server};

/// Where it is mounted.
pub const PATH: &str = "/mcp";

/// The largest request. The largest file that is written in one piece has 64 MiB, which as base64 in
/// JSON are 86.
const MAX_BODY_BYTES: usize = 96 << 20;

const SESSION: &str = "mcp-session-id";

/// The header that every request has since the protocol knows no sessions.
const METHOD: &str = "mcp-method";

/// What a client's address says of where it works.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    /// An id or an absolute directory.
    workspace: Option<String>,
    /// Where its commands run.
    mode: Option<ExecutionMode>,
}

struct Mount {
    server: Server,
    scope: Scope,
    sessions: Arc<Sessions>,
    service: StreamableHttpService<Server, LocalSessionManager>,
}

/// The server at [`PATH`]. `scope` is that of clients whose address names no workspace; `client_grace`
/// is how long a client that has left a call behind has to come back for it. When `draining` is
/// cancelled all is broken off.
pub fn router(server: Server, client_grace: Duration, draining: CancellationToken) -> Router {
    let mut config = StreamableHttpServerConfig::default()
        // Hosts are checked where the token is, which knows the address that the server is asked at.
        .disable_allowed_hosts();
    config.cancellation_token = draining;
    config.max_request_body_bytes = MAX_BODY_BYTES;
    let mut manager = LocalSessionManager::default();
    // A session whose client is idle, or whose command is quiet, is none that shall end.
    manager.session_config.keep_alive = None;
    let sessions = Sessions::new(manager, client_grace);
    let made = server.clone();
    let manager = Arc::clone(&sessions.manager);
    let service = StreamableHttpService::new(move || Ok(made.clone()), manager, config);
    let scope = server.scope().clone();
    let mount = Arc::new(Mount { server, scope, sessions, service });
    Router::new().route(PATH, any(answer)).with_state(mount)
}

async fn answer(State(mount): State<Arc<Mount>>, request: Request) -> Response {
    mount.answer(request).await.unwrap_or_else(|error| refusal(&error))
}

impl Mount {
    async fn answer(&self, mut request: Request) -> Result<Response> {
        let call = request.method() == Method::POST;
        let ends = request.method() == Method::DELETE;
        let headers = request.headers();
        let session = text(headers, SESSION);
        // A header may say that it begins a session, too.
        let begins = headers.get(METHOD).is_none_or(|method| method == "initialize");
        if call && session.is_none() && begins {
            self.sessions.make_room().await?;
        }
        let scope = self.scope(request.uri().clone()).await?;
        request.extensions_mut().insert(scope);
        let mut response = self.service.handle(request).await.map(Body::new);
        if ends && response.status() == StatusCode::ACCEPTED {
            // The official Python client takes only this, and 200, for the end of a session.
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        if ends {
            return Ok(response);
        }
        let session = session.or_else(|| text(response.headers(), SESSION));
        let Some(session) = session.filter(|_| response.status().is_success()) else {
            return Ok(response);
        };
        let reading = self.sessions.reading(&session, call);
        Ok(response.map(|body| {
            let state = (body.into_data_stream(), reading);
            Body::from_stream(unfold(state, async |(mut stream, reading)| {
                match stream.next().await {
                    Some(item) => Some((item, (stream, reading))),
                    None => {
                        reading.finish();
                        None
                    }
                }
            }))
        }))
    }

    /// The workspaces that the client at this address may use.
    async fn scope(&self, address: Uri) -> Result<Scope> {
        let query = Query::<Named>::try_from_uri(&address).map_err(|error| {
            ToolError::invalid_argument("query", error.body_text())
                .with_hint("valid are workspace (an id or an absolute directory) and mode")
        })?;
        let Query(Named { workspace, mode }) = query;
        let Some(name) = workspace else {
            return Ok(Scope { mode: mode.unwrap_or(self.scope.mode), workspace: None });
        };
        let workspaces = &self.server.workspaces;
        let info = match name.parse::<WorkspaceId>() {
            Ok(_) => workspaces.get(&name).await?,
            Err(_) => {
                let path = name.as_str().into();
                workspaces.open(OpenWorkspace { path, mode, settings: Vec::new() }).await?
            }
        };
        if let Some(mode) = mode.filter(|mode| *mode != info.mode) {
            let reason = format!("the workspace {name} is in {} mode, not in {mode}", info.mode);
            return Err(ToolError::invalid_argument("mode", reason));
        }
        Ok(Scope { mode: info.mode, workspace: Some(info) })
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// The answer to a request that does not get as far as the protocol.
fn refusal(error: &ToolError) -> Response {
    let status = match error.code {
        ErrorCode::NotFound | ErrorCode::UnknownWorkspace => StatusCode::NOT_FOUND,
        ErrorCode::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorCode::Unavailable | ErrorCode::OutOfResources => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Io => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    let body = serde_json::to_vec(error).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    // For whoever counts what was refused, and why.
    response.extensions_mut().insert(error.code);
    response
}
