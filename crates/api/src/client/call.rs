//! One request: sent, repeated if it may be, and what is known if it was not answered.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use prost::{Message, Name};
use stigmer_core::{ErrorCode, ProcessId, Result, ToolError};
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status, Streaming};

use super::channel::Channel;
use super::codec::Encoded;
use super::failure::{Asked, Failure};
use super::methods::{INFO, Method, name};
use super::patience::{Patience, random};
use super::{Client, VERSION};
use crate::convert::is_traceparent;
use crate::message_size::{MAX_REPLY_BYTES, MAX_REQUEST_BYTES};
use crate::resilience::{Admission, Repeat, is_stream, repeat};
use crate::wire;

/// The id of a request, in logs of both sides.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The client's version.
pub(super) const CLIENT_VERSION: HeaderName = HeaderName::from_static("stigmer-version");
/// The W3C trace context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Methods that are no streams and yet take as long as a command or its reader does.
const WAITS: &[&str] = &[
    "/stigmer.v1.Processes/Execute",
    "/stigmer.v1.Processes/Signal",
    "/stigmer.v1.Processes/Wait",
    "/stigmer.v1.Processes/WriteStdin",
];

/// How often a request was sent, and when.
pub(super) struct Tries {
    first: Instant,
    began: Instant,
    tried: u32,
}

impl Tries {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { first: now, began: now, tried: 0 }
    }
}

/// A request in the making.
pub(super) struct Call<'a, Q, R> {
    client: &'a Client,
    method: Method<Q, R>,
    repeat: Repeat,
    deadline: Option<Duration>,
    patience: Option<Patience>,
    process: Option<ProcessId>,
    traceparent: Option<&'a str>,
    id: String,
    was_broken: bool,
}

impl Client {
    /// A request that is repeated as the contract says.
    pub(super) fn call<Q, R>(&self, method: Method<Q, R>) -> Result<Call<'_, Q, R>> {
        let path = method.path();
        let endless = is_stream(path) || WAITS.contains(&path);
        Ok(Call {
            client: self,
            method,
            repeat: repeat(path),
            deadline: (!endless).then_some(self.options().deadline),
            patience: None,
            process: None,
            traceparent: self.options().traceparent.as_deref(),
            id: format!("{:016x}", random()?),
            was_broken: false,
        })
    }

    /// How long a broken stream is tried to be resumed.
    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.options().backoff, self.options().resume_for)
    }

    /// What a status says of a request.
    fn failure(&self, status: &Status, path: &str) -> Failure {
        Failure::of(status, &name(path), self.server_version().as_deref())
    }

    /// Tells the circuit how the server did.
    pub(super) fn report<T>(&self, result: &Result<T, Failure>) {
        match result {
            Err(failure) if failure.is_of_the_transport() => self.shared.circuit.failed(),
            // It may be working still.
            Err(Failure::Late) => {}
            Ok(_) | Err(_) => self.shared.circuit.succeeded(),
        }
    }

    /// Asks the circuit. The probe is a small request of its own, so that it is soon known how it
    /// ends.
    async fn admitted(&self) -> Result<(), Failure> {
        let asked = self.shared.circuit.admit().map_err(|refused| {
            let wait = refused.retry_after;
            let reason = format!(
                "{}: the server did not answer lately and is not asked again for {:.1} s",
                self.endpoint(),
                wait.as_secs_f64()
            );
            let error = ToolError::new(ErrorCode::Unavailable, reason)
                .with_detail("retry_after_ms", u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            Failure::refused(error)
        })?;
        let Admission::Probe(_probe) = asked else { return Ok(()) };
        let call = self.call(INFO).map_err(Failure::Answered)?;
        let body = encoded(&wire::InfoRequest {}).map_err(Failure::Answered)?;
        let silence = || Failure::Broken(format!("{}: the server is silent", self.endpoint()));
        let answer = match call.unary(body, Some(self.options().connect_timeout)).await {
            Err(Failure::Late) => Err(silence()),
            other => other,
        };
        self.report(&answer);
        match answer {
            Ok(_) | Err(Failure::Answered(_)) => Ok(()),
            // It was the probe that has no answer; the request itself was not sent.
            Err(failure) => Err(Failure::refused(failure.into_reason())),
        }
    }
}

