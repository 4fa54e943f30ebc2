//! Keeping as many containers waiting as there shall be, and removing what waits in vain.

use std::collections::HashSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use stigmer_core::{ByteString, ErrorCode, Result, ToolError};

use super::claim::remove;
use super::entry::{Entry, Pool, made_like, new_id, run};
use super::talk;
use crate::create::{Plan, text, user};
use crate::engine::{Engine, Facts, Found, State};
use crate::lock::{Lock, PATIENCE};
use crate::make::{LOOK, START, ended};
use crate::manager::DockerManager;
use crate::names::{CREATED, KEEPER, POOL, labels_of_kind, pool_fingerprint};
use crate::record::Files;

/// What is found of the pool.
struct Stock {
    /// Ids of containers that wait and are as they should be.
    good: Vec<String>,
    /// Names of containers that were removed.
    gone: HashSet<String>,
}

impl DockerManager {
    /// Makes containers that wait until there are as many as there shall be, and removes those that
    /// were made otherwise. One program does it at a time, and the others wait for it. Nothing is
    /// pulled for it. Returns how many were made.
    ///
    /// # Errors
    /// `unsupported` if this engine's containers cannot get a workspace later; what the engine says.
    pub(crate) async fn fill_pool(&self) -> Result<usize> {
        if self.options.pool == 0 {
            return Ok(0);
        }
        if let Some(local) = self.with_local_image().await? {
            return Box::pin(local.fill_pool()).await;
        }
        let pool = Pool::new(&self.options);
        pool.make().map_err(|error| at(&pool, &error))?;
        let _lock = Lock::take(pool.path(), PATIENCE).await?;
        let Some(image_id) = self.engine.image(&self.options.image).await? else { return Ok(0) };
        let facts = self.engine.facts().await?;
        if facts.rootless {
            let message = "a rootless engine has no right to mount, so no container can wait";
            return Err(
                ToolError::new(ErrorCode::Unsupported, message).with_hint("set sandbox_pool to 0")
            );
        }
        let like = made_like(&self.options);
        let as_wanted = |entry: &Entry| entry.made_like == like && entry.image_id == image_id;
        let found = self.engine.labelled(&self.home.filter()).await?;
        let stock = self.tidy(&pool, &found, &as_wanted).await?;
        self.ensure_keeper(&pool, &facts).await?;
        let wanted = usize::try_from(self.options.pool).unwrap_or(usize::MAX);
        let missing = wanted.saturating_sub(stock.good.len());
        for _ in 0..missing {
            self.add(&pool, &facts, &image_id, &like).await?;
        }
        Ok(missing)
    }

    /// Removes what is left of the pool by programs that died, containers that ended, and all of it if
    /// there shall be none. Returns how many containers that were.
    pub(crate) async fn tidy_pool(&self, found: &[Found]) -> Result<usize> {
        let pool = Pool::new(&self.options);
        let ours = |one: &Found| [POOL, KEEPER].iter().any(|kind| self.home.is_kind(one, kind));
        if !pool.path().exists() && !found.iter().any(ours) {
            return Ok(0);
        }
        pool.make().map_err(|error| at(&pool, &error))?;
        let lock = match Lock::take(pool.path(), Duration::ZERO).await {
            Ok(lock) => lock,
            // Whoever fills it tidies it.
            Err(error) if error.code == ErrorCode::Busy => return Ok(0),
            Err(error) => return Err(error),
        };
        if self.options.pool > 0 {
            return Ok(self.tidy(&pool, found, &|_| true).await?.gone.len());
        }
        let mut gone = self.tidy(&pool, found, &|_| false).await?.gone.len();
        if found.iter().any(|one| self.home.is_kind(one, KEEPER)) {
            self.engine.remove(&self.home.keeper()).await?;
            gone += 1;
        }
        remove(&pool.keeper())?;
        lock.remove().and_then(|()| std::fs::remove_dir(pool.path())).or_else(
            |error| match error.kind() {
                // Somebody fills it meanwhile.
                std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(at(&pool, &error)),
            },
        )?;
        Ok(gone)
    }

