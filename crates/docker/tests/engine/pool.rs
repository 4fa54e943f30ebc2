//! Containers that wait for a workspace.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stigmer_core::manager::{PlaceState, Site};
use stigmer_core::process::StartProcess;
use stigmer_core::{ErrorCode, WorkspaceId, WorkspaceManager as _};
use stigmer_docker::{DockerManager, DockerOptions, Port};

use crate::relay::{Passage, Relay};
use crate::support::*;

/// A home whose pool has containers; they go with it.
struct Pooled {
    home: Home,
    options: DockerOptions,
}

impl Pooled {
    /// A home in which so many containers wait.
    async fn with(count: u32) -> Option<Self> {
        if !engine() {
            return None;
        }
        let home = Home::new();
        let options = DockerOptions { pool: count, ..home.options() };
        let pooled = Self { home, options };
        let made = pooled.manager().refill().await.unwrap();
        assert_eq!(made, usize::try_from(count).unwrap());
        Some(pooled)
    }

    fn manager(&self) -> DockerManager {
        DockerManager::new(self.options.clone()).unwrap()
    }

    fn with_pool(&self, pool: u32) -> DockerManager {
        DockerManager::new(DockerOptions { pool, ..self.options.clone() }).unwrap()
    }

    fn pool(&self) -> PathBuf {
        self.home.state().join("pool")
    }

    /// The directories of the containers that wait.
    fn directories(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.pool()).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.join("entry.json").exists()).collect()
    }

    /// The containers that wait.
    fn waiting(&self) -> Vec<String> {
        self.directories().iter().map(|path| container_of(path)).collect()
    }

    /// Every container of this home, whatever it is for.
    fn all(&self) -> Vec<String> {
        let name = format!("name={}", self.prefix());
        let all = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &name]);
        all.lines().map(str::to_owned).collect()
    }

    /// What the names of all containers of this home begin with.
    fn prefix(&self) -> String {
        let waiting = self.waiting();
        let known = waiting.first().cloned().unwrap_or_else(|| self.keeper_by_mount());
        let name = docker(&["inspect", "--format", "{{.Name}}", &known]);
        name.trim_start_matches('/').split('-').take(2).collect::<Vec<_>>().join("-")
    }

    fn keeper_by_mount(&self) -> String {
        let volume = format!("volume={}", self.pool().join("keeper").display());
        docker(&["ps", "--quiet", "--filter", "label=dev.stigmer.kind=keeper", "--filter", &volume])
    }

    async fn over(self) {
        let prefix = self.prefix();
        let manager = self.with_pool(0);
        manager.reap(&|_| false).await.unwrap();
        let name = format!("name={prefix}");
        assert_eq!(docker(&["ps", "--all", "--quiet", "--filter", &name]), "");
        let left: Vec<_> = std::fs::read_dir(self.home.state()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Pooled {
    /// Also when a test fails.
    fn drop(&mut self) {
        for path in self.directories() {
            let _ = std::process::Command::new("docker")
                .args(["rm", "--force", &container_of(&path), &self.keeper_by_mount()])
                .output();
        }
    }
}

fn container_of(directory: &Path) -> String {
    let entry = std::fs::read(directory.join("entry.json")).unwrap();
    let entry: serde_json::Value = serde_json::from_slice(&entry).unwrap();
    entry["container"].as_str().unwrap().to_owned()
}

/// Another workspace of the same home.
fn other(home: &Home) -> Site {
    let root = home.root().parent().unwrap().join("other");
    std::fs::create_dir_all(&root).unwrap();
    let number = u64::from_str_radix(home.site.workspace.as_str().trim_start_matches("ws-"), 16);
    Site { workspace: WorkspaceId::from_number(number.unwrap() | 1 << 31), root: root.into() }
}

#[tokio::test]
async fn a_workspace_gets_a_container_that_waited_and_it_is_as_any_other() {
    let Some(pooled) = Pooled::with(1).await else { return };
    let waited = pooled.waiting();
    let home = &pooled.home;
    assert_eq!(home.manager().list().await.unwrap(), [], "nobody's is no workspace's");
    std::fs::write(home.root().join("here"), "before").unwrap();
    let (manager, told) = (pooled.manager(), Told::default());
    let executor = manager.open(&home.site, &|progress| told.take(progress)).await.unwrap();
    assert_eq!([home.id().await], *waited, "{}", told.text());
    assert!(!told.text().contains("Note"), "{}", told.text());
    let uid = rustix::process::geteuid().as_raw();
    let wanted = format!("{}\n{uid}\nbefore\n{}", home.site.root, home.site.root);
    let said = "pwd; id -u; cat here; echo; echo made > made; cd -P /workspace; pwd";
    assert_eq!(text(&*executor, said).await, wanted);
    assert_eq!(std::fs::metadata(home.root().join("made")).unwrap().uid(), uid);
    let status = manager.status(&home.site).await.unwrap();
    assert_eq!((status.state, status.reason), (PlaceState::Ready, None));
    assert_eq!(status.image.as_deref(), Some(IMAGE));
    assert!(status.created_ms.is_some_and(|when| when > 0));
    let listed = manager.list().await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0].workspace, &listed[0].root), (&home.site.workspace, &home.site.root));

    // Nobody asks the engine when all is well; and who knows nothing of it adopts it.
    let relay = Relay::new();
    let without = DockerOptions { engine: Some(relay.address()), ..pooled.options.clone() };
    for passage in [Passage::Open, Passage::Cut] {
        relay.set(passage);
        let manager = DockerManager::new(without.clone()).unwrap();
        manager.open(&home.site, &quiet).await.unwrap();
    }
    std::fs::remove_file(home.record()).unwrap();
    pooled.with_pool(0).open(&home.site, &quiet).await.unwrap();
    assert_eq!([home.id().await], *waited);
    assert_eq!(manager.stop(&home.site).await.unwrap().state, PlaceState::Stopped);
    assert_eq!(manager.start(&home.site, &quiet).await.unwrap().state, PlaceState::Ready);
    assert_eq!([home.id().await], *waited);

    // Other settings replace it, as any other.
    let changed = DockerOptions { environment: vec![("A".into(), "b".into())], ..home.options() };
    let changed = DockerManager::new(changed).unwrap();
    let executor = changed.open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "echo $A").await, "b");
    assert_ne!([home.id().await], *waited);
    pooled.over().await;
}