impl<'a, Q: Message, R: Message + Name + Default + Send + Sync + 'static> Call<'a, Q, R> {
    /// Repeats it by another rule than the contract's.
    pub(super) fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// Once it was sent and the connection broke, goes on trying for as long as a stream is
    /// resumed: the answer is worth waiting for.
    pub(super) fn patient(mut self) -> Self {
        self.patience = Some(self.client.patience());
        self
    }

    /// Goes on with what an earlier request began whose connection broke.
    pub(super) fn resumed(mut self) -> Self {
        self.was_broken = true;
        self.patient()
    }

    /// Names the command that it is about, for errors.
    pub(super) fn about(mut self, process: &ProcessId) -> Self {
        self.process = Some(process.clone());
        self
    }

    /// The trace that it belongs to.
    pub(super) fn traced(mut self, traceparent: Option<&'a str>) -> Self {
        self.traceparent = traceparent.or(self.traceparent);
        self
    }

    /// Whether a connection broke after it was sent: an earlier try may have been done.
    pub(super) fn was_broken(&self) -> bool {
        self.was_broken
    }

    /// Sends it, again if that is safe, and gives the answer.
    pub(super) async fn send(&mut self, request: &Q) -> Result<R> {
        let body = encoded(request)?;
        let mut tries = Tries::new();
        loop {
            let left = self.begin(&mut tries).await?;
            let result = self.unary(body.clone(), left).await;
            if let Some(answer) = self.end(&mut tries, result).await? {
                return Ok(answer);
            }
        }
    }

    /// Sends it, again if that is safe, and gives the stream that answers it.
    pub(super) async fn open(&mut self, request: &Q) -> Result<Messages<R>> {
        let body = encoded(request)?;
        let mut tries = Tries::new();
        loop {
            self.begin(&mut tries).await?;
            let result = self.stream(body.clone()).await;
            if let Some(messages) = self.end(&mut tries, result).await? {
                return Ok(messages);
            }
        }
    }

    /// Sends a request that is made anew for each try: one of those between
    /// [`begin`](Self::begin) and [`end`](Self::end).
    pub(super) async fn once(
        &self,
        request: Result<Q>,
        left: Option<Duration>,
    ) -> Result<R, Failure> {
        let request = request.map_err(Failure::before_sending)?;
        self.unary(encoded(&request).map_err(Failure::Answered)?, left).await
    }

    /// Sends it once, past an open circuit: for those who have a patience of their own.
    pub(super) async fn reopen(&self, request: &Q) -> Result<Messages<R>, Failure> {
        let body = encoded(request).map_err(Failure::Answered)?;
        let opened = self.stream(body).await;
        self.client.report(&opened);
        opened
    }

    /// Sends a stream of encoded messages and gives the answer to it. The stream is sent once; only
    /// making the connection is tried again.
    pub(super) async fn upload(
        &mut self,
        messages: impl futures_core::Stream<Item = Bytes> + Send + 'static,
    ) -> Result<R> {
        let mut tries = Tries::new();
        loop {
            self.begin(&mut tries).await?;
            let ready = self.client.shared.channel.ready().await.map_err(Failure::from);
            if self.end(&mut tries, ready).await?.is_some() {
                break;
            }
        }
        let request = self.request(messages, None).map_err(Failure::into_reason)?;
        let mut grpc = self.grpc();
        let answering = grpc.client_streaming(request, self.path(), Encoded::<R>::default());
        let answer = self.understood(answering.await);
        self.client.report(&answer);
        answer.map_err(|failure| self.gave_up(failure))
    }

    /// Asks whether it may be sent, and says how much time is left for it.
    pub(super) async fn begin(&mut self, tries: &mut Tries) -> Result<Option<Duration>> {
        // Who is patient comes seldom enough, and must hear of it when the server is back.
        if !self.is_patient() {
            self.client.admitted().await.map_err(|refused| self.gave_up(refused))?;
        }
        tries.began = Instant::now();
        Ok(self.deadline.map(|deadline| deadline.saturating_sub(tries.first.elapsed())))
    }

    /// Hears how it went: gives the answer, or nothing when it is time to send it again.
    pub(super) async fn end<T>(
        &mut self,
        tries: &mut Tries,
        result: Result<T, Failure>,
    ) -> Result<Option<T>> {
        self.client.report(&result);
        let failure = match result {
            Ok(answer) => return Ok(Some(answer)),
            Err(failure) => failure,
        };
        tries.tried += 1;
        let again = match &failure {
            // A server that went down in the middle says what a broken connection would.
            Failure::Answered(error) if error.code == ErrorCode::CompletionUnknown => {
                self.was_broken = true;
                self.repeat != Repeat::IfUnseen
            }
            Failure::Answered(_) | Failure::Late => false,
            Failure::Unseen { answered, for_good, .. } => {
                self.was_broken |= *answered && self.patience.is_some();
                !for_good
            }
            Failure::Broken(_) => {
                self.was_broken = true;
                self.repeat != Repeat::IfUnseen
            }
        };
        if again && self.pauses(tries.tried, tries.began.elapsed()).await? {
            return Ok(None);
        }
        Err(self.gave_up(failure))
    }

    fn is_patient(&self) -> bool {
        self.patience.is_some() && self.was_broken
    }

    /// Waits for the next try; `false` if there is none.
    async fn pauses(&mut self, tried: u32, lasted: Duration) -> Result<bool> {
        if let (Some(patience), true) = (&mut self.patience, self.was_broken) {
            return patience.wait(lasted).await;
        }
        let backoff = self.client.options().backoff;
        if !backoff.allows(tried) {
            return Ok(false);
        }
        tokio::time::sleep(backoff.delay(tried - 1, random()?)).await;
        Ok(true)
    }

    /// What to tell of a request that is not sent again.
    fn gave_up(&self, failure: Failure) -> ToolError {
        let asked = Asked {
            operation: name(self.method.path()),
            repeat: self.repeat,
            was_broken: self.was_broken,
            process: self.process.as_ref(),
            deadline: self.deadline,
        };
        failure.into_error(&asked)
    }

    async fn unary(&self, body: Bytes, left: Option<Duration>) -> Result<R, Failure> {
        let request = self.request(body, left)?;
        let mut grpc = self.grpc();
        let answering = grpc.unary(request, self.path(), Encoded::<R>::default());
        let answer = match left {
            None => answering.await,
            Some(left) => tokio::time::timeout(left, answering).await.map_err(|_| Failure::Late)?,
        };
        self.understood(answer)
    }

    async fn stream(&self, body: Bytes) -> Result<Messages<R>, Failure> {
        let request = self.request(body, None)?;
        let mut grpc = self.grpc();
        let opening = grpc.server_streaming(request, self.path(), Encoded::<R>::default());
        let messages = self.understood(opening.await)?;
        Ok(Messages { client: self.client.clone(), path: self.method.path(), messages })
    }

    fn understood<T>(&self, answer: Result<tonic::Response<T>, Status>) -> Result<T, Failure> {
        let metadata = match &answer {
            Ok(answer) => answer.metadata(),
            Err(status) => status.metadata(),
        };
        if let Some(Ok(version)) = metadata.get(CLIENT_VERSION.as_str()).map(|it| it.to_str()) {
            self.client.heard_version(version);
        }
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(self.client.failure(&status, self.method.path())),
        }
    }

    fn grpc(&self) -> Grpc<Channel> {
        let shared = &self.client.shared;
        Grpc::with_origin(shared.channel.clone(), shared.origin.clone())
            .max_decoding_message_size(MAX_REPLY_BYTES)
    }

    fn path(&self) -> PathAndQuery {
        PathAndQuery::from_static(self.method.path())
    }

    fn request<T>(&self, message: T, left: Option<Duration>) -> Result<Request<T>, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(token) = self.client.endpoint().token() {
            headers.insert(header::AUTHORIZATION, token.header().clone());
        }
        headers.insert(CLIENT_VERSION, HeaderValue::from_static(VERSION));
        if let Ok(id) = HeaderValue::from_str(&self.id) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(traceparent) = self.traceparent {
            let value = HeaderValue::from_str(traceparent).ok();
            let value = value.filter(|_| is_traceparent(traceparent)).ok_or_else(|| {
                let reason = "is no W3C trace context";
                Failure::Answered(ToolError::invalid_argument("traceparent", reason))
            })?;
            headers.insert(TRACEPARENT, value);
        }
        let metadata = MetadataMap::from_headers(headers);
        let mut request = Request::from_parts(metadata, Extensions::default(), message);
        if let Some(left) = left {
            request.set_timeout(left);
        }
        Ok(request)
    }
}

/// A request as it is sent.
pub(super) fn encoded(request: &impl Message) -> Result<Bytes> {
    let size = request.encoded_len();
    if size > MAX_REQUEST_BYTES {
        let reason = format!("the request has {size} bytes, the limit is {MAX_REQUEST_BYTES}");
        return Err(ToolError::new(ErrorCode::TooLarge, reason)
            .with_detail("size", size)
            .with_detail("limit", MAX_REQUEST_BYTES)
            .with_hint("larger files are streamed by `upload`"));
    }
    Ok(request.encode_to_vec().into())
}

/// What a server streams.
pub(super) struct Messages<R> {
    client: Client,
    path: &'static str,
    messages: Streaming<R>,
}

impl<R> Messages<R> {
    /// The next message, or nothing when the server says that there are no more.
    pub(super) async fn next(&mut self) -> Result<Option<R>, Failure> {
        self.messages.message().await.map_err(|status| self.client.failure(&status, self.path))
    }
}
