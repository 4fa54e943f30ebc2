//! Names with a grammar: hosts, addresses, images, Kubernetes' names.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::Unacceptable;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// The longest host name (RFC 1035).
const MAX_HOST: usize = 253;
/// The longest part of a host name, and of a Kubernetes name (RFC 1035, RFC 1123).
const MAX_LABEL: usize = 63;
/// The longest tag, and the longest repository name (the OCI distribution specification).
const MAX_TAG: usize = 128;
const MAX_REPOSITORY: usize = 255;

/// A host name, an IPv4 address, or an IPv6 address without brackets. Underscores are taken:
/// Docker Compose's service names have them.
pub(super) fn host(text: &str) -> Result<(), Unacceptable> {
    if text.parse::<Ipv6Addr>().is_ok() || text.parse::<Ipv4Addr>().is_ok() {
        return Ok(());
    }
    if text.contains("://") {
        return Err(Unacceptable::new("it has a scheme; give the host alone"));
    }
    if text.contains(':') {
        return Err(Unacceptable::new("it has a port or is no IPv6 address; give the host alone"));
    }
    let label_is_good = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    // All digits and dots is a mistyped address, not a name.
    let numeric = name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if name.len() > MAX_HOST || numeric || !name.split('.').all(label_is_good) {
        return Err(Unacceptable::new("it is no host name"));
    }
    Ok(())
}

fn port(text: &str) -> Result<u16, Unacceptable> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Unacceptable::new("its port is not a number"));
    }
    text.parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| Unacceptable::new("its port is not from 1 to 65535"))
}

/// `host:port`, `[address]:port`.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, Unacceptable> {
    if text.contains("://") {
        return Err(Unacceptable::new("it has a scheme; give host:port alone"));
    }
    let no_port = || Unacceptable::new("it has no port");
    let (name, number) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) =
            rest.split_once(']').ok_or_else(|| Unacceptable::new("it has no closing ]"))?;
        address
            .parse::<Ipv6Addr>()
            .map_err(|_| Unacceptable::new("there is no IPv6 address between [ and ]"))?;
        (address, rest.strip_prefix(':').ok_or_else(no_port)?)
    } else {
        let (name, number) = text.rsplit_once(':').ok_or_else(no_port)?;
        if name.contains(':') {
            return Err(Unacceptable::new("an IPv6 address must stand between [ and ]"));
        }
        (name, number)
    };
    host(name)?;
    Ok(Endpoint { host: name.to_owned(), port: port(number)? })
}

/// `http://…` or `https://…` with a host, an optional port and path; no user, query or fragment.
pub(super) fn url(text: &str) -> Result<(), Unacceptable> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .ok_or_else(|| Unacceptable::new("it does not begin with http:// or https://"))?;
    if text.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
        return Err(Unacceptable::new("it has white space"));
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        // It would be shown by `config list`, and sent to whoever reads the logs.
        return Err(Unacceptable::new("it has a user or password; set those apart"));
    }
    if path.contains(['?', '#']) {
        return Err(Unacceptable::new("it has a query or a fragment"));
    }
    if let Some(address) = authority.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address = address.parse::<Ipv6Addr>();
        return address
            .map(drop)
            .map_err(|_| Unacceptable::new("there is no IPv6 address between [ and ]"));
    }
    if authority.contains(':') {
        return endpoint(authority).map(drop);
    }
    host(authority)
}

/// One part of a repository's path: letters and digits, with `.`, `_`, `__` or dashes between.
fn component(text: &str) -> bool {
    let mut rest = text;
    loop {
        let end = rest
            .find(|letter: char| !letter.is_ascii_lowercase() && !letter.is_ascii_digit())
            .unwrap_or(rest.len());
        if end == 0 {
            return false;
        }
        rest = &rest[end..];
        if rest.is_empty() {
            return true;
        }
        let dashes = rest.len() - rest.trim_start_matches('-').len();
        let skip = match rest.as_bytes() {
            [b'.', ..] => 1,
            [b'_', b'_', ..] => 2,
            [b'_', ..] => 1,
            _ if dashes > 0 => dashes,
            _ => return false,
        };
        rest = &rest[skip..];
    }
}

