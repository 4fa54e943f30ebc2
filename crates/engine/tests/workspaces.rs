//! Workspaces by name: what more than one program may do to them, and what is told of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use futures_util::StreamExt;
use libtest_mimic::{Arguments, Trial};
use stigmer_api::RequestContext;
use stigmer_core::event::{Event, EventKind};
use stigmer_core::file::{DeleteFile, MakeDirectory, MovePath, ReadFile, WriteFile};
use stigmer_core::process::{Execute, StartProcess};
use stigmer_core::workspace::OpenWorkspace;
use stigmer_core::{ErrorCode, ExecutionMode, Result, ToolExecutor};
use stigmer_engine::{
    Configuration, EXECUTION_MODES, Engine, Launcher, ProcessScope, Reserve, Sources, Surroundings,
};

/// Where a child of this test works; set only for children.
const PLACE: &str = "STIGMER_TEST_PLACE";
/// Directories that the children open and forget.
const DIRECTORIES: usize = 3;

fn main() {
    if let Some(place) = std::env::var_os(PLACE) {
        let rounds = std::env::args().nth(1).unwrap().parse().unwrap();
        return child_that_opens_and_forgets(Path::new(&place), rounds);
    }
    let launcher = Launcher::fork(Reserve::Keep(2)).unwrap();
    let trial = |name, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let trials = vec![
        trial("the_same_directory_is_the_same_workspace", the_same_directory),
        trial("a_mode_that_is_not_there_never_reaches_the_host", modes_that_are_not_there),
        trial("a_path_means_one_workspace_or_none", paths_of_several),
        trial("names_that_are_none_are_refused", names_that_are_none),
        trial("a_directory_that_was_made_anew_is_noticed", made_anew),
        trial("what_another_program_forgot_is_forgotten", forgotten_elsewhere),
        trial("changes_are_told_with_their_request", changes_are_told),
        trial("programs_that_open_and_forget_at_once_agree", at_once),
        trial("kills_leave_a_store_that_can_be_read", kills),
        Trial::test("without_a_name_there_are_commands_and_nothing_else", move || {
            without_a_name(launcher);
            Ok(())
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A home with a few directories to work in, and an engine for it.
struct Place {
    home: tempfile::TempDir,
    engine: Engine,
}

fn engine(home: &Path, variables: &[(&str, &str)], launcher: Option<Launcher>) -> Engine {
    let environment = variables.iter().map(|(name, value)| (name.into(), value.into()));
    let surroundings =
        Surroundings { environment: environment.collect(), home: Some(home.to_owned()) };
    let sources = Sources { surroundings, ..Sources::default() };
    Engine::new(Configuration::load(&sources).unwrap(), launcher, ProcessScope::Workspace)
}

impl Place {
    fn new() -> Self {
        Self::with(&[], None)
    }

    fn with(variables: &[(&str, &str)], launcher: Option<Launcher>) -> Self {
        let home = tempfile::tempdir().unwrap();
        for number in 0..DIRECTORIES {
            std::fs::create_dir(home.path().join(number.to_string())).unwrap();
        }
        let engine = engine(home.path(), variables, launcher);
        Self { home, engine }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().canonicalize().unwrap().join(name)
    }

    fn events(&self) -> Vec<Event> {
        let events = self.engine.events(Some(0), false).unwrap();
        block_on(events.map(Result::unwrap).collect())
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn open(path: impl AsRef<Path>, mode: Option<ExecutionMode>) -> OpenWorkspace {
    OpenWorkspace { path: path.as_ref().into(), mode, settings: Vec::new() }
}

fn context(id: &str) -> RequestContext {
    RequestContext { request_id: id.to_owned(), traceparent: None }
}

#[track_caller]
fn code<T>(result: Result<T>) -> ErrorCode {
    match result {
        Ok(_) => panic!("it was not refused"),
        Err(error) => error.code,
    }
}

async fn read(executor: &Arc<dyn ToolExecutor>, path: &str) -> Result<Vec<u8>> {
    let content = executor.read_file(ReadFile { path: path.into(), ..ReadFile::default() }).await?;
    Ok(content.content.into_bytes())
}

fn the_same_directory() {
    let place = Place::new();
    let (root, link) = (place.path("0"), place.path("link"));
    std::os::unix::fs::symlink("0", &link).unwrap();
    std::fs::write(root.join("f"), "here").unwrap();
    let none = RequestContext::default();
    let first = place.engine.open_workspace(open(&root, None), &none).unwrap();
    assert_eq!((first.root.as_path(), first.mode), (root.as_path(), ExecutionMode::Local));
    assert_eq!(first.capabilities.backend, "local");
    for (path, mode) in [(&root, Some(ExecutionMode::Local)), (&link, None)] {
        assert_eq!(place.engine.open_workspace(open(path, mode), &none).unwrap(), first);
    }
    let again = engine(place.home.path(), &[], None);
    assert_eq!(again.workspace(first.id.as_str()).unwrap(), first);
    assert_eq!(again.workspace(root.to_str().unwrap()).unwrap(), first);
    assert_eq!(again.workspace(link.to_str().unwrap()).unwrap(), first);
    let other = again.open_workspace(open(place.path("1"), None), &none).unwrap();
    assert_ne!(other.id, first.id);
    assert_eq!(place.engine.workspaces().unwrap(), [first.clone(), other.clone()]);
    block_on(async {
        for name in [first.id.as_str(), root.to_str().unwrap(), link.to_str().unwrap()] {
            // Once anew, and once as it is kept.
            for _ in 0..2 {
                let executor = place.engine.executor_of(name, &none).unwrap();
                assert_eq!(read(&executor, "f").await.unwrap(), b"here");
            }
        }
        // As it was named, absolute paths may begin with the link.
        let executor = place.engine.executor_of(link.to_str().unwrap(), &none).unwrap();
        assert_eq!(read(&executor, link.join("f").to_str().unwrap()).await.unwrap(), b"here");
    });
    let opened = |event: &Event| matches!(event.kind, EventKind::WorkspaceOpened { .. });
    assert_eq!(place.events().iter().filter(|event| opened(event)).count(), 2);
    assert!(place.engine.forget_workspace(other.id.as_str(), &none).unwrap());
    assert!(!place.engine.forget_workspace(other.id.as_str(), &none).unwrap());
    assert!(place.engine.forget_workspace(link.to_str().unwrap(), &none).unwrap());
    assert_eq!(place.engine.workspaces().unwrap(), []);
    assert!(root.join("f").exists(), "a directory is not touched");
}

fn modes_that_are_not_there() {
    let none = RequestContext::default();
    let place = Place::new();
    let root = place.path("0");
    for mode in &EXECUTION_MODES[3..] {
        let refused = place.engine.open_workspace(open(&root, Some(*mode)), &none);
        assert_eq!(code(refused), ErrorCode::NotAvailable, "{mode}");
    }
    let sandboxed = Place::with(&[("AGENT_MODE", "firecracker")], None);
    let root = sandboxed.path("0");
    let name = root.to_str().unwrap();
    assert_eq!(
        code(sandboxed.engine.open_workspace(open(&root, None), &none)),
        ErrorCode::NotAvailable
    );
    assert_eq!(code(sandboxed.engine.executor_of(name, &none)), ErrorCode::NotAvailable);
    assert_eq!(sandboxed.engine.workspaces().unwrap(), []);
    // Whoever says so gets the host, and its path still means what the settings say.
    let mode = Some(ExecutionMode::Local);
    let local = sandboxed.engine.open_workspace(open(&root, mode), &none).unwrap();
    assert_eq!(local.server_settings, [("agent_mode".to_owned(), "firecracker".to_owned())]);
    assert!(sandboxed.engine.executor_of(local.id.as_str(), &none).is_ok());
    assert_eq!(code(sandboxed.engine.executor_of(name, &none)), ErrorCode::NotAvailable);
    record_as(&sandboxed, local.id.as_str(), "firecracker", "ws-00000000000000aa");
    let info = sandboxed.engine.workspace("ws-00000000000000aa").unwrap();
    assert_eq!((info.mode, info.capabilities.has), (ExecutionMode::Firecracker, Vec::new()));
    let refused = sandboxed.engine.executor_of("ws-00000000000000aa", &none);
    assert_eq!(code(refused), ErrorCode::NotAvailable);
}

/// Makes a record of a mode that another version had, under its own id.
fn record_as(place: &Place, local: &str, mode: &str, id: &str) {
    let records = place.path(".stigmer/state/workspaces");
    let text = std::fs::read_to_string(records.join(format!("{local}.json"))).unwrap();
    let text = text.replace("\"local\"", &format!("\"{mode}\"")).replace(local, id);
    std::fs::write(records.join(format!("{id}.json")), text).unwrap();
}

fn paths_of_several() {
    const SANDBOX: &str = "ws-00000000000000aa";
    const CLUSTER: &str = "ws-00000000000000bb";
    let none = RequestContext::default();
    let place = Place::new();
    let root = place.path("0");
    let path = root.to_str().unwrap();
    let engine = &place.engine;
    let local = engine.open_workspace(open(&root, None), &none).unwrap().id;
    for (mode, id) in [("sandbox", SANDBOX), ("kubernetes", CLUSTER)] {
        record_as(&place, local.as_str(), mode, id);
    }
    // The one in the mode that is in force.
    assert_eq!(engine.workspace(path).unwrap().id, local);
    assert!(engine.forget_workspace(path, &none).unwrap());
    // None is, and it could be either.
    for error in
        [engine.workspace(path).unwrap_err(), engine.forget_workspace(path, &none).unwrap_err()]
    {
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{error:?}");
        assert!(error.message.contains(SANDBOX) && error.message.contains(CLUSTER), "{error:?}");
        assert!(error.hint.is_some_and(|hint| hint.contains("id")));
    }
    assert_eq!(engine.workspaces().unwrap().len(), 2);
    // The only one.
    assert!(engine.forget_workspace(CLUSTER, &none).unwrap());
    assert_eq!(engine.workspace(path).unwrap().id.as_str(), SANDBOX);
    assert!(engine.forget_workspace(path, &none).unwrap());
    assert!(!engine.forget_workspace(path, &none).unwrap());
    assert_eq!(engine.workspaces().unwrap(), []);
}

fn names_that_are_none() {
    let place = Place::new();
    let none = RequestContext::default();
    std::fs::write(place.path("file"), "").unwrap();
    let engine = &place.engine;
    let absent = place.path("absent");
    for (path, expected) in [
        (Path::new(""), ErrorCode::InvalidArgument),
        (Path::new("relative"), ErrorCode::InvalidArgument),
        (&absent, ErrorCode::NotFound),
        (&place.path("file"), ErrorCode::NotADirectory),
    ] {
        assert_eq!(code(engine.open_workspace(open(path, None), &none)), expected, "{path:?}");
    }
    for (name, expected) in [
        ("relative", ErrorCode::InvalidArgument),
        ("../ws-0123456789abcdef", ErrorCode::InvalidArgument),
        ("ws-0123456789abcdeg", ErrorCode::InvalidArgument),
        ("ws-0123456789abcdef", ErrorCode::UnknownWorkspace),
        (absent.to_str().unwrap(), ErrorCode::NotFound),
    ] {
        assert_eq!(code(engine.executor_of(name, &none)), expected, "{name}");
        let unknown = match expected {
            ErrorCode::NotFound => ErrorCode::UnknownWorkspace,
            other => other,
        };
        assert_eq!(code(engine.workspace(name)), unknown, "{name}");
    }
    assert_eq!(engine.workspaces().unwrap(), []);
}

fn made_anew() {
    let place = Place::new();
    let none = RequestContext::default();
    let root = place.path("0");
    let name = root.to_str().unwrap();
    let id = place.engine.open_workspace(open(&root, None), &none).unwrap().id;
    block_on(async {
        for round in 0..3_u8 {
            std::fs::write(root.join("f"), [round]).unwrap();
            for name in [name, id.as_str()] {
                let executor = place.engine.executor_of(name, &none).unwrap();
                assert_eq!(read(&executor, "f").await.unwrap(), [round], "{name}");
            }
            std::fs::remove_dir_all(&root).unwrap();
            for name in [name, id.as_str()] {
                assert_eq!(code(place.engine.executor_of(name, &none)), ErrorCode::NotFound);
            }
            std::fs::create_dir(&root).unwrap();
        }
        // Moved away, with a link to it in its place: another directory has the name.
        let executor = place.engine.executor_of(name, &none).unwrap();
        std::fs::rename(&root, place.path("moved")).unwrap();
        std::os::unix::fs::symlink("moved", &root).unwrap();
        assert_eq!(code(place.engine.executor_of(id.as_str(), &none)), ErrorCode::NotFound);
        let moved = place.engine.executor_of(name, &none).unwrap();
        std::fs::write(place.path("moved").join("g"), "g").unwrap();
        assert_eq!(read(&moved, "g").await.unwrap(), b"g");
        drop(executor);
    });
}

fn forgotten_elsewhere() {
    let place = Place::new();
    let none = RequestContext::default();
    let root = place.path("0");
    let id = place.engine.open_workspace(open(&root, None), &none).unwrap().id;
    place.engine.executor_of(id.as_str(), &none).map(drop).unwrap();
    let other = engine(place.home.path(), &[], None);
    assert!(other.forget_workspace(id.as_str(), &none).unwrap());
    assert_eq!(code(place.engine.executor_of(id.as_str(), &none)), ErrorCode::UnknownWorkspace);
    // By its path it is opened anew.
    place.engine.executor_of(root.to_str().unwrap(), &none).map(drop).unwrap();
    assert_eq!(other.workspaces().unwrap()[0].id, id);
    other.forget_workspace(id.as_str(), &none).unwrap();
    place.engine.executor_of(root.to_str().unwrap(), &none).map(drop).unwrap();
    assert_eq!(other.workspaces().unwrap()[0].id, id);
}

fn changes_are_told() {
    let place = Place::new();
    let root = place.path("0");
    let name = root.to_str().unwrap();
    let write = |path: &str| WriteFile {
        path: path.into(),
        content: "hidden words".into(),
        ..WriteFile::default()
    };
    block_on(async {
        let executor = place.engine.executor_of(name, &context("r1")).unwrap();
        executor.write_file(write("a")).await.unwrap();
        let missing = MovePath { from: "none".into(), to: "b".into(), replace: false };
        assert_eq!(code(executor.move_path(missing).await), ErrorCode::NotFound);
        let executor = place.engine.executor_of(name, &context("r2")).unwrap();
        let move_path = MovePath { from: "a".into(), to: "b".into(), replace: false };
        executor.move_path(move_path).await.unwrap();
        let directory = MakeDirectory { path: "d".into(), parents: false };
        executor.make_directory(directory).await.unwrap();
        for _ in 0..2 {
            let delete = DeleteFile { path: "b".into(), recursive: false };
            executor.delete_file(delete).await.unwrap();
        }
        assert_eq!(code(read(&executor, "b").await), ErrorCode::NotFound);
        // Embedded there is no request, and it is told all the same.
        let workspace = stigmer_engine::Workspace::choose(Some(&root), &root).unwrap();
        let embedded = place.engine.executor(None, &workspace, &|_| ()).await.unwrap();
        embedded.write_file(write("e")).await.unwrap();
    });
    let events = place.events();
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            assert_eq!(event.workspace.as_path(), root);
            let what = match &event.kind {
                EventKind::FilesChanged { operation, path } => format!("{operation} {path}"),
                EventKind::WorkspaceOpened { .. } => "opened".to_owned(),
                other => panic!("{other:?}"),
            };
            (event.request_id.as_deref().unwrap_or_default().to_owned(), what)
        })
        .collect();
    let told: Vec<_> = told.iter().map(|(id, what)| (id.as_str(), what.as_str())).collect();
    let expected = [
        ("r1", "opened"),
        ("r1", "write_file a"),
        ("r2", "move_path a"),
        ("r2", "move_path b"),
        ("r2", "make_directory d"),
        ("r2", "delete_file b"),
        ("", "write_file e"),
    ];
    assert_eq!(told, expected);
    let rest = place.engine.events(Some(events[4].next), false).unwrap();
    let rest: Vec<Event> = block_on(rest.map(Result::unwrap).collect());
    assert_eq!(rest, events[5..]);
    let past = events.last().unwrap().next + 1;
    assert_eq!(code(place.engine.events(Some(past), true)), ErrorCode::InvalidArgument);
    let journal = place.path(".stigmer/state/journal/events.0000000000000000");
    assert!(!std::fs::read_to_string(journal).unwrap().contains("hidden"));
}

fn without_a_name(launcher: Launcher) {
    let place = Place::with(&[], Some(launcher));
    let none = RequestContext::default();
    block_on(async {
        let mut ids = Vec::new();
        for name in ["0", "1"] {
            let path = place.path(name);
            let executor = place.engine.executor_of(path.to_str().unwrap(), &none).unwrap();
            let request = Execute::new(StartProcess::shell("pwd"));
            let done = executor.execute(request).await.unwrap();
            assert_eq!(executor.list_processes().await.unwrap().len(), 1, "only its own");
            ids.push(done.id);
        }
        let all = place.engine.executor_of("", &none).unwrap();
        assert_eq!(all.list_processes().await.unwrap().len(), 2);
        for id in &ids {
            assert_eq!(all.wait(id).await.unwrap().code, 0);
        }
        assert_eq!(code(read(&all, "/etc/passwd").await), ErrorCode::InvalidArgument);
        let start = || StartProcess::shell("touch ran");
        assert_eq!(code(all.start_process(start()).await), ErrorCode::InvalidArgument);
        assert_eq!(code(all.execute(Execute::new(start())).await), ErrorCode::InvalidArgument);
        let write = WriteFile { path: "/tmp/f".into(), ..WriteFile::default() };
        let error = all.write_file(write).await.unwrap_err();
        assert!(error.message.contains("name a workspace"), "{error:?}");
    });
}

/// Says one byte for each time that it has opened and forgotten; ends after so many rounds.
fn child_that_opens_and_forgets(place: &Path, rounds: usize) {
    let engine = engine(place, &[], None);
    let none = RequestContext::default();
    for round in 0..rounds {
        let path = place.canonicalize().unwrap().join((round % DIRECTORIES).to_string());
        let id = engine.open_workspace(open(&path, None), &none).unwrap().id;
        // Another may have forgotten it meanwhile.
        if let Err(error) = engine.workspace(id.as_str()) {
            assert_eq!(error.code, ErrorCode::UnknownWorkspace, "{error:?}");
        }
        engine.workspaces().unwrap();
        engine.forget_workspace(id.as_str(), &none).unwrap();
        std::io::stdout().write_all(b".").unwrap();
        std::io::stdout().flush().unwrap();
    }
}

fn child(place: &Path, rounds: usize) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(rounds.to_string()).env(PLACE, place).stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn at_once() {
    let place = Place::new();
    let children: Vec<_> = (0..4).map(|_| child(place.home.path(), 60)).collect();
    for child in children {
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success() && ended.stdout.len() == 60, "{ended:?}");
    }
    assert_eq!(place.engine.workspaces().unwrap(), [], "each was forgotten by somebody");
    let records = std::fs::read_dir(place.path(".stigmer/state/workspaces")).unwrap();
    assert_eq!(records.count(), 0, "nothing is left of those that were being written");
    // Whoever made a record has told of it, and whoever removed it.
    let mut kept: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for event in place.events() {
        match event.kind {
            EventKind::WorkspaceOpened { id } => kept.entry(id.to_string()).or_default().0 += 1,
            EventKind::WorkspaceForgotten { id } => kept.entry(id.to_string()).or_default().1 += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(kept.len(), DIRECTORIES);
    for (id, (opened, forgotten)) in kept {
        assert!(opened >= 60 / DIRECTORIES && opened == forgotten, "{id}: {opened} {forgotten}");
    }
}

fn kills() {
    let place = Place::new();
    let none = RequestContext::default();
    let mut left = 0;
    for kill in 0..30 {
        let mut children: Vec<_> = (0..2).map(|_| child(place.home.path(), 100_000)).collect();
        for (index, child) in children.iter_mut().enumerate() {
            // Elsewhere each time.
            let mut said = vec![0; 1 + (kill * 7 + index * 3) % 11];
            child.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
            child.kill().unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(9), "it ended by itself");
        }
        let listed = place.engine.workspaces().unwrap();
        let records = place.path(".stigmer/state/workspaces");
        let names = std::fs::read_dir(&records).unwrap().map(|entry| entry.unwrap().file_name());
        let names: Vec<_> = names.collect();
        let whole = names.iter().filter(|name| name.to_string_lossy().ends_with(".json")).count();
        assert_eq!(whole, listed.len(), "kill {kill}: each record can be read: {names:?}");
        left += names.len() - whole;
        for name in names.iter().filter(|name| name.to_string_lossy().starts_with('.')) {
            std::fs::remove_file(records.join(name)).unwrap();
        }
        let path = place.path(&(kill % DIRECTORIES).to_string());
        let info = place.engine.open_workspace(open(&path, None), &none).unwrap();
        assert_eq!(info.root.as_path(), path);
        place.engine.forget_workspace(info.id.as_str(), &none).unwrap();
    }
    assert!(left <= 60, "{left} names were left by 60 kills");
    // The journal is as readable.
    assert!(place.events().len() > 60);
}
