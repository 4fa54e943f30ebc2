//! Credentials of registries, from Docker's own configuration.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use stigmer_core::manager::{Listener, Progress};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::reference;
use crate::options::DockerOptions;

/// What Docker's own registry is called in the configuration.
const HUB: &str = "https://index.docker.io/v1/";

/// The longest configuration, and the longest answer of a helper.
const LONGEST: u64 = 1 << 20;

/// How long a helper may take: some ask a keychain that has to be unlocked.
const HELPER: Duration = Duration::from_secs(30);

/// What a helper says of a user that is no user: the secret is a token.
const TOKEN: &str = "<token>";

/// What of the configuration matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    auths: HashMap<String, Entry>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
    #[serde(rename = "credHelpers")]
    helpers: HashMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// What a helper answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username")]
    username: String,
    #[serde(rename = "Secret")]
    secret: String,
}

/// The credentials for the image's registry, if there are any. A configuration that cannot be used
/// is told of and is none: many images need no credentials.
pub(crate) async fn find(
    options: &DockerOptions,
    listener: Listener<'_>,
) -> Option<DockerCredentials> {
    let registry = reference::registry(&options.image).unwrap_or(HUB);
    let default = || options.user_home.as_ref().map(|home| home.join(".docker"));
    let path = options.docker_config.clone().or_else(default)?.join("config.json");
    match from_file(&path, registry).await {
        Ok(found) => found,
        Err(reason) => {
            let note = format!("credentials of {registry} are not used: {reason}");
            listener(Progress::Note(note));
            None
        }
    }
}