/// Whether the first part of a reference names a registry: the rule of Docker.
fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':'])
}

fn registry_host(text: &str) -> Result<(), Unacceptable> {
    let checked = if text.contains(':') { endpoint(text).map(drop) } else { host(text) };
    checked.map_err(|error| Unacceptable::new(format!("its registry is wrong: {error}")))
}

fn repository(path: &str) -> Result<(), Unacceptable> {
    if path.len() > MAX_REPOSITORY {
        return Err(Unacceptable::new("its name is longer than 255 characters"));
    }
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(Unacceptable::new("its name has upper-case letters"));
    }
    if !path.split('/').all(component) {
        return Err(Unacceptable::new("its name is not one of an image"));
    }
    Ok(())
}

/// `[registry[:port]/]path[:tag][@digest]`, the grammar of `distribution/reference`.
pub(super) fn image(text: &str) -> Result<(), Unacceptable> {
    let (name, digest_text) = match text.split_once('@') {
        Some((name, digest_text)) => (name, Some(digest_text)),
        None => (text, None),
    };
    if let Some(text) = digest_text {
        digest(text)?;
    }
    // A colon after the last slash begins the tag; one before it, a port.
    let (name, tag_text) = match name.rsplit_once(':') {
        Some((name, tag_text)) if !tag_text.contains('/') => (name, Some(tag_text)),
        _ => (name, None),
    };
    if let Some(text) = tag_text {
        tag(text).map_err(|_| Unacceptable::new("its tag is wrong"))?;
    }
    match name.split_once('/') {
        Some((first, path)) if is_registry(first) => {
            registry_host(first)?;
            repository(path)
        }
        _ => repository(name),
    }
}

fn digest(text: &str) -> Result<(), Unacceptable> {
    let length = match text.split_once(':') {
        Some(("sha256", _)) => 64,
        Some(("sha512", _)) => 128,
        _ => return Err(Unacceptable::new("its digest is not sha256:… or sha512:…")),
    };
    let hex = &text["sha256:".len()..];
    let good = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if hex.len() != length || !good {
        return Err(Unacceptable::new(format!("its digest is not {length} hexadecimal digits")));
    }
    Ok(())
}

/// `registry[:port][/path]`.
pub(super) fn registry(text: &str) -> Result<(), Unacceptable> {
    if text.contains("://") {
        return Err(Unacceptable::new("it has a scheme; give the registry alone"));
    }
    match text.split_once('/') {
        Some((first, path)) => {
            registry_host(first)?;
            repository(path)
        }
        None => registry_host(text),
    }
}

/// An image's tag.
pub(super) fn tag(text: &str) -> Result<(), Unacceptable> {
    let good = text.len() <= MAX_TAG
        && !text.is_empty()
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if good { Ok(()) } else { Err(Unacceptable::new("it is no tag")) }
}

/// A label as in RFC 1123.
pub(super) fn label(text: &str) -> Result<(), Unacceptable> {
    let good = (1..=MAX_LABEL).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if good { Ok(()) } else { Err(Unacceptable::new("it is no name of Kubernetes")) }
}