#[tokio::test]
async fn claims_at_the_same_time_take_different_containers_and_the_pool_is_filled_again() {
    let Some(pooled) = Pooled::with(2).await else { return };
    let home = &pooled.home;
    let mut waited = pooled.waiting();
    let sites = [home.site.clone(), other(home)];
    let managers = [pooled.manager(), pooled.manager()];
    let opening = sites.iter().zip(&managers).map(|(site, manager)| manager.open(site, &quiet));
    let mut taken = Vec::new();
    for (opened, site) in futures_util::future::join_all(opening).await.into_iter().zip(&sites) {
        assert_eq!(text(&*opened.unwrap(), "pwd").await, site.root.to_string());
        let name = managers[0].status(site).await.unwrap().name.unwrap();
        taken.push(docker(&["inspect", "--format", "{{.Id}}", &name]));
    }
    waited.sort();
    taken.sort();
    assert_eq!(taken, waited);
    assert!(pooled.waiting().is_empty());
    // Whoever fills it at the same time makes no more than there shall be.
    let refilled = tokio::join!(managers[0].refill(), managers[1].refill());
    assert_eq!(refilled.0.unwrap() + refilled.1.unwrap(), 2);
    let waiting = pooled.waiting();
    assert_eq!(waiting.len(), 2);
    assert!(waiting.iter().all(|one| !taken.contains(one)), "none is used again");
    // Fewer shall wait, and then none.
    assert_eq!(pooled.with_pool(1).refill().await.unwrap(), 0);
    assert_eq!(pooled.waiting().len(), 1);
    assert_eq!(pooled.all().len(), 4, "two workspaces, one that waits, and the keeper");
    assert_eq!(pooled.with_pool(0).reap(&|_| true).await.unwrap(), 2);
    assert!(!pooled.pool().exists());
    assert_eq!(managers[0].list().await.unwrap().len(), 2);
    managers[0].refill().await.unwrap();
    pooled.over().await;
}

