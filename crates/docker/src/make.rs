//! Making a container: the image, the request, the start, and the proof that its files are the
//! workspace's.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use stigmer_api::client::RemoteExecutor;
use stigmer_core::manager::{Listener, Progress, Site};
use stigmer_core::{ErrorCode, Result, ToolError};
use tokio::sync::Semaphore;

use crate::create::{Plan, number, text, user};
use crate::engine::{EngineError, Facts, Framed, Kind};
use crate::executor::ContainerExecutor;
use crate::manager::DockerManager;
use crate::names::{CREATED, DIRECTORY, labels, volumes};
use crate::options::Network;
use crate::pool::Claim;
use crate::pull;
use crate::record::{Files, Record, Way};
use crate::root::Root;
use crate::shared::Place;
use crate::transport::{Reach, has_no_socket};
use crate::volume::archive;

/// How long a container may take from its start until its sidecar answers.
pub(crate) const START: Duration = Duration::from_secs(30);

/// The same for one that was started before, by somebody else: it answers, or will not.
const ADOPTION: Duration = Duration::from_secs(10);

/// How many containers this program makes at once. Side by side an engine makes as many in half the
/// time, but each of very many would take longer than one may: of fifty on two processors the last
/// answers after twelve seconds.
static MAKING: Semaphore = Semaphore::const_new(64);

/// How long the socket of a sidecar that listens may stay out of sight before it is reached through
/// the engine instead.
const SIGHT: Duration = Duration::from_millis(500);

/// Between looks for the socket: nothing tells when a file appears in a directory that may be on
/// any file system.
pub(crate) const LOOK: Duration = Duration::from_millis(3);

/// What the sidecar says on its standard error once it can be reached.
const LISTENING: &str = "listening on";

/// Runtimes in which a bound socket cannot be seen from outside.
const UNSEEN: &[&str] = &["runsc", "gvisor"];

/// What came of making a container.
pub(crate) enum Made {
    Ready(Arc<ContainerExecutor>),
    /// Somebody else makes it at this moment.
    NameTaken,
}