/// A level, or `part=level`, with commas between.
pub(super) fn log_levels(text: &str) -> Result<(), Unacceptable> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for piece in text.split(',') {
        let level = match piece.split_once('=') {
            Some((part, level)) => {
                let named = |byte: u8| byte.is_ascii_alphanumeric() || b"_:".contains(&byte);
                if part.is_empty() || !part.bytes().all(named) {
                    return Err(Unacceptable::new("before = must stand a part of the program"));
                }
                level
            }
            None => piece,
        };
        if !LEVELS.contains(&level) {
            return Err(Unacceptable::new("a level is not one of them"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_levels_are_for_the_whole_or_for_parts() {
        for good in ["info", "off", "stigmer_api=debug,info", "stigmer_api::serve=trace"] {
            assert_eq!(log_levels(good), Ok(()), "{good}");
        }
        for bad in
            ["", "INFO", "verbose", "info,", "=info", "stigmer_api=", "a b=info", "a[x]=info"]
        {
            assert!(log_levels(bad).is_err(), "{bad}");
        }
    }

    #[track_caller]
    fn check<T>(parse: impl Fn(&str) -> Result<T, Unacceptable>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(parse(text).is_ok(), "{text:?}: {:?}", parse(text).err());
        }
        for text in bad {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn hosts() {
        check(
            host,
            &["localhost", "redis", "my_redis", "a.b-c.example.", "127.0.0.1", "::1", "fe80::1"],
            &["", "-a", "a-", "a..b", "1.2.3.4.5", "300.1.1.1", "a b", "a:1", "http://a", "é", "."],
        );
        assert!(host(&"a".repeat(64)).is_err() && host(&"a".repeat(63)).is_ok());
        assert!(host(&"a.".repeat(130)).is_err());
    }

    #[test]
    fn endpoints() {
        check(
            endpoint,
            &["localhost:50051", "[::1]:50051", "10.0.0.1:1", "a.b:65535"],
            &[
                "localhost",
                "localhost:",
                ":80",
                "a:0",
                "a:65536",
                "::1:80",
                "[::1]",
                "[::1",
                "[a]:1",
                "http://a:1",
                "a:+1",
                "a: 1",
                "a:1:2",
            ],
        );
        assert_eq!(endpoint("[::1]:7").unwrap().to_string(), "[::1]:7");
    }

    #[test]
    fn addresses() {
        check(
            url,
            &[
                "https://app.daytona.io/api",
                "http://localhost:3000",
                "http://[::1]:3000/x",
                "https://a.b/",
                "http://[::1]",
            ],
            &[
                "app.daytona.io",
                "ftp://a",
                "https://",
                "https:///x",
                "https://user:pw@a/",
                "https://a b",
                "https://a/?q",
                "https://a/#f",
                "https://a:x/",
                "HTTPS://a",
                "http://[x]",
            ],
        );
    }

    #[test]
    fn images() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        check(
            image,
            &[
                "ghcr.io/stigmer/agent-sandbox-basic:latest",
                "ubuntu",
                "ubuntu:24.04",
                "localhost/a",
                "localhost:5000/a/b:c",
                "library/a__b",
                "a--b",
                "a.b_c",
                &digest,
                "[::1]:5000/a",
            ],
            &[
                "",
                "Ubuntu",
                "a:",
                "a::b",
                "a:b:c",
                "/a",
                "a/",
                "a//b",
                "a b",
                "a@sha256:00",
                "a@md5:0",
                "-a",
                "a-",
                "a___b",
                "a..b",
                "ghcr.io/",
                "https://ghcr.io/a",
                "a:.b",
                "ghcr.io:x/a",
            ],
        );
        assert!(image(&format!("a:{}", "t".repeat(129))).is_err());
        assert!(image(&"a".repeat(256)).is_err());
    }

    #[test]
    fn registries_tags_and_labels() {
        check(
            registry,
            &["ghcr.io", "ghcr.io/stigmer", "localhost:5000", "registry/team/x"],
            &["", "https://ghcr.io", "ghcr.io/", "ghcr.io/A", "ghcr.io:x"],
        );
        check(tag, &["latest", "v1.2_3-x", "_a"], &["", ".a", "-a", "a b", "a:b", "a/b"]);
        check(label, &["shadow", "a-1", "0"], &["", "-a", "a-", "A", "a.b", "a_b"]);
        assert!(label(&"a".repeat(64)).is_err());
    }
}
