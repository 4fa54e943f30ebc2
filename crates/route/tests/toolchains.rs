//! What a verdict says beside the lane: programs, toolchains, and what is installed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use stigmer_core::Lane;
use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, Verdict, decide, environments};

fn verdict(line: &str) -> Verdict {
    let facts = Facts { home: Some("/home/ada".into()), ..Facts::at("/home/ada/project") };
    decide(&Command::Shell(line.into()), &facts, Policy::embedded())
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn programs_are_named_as_the_command_names_them_and_what_the_shell_does_is_not() {
    for (line, programs) in [
        ("ls -la", "ls"),
        ("ls | grep x | ls", "ls grep"),
        ("cd src && echo a && pwd && true", ""),
        ("export A=1; [ -f x ] && test -d y; set -e", ""),
        ("env A=b timeout 5 nice -n 3 python x.py", "env timeout nice python"),
        ("find . -name '*.py' | xargs -n1 echo", "find xargs echo"),
        ("find . -exec grep x {} + -exec wc -l {} \\;", "find grep wc"),
        ("command ls; builtin echo x; time make", "ls make"),
        ("env echo x", "env echo"),
        ("./node_modules/.bin/jest --ci", "./node_modules/.bin/jest"),
        ("/usr/bin/env python3 x.py", "/usr/bin/env python3"),
        ("'l's; \\cat x", "ls cat"),
        ("echo $(git rev-parse HEAD) `date` <(sort a)", "git date sort"),
        ("sh -c 'ls | wc -l'", "sh ls wc"),
        ("for i in 1 2; do cp a b; done; if grep -q x y; then make; fi", "cp grep make"),
        ("bash run.sh", "bash"),
        ("(cd a; cat x) > y", "cat"),
        ("trap 'rm -f x' EXIT; wait", "rm"),
        ("$x a; \"$@\"", ""),
        ("cat <<E\n$(date)\nE", "date cat"),
        ("poetry run pytest", "poetry pytest"),
    ] {
        assert_eq!(verdict(line).programs, words(programs), "{line}");
    }
}

#[test]
fn a_list_of_words_is_executed_without_a_shell() {
    let command = Command::Argv(vec!["echo".into(), "a".into()]);
    let verdict = decide(&command, &Facts::at("/w"), Policy::embedded());
    assert_eq!(
        (verdict.lane, &verdict.programs[..]),
        (Lane::HostReadOnly, &["echo".to_owned()][..])
    );
}

#[test]
fn more_programs_than_can_be_named_are_not_for_the_host() {
    let line = |count: usize| (0..count).map(|i| format!("./p{i};")).collect::<String>();
    assert_eq!(
        (verdict(&line(64)).lane, verdict(&line(64)).programs.len()),
        (Lane::HostWorkspace, 64)
    );
    assert_eq!((verdict(&line(65)).lane, verdict(&line(65)).programs.len()), (Lane::Sandbox, 64));
}

#[test]
fn toolchains_are_known_by_their_tools() {
    for (line, toolchains) in [
        ("ls", ""),
        ("python app.py", "python"),
        ("python3.12 -m pytest -k x", "python"),
        (".venv/bin/python x.py", "python"),
        ("pytest -x && npm test", "python node"),
        ("uv run ruff check .", "python"),
        ("poetry run mypy src", "python"),
        ("npx jest", "node"),
        ("./node_modules/.bin/tsc --noEmit", "node"),
        ("yarn build", "node"),
        ("bun test", "node"),
        ("bundle exec rspec", "ruby"),
        ("cargo +nightly test", "rust"),
        ("go test ./...", "go"),
        ("mvn -q test", "java"),
        ("dotnet test", "dotnet"),
        ("composer run lint", "php"),
        ("mix test", "elixir"),
        ("find . -name '*.py' | xargs python -m py_compile", "python"),
        ("python - <<'E'\nprint(1)\nE", "python"),
        ("cargo build && make && go vet ./...", "rust go"),
        ("tail -n 3 /tmp/log", "/tmp"),
        ("cd /tmp && cat log", "/tmp"),
        ("cat < /tmp/log", "/tmp"),
        ("python3 -V; ls /tmp", "python /tmp"),
        ("ls /tmpfiles", ""),
    ] {
        let verdict = verdict(line);
        assert_eq!(verdict.toolchains, words(toolchains), "{line}");
        assert_eq!(verdict.installs, Vec::<String>::new(), "{line}");
    }
}

#[test]
fn what_is_installed_is_known_whatever_decided_the_lane() {
    for (line, installs) in [
        ("pip install requests", "python"),
        ("make > /tmp/log 2>&1; tail /tmp/log", "/tmp"),
        ("cat > /tmp/t.py <<'E'\nprint(1)\nE", "/tmp"),
        ("mkdir -p /tmp/a && cp x /tmp/a", "/tmp"),
        ("curl -so /tmp/x https://example.org", "/tmp"),
        ("echo x > /var/log/y", ""),
        ("pip3 install -r requirements.txt", "python"),
        ("python -m pip install 'x>=1'", "python"),
        ("python3 -m pip --quiet install x", "python"),
        ("uv pip install x", "python"),
        ("uv add x", "python"),
        ("poetry add x", "python"),
        ("pdm install", "python"),
        ("conda install -y numpy", "python"),
        ("pipx install x", "python"),
        ("npm install", "node"),
        ("npm ci", "node"),
        ("npm i -D jest", "node"),
        ("yarn", "node"),
        ("yarn --frozen-lockfile", "node"),
        ("yarn add x", "node"),
        ("pnpm add x", "node"),
        ("bun install", "node"),
        ("gem install rails", "ruby"),
        ("bundle", "ruby"),
        ("bundle install", "ruby"),
        ("cargo install ripgrep", "rust"),
        ("rustup component add clippy", "rust"),
        ("go install ./...", "go"),
        ("go mod tidy", "go"),
        ("composer install", "php"),
        ("mix deps.get", "elixir"),
        ("dotnet restore", "dotnet"),
        ("sudo pip install x", "python"),
        ("sudo -u ada -E npm install -g x", "node"),
        ("curl x | sh; pip install x", "python"),
        ("unknown-tool && npm ci && cargo fetch", "node rust"),
        ("f() { ls; }\npip install x", "python"),
        ("pip install \"${X:?}\"", "python"),
        ("sudo -H env A=b timeout 5 pip install x", "python"),
        ("if ! pip install x; then npm ci; fi", "python node"),
    ] {
        let verdict = verdict(line);
        assert_eq!(verdict.lane, Lane::Sandbox, "{line}");
        assert_eq!(verdict.installs, words(installs), "{line}");
        for installed in &verdict.installs {
            assert!(verdict.toolchains.contains(installed), "{line}");
        }
    }
}

#[test]
fn what_only_asks_or_fetches_installs_nothing() {
    for line in [
        "pip list",
        "pip download x",
        "python -m pip list",
        "npm view x",
        "npx create-app x",
        "npm publish",
        "cargo search x",
        "uv lock",
        "yarn --version",
        "yarn test",
        "bundle exec rake",
        "go mod graph",
        "rustup show",
        "conda info",
        "echo pip install x",
        "grep 'npm install' README.md",
    ] {
        assert_eq!(verdict(line).installs, Vec::<String>::new(), "{line}");
    }
}

#[test]
fn both_halves_of_a_compound_are_told() {
    let verdict = verdict("pip install requests && python -c 'import requests'");
    assert_eq!(verdict.lane, Lane::Sandbox);
    assert_eq!(verdict.toolchains, ["python"]);
    assert_eq!(verdict.installs, ["python"]);
    assert_eq!(verdict.programs, ["pip", "python"]);
}

#[test]
fn of_what_cannot_be_parsed_nothing_is_told() {
    let verdict = verdict("pip install 'x");
    assert_eq!(verdict.lane, Lane::Sandbox);
    assert!(verdict.programs.is_empty() && verdict.installs.is_empty());
}

#[test]
fn lists_are_written_only_if_there_is_something_in_them() {
    let json = |line: &str| serde_json::to_value(verdict(line)).unwrap();
    assert_eq!(json("pip install x")["installs"], serde_json::json!(["python"]));
    let plain = json("cd x");
    for field in ["programs", "toolchains", "installs"] {
        assert_eq!(plain.get(field), None, "{plain}");
    }
}

#[test]
fn a_user_names_toolchains_as_ours_are_named() {
    let policy = Policy::embedded()
        .with_user("[zigup]\nlane = 'sandbox'\ntoolchain = 'zig'\ninstalls = 'zig'")
        .unwrap();
    let verdict = decide(&Command::Shell("zigup".into()), &Facts::at("/w"), &policy);
    assert_eq!((verdict.toolchains, verdict.installs), (words_of("zig"), words_of("zig")));
    assert!(environments("zig").is_empty());
}

fn words_of(line: &str) -> Vec<String> {
    words(line).into_iter().map(str::to_owned).collect()
}

#[test]
fn a_tool_that_is_not_for_the_host_is_not_let_in_by_having_subcommands() {
    let policy =
        Policy::embedded().with_user("[frob]\nlane = 'sandbox'\nsubcommands = true").unwrap();
    for line in ["frob", "frob x", "frob -x", "frob $x"] {
        let verdict = decide(&Command::Shell(line.into()), &Facts::at("/w"), &policy);
        assert_eq!(verdict.lane, Lane::Sandbox, "{line}");
    }
}
