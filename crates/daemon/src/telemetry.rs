//! Traces, for who has a collector of them: from the client over the daemon to the supervisor.
//!
//! A client says in a `traceparent` which of its spans a request belongs to. The request becomes a
//! span below that one, and so does the command that it started, once that has ended: a supervisor
//! has no time for collectors, so the daemon reads from the journal what to tell.
//!
//! The variables are OpenTelemetry's own (`OTEL_EXPORTER_OTLP_ENDPOINT` and its like). Spans wait in
//! a queue of bounded length and are dropped when it is full, so that a collector that is slow or
//! gone changes nothing here.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanExporter};
use stigmer_api::EventStream;
use stigmer_core::event::{Event, EventKind};
use stigmer_core::process::{EndReason, ExitStatus};
use stigmer_core::{ErrorCode, Result, ToolError};
use stigmer_engine::Surroundings;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer;
use tracing_subscriber::registry::LookupSpan;

/// The variables that say where spans go; without either there are no traces.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// The variables that say how they get there.
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"];

/// The one way that this build has.
const PROTOCOL: &str = "grpc";

/// The variable that overrules the name under which spans are shown.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// How long the end of the daemon waits for the last spans.
const FLUSH: Duration = Duration::from_secs(2);

/// The name of the server's spans of requests.
const REQUEST: &str = "request";

/// Where spans go.
#[derive(Clone)]
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl fmt::Debug for Traces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Traces")
    }
}

impl Traces {
    /// The exporter that the environment asks for, if it asks for one. Must be called in a runtime.
    ///
    /// # Errors
    /// `bad_configuration` for what cannot be had.
    pub(crate) fn from_environment(surroundings: &Surroundings) -> Result<Option<Self>> {
        let set = |name: &&str| surroundings.variable(name).is_some_and(|value| !value.is_empty());
        if !ENDPOINTS.iter().any(set) {
            return Ok(None);
        }
        let bad = |message: String| ToolError::new(ErrorCode::BadConfiguration, message);
        for name in PROTOCOLS.iter().filter(|name| set(name)) {
            let asked = surroundings.variable(name).unwrap_or_default().to_string_lossy();
            if asked != PROTOCOL {
                return Err(bad(format!(
                    "{name}={asked}: spans leave this build by {PROTOCOL} only"
                ))
                .with_hint(format!(
                    "set it to {PROTOCOL}, and the endpoint to one that takes it"
                )));
            }
        }
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .build()
            // The reason may quote the endpoint, which may have a password in it.
            .map_err(|_| {
                bad("the exporter of traces cannot be made of the OTEL_ variables".into())
            })?;
        let named = surroundings.variable(SERVICE_NAME).is_some();
        Ok(Some(Self::new(exporter, !named)))
    }

    fn new(exporter: impl SpanExporter + 'static, name: bool) -> Self {
        let mut resource = Resource::builder();
        if name {
            resource = resource.with_service_name("stigmer");
        }
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = resource.with_attribute(version).build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource)
            .build();
        let tracer = provider.tracer("stigmer");
        Self { provider, tracer }
    }

    /// What makes spans of the server's requests.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        Requests { tracer: self.tracer.clone() }.with_filter(filter_fn(is_request))
    }

    /// Makes spans of commands that end, for ever.
    pub(crate) async fn follow(self, mut events: EventStream) {
        while let Some(event) = events.next().await {
            match event {
                Ok(Event { kind: EventKind::ProcessEnded { id, exit, traceparent }, .. }) => {
                    if let Some(parent) = traceparent.as_deref().and_then(parent) {
                        self.process(id.as_str(), &exit, &parent);
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(code = %error.code, "the journal is followed no more"),
            }
        }
    }

    /// One command's span.
    fn process(&self, id: &str, exit: &ExitStatus, parent: &Context) {
        let ended = UNIX_EPOCH + Duration::from_millis(exit.ended_ms);
        let started = ended.checked_sub(Duration::from_millis(exit.duration_ms)).unwrap_or(ended);
        let mut attributes = vec![
            KeyValue::new("stigmer.process.id", id.to_owned()),
            KeyValue::new("process.exit.code", i64::from(exit.code)),
            KeyValue::new("stigmer.process.end_reason", exit.reason.name()),
        ];
        attributes.extend(
            exit.signal.map(|signal| KeyValue::new("stigmer.process.signal", i64::from(signal))),
        );
        let builder = SpanBuilder::from_name("process")
            .with_kind(SpanKind::Internal)
            .with_start_time(started)
            .with_attributes(attributes);
        let mut span = self.tracer.build_with_context(builder, parent);
        if exit.reason != EndReason::Exited || exit.code != 0 {
            span.set_status(Status::error(exit.reason.name()));
        }
        span.end_with_timestamp(ended);
    }

    /// Sends what waits. A collector that does not answer is not waited for.
    pub(crate) fn finish(&self) {
        if self.provider.shutdown_with_timeout(FLUSH).is_err() {
            tracing::warn!("the last spans did not reach their collector");
        }
    }
}

/// A `traceparent` and nothing else.
struct Header<'a>(&'a str);

impl Extractor for Header<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

/// The span that a `traceparent` names.
fn parent(traceparent: &str) -> Option<Context> {
    let none = Context::new();
    let context = TraceContextPropagator::new().extract_with_context(&none, &Header(traceparent));
    context.span().span_context().is_valid().then_some(context)
}

fn is_request(metadata: &Metadata<'_>) -> bool {
    metadata.is_span()
        && metadata.name() == REQUEST
        && metadata.target().starts_with("stigmer")
        && *metadata.level() <= Level::INFO
}

/// Makes a span of each request that the server is done with.
struct Requests {
    tracer: SdkTracer,
}

