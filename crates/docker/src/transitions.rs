//! Changes of a workspace's container. Whoever makes one holds the workspace's lock; the engine
//! settles by the container's name what a lock cannot.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use stigmer_core::manager::{Listener, Progress, Site};
use stigmer_core::process::SignalRequest;
use stigmer_core::{ByteString, ErrorCode, Result, ToolError, ToolExecutor, WorkspaceId};
use tokio::time::sleep;

use crate::create::user;
use crate::engine::{Found, GIVE_WAY, State};
use crate::executor::ContainerExecutor;
use crate::image::is_asked_for;
use crate::judge::{Verdict, judge};
use crate::lock::{Lock, PATIENCE};
use crate::make::{Made, START, arrive};
use crate::manager::DockerManager;
use crate::names::{FILES, POOL, pool_fingerprint, volumes};
use crate::record::{Files, Record, Way};
use crate::root::Root;
use crate::shared::Place;
use crate::transport::has_no_socket;

/// How long a container is looked for and made anew because its name is taken, or it ends while it is
/// looked at. An engine goes on to make one whose maker was killed, and shows it once that is done,
/// which takes seconds on a busy machine; longer means that somebody who does not hold our lock makes it.
const SETTLING: Duration = START;

/// How often at least: an image may have been pulled meanwhile.
const TRIES: usize = 3;

/// How often commands are ended before a container is paused, while others start new ones.
const ENDINGS: usize = 3;

/// How long the commands of a container may take to end: a supervisor gives them two seconds. A
/// container that is told to end gives its last requests five.
const ENDING: Duration = Duration::from_secs(15);

/// How long one that cannot say whether commands run may take to end when it is asked: it gives its
/// last requests five seconds.
const GIVING_WAY: Duration = Duration::from_secs(7);

/// Between looks at a container that is to end.
const LOOK: Duration = Duration::from_millis(100);

impl DockerManager {
    /// Makes, starts or adopts the workspace's container.
    pub(crate) async fn ready(
        &self,
        site: &Site,
        listener: Listener<'_>,
    ) -> Result<Arc<ContainerExecutor>> {
        let place = self.place(&site.workspace);
        place.make()?;
        let _lock = Lock::take(place.path(), PATIENCE).await?;
        // Whoever had the lock may have done it.
        if let Some(executor) = self.warm(site).await {
            return Ok(executor);
        }
        self.settle(site, &place, listener).await
    }

    async fn settle(
        &self,
        site: &Site,
        place: &Place,
        listener: Listener<'_>,
    ) -> Result<Arc<ContainerExecutor>> {
        if let Some(local) = self.with_local_image().await? {
            return Box::pin(local.settle(site, place, listener)).await;
        }
        let name = self.home.container(&site.workspace);
        self.clear_claim(place).await?;
        let root = Root::open(&site.root)?;
        let began = Instant::now();
        let mut tries = 0;
        while tries < TRIES || began.elapsed() < SETTLING {
            tries += 1;
            if let Some(found) = self.engine.container(&name).await? {
                let fingerprint = self.expected(site, place, &found)?;
                let verdict = self.judged(site, &root, place, &found, &fingerprint).await?;
                match verdict {
                    Verdict::Adopt => match self.adopt(site, &root, place, &found).await {
                        // It ended while it was looked at.
                        Err(error) if is_gone(&error) => {
                            sleep(LOOK).await;
                            continue;
                        }
                        Err(error) if has_no_socket(&error) => {
                            if !self.gives_way(&found).await? {
                                return Err(error);
                            }
                            let note = "the container had lost its socket: it is replaced";
                            listener(Progress::Note(note.to_owned()));
                            self.engine.remove(&found.id).await?;
                        }
                        other => return other,
                    },
                    Verdict::Differs | Verdict::Elsewhere | Verdict::OtherImage => {
                        let why = match verdict {
                            Verdict::Elsewhere => {
                                "the workspace's directory is another one now".to_owned()
                            }
                            Verdict::OtherImage => format!(
                                "the image {} is asked for, and the container has {}",
                                self.options.image, found.image
                            ),
                            _ => "the settings ask for another container".to_owned(),
                        };
                        self.make_room(site, &root, place, &found, &why, listener).await?;
                        listener(Progress::Note(format!("{why}: the old one is replaced")));
                        self.engine.remove(&found.id).await?;
                    }
                    Verdict::Remains => self.engine.remove(&found.id).await?,
                    Verdict::Foreign => return Err(foreign(&name)),
                }
            } else {
                self.leave_other_engine(place, listener).await?;
            }
            Record::forget(place.path())?;
            match self.make(site, &root, place, listener).await? {
                Made::Ready(executor) => return Ok(executor),
                Made::NameTaken => sleep(LOOK).await,
            }
        }
        let message = format!("another program keeps making the container {name}");
        Err(ToolError::new(ErrorCode::Busy, message).with_detail("container", name))
    }

