//! What is refused stays refused however it is written, wrapped, or hidden in another tool's argument.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde::Deserialize;
use stigmer_core::Lane;
use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, decide};

#[derive(Deserialize)]
struct Labelled {
    command: String,
    lane: String,
}

fn lane(line: &str) -> Lane {
    let facts = Facts { home: Some("/home/ada".into()), ..Facts::at("/home/ada/project") };
    decide(&Command::Shell(line.into()), &facts, Policy::embedded()).lane
}

/// Commands with one of these labels that are nothing but words, which can be put anywhere.
fn plain(labels: &[&str]) -> Vec<String> {
    let all = include_str!("labelled.jsonl").lines();
    let all = all.map(|line| serde_json::from_str::<Labelled>(line).unwrap());
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b" -/_.:".contains(&byte);
    // What is the shell's own means something else, or nothing, to other programs.
    let own = [
        "time", "coproc", "enable", "exit", "cd", "pushd", "popd", "export", "declare", "unset",
        "set", "read", "source", ".", "eval", "shopt", "local", "kill", "alias", "exec", "hash",
        "history", "command", "builtin", "trap", "bind", "complete", "let", "fc", "wait", "test",
        "ulimit",
    ];
    all.filter(|labelled| labels.contains(&labelled.lane.as_str()))
        .map(|labelled| labelled.command)
        .filter(|command| command.bytes().all(word) && !command.starts_with(' '))
        .filter(|command| !own.contains(&command.split(' ').next().unwrap()))
        .collect()
}

/// What runs `@` and is seen to: as strict as what is in it.
const SEEN: &[&str] = &[
    "command @",
    "command -p @",
    "builtin command @",
    "exec @",
    "env @",
    "env -i @",
    "env A=b @",
    "env -u A @",
    "nice @",
    "nice -n 5 @",
    "ionice -c 3 @",
    "timeout 5 @",
    "timeout -s KILL 5 @",
    "stdbuf -oL @",
    "nohup @",
    "setsid @",
    "flock f @",
    "time @",
    "time -p @",
    "! @",
    "xargs @",
    "xargs -n1 @",
    "xargs -I{} @",
    "xargs -a f @",
    "echo a | xargs @",
    "find . -exec @ \\;",
    "find . -name x -o -exec @ \\;",
    "eval @",
    "eval '@'",
    "eval \"@\"",
    "sh -c '@'",
    "bash -c \"@\"",
    "bash -lc '@'",
    "dash -c '@'",
    "env sh -c '@'",
    "env bash -c '@' x y",
    "xargs sh -c '@'",
    "xargs -I{} sh -c '@ {}'",
    "find . -exec sh -c '@' _ {} \\;",
    "sh -c 'sh -c \"@\"'",
    "/bin/sh -c '@'",
    "/usr/bin/env @",
    "/usr/bin/env sh -c '@'",
    "sudo @",
    "sudo -u root @",
    "doas @",
    "if @; then :; fi",
    "if ls; then @; fi",
    "if ls; then :; else @; fi",
    "while @; do break; done",
    "until @; do break; done",
    "while ls; do @; done",
    "for i in 1 2; do @; done",
    "for ((i=0;i<2;i++)); do @; done",
    "case a in a) @;; esac",
    "{ @; }",
    "( @ )",
    "((1)); @",
    ": $(@)",
    "ls `@`",
    "echo \"$(@)\"",
    "echo \"a `@` b\"",
    "x=$(@)",
    "x=$(@) ls",
    "export x=\"$(@)\"",
    "cat <(@)",
    "ls > >(@)",
    "ls | tee >(@)",
    "[ -n \"$(@)\" ]",
    "[[ -n $(@) ]]",
    "for i in $(@); do ls; done",
    "case $(@) in *) ls;; esac",
    "cat <<E\n$(@)\nE",
    "cat <<E\na `@`\nE",
    "cat <<< \"$(@)\"",
    "ls < <(@)",
    "ls $(ls $(@))",
    "ls; @",
    "ls && @",
    "ls || @",
    "ls | @",
    "@ | ls",
    "ls & @",
    "@ & ls",
    "ls\n@",
    "@\nls",
    "# x\n@",
    "ls # x\n@",
    "ls \\\n&& @",
    "true && { ls; @; }",
    "trap '@' EXIT",
    "trap \"@\" 0; ls",
    "cd . && @ ; ls",
    "A=b; @",
    "set -e; @",
    "ls 2>&1 | @",
    "cat <<'E'; @\ntext\nE",
    "cat <<'E'\ntext\nE\n@",
    "a=1 b=2 env @",
    "poetry run @",
    "bundle exec @",
    "pnpm exec @",
    "uv run @",
    "git bisect run @",
    "git rebase -x '@' HEAD",
    "git rebase --exec='@' HEAD",
];

