//! From text to typed values.
//!
//! An empty text is a value like any other and no kind accepts it, so that `STIGMER_TIMEOUT=` is an
//! error and not a silent default; only an empty *secret* counts as unset, because that is how
//! deployments write "no password". That distinction is made by the caller, who knows the source.

pub(crate) mod containers;
mod names;
mod units;

use std::fmt;
use std::path::{Component, PathBuf};
use std::time::Duration;

use crate::secret::Secret;

pub use names::Endpoint;

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Boolean,
    /// `90s`, `2m`, `1h30m`, `7d`; a bare number is seconds.
    Duration,
    /// As [`Kind::Duration`], and `0` is without end.
    DurationOrNone,
    /// `256MiB`, `1G`; a bare number is bytes.
    Size {
        /// The smallest size that makes sense.
        least: u64,
    },
    /// A whole number within bounds.
    Count {
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// A processor quantity of Kubernetes: `500m`, `2`.
    CpuQuantity,
    /// A byte quantity of Kubernetes: `2Gi`, `500M`.
    BytesQuantity,
    /// A host name or address.
    Host,
    /// A host and a port.
    HostPort,
    /// An `http` or `https` address.
    Url,
    /// A reference to a container image.
    Image,
    /// A registry with an optional path.
    Registry,
    /// An image's tag.
    Tag,
    /// A label as in RFC 1123, the form of Kubernetes' names.
    Label,
    /// `info`, or levels for parts of the program: `stigmer_api=debug,warn`.
    LogLevels,
    /// A path.
    Path,
    /// A path from `/`.
    AbsolutePath,
    /// Directories, each a path from `/`, as `PATH` has them.
    Directories,
    /// A network of containers.
    Network,
    /// A name as the container engine takes it.
    Name,
    /// The address of a container engine.
    Engine,
    /// A list of directories in containers.
    Volumes,
    /// A list of ports of containers.
    Ports,
    /// A list of credentials.
    Credentials,
    /// A list of variables. Their values are never shown.
    Variables,
    /// Where containers have their proxy settings from.
    Proxy,
    /// Text that is never shown.
    Secret,
}

/// A typed value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// One of a setting's words.
    Choice(&'static str),
    /// Yes or no.
    Boolean(bool),
    /// A time; `None` is without end.
    Duration(Option<Duration>),
    /// Bytes.
    Size(u64),
    /// A number.
    Count(u64),
    /// Thousandths of a processor, and the text, which Kubernetes is given as it stands.
    Cpu(u64, String),
    /// Bytes, and the text, which Kubernetes is given as it stands.
    Bytes(u64, String),
    /// A host and a port.
    HostPort(Endpoint),
    /// A path.
    Path(PathBuf),
    /// Checked text: a host, an address, an image, a tag, a name.
    Text(String),
    /// Checked items.
    List(Vec<String>),
    /// Paths from `/`.
    Paths(Vec<PathBuf>),
    /// Text that is never shown.
    Secret(Secret),
}

impl fmt::Display for Value {
    /// As it would be written, except that a secret is not shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Choice(word) => formatter.write_str(word),
            Self::Boolean(yes) => yes.fmt(formatter),
            Self::Duration(None) => formatter.write_str("0"),
            Self::Duration(Some(duration)) => units::write_duration(*duration, formatter),
            Self::Size(bytes) => units::write_size(*bytes, formatter),
            Self::Count(number) => number.fmt(formatter),
            Self::Cpu(_, text) | Self::Bytes(_, text) | Self::Text(text) => {
                formatter.write_str(text)
            }
            Self::HostPort(endpoint) => endpoint.fmt(formatter),
            Self::Path(path) => path.display().fmt(formatter),
            Self::List(items) => formatter.write_str(&containers::join(items)),
            Self::Paths(paths) => {
                let paths: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
                formatter.write_str(&paths.join(BETWEEN_PATHS))
            }
            Self::Secret(secret) => secret.fmt(formatter),
        }
    }
}

