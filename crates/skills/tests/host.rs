//! Skills on this machine: what stays on disk, and what happens when things go wrong.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use futures_util::stream;
use stigmer_core::skill::SkillChange;
use stigmer_core::{ByteStream, ErrorCode, Result, ToolError};
use stigmer_host::{HostExecutor, HostOptions};
use stigmer_skills::Skills;
use tar::{Builder, Header};

struct Place {
    _home: tempfile::TempDir,
    root: PathBuf,
    skills: Skills,
}

impl Place {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap().join("workspace");
        fs::create_dir(&root).unwrap();
        let options = HostOptions::new(root.clone(), home.path().join("state"));
        let executor = Arc::new(HostExecutor::open(options).unwrap());
        let skills = Skills::new(executor, root.clone().into());
        Self { _home: home, root, skills }
    }

    /// What lies in the directory of skills, sorted.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(".stigmer/skills")).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// Makes a version, or what a process that died has left, as old as it gets.
    fn age(&self, name: &str) {
        let path = self.root.join(".stigmer/skills").join(name);
        let before = SystemTime::now() - Duration::from_secs(25 * 3600);
        fs::File::open(path).unwrap().set_modified(before).unwrap();
    }
}

fn content(name: &str, body: &str) -> ByteStream {
    let skill = format!("---\nname: {name}\ndescription: Says {body}\n---\n");
    archive(&[("SKILL.md", &skill), ("sub/body", body)])
}

