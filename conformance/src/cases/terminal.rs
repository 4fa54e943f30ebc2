//! Terminals.

use std::time::Duration;

use futures_util::StreamExt;
use stigmer_core::process::{
    Execute, Lifetime, OutputEvent, OutputKind, SignalRequest, StartProcess, TerminalSize,
};
use stigmer_core::{ErrorCode, OutputStream, ProcessId};

use crate::Fixture;
use crate::check::{HOLD, UNTIL_EXIT, refused_with_hint};
use crate::harness::cases;

cases! {
    #[needs(Terminal)]
    the_three_streams_are_one_terminal,
    #[needs(Terminal)]
    its_size_is_what_was_asked_for_and_can_change,
    #[needs(Terminal)]
    what_is_typed_is_echoed_and_read,
    #[needs(Terminal)]
    control_c_interrupts_the_foreground,
    #[needs(Terminal)]
    closing_its_input_types_the_end,
    #[needs(Terminal)]
    job_control_works,
    #[needs(Terminal)]
    a_signal_goes_to_the_foreground,
    #[needs(Terminal)]
    the_last_output_is_not_lost,
    #[needs(Terminal)]
    a_kill_leaves_nothing,
    only_a_terminal_has_a_size,
}

struct Session<'a> {
    place: &'a Fixture,
    id: ProcessId,
    stream: OutputStream,
    seen: String,
    code: Option<i32>,
}

impl<'a> Session<'a> {
    async fn begin(place: &'a Fixture, line: &str) -> Self {
        let mut start = StartProcess::shell(line);
        start.terminal = Some(TerminalSize { rows: 33, columns: 101 });
        start.timeout = Some(Duration::from_secs(60));
        let id = place.executor.start_process(start).await.unwrap().id;
        let stream = place.executor.process_output(&id, HOLD).await.unwrap();
        Self { place, id, stream, seen: String::new(), code: None }
    }

    /// Reads until the terminal has shown a text, and forgets what was shown up to it.
    async fn expect(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            assert!(self.code.is_none(), "it ended before {text:?}; left {:?}", self.seen);
            self.more().await;
        }
    }

    async fn more(&mut self) {
        match self.stream.next().await.unwrap().unwrap() {
            OutputEvent::Output { bytes, stream, .. } => {
                assert_eq!(stream, OutputKind::Terminal);
                self.seen.push_str(&bytes.to_string_lossy());
            }
            OutputEvent::Exit(exit) => self.code = Some(exit.code),
            gap @ OutputEvent::Gap { .. } => panic!("{gap:?}"),
        }
    }

    async fn send(&self, keys: &str) {
        self.place.executor.write_stdin(&self.id, keys.into()).await.unwrap();
    }

    async fn end(mut self) -> i32 {
        loop {
            if let Some(code) = self.code {
                return code;
            }
            self.more().await;
        }
    }
}

async fn the_three_streams_are_one_terminal(place: Fixture) {
    let line = "test -t 0 && test -t 1 && test -t 2 && echo all; echo err >&2; \
                test \"$(tty)\" = \"$(readlink /proc/$$/fd/2)\" && echo same; echo \"<$TERM>\"; \
                : < /dev/tty && echo controlling";
    let mut start = StartProcess::shell(line);
    start.terminal = Some(TerminalSize::default());
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    let shown = done.stdout.head.to_string_lossy().into_owned();
    assert_eq!(shown, "all\r\nerr\r\nsame\r\n<xterm-256color>\r\ncontrolling\r\n");
    assert!(done.stderr.head.is_empty());
    assert!(place.executor.process(&done.id).await.unwrap().terminal);
    let all = place.collect(&done.id, UNTIL_EXIT).await;
    assert_eq!(all.bytes, shown.as_bytes());
}

async fn its_size_is_what_was_asked_for_and_can_change(place: Fixture) {
    let line = "stty size; while read -r; do stty size; done; exit 4";
    let mut session = Session::begin(&place, line).await;
    session.expect("33 101\r\n").await;
    for (rows, columns) in [(44, 120), (1, 1), (500, 65_535)] {
        let size = TerminalSize { rows, columns };
        place.executor.resize(&session.id, size).await.unwrap();
        session.send("\n").await;
        session.expect(&format!("{rows} {columns}\r\n")).await;
    }
    session.send("\x04").await;
    assert_eq!(session.end().await, 4);

    // Programs are told by a signal.
    let line = "trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.05; done";
    let mut session = Session::begin(&place, line).await;
    session.expect("ready\r\n").await;
    let size = TerminalSize { rows: 5, columns: 6 };
    place.executor.resize(&session.id, size).await.unwrap();
    session.expect("5 6\r\n").await;
    assert_eq!(session.end().await, 5);
}

