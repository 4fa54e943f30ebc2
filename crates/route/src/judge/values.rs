//! What a tool does with a value, and whether the lane allows it.

use std::path::{Path, PathBuf};

use crate::environments::TEMPORARY;
use crate::languages::{awk, sed};
use crate::path;
use crate::rules::Kind;
use crate::shell::word::is_name;

use super::state::State;
use super::word::{Piece, Word};
use super::{Judge, note};

/// Where a path leads, as far as its text tells.
enum Where {
    /// To these; with each whether it or something beneath is meant.
    Known(Vec<PathBuf>),
    /// Not known.
    Unknown,
}

impl Judge<'_> {
    /// Judges one value.
    pub(super) fn value(&mut self, word: &Word, kind: &Kind, rule: &str, state: &State) {
        let token = word.show();
        match kind {
            Kind::Text => {}
            Kind::Number => {
                let part = |byte: u8| byte.is_ascii_digit() || b"+-.".contains(&byte);
                let number = word.exact().map(|text| text.bytes().all(part));
                if !number.unwrap_or(word.pieces == [Piece::Integer]) {
                    self.sandbox(rule, &token, "this may not be a number, and never end");
                }
            }
            Kind::Read => self.read_path(word, rule, state, true),
            Kind::List => self.read_path(word, rule, state, false),
            Kind::Write => self.write_path(word, rule, state),
            // Names of files to edit mostly come from a search: the lane says which can be.
            Kind::Edit if matches!(places(word, state), Where::Unknown) => {
                self.workspace(rule, &token, "it edits files whose names show when it runs");
                self.reads_unknown = true;
            }
            Kind::Edit => self.write_path(word, rule, state),
            Kind::Within => self.write_path(word, rule, state),
            Kind::Archive => {
                let given = word.exact() == Some("-") || self.is_inside(word, state);
                if token.contains(':') || !given {
                    self.sandbox(rule, &token, "this archive is not one of the workspace");
                }
                self.read_path(word, rule, state, true);
            }
            Kind::Key => {
                if !word.exact().is_some_and(|text| text.contains('.') && !text.contains('=')) {
                    self.sandbox(rule, &token, "this is no setting's name");
                }
            }
            Kind::Repository => {
                if !self.is_here(word, state) {
                    let reason =
                        "another repository's configuration may name programs that git runs";
                    self.workspace(rule, &token, reason);
                }
                self.read_path(word, rule, state, false);
            }
            Kind::Argument => self.argument(word, rule),
            Kind::Change => self.workspace(rule, &token, "it changes something of the workspace"),
            Kind::Code => self.code(word, rule),
            Kind::Run => {
                self.read_path(word, rule, state, true);
                if word.exact() == Some("-") || self.is_inside(word, state) {
                    self.workspace(rule, &token, "it runs code of the workspace");
                } else {
                    self.sandbox(rule, &token, "it runs code from outside the workspace");
                }
            }
            Kind::Module => {
                let refused = &self.policy.lists().refused_modules;
                let listed = |name: &str| {
                    let inside = |known: &String| {
                        name == known
                            || name
                                .strip_prefix(known.as_str())
                                .is_some_and(|rest| rest.starts_with('.'))
                    };
                    refused.iter().any(inside)
                };
                // One that is a tool as well is judged as that.
                let tool = |name: &str| self.policy.tool(name);
                let judged = |name| tool(name).is_some_and(|tool| tool.toolchain.is_some());
                match word.exact() {
                    Some(name) if !listed(name) || judged(name) => {
                        self.workspace(rule, &token, "it runs code of the workspace");
                    }
                    _ => self.sandbox(rule, &token, "this module installs or reaches the network"),
                }
            }
            Kind::Script => match word.exact() {
                Some(text) if rule == "trap" => self.traps.push(text.to_owned()),
                Some(text) => self.script(text, &mut state.clone()),
                None => self.sandbox(rule, &token, "what the shell runs is not known"),
            },
            Kind::Sed => match word.exact() {
                Some(text) => match sed::effects(text) {
                    Ok(effects) => {
                        for file in effects.reads {
                            self.read_path(&Word::exactly(&file), rule, state, true);
                        }
                        for file in effects.writes {
                            self.write_path(&Word::exactly(&file), rule, state);
                        }
                    }
                    Err(reason) => self.sandbox(rule, &token, reason),
                },
                None => self.sed_with_unknowns(word, rule),
            },
            Kind::Awk => match word.exact().map(awk::only_reads) {
                Some(Ok(())) => {}
                Some(Err(reason)) => self.sandbox(rule, &token, reason),
                None => self.sandbox(rule, &token, "what the program does is not known"),
            },
            Kind::Plus => {
                if !word.start().starts_with('+') {
                    self.sandbox(rule, &token, "this would set something");
                }
            }
            Kind::Name => match word.exact().filter(|name| is_name(name)) {
                Some(name) => {
                    self.assignment_allowed(name, None, false);
                    self.changed.push(name.to_owned());
                }
                None => self.sandbox(rule, &token, "this is not a plain name"),
            },
            Kind::Inert => {
                if token.contains("$(") || token.contains('`') {
                    self.sandbox(rule, &token, "the shell may evaluate this");
                }
            }
            Kind::Endpoint => {
                if !word.exact().is_some_and(|text| text.split_whitespace().all(is_endpoint)) {
                    self.sandbox(rule, &token, "a name of a host would be looked up elsewhere");
                }
            }
            Kind::Local => {
                if token.contains('@') {
                    self.sandbox(rule, &token, "a name of a host would be looked up elsewhere");
                }
                self.read_path(word, rule, state, false);
            }
            Kind::Input => {
                if word.start().is_empty() || token.starts_with('@') {
                    self.workspace(rule, &token, "it may be a file of options, which load code");
                }
                self.read_path(word, rule, state, true);
            }
            Kind::Format => {
                let signature = |text: &str| text.contains("%G") || text.contains("(signature");
                if word.exact().is_none_or(signature) {
                    self.workspace(rule, &token, "it may have gpg look at signatures");
                }
            }
            Kind::Choice(words) => {
                let one_of = |text: &str| {
                    words.iter().any(|known| match known.strip_suffix('*') {
                        Some(start) => text.starts_with(start),
                        None => known == text,
                    })
                };
                if !word.exact().is_some_and(one_of) {
                    self.sandbox(rule, &token, "no rule knows this value");
                }
            }
            Kind::Command | Kind::Exec | Kind::ExecThere | Kind::Assign | Kind::Refuse => {
                self.sandbox(rule, &token, "this is not accepted here");
            }
        }
    }

    /// Numbers that are only known later do no harm in a program for sed.
    fn sed_with_unknowns(&mut self, word: &Word, rule: &str) {
        let mut text = String::new();
        for piece in &word.pieces {
            match piece {
                Piece::Text(known) => text.push_str(known),
                Piece::Integer => text.push('1'),
                _ => return self.sandbox(rule, &word.show(), "what the program does is not known"),
            }
        }
        match sed::effects(&text) {
            Ok(effects) if effects.reads.is_empty() && effects.writes.is_empty() => {}
            _ => self.sandbox(rule, &word.show(), "what the program does is not known"),
        }
    }

    fn code(&mut self, word: &Word, rule: &str) {
        let shown = word.show();
        let words = &self.policy.lists().network_words;
        match words.iter().find(|known| shown.contains(known.as_str())) {
            Some(found) => {
                self.sandbox(rule, found, "the code speaks of the network or of installing")
            }
            None => self.workspace(rule, &shown, "it runs code"),
        }
    }

    /// An argument of a program that may do anything in its lane.
    fn argument(&mut self, word: &Word, rule: &str) {
        // What these ask for is not done in the workspace, or not only.
        const ELSEWHERE: &[&str] =
            &["install", "publish", "deploy", "upload", "develop", "uninstall", "upgrade"];
        let shown = word.show();
        self.named_secret(word);
        let version = shown.split_once('@').map_or("", |(_, version)| version);
        let digit = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
        let fetched = version.starts_with("latest") || version.strip_prefix('v').is_some_and(digit);
        if ELSEWHERE.contains(&shown.as_str()) || fetched {
            return self.sandbox(rule, &shown, "it asks for something outside the workspace");
        }
        // An address: it wants to connect.
        let Some((_, rest)) = shown.split_once("://") else { return };
        let host = rest.split(['/', '?', '#']).next().unwrap_or("");
        let host = host.rsplit('@').next().unwrap_or("");
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        if !matches!(host, "localhost" | "127.0.0.1" | "[::1]" | "") {
            self.sandbox(rule, &shown, "it is given an address of the network");
        }
    }

    fn read_path(&mut self, word: &Word, rule: &str, state: &State, contents: bool) {
        let token = word.show();
        if word.exact() == Some("-") {
            return;
        }
        if token.len() > path::MOST_PATH {
            return self.sandbox(rule, &token, "no path is as long");
        }
        if token.contains("://") {
            return self.sandbox(rule, &token, "it is an address, which some tools fetch");
        }
        let mut shown = vec![token.clone()];
        if contents && word.pieces.contains(&Piece::Below) {
            self.reads_unknown = true;
        }
        match places(word, state) {
            Where::Unknown => self.reads_unknown = true,
            Where::Known(places) => {
                for place in &places {
                    self.uses_temporary(place);
                    if self.above_all(place, contents) && !word.many {
                        let reason = "everything beneath would be read, secrets included";
                        return self.sandbox(rule, &token, reason);
                    }
                    shown.push(place.to_string_lossy().into_owned());
                    if word.exact().is_none() {
                        // A pattern goes on where the known part ends.
                        let tail = token.trim_start_matches('/');
                        shown.push(format!("{}/{tail}", place.to_string_lossy()));
                    }
                }
            }
        }
        for path in shown {
            if self.policy.credentials().hold(&path) {
                return self.sandbox("path:credential", &token, "it may hold credentials");
            }
            if !self.is_plain_special(&path) {
                return self.sandbox("path:special", &token, "a device, or a secret of processes");
            }
        }
    }

    /// Remembers that a command reads in everybody's temporary directory, which is another one in the
    /// sandbox.
    fn uses_temporary(&mut self, place: &Path) {
        if place.starts_with(TEMPORARY) && !place.starts_with(&self.facts.root) {
            note(&mut self.toolchains, Some(TEMPORARY));
        }
    }

    /// A word that is a secret's path, whatever the tool does with it.
    pub(super) fn named_secret(&mut self, word: &Word) {
        let shown = word.show();
        let path = shown.rsplit('=').next().unwrap_or(&shown);
        let credentials = self.policy.credentials();
        if !path.contains(' ') && credentials.hold(path) {
            self.sandbox("path:credential", &shown, "it may hold credentials");
        }
    }

    /// A directory above much that is not the workspace's.
    fn above_all(&self, place: &Path, contents: bool) -> bool {
        let home = self.facts.home.as_deref();
        let above_home = home.is_some_and(|home| home.starts_with(place));
        let above_root = self.facts.root.starts_with(place) && place != self.facts.root;
        let special = ["/", "/proc", "/sys", "/dev", "/etc", "/home", "/root", "/run", "/var"];
        contents
            && (above_home || above_root || special.iter().any(|known| Path::new(known) == place))
    }

    /// Of `/dev` and `/proc` only what is listed.
    fn is_plain_special(&self, path: &str) -> bool {
        let lists = self.policy.lists();
        let resolved = path::resolve(Path::new("/"), path);
        if !path.starts_with('/') {
            return true;
        }
        let listed = |known: &[String]| {
            known.iter().any(|known| match known.strip_suffix("/*") {
                Some(above) => resolved.starts_with(above) && resolved != Path::new(above),
                None => resolved == Path::new(known),
            })
        };
        // What gawk takes for an address of the network (`/inet/tcp/0/host/80`).
        if ["/inet", "/inet4", "/inet6"].iter().any(|special| resolved.starts_with(special)) {
            return false;
        }
        if resolved.starts_with("/dev") && resolved != Path::new("/dev") {
            return listed(&lists.devices);
        }
        if resolved.starts_with("/proc") && resolved != Path::new("/proc") {
            return listed(&lists.kernel_files);
        }
        !self.policy.kernel().hold(path) || !path.contains(['*', '?', '['])
    }

    fn write_path(&mut self, word: &Word, rule: &str, state: &State) {
        let token = word.show();
        if let Some(text) = word.exact()
            && self.policy.lists().devices.iter().any(|device| device == text)
        {
            return;
        }
        let Where::Known(places) = places(word, state) else {
            return self.sandbox(rule, &token, "where it writes is only known when it runs");
        };
        for place in places {
            let Ok(relative) = place.strip_prefix(&self.facts.root) else {
                return self.sandbox(rule, &token, "it writes outside the workspace");
            };
            let relative = relative.to_string_lossy();
            let whole = relative.is_empty() && word.exact().is_some();
            let pattern = format!("{relative}/{token}");
            let protected = self.policy.protected();
            let within = |path: &str| protected.hold(path);
            let repository = place.ends_with(".git");
            if repository || within(&relative) || (word.exact().is_none() && within(&pattern)) {
                return self.sandbox("path:protected", &token, "this is not changed from the host");
            }
            if whole && rule == "rm" {
                return self.sandbox(rule, &token, "the whole workspace would be removed");
            }
        }
        self.workspace(rule, &token, "it writes in the workspace");
    }

    /// Whether a path leads into the workspace, from wherever the command may be.
    pub(super) fn is_inside(&self, word: &Word, state: &State) -> bool {
        match places(word, state) {
            Where::Known(places) => places.iter().all(|place| place.starts_with(&self.facts.root)),
            Where::Unknown => false,
        }
    }

    /// Whether a path is the directory that the facts speak of.
    fn is_here(&self, word: &Word, state: &State) -> bool {
        let exact = word.exact().is_some();
        let here = |place: &PathBuf| *place == self.facts.cwd;
        matches!(places(word, state), Where::Known(places) if exact && places.iter().all(here))
    }
}

