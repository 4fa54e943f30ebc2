//! Moving trees in and out, and watching them change.

use stigmer_core::transfer::{
    Change, ChangeKind, Download, TransferFormat, Upload, UploadSummary, Watch,
};

use super::bytes::{bytes, field, list};
use super::{Fault, known, known_or_none, pairs, required};
use crate::wire;

pairs! {
    TransferFormat = wire::TransferFormat { Tar File }
    ChangeKind = wire::ChangeKind { Created Modified Removed Rescan }
}

/// All bits of a file's mode that a caller may ask for, as in `chmod`.
const MODE_BITS: u32 = 0o7777;

fn format(number: i32) -> Result<TransferFormat, Fault> {
    Ok(known_or_none::<wire::TransferFormat, _>("format", number)?.unwrap_or_default())
}

impl From<Upload> for wire::UploadBegin {
    fn from(request: Upload) -> Self {
        let Upload { path, format, mode } = request;
        let format = wire::TransferFormat::from(format).into();
        Self { workspace: String::new(), path: field(path), format, mode }
    }
}
impl TryFrom<wire::UploadBegin> for Upload {
    type Error = Fault;
    fn try_from(request: wire::UploadBegin) -> Result<Self, Fault> {
        if request.mode.is_some_and(|mode| mode > MODE_BITS) {
            return Err(Fault::new("mode", "has more than permission bits: at most 0o7777"));
        }
        let format = format(request.format)?;
        Ok(Self { path: bytes(request.path), format, mode: request.mode })
    }
}

impl From<UploadSummary> for wire::UploadSummary {
    fn from(reply: UploadSummary) -> Self {
        let UploadSummary { files, directories, symlinks, bytes } = reply;
        Self { files, directories, symlinks, bytes }
    }
}
impl From<wire::UploadSummary> for UploadSummary {
    fn from(reply: wire::UploadSummary) -> Self {
        let wire::UploadSummary { files, directories, symlinks, bytes } = reply;
        Self { files, directories, symlinks, bytes }
    }
}

impl From<Download> for wire::DownloadRequest {
    fn from(request: Download) -> Self {
        let format = wire::TransferFormat::from(request.format).into();
        Self { workspace: String::new(), path: field(request.path), format }
    }
}
impl TryFrom<wire::DownloadRequest> for Download {
    type Error = Fault;
    fn try_from(request: wire::DownloadRequest) -> Result<Self, Fault> {
        Ok(Self { path: bytes(request.path), format: format(request.format)? })
    }
}

impl From<Watch> for wire::WatchRequest {
    fn from(request: Watch) -> Self {
        let Watch { directories, ignore_rules } = request;
        Self { workspace: String::new(), directories: list(directories), ignore_rules }
    }
}
impl From<wire::WatchRequest> for Watch {
    fn from(request: wire::WatchRequest) -> Self {
        Self { directories: list(request.directories), ignore_rules: request.ignore_rules }
    }
}

impl From<Change> for wire::Change {
    fn from(change: Change) -> Self {
        let kind = wire::ChangeKind::from(change.kind).into();
        Self { path: field(change.path), kind }
    }
}
impl TryFrom<wire::Change> for Change {
    type Error = Fault;
    fn try_from(change: wire::Change) -> Result<Self, Fault> {
        let kind = known::<wire::ChangeKind, _>("kind", change.kind)?;
        Ok(Self { path: bytes(change.path), kind })
    }
}

impl From<Change> for wire::WatchEvent {
    fn from(change: Change) -> Self {
        Self { change: Some(change.into()) }
    }
}
/// The first message of a watch has no change, and is not for this.
impl TryFrom<wire::WatchEvent> for Change {
    type Error = Fault;
    fn try_from(event: wire::WatchEvent) -> Result<Self, Fault> {
        required("change", event.change)
    }
}