/// What would run `@` in ways that are not all followed: never read-only.
const HIDDEN: &[&str] = &[
    // The word that is added may be where something is written to.
    "find . -exec @ {} +",
    "env -S '@'",
    "env --split-string='@'",
    "env -C / @",
    "busybox @",
    "toybox @",
    "busybox sh -c '@'",
    "x='@'; $x",
    "x='@'; eval \"$x\"",
    "x='@'; sh -c \"$x\"",
    "f() { @; }; f",
    "function f { @; }; f",
    "alias ls='@'; ls",
    "coproc @",
    "coproc x { @; }",
    "echo '@' | sh",
    "printf '@' | bash",
    "echo @ | bash -s",
    "bash <<< '@'",
    "sh <<E\n@\nE",
    "bash -s <<'E'\n@\nE",
    "cat <<'E' | sh\n@\nE",
    "source /dev/stdin <<< '@'",
    ". <(echo @)",
    "source <(echo @)",
    "bash <(echo @)",
    "sh /dev/stdin <<< '@'",
    "PS4='$(@)' bash -xc ls",
    "BASH_ENV=x bash -c ls",
    "PROMPT_COMMAND='@'; ls",
    "mapfile -C '@' -c 1 a < f",
    "complete -C '@' ls",
    "bind -x '\"a\": @'",
    "hash -p ./x ls; ls",
    "find . -ok @ \\;",
    "find . -okdir @ \\;",
    "find . -execdir @ \\;",
    "fd x -x @",
    "fd -X @",
    "fd --exec @",
    "rg --pre '@' x",
    "rg --pre=@ x",
    "rg --hostname-bin '@' x",
    "sort --compress-program='@' f",
    "sort --compress-prog '@' f",
    "split --filter='@' f",
    "tar cf x --checkpoint=1 --checkpoint-action=exec='@' .",
    "tar tf x --checkpoint=1 --checkpoint-action='exec=@'",
    "tar -I '@' -tf a",
    "tar --use-compress-program='@' -tf a",
    "tar xf a --to-command='@'",
    "tar tf a --rsh-command='@'",
    "tar -F '@' -tf a",
    "tar --info-script='@' -tf a",
    "tar tf a --use-compress-prog='@'",
    "zip x y -T -TT '@'",
    "awk 'BEGIN{system(\"@\")}'",
    "awk 'BEGIN{\"@\" | getline}'",
    "awk '{print | \"@\"}' f",
    "awk '{print |& \"@\"}' f",
    "awk 'BEGIN{while((\"@\"|getline l)>0)print l}'",
    "awk \"BEGIN{system(\\\"@\\\")}\"",
    "gawk '@load \"filefuncs\"; BEGIN{system(\"@\")}'",
    "awk -f f",
    "awk --exec=f",
    "awk -e 'BEGIN{system(\"@\")}'",
    "awk 'BEGIN { c = \"@\"; system (c) }'",
    "sed '1e @' f",
    "sed -n '1e @' f",
    "sed 's/a/@/e' f",
    "sed 's/.*/@/ge' f",
    "sed -e p -e '1e @' f",
    "sed --expression='1e @' f",
    "sed -f f",
    "sed '$!{e @\n}' f",
    "sed 'w f' g",
    "sed 's,a,b,w f' g",
    "perl -e 'system(\"@\")'",
    "perl -e '`@`'",
    "perl -ne 'system(\"@\")' f",
    "perl -pe 'BEGIN{exec \"@\"}' f",
    "perl -Mx -e 1",
    "perl x",
    "python -c 'import os; os.system(\"@\")'",
    "python3 -c '__import__(\"os\").system(\"@\")'",
    "python -m x",
    "python - <<'E'\nimport os; os.system('@')\nE",
    "python <<< 'import os; os.system(\"@\")'",
    "ruby -e 'system(\"@\")'",
    "ruby -e '`@`'",
    "node -e 'require(\"child_process\").execSync(\"@\")'",
    "node -p 'process.exit()'",
    "php -r 'system(\"@\");'",
    "lua -e 'os.execute(\"@\")'",
    "tclsh <<< 'exec @'",
    "vim -c '!@' f",
    "vim -c ':!@' -c q",
    "vim +'!@' f",
    "vi -c '!@'",
    "ex -c '!@'",
    "ed <<< '!@'",
    "view -c '!@'",
    "nvim --cmd '!@'",
    "emacs --batch --eval '(shell-command \"@\")'",
    "less +'!@' f",
    "less +!'@' f",
    "more +'!@' f",
    "man -P '@' ls",
    "man --pager='@' ls",
    "man -H'@' ls",
    "MANPAGER='@' man ls",
    "PAGER='@' man ls",
    "LESSOPEN='|@' less f",
    "PAGER='@' git log",
    "GIT_PAGER='@' git log",
    "GIT_EXTERNAL_DIFF='@' git diff",
    "GIT_SSH_COMMAND='@' git fetch",
    "GIT_EDITOR='@' git commit",
    "EDITOR='@' git commit",
    "GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=core.pager GIT_CONFIG_VALUE_0='@' git log",
    "git -c core.pager='@' log",
    "git -c pager.log='@' log",
    "git -c core.fsmonitor='@' status",
    "git -c alias.x='!@' x",
    "git -c diff.external='@' diff",
    "git -c core.sshCommand='@' fetch",
    "git -c core.editor='@' commit",
    "git -c core.hooksPath=. status",
    "git -c diff.x.textconv='@' diff",
    "git -c include.path=f log",
    "git -c gpg.program='@' log --show-signature",
    "git -c log.showSignature=true log",
    "git --config-env=core.pager=X log",
    "git --exec-path=. log",
    "git --exec-path=/x status",
    "git -p log",
    "git --paginate diff",
    "git --git-dir=x log",
    "git --work-tree=x diff",
    "git --namespace=x log",
    "git grep -O'@' x",
    "git grep --open-files-in-pager='@' x",
    "git diff --ext-diff",
    "git log --ext-diff -p",
    "git show --textconv",
    "git submodule foreach '@'",
    "git filter-branch --tree-filter '@'",
    "git config alias.x '!@'",
    "git config core.pager '@'",
    "git config --add core.pager '@'",
    "git config --edit",
    "git difftool -x '@'",
    "git mergetool",
    "git help log",
    "git web--browse x",
    "git archive --remote=x HEAD",
    "git archive --exec='@' HEAD",
    "git ls-remote --upload-pack='@' .",
    "git fetch --upload-pack='@' .",
    "git clone -u '@' . y",
    "git upload-pack .",
    "git cat-file --filters HEAD:f",
    "git notes edit",
    "git interpret-trailers --in-place f",
    "git instaweb --httpd='@'",
    "git send-email --smtp-server='@'",
    "git var GIT_EDITOR; @",
    "git credential fill",
    "git -C /x log",
    "git -C .. log",
    "git worktree add x",
    "ssh -o ProxyCommand='@' h",
    "ssh -oProxyCommand='@' h",
    "ssh -o LocalCommand='@' -o PermitLocalCommand=yes h",
    "ssh h '@'",
    "scp -S '@' a b:",
    "sftp -b '@' h",
    "rsync -e '@' a b:",
    "rsync --rsh='@' a b:",
    "rsync --rsync-path='@' a b:",
    "parallel @ ::: a",
    "parallel '@' ::: a",
    "make SHELL='@'",
    "make -f f",
    "make --eval='x:;@'",
    "watch '@'",
    "watch -x @",
    "script -c '@'",
    "script -qc '@' /dev/null",
    "strace @",
    "ltrace @",
    "gdb -ex '!@'",
    "gdb -batch -ex 'shell @'",
    "lldb -o 'shell @'",
    "valgrind @",
    "perf stat @",
    "unshare @",
    "chroot . @",
    "nsenter @",
    "setpriv @",
    "runuser -c '@'",
    "su -c '@'",
    "systemd-run @",
    "at now <<< '@'",
    "batch <<< '@'",
    "crontab f",
    "expect -c 'spawn @'",
    "tmux new '@'",
    "screen -dm @",
    "xterm -e @",
    "open f",
    "xdg-open f",
    "start-stop-daemon -S -x @",
    "/lib64/ld-linux-x86-64.so.2 /bin/@",
    "ld.so @",
    "sqlite3 :memory: '.shell @'",
    "sqlite3 f '.system @'",
    "psql -c '\\! @'",
    "mysql -e 'system @'",
    "redis-cli eval '@' 0",
    "ftp -e '@'",
    "nc -e '@' h 1",
    "socat - exec:'@'",
    "openssl engine -t x",
    "dd if=x of=y",
    "curl file:///x -o y",
    "wget --use-askpass='@' x",
    "docker run x @",
    "kubectl exec p -- @",
    "xxd f g",
    "uniq f g",
    "jq -n 'input_filename' > g",
    "yq -i x f",
    "cscope -p",
    "column -t f > g",
    "tee f <<< x",
    "cp f g",
    "install f g",
    "logrotate f",
    "run-parts .",
    "update-alternatives --install a b c 1",
    "pip install .",
    "npm run x",
    "npx @",
    "go run x",
    "cargo run",
    "gcc -wrapper @ x.c",
    "gcc -fplugin=x y.c",
    "ldd x",
    "file -C -m f",
    "date -s x",
    "hostname x",
    "ip netns exec n @",
    "mount f g",
    "iconv -o g f",
    "bash --rcfile f -i",
    "bash --init-file f",
    "bash -O expand_aliases -c ls",
    "bash -i",
    "sh -i",
    "bash -s",
    "zsh -c '@'",
    "ksh -c '@'",
    "csh -c '@'",
    "fish -c '@'",
    "rbash -c '@'",
    "su",
    "login",
    "exec 3<>f",
    "exec > f",
    "enable -f ./x y",
    "set -o history; fc -s",
    "printf -v 'a[$(@)]' x",
    "test -v 'a[$(@)]'",
    "[[ -v 'a[$(@)]' ]]",
    "unset 'a[$(@)]'",
    "read 'a[$(@)]' < f",
    "declare 'a[$(@)]=1'",
    "let 'a[$(@)]=1'",
    "echo $((a[$(@)]))",
    "(( a[$(@)] ))",
    "[[ 'a[$(@)]' -eq 1 ]]",
    "x='a[$(@)]'; echo $((x))",
    "echo ${a[$(@)]}",
    "echo ${x:-$(@)}",
    "echo ${x:=`@`}",
    "echo ${x/$(@)/y}",
    "declare -n r=x",
    "wait -p 'a[$(@)]'",
    "getopts x 'a[$(@)]'",
    "select i in $(@); do :; done",
    "echo $\"$(@)\"",
    "time -f x -o f ls",
    "column --table-hide $(@)",
    "IFS=x; @",
    "PATH=.; ls",
    "LD_PRELOAD=./x ls",
];

