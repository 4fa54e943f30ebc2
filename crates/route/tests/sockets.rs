//! Tools that show sockets and hosts look names up, and so tell somebody elsewhere what was asked.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use stigmer_core::Lane;
use stigmer_core::process::Command;
use stigmer_route::{Facts, Policy, decide};

fn lane(line: &str) -> Lane {
    decide(&Command::Shell(line.into()), &Facts::at("/w"), Policy::embedded()).lane
}

#[test]
fn ports_states_and_numbers_are_only_looked_at() {
    for line in [
        "ss -tlnp",
        "ss -tln 'sport = :3000'",
        "ss -tln '( sport = :http or dport = :443 )'",
        "ss -tn dst 127.0.0.1:8080",
        "ss -tn src '[::1]:80'",
        "ss -tan state established",
        "netstat -tlnp",
        "lsof -i :3000",
        "lsof -i tcp:3000 -P -n",
        "lsof -nP -iTCP -sTCP:LISTEN",
        "lsof -i4UDP:53",
        "lsof README.md",
        "ip -br addr",
        "ip addr show lo",
        "getent passwd root",
        "lspci -nn",
        "who -b",
        "last -n 5",
    ] {
        assert_eq!(lane(line), Lane::HostReadOnly, "{line}");
    }
}

#[test]
fn the_name_of_a_host_is_not_looked_up_from_the_host() {
    for line in [
        "ss dst example.org",
        "ss dst $(cat a.txt).example.org",
        "ss -tn 'dst example.org'",
        "ss dst beef",
        "ss a.txt",
        "ss -r",
        "ss --resolve",
        "netstat a.txt",
        "netstat -l a.txt",
        "lsof -i @example.org",
        "lsof -i@example.org:80",
        "lsof -iTCP@example.org",
        "lsof -i tcp@example.org:80",
        "ip -r addr",
        "ip -resolve addr",
        "getent hosts example.org",
        "getent ahosts example.org",
        "lspci -Q",
        "who --lookup",
        "last -d",
    ] {
        assert_eq!(lane(line), Lane::Sandbox, "{line}");
    }
}