async fn from_file(path: &Path, registry: &str) -> Result<Option<DockerCredentials>, String> {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    // Its errors would quote what may be a secret.
    let config: Config = serde_json::from_slice(&text)
        .map_err(|error| format!("{}: line {} is not understood", path.display(), error.line()))?;
    match config.helper(registry) {
        Some(helper) => match ask(helper, registry).await? {
            Some(found) => Ok(Some(found)),
            None => config.entry(registry),
        },
        None => config.entry(registry),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

/// An address without what may or may not stand around its host.
fn host(address: &str) -> &str {
    let address = address.strip_prefix("https://").unwrap_or(address);
    let address = address.strip_prefix("http://").unwrap_or(address);
    address.split('/').next().unwrap_or(address)
}

impl Config {
    fn helper(&self, registry: &str) -> Option<&str> {
        let own = self.helpers.get(registry).or_else(|| self.helpers.get(host(registry)));
        own.or(self.store.as_ref()).map(String::as_str).filter(|name| !name.is_empty())
    }

    fn entry(&self, registry: &str) -> Result<Option<DockerCredentials>, String> {
        let same = |address: &&String| host(address) == host(registry);
        let exact = self.auths.get(registry);
        let Some(entry) = exact.or_else(|| {
            let address = self.auths.keys().filter(same).min()?;
            self.auths.get(address)
        }) else {
            return Ok(None);
        };
        entry.credentials(registry)
    }
}

impl Entry {
    fn credentials(&self, registry: &str) -> Result<Option<DockerCredentials>, String> {
        let mut found = DockerCredentials {
            username: self.username.clone(),
            password: self.password.clone(),
            identitytoken: self.identitytoken.clone().filter(|token| !token.is_empty()),
            registrytoken: self.registrytoken.clone().filter(|token| !token.is_empty()),
            serveraddress: Some(registry.to_owned()),
            ..DockerCredentials::default()
        };
        if let Some(auth) = self.auth.as_deref().filter(|auth| !auth.is_empty()) {
            let bytes =
                STANDARD.decode(auth).map_err(|_| "its \"auth\" is no base64".to_owned())?;
            let text =
                String::from_utf8(bytes).map_err(|_| "its \"auth\" is no text".to_owned())?;
            let (user, password) =
                text.split_once(':').ok_or_else(|| "its \"auth\" has no colon".to_owned())?;
            found.username = Some(user.to_owned());
            // As Docker does: some tools pad it with zeros.
            found.password = Some(password.trim_end_matches('\0').to_owned());
        }
        let has_any = found.username.is_some()
            || found.identitytoken.is_some()
            || found.registrytoken.is_some();
        Ok(has_any.then_some(found))
    }
}

/// Asks `docker-credential-NAME`; nothing if it has none for this registry.
async fn ask(helper: &str, registry: &str) -> Result<Option<DockerCredentials>, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !helper.bytes().all(plain) {
        return Err("the helper's name is none".to_owned());
    }
    let program = format!("docker-credential-{helper}");
    let asking = async {
        let mut child = tokio::process::Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(registry.as_bytes()).await?;
        }
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(LONGEST).read_to_end(&mut answer).await?;
        }
        Ok::<_, io::Error>((child.wait().await?.success(), answer))
    };
    let (success, answer) = tokio::time::timeout(HELPER, asking)
        .await
        .map_err(|_| format!("{program} took longer than {} s", HELPER.as_secs()))?
        .map_err(|error| format!("{program}: {error}"))?;
    if !success {
        let text = String::from_utf8_lossy(&answer);
        if text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(format!("{program} failed"));
    }
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| format!("the answer of {program} is not understood"))?;
    let mut found = DockerCredentials {
        serveraddress: Some(registry.to_owned()),
        ..DockerCredentials::default()
    };
    if answer.username == TOKEN {
        found.identitytoken = Some(answer.secret);
    } else {
        found.username = Some(answer.username);
        found.password = Some(answer.secret);
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(config: &str, registry: &str) -> Result<Option<DockerCredentials>, String> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        from_file(&path, registry).await
    }

    #[tokio::test]
    async fn entries_are_found_however_their_address_is_written() {
        // me:secret:with colon
        let auth = STANDARD.encode("me:secret:with colon");
        for (address, registry) in [
            ("127.0.0.1:5000", "127.0.0.1:5000"),
            ("https://ghcr.io", "ghcr.io"),
            ("https://ghcr.io/v1/", "ghcr.io"),
            (HUB, HUB),
        ] {
            let config = format!(
                r#"{{"auths": {{"{address}": {{"auth": "{auth}"}}}}, "HttpHeaders": {{}}}}"#
            );
            let found = of(&config, registry).await.unwrap().unwrap();
            assert_eq!(found.username.as_deref(), Some("me"), "{address}");
            assert_eq!(found.password.as_deref(), Some("secret:with colon"));
            assert_eq!(of(&config, "other.example").await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn tokens_are_passed_on() {
        let config = r#"{"auths": {"r.example": {"auth": "", "identitytoken": "t"}}}"#;
        let found = of(config, "r.example").await.unwrap().unwrap();
        assert_eq!(found.identitytoken.as_deref(), Some("t"));
        assert_eq!(of(r#"{"auths": {"r.example": {}}}"#, "r.example").await.unwrap(), None);
    }

    #[tokio::test]
    async fn no_configuration_is_no_credentials() {
        assert_eq!(from_file(Path::new("/nowhere/config.json"), "r").await.unwrap(), None);
        assert_eq!(of("{}", "r").await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_said_without_the_secret() {
        for bad in [
            "{ \"auths\": { \"r\": { \"auth\": \"secret",
            r#"{"auths": {"r": {"auth": "secret!"}}}"#,
            r#"{"auths": {"r": {"auth": "c2VjcmV0"}}}"#,
            r#"{"auths": {"r": "secret"}}"#,
            r#"{"credsStore": "../secret"}"#,
            r#"{"credsStore": "of-nobody-at-all"}"#,
        ] {
            let reason = of(bad, "r").await.unwrap_err();
            assert!(!reason.contains("secret"), "{reason}");
        }
    }

    #[test]
    fn a_registrys_own_helper_comes_before_the_store() {
        let config = r#"{"credsStore": "store", "credHelpers": {"r.example": "own"}}"#;
        let config: Config = serde_json::from_str(config).unwrap();
        assert_eq!(config.helper("r.example"), Some("own"));
        assert_eq!(config.helper("other.example"), Some("store"));
        assert_eq!(Config::default().helper("r.example"), None);
    }
}