fn several(commands: Vec<String>) -> Vec<String> {
    commands.into_iter().filter(|command| command.contains(' ')).collect()
}

fn fill(form: &str, command: &str) -> String {
    form.replace('@', command)
}

/// One word in another spelling.
fn spell(word: &str, how: u8) -> String {
    let middle = word.len() / 2;
    let (start, end) = word.split_at(middle);
    match how % 10 {
        0 => format!("\\{word}"),
        1 => format!("'{word}'"),
        2 => format!("\"{word}\""),
        3 => word.chars().map(|character| format!("\\{character}")).collect(),
        4 => format!("{start}''{end}"),
        5 => format!("{start}\"\"{end}"),
        6 => format!("'{start}'\"{end}\""),
        7 => word.bytes().map(|byte| format!("$'\\{byte:o}'")).collect(),
        8 => format!("$'{}'", word.bytes().map(|byte| format!("\\x{byte:x}")).collect::<String>()),
        _ => format!("{start}$''{end}"),
    }
}

#[test]
fn there_is_something_to_respell() {
    assert!(plain(&["sandbox"]).len() > 200);
    assert!(plain(&["sandbox", "not_ro", "workspace"]).len() > 500);
}

#[test]
fn no_form_makes_a_change_look_like_reading() {
    let mut read_only = Vec::new();
    for form in SEEN.iter().chain(HIDDEN) {
        for command in ["touch x", "rm -r a", "curl x", "./x", "chmod +x a"] {
            let line = fill(form, command);
            if lane(&line) == Lane::HostReadOnly {
                read_only.push(line);
            }
        }
    }
    assert_eq!(read_only, Vec::<String>::new());
}

