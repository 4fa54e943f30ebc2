//! Deciding where a command runs, and running it there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use stigmer_api::RequestContext;
use stigmer_core::process::{ProcessState, StartProcess, Stdin};
use stigmer_core::workspace::Preparation;
use stigmer_core::{
    ByteString, Capability, ErrorCode, ProcessId, Result, Routing, ToolError, ToolExecutor as _,
};
use stigmer_guard::HostLane;
use stigmer_host::{Confined, Confinement};
use stigmer_route::Verdict;

use super::affinity::{Judged, Pending};
use super::work::Work;
use super::{AutoWorkspace, CAPABILITIES, environments, messages};
use crate::sandbox::Sandboxed;

/// How long the sandbox may take to say what it knows of commands, while another waits to be decided on.
const ASKING: Duration = Duration::from_secs(3);

/// How often a command is judged anew because the sandbox that it was to follow its toolchain to was gone.
const MOST_JUDGED: usize = 3;

/// Where a command belongs.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    /// Where it starts, without links.
    cwd: PathBuf,
    /// Whether a toolchain's state sends it to the sandbox, which must then be the same still.
    follows: bool,
    /// The place that was there when it was decided.
    place: Option<String>,
}

impl AutoWorkspace {
    /// Runs a command where it belongs.
    pub(super) async fn run<W: Work>(
        self: &Arc<Self>,
        context: &RequestContext,
        mut work: W,
    ) -> Result<W::Done> {
        check(work.start())?;
        let named = work.start().id.clone();
        let id = match &named {
            Some(id) => id.clone(),
            None => new_id()?,
        };
        work.start_mut().id = Some(id.clone());
        if named.is_some() && !self.host.knows(&id) && self.is_in_sandbox(&id).await {
            return self.again_in_sandbox(context, work).await;
        }
        for _ in 0..MOST_JUDGED {
            let decision = self.decide(work.start()).await?;
            let routing = match self.try_on_host(context, &work, &id, &decision).await? {
                Tried::Ran(done) => return Ok(done),
                Tried::For(routing) => routing,
            };
            if let Some(done) = self.in_sandbox(context, &work, &id, decision, routing).await? {
                return Ok(done);
            }
        }
        let message = format!(
            "the sandbox of {} went {MOST_JUDGED} times while a command was decided on",
            self.root
        );
        Err(ToolError::new(ErrorCode::Busy, message))
    }

    /// Says where a command belongs.
    pub(super) async fn decide(self: &Arc<Self>, start: &StartProcess) -> Result<Decision> {
        let (this, command) = (Arc::clone(self), start.command.clone());
        let (cwd, home) = (start.cwd.clone(), home_of(start));
        // It looks at the disk, which must not hold up others.
        let looked = tokio::task::spawn_blocking(move || {
            let cwd = this.host.directory(&cwd)?;
            let verdict = this.rules()?.decide(&command, this.root.as_path(), &cwd, home);
            Ok((verdict, cwd))
        });
        let (verdict, cwd) = joined(looked.await)?;
        if verdict.toolchains.is_empty() && verdict.installs.is_empty() {
            return Ok(Decision { verdict, cwd, follows: false, place: None });
        }
        self.settle_pending(&verdict).await;
        let (this, root) = (Arc::clone(self), self.root.clone());
        let judged = tokio::task::spawn_blocking(move || {
            let place = this.place();
            let state = this.shared.affinities()?.of(&this.sandbox, || place.clone());
            let judged = state.judge(&verdict, root.as_path(), &cwd);
            Ok((judged, place, verdict, cwd))
        });
        let (judged, place, verdict, cwd) = joined(judged.await)?;
        match judged {
            Judged::AsItIs => Ok(Decision { verdict, cwd, follows: false, place }),
            Judged::Follow(toolchain) => {
                // Which it uses is known still: it may change them there.
                let verdict = messages::following(verdict, &toolchain);
                Ok(Decision { verdict, cwd, follows: true, place })
            }
            Judged::Lost(toolchain) => {
                let (this, gone) = (Arc::clone(self), place.clone());
                // Once is enough; what cannot be written down is told again.
                let told = tokio::task::spawn_blocking(move || {
                    let all = this.shared.affinities()?;
                    all.told(&this.sandbox, this.root.as_path(), gone.as_deref())
                });
                let _ = joined(told.await);
                let verdict = messages::without(verdict, &toolchain);
                Ok(Decision { verdict, cwd, follows: false, place })
            }
            Judged::Apart { toolchain, environment } => {
                let verdict = messages::kept_apart(verdict, &toolchain, &environment);
                Err(messages::refused_apart(&verdict, &environment))
            }
        }
    }

