//! Who may ask: the owner on a unix socket, the holder of the token everywhere else; and what a
//! browser may not be made to ask.

use std::fmt;
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Uri};
use stigmer_core::{ErrorCode, Result, ToolError};

/// What the documentation's examples set as the key. It means that there is none.
pub const PLACEHOLDER_KEY: &str = "dummy-local-key";

/// The shortest token: 128 bits as base64 have 22 characters.
const MIN_TOKEN_BYTES: usize = 22;

/// The longest: it travels in every request's head.
const MAX_TOKEN_BYTES: usize = 512;

/// What a client shows on TCP and vsock. It is never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token from its text; white space around it is not part of it.
    ///
    /// # Errors
    /// `bad_configuration` for the placeholder, one that is short enough to be guessed, one that is
    /// too long, and characters that no header carries.
    pub fn new(text: &str) -> Result<Self> {
        let text = text.trim();
        let bad = |reason: String| {
            Err(ToolError::new(ErrorCode::BadConfiguration, format!("the token {reason}"))
                .with_hint("a good one: `head -c 32 /dev/urandom | base64`"))
        };
        if text == PLACEHOLDER_KEY {
            return bad("is the placeholder of the documentation, which everybody knows".to_owned());
        }
        if !(MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES).contains(&text.len()) {
            return bad(format!(
                "has {} bytes and needs {MIN_TOKEN_BYTES} to {MAX_TOKEN_BYTES}",
                text.len()
            ));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return bad("has characters other than printable ASCII".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether `shown` is this token. The time that it takes does not tell how much of it is right.
    fn is(&self, shown: &[u8]) -> bool {
        let ours = self.0.as_bytes();
        let differences =
            ours.iter().zip(shown).fold(0, |all, (ours, shown)| black_box(all | (ours ^ shown)));
        ours.len() == shown.len() && differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// Who may use a TCP or vsock listener.
#[derive(Clone, Debug)]
pub struct Access {
    token: Token,
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Access {
    /// Whoever shows the token, under one of this machine's own names.
    pub fn new(token: Token) -> Self {
        Self { token, hosts: Vec::new(), origins: Vec::new() }
    }

    /// Answers requests for this host name, too.
    #[must_use]
    pub fn allow_host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// Answers pages of this site (`https://example.org`), too.
    #[must_use]
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        self.origins.push(origin.into());
        self
    }

    /// Looks at the token.
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<()> {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let (shown, more) = (all.next().map(http::HeaderValue::as_bytes), all.next());
        let refuse = |message: &str, hint: &str| {
            Err(ToolError::new(ErrorCode::Unauthenticated, message).with_hint(hint))
        };
        let Some(shown) = shown.filter(|_| more.is_none()) else {
            return refuse(
                "the request has no token",
                "send the header `authorization: Bearer <token>`; `stigmer server status` names the file that holds it",
            );
        };
        let Some(shown) = bearer(shown) else {
            return refuse(
                "the authorization header is not a bearer token",
                "send the header `authorization: Bearer <token>`",
            );
        };
        if shown == PLACEHOLDER_KEY.as_bytes() {
            return refuse(
                "the placeholder dummy-local-key is not a token",
                "read the token from the file that `stigmer server status` names; stigmer's own clients do so by themselves",
            );
        }
        if !self.token.is(shown) {
            return refuse(
                "the token is not this server's",
                "read it again from the file that `stigmer server status` names: a new server may have a new one",
            );
        }
        Ok(())
    }

    /// Looks at the name under which the server was asked. A page whose name was made to point to
    /// this machine (DNS rebinding) asks under its own.
    pub(super) fn check_host(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        local: Option<SocketAddr>,
    ) -> Result<()> {
        let asked = asked_for(uri, headers).ok_or_else(|| {
            ToolError::new(ErrorCode::PermissionDenied, "the request names no host, or several")
                .with_hint("send one Host header: localhost, or the address of the server")
        })?;
        if host_is_ours(asked.host(), local.map(|local| local.ip()), &self.hosts) {
            return Ok(());
        }
        Err(ToolError::new(ErrorCode::PermissionDenied, "the request is for another host's name")
            .with_hint("ask for localhost or the address of the server, or allow the name"))
    }

    /// Looks at the site whose page asks.
    pub(super) fn check_origin(&self, uri: &Uri, headers: &HeaderMap) -> Result<()> {
        let own = asked_for(uri, headers);
        for origin in headers.get_all(ORIGIN) {
            let Ok(origin) = origin.to_str() else { return Err(foreign_origin()) };
            let same = |own: &Authority| {
                ["http://", "https://"]
                    .iter()
                    .any(|scheme| origin.strip_prefix(scheme) == Some(own.as_str()))
            };
            if !self.origins.iter().any(|allowed| allowed == origin)
                && !own.as_ref().is_some_and(same)
            {
                return Err(foreign_origin());
            }
        }
        Ok(())
    }
}

fn foreign_origin() -> ToolError {
    ToolError::new(ErrorCode::PermissionDenied, "a page of another site asks")
        .with_hint("allow its origin if it may use this server")
}

/// What follows the word Bearer.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

/// The host that a request is for; nothing if it names none, or several that differ.
fn asked_for(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    let mut hosts = headers.get_all(HOST).iter();
    let header = hosts.next().map(|host| Authority::try_from(host.as_bytes()));
    if hosts.next().is_some() {
        return None;
    }
    match (uri.authority(), header.transpose().ok()?) {
        (Some(one), Some(other)) if *one != other => None,
        (Some(one), _) => Some(one.clone()),
        (None, header) => header,
    }
}

/// Whether a host is this server: localhost, a loopback address, the address that the connection
/// came to, or a name that is allowed.
fn host_is_ours(host: &str, local: Option<IpAddr>, allowed: &[String]) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<IpAddr>() {
        let local = local.map(|local| local.to_canonical());
        return address.is_loopback() || local == Some(address.to_canonical());
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|name| name.eq_ignore_ascii_case(host))
}

/// Whether a peer may use a unix socket: its owner, and root, who may do everything anyway.
pub(super) fn peer_may_ask(owner: u32, peer: u32) -> bool {
    peer == owner || peer == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "0123456789abcdef0123456789abcdef";

    fn headers(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_the_owner_and_root_may_use_a_unix_socket() {
        for (owner, peer, may) in [
            (1000, 1000, true),
            (1000, 0, true),
            (1000, 1001, false),
            (0, 1000, false),
            (1000, 65534, false),
        ] {
            assert_eq!(peer_may_ask(owner, peer), may, "{owner} {peer}");
        }
    }

    #[test]
    fn a_token_that_anybody_can_guess_is_none() {
        for bad in [
            "",
            " ",
            PLACEHOLDER_KEY,
            "short",
            "0123456789abcdef 0123456789",
            "ä".repeat(20).as_str(),
        ] {
            assert_eq!(Token::new(bad).unwrap_err().code, ErrorCode::BadConfiguration, "{bad}");
        }
        assert!(Token::new(&"x".repeat(513)).is_err());
        let token = Token::new(&format!("{GOOD}\n")).unwrap();
        assert!(token.is(GOOD.as_bytes()));
        assert!(!format!("{token:?}").contains("0123"));
    }

    #[test]
    fn only_the_whole_token_is_accepted() {
        let access = Access::new(Token::new(GOOD).unwrap());
        let check = |value: &str| access.check_token(&headers(&[(AUTHORIZATION, value)]));
        assert!(check(&format!("Bearer {GOOD}")).is_ok());
        assert!(check(&format!("bearer  {GOOD}")).is_ok());
        for bad in [
            "Bearer",
            "Bearer ",
            GOOD,
            "Basic abc",
            &format!("Bearer {}", &GOOD[1..]),
            &format!("Bearer {GOOD}0"),
        ] {
            let error = check(bad).unwrap_err();
            assert_eq!(error.code, ErrorCode::Unauthenticated, "{bad}");
            assert!(error.hint.is_some());
            assert!(!error.message.contains(&GOOD[1..]));
        }
        assert!(access.check_token(&HeaderMap::new()).is_err());
        let mut twice = headers(&[(AUTHORIZATION, &format!("Bearer {GOOD}"))]);
        twice.append(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert!(access.check_token(&twice).is_err());
    }

    #[test]
    fn the_placeholder_is_refused_by_name() {
        let access = Access::new(Token::new(GOOD).unwrap());
        let error =
            access.check_token(&headers(&[(AUTHORIZATION, "Bearer dummy-local-key")])).unwrap_err();
        assert!(error.message.contains(PLACEHOLDER_KEY));
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let local = Some("192.168.7.9".parse().unwrap());
        let allowed = vec!["box.example.org".to_owned()];
        for ours in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "192.168.7.9",
            "[::ffff:192.168.7.9]",
            "box.example.org",
        ] {
            assert!(host_is_ours(ours, local, &allowed), "{ours}");
        }
        for other in [
            "",
            "evil.example",
            "localhost.evil.example",
            "192.168.7.8",
            "0.0.0.0",
            "127.0.0.1.nip.io",
            "example.org",
            "[::]",
            "2130706433",
        ] {
            assert!(!host_is_ours(other, local, &allowed), "{other}");
        }
    }

    #[test]
    fn a_request_must_name_one_host() {
        let plain: Uri = "/x".parse().unwrap();
        let whole: Uri = "http://localhost:1/x".parse().unwrap();
        assert!(asked_for(&plain, &HeaderMap::new()).is_none());
        assert!(
            asked_for(&plain, &headers(&[(HOST, "a"), (HOST, "b")])).is_none_or(|host| host == "b")
        );
        let mut two = headers(&[(HOST, "localhost")]);
        two.append(HOST, "evil.example".parse().unwrap());
        assert!(asked_for(&plain, &two).is_none());
        assert!(asked_for(&whole, &headers(&[(HOST, "evil.example")])).is_none());
        assert_eq!(asked_for(&whole, &HeaderMap::new()).unwrap().host(), "localhost");
        assert_eq!(asked_for(&plain, &headers(&[(HOST, "[::1]:80")])).unwrap().host(), "[::1]");
        assert!(asked_for(&plain, &headers(&[(HOST, "a b")])).is_none());
    }

    #[test]
    fn a_page_of_another_site_is_refused_and_an_allowed_one_is_not() {
        let access = Access::new(Token::new(GOOD).unwrap()).allow_origin("https://ours.example");
        let uri: Uri = "/x".parse().unwrap();
        let check = |origin: &str| {
            access.check_origin(&uri, &headers(&[(HOST, "localhost:50051"), (ORIGIN, origin)]))
        };
        for good in ["http://localhost:50051", "https://ours.example"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "null",
            "http://localhost:3000",
            "https://evil.example",
            "http://localhost:50051.evil.example",
            "",
        ] {
            assert_eq!(check(bad).unwrap_err().code, ErrorCode::PermissionDenied, "{bad}");
        }
        assert!(access.check_origin(&uri, &headers(&[(HOST, "localhost")])).is_ok());
    }
}