impl DockerManager {
    pub(crate) async fn make(
        &self,
        site: &Site,
        root: &Root,
        place: &Place,
        listener: Listener<'_>,
    ) -> Result<Made> {
        if let Some(wanted) = &self.options.instead_of {
            let note = format!("{wanted} is not here: {} is used instead", self.options.image);
            listener(Progress::Note(note));
        }
        match self.claim(site, root, place, listener).await? {
            Claim::Made(made) => return Ok(made),
            Claim::None => {}
        }
        let facts = async { Ok(self.engine.facts().await?) };
        let image = pull::ensure(&self.engine, &self.options, listener);
        // An engine runs other programs to answer the first, which takes it longer than all else.
        let (facts, image_id) = tokio::try_join!(facts, image)?;
        if self.options.pool > 0 && facts.rootless {
            let note = "a rootless engine has no right to mount, so no container waits in a pool";
            listener(Progress::Note(note.to_owned()));
        }
        let _turn = MAKING.acquire().await;
        place.clear_socket()?;
        listener(Progress::Step("creating container".to_owned()));
        match self.attempt(site, root, place, &facts, &image_id, Files::Mounted, listener).await? {
            Attempt::Made(made) => Ok(made),
            Attempt::Unseen => {
                let note = "the engine does not see the workspace's directory: the container works on a copy in a volume";
                listener(Progress::Note(note.to_owned()));
                let files = Files::Copied;
                match self.attempt(site, root, place, &facts, &image_id, files, listener).await? {
                    Attempt::Made(made) => Ok(made),
                    Attempt::Unseen => {
                        let message = "the engine does not see the workspace's directory";
                        Err(ToolError::new(ErrorCode::Io, message))
                    }
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "all that is known by then")]
    async fn attempt(
        &self,
        site: &Site,
        root: &Root,
        place: &Place,
        facts: &Facts,
        image_id: &str,
        files: Files,
        listener: Listener<'_>,
    ) -> Result<Attempt> {
        let name = self.home.container(&site.workspace);
        let (id, mut notes) = match self.create(site, root, place, facts, files, &name).await {
            Ok(made) => made,
            Err(Failed::Engine(failed)) if failed.kind == Kind::NameTaken => {
                return Ok(Attempt::Made(Made::NameTaken));
            }
            Err(Failed::Engine(failed))
                if failed.kind == Kind::MountMissing
                    && files == Files::Mounted
                    && self.is_ours(place, site.root.as_path(), &failed) =>
            {
                return Ok(Attempt::Unseen);
            }
            Err(failed) => return Err(failed.into()),
        };
        let user = user(self.options.owner, facts);
        let reach = self.reach(place, &id, &name, &user);
        let started = async {
            if files == Files::Copied {
                let archive = archive(&self.options, facts, site.root.as_path())?;
                self.engine.put(&id, archive).await?;
            }
            let said = self.engine.attach(&id).await?;
            self.engine.start(&id).await?;
            arrive(&reach, Some(said), files, self.options.runtime.as_deref()).await
        };
        let (way, remote) = match started.await {
            Ok(started) => started,
            Err(error) => {
                // What does not work is not left behind; if that fails, too, the next use does it.
                let _ = self.engine.remove(&id).await;
                return Err(error);
            }
        };
        let executor = ContainerExecutor::new(remote, Arc::clone(&reach.warden));
        match self.prove_or_fill(root, &executor, &id, files).await {
            Ok(more) => notes.extend(more),
            Err(error) if files == Files::Mounted && error.code == ErrorCode::NotFound => {
                self.engine.remove(&id).await?;
                // The engine sees what has the path by then, which somebody may have changed.
                root.check()?;
                return Ok(Attempt::Unseen);
            }
            Err(error) => {
                let _ = self.engine.remove(&id).await;
                return Err(error);
            }
        }
        notes.iter().for_each(|note| listener(Progress::Note(note.clone())));
        let found = self.engine.container(&id).await?.ok_or_else(|| {
            let message = format!("the container {name} was removed while it was made");
            ToolError::new(ErrorCode::Unavailable, message)
        })?;
        let record = Record {
            image_id: image_id.to_owned(),
            ..self.record(site, root, &found, way, files, &user, notes)
        };
        record.write(place.path())?;
        Ok(Attempt::Made(Made::Ready(self.keep(site, &record, executor))))
    }

    /// Makes sure that a container can be had before another one goes for it: the image and the network
    /// are there, and the engine takes the request. Whether a port is free only its start can tell,
    /// since the one that goes may have it.
    pub(crate) async fn rehearse(
        &self,
        site: &Site,
        root: &Root,
        place: &Place,
        listener: Listener<'_>,
    ) -> Result<()> {
        let facts = async { Ok(self.engine.facts().await?) };
        let image = pull::ensure(&self.engine, &self.options, listener);
        let network = async {
            match &self.options.network {
                Network::Named(name) => Ok(self.engine.network(name).await?),
                Network::Bridge | Network::None | Network::Host => Ok(()),
            }
        };
        let (facts, _, ()) = tokio::try_join!(facts, image, network)?;
        let name = format!("{}-next", self.home.container(&site.workspace));
        // One whose maker died.
        if let Some(found) = self.ours(&name, &site.workspace).await? {
            self.engine.remove(&found.id).await?;
        }
        match self.create(site, root, place, &facts, Files::Mounted, &name).await {
            Ok((id, _)) => Ok(self.engine.remove(&id).await?),
            Err(Failed::Engine(failed))
                if failed.kind == Kind::MountMissing
                    && self.is_ours(place, site.root.as_path(), &failed) =>
            {
                Ok(())
            }
            Err(failed) => Err(failed.into()),
        }
    }

    /// Creates it; returns its id and what is to be noted.
    pub(crate) async fn create(
        &self,
        site: &Site,
        directory: &Root,
        place: &Place,
        facts: &Facts,
        files: Files,
        name: &str,
    ) -> Result<(String, Vec<String>), Failed> {
        let root = text(site.root.as_path()).map_err(Failed::Tool)?;
        let shared = text(&place.shared()).map_err(Failed::Tool)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut labels = labels(&self.home, &site.workspace, &site.root, &self.fingerprint(site));
        labels.insert(CREATED.to_owned(), now.to_string());
        if files == Files::Mounted {
            labels.insert(DIRECTORY.to_owned(), directory.directory().to_string());
        }
        let plan = Plan {
            options: &self.options,
            facts,
            number: number(&site.workspace),
            root: Some(&root),
            shared: &shared,
            files,
            quota: facts.quota,
            labels,
            volumes: &volumes(name),
        };
        self.ask_for(plan, name).await
    }

    /// Asks the engine for it; returns its id and what is to be noted. An engine that cannot limit the
    /// disk is asked again without.
    pub(crate) async fn ask_for(
        &self,
        plan: Plan<'_>,
        name: &str,
    ) -> Result<(String, Vec<String>), Failed> {
        let image = &self.options.image;
        let body = plan.body().map_err(Failed::Tool)?;
        let mut notes = crate::disk::notes(self.options.disk, plan.quota);
        let facts = plan.facts;
        let made = match self.engine.create(name, image, body).await {
            Err(failed) if failed.kind == Kind::Quota && plan.quota => {
                let plan = Plan { quota: false, ..plan };
                notes = crate::disk::notes(self.options.disk, false);
                let body = plan.body().map_err(Failed::Tool)?;
                self.engine.create(name, image, body).await
            }
            other => other,
        };
        let (id, warnings) = made.map_err(|failed| Failed::Engine(self.named(failed)))?;
        notes.extend(warnings);
        if let Some(wanted) = self.options.cpus.filter(|wanted| *wanted > facts.cpus) {
            notes.push(format!(
                "{wanted} processors are asked for, and the engine has {}",
                facts.cpus
            ));
        }
        if !facts.lacks.is_empty() {
            notes.push(format!("the engine gives this container {}", facts.lacks.join(", ")));
        }
        if facts.selinux {
            notes.push("SELinux does not confine this container: its labels are off, so that the workspace's files keep theirs".to_owned());
        }
        Ok((id, notes))
    }

    /// Whether the path that the engine misses is one that we have made sure of.
    fn is_ours(&self, place: &Place, root: &Path, failed: &EngineError) -> bool {
        let ours = [root, &self.options.sidecar, &place.shared()];
        ours.iter().any(|path| path.exists() && misses(failed, path))
    }

    /// The failure, with the setting that named what is missing.
    fn named(&self, failed: EngineError) -> EngineError {
        let options = &self.options;
        let home = options.user_home.as_deref().unwrap_or(Path::new("/"));
        let mut credentials = options.credentials.iter().map(|one| home.join(one.directory()));
        let setting = if options.ca_bundle.as_deref().is_some_and(|path| misses(&failed, path)) {
            "sandbox_ca_bundle"
        } else if credentials.any(|path| misses(&failed, &path)) {
            "sandbox_credentials"
        } else {
            return failed;
        };
        let hint = format!("`{setting}` asks for it: make it, or set that otherwise");
        let error = failed.error.with_detail("setting", setting).with_hint(hint);
        EngineError { error: Box::new(error), ..failed }
    }
}

/// Whether this is the path that an engine says it misses. Docker Desktop says it as its own machine
/// has it.
fn misses(failed: &EngineError, path: &Path) -> bool {
    let said = failed.error.message.split_once("bind source path does not exist: ");
    // As messages have it.
    let path = path.to_string_lossy().split_whitespace().collect::<Vec<_>>().join(" ");
    said.is_some_and(|(_, said)| said == path || said.strip_prefix("/host_mnt") == Some(&path))
}

enum Attempt {
    Made(Made),
    /// The engine does not see our files.
    Unseen,
}

pub(crate) enum Failed {
    Engine(EngineError),
    Tool(ToolError),
}

impl From<Failed> for ToolError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Engine(failed) => failed.into(),
            Failed::Tool(error) => error,
        }
    }
}

