use super::*;

fn verdict(lane: Lane, toolchains: &[&str], installs: &[&str]) -> Verdict {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Verdict {
        lane,
        rule: "r".to_owned(),
        token: "t".to_owned(),
        reason: "because".to_owned(),
        programs: Vec::new(),
        toolchains: owned(toolchains),
        installs: owned(installs),
    }
}

const LANES: [Lane; 3] = [Lane::HostReadOnly, Lane::HostWorkspace, Lane::Sandbox];

/// Every combination of a lane, what a command uses and installs, what lives in the sandbox and what has
/// an environment in the workspace, for two toolchains.
#[test]
fn what_follows_is_what_the_rules_say() {
    let names = ["node", "python"];
    let subset = |bits: u32| -> Vec<&str> {
        (0..2).filter(|bit| bits >> bit & 1 == 1).map(|bit| names[bit as usize]).collect()
    };
    for lane in LANES {
        for bits in 0..256 {
            let (uses, installs) = (subset(bits & 3), subset(bits >> 2 & 3));
            let (living, foreign) = (subset(bits >> 4 & 3), subset(bits >> 6 & 3));
            let set = living.iter().map(|name| (*name).to_owned()).collect();
            let verdict = verdict(lane, &uses, &installs);
            let judged = judge(&verdict, &set, |toolchain| {
                foreign.contains(&toolchain).then(|| format!(".{toolchain}").into())
            });
            // Said once more, the other way round: for whose sake it would be in the sandbox.
            let sake = |name: &&str| match lane {
                Lane::Sandbox => installs.contains(name),
                _ => uses.contains(name) && living.contains(name),
            };
            let for_their_sake: Vec<&str> = names.into_iter().filter(|name| sake(name)).collect();
            let apart = for_their_sake.iter().find(|name| foreign.contains(name));
            let expected = match (apart, for_their_sake.first()) {
                (Some(name), _) => Judged::Apart {
                    toolchain: (*name).to_owned(),
                    environment: format!(".{name}").into(),
                },
                (None, Some(name)) if lane != Lane::Sandbox => Judged::Follow((*name).to_owned()),
                _ => Judged::AsItIs,
            };
            assert_eq!(judged, expected, "{lane} {uses:?} {installs:?} {living:?} {foreign:?}");
        }
    }
}

struct World {
    scratch: tempfile::TempDir,
    all: Affinities,
    workspace: WorkspaceId,
}

impl World {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("w")).unwrap();
        let all = Affinities::new(&scratch.path().join("state"));
        Self { scratch, all, workspace: WorkspaceId::from_number(1) }
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("w")
    }

    fn begin(&self, number: u64, place: Option<&str>, toolchain: &str) -> ProcessId {
        let id = ProcessId::from_random(number);
        let (uses, root) = (vec![toolchain.to_owned()], self.root());
        let pending = Pending {
            id: id.clone(),
            before: environments::found(&root, &root, &uses),
            installs: uses.clone(),
            uses,
            cwd: root.clone(),
            place: place.map(str::to_owned),
        };
        self.all.begin(&self.workspace, &root, pending).unwrap();
        id
    }

    fn end(&self, id: &ProcessId, exit: Option<(i32, EndReason)>) {
        let exit = exit.map(|(code, reason)| ExitStatus {
            code,
            reason,
            signal: None,
            ended_ms: 0,
            duration_ms: 0,
            output_bytes: 0,
            memory_limit: None,
            cause: None,
            survivors: Vec::new(),
            denied: None,
        });
        self.all.settle(&self.workspace, &self.root(), id, exit.as_ref()).unwrap();
    }

    fn state(&self, place: Option<&str>) -> State {
        self.all.of(&self.workspace, || place.map(str::to_owned))
    }

    fn living(&self, place: Option<&str>) -> Vec<String> {
        self.state(place).toolchains.into_iter().collect()
    }

    fn install_with_node(&self) -> Judged {
        let verdict = verdict(Lane::Sandbox, &["node"], &["node"]);
        self.state(Some("a")).judge(&verdict, &self.root(), &self.root())
    }
}

const DONE: Option<(i32, EndReason)> = Some((0, EndReason::Exited));

#[test]
fn a_toolchain_lives_where_a_command_has_installed_and_succeeded() {
    let world = World::new();
    for (number, exit) in [
        Some((1, EndReason::Exited)),
        Some((0, EndReason::Lost)),
        Some((0, EndReason::Cancelled)),
        None,
    ]
    .into_iter()
    .enumerate()
    {
        let id = world.begin(number as u64, Some("a"), "python");
        assert!(world.all.awaits(&world.workspace, &id));
        world.end(&id, exit);
        assert!(world.living(Some("a")).is_empty(), "{exit:?}");
        assert!(!world.all.awaits(&world.workspace, &id));
    }
    let left = std::fs::read_dir(world.scratch.path().join("state/affinity")).unwrap().count();
    assert_eq!(left, 0, "nothing known needs no file");
    let id = world.begin(9, Some("a"), "python");
    world.end(&id, DONE);
    assert_eq!(world.living(Some("a")), ["python"]);
    // Told twice, or of a command that nobody waits for, nothing changes.
    world.end(&id, Some((1, EndReason::Exited)));
    world.end(&ProcessId::from_random(77), DONE);
    assert_eq!(world.living(Some("a")), ["python"]);
}

