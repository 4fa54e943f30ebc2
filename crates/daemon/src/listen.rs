//! Where the daemon listens.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use stigmer_engine::Configuration;

/// The port of the documented local environment, where no setting names another.
const DEFAULT_PORT: u16 = 50051;

/// Whether the daemon serves TCP, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Not at all: the unix socket only.
    None,
    /// At this address; port 0 is any that is free.
    At(SocketAddr),
}

impl Listen {
    /// What the settings say: the daemon's address if it is on this machine, else the usual one.
    pub fn of(configuration: &Configuration) -> Self {
        let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT));
        let endpoint = configuration.backend_endpoint();
        let set = endpoint.and_then(|endpoint| address(&endpoint.host, endpoint.port));
        Self::At(set.filter(|address| address.ip().is_loopback()).unwrap_or(usual))
    }

    /// Whether others than programs on this machine may connect.
    pub fn is_open(self) -> bool {
        matches!(self, Self::At(address) if !address.ip().is_loopback())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("none"),
            Self::At(address) => address.fmt(formatter),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::None);
        }
        let named = || {
            let (host, port) = text.rsplit_once(':')?;
            address(host, port.parse().ok()?)
        };
        text.parse().ok().or_else(named).map(Self::At).ok_or_else(|| {
            "it is neither an address with a port, such as 127.0.0.1:50051, nor none".to_owned()
        })
    }
}

/// An address, or the one name that needs no asking.
fn address(host: &str, port: u16) -> Option<SocketAddr> {
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => host.parse().ok()?,
    };
    Some(SocketAddr::new(ip, port))
}

/// Listens on TCP; why not, if it cannot be.
pub(crate) fn tcp(address: SocketAddr) -> std::result::Result<std::net::TcpListener, String> {
    // The standard library sets SO_REUSEADDR, so that connections of an earlier daemon that have not
    // quite ended do not hold the port.
    let listener = std::net::TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{address} is taken by another program (`--listen` names another address)")
        }
        io::ErrorKind::AddrNotAvailable => format!("{address} is no address of this machine"),
        io::ErrorKind::PermissionDenied => format!("{address} may not be used by this user"),
        _ => format!("{address}: {error}"),
    })?;
    listener.set_nonblocking(true).map_err(|error| format!("{address}: {error}"))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stigmer_engine::{Sources, Surroundings};

    #[test]
    fn an_address_is_understood_as_people_write_it() {
        for (text, address) in [
            ("127.0.0.1:50051", "127.0.0.1:50051"),
            ("localhost:1", "127.0.0.1:1"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("[::1]:7", "[::1]:7"),
            ("none", "none"),
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), address);
        }
        for bad in
            ["", "50051", "localhost", "127.0.0.1", "example.com:1", "127.0.0.1:65536", "None"]
        {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
        assert!("0.0.0.0:1".parse::<Listen>().unwrap().is_open());
        assert!(!"localhost:1".parse::<Listen>().unwrap().is_open());
        assert!(!Listen::None.is_open());
    }

    #[test]
    fn the_setting_counts_if_it_names_this_machine() {
        for (set, address) in [
            ("localhost:7", "127.0.0.1:7"),
            ("[::1]:7", "[::1]:7"),
            ("example.com:7", "127.0.0.1:50051"),
            ("10.0.0.1:7", "127.0.0.1:50051"),
        ] {
            let variable = ("STIGMER_BACKEND_ENDPOINT".into(), set.into());
            let surroundings = Surroundings { environment: vec![variable], home: None };
            let sources = Sources { surroundings, ..Sources::default() };
            let configuration = Configuration::load(&sources).unwrap();
            assert_eq!(Listen::of(&configuration).to_string(), address, "{set}");
        }
    }

    #[test]
    fn a_taken_port_is_named() {
        let first = tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let reason = tcp(address).unwrap_err();
        assert!(reason.contains(&address.to_string()) && reason.contains("--listen"), "{reason}");
    }
}