    /// What a container of this workspace's that was made as it should be says of that.
    fn expected(&self, site: &Site, place: &Place, found: &Found) -> Result<String> {
        if !self.home.is_kind(found, POOL) {
            return Ok(self.fingerprint(site));
        }
        // It does not say which directory it has; the record does.
        let known = Record::read(place.path())?.filter(|record| record.container == found.id);
        let same = known.is_none_or(|record| record.root == site.root);
        Ok(if same { pool_fingerprint(&self.options) } else { String::new() })
    }

    async fn judged(
        &self,
        site: &Site,
        root: &Root,
        place: &Place,
        found: &Found,
        fingerprint: &str,
    ) -> Result<Verdict> {
        let now = Some(root.directory());
        let verdict = judge(found, &self.home, &site.workspace, fingerprint, now);
        // One from the pool has no label that says it.
        let known = Record::read(place.path())?.filter(|record| record.container == found.id);
        let mounted = known.as_ref().and_then(|record| record.directory);
        let moved = mounted.is_some_and(|mounted| mounted != root.directory());
        Ok(match verdict {
            Verdict::Adopt if moved => Verdict::Elsewhere,
            Verdict::Adopt if !self.has_image(found, known.as_ref()).await? => Verdict::OtherImage,
            verdict => verdict,
        })
    }

    /// Takes over a container that runs or is paused.
    async fn adopt(
        &self,
        site: &Site,
        root: &Root,
        place: &Place,
        found: &Found,
    ) -> Result<Arc<ContainerExecutor>> {
        if found.state == State::Paused {
            self.engine.unpause(&found.id).await?;
        }
        let known = Record::read(place.path())?.filter(|record| record.container == found.id);
        let user = user(self.options.owner, &self.engine.facts().await?);
        let reach = self.reach(place, &found.id, &found.name, &user);
        let files = found.labels.get(FILES).and_then(|name| Files::of_name(name));
        let files = files.unwrap_or(Files::Mounted);
        let (way, remote) = arrive(&reach, None, files, self.options.runtime.as_deref()).await?;
        let executor = ContainerExecutor::new(remote, reach.warden);
        let record = match known {
            Some(record) => {
                let engine = self.engine.name().to_owned();
                Record { engine, stopped: false, kept_until_ms: None, way, ..record }
            }
            None => {
                // Whoever made it may have died before it knew.
                let notes = self.prove_or_fill(root, &executor, &found.id, files).await?;
                self.record(site, root, found, way, files, &user, notes)
            }
        };
        let asked = self.options.asked().to_owned();
        // By whichever name: it has been found to be the one that is asked for.
        let image = match is_asked_for(&self.options, &record.image, &asked) {
            true => record.image,
            false => self.options.image.clone(),
        };
        let record = Record { image, asked, ..record };
        record.write(place.path())?;
        Ok(self.keep(site, &record, executor))
    }