#[test]
fn it_lives_no_longer_than_its_place() {
    let world = World::new();
    let id = world.begin(1, Some("a"), "python");
    world.end(&id, DONE);
    assert!(world.living(Some("b")).is_empty());
    assert!(world.living(None).is_empty(), "a place that is not known is none");
    assert_eq!(world.living(Some("a")), ["python"], "to look changes nothing");
    // What was begun in a place that is gone installs nothing in another.
    let late = world.begin(2, Some("a"), "node");
    let id = world.begin(3, Some("b"), "ruby");
    world.end(&late, DONE);
    world.end(&id, DONE);
    assert_eq!(world.living(Some("b")), ["ruby"]);
    let id = world.begin(4, None, "node");
    world.end(&id, DONE);
    assert!(world.living(None).is_empty());
}

#[test]
fn an_environment_is_the_sandboxes_if_a_command_there_has_made_it() {
    let world = World::new();
    let modules = world.root().join("node_modules");
    assert_eq!(world.install_with_node(), Judged::AsItIs);
    // One that failed half-way has made it all the same, and is tried again.
    let id = world.begin(1, Some("a"), "node");
    std::fs::create_dir(&modules).unwrap();
    world.end(&id, Some((1, EndReason::Exited)));
    assert_eq!(world.install_with_node(), Judged::AsItIs);
    let apart = Judged::Apart { toolchain: "node".to_owned(), environment: "node_modules".into() };
    // Somebody else makes another.
    std::fs::rename(&modules, world.root().join("old")).unwrap();
    assert_eq!(world.install_with_node(), Judged::AsItIs);
    std::fs::create_dir(&modules).unwrap();
    assert_eq!(world.install_with_node(), apart);
    // One that was there before a command is not that command's.
    let id = world.begin(2, Some("a"), "node");
    world.end(&id, DONE);
    assert_eq!(world.install_with_node(), apart);
    // It outlives the place, and a reset.
    std::fs::remove_dir(&modules).unwrap();
    let id = world.begin(3, Some("a"), "node");
    std::fs::create_dir(&modules).unwrap();
    world.end(&id, DONE);
    let id = world.begin(4, Some("b"), "python");
    world.end(&id, DONE);
    world.all.reset(&world.workspace, &world.root()).unwrap();
    assert!(world.living(Some("b")).is_empty());
    assert_eq!(world.install_with_node(), Judged::AsItIs);
    world.all.forget(&world.workspace);
    assert_eq!(world.install_with_node(), apart);
}

#[test]
fn what_is_damaged_says_nothing_and_is_written_anew() {
    let world = World::new();
    let id = world.begin(1, Some("a"), "python");
    let path = world.scratch.path().join("state/affinity/ws-0000000000000001.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    for text in ["", "{", "{\"toolchains\": 1}"] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(world.state(Some("a")), State::default(), "{text}");
        assert!(!world.all.awaits(&world.workspace, &id));
    }
    std::fs::File::options().write(true).open(&path).unwrap().set_len(MOST_BYTES + 1).unwrap();
    assert_eq!(world.state(Some("a")), State::default());
    let id = world.begin(2, Some("a"), "python");
    world.end(&id, DONE);
    assert_eq!(world.living(Some("a")), ["python"]);
}

#[test]
fn what_is_remembered_is_bounded() {
    let world = World::new();
    for number in 0..=MOST_PENDING as u64 {
        world.begin(number, Some("a"), "python");
    }
    let pending = world.state(Some("a")).pending;
    assert_eq!(pending.len(), MOST_PENDING);
    assert_eq!(pending[0].id, ProcessId::from_random(1), "the oldest is given up");
}

#[test]
fn several_at_once_lose_nothing() {
    let world = World::new();
    std::thread::scope(|scope| {
        for (number, toolchain) in ["python", "node", "ruby", "rust"].into_iter().enumerate() {
            let world = &world;
            scope.spawn(move || {
                let id = world.begin(number as u64, Some("a"), toolchain);
                world.end(&id, DONE);
            });
        }
    });
    assert_eq!(world.living(Some("a")), ["node", "python", "ruby", "rust"]);
}

#[test]
fn what_is_written_to_the_temporary_directory_is_there_while_the_command_runs_and_if_it_fails() {
    let world = World::new();
    let id = world.begin(1, Some("a"), TEMPORARY);
    assert_eq!(world.living(Some("a")), [TEMPORARY]);
    world.end(&id, Some((1, EndReason::Exited)));
    assert_eq!(world.living(Some("a")), [TEMPORARY]);
    assert_eq!(world.living(Some("b")), [""; 0], "another sandbox has another one");
    world.begin(2, None, TEMPORARY);
    assert_eq!(world.living(None), [""; 0], "nobody knows where it is");
}
