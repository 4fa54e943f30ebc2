//! What an engine says when something fails, told apart.
//!
//! Engines say it in prose, and the status alone does not tell: a missing image, network and
//! container are all 404, a full disk and a taken port are both 500. So texts are looked for that
//! engines from 20.10 on are known to use; what is not known is passed on as it was said.

use std::io;

use stigmer_core::{ErrorCode, ToolError};

/// The most of an engine's text that is passed on: a runtime's complaint can be long.
const MOST_TEXT: usize = 600;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It answered that it failed.
    Status(u16, String),
    /// It broke off a stream and said why.
    Stream(String),
    /// The connection failed.
    Io(io::ErrorKind, String),
    /// It did not answer in so many milliseconds.
    Late(u128),
    /// It answered something else.
    Garbled(String),
}

/// What was asked, as errors name it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked<'a> {
    /// The engine's address.
    pub(crate) engine: &'a str,
    /// What for: `create the container`.
    pub(crate) what: &'a str,
    /// The image that it is about.
    pub(crate) image: Option<&'a str>,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    NotRunning,
    NoPermission,
    Hung,
    TooOld,
    ImageMissing,
    ImageUnknown,
    PullDenied,
    RegistryUnreachable,
    NoSpace,
    NameTaken,
    ContainerGone,
    ContainerNotRunning,
    ContainerPaused,
    ContainerNotPaused,
    BeingRemoved,
    Cpus,
    Memory,
    Runtime,
    PortTaken,
    NetworkMissing,
    MountMissing,
    Quota,
    CannotStart,
    Other,
}

impl Kind {
    /// For programs: the detail `cause`.
    fn name(self) -> &'static str {
        match self {
            Self::NotRunning => "engine_not_running",
            Self::NoPermission => "engine_no_permission",
            Self::Hung => "engine_hung",
            Self::TooOld => "engine_too_old",
            Self::ImageMissing => "image_missing",
            Self::ImageUnknown => "image_unknown",
            Self::PullDenied => "pull_denied",
            Self::RegistryUnreachable => "registry_unreachable",
            Self::NoSpace => "no_space",
            Self::NameTaken => "name_taken",
            Self::ContainerGone => "container_gone",
            Self::ContainerNotRunning => "container_not_running",
            Self::ContainerPaused => "container_paused",
            Self::ContainerNotPaused => "container_not_paused",
            Self::BeingRemoved => "container_being_removed",
            Self::Cpus => "cpus_refused",
            Self::Memory => "memory_refused",
            Self::Runtime => "runtime_unknown",
            Self::PortTaken => "port_taken",
            Self::NetworkMissing => "network_missing",
            Self::MountMissing => "mount_missing",
            Self::Quota => "quota_unsupported",
            Self::CannotStart => "container_cannot_start",
            Self::Other => "engine",
        }
    }

    fn code(self) -> ErrorCode {
        match self {
            Self::NotRunning | Self::RegistryUnreachable => ErrorCode::Unavailable,
            Self::NoPermission | Self::PullDenied => ErrorCode::PermissionDenied,
            Self::Hung => ErrorCode::DeadlineExceeded,
            Self::TooOld | Self::Quota => ErrorCode::Unsupported,
            Self::ImageMissing | Self::ImageUnknown | Self::ContainerGone => ErrorCode::NotFound,
            Self::NoSpace => ErrorCode::DiskFull,
            Self::NameTaken
            | Self::ContainerNotRunning
            | Self::ContainerPaused
            | Self::ContainerNotPaused
            | Self::BeingRemoved
            | Self::PortTaken => ErrorCode::Busy,
            Self::Cpus
            | Self::Memory
            | Self::Runtime
            | Self::NetworkMissing
            | Self::MountMissing => ErrorCode::BadConfiguration,
            Self::CannotStart | Self::Other => ErrorCode::Io,
        }
    }
}

/// A failure that the caller may know what to do about.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub(crate) struct EngineError {
    pub(crate) kind: Kind,
    pub(crate) error: Box<ToolError>,
}

impl From<EngineError> for ToolError {
    fn from(failed: EngineError) -> Self {
        *failed.error
    }
}

impl EngineError {
    pub(crate) fn of(said: &Said, asked: &Asked<'_>) -> Self {
        let kind = classify(said);
        Self { kind, error: Box::new(explain(kind, said, asked)) }
    }
}