    #[allow(clippy::too_many_arguments, reason = "all that is known of a container")]
    pub(crate) fn record(
        &self,
        site: &Site,
        root: &Root,
        found: &Found,
        way: Way,
        files: Files,
        user: &str,
        notes: Vec<String>,
    ) -> Record {
        let created = found.labels.get(crate::names::CREATED).and_then(|text| text.parse().ok());
        Record {
            container: found.id.clone(),
            name: found.name.clone(),
            options: self.fingerprint(site),
            root: site.root.clone(),
            directory: (files == Files::Mounted).then(|| root.directory()),
            image: found.image.clone(),
            asked: self.options.asked().to_owned(),
            image_id: found.image_id.clone(),
            engine: self.engine.name().to_owned(),
            created_ms: created.unwrap_or(0),
            user: user.to_owned(),
            way,
            files,
            stopped: false,
            kept_until_ms: None,
            notes,
        }
    }

    /// Ends a container in which no command runs, if another can be had. Otherwise it is left as it
    /// was found.
    async fn make_room(
        &self,
        site: &Site,
        root: &Root,
        place: &Place,
        found: &Found,
        why: &str,
        listener: Listener<'_>,
    ) -> Result<()> {
        let is_paused = found.state == State::Paused;
        if is_paused {
            self.engine.unpause(&found.id).await?;
        }
        let ending = async {
            let another = self.rehearse(site, root, place, listener);
            self.end_if_unused(place, found, why, another).await
        };
        let ended = ending.await;
        if ended.is_err() && is_paused {
            self.engine.pause(&found.id).await?;
        }
        ended
    }

