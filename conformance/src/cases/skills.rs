//! Skills: the path that an agent is told is its commands' and the file operations' alike.

use std::sync::Arc;

use stigmer_core::file::ReadFile;
use stigmer_core::process::{Execute, StartProcess};
use stigmer_core::skill::SkillChange;
use stigmer_core::{ByteString, ErrorCode};
use stigmer_skills::Skills;
use tar::EntryType;

use crate::Fixture;
use crate::archive::{Archive, stream};
use crate::harness::cases;

cases! {
    a_skill_is_added_listed_read_run_and_removed,
    a_skill_that_leads_out_leaves_nothing,
}

const SKILL: &str = "---\nname: greet\ndescription: Greets somebody by name\n---\nRun greet.\n";
const SCRIPT: &str = "#!/bin/sh\necho \"$(cat \"$(dirname \"$0\")/../word\"), $1\"\n";

fn skills(place: &Fixture) -> Skills {
    Skills::new(Arc::clone(&place.executor), place.root.clone().into())
}

fn archive(word: &str) -> Archive {
    let archive = Archive::new().directory("./").file("SKILL.md", SKILL).file("word", word);
    archive.file_with_mode("bin/greet", 0o755, SCRIPT)
}

async fn a_skill_is_added_listed_read_run_and_removed(place: Fixture) {
    let skills = skills(&place);
    assert_eq!(skills.list().await.unwrap(), []);
    let add = async |word| skills.add(stream(archive(word).bytes(), 700)).await.unwrap();
    let added = add("Good day").await;
    assert_eq!(added.change, SkillChange::Added);
    let skill = added.skill;
    assert_eq!(skills.list().await.unwrap(), std::slice::from_ref(&skill));
    assert!(skill.path.as_path().starts_with(&place.root), "{skill:?}");
    // The same content has the same digest wherever it is.
    assert_eq!(skill.digest, "2eab20426c6c03e04e02ef3602283021b2afda9a278c778f00ab73c40c06e011");

    let path = skill.path.as_path().join("SKILL.md");
    let read = ReadFile { path: path.clone().into(), ..ReadFile::default() };
    assert_eq!(place.executor.read_file(read).await.unwrap().content, SKILL.into());
    let words = ["cat".into(), ByteString::from(path.as_path())];
    let done = place.executor.execute(Execute::new(StartProcess::argv(words))).await.unwrap();
    assert_eq!((done.exit.code, done.stdout.head), (0, SKILL.into()));

    let run = async |path: ByteString| {
        let words = [path.as_path().join("bin/greet").into(), ByteString::from("Ada")];
        let done = place.executor.execute(Execute::new(StartProcess::argv(words))).await.unwrap();
        assert_eq!(done.exit.code, 0, "{done:?}");
        String::from_utf8(done.stdout.head.into_bytes()).unwrap()
    };
    assert_eq!(run(skill.path.clone()).await, "Good day, Ada\n");
    assert_eq!(add("Good day").await.change, SkillChange::Unchanged);
    let second = add("Good night").await;
    assert_eq!(second.change, SkillChange::Replaced);
    assert_eq!(skills.list().await.unwrap(), std::slice::from_ref(&second.skill));
    assert_eq!(run(second.skill.path.clone()).await, "Good night, Ada\n");

    assert!(skills.remove("greet").await.unwrap());
    assert_eq!(skills.list().await.unwrap(), []);
    assert!(!place.exists(skill.path).await && !place.exists(second.skill.path).await);
    assert!(!skills.remove("greet").await.unwrap());
}

async fn a_skill_that_leads_out_leaves_nothing(place: Fixture) {
    let skills = skills(&place);
    for hostile in [
        archive("x").file("../evil", ""),
        archive("x").file("/tmp/evil", ""),
        archive("x").special(EntryType::Symlink, "out", "../../../.."),
        archive("x").special(EntryType::Symlink, "out", "/etc"),
    ] {
        let error = skills.add(stream(hostile.bytes(), 700)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::OutsideWorkspace, "{error:?}");
        assert!(error.hint.is_some());
    }
    let device = archive("x").special(EntryType::Char, "device", "");
    let error = skills.add(stream(device.bytes(), 700)).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument, "{error:?}");
    assert!(!place.exists(".stigmer").await);
}