    /// Tries a lane on the host, if the verdict names one.
    async fn try_on_host<W: Work>(
        &self,
        context: &RequestContext,
        work: &W,
        id: &ProcessId,
        Decision { verdict, .. }: &Decision,
    ) -> Result<Tried<W::Done>> {
        let ruled = messages::as_ruled(verdict);
        let again = self.host.knows(id);
        let lane = match HostLane::of(verdict.lane) {
            Some(lane) => lane,
            // Who asks again for what was started on the host, before something was installed, gets that.
            None if again => HostLane::ReadOnly,
            None => return Ok(Tried::For(ruled)),
        };
        let confinement = Confinement {
            programs: verdict.programs.iter().map(|name| ByteString::from(name.as_str())).collect(),
            tool_roots: self.shared.configuration.tool_roots().to_vec(),
            may_fall_over: lane == HostLane::ReadOnly,
            routing: Routing { lane: lane_of(lane), ..ruled },
        };
        Ok(match work.clone().confined(&self.host, &confinement).await? {
            Confined::Ran(mut done) => {
                let routing = W::routing(&mut done);
                if routing.is_none() {
                    // It was started before, and what was said then is in its record.
                    *routing = self.host.process(id).await.ok().and_then(|info| info.routing);
                }
                if let Some(routing) = routing.as_deref().filter(|_| !again) {
                    self.decided(context, id, routing);
                }
                Tried::Ran(done)
            }
            Confined::Refused(why) => Tried::For(messages::lane_off(verdict, &why)),
            Confined::Discarded(denied) => Tried::For(messages::fallen_over(verdict, denied)),
        })
    }

    /// Runs a command in the sandbox. Nothing if it was to follow a toolchain to a place that is gone: what
    /// was made in its stead has none.
    async fn in_sandbox<W: Work>(
        self: &Arc<Self>,
        context: &RequestContext,
        work: &W,
        id: &ProcessId,
        Decision { verdict, cwd, follows, place }: Decision,
        routing: Routing,
    ) -> Result<Option<W::Done>> {
        let mut work = work.clone();
        // The caller's circumstances do not get in; what was declared for the command does.
        work.start_mut().caller = None;
        let sandbox = self.opened(context).await;
        let sandbox = sandbox.map_err(|said| messages::no_sandbox(&routing, said))?;
        let awaited = !verdict.installs.is_empty() || !verdict.toolchains.is_empty();
        if awaited {
            // One that was open may have gone unseen, and is made anew by whoever asks it next. If it
            // cannot be, the command itself hears why.
            let _ = sandbox.stat_file(ByteString::default()).await;
            let now = self.place();
            if follows && now != place {
                return Ok(None);
            }
            self.begin(id, &verdict, cwd, now).await?;
        }
        self.decided(context, id, &routing);
        let done = work.sandboxed(&sandbox).await;
        if awaited {
            match &done {
                Ok(done) if let Some(exit) = W::exit(done) => self.settle(id, Some(exit)).await,
                // Its end is seen by whoever looks for it.
                Ok(_) => {}
                Err(error) if error.code == ErrorCode::CompletionUnknown => {}
                Err(_) => self.settle(id, None).await,
            }
        }
        let mut done = done?;
        *W::routing(&mut done) = Some(Box::new(routing));
        Ok(Some(done))
    }

    /// A request that is repeated, of which the first has come to the sandbox.
    async fn again_in_sandbox<W: Work>(
        &self,
        context: &RequestContext,
        mut work: W,
    ) -> Result<W::Done> {
        work.start_mut().caller = None;
        work.sandboxed(&*self.opened(context).await?).await
    }

    async fn opened(&self, context: &RequestContext) -> Result<Arc<Sandboxed>> {
        let sandbox = self.sandbox(context)?;
        let told = self.shared.listener();
        let tell = move |event| {
            if let Some(told) = &told {
                told(event);
            }
        };
        sandbox.prepare(Preparation::Open, &tell).await?;
        Ok(sandbox)
    }