async fn what_is_typed_is_echoed_and_read(place: Fixture) {
    let mut session = Session::begin(&place, "echo ready; read -r a; echo \"<$a>\"; exit 4").await;
    session.expect("ready\r\n").await;
    // The line can be corrected while it is typed.
    session.send("tyq\x7fped λ\n").await;
    session.expect("ped λ\r\n").await;
    session.expect("<typed λ>\r\n").await;
    assert_eq!(session.end().await, 4);
}

async fn control_c_interrupts_the_foreground(place: Fixture) {
    let mut session = Session::begin(&place, "echo ready; sleep 300").await;
    session.expect("ready").await;
    session.send("\x03").await;
    session.expect("^C").await;
    assert_eq!(session.end().await, 130);

    let line = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done";
    let mut session = Session::begin(&place, line).await;
    session.expect("ready").await;
    session.send("\x03").await;
    session.expect("caught").await;
    assert_eq!(session.end().await, 5);
}

async fn closing_its_input_types_the_end(place: Fixture) {
    let mut session = Session::begin(&place, "echo ready; cat; echo \"end $?\"; exit 6").await;
    session.expect("ready").await;
    session.send("line\n").await;
    session.expect("line\r\nline\r\n").await;
    place.executor.close_stdin(&session.id).await.unwrap();
    session.expect("end 0").await;
    assert_eq!(session.end().await, 6);
}

async fn job_control_works(place: Fixture) {
    let line = "exec bash --norc --noprofile -i";
    let mut session = Session::begin(&place, line).await;
    session.send("PS1='# '; echo rea''dy\n").await;
    session.expect("ready\r\n").await;
    session.send("sleep 300\n").await;
    session.expect("sleep 300\r\n").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    session.send("\x1a").await;
    session.expect("Stopped").await;
    session.send("jobs; kill %1; wait %1; echo en''ded\n").await;
    session.expect("ended\r\n").await;
    session.send("exit 7\n").await;
    assert_eq!(session.end().await, 7);
}

async fn a_signal_goes_to_the_foreground(place: Fixture) {
    let mut session = Session::begin(&place, "exec bash --norc --noprofile -i").await;
    session.send("PS1='# '; sh -c 'echo rea\"\"dy; exec sleep 300'; echo \"en\"ded $?\n").await;
    session.expect("ready\r\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    place.executor.signal(&session.id, SignalRequest::Send(15)).await.unwrap();
    session.expect("ended 143").await;
    session.send("exit 0\n").await;
    assert_eq!(session.end().await, 0);
}

async fn the_last_output_is_not_lost(place: Fixture) {
    for _ in 0..10 {
        let mut start = StartProcess::shell("seq 1 3000; printf end");
        start.terminal = Some(TerminalSize::default());
        let done = place.executor.execute(Execute::new(start)).await.unwrap();
        let expected: String = (1..=3000).map(|number| format!("{number}\r\n")).collect();
        let shown = done.stdout.head.as_bytes();
        crate::check::same_bytes(shown, format!("{expected}end").as_bytes(), "the terminal");
    }
}

async fn a_kill_leaves_nothing(place: Fixture) {
    let line = "trap '' HUP TERM; sleep 300 & echo $! > pids; setsid sleep 300 & echo $! >> pids; \
                echo ready; wait";
    let mut session = Session::begin(&place, line).await;
    session.expect("ready").await;
    let exit = place.executor.signal(&session.id, SignalRequest::Kill).await.unwrap().unwrap();
    assert_eq!((exit.code, exit.survivors), (137, vec![]));
    assert_eq!(
        place
            .text("for p in $(cat pids); do kill -0 $p && echo $p; done 2>&1 | grep -v such; true")
            .await,
        ""
    );
}

async fn only_a_terminal_has_a_size(place: Fixture) {
    let mut start = StartProcess::shell("sleep 300");
    start.lifetime = Lifetime::Detached;
    let id = place.executor.start_process(start).await.unwrap().id;
    let result = place.executor.resize(&id, TerminalSize::default()).await;
    refused_with_hint(result, ErrorCode::NotATerminal, &[id.as_str()]);
    place.executor.signal(&id, SignalRequest::Kill).await.unwrap();
}
