//! What containers are given: networks, directories, ports, credentials, variables.
//!
//! Where a setting is a list its text has commas between the items; a comma or a backslash in an
//! item has a backslash before it. A list in the file is written that way too before it is read, so
//! that there is one way to read it.

use std::net::{IpAddr, Ipv4Addr};

use stigmer_docker::{Credentials, Network, Port, Volume};

use super::{Unacceptable, names};

/// The longest name of a network, a volume or a runtime: twice what anybody chooses.
const MAX_NAME: usize = 128;

/// The items of a list.
pub(crate) fn split(text: &str) -> Result<Vec<String>, Unacceptable> {
    let mut items = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, items.last_mut()) {
            (',', _) => items.push(String::new()),
            ('\\', Some(item)) => match letters.next() {
                Some(kept @ (',' | '\\')) => item.push(kept),
                _ => {
                    return Err(Unacceptable::new(
                        "a backslash stands before neither a comma nor a backslash",
                    ));
                }
            },
            (letter, Some(item)) => item.push(letter),
            (_, None) => {}
        }
    }
    if items.iter().any(String::is_empty) {
        return Err(Unacceptable::new("an item of the list is empty"));
    }
    Ok(items)
}

/// The text of a list.
pub(crate) fn join<T: AsRef<str>>(items: &[T]) -> String {
    let escaped = items.iter().map(|item| item.as_ref().replace('\\', "\\\\").replace(',', "\\,"));
    escaped.collect::<Vec<_>>().join(",")
}

/// A name as the engine takes it.
pub(super) fn name(text: &str) -> Result<(), Unacceptable> {
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if begins && text.len() <= MAX_NAME && text.bytes().all(good) {
        Ok(())
    } else {
        Err(Unacceptable::new("it is no name"))
    }
}

/// `bridge`, `none`, `host`, or the name of a network.
pub(crate) fn network(text: &str) -> Result<Network, Unacceptable> {
    match text {
        "bridge" => Ok(Network::Bridge),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        // The network of another container is that container's isolation.
        "default" | "container" => Err(Unacceptable::new("it is no network of its own")),
        other => name(other).map(|()| Network::Named(other.to_owned())),
    }
}

/// `source:target`, `source:target:ro`.
pub(crate) fn volume(text: &str) -> Result<Volume, Unacceptable> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, read_only) = match parts.as_slice() {
        [source, target] | [source, target, "rw"] => (*source, *target, false),
        [source, target, "ro"] => (*source, *target, true),
        [_, _, _] => return Err(Unacceptable::new("behind the target stands neither ro nor rw")),
        _ => return Err(Unacceptable::new("it is not source:target")),
    };
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Unacceptable::new("it has a control character"));
    }
    if !source.starts_with('/') {
        name(source).map_err(|_| {
            Unacceptable::new("its source is neither a path that begins with / nor a volume's name")
        })?;
    }
    let steps_back = |path: &str| path.split('/').any(|part| part == "..");
    if !target.starts_with('/') || steps_back(target) || target.trim_matches('/').is_empty() {
        return Err(Unacceptable::new("its target is no path below / without .."));
    }
    // What the containers are made with lies there.
    let ours = target.trim_start_matches('/').split('/').next() == Some(".stigmer");
    if ours || source.ends_with("docker.sock") {
        return Err(Unacceptable::new("it would give the container power over its own isolation"));
    }
    Ok(Volume { source: source.to_owned(), target: target.to_owned(), read_only })
}

/// `container`, `host:container`, `address:host:container`; an IPv6 address stands between brackets.
pub(crate) fn port(text: &str) -> Result<Port, Unacceptable> {
    let number = |text: &str, least: u16| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && *number >= least);
        number.ok_or_else(|| Unacceptable::new(format!("a port is not from {least} to 65535")))
    };
    let (rest, container) = text.rsplit_once(':').map_or((None, text), |(a, b)| (Some(a), b));
    let container = number(container, 1)?;
    let (address, host) = match rest.map(|rest| rest.rsplit_once(':').ok_or(rest)) {
        None => (None, "0"),
        Some(Err(host)) => (None, host),
        Some(Ok((address, host))) => (Some(address), host),
    };
    let address = match address {
        // Others than programs on this machine are let in by name only.
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        Some(text) => {
            let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
            let parsed = bare.map_or_else(
                || text.parse::<Ipv4Addr>().map(IpAddr::V4),
                |text| text.parse().map(IpAddr::V6),
            );
            parsed.map_err(|_| Unacceptable::new("before the ports stands no address"))?
        }
    };
    Ok(Port { address, host: number(host, 0)?, container })
}

