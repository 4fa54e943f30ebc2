//! Where an engine is.

use std::fmt;
use std::path::PathBuf;

use stigmer_core::{ErrorCode, Result, ToolError};

/// The port of an engine that names none.
const PORT: u16 = 2375;

/// The usual socket.
pub(crate) const SYSTEM_SOCKET: &str = "/var/run/docker.sock";

/// An engine's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A unix socket of this machine.
    Unix(PathBuf),
    /// Host and port. Plain: whoever can listen on the way can read it.
    Tcp(String),
}

impl Address {
    /// Understands an address as `DOCKER_HOST` has it.
    ///
    /// # Errors
    /// `bad_configuration`, `unsupported` for a scheme that is known and not spoken.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(bad(text, "has no scheme"));
        };
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(PathBuf::from(rest))),
            "unix" => Err(bad(text, "is no absolute path")),
            "tcp" | "http" => Ok(Self::Tcp(host_and_port(text, rest)?)),
            "https" | "ssh" | "npipe" | "fd" => {
                let message = format!("the engine's address {text}: {scheme} is not spoken");
                Err(ToolError::new(ErrorCode::Unsupported, message)
                    .with_detail("address", text)
                    .with_hint("forward its socket: `ssh -nNT -L /tmp/engine.sock:/var/run/docker.sock HOST`, then unix:///tmp/engine.sock"))
            }
            _ => Err(bad(text, "has an unknown scheme")),
        }
    }
}

fn host_and_port(text: &str, rest: &str) -> Result<String> {
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let host_alone = !rest.is_empty() && !rest.contains(':');
    let whole = if host_alone { format!("{rest}:{PORT}") } else { rest.to_owned() };
    let authority: http::uri::Authority =
        whole.parse().map_err(|_| bad(text, "is no host and port"))?;
    if authority.as_str().contains('@') || authority.port_u16().is_none_or(|port| port == 0) {
        return Err(bad(text, "is no host and port"));
    }
    Ok(whole)
}

fn bad(text: &str, why: &str) -> ToolError {
    ToolError::new(ErrorCode::BadConfiguration, format!("the engine's address \"{text}\" {why}"))
        .with_detail("address", text)
        .with_hint("write unix:///path/to/docker.sock or tcp://host:port")
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
            Self::Tcp(address) => write!(formatter, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_understood() {
        for (text, means) in [
            ("unix:///var/run/docker.sock", "unix:///var/run/docker.sock"),
            ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
            ("tcp://engine/", "tcp://engine:2375"),
            ("http://engine:80", "tcp://engine:80"),
            ("tcp://[::1]:2375", "tcp://[::1]:2375"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), means);
        }
    }

    #[test]
    fn what_is_not_spoken_is_told_apart_from_what_is_none() {
        for text in ["https://engine:2376", "ssh://me@engine", "npipe:////./pipe/docker", "fd://"] {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.code, ErrorCode::Unsupported, "{text}");
            assert!(error.hint.is_some(), "{text}");
        }
        for text in [
            "",
            "/var/run/docker.sock",
            "unix://relative",
            "tcp://",
            "tcp://a:b",
            "tcp://a:0",
            "tcp://u@h:1",
            "gopher://x",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadConfiguration, "{text}");
        }
    }
}