/// Whether a word of a filter for sockets names no host: `state`, `sport`, `:3000`, `127.0.0.1:*`, and for
/// lsof `TCP:8080`.
fn is_endpoint(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "state",
        "exclude",
        "established",
        "syn-sent",
        "syn-recv",
        "fin-wait-1",
        "fin-wait-2",
        "time-wait",
        "closed",
        "close-wait",
        "last-ack",
        "listening",
        "closing",
        "all",
        "connected",
        "synchronized",
        "bucket",
        "big",
        "sport",
        "dport",
        "src",
        "dst",
        "eq",
        "ne",
        "lt",
        "gt",
        "le",
        "ge",
        "=",
        "==",
        "!=",
        "<",
        ">",
        "<=",
        ">=",
        "and",
        "or",
        "not",
        "&",
        "&&",
        "|",
        "||",
        "!",
        "(",
        ")",
    ];
    let only = |text: &str, more: &[u8]| {
        text.bytes().all(|byte| byte.is_ascii_digit() || more.contains(&byte))
    };
    let numeric = only(word, b".:*/[],-");
    let six = word.matches(':').count() > 1
        && word.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.[]*/".contains(&byte));
    let service = word
        .strip_prefix(':')
        .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    // A protocol, and a port by its number.
    let protocol = word.trim_start_matches(['4', '6']).to_ascii_lowercase();
    let rest = ["tcp", "udp"].iter().find_map(|known| protocol.strip_prefix(known));
    WORDS.contains(&word)
        || numeric
        || six
        || service
        || rest.is_some_and(|rest| only(rest, b":,-"))
}