#[tokio::test]
async fn a_container_of_other_settings_or_another_image_is_never_used() {
    let Some(pooled) = Pooled::with(1).await else { return };
    let home = &pooled.home;
    let waited = pooled.waiting();
    let mut changed =
        DockerOptions { environment: vec![("A".into(), "b".into())], ..pooled.options.clone() };
    let executor = DockerManager::new(changed.clone()).unwrap();
    let executor = executor.open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "echo $A").await, "b");
    assert_ne!([home.id().await], *waited);
    // Whoever fills the pool removes what would wait in vain.
    assert_eq!(DockerManager::new(changed.clone()).unwrap().refill().await.unwrap(), 1);
    assert!(pooled.waiting().iter().all(|one| !waited.contains(one)));

    // An image that has the same name and is another.
    let tag = format!("stigmer-test-pool-{}:local", home.site.workspace);
    docker(&["tag", IMAGE, &tag]);
    changed.image = tag.clone();
    let manager = DockerManager::new(changed.clone()).unwrap();
    assert_eq!(manager.refill().await.unwrap(), 1);
    let waited = pooled.waiting();
    docker(&["rmi", &tag]);
    let format = "{{.Id}}";
    let made = docker(&["create", IMAGE, "true"]);
    docker(&["commit", &made, &tag]);
    docker(&["rm", &made]);
    assert_ne!(docker(&["inspect", "--format", format, &tag]), "");
    let (site, told) = (other(home), Told::default());
    manager.open(&site, &|progress| told.take(progress)).await.unwrap();
    assert!(told.text().contains("the image has changed"), "{}", told.text());
    let name = manager.status(&site).await.unwrap().name.unwrap();
    assert_ne!([docker(&["inspect", "--format", format, &name])], *waited);
    assert!(pooled.waiting().is_empty());
    manager.refill().await.unwrap();
    pooled.over().await;
    docker(&["rmi", &tag]);
}

#[tokio::test]
async fn without_a_container_that_waits_or_a_keeper_one_is_made() {
    let Some(pooled) = Pooled::with(1).await else { return };
    let home = &pooled.home;
    let waited = pooled.waiting();
    docker(&["kill", &pooled.keeper_by_mount()]);
    let (manager, told) = (pooled.manager(), Told::default());
    let executor = manager.open(&home.site, &|progress| told.take(progress)).await.unwrap();
    assert_eq!(text(&*executor, "echo cold").await, "cold");
    assert!(told.text().contains("keeper"), "{}", told.text());
    assert_ne!([home.id().await], *waited);
    assert_eq!(pooled.waiting(), waited, "what waits is kept for another keeper");
    assert_eq!(manager.refill().await.unwrap(), 0);
    // One that died meanwhile is not noticed, but for the time that another takes.
    docker(&["kill", &waited[0]]);
    let (site, told) = (other(home), Told::default());
    let executor = manager.open(&site, &|progress| told.take(progress)).await.unwrap();
    assert_eq!(text(&*executor, "echo cold").await, "cold");
    assert!(!told.text().contains("Note"), "{}", told.text());
    assert!(pooled.waiting().is_empty());
    assert_eq!(manager.refill().await.unwrap(), 1);
    pooled.over().await;
}

#[tokio::test]
async fn what_a_claim_that_broke_off_left_is_never_used() {
    let Some(pooled) = Pooled::with(2).await else { return };
    let home = &pooled.home;
    let manager = pooled.manager();
    let place = home.record().parent().unwrap().to_owned();
    let break_off = || {
        let directory = pooled.directories().pop().unwrap();
        std::fs::create_dir_all(&place).unwrap();
        std::fs::rename(&directory, place.join("claimed")).unwrap();
        container_of(&place.join("claimed"))
    };
    let name = format!("{}-{}", pooled.prefix(), home.site.workspace);
    // Its maker died before it had the workspace's name, and after.
    for renamed in [false, true] {
        let broken = break_off();
        if renamed {
            docker(&["rename", &broken, &name]);
        }
        manager.open(&home.site, &quiet).await.unwrap();
        assert_ne!(home.id().await, broken);
        assert!(!place.join("claimed").exists() && !pooled.all().contains(&broken));
        docker(&["rm", "--force", &name]);
        manager.refill().await.unwrap();
    }
    // Who only cleans up removes it, too.
    let broken = break_off();
    manager.reap(&|_| true).await.unwrap();
    assert!(!pooled.all().contains(&broken) && !place.join("claimed").exists());
    manager.refill().await.unwrap();
    pooled.over().await;
}

