//! What commands in a container find in their environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::broker::SHIMS;

/// Where programs are if the image does not say (`environ(7)` names no default; this is Debian's).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Beneath the home: where `pip install` and `npm install -g` put programs.
const BINARIES: [&str; 2] = [".local/bin", NPM_PREFIX_BIN];
const NPM_PREFIX: &str = ".npm-global";
const NPM_PREFIX_BIN: &str = ".npm-global/bin";

/// By which tools find certificate authorities: OpenSSL's users, requests, pip, curl, git, Node.js,
/// npm.
const AUTHORITIES: [&str; 7] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "NPM_CONFIG_CAFILE",
];

/// What the environment is made of.
pub(super) struct Parts<'a> {
    /// The container's own: the image's and what was declared.
    pub(super) own: Vec<(OsString, OsString)>,
    pub(super) name: &'a str,
    pub(super) home: &'a Path,
    /// Whether package managers are asked for by shims.
    pub(super) shims: bool,
    pub(super) ca_bundle: Option<&'a Path>,
}

/// The environment of every command. What was declared is kept, but for who and where the caller is.
pub(super) fn environment(parts: Parts<'_>) -> BTreeMap<OsString, OsString> {
    let Parts { own, name, home, shims, ca_bundle } = parts;
    let mut all: BTreeMap<OsString, OsString> = own.into_iter().collect();
    let path = all.remove(OsStr::new("PATH")).filter(|path| !path.is_empty());
    let mut places = Vec::new();
    places.extend(shims.then(|| OsString::from(SHIMS)));
    places.extend(BINARIES.map(|directory| home.join(directory).into_os_string()));
    let path = path.unwrap_or_else(|| PATH.into());
    // An image of ours has them by itself.
    let more = std::env::split_paths(&path).map(std::path::PathBuf::into_os_string);
    for place in more {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let who = [("HOME", home.as_os_str()), ("USER", name.as_ref()), ("LOGNAME", name.as_ref())];
    all.extend(who.map(|(name, value)| (name.into(), value.to_owned())));
    all.insert("PATH".into(), places.join(OsStr::new(":")));

    let mut unless_declared = |name: &str, value: &OsStr| {
        all.entry(name.into()).or_insert_with(|| value.to_owned());
    };
    // The container is what is isolated; the system's Python is its user's to change.
    unless_declared("PIP_BREAK_SYSTEM_PACKAGES", "1".as_ref());
    unless_declared("NPM_CONFIG_PREFIX", home.join(NPM_PREFIX).as_os_str());
    for name in AUTHORITIES {
        if let Some(bundle) = ca_bundle {
            unless_declared(name, bundle.as_os_str());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(own: &[(&str, &str)], shims: bool) -> BTreeMap<OsString, OsString> {
        environment(Parts {
            own: own.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            name: "me",
            home: Path::new("/h"),
            shims,
            ca_bundle: Some(Path::new("/ca")),
        })
    }

    #[test]
    fn programs_are_looked_for_where_the_caller_installs_them() {
        let path = |own: &[(&str, &str)], shims| made(own, shims)[OsStr::new("PATH")].clone();
        let ours = "/.stigmer/bin:/h/.local/bin:/h/.npm-global/bin:/x";
        assert_eq!(path(&[("PATH", "/x")], true), ours);
        assert_eq!(path(&[("PATH", "/h/.local/bin:/x:/x")], true), ours, "each once");
        assert!(path(&[], false).to_string_lossy().starts_with("/h/.local/bin:/h/.npm"));
        assert!(path(&[("PATH", "")], true).to_string_lossy().ends_with("/sbin:/bin"));
    }

    #[test]
    fn what_was_declared_is_kept_but_for_who_it_is() {
        let own = [("HOME", "/root"), ("PIP_CERT", "/mine"), ("HTTP_PROXY", "p"), ("X", "=y")];
        let made = made(&own, true);
        for (name, value) in [
            ("HOME", "/h"),
            ("USER", "me"),
            ("PIP_CERT", "/mine"),
            ("SSL_CERT_FILE", "/ca"),
            ("HTTP_PROXY", "p"),
            ("NPM_CONFIG_PREFIX", "/h/.npm-global"),
            ("X", "=y"),
        ] {
            assert_eq!(made[OsStr::new(name)], OsStr::new(value), "{name}");
        }
    }
}
