//! Every text has a verdict of bearable size, a part that is added never loosens it, and a project only
//! tightens.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stigmer_core::Lane;
use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, decide};

#[derive(Arbitrary, Debug)]
struct Input {
    line: Vec<u8>,
    words: Vec<Vec<u8>>,
    rules: String,
}

fn strictness(lane: Lane) -> u8 {
    match lane {
        Lane::HostReadOnly => 0,
        Lane::HostWorkspace => 1,
        Lane::Sandbox => 2,
    }
}

fuzz_target!(|input: Input| {
    let facts = Facts { home: Some("/home/ada".into()), ..Facts::at("/home/ada/project") };
    let policy = Policy::embedded();
    let line = Command::Shell(input.line.clone().into());
    let verdict = decide(&line, &facts, policy);
    assert!(!verdict.reason.is_empty());
    assert!(verdict.programs.len() <= 64 && verdict.toolchains.len() <= 32);
    assert!(verdict.installs.iter().all(|name| verdict.toolchains.contains(name)));
    assert_eq!(verdict, decide(&line, &facts, policy));
    let words = input.words.into_iter().map(Into::into).collect();
    decide(&Command::Argv(words), &facts, policy);
    let mut more = b"touch x;".to_vec();
    more.extend_from_slice(&input.line);
    let more = decide(&Command::Shell(more.into()), &facts, policy);
    assert_ne!(more.lane, Lane::HostReadOnly, "a part does not vanish");
    // What the text is put into is parsed again, by the same rules, unless the shell takes it for an option.
    let option = matches!(input.line.first(), Some(b'-' | b'+'));
    if !option && !input.line.contains(&b'\'') {
        let inner = [b"sh -c '".as_slice(), &input.line, b"'"].concat();
        let inner = decide(&Command::Shell(inner.into()), &facts, policy);
        assert!(strictness(inner.lane) >= strictness(verdict.lane), "sh -c loosens nothing");
    }
    let _ = policy.with_user(&input.rules);
    if let Ok(project) = policy.with_project(&input.rules) {
        let tighter = decide(&line, &facts, &project);
        assert!(strictness(tighter.lane) >= strictness(verdict.lane));
    }
});