fn archive(files: &[(&str, &str)]) -> ByteStream {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let bytes = builder.into_inner().unwrap();
    let pieces: Vec<Result<_>> = bytes.chunks(300).map(|piece| Ok(piece.to_vec().into())).collect();
    Box::pin(stream::iter(pieces))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn a_skill_is_added_once_replaced_and_removed() {
    let place = Place::new();
    assert_eq!(place.skills.list().await.unwrap(), []);
    let first = place.skills.add(content("demo", "one")).await.unwrap();
    assert_eq!(first.change, SkillChange::Added);
    let path = first.skill.path.as_path();
    assert_eq!(read(&path.join("sub/body")), "one");
    assert_eq!(path.file_name().unwrap(), "demo");
    assert_eq!(read(&place.root.join(".stigmer/skills/.gitignore")), "*\n");
    let listed = place.skills.list().await.unwrap();
    assert_eq!(listed, std::slice::from_ref(&first.skill));
    assert_eq!((listed[0].files, &*listed[0].description), (2, "Says one"));

    let again = place.skills.add(content("demo", "one")).await.unwrap();
    assert_eq!((again.change, &again.skill), (SkillChange::Unchanged, &first.skill));

    let second = place.skills.add(content("demo", "two")).await.unwrap();
    assert_eq!(second.change, SkillChange::Replaced);
    assert_eq!(place.skills.list().await.unwrap(), std::slice::from_ref(&second.skill));
    // Whoever was told the first path goes on with it.
    assert_eq!(read(&path.join("sub/body")), "one");

    assert!(place.skills.remove("demo").await.unwrap());
    assert_eq!(place.skills.list().await.unwrap(), []);
    assert_eq!(place.names(), [".gitignore"]);
    assert!(!place.skills.remove("demo").await.unwrap());
    let wrong = place.skills.remove("../demo").await.unwrap_err();
    assert_eq!(wrong.code, ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn nothing_is_left_of_what_is_refused_or_breaks_off() {
    let place = Place::new();
    let broken: ByteStream =
        Box::pin(stream::iter([Err(ToolError::new(ErrorCode::Unavailable, "gone"))]));
    assert_eq!(place.skills.add(broken).await.unwrap_err().code, ErrorCode::Unavailable);
    assert!(place.skills.add(archive(&[("SKILL.md", "no head")])).await.is_err());
    assert!(!place.root.join(".stigmer").exists());
    // What is only found out while it is written: a name that no file system takes.
    let long = "n".repeat(300);
    let skill = "---\nname: demo\ndescription: d\n---\n";
    let error = place.skills.add(archive(&[("SKILL.md", skill), (&long, "x")])).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument, "{error:?}");
    assert_eq!(place.names(), [".gitignore"]);
    assert_eq!(place.skills.list().await.unwrap(), []);
}

#[tokio::test]
async fn what_a_user_wrote_there_stays() {
    let place = Place::new();
    fs::create_dir_all(place.root.join(".stigmer/skills")).unwrap();
    fs::write(place.root.join(".stigmer/.gitignore"), "mine\n").unwrap();
    fs::write(place.root.join(".stigmer/skills/.gitignore"), "mine too\n").unwrap();
    fs::write(place.root.join(".stigmer/skills/notes.txt"), "x").unwrap();
    fs::write(place.root.join(".stigmer/skills/Not A Skill.json"), "x").unwrap();
    place.skills.add(content("demo", "one")).await.unwrap();
    assert_eq!(place.skills.list().await.unwrap().len(), 1);
    place.skills.remove("demo").await.unwrap();
    assert_eq!(read(&place.root.join(".stigmer/.gitignore")), "mine\n");
    assert_eq!(read(&place.root.join(".stigmer/skills/.gitignore")), "mine too\n");
    assert_eq!(place.names(), [".gitignore", "Not A Skill.json", "notes.txt"]);
}

#[tokio::test]
async fn damage_is_told_and_mended_by_adding_again() {
    let place = Place::new();
    let skill = place.skills.add(content("demo", "one")).await.unwrap().skill;
    let path = skill.path.as_path();
    // What a script leaves beside is no damage.
    fs::write(path.join("cache"), "x").unwrap();
    let change = async || place.skills.add(content("demo", "one")).await.unwrap().change;
    assert_eq!(change().await, SkillChange::Unchanged);

    fs::write(path.join("sub/body"), "other").unwrap();
    assert_eq!(change().await, SkillChange::Replaced);
    assert_eq!(read(&path.join("sub/body")), "one");

    fs::remove_dir_all(path).unwrap();
    let listed = place.skills.list().await.unwrap();
    assert!(listed[0].problem.as_deref().unwrap().contains("gone"), "{listed:?}");
    assert_eq!(change().await, SkillChange::Replaced);

    let record = place.root.join(".stigmer/skills/demo.json");
    fs::write(&record, "{}").unwrap();
    let listed = place.skills.list().await.unwrap();
    assert!(listed[0].problem.as_deref().unwrap().contains("record"), "{listed:?}");
    assert_eq!(change().await, SkillChange::Replaced);
    assert_eq!(place.skills.list().await.unwrap(), [skill]);
}

#[tokio::test]
async fn what_is_put_in_a_records_place_stops_no_other_skill_and_is_mended_or_removed() {
    let place = Place::new();
    place.skills.add(content("other", "one")).await.unwrap();
    let record = place.root.join(".stigmer/skills/demo.json");
    let directory = || {
        fs::create_dir(&record).unwrap();
        fs::write(record.join("file"), "x").unwrap();
    };
    let link = || std::os::unix::fs::symlink("demo.json", &record).unwrap();
    for put in [&directory as &dyn Fn(), &link] {
        put();
        let names = async || place.skills.list().await.unwrap().into_iter().map(|one| one.name);
        assert_eq!(names().await.collect::<Vec<_>>(), ["demo", "other"]);
        place.skills.add(content("demo", "one")).await.unwrap();
        assert!(place.skills.list().await.unwrap().iter().all(|one| one.problem.is_none()));
        fs::remove_file(&record).unwrap();
        put();
        assert!(place.skills.remove("demo").await.unwrap());
        assert_eq!(names().await.collect::<Vec<_>>(), ["other"]);
    }
}

#[tokio::test]
async fn what_nobody_needs_goes_after_a_day() {
    let place = Place::new();
    let first = place.skills.add(content("demo", "one")).await.unwrap().skill;
    let second = place.skills.add(content("demo", "two")).await.unwrap().skill;
    let (old, new) = (&first.digest[..16], &second.digest[..16]);
    fs::create_dir(place.root.join(".stigmer/skills/.tmp-0123456789abcdef")).unwrap();
    fs::create_dir(place.root.join(".stigmer/skills/.tmp-young")).unwrap();
    for name in [old, new, ".tmp-0123456789abcdef"] {
        place.age(name);
    }
    place.skills.add(content("other", "three")).await.unwrap();
    let names = place.names();
    assert!(!names.iter().any(|name| name == old || name == ".tmp-0123456789abcdef"), "{names:?}");
    assert!(names.iter().any(|name| name == ".tmp-young"), "{names:?}");
    assert_eq!(read(&second.path.as_path().join("sub/body")), "two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_at_once_never_mix() {
    let place = Place::new();
    for _ in 0..8 {
        let adding = (0..6).map(|number| {
            let (skills, body) = (place.skills.clone(), format!("body {}", number % 3));
            tokio::spawn(async move { skills.add(content("demo", &body)).await })
        });
        let removing = place.skills.clone();
        let removing = tokio::spawn(async move { removing.remove("demo").await });
        for added in join_all(adding).await {
            // One that is removed again and again may say so.
            if let Err(error) = added.unwrap() {
                assert_eq!(error.code, ErrorCode::Busy, "{error:?}");
            }
        }
        removing.await.unwrap().unwrap();
        for skill in place.skills.list().await.unwrap() {
            assert_eq!(skill.problem, None);
            let said = format!("Says {}", read(&skill.path.as_path().join("sub/body")));
            assert_eq!(said, skill.description);
        }
        assert!(!place.names().iter().any(|name| name.starts_with(".tmp-")), "{:?}", place.names());
    }
}

#[tokio::test]
async fn an_add_that_nobody_waits_for_leaves_nothing_half_written() {
    let place = Place::new();
    let never: ByteStream = Box::pin(stream::pending());
    tokio::select! {
        biased;
        added = place.skills.add(never) => panic!("{added:?}"),
        () = tokio::task::yield_now() => {}
    }
    assert!(!place.root.join(".stigmer").exists());
    // The turn of the one that went is free.
    for _ in 0..3 {
        place.skills.add(content("demo", "one")).await.unwrap();
    }
}