    /// Ends a container in which no command runs. Who asks may be late: a command may begin after it
    /// was looked for. So the sidecar decides, which takes no more of them when it ends. Nothing is
    /// ended before what comes first has succeeded.
    pub(crate) async fn end_if_unused(
        &self,
        place: &Place,
        found: &Found,
        why: &str,
        first: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let user = user(self.options.owner, &self.engine.facts().await?);
        let reach = self.reach(place, &found.id, &found.name, &user);
        let remote = match reach.open(Way::Socket).await {
            Ok(remote) => remote,
            Err(_) => match reach.open(Way::Exec).await {
                Ok(remote) => remote,
                // It has ended meanwhile, and its commands before it.
                Err(error) if is_gone(&error) => return Ok(()),
                // It does not answer, so nothing can be said of its commands.
                Err(error) => return Err(error.with_hint(RECOVER)),
            },
        };
        match running(&remote).await {
            Ok(all) => refuse_if_used(&found.name, all.len(), why)?,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        first.await?;
        let began = Instant::now();
        loop {
            // Each time: what ran when it was asked may have ended before it was seen here.
            self.engine.signal(&found.id, GIVE_WAY).await?;
            match self.engine.container(&found.id).await? {
                Some(Found { state: State::Running | State::Paused, .. }) => {}
                _ => return Ok(()),
            }
            // One that ends does not answer any more.
            if let Ok(Ok(all)) = tokio::time::timeout(LOOK, running(&remote)).await {
                refuse_if_used(&found.name, all.len(), why)?;
                sleep(LOOK).await;
            }
            if began.elapsed() > ENDING {
                let message = format!("the container {} does not end", found.name);
                return Err(ToolError::new(ErrorCode::DeadlineExceeded, message)
                    .with_detail("container", found.name.as_str())
                    .with_hint(RECOVER));
            }
        }
    }

    /// Leaves the container that is in another engine, which is asked nothing, if no command is known
    /// to run in it: nobody could look after that any more.
    async fn leave_other_engine(&self, place: &Place, listener: Listener<'_>) -> Result<()> {
        let engine = self.engine.name();
        let known = Record::read(place.path())?;
        // Who wrote a record without an engine knew of one only.
        let elsewhere = |one: &Record| !one.engine.is_empty() && one.engine != engine;
        let Some(record) = known.filter(elsewhere) else { return Ok(()) };
        let reach = self.reach(place, &record.container, &record.name, &record.user);
        let Ok(remote) = reach.open_warm(Way::Socket).await else { return Ok(()) };
        let why = format!("the container is in the engine at {}, not at {engine}", record.engine);
        refuse_if_used(&record.name, running(&remote).await?.len(), &why)?;
        listener(Progress::Note(format!(
            "{why}: that one is left to its end, and another is made"
        )));
        Ok(())
    }

    /// Asks a container that nobody can speak to to end; false if it does not, as commands run in it.
    async fn gives_way(&self, found: &Found) -> Result<bool> {
        self.engine.signal(&found.id, GIVE_WAY).await?;
        let began = Instant::now();
        while began.elapsed() < GIVING_WAY {
            match self.engine.container(&found.id).await? {
                Some(Found { state: State::Running, .. }) => sleep(LOOK).await,
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Ends the commands and pauses the container.
    pub(crate) async fn pause(&self, site: &Site) -> Result<()> {
        let place = self.place(&site.workspace);
        if !place.path().exists() {
            return Ok(());
        }
        let _lock = Lock::take(place.path(), PATIENCE).await?;
        let name = self.home.container(&site.workspace);
        let Some(found) = self.ours(&name, &site.workspace).await? else { return Ok(()) };
        if found.state != State::Running {
            return Ok(());
        }
        self.end_commands(&place, &found).await?;
        self.let_go(&site.workspace);
        // Told first: whoever dies in between leaves one that runs, and that the next use adopts.
        if let Some(record) = Record::read(place.path())? {
            let kept_until_ms =
                self.options.ttl.map(|ttl| now_ms().saturating_add(milliseconds(ttl)));
            Record { stopped: true, kept_until_ms, ..record }.write(place.path())?;
        }
        self.engine.pause(&found.id).await?;
        Ok(())
    }

    async fn end_commands(&self, place: &Place, found: &Found) -> Result<()> {
        let record = Record::read(place.path())?.filter(|record| record.container == found.id);
        let (way, user) = match record {
            Some(record) => (record.way, record.user),
            None => (Way::Exec, user(self.options.owner, &self.engine.facts().await?)),
        };
        let reach = self.reach(place, &found.id, &found.name, &user);
        let remote = reach.open_warm(way).await?;
        let ending = async {
            for _ in 0..ENDINGS {
                let all = running(&remote).await?;
                if all.is_empty() {
                    return Ok(());
                }
                let ends = all.iter().map(|id| remote.signal(id, SignalRequest::Cancel));
                for end in join_all(ends).await {
                    match end {
                        Err(error) if !has_ended(&error) => return Err(error),
                        _ => {}
                    }
                }
            }
            Ok(())
        };
        tokio::time::timeout(ENDING, ending).await.unwrap_or_else(|_| {
            let message = format!("the commands in {} did not end in time", found.name);
            Err(ToolError::new(ErrorCode::DeadlineExceeded, message))
        })
    }

    /// Removes the container and all that is kept of it.
    pub(crate) async fn destroy(&self, workspace: &WorkspaceId) -> Result<()> {
        let place = self.place(workspace);
        if !place.path().exists() {
            // There may be a container still whose place somebody deleted.
            place.make()?;
        }
        let lock = Lock::take(place.path(), PATIENCE).await?;
        let name = self.home.container(workspace);
        if let Some(found) = self.ours(&name, workspace).await?
            && found.state == State::Running
        {
            // So that whoever waits for them hears how they ended. If they do not end they are killed
            // with the container.
            let _ = self.end_commands(&place, &found).await;
        }
        self.remove_container(&place, workspace).await?;
        for volume in volumes(&name) {
            self.engine.remove_volume(&volume).await?;
        }
        if let Err(error) = place.remove() {
            // Something in the container made files there that are not the caller's. They are no
            // workspace's any more, so that the next try does not fail on them.
            let path = place.path();
            let left =
                place.leave().map_err(|error| ToolError::from_io("move", &path.into(), &error))?;
            let hint = "the container is gone; a program in it made files that are not yours: remove what is left with sudo";
            let left = ByteString::from(left);
            return Err(error.with_detail("left", left).with_hint(hint));
        }
        let path = place.path();
        let gone = lock.remove().and_then(|()| std::fs::remove_dir(path));
        // Whoever waited for the lock has made it anew.
        match gone {
            Err(error)
                if !matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Err(ToolError::from_io("remove", &path.into(), &error))
            }
            _ => Ok(()),
        }
    }

    async fn remove_container(&self, place: &Place, workspace: &WorkspaceId) -> Result<()> {
        self.clear_claim(place).await?;
        let name = self.home.container(workspace);
        if let Some(found) = self.ours(&name, workspace).await? {
            self.engine.remove(&found.id).await?;
        }
        self.let_go(workspace);
        Record::forget(place.path())
    }

    /// Removes a container that failed, and makes another. What is shared stays.
    pub(crate) async fn renew(&self, site: &Site, listener: Listener<'_>) -> Result<()> {
        let place = self.place(&site.workspace);
        place.make()?;
        let _lock = Lock::take(place.path(), PATIENCE).await?;
        let name = self.home.container(&site.workspace);
        if let Some(found) = self.ours(&name, &site.workspace).await? {
            if found.state == State::Running && self.end_commands(&place, &found).await.is_err() {
                let note = "the container does not answer: its commands are killed with it";
                listener(Progress::Note(note.to_owned()));
            }
            self.remove_container(&place, &site.workspace).await?;
        }
        self.settle(site, &place, listener).await.map(drop)
    }

    /// The container of a name, if it is this workspace's.
    pub(crate) async fn ours(&self, name: &str, workspace: &WorkspaceId) -> Result<Option<Found>> {
        let Some(found) = self.engine.container(name).await? else { return Ok(None) };
        match judge(&found, &self.home, workspace, "", None) {
            Verdict::Foreign => Err(foreign(name)),
            _ => Ok(Some(found)),
        }
    }
}

const RECOVER: &str = "`stigmer workspace recover` ends its commands and makes a new one";

/// A container in which commands run is not replaced by itself.
fn refuse_if_used(name: &str, commands: usize, why: &str) -> Result<()> {
    if commands == 0 {
        return Ok(());
    }
    let run = if commands == 1 { "command runs" } else { "commands run" };
    let message = format!("{why}, and {commands} {run} in {name}");
    Err(ToolError::new(ErrorCode::Busy, message)
        .with_detail("container", name)
        .with_detail("commands", commands)
        .with_hint(
            "wait for them, or end them with `stigmer workspace stop`; `stigmer ps` lists them",
        ))
}

fn foreign(name: &str) -> ToolError {
    let message = format!("the container {name} was made by somebody else and is not touched");
    ToolError::new(ErrorCode::Busy, message)
        .with_detail("container", name)
        .with_hint(format!("look at it with `docker inspect {name}`, and rename or remove it"))
}

fn is_gone(error: &ToolError) -> bool {
    error.details.get("cause") == Some(&crate::warden::GONE.into())
}

pub(crate) fn now_ms() -> u64 {
    milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn has_ended(error: &ToolError) -> bool {
    matches!(error.code, ErrorCode::ProcessEnded | ErrorCode::UnknownProcess)
}

/// The commands that run, or have left something that does.
async fn running(executor: &dyn ToolExecutor) -> Result<Vec<stigmer_core::ProcessId>> {
    let all = executor.list_processes().await?;
    Ok(all.into_iter().filter(crate::status::runs).map(|info| info.id).collect())
}