/// Why a text is no value of a kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unacceptable {
    /// What is wrong, when more can be said than that it is not valid.
    pub reason: String,
}

impl Unacceptable {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl Kind {
    /// Whether its values must not be shown.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Variables)
    }

    /// The items of a list as one text; `None` if a value is no list.
    pub fn joined(self, items: &[String]) -> Option<String> {
        match self {
            Self::Volumes | Self::Ports | Self::Credentials | Self::Variables => {
                Some(containers::join(items))
            }
            Self::Directories => Some(items.join(BETWEEN_PATHS)),
            _ => None,
        }
    }

    /// What the valid values are, as the end of a sentence that begins "valid values are".
    pub fn valid(self) -> String {
        match self {
            Self::Choice(words) => words.join(", "),
            Self::Boolean => "true, false".to_owned(),
            Self::Duration => {
                "durations such as 90s, 2m, 1h30m, 7d (a bare number is seconds)".into()
            }
            Self::DurationOrNone => {
                "durations such as 90s, 2m, 1h30m (a bare number is seconds), and 0 for none".into()
            }
            Self::Size { least } => format!(
                "sizes such as 256MiB, 1G, 500MB (a bare number is bytes), at least {}",
                Value::Size(least)
            ),
            Self::Count { least, most } => format!("whole numbers from {least} to {most}"),
            Self::CpuQuantity => "Kubernetes processor quantities such as 500m, 2, 1.5".to_owned(),
            Self::BytesQuantity => "Kubernetes byte quantities such as 512Mi, 2Gi, 500M".to_owned(),
            Self::Host => "host names and IP addresses".to_owned(),
            Self::HostPort => {
                "a host and a port, such as localhost:50051 or [::1]:50051".to_owned()
            }
            Self::Url => "http and https addresses, such as https://example.com/api".to_owned(),
            Self::Image => {
                "image references such as ghcr.io/owner/name:tag or name@sha256:…".to_owned()
            }
            Self::Registry => "registries such as ghcr.io or registry:5000/team".to_owned(),
            Self::Tag => {
                "tags: up to 128 letters, digits, _, . and -, not beginning with . or -".to_owned()
            }
            Self::Label => {
                "names of up to 63 lower-case letters, digits and -, not at an end".to_owned()
            }
            Self::LogLevels => {
                "off, error, warn, info, debug, trace, and these for parts of the program, such as \
                 stigmer_api=debug,info"
                    .to_owned()
            }
            Self::Path => "paths".to_owned(),
            Self::AbsolutePath => "paths that begin with /".to_owned(),
            Self::Directories => {
                "directories that begin with /, with colons between, such as /opt/a:/srv/tools"
                    .into()
            }
            Self::Network => {
                "bridge, none, host (no isolation of the network), and the name of a network that \
                 exists"
                    .to_owned()
            }
            Self::Name => {
                "names of up to 128 letters, digits, _, . and -, beginning with a letter or digit"
                    .to_owned()
            }
            Self::Engine => "unix:///path and tcp://host:port".to_owned(),
            Self::Volumes => {
                "source:target with commas between, each with :ro behind it or not; a source is a \
                 path that begins with / or a volume's name"
                    .to_owned()
            }
            Self::Ports => {
                "port, host:port and address:host:port with commas between, such as 8080:80"
                    .to_owned()
            }
            Self::Credentials => "aws, kube, with commas between".to_owned(),
            Self::Variables => {
                "NAME=VALUE with commas between; a comma in a value has a backslash before it"
                    .to_owned()
            }
            Self::Proxy => {
                "none, environment (that of whoever makes the container), and addresses such as \
                 http://proxy.example.com:3128"
                    .to_owned()
            }
            Self::Secret => "any text on one line".to_owned(),
        }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// What is wrong with the text; it never contains the text of a secret.
    pub fn parse(self, text: &str) -> Result<Value, Unacceptable> {
        if text.is_empty() {
            return Err(Unacceptable::new("it is empty"));
        }
        match self {
            Self::Choice(words) => words
                .iter()
                .find(|word| **word == text)
                .map(|word| Value::Choice(word))
                .ok_or_else(|| Unacceptable::new("it is not one of them")),
            Self::Boolean => match text {
                "true" => Ok(Value::Boolean(true)),
                "false" => Ok(Value::Boolean(false)),
                _ => Err(Unacceptable::new("it is neither true nor false")),
            },
            Self::Duration => units::duration(text).map(|time| Value::Duration(Some(time))),
            Self::DurationOrNone => units::duration(text)
                .map(|time| Value::Duration(Some(time).filter(|time| !time.is_zero()))),
            Self::Size { least } => match units::size(text)? {
                bytes if bytes < least => {
                    Err(Unacceptable::new(format!("it is less than {least} bytes")))
                }
                bytes => Ok(Value::Size(bytes)),
            },
            Self::Count { least, most } => match units::whole(text)? {
                number if (least..=most).contains(&number) => Ok(Value::Count(number)),
                _ => Err(Unacceptable::new("it is out of range")),
            },
            Self::CpuQuantity => {
                units::millicpu(text).map(|milli| Value::Cpu(milli, text.to_owned()))
            }
            Self::BytesQuantity => {
                units::quantity_bytes(text).map(|bytes| Value::Bytes(bytes, text.to_owned()))
            }
            Self::Host => names::host(text).map(|()| Value::Text(text.to_owned())),
            Self::HostPort => names::endpoint(text).map(Value::HostPort),
            Self::Url => names::url(text).map(|()| Value::Text(text.to_owned())),
            Self::Image => names::image(text).map(|()| Value::Text(text.to_owned())),
            Self::Registry => names::registry(text).map(|()| Value::Text(text.to_owned())),
            Self::Tag => names::tag(text).map(|()| Value::Text(text.to_owned())),
            Self::Label => names::label(text).map(|()| Value::Text(text.to_owned())),
            Self::LogLevels => names::log_levels(text).map(|()| Value::Text(text.to_owned())),
            Self::Path => path(text).map(Value::Path),
            Self::AbsolutePath => path(text).and_then(|path| {
                if path.is_absolute() {
                    Ok(Value::Path(path))
                } else {
                    Err(Unacceptable::new("it does not begin with /"))
                }
            }),
            Self::Directories => {
                text.split(BETWEEN_PATHS).map(directory).collect::<Result<_, _>>().map(Value::Paths)
            }
            Self::Network => containers::network(text).map(|_| Value::Text(text.to_owned())),
            Self::Name => containers::name(text).map(|()| Value::Text(text.to_owned())),
            Self::Engine => containers::engine(text).map(|()| Value::Text(text.to_owned())),
            Self::Volumes => list(text, containers::volume),
            Self::Ports => list(text, containers::port),
            Self::Credentials => list(text, containers::credentials),
            Self::Variables => {
                list(text, containers::assignment).map(|_| Value::Secret(Secret::new(text)))
            }
            Self::Proxy => match text {
                "none" | "environment" => Ok(Value::Text(text.to_owned())),
                address => names::url(address).map(|()| Value::Text(text.to_owned())),
            },
            Self::Secret => {
                // A line end in a token comes from `KEY=$(cat file)` gone wrong, and would break
                // out of the HTTP header that the token is put in.
                if text.contains(['\n', '\r', '\0']) {
                    Err(Unacceptable::new("it has a line end or a NUL byte"))
                } else {
                    Ok(Value::Secret(Secret::new(text)))
                }
            }
        }
    }
}

/// A list of which every item is good, and none there twice.
fn list<T>(
    text: &str,
    item: impl Fn(&str) -> Result<T, Unacceptable>,
) -> Result<Value, Unacceptable> {
    let items = containers::split(text)?;
    for (index, text) in items.iter().enumerate() {
        item(text)?;
        if items[..index].contains(text) {
            return Err(Unacceptable::new("an item is there twice"));
        }
    }
    Ok(Value::List(items))
}

/// What stands between two directories, as in `PATH`.
const BETWEEN_PATHS: &str = ":";

/// A directory by its whole path. Whether it is there is seen when it is used.
fn directory(text: &str) -> Result<PathBuf, Unacceptable> {
    let path = path(text)?;
    let plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if !path.is_absolute() || !path.components().all(plain) {
        return Err(Unacceptable::new(match text {
            "" => "one of them is empty".to_owned(),
            _ => format!("{text:?} is not the whole path of a directory"),
        }));
    }
    if path.parent().is_none() {
        return Err(Unacceptable::new("/ holds everything"));
    }
    Ok(path)
}

fn path(text: &str) -> Result<PathBuf, Unacceptable> {
    if text.contains('\0') {
        return Err(Unacceptable::new("it has a NUL byte"));
    }
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::super::variables::SETTINGS;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_taken_as_they_are_written() {
        let kind = Kind::Choice(&["local", "cloud"]);
        assert_eq!(kind.parse("cloud"), Ok(Value::Choice("cloud")));
        for bad in ["Cloud", " cloud", "cloud ", "clou", "", "localcloud"] {
            assert!(kind.parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Kind::Boolean.parse("true"), Ok(Value::Boolean(true)));
        for bad in ["yes", "1", "0", "TRUE", "on", ""] {
            assert!(Kind::Boolean.parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn nothing_accepts_the_empty_text() {
        for setting in SETTINGS {
            assert!(setting.kind.parse("").is_err(), "{}", setting.name);
            assert!(!setting.kind.valid().is_empty());
        }
    }

    #[test]
    fn zero_is_no_timeout_and_a_grace_of_nothing() {
        assert_eq!(Kind::DurationOrNone.parse("0"), Ok(Value::Duration(None)));
        assert_eq!(Kind::DurationOrNone.parse("0s"), Ok(Value::Duration(None)));
        assert_eq!(Kind::Duration.parse("0"), Ok(Value::Duration(Some(Duration::ZERO))));
    }

    #[test]
    fn bounds_are_inclusive() {
        let kind = Kind::Count { least: 1, most: 65_535 };
        for (text, good) in [("1", true), ("65535", true), ("0", false), ("65536", false)] {
            assert_eq!(kind.parse(text).is_ok(), good, "{text}");
        }
        for bad in ["+1", "-1", "1.0", "0x10", "99999999999999999999", "१"] {
            assert!(kind.parse(bad).is_err(), "{bad}");
        }
        let kind = Kind::Size { least: 1024 };
        assert!(kind.parse("1024").is_ok() && kind.parse("1023").is_err());
    }

    #[test]
    fn directories_are_whole_paths_and_none_is_passed_over() {
        let paths = |text: &str| match Kind::Directories.parse(text) {
            Ok(Value::Paths(paths)) => Some(paths),
            _ => None,
        };
        assert_eq!(paths("/opt/a:/srv/b c"), Some(vec!["/opt/a".into(), "/srv/b c".into()]));
        assert_eq!(paths("/opt/a/"), Some(vec!["/opt/a/".into()]));
        for bad in ["/", "opt", "./a", "~/a", "/a:", ":/a", "/a::/b", "/a:b", "/a/../b", "/a,b:"] {
            assert_eq!(paths(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_refused_secret_is_not_repeated() {
        let error = Kind::Secret.parse("hunter2\n").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }

    proptest! {
        /// What is shown can be written back, and means the same.
        #[test]
        fn what_is_shown_reads_back(number in 0_u64..100_000_000, row in 0..SETTINGS.len()) {
            let kind = SETTINGS[row].kind;
            if !kind.is_secret() && let Ok(value) = kind.parse(&number.to_string()) {
                prop_assert_eq!(kind.parse(&value.to_string()), Ok(value));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", row in 0..SETTINGS.len()) {
            let kind = SETTINGS[row].kind;
            if let Ok(value) = kind.parse(&text) && !kind.is_secret() {
                prop_assert_eq!(kind.parse(&value.to_string()), Ok(value));
            }
        }
    }
}
