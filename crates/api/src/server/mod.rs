//! The server: every service of the contract over one [`Provider`].
//!
//! The daemon and the sidecar mount the same routes; so do gRPC and what is derived from it.

mod about;
mod attach;
mod context;
mod deadline;
mod files;
mod guard;
mod processes;
mod search;
mod skills;
mod transfers;
mod unknown;
mod workspaces;

use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
use futures_util::FutureExt as _;
use stigmer_core::{Result, ToolExecutor};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_health::ServingStatus;

use self::context::Asked;
use crate::convert::InWorkspace;
use crate::message_size::{MAX_REPLY_BYTES, MAX_REQUEST_BYTES, MAX_SMALL_REQUEST_BYTES};
use crate::provider::Provider;
use crate::wire;

pub use self::context::{CLIENT_VERSION, REQUEST_ID, TRACEPARENT};

/// What a method answers.
type Answer<T> = Result<Response<T>, Status>;

/// What a method that streams answers with.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The services of the contract, with health and reflection.
///
/// Requests with fields that this build does not know are refused if the client's version is not
/// ours, and `grpc-timeout` ends what takes longer. Who may ask, how many at once and what is logged
/// is for whoever mounts the routes.
pub fn routes(provider: Arc<dyn Provider>) -> Routes {
    let api = Arc::new(Api { provider });
    let mut services = Services { builder: Routes::builder(), names: Vec::new() };
    macro_rules! serve {
        ($($server:ident in $module:ident takes $most:ident;)+) => {$(
            let service = wire::$module::$server::from_arc(Arc::clone(&api))
                .max_decoding_message_size($most)
                .max_encoding_message_size(MAX_REPLY_BYTES);
            services.add(service);
        )+};
    }
    serve! {
        FilesServer in files_server takes MAX_REQUEST_BYTES;
        ProcessesServer in processes_server takes MAX_REQUEST_BYTES;
        SearchServer in search_server takes MAX_SMALL_REQUEST_BYTES;
        SkillsServer in skills_server takes MAX_SMALL_REQUEST_BYTES;
        TransfersServer in transfers_server takes MAX_SMALL_REQUEST_BYTES;
        WorkspacesServer in workspaces_server takes MAX_SMALL_REQUEST_BYTES;
        ServerServer in server_server takes MAX_SMALL_REQUEST_BYTES;
    }
    let Services { mut builder, names } = services;
    add_health(&mut builder, &names);
    add_reflection(&mut builder);
    let router = builder.routes().into_axum_router();
    Routes::from(router.layer(axum::middleware::from_fn(guard::guard))).prepare()
}

struct Services {
    builder: tonic::service::RoutesBuilder,
    names: Vec<&'static str>,
}

impl Services {
    fn add<S>(&mut self, service: S)
    where
        S: tower::Service<
                http::Request<tonic::body::Body>,
                Response = http::Response<tonic::body::Body>,
                Error = std::convert::Infallible,
                Future: Send + 'static,
            > + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.builder.add_service(service);
        self.names.push(S::NAME);
    }
}

fn add_health(builder: &mut tonic::service::RoutesBuilder, names: &[&str]) {
    let (reporter, service) = tonic_health::server::health_reporter();
    for name in names {
        // Nobody else has the reporter yet, so that there is nothing to wait for.
        let _ = reporter.set_service_status(name, ServingStatus::Serving).now_or_never();
    }
    builder.add_service(service);
}

/// Both versions: many clients ask for the older one first, some for nothing else.
fn add_reflection(builder: &mut tonic::service::RoutesBuilder) {
    let configured = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(crate::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    // The descriptors are our own and a test reads them; without them there is no reflection.
    match (configured().build_v1(), configured().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            builder.add_service(v1).add_service(v1alpha);
        }
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "no reflection"),
    }
}

/// Serves everything.
struct Api {
    provider: Arc<dyn Provider>,
}

impl Api {
    /// Answers a request about a workspace with what its executor says.
    async fn answer<W, R, F>(
        &self,
        request: Request<W>,
        work: impl FnOnce(Arc<dyn ToolExecutor>, W) -> F + Send,
    ) -> Answer<R>
    where
        W: InWorkspace + Send,
        F: Future<Output = Result<R>> + Send,
    {
        let (asked, message) = Asked::take(request);
        let answer = async {
            let executor = self.provider.executor(message.workspace(), &asked.context).await?;
            work(executor, message).await
        };
        asked.answer(answer.await)
    }
}