/// What is known of a request so far.
struct Request {
    started: SystemTime,
    traceparent: Option<String>,
    operation: Option<String>,
    code: Option<String>,
    attributes: Vec<KeyValue>,
}

impl Request {
    fn take(&mut self, field: &Field, value: String) {
        match field.name() {
            "traceparent" => self.traceparent = Some(value),
            "operation" => self.operation = Some(value),
            "code" => self.code = Some(value),
            name => self.attributes.push(KeyValue::new(name, value)),
        }
    }
}

impl Visit for Request {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Requests {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: layer::Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut request = Request {
            started: SystemTime::now(),
            traceparent: None,
            operation: None,
            code: None,
            attributes: Vec::new(),
        };
        attributes.record(&mut request);
        span.extensions_mut().insert(request);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: layer::Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(request) = span.extensions_mut().get_mut::<Request>() {
            values.record(request);
        }
    }

    fn on_close(&self, id: Id, context: layer::Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(request) = span.extensions_mut().remove::<Request>() else { return };
        let parent = request.traceparent.as_deref().and_then(parent).unwrap_or_default();
        let mut attributes = request.attributes;
        let failed = request.code.as_deref().is_some_and(|code| code != "ok");
        attributes.extend(request.code.clone().map(|code| KeyValue::new("code", code)));
        let builder = SpanBuilder::from_name(request.operation.unwrap_or_else(|| REQUEST.into()))
            .with_kind(SpanKind::Server)
            .with_start_time(request.started)
            .with_attributes(attributes);
        let mut span = self.tracer.build_with_context(builder, &parent);
        if failed {
            span.set_status(Status::error(request.code.unwrap_or_default()));
        }
        span.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::Value;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::SpanData;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    /// Keeps what is exported.
    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, mut batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().append(&mut batch);
            Ok(())
        }
    }

    fn collect(act: impl FnOnce(&Traces)) -> Vec<SpanData> {
        let kept = Kept::default();
        let traces = Traces::new(kept.clone(), true);
        act(&traces);
        traces.provider.force_flush().unwrap();
        std::mem::take(&mut *kept.0.lock().unwrap())
    }

    fn attribute<'a>(span: &'a SpanData, name: &str) -> Option<&'a Value> {
        span.attributes.iter().find(|pair| pair.key.as_str() == name).map(|pair| &pair.value)
    }

    fn ended(traceparent: Option<String>) -> Event {
        let exit = ExitStatus {
            code: 3,
            reason: EndReason::Exited,
            signal: None,
            ended_ms: 10_000,
            duration_ms: 1_500,
            output_bytes: 0,
            memory_limit: None,
            cause: None,
            survivors: Vec::new(),
            denied: None,
        };
        let id = "0123456789".parse().unwrap();
        let kind = EventKind::ProcessEnded { id, exit, traceparent };
        Event { next: 1, at_ms: 10_000, workspace: "/w".into(), request_id: None, kind }
    }

    #[test]
    fn a_command_that_has_ended_is_a_span_below_its_clients() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let spans = collect(|traces| {
            let events: Vec<Result<Event>> = vec![
                Ok(ended(None)),
                Ok(ended(Some("nonsense".into()))),
                Ok(ended(Some(format!("00-{TRACE}-{PARENT}-01")))),
                // The client does not want this one sampled.
                Ok(ended(Some(format!("00-{TRACE}-{PARENT}-00")))),
            ];
            let events = futures_util::stream::iter(events);
            runtime.block_on(traces.clone().follow(Box::pin(events)));
        });
        let [span] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!(span.span_context.trace_id().to_string(), TRACE);
        assert_eq!(span.parent_span_id.to_string(), PARENT);
        assert_eq!(span.start_time, UNIX_EPOCH + Duration::from_millis(8_500));
        assert_eq!(span.end_time, UNIX_EPOCH + Duration::from_millis(10_000));
        assert_eq!(attribute(span, "process.exit.code"), Some(&Value::I64(3)));
        assert_eq!(attribute(span, "stigmer.process.end_reason"), Some(&"exited".into()));
        assert_eq!(attribute(span, "stigmer.process.id"), Some(&"0123456789".into()));
    }

    #[test]
    fn a_request_is_a_span_below_its_clients() {
        let spans = collect(|traces| {
            let subscriber = tracing_subscriber::registry().with(traces.layer());
            tracing::subscriber::with_default(subscriber, || {
                drop(tracing::info_span!("something_else"));
                drop(tracing::info_span!(target: "hyper", "request"));
                let span = tracing::info_span!(
                    "request",
                    operation = "stigmer.v1.Files/Read",
                    request_id = "r1",
                    traceparent = format!("00-{TRACE}-{PARENT}-01"),
                    code = tracing::field::Empty,
                );
                span.record("code", "not_found");
            });
        });
        let [span] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!(span.name, "stigmer.v1.Files/Read");
        assert_eq!(span.span_context.trace_id().to_string(), TRACE);
        assert_eq!(span.parent_span_id.to_string(), PARENT);
        assert_eq!(attribute(span, "request_id"), Some(&"r1".into()));
        assert_eq!(span.status, Status::error("not_found"));
        assert_eq!(attribute(span, "traceparent"), None);
    }

    #[test]
    fn nothing_is_exported_unless_it_is_asked_for() {
        let with = |variables: &[(&str, &str)]| {
            let pairs = variables.iter().map(|(name, value)| (name.into(), value.into()));
            Traces::from_environment(&Surroundings { environment: pairs.collect(), home: None })
        };
        assert!(with(&[]).unwrap().is_none());
        assert!(with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap().is_none());
        let error = with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hunter2@localhost:1"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ])
        .unwrap_err();
        assert_eq!(error.code, ErrorCode::BadConfiguration);
        assert!(!error.message.contains("hunter2"));
    }
}
