//! Pulling from a registry of our own, on loopback.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use stigmer_core::{ErrorCode, WorkspaceManager as _};
use stigmer_docker::{DockerManager, DockerOptions};

use crate::support::*;

/// A user of the registry, and what `htpasswd -B` makes of its password.
const USER: (&str, &str) = ("me", "an example that nobody uses");
const HASH: &str = "$2b$04$/A6ahVP.XmcqNT.UbOnJo.50HpCZeSiXWDNCwnlHEFE5FF5FaAMTa";

/// A registry; it ends with this.
struct Registry {
    child: Child,
    address: String,
    directory: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// Starts one; nothing if there is no program for it.
    fn start(with_password: bool) -> Option<Self> {
        if Command::new("docker-registry").arg("--version").output().is_err() {
            left_out("docker-registry is missing");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        // Taken for a moment: the registry does not say which port it got.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let data = directory.path().join("data");
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            data.display()
        );
        if with_password {
            let passwords = directory.path().join("passwords");
            std::fs::write(&passwords, format!("{}:{HASH}\n", USER.0)).unwrap();
            config +=
                &format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", passwords.display());
        }
        let path = directory.path().join("config.yml");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&path).stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let registry = Self { child, address, directory };
        let began = Instant::now();
        while std::net::TcpStream::connect(&registry.address).is_err() {
            assert!(began.elapsed() < PATIENCE, "the registry does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(registry)
    }

    fn image(&self) -> String {
        format!("{}/stigmer-test/busybox:1", self.address)
    }

    /// Docker's own configuration with the password in it, or without.
    fn configuration(&self, password: Option<&str>) -> PathBuf {
        let directory =
            self.directory.path().join(if password.is_some() { "with" } else { "without" });
        std::fs::create_dir_all(&directory).unwrap();
        let config = match password {
            Some(password) => {
                use base64::Engine as _;
                let auth = format!("{}:{password}", USER.0);
                let auth = base64::engine::general_purpose::STANDARD.encode(auth);
                serde_json::json!({ "auths": { &self.address: { "auth": auth } } })
            }
            None => serde_json::json!({}),
        };
        std::fs::write(directory.join("config.json"), config.to_string()).unwrap();
        directory
    }

    /// Puts an image there that has a layer of its own, and takes it from the engine.
    fn fill(&self) {
        let image = self.image();
        let file = self.directory.path().join("layer");
        std::fs::write(&file, &self.address).unwrap();
        let container = docker(&["create", IMAGE, "true"]);
        docker(&["cp", file.to_str().unwrap(), &format!("{container}:/layer")]);
        docker(&["commit", &container, &image]);
        docker(&["rm", &container]);
        let config = self.configuration(Some(USER.1));
        docker(&["--config", config.to_str().unwrap(), "push", "--quiet", &image]);
        docker(&["rmi", &image]);
    }
}

#[tokio::test]
async fn an_image_that_is_missing_is_pulled_and_told_of() {
    if !engine() {
        return;
    }
    let Some(registry) = Registry::start(false) else { return };
    registry.fill();
    let home = Home::new();
    let image = registry.image();
    let off = DockerOptions { image: image.clone(), ..home.options() };
    let manager = DockerManager::new(off.clone()).unwrap();
    let error = manager.open(&home.site, &quiet).await.map(drop).unwrap_err();
    assert_eq!(error.details["cause"], "image_missing", "{error:?}");
    assert!(error.hint.unwrap().contains(&format!("docker pull {image}")));
    let manager = DockerManager::new(DockerOptions { auto_pull: true, ..off }).unwrap();
    let told = Told::default();
    let executor = manager.open(&home.site, &|progress| told.take(progress)).await.unwrap();
    assert_eq!(text(&*executor, "echo pulled").await, "pulled");
    let told = told.text();
    assert!(told.contains(&format!("pulling image {image}")), "{told}");
    assert!(told.contains("Layer"), "{told}");
    home.over().await;
    docker(&["rmi", &image]);
    // A name that the registry does not have.
    let home = Home::new();
    let image = format!("{}/stigmer-test/nothing:1", registry.address);
    let options = DockerOptions { image, auto_pull: true, ..home.options() };
    let manager = DockerManager::new(options).unwrap();
    let error = manager.open(&home.site, &quiet).await.map(drop).unwrap_err();
    assert_eq!(error.details["cause"], "image_unknown", "{error:?}");
}

#[tokio::test]
async fn an_image_that_was_built_here_is_used_until_the_usual_one_is_there() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let usual = format!("stigmer-test-usual:{}", std::process::id());
    let missing = DockerOptions { image: usual.clone(), ..home.options() };
    let options = DockerOptions { local_image: Some(IMAGE.to_owned()), ..missing.clone() };
    // One that is not here, either.
    let local_image = Some("stigmer-test/none:1".to_owned());
    let manager = DockerManager::new(DockerOptions { local_image, ..missing }).unwrap();
    let error = manager.open(&home.site, &quiet).await.map(drop).unwrap_err();
    assert!(error.message.contains(&usual), "{error}");
    let manager = DockerManager::new(options.clone()).unwrap();
    let told = Told::default();
    let executor = manager.open(&home.site, &|progress| told.take(progress)).await.unwrap();
    assert_eq!(text(&*executor, "echo local").await, "local");
    assert!(told.text().contains(&format!("{usual} is not here: {} is used", IMAGE)));
    let status = manager.status(&home.site).await.unwrap();
    assert_eq!(status.image.as_deref(), Some(IMAGE));
    // Whoever names the usual one does not get another in its stead, and takes nothing away.
    let named = |image: &str| {
        DockerManager::new(DockerOptions { image: image.to_owned(), ..home.options() }).unwrap()
    };
    let error = named(&usual).open(&home.site, &quiet).await.map(drop).unwrap_err();
    assert_eq!(error.details["cause"], "image_missing", "{error:?}");
    // It is the same image by whichever name, with a record and without.
    let other_name = format!("stigmer-test-other:{}", std::process::id());
    docker(&["tag", IMAGE, &other_name]);
    let unnamed = || DockerManager::new(options.clone()).unwrap();
    let told = Told::default();
    for manager in [named(&other_name), named(IMAGE), unnamed(), named(IMAGE)] {
        manager.open(&home.site, &|progress| told.take(progress)).await.unwrap();
        std::fs::remove_file(home.record()).unwrap();
        manager.open(&home.site, &|progress| told.take(progress)).await.unwrap();
    }
    // It stays when the usual one comes, and is no other container for whoever asks again.
    docker(&["commit", "--pause=false", &home.id().await, &usual]);
    for _ in 0..2 {
        unnamed().open(&home.site, &|progress| told.take(progress)).await.unwrap();
        std::fs::remove_file(home.record()).unwrap();
    }
    assert_eq!(manager.status(&home.site).await.unwrap().created_ms, status.created_ms);
    assert!(!told.text().contains("Note"), "{}", told.text());
    named(&usual).open(&home.site, &|progress| told.take(progress)).await.unwrap();
    assert!(told.text().contains(&format!("{usual} is asked for")), "{}", told.text());
    assert_ne!(manager.status(&home.site).await.unwrap().created_ms, status.created_ms);
    home.over().await;
    docker(&["rmi", &usual, &other_name]);
}