#[test]
fn forms_that_are_followed_are_as_strict_as_what_they_run() {
    let mut loosened = Vec::new();
    for form in SEEN {
        for command in
            ["curl x", "pip install x", "sudo ls", "git push", "cat .env", "frobnicate", "rm -rf /"]
        {
            let line = fill(form, command);
            if lane(&line) != Lane::Sandbox {
                loosened.push(line);
            }
        }
    }
    assert_eq!(loosened, Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_not_for_the_host_is_not_in_any_form_that_is_followed(
        command in prop::sample::select(plain(&["sandbox"])),
        outer in prop::sample::select(SEEN),
    ) {
        let line = fill(outer, &command);
        prop_assert_eq!(lane(&line), Lane::Sandbox, "{}", line);
    }

    #[test]
    fn what_changes_anything_is_not_read_only_in_any_form(
        command in prop::sample::select(plain(&["sandbox", "not_ro", "workspace"])),
        form in prop::sample::select([SEEN, HIDDEN].concat()),
    ) {
        let line = fill(form, &command);
        prop_assert_ne!(lane(&line), Lane::HostReadOnly, "{}", line);
    }

    #[test]
    fn forms_in_forms_are_as_strict(
        command in prop::sample::select(plain(&["sandbox", "not_ro"])),
        prefixes in prop::collection::vec(
            prop::sample::select(vec!["env ", "command ", "nice ", "timeout 3 ", "xargs ", "env A=b ", "stdbuf -oL ", "/usr/bin/env ", "nohup "]),
            0..5,
        ),
        outer in prop::sample::select(SEEN),
    ) {
        let line = fill(outer, &format!("{}{command}", prefixes.concat()));
        prop_assert_ne!(lane(&line), Lane::HostReadOnly, "{}", line);
    }

    #[test]
    fn a_command_whose_words_are_spelt_in_other_ways_stays_refused(
        command in prop::sample::select(plain(&["sandbox"])),
        how in prop::collection::vec(any::<u8>(), 12),
        outer in prop::sample::select(vec!["@", "env @", "command @", "eval @", "xargs @", "( @ )", "ls $(@)", "ls && @"]),
    ) {
        let words = command.split_whitespace().zip(&how).map(|(word, how)| spell(word, *how));
        let line = fill(outer, &words.collect::<Vec<_>>().join(" "));
        prop_assert_eq!(lane(&line), Lane::Sandbox, "{}", line);
    }

    #[test]
    fn words_that_only_come_apart_when_they_run_are_not_read_only(
        command in prop::sample::select(several(plain(&["sandbox", "not_ro", "workspace"]))),
        joint in prop::sample::select(vec!["${IFS}", "$IFS", "$IFS$9", "${IFS%?}"]),
        braces in any::<bool>(),
    ) {
        let line = match braces {
            true => format!("{{{}}}", command.replace(' ', ",")),
            false => command.replace(' ', joint),
        };
        prop_assert_ne!(lane(&line), Lane::HostReadOnly, "{}", line);
    }
}
