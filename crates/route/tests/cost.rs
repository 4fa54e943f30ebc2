//! What a decision may cost, counted. How long it takes is measured by `examples/measure.rs`.

#[path = "common/hostile.rs"]
mod hostile;

use stigmer_core::Lane;
use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, decide, work};

fn facts() -> Facts {
    Facts { home: Some("/home/ada".into()), ..Facts::at("/home/ada/project") }
}

#[test]
fn what_hostile_text_costs_has_an_end() {
    // What is over the bearable is counted, too, and what has been begun is finished: some words come
    // from others.
    for (name, command) in hostile::commands() {
        for (count, most) in work(&command, &facts(), Policy::embedded()) {
            let most = most * 2 + 1;
            assert!(count <= most, "{name:.70}: {count} > {most}");
        }
    }
}

#[test]
fn what_costs_too_much_is_not_for_the_host() {
    let mut over = 0;
    for (name, command) in hostile::commands() {
        let counts = work(&command, &facts(), Policy::embedded());
        if counts.iter().any(|(count, most)| count > most) {
            let verdict = decide(&command, &facts(), Policy::embedded());
            assert_eq!(verdict.lane, Lane::Sandbox, "{name:.70}");
            over += 1;
        }
    }
    assert!(over > 20, "{over}: these are to cost too much");
}

#[test]
fn a_script_of_a_hundred_lines_is_still_judged() {
    let line =
        "cd src && python tool.py --level=3 \"$x\" 'a b' 2>/dev/null | grep -v foo | head -5\n";
    let script: String = std::iter::once("cd /home/ada/project\n").chain([line; 1]).collect();
    let lane = |text: &str| decide(&Command::Shell(text.into()), &facts(), Policy::embedded()).lane;
    assert_eq!(lane(&script), Lane::HostWorkspace);
    let line = "python tool.py --level=3 2>/dev/null | grep -v foo | head -5\n";
    assert_eq!(lane(&line.repeat(60)), Lane::HostWorkspace);
    assert_eq!(lane(&"grep -rn foo src | head -5; ls\n".repeat(100)), Lane::HostReadOnly);
}