/// `aws`, `kube`.
pub(crate) fn credentials(text: &str) -> Result<Credentials, Unacceptable> {
    match text {
        "aws" => Ok(Credentials::Aws),
        "kube" => Ok(Credentials::Kube),
        _ => Err(Unacceptable::new("an item is neither aws nor kube")),
    }
}

/// `NAME=VALUE`. The text of one that is wrong is not repeated: it may be a secret.
pub(crate) fn assignment(text: &str) -> Result<(String, String), Unacceptable> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| Unacceptable::new("an item is not NAME=VALUE"))?;
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let digit = name.bytes().next().is_none_or(|byte| byte.is_ascii_digit());
    if digit || !name.bytes().all(good) {
        return Err(Unacceptable::new("the name of a variable is not of letters, digits and _"));
    }
    if value.contains('\0') {
        return Err(Unacceptable::new("a value has a NUL byte"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// `unix:///path` or `tcp://host:port`.
pub(super) fn engine(text: &str) -> Result<(), Unacceptable> {
    if let Some(path) = text.strip_prefix("unix://") {
        if path.starts_with('/') && !path.contains('\0') {
            return Ok(());
        }
        return Err(Unacceptable::new("behind unix:// stands no path that begins with /"));
    }
    match text.strip_prefix("tcp://") {
        Some(address) => names::endpoint(address).map(drop),
        None => Err(Unacceptable::new("it begins with neither unix:// nor tcp://")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn volumes_are_directories_or_names_and_never_the_way_out() {
        let of = |source: &str, target: &str, read_only| Volume {
            source: source.to_owned(),
            target: target.to_owned(),
            read_only,
        };
        assert_eq!(volume("/a:/b"), Ok(of("/a", "/b", false)));
        assert_eq!(volume("/a:/b:ro"), Ok(of("/a", "/b", true)));
        assert_eq!(volume("cache:/b:rw"), Ok(of("cache", "/b", false)));
        for bad in [
            "",
            "/a",
            "/a:b",
            "/a:/b:x",
            "/a:/b:ro:ro",
            "a b:/c",
            "../a:/b",
            "/a:/",
            "/a:/b/../c",
            "/a:/.stigmer/x",
            "/var/run/docker.sock:/x",
            ":/b",
        ] {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ports_listen_on_this_machine_unless_an_address_is_named() {
        let of = |address: &str, host, container| Port {
            address: address.parse().unwrap(),
            host,
            container,
        };
        assert_eq!(port("80"), Ok(of("127.0.0.1", 0, 80)));
        assert_eq!(port("8080:80"), Ok(of("127.0.0.1", 8080, 80)));
        assert_eq!(port("0.0.0.0:8080:80"), Ok(of("0.0.0.0", 8080, 80)));
        assert_eq!(port("[::1]:0:80"), Ok(of("::1", 0, 80)));
        for bad in ["", "0", "8080:0", "x:80", ":80", "::1:1:2", "1:2:3", "65536", "+1", "1.2:1:1"]
        {
            assert!(port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_engines_and_assignments() {
        assert_eq!(network("none"), Ok(Network::None));
        assert_eq!(network("team_net"), Ok(Network::Named("team_net".to_owned())));
        for bad in ["", "container:x", "a b", "-x", "default", "container"] {
            assert!(network(bad).is_err(), "{bad}");
        }
        for good in ["unix:///var/run/docker.sock", "tcp://127.0.0.1:2375", "tcp://[::1]:1"] {
            assert_eq!(engine(good), Ok(()), "{good}");
        }
        for bad in ["", "unix://x", "tcp://x", "ssh://host", "/var/run/docker.sock", "http://a:1"] {
            assert!(engine(bad).is_err(), "{bad}");
        }
        assert_eq!(assignment("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        for bad in ["hunter2", "=hunter2", "1A=hunter2", "A B=hunter2", "A-B=hunter2"] {
            let error = assignment(bad).unwrap_err();
            assert!(!error.reason.contains("hunter2"), "{bad}");
        }
    }

    #[test]
    fn an_item_may_have_commas() {
        assert_eq!(split("A=1\\,2,B=\\\\").unwrap(), ["A=1,2", "B=\\"]);
        for bad in ["", ",", "a,", ",a", "a,,b", "a\\b", "a\\"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_list_reads_back(items in proptest::collection::vec(".{1,8}", 1..5)) {
            prop_assert_eq!(split(&join(&items)).unwrap(), items);
        }
    }
}