#[tokio::test]
async fn what_is_left_over_of_a_pool_is_cleared_away() {
    let Some(pooled) = Pooled::with(2).await else { return };
    let manager = pooled.manager();
    let [first, second] = <[PathBuf; 2]>::try_from(pooled.directories()).unwrap();
    let (stray, dead) = (container_of(&first), container_of(&second));
    std::fs::remove_dir_all(&first).unwrap();
    docker(&["rm", "--force", &dead]);
    assert_eq!(manager.reap(&|_| true).await.unwrap(), 2);
    assert!(!pooled.all().contains(&stray));
    assert!(pooled.waiting().is_empty());
    assert_eq!(manager.refill().await.unwrap(), 2);
    pooled.over().await;
}

#[tokio::test]
async fn what_waits_in_vain_goes_when_its_time_is_over() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let ttl = Some(Duration::from_secs(3));
    let options = DockerOptions { pool: 1, ttl, ..home.options() };
    let pooled = Pooled { home, options };
    pooled.manager().refill().await.unwrap();
    let (waits, keeper) = (pooled.waiting().remove(0), pooled.keeper_by_mount());
    for id in [&waits, &keeper] {
        // It may be gone already.
        let _ = std::process::Command::new("docker").args(["wait", id]).output().unwrap();
    }
    let (manager, told) = (pooled.manager(), Told::default());
    let executor = manager.open(&pooled.home.site, &|progress| told.take(progress)).await.unwrap();
    assert_eq!(text(&*executor, "echo cold").await, "cold");
    manager.refill().await.unwrap();
    assert!(!pooled.waiting().contains(&waits));
    pooled.over().await;
}

#[tokio::test]
async fn what_is_known_of_a_workspaces_commands_stays() {
    let Some(pooled) = Pooled::with(1).await else { return };
    let home = &pooled.home;
    let executor = home.manager().open(&home.site, &quiet).await.unwrap();
    let done = run(&*executor, "echo output").await;
    let started = executor.start_process(StartProcess::shell("sleep 1000")).await.unwrap();
    docker(&["rm", "--force", &home.name().await]);
    let waited = pooled.waiting();
    let executor = pooled.manager().open(&home.site, &quiet).await.unwrap();
    assert_eq!([home.id().await], *waited);
    assert_eq!(executor.process(&done.id).await.unwrap().output_bytes, 7);
    let lost = executor.process(&started.id).await.unwrap();
    assert_eq!(lost.state, stigmer_core::process::ProcessState::Lost);
    pooled.manager().refill().await.unwrap();
    pooled.over().await;
}

#[tokio::test]
async fn a_directory_that_a_link_leads_to_or_that_is_not_there_is_not_mounted() {
    let Some(pooled) = Pooled::with(1).await else { return };
    let home = &pooled.home;
    let manager = pooled.manager();
    let mut site = other(home);
    site.root = home.root().parent().unwrap().join("missing").into();
    let error = manager.open(&site, &quiet).await.map(drop).unwrap_err();
    let cold = home.manager().open(&site, &quiet).await.map(drop).unwrap_err();
    assert_eq!(error.code, cold.code, "{error}");
    manager.refill().await.unwrap();
    let link = home.root().parent().unwrap().join("link");
    std::os::unix::fs::symlink(home.root(), &link).unwrap();
    let (told, waited) = (Told::default(), pooled.waiting());
    let site = Site { root: link.into(), ..home.site.clone() };
    manager.open(&site, &|progress| told.take(progress)).await.map(drop).unwrap_err();
    assert_eq!(told.text(), "[]", "nothing was begun");
    assert!(pooled.all().contains(&waited[0]), "no container of the pool is spent on it");
    manager.refill().await.unwrap();
    pooled.over().await;
}

#[tokio::test]
async fn what_cannot_be_had_with_a_pool_is_refused() {
    let home = Home::new();
    let port = Port { address: [127, 0, 0, 1].into(), host: 8080, container: 80 };
    let options = DockerOptions { pool: 1, ports: vec![port], ..home.options() };
    let error = DockerManager::new(options).map(drop).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadConfiguration);
    let options = DockerOptions { pool: 1, runtime: Some("runsc".to_owned()), ..home.options() };
    let error = DockerManager::new(options).map(drop).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadConfiguration);
}