/// Waits until the sidecar answers, and finds the way to it. `said` is what the container writes.
pub(crate) async fn arrive(
    reach: &Reach,
    mut said: Option<Framed>,
    files: Files,
    runtime: Option<&str>,
) -> Result<(Way, RemoteExecutor)> {
    let seen = files == Files::Mounted && !runtime.is_some_and(|name| UNSEEN.contains(&name));
    let began = Instant::now();
    let limit = if said.is_some() { START } else { ADOPTION };
    // Of one that was started before nothing is heard: it listens, or never will.
    let mut listens = said.is_none().then_some(began);
    let mut last = None;
    loop {
        if seen {
            match reach.place.connect().await {
                Ok(_) => match reach.open(Way::Socket).await {
                    Ok(remote) => return Ok((Way::Socket, remote)),
                    // Whoever listens there does not answer on another way either. That is no sidecar
                    // which is about to start: nothing was said of one.
                    Err(error) if silent(&error) && said.is_none() => return Err(recover(error)),
                    Err(error) => last = Some(error),
                },
                // Somebody tampers with it: who does that is asked nothing through the engine.
                Err(error) if error.code == ErrorCode::PermissionDenied => return Err(error),
                Err(_) => {}
            }
        }
        if listens.is_some_and(|since| !seen || since.elapsed() > SIGHT) {
            let opened = match &said {
                None if seen => reach.open_without_socket().await,
                _ => reach.open(Way::Exec).await,
            };
            match opened {
                Err(error) if has_no_socket(&error) => return Err(error),
                Ok(remote) => return Ok((Way::Exec, remote)),
                Err(error) if silent(&error) && said.is_none() => return Err(recover(error)),
                Err(error) => last = Some(error),
            }
        }
        if reach.warden.is_gone() || began.elapsed() > limit {
            let late = || {
                let message = format!(
                    "the sidecar in container {} does not answer within {} s",
                    reach.warden.name(),
                    limit.as_secs()
                );
                ToolError::new(ErrorCode::DeadlineExceeded, message)
            };
            return Err(recover(last.unwrap_or_else(late)));
        }
        let heard = async {
            match &mut said {
                Some(said) => said.hear().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            more = heard => {
                let words = said.as_ref().map(Framed::stderr).unwrap_or_default();
                if !more.unwrap_or(false) {
                    return Err(ended(reach.warden.name(), &words));
                }
                if words.contains(LISTENING) {
                    listens.get_or_insert_with(Instant::now);
                }
            }
        }
    }
}

/// Whether somebody is there and says nothing.
fn silent(error: &ToolError) -> bool {
    error.code == ErrorCode::DeadlineExceeded && !error.details.contains_key("cause")
}

fn recover(error: ToolError) -> ToolError {
    error.with_hint("`stigmer workspace recover` makes a new container")
}

pub(crate) fn ended(name: &str, words: &str) -> ToolError {
    let words = if words.is_empty() { "it said nothing" } else { words };
    let message = format!("the container {name} ended at its start: {words}");
    ToolError::new(ErrorCode::Io, message)
        .with_detail("container", name)
        .with_detail("cause", "container_cannot_start")
        .with_hint("is the image for Linux and for this machine's architecture?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::errors::{Asked, Said};

    #[test]
    fn a_path_that_is_missing_is_no_other_of_the_same_beginning() {
        let failed = |path: &str| {
            let text = format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {path}"
            );
            EngineError::of(&Said::Status(400, text), &Asked::default())
        };
        for said in ["/w/p  3", "/w/p 3", "/host_mnt/w/p 3"] {
            assert!(misses(&failed(said), Path::new("/w/p  3")), "{said}");
        }
        for said in ["/w/p 3-nosuch", "/w/p 3/inner", "/other/w/p 3", "/w/p"] {
            assert!(!misses(&failed(said), Path::new("/w/p  3")), "{said}");
        }
    }
}