/// Where a word leads as a path; of a pattern, the directory that it is certainly beneath.
fn places(word: &Word, state: &State) -> Where {
    let known = match (word.exact(), &word.pieces[..]) {
        (Some(text), _) => text.to_owned(),
        (None, pieces) => {
            let only_below = pieces.iter().all(|piece| *piece != Piece::Any);
            let text = word.start();
            let rest =
                if pieces.first().is_some_and(|p| matches!(p, Piece::Text(_))) { 1 } else { 0 };
            let ups = |text: &str| text.split('/').any(|part| part == "..");
            let up = pieces[rest..]
                .iter()
                .any(|piece| matches!(piece, Piece::Text(t) if t.contains("..")));
            let directory = text.rfind('/').map_or("", |at| &text[..=at]);
            let last = &text[directory.len()..];
            // `.*` may be `..`; a number after a dot cannot.
            if !only_below
                || up
                || last.starts_with('.') && !last.starts_with("..") && last.len() == 1
                || ups(last)
            {
                return Where::Unknown;
            }
            directory.to_owned()
        }
    };
    if known.len() > path::MOST_PATH {
        return Where::Unknown;
    }
    if known.starts_with('/') {
        return Where::Known(vec![path::resolve(Path::new("/"), &known)]);
    }
    if state.directories.is_empty() {
        return Where::Unknown;
    }
    Where::Known(state.directories.iter().map(|from| path::resolve(from, &known)).collect())
}

/// Replaces a mark in a word by a path beneath `start`, or by anything.
pub(super) fn fill(word: &Word, mark: &str, start: Option<&str>) -> Word {
    let mut filled = Word { pieces: Vec::new(), many: word.many };
    for piece in &word.pieces {
        let Piece::Text(text) = piece else {
            filled.push(piece.clone());
            continue;
        };
        for (index, part) in text.split(mark).enumerate() {
            if index > 0 {
                match start {
                    Some(start) => {
                        filled.push(Piece::Text(format!("{}/", start.trim_end_matches('/'))));
                        filled.push(Piece::Below);
                    }
                    None => filled.push(Piece::Any),
                }
            }
            if !part.is_empty() || text.is_empty() {
                filled.push(Piece::Text(part.to_owned()));
            }
        }
    }
    filled
}