    /// Removes what is not to wait. Whoever calls this has the pool's lock.
    async fn tidy(
        &self,
        pool: &Pool,
        found: &[Found],
        as_wanted: &(dyn Fn(&Entry) -> bool + Sync),
    ) -> Result<Stock> {
        let mut stock = Stock { good: Vec::new(), gone: HashSet::new() };
        let runs: HashSet<&str> = found
            .iter()
            .filter(|one| one.state == State::Running)
            .map(|one| one.id.as_str())
            .collect();
        let most = usize::try_from(self.options.pool).unwrap_or(usize::MAX);
        for id in pool.waiting() {
            let entry = Entry::read(&pool.directory(&id));
            let good = entry
                .as_ref()
                .is_some_and(|entry| as_wanted(entry) && runs.contains(entry.container.as_str()));
            if good && stock.good.len() < most {
                stock.good.push(id);
                continue;
            }
            // Taken away first: nobody is given a container that is being removed.
            let aside = pool.put_aside(&id).map_err(|error| at(pool, &error))?;
            let Some(aside) = aside else { continue };
            let name = self.home.waiting(&id);
            self.engine.remove(&name).await?;
            remove(&aside)?;
            stock.gone.insert(name);
        }
        for path in pool.remains() {
            if let Some(entry) = Entry::read(&path) {
                self.engine.remove(&entry.container).await?;
            }
            remove(&path)?;
        }
        self.remove_strays(pool, found, &mut stock.gone).await?;
        Ok(stock)
    }

    /// Removes containers that wait and that nobody could take: their directories are gone. Who has
    /// taken one has its directory, and gives it another name before letting go of that; so it is
    /// removed by the name that it has while it waits.
    async fn remove_strays(
        &self,
        pool: &Pool,
        found: &[Found],
        gone: &mut HashSet<String>,
    ) -> Result<()> {
        let waiting: HashSet<String> =
            pool.waiting().iter().map(|id| self.home.waiting(id)).collect();
        let claimed: HashSet<String> = self
            .places()
            .iter()
            .filter_map(|workspace| Entry::read(&self.place(workspace).claimed()))
            .map(|entry| entry.container)
            .collect();
        for one in found.iter().filter(|one| self.home.is_kind(one, POOL)) {
            let waits = self.home.workspace(one).is_none();
            let known = waiting.contains(&one.name) || claimed.contains(&one.id);
            if waits && !known && !gone.contains(&one.name) {
                self.engine.remove(&one.name).await?;
                gone.insert(one.name.clone());
            }
        }
        Ok(())
    }

    /// Makes one that waits.
    async fn add(&self, pool: &Pool, facts: &Facts, image_id: &str, like: &str) -> Result<()> {
        let failed = |error: std::io::Error| at(pool, &error);
        let (id, number) = new_id().map_err(failed)?;
        let made = pool.begin(&id).map_err(failed)?;
        let name = self.home.waiting(&id);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let mut labels = labels_of_kind(&self.home, POOL, &pool_fingerprint(&self.options));
        labels.insert(CREATED.to_owned(), created_ms.to_string());
        let making = async {
            let shared = text(&run(&made))?;
            let plan = Plan {
                options: &self.options,
                facts,
                number,
                root: None,
                shared: &shared,
                files: Files::Mounted,
                quota: facts.quota,
                labels,
                volumes: &[String::new(), String::new()],
            };
            let (container, notes) = self.ask_for(plan, &name).await?;
            let entry = Entry {
                container,
                made_like: like.to_owned(),
                image_id: image_id.to_owned(),
                created_ms,
                user: user(self.options.owner, facts),
                notes,
            };
            entry.write(&made).map_err(failed)?;
            start(&self.engine, &entry.container, &name, &run(&made)).await?;
            pool.offer(&made, &id).map_err(failed)
        };
        let done = making.await;
        if done.is_err() {
            let _ = self.engine.remove(&name).await;
            let _ = remove(&made);
        }
        done
    }
}

/// Starts it and waits until it waits.
async fn start(engine: &Engine, id: &str, name: &str, run: &std::path::Path) -> Result<()> {
    let mut said = engine.attach(id).await?;
    engine.start(id).await?;
    let began = Instant::now();
    loop {
        // Who connects and says nothing has only looked.
        let error = match talk::container(run).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if began.elapsed() > START {
            let message = format!("the container {name} does not wait for a workspace: {error}");
            return Err(ToolError::new(ErrorCode::DeadlineExceeded, message));
        }
        match tokio::time::timeout(LOOK, said.hear()).await {
            Ok(Ok(true)) | Err(_) => {}
            Ok(_) => return Err(ended(name, &said.stderr())),
        }
    }
}

fn at(pool: &Pool, error: &std::io::Error) -> ToolError {
    ToolError::from_io("use", &ByteString::from(pool.path()), error)
}
