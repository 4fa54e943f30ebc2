//! Asking a daemon what it is.

use stigmer_api::client::{Client, ClientOptions, Endpoint};
use stigmer_core::{ErrorCode, Result, ToolError};

use crate::record::{Record, Running};

/// How long it may take to answer what it answers at once. One that is stopped never does.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(5);

/// What a daemon that runs says of itself, once it has answered over its socket.
///
/// # Errors
/// `unavailable` if it does not answer, or is not ready yet.
pub fn ask(running: &Running) -> Result<Record> {
    let who = running.describe();
    let record = running.record.clone().ok_or_else(|| {
        let message = format!("the daemon, {who}, does not serve yet");
        ToolError::new(ErrorCode::Unavailable, message).with_hint("ask again in a moment")
    })?;
    let silent = |reason: &str| {
        let message = format!("the daemon, {who}, does not answer: {reason}");
        ToolError::new(ErrorCode::Unavailable, message)
            .with_hint("`stigmer server logs` may say why; `stigmer server stop --now` ends it")
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| silent(&error.to_string()))?;
    let info = runtime.block_on(async {
        let endpoint = Endpoint::Unix(record.socket.clone());
        let options = ClientOptions::for_endpoint(&endpoint);
        tokio::time::timeout(ANSWER, Client::connect(endpoint, options).info()).await
    });
    let late = |_| silent(&format!("not within {} s", ANSWER.as_secs()));
    let info = info.map_err(late)?.map_err(|error| silent(&error.message))?;
    if info.pid != record.pid {
        return Err(silent("another process serves its socket"));
    }
    Ok(Record { version: info.version, started_ms: info.started_ms, ..record })
}