    /// Whether a command was started in the sandbox.
    pub(super) async fn is_in_sandbox(&self, id: &ProcessId) -> bool {
        let Ok(Some(record)) = self.record() else { return false };
        if let Some(records) = self.shared.sandboxes.records(&record.id) {
            return records.has(id);
        }
        // Where its records cannot be seen from here it is asked itself.
        let Ok(sandbox) = self.sandbox_of(&record) else { return false };
        matches!(tokio::time::timeout(ASKING, sandbox.process(id)).await, Ok(Ok(_)))
    }

    /// A command is about to be started whose end decides where others go.
    async fn begin(
        self: &Arc<Self>,
        id: &ProcessId,
        verdict: &Verdict,
        cwd: PathBuf,
        place: Option<String>,
    ) -> Result<()> {
        let (uses, installs) = (verdict.toolchains.clone(), verdict.installs.clone());
        let (this, id) = (Arc::clone(self), id.clone());
        joined(
            tokio::task::spawn_blocking(move || {
                let root = this.root.as_path();
                let before = environments::found(root, &cwd, uses.iter().chain(&installs));
                let pending = Pending { id, uses, installs, cwd, before, place };
                this.shared.affinities()?.begin(&this.sandbox, root, pending)
            })
            .await,
        )
    }

    /// A command has ended, or nobody will know how. What cannot be written down is seen again by whoever
    /// looks at what is pending.
    pub(super) async fn settle(
        self: &Arc<Self>,
        id: &ProcessId,
        exit: Option<&stigmer_core::process::ExitStatus>,
    ) {
        let (this, id, exit) = (Arc::clone(self), id.clone(), exit.cloned());
        let settled = tokio::task::spawn_blocking(move || {
            let all = this.shared.affinities()?;
            all.settle(&this.sandbox, this.root.as_path(), &id, exit.as_ref())
        });
        let _ = joined(settled.await);
    }

    /// Looks at commands whose end nobody has seen, as far as it matters to a command.
    async fn settle_pending(self: &Arc<Self>, verdict: &Verdict) {
        let Ok(all) = self.shared.affinities() else { return };
        let state = all.of(&self.sandbox, || None);
        let pending = state.pending.iter().filter(|pending| pending.concerns(verdict));
        let Ok(Some(sandbox)) = self.sandbox_if_any() else { return };
        let asking = async {
            for Pending { id, .. } in pending {
                match sandbox.process(id).await {
                    Ok(info) if info.state != ProcessState::Running => {
                        self.settle(id, info.exit.as_ref()).await;
                    }
                    Err(error) if error.code == ErrorCode::UnknownProcess => {
                        self.settle(id, None).await;
                    }
                    // It runs still, or nobody can be asked.
                    _ => {}
                }
            }
        };
        let _ = tokio::time::timeout(ASKING, asking).await;
    }
}

/// What a try on the host came to.
enum Tried<T> {
    /// It ran there.
    Ran(T),
    /// It is for the sandbox, and this is why.
    For(Routing),
}

fn lane_of(lane: HostLane) -> stigmer_core::Lane {
    match lane {
        HostLane::ReadOnly => stigmer_core::Lane::HostReadOnly,
        HostLane::Workspace => stigmer_core::Lane::HostWorkspace,
    }
}

/// Refuses what auto mode has not.
fn check(start: &StartProcess) -> Result<()> {
    if matches!(start.stdin, Stdin::Inherit(_)) {
        CAPABILITIES.require(Capability::InheritStdin)?;
    }
    if start.user.is_some() {
        CAPABILITIES.require(Capability::User)?;
    }
    Ok(())
}

/// The home directory that a command would have: the last word counts.
fn home_of(start: &StartProcess) -> Option<PathBuf> {
    const HOME: &[u8] = b"HOME";
    let callers = start.caller.iter().flat_map(|caller| &caller.environment);
    let last = callers.rev().find(|(name, _)| name.as_bytes() == HOME).map(|(_, value)| value);
    let home = start.variables.get(&ByteString::from(HOME)).or(last)?;
    Some(home.as_path().to_owned())
}

fn joined<T>(result: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.unwrap_or_else(|error| {
        Err(ToolError::new(ErrorCode::Io, format!("deciding on a command broke off: {error}")))
    })
}

fn new_id() -> Result<ProcessId> {
    let random = getrandom::u64().map_err(|error| {
        ToolError::new(ErrorCode::Io, format!("the kernel gives no random numbers: {error}"))
    })?;
    Ok(ProcessId::from_random(random))
}