/// Texts, in the order in which they are looked for: what a longer one says matters more than the
/// words of a shorter one within it.
const TEXTS: &[(&str, Kind)] = &[
    // btrfs counts the image, too, and cannot limit a container to less than that.
    ("failed to limit qgroup", Kind::Quota),
    ("no space left on device", Kind::NoSpace),
    ("disk quota exceeded", Kind::NoSpace),
    ("is too old. minimum supported api version", Kind::TooOld),
    ("is too new. maximum supported api version", Kind::TooOld),
    ("pull access denied", Kind::PullDenied),
    ("no basic auth credentials", Kind::PullDenied),
    ("unauthorized", Kind::PullDenied),
    ("requested access to the resource is denied", Kind::PullDenied),
    ("authentication required", Kind::PullDenied),
    ("error getting credentials", Kind::PullDenied),
    ("toomanyrequests", Kind::PullDenied),
    ("insufficient_scope", Kind::PullDenied),
    ("manifest unknown", Kind::ImageUnknown),
    ("no matching manifest", Kind::ImageUnknown),
    ("does not match the specified platform", Kind::ImageUnknown),
    ("invalid reference format", Kind::ImageUnknown),
    ("no such image", Kind::ImageMissing),
    ("already in use by container", Kind::NameTaken),
    ("removal of container", Kind::BeingRemoved),
    ("is marked for removal", Kind::BeingRemoved),
    ("is not paused", Kind::ContainerNotPaused),
    ("is paused", Kind::ContainerPaused),
    ("is already paused", Kind::ContainerPaused),
    ("is not running", Kind::ContainerNotRunning),
    ("no such container", Kind::ContainerGone),
    ("no such exec instance", Kind::ContainerGone),
    ("requested cpus are not available", Kind::Cpus),
    ("invalid value \"\" for cpuset", Kind::Cpus),
    ("cpuset", Kind::Cpus),
    ("memory limit", Kind::Memory),
    ("minimum memory", Kind::Memory),
    ("memory reservation", Kind::Memory),
    ("unknown runtime specified", Kind::Runtime),
    ("unknown or invalid runtime name", Kind::Runtime),
    ("invalid runtime name", Kind::Runtime),
    ("port is already allocated", Kind::PortTaken),
    ("address already in use", Kind::PortTaken),
    ("bind source path does not exist", Kind::MountMissing),
    ("storage-opt", Kind::Quota),
    ("storage opt", Kind::Quota),
    ("no such host", Kind::RegistryUnreachable),
    ("connection refused", Kind::RegistryUnreachable),
    ("i/o timeout", Kind::RegistryUnreachable),
    ("request canceled while waiting for connection", Kind::RegistryUnreachable),
    ("tls: ", Kind::RegistryUnreachable),
    ("x509: ", Kind::RegistryUnreachable),
    ("server gave http response to https client", Kind::RegistryUnreachable),
    ("network is unreachable", Kind::RegistryUnreachable),
    ("oci runtime", Kind::CannotStart),
    ("failed to create shim", Kind::CannotStart),
    ("failed to create task", Kind::CannotStart),
];

/// What kind of failure this is.
pub(crate) fn classify(said: &Said) -> Kind {
    match said {
        Said::Late(_) => Kind::Hung,
        Said::Garbled(_) => Kind::Other,
        Said::Io(io::ErrorKind::PermissionDenied, _) => Kind::NoPermission,
        Said::Io(..) => Kind::NotRunning,
        Said::Status(status, text) => {
            let text = text.to_lowercase();
            let network_missing = *status == 404
                && text.contains("network ")
                && (text.ends_with("not found") || text.contains("no such network"));
            if network_missing {
                return Kind::NetworkMissing;
            }
            let known = of_text(&text);
            match (known, *status) {
                // What a server says of a path that its API does not have.
                (Kind::Other, 404) if text == "page not found" => Kind::TooOld,
                // A manifest or a name, which the registry does not have.
                (Kind::Other, 404) if text.ends_with("not found") => Kind::ImageUnknown,
                (known, _) => known,
            }
        }
        Said::Stream(text) => {
            let text = text.to_lowercase();
            match of_text(&text) {
                Kind::Other if text.ends_with("not found") => Kind::ImageUnknown,
                known => known,
            }
        }
    }
}

fn of_text(text: &str) -> Kind {
    TEXTS.iter().find(|(part, _)| text.contains(part)).map_or(Kind::Other, |(_, kind)| *kind)
}