#[tokio::test]
async fn a_registry_that_wants_a_password_gets_dockers_own() {
    if !engine() {
        return;
    }
    let Some(registry) = Registry::start(true) else { return };
    registry.fill();
    let home = Home::new();
    let with = |config| DockerOptions {
        image: registry.image(),
        auto_pull: true,
        docker_config: Some(config),
        ..home.options()
    };
    for config in [registry.configuration(None), registry.configuration(Some("wrong"))] {
        let manager = DockerManager::new(with(config)).unwrap();
        let error = manager.open(&home.site, &quiet).await.map(drop).unwrap_err();
        assert_eq!(error.code, ErrorCode::PermissionDenied, "{error:?}");
        assert_eq!(error.details["cause"], "pull_denied", "{error:?}");
        let hint = error.hint.unwrap();
        assert!(hint.contains(&format!("docker login {}", registry.address)), "{hint}");
    }
    let manager = DockerManager::new(with(registry.configuration(Some(USER.1)))).unwrap();
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "echo pulled").await, "pulled");
    home.over().await;
    docker(&["rmi", &registry.image()]);
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_told() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let image = "127.0.0.1:1/stigmer-test/nothing:1".to_owned();
    let options = DockerOptions { image, auto_pull: true, ..home.options() };
    let manager = DockerManager::new(options).unwrap();
    let error = manager.open(&home.site, &quiet).await.map(drop).unwrap_err();
    assert_eq!(error.details["cause"], "registry_unreachable", "{error:?}");
}
