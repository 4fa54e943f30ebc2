//! The settings that say what the place of a workspace is made like, which travel with it.

use stigmer_core::{ErrorCode, Result, ToolError};

use super::parse::Value;
use super::variables::Key;
use crate::secret::without_secrets;

use super::{Configuration, Origin, Resolved, check};

impl Key {
    /// Whether it says what the place of a workspace is made like.
    pub fn is_of_places(self) -> bool {
        // What waits for workspaces is nobody's yet.
        let other = matches!(self, Self::SandboxType | Self::SandboxRootDir | Self::SandboxPool);
        self.setting().name.starts_with("sandbox_") && !other
    }
}

impl Configuration {
    /// What the caller itself has said of the place of a workspace, by flags and environment: names
    /// and values, as they would stand in the file. Values that may be secret are among them.
    pub fn said_of_places(&self) -> Vec<(String, String)> {
        let mut said = Vec::new();
        for key in Key::ALL.iter().filter(|key| key.is_of_places()) {
            let Some(found) = self.get(*key) else { continue };
            if matches!(found.origin, Origin::Flag(_) | Origin::Environment(_)) {
                let text = match &found.value {
                    Value::Secret(secret) => secret.expose().to_owned(),
                    value => value.to_string(),
                };
                said.push((key.setting().name.to_owned(), text));
            }
        }
        let engine = Key::SandboxEngine.setting().name;
        if let Some(address) = &self.around().docker_host
            && !said.iter().any(|(name, _)| name == engine)
        {
            said.push((engine.to_owned(), address.clone()));
        }
        said
    }

    /// These settings with those of a workspace over them.
    ///
    /// # Errors
    /// `bad_configuration` for one that is not known, not valid, or not of places.
    pub(crate) fn with_workspace(&self, settings: &[(String, String)]) -> Result<Self> {
        let mut all = self.clone();
        for (name, text) in settings {
            let Some(key) = Key::named(name).filter(|key| key.is_of_places()) else {
                let message = format!("{name:?} is no setting of a workspace's place");
                return Err(ToolError::new(ErrorCode::BadConfiguration, message)
                    .with_detail("setting", name.as_str())
                    .with_hint("use the same version of stigmer on both sides"));
            };
            let value = check(key, &Origin::Workspace, text)?;
            if let Some(slot) = all.values.get_mut(key as usize) {
                *slot = Some(Resolved { value, origin: Origin::Workspace });
            }
        }
        Ok(all)
    }
}

/// The settings of a workspace after somebody said more. What may be secret is never kept, nor is
/// the engine: it is whoever asks who has one.
pub(crate) fn merged(old: &[(String, String)], said: &[(String, String)]) -> Vec<(String, String)> {
    let kept = |name: &str, value: &str| {
        // The address of a proxy may have a password in it.
        let bare = name != Key::SandboxProxy.setting().name || without_secrets(value) == value;
        let key = Key::named(name);
        bare && key.is_some_and(|key| !key.is_secret() && key != Key::SandboxEngine)
    };
    let mut all: Vec<_> = old.to_vec();
    for (name, value) in said.iter().filter(|(name, value)| kept(name, value)) {
        match all.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => old.clone_from(value),
            None => all.push((name.clone(), value.clone())),
        }
    }
    all
}

/// Tells what is kept with a workspace, if anything is.
pub(crate) fn kept_note(settings: &[(String, String)]) -> Option<String> {
    let shown: Vec<_> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let has = !shown.is_empty();
    has.then(|| format!("kept with the workspace until `workspace rm`: {}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Sources, Surroundings};

    fn load(variables: &[(&str, &str)]) -> Configuration {
        let environment = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let surroundings = Surroundings { environment: environment.collect(), home: None };
        Configuration::load(&Sources { surroundings, ..Sources::default() }).unwrap()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn what_the_caller_said_is_over_what_the_server_has() {
        let caller = load(&[
            ("STIGMER_SANDBOX_IMAGE", "debian:12"),
            ("STIGMER_SANDBOX_ENVIRONMENT", "A=1"),
            ("STIGMER_TIMEOUT", "1s"),
            ("SANDBOX_TYPE", "filesystem"),
            ("DOCKER_HOST", "unix:///d"),
        ]);
        let said = caller.said_of_places();
        let expected = [
            pair("sandbox_image", "debian:12"),
            pair("sandbox_environment", "A=1"),
            pair("sandbox_engine", "unix:///d"),
        ];
        assert_eq!(said, expected);
        let server = load(&[("STIGMER_SANDBOX_IMAGE", "alpine"), ("STIGMER_SANDBOX_PIDS", "64")]);
        let both = server.with_workspace(&said).unwrap();
        let shown = |key| both.get(key).unwrap().value.to_string();
        assert_eq!(
            (shown(Key::SandboxImage), shown(Key::SandboxPids)),
            ("debian:12".into(), "64".into())
        );
        assert!(load(&[]).said_of_places().is_empty());
    }

    #[test]
    fn what_is_no_setting_of_places_is_refused() {
        for (name, value) in [
            ("execution_mode", "local"),
            ("sandbox_root_dir", "/"),
            ("sandbox_image", "A B"),
            ("sidecar", "/tmp/evil"),
            ("x", "y"),
        ] {
            let error = load(&[]).with_workspace(&[pair(name, value)]).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadConfiguration, "{name}");
        }
    }

    #[test]
    fn what_is_said_again_replaces_and_secrets_are_not_kept() {
        let old = [pair("sandbox_image", "a"), pair("sandbox_pids", "64")];
        let said = [
            pair("sandbox_image", "b"),
            pair("sandbox_environment", "T=hunter2"),
            pair("sandbox_engine", "unix:///e"),
            pair("sandbox_proxy", "http://user:hunter2@proxy:1"),
        ];
        assert_eq!(merged(&old, &said), [pair("sandbox_image", "b"), pair("sandbox_pids", "64")]);
    }
}