/// The failure, as it is told.
pub(crate) fn explain(kind: Kind, said: &Said, asked: &Asked<'_>) -> ToolError {
    let Asked { engine, what, image } = asked;
    let text = match said {
        Said::Status(_, text) | Said::Stream(text) | Said::Io(_, text) | Said::Garbled(text) => {
            shortened(text)
        }
        Said::Late(_) => String::new(),
    };
    let named = image.unwrap_or("the image");
    let message = match (kind, said) {
        (Kind::NotRunning, _) => format!("the Docker engine at {engine} is not running: {text}"),
        (Kind::NoPermission, _) => {
            format!("the Docker engine at {engine} may not be used by this user: {text}")
        }
        (Kind::Hung, Said::Late(milliseconds)) => format!(
            "cannot {what}: the Docker engine at {engine} did not answer within {milliseconds} ms"
        ),
        (Kind::ImageMissing, _) => format!("the image {named} is not on this machine"),
        (Kind::ImageUnknown, _) => format!("cannot pull {named}: there is no such image: {text}"),
        (Kind::PullDenied, _) => format!("cannot pull {named}: the registry refuses: {text}"),
        (Kind::RegistryUnreachable, _) => {
            format!("cannot pull {named}: the registry cannot be reached: {text}")
        }
        (Kind::NoSpace, _) => format!("cannot {what}: the engine's disk is full: {text}"),
        (Kind::Other, Said::Status(status, _)) if text.is_empty() => format!(
            "cannot {what}: what is at {engine} answers with HTTP status {status} and says no more"
        ),
        (Kind::Other, _) if text.is_empty() => {
            format!("cannot {what}: what is at {engine} answers nothing that can be understood")
        }
        _ => format!("cannot {what}: {text}"),
    };
    let mut error = ToolError::new(kind.code(), message)
        .with_detail("cause", kind.name())
        .with_detail("engine", *engine);
    if let Some(image) = image {
        error = error.with_detail("image", *image);
    }
    let hint = match kind {
        // An engine says why.
        Kind::Other if text.is_empty() => Some(NO_ENGINE.to_owned()),
        // It is not this machine's to restart.
        Kind::Hung if engine.starts_with("tcp:") => Some(FAR_ENGINE.to_owned()),
        _ => hint(kind, named),
    };
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

const NO_ENGINE: &str = "is that a Docker engine, and no proxy before it? DOCKER_HOST or `sandbox_engine` names it: unset it, or name another one";
const FAR_ENGINE: &str = "look at it with `docker info`; DOCKER_HOST or `sandbox_engine` names it: unset it, or name another one";

fn hint(kind: Kind, image: &str) -> Option<String> {
    let hint = match kind {
        Kind::NotRunning => {
            "start it: `sudo systemctl start docker`; or name another one with DOCKER_HOST"
        }
        Kind::NoPermission => {
            "join the docker group and log in anew: `sudo usermod -aG docker \"$USER\"`"
        }
        Kind::Hung => {
            "look at it with `docker info`; if that hangs, too: `sudo systemctl restart docker`"
        }
        Kind::TooOld => "update Docker: API 1.41 (Docker 20.10) is the oldest that is spoken",
        Kind::ImageMissing => {
            return Some(format!(
                "make it with `stigmer image build`, or get it with `docker pull {image}`"
            ));
        }
        Kind::ImageUnknown => "look at the image's name and tag, and at the machine's architecture",
        Kind::PullDenied => {
            return Some(format!(
                "log in with `docker login {}`, or make the image with `stigmer image build`",
                registry(image)
            ));
        }
        Kind::RegistryUnreachable => {
            return Some(format!(
                "look at the network and the proxy of the engine (`docker pull {image}`), or make the image with `stigmer image build`"
            ));
        }
        Kind::NoSpace => {
            "`docker system df` says what fills it; `docker image prune` removes images that nobody uses"
        }
        Kind::NameTaken => "`stigmer workspace recover` removes it and makes a new one",
        Kind::ContainerGone => "the next command makes a new one",
        Kind::ContainerNotRunning | Kind::BeingRemoved => {
            "try again; `stigmer workspace recover` makes a new one"
        }
        Kind::ContainerPaused => "`stigmer workspace start` lets it go on",
        Kind::ContainerNotPaused | Kind::Other => return None,
        Kind::Cpus => "set fewer processors, or none for all",
        Kind::Memory => "set at least 6 MiB, and no more to reserve than the limit",
        Kind::Runtime => "`docker info` lists the runtimes that the engine has",
        Kind::PortTaken => "publish another port, or port 0 for any that is free",
        Kind::NetworkMissing => "`docker network ls` lists those that are there",
        Kind::MountMissing => "make the directory, or take it out of the volumes",
        Kind::Quota => "leave the disk limit out, or put the engine's data on xfs with pquota",
        Kind::CannotStart => "is the image for this machine's architecture, and is it Linux?",
    };
    Some(hint.to_owned())
}

/// What `docker login` wants for an image: nothing for Docker's own registry.
fn registry(image: &str) -> &str {
    super::super::pull::reference::registry(image).unwrap_or_default()
}

fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MOST_TEXT) {
        Some((end, _)) => format!("{} …", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
