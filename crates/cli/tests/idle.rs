//! A daemon that nobody uses ends itself, and one that is used does not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::Place;
use support::daemon::{Daemon, lives, until};

const NONE: [&str; 2] = ["--listen", "none"];

fn start<'a>(place: &'a Place, limit: &str) -> Daemon<'a> {
    Daemon::start_with(place, &[], &[&NONE[..], &["--idle-limit", limit]].concat())
}

#[test]
fn a_daemon_that_nobody_uses_ends_as_one_that_is_stopped() {
    let place = Place::new();
    start(&place, "50ms").gone();
    for name in ["daemon.json", "socket", "descriptors"] {
        assert!(!place.daemon().join(name).exists(), "{name}");
    }
    let log = place.daemon_log();
    assert!(log.contains("nobody has used it") && log.contains("\"ended\""), "{log}");
    place.run(&["server", "status"]).exits(3);
    // The next one starts as if nothing had been.
    start(&place, "50ms").gone();
}

#[test]
fn the_setting_says_it_where_no_flag_does() {
    let place = Place::new();
    Daemon::start_with(&place, &[("STIGMER_SERVER_IDLE_LIMIT", "50ms")], &NONE).gone();
    place.write_config("server_idle_limit = \"50ms\"\n");
    Daemon::start_with(&place, &[], &NONE).gone();
    // The flag overrules it, and 0 is never.
    let daemon = start(&place, "0");
    let log = place.daemon_log();
    place.run(&["server", "stop"]).ok();
    assert!(!lives(daemon.pid));
    let said = place.daemon_log()[log.len()..].to_owned();
    assert!(said.contains("TERM") && !said.contains("nobody"), "{said}");
    place.run(&["server", "start", "--idle-limit", "soon"]).exits(2);
}

#[test]
fn a_connection_and_a_command_keep_it() {
    let place = Place::new();
    // Longer than it takes to connect, on a machine that is busy.
    let daemon = start(&place, "3s");
    let connection = daemon.try_connect().unwrap();
    let id = daemon.start_command("sleep 60");
    let began = std::time::Instant::now();
    // More than twice the limit goes by, in which it would have ended.
    until("time goes by", || began.elapsed().as_secs() >= 7);
    assert!(lives(daemon.pid), "somebody is connected");
    drop(connection);
    let began = std::time::Instant::now();
    until("time goes by", || began.elapsed().as_secs() >= 7);
    assert!(lives(daemon.pid), "a command runs");
    place.run(&["kill", &id]).ok();
    daemon.gone();
}
