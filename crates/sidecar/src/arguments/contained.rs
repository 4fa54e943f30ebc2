//! The arguments of what belongs to a container: `init`, `connect` and `keep`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use super::{Wish, once, seconds, split, value_of};
use crate::container::Mounted;

/// Where commands are at home unless it is said otherwise.
const HOME: &str = "/home/sandbox";

/// How to be process 1 of a container.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Init {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The workspace; nothing until it is claimed if it waits for one.
    pub(crate) root: PathBuf,
    /// The directory in which it waits for one.
    pub(crate) wait: Option<PathBuf>,
    pub(crate) shared: PathBuf,
    /// How long it goes on unused; `None` is for ever.
    pub(crate) ttl: Option<Duration>,
    pub(crate) home: PathBuf,
    pub(crate) ca_bundle: Option<PathBuf>,
    /// What the engine mounts beside the workspace.
    pub(crate) mounts: Vec<Mounted>,
}

/// How to be the keeper of a pool.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    pub(crate) socket: PathBuf,
    /// Who may ask.
    pub(crate) owner: u32,
    /// How long it goes on unused; `None` is for ever.
    pub(crate) ttl: Option<Duration>,
}

type Rest<'a> = &'a mut dyn Iterator<Item = OsString>;

/// Reads what is behind a first word.
type Reader = fn(Rest<'_>) -> Result<Wish, String>;

/// The first words, and who reads what follows.
pub(super) const WORDS: [(&str, Reader); 3] =
    [("init", init), ("connect", connect), ("keep", keep)];

fn init(mut rest: Rest<'_>) -> Result<Wish, String> {
    let (mut user, mut root, mut shared, mut ttl) = (None, None, None, None);
    let (mut home, mut ca_bundle, mut waits, mut mounts) = (None, None, None, Vec::new());
    while let Some(argument) = rest.next() {
        let (name, joined) = split(&argument);
        let mut value = || value_of(&name, &joined, &mut rest);
        match name.as_str() {
            "--help" | "-h" if joined.is_none() => return Ok(Wish::Help),
            "--user" => once(&mut user, &name, numbers(&value()?)?)?,
            "--root" => once(&mut root, &name, absolute(&name, value()?)?)?,
            "--wait" => once(&mut waits, &name, absolute(&name, value()?)?)?,
            "--shared" => once(&mut shared, &name, absolute(&name, value()?)?)?,
            "--ttl" => once(&mut ttl, &name, seconds(&value()?)?)?,
            "--home" => once(&mut home, &name, absolute(&name, value()?)?)?,
            "--ca-bundle" => once(&mut ca_bundle, &name, absolute(&name, value()?)?)?,
            "--volume" | "--mounted" => {
                let target = absolute(&name, value()?)?;
                mounts.push(Mounted { target, is_volume: name == "--volume" });
            }
            _ => return Err(format!("\"{}\" is no argument of init", argument.display())),
        }
    }
    let (uid, gid) = user.ok_or("--user is missing: whom the workspace belongs to")?;
    let root = match (root, &waits) {
        (Some(_), Some(_)) => return Err("--root is given, and --wait waits for one".to_owned()),
        (None, Some(_)) => PathBuf::new(),
        (root, None) => root.ok_or("--root is missing: the workspace")?,
    };
    Ok(Wish::Init(Init {
        uid,
        gid,
        root,
        wait: waits,
        shared: shared.ok_or("--shared is missing: where to serve")?,
        ttl: ttl.ok_or("--ttl is missing: how long to go on unused; 0 is for ever")?,
        home: home.unwrap_or_else(|| HOME.into()),
        ca_bundle,
        mounts,
    }))
}

fn connect(mut rest: Rest<'_>) -> Result<Wish, String> {
    let mut shared = None;
    while let Some(argument) = rest.next() {
        let (name, joined) = split(&argument);
        match name.as_str() {
            "--help" | "-h" if joined.is_none() => return Ok(Wish::Help),
            "--shared" => {
                let value = value_of(&name, &joined, &mut rest)?;
                once(&mut shared, &name, absolute(&name, value)?)?;
            }
            _ => return Err(format!("\"{}\" is no argument of connect", argument.display())),
        }
    }
    shared.map(Wish::Connect).ok_or_else(|| "--shared is missing: where the server is".to_owned())
}

fn keep(mut rest: Rest<'_>) -> Result<Wish, String> {
    let (mut socket, mut owner, mut ttl) = (None, None, None);
    while let Some(argument) = rest.next() {
        let (name, joined) = split(&argument);
        let mut value = || value_of(&name, &joined, &mut rest);
        match name.as_str() {
            "--help" | "-h" if joined.is_none() => return Ok(Wish::Help),
            "--socket" => once(&mut socket, &name, absolute(&name, value()?)?)?,
            "--owner" => once(&mut owner, &name, super::user_id(&value()?)?)?,
            "--ttl" => once(&mut ttl, &name, seconds(&value()?)?)?,
            _ => return Err(format!("\"{}\" is no argument of keep", argument.display())),
        }
    }
    Ok(Wish::Keep(Keep {
        socket: socket.ok_or("--socket is missing: where to be asked")?,
        owner: owner.ok_or("--owner is missing: who may ask")?,
        ttl: ttl.ok_or("--ttl is missing: how long to go on unused; 0 is for ever")?,
    }))
}

fn absolute(name: &str, value: OsString) -> Result<PathBuf, String> {
    let path = PathBuf::from(value);
    if path.is_absolute() { Ok(path) } else { Err(format!("{name} needs an absolute path")) }
}

/// `UID:GID`.
fn numbers(value: &OsStr) -> Result<(u32, u32), String> {
    let text = value.to_string_lossy();
    // The highest number means "as it is" to the kernel.
    let number = |text: &str| text.parse().ok().filter(|number| *number != u32::MAX);
    text.split_once(':').and_then(|(uid, gid)| Some((number(uid)?, number(gid)?))).ok_or_else(
        || format!("--user \"{text}\" is no user and group in numbers, such as 1000:1000"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn wish(line: &str) -> Result<Wish, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    const LEAST: &str = "init --user 7:8 --root /w --shared /s --ttl 60";

    #[test]
    fn init_has_what_it_is_told_and_a_home() {
        let more = "--ca-bundle=/c --volume /v --mounted=/m";
        let Ok(Wish::Init(init)) = wish(&format!("{LEAST} {more}")) else { panic!() };
        assert_eq!((init.uid, init.gid, init.ttl), (7, 8, Some(Duration::from_secs(60))));
        assert_eq!((init.home, init.ca_bundle), ("/home/sandbox".into(), Some("/c".into())));
        let mounts = [("/v", true), ("/m", false)];
        let mounts = mounts.map(|(target, is_volume)| Mounted { target: target.into(), is_volume });
        assert_eq!(init.mounts, mounts);
        let Ok(Wish::Init(init)) = wish("init --user 0:0 --root /w --shared /s --ttl 0 --home /h")
        else {
            panic!()
        };
        assert_eq!((init.ttl, init.home), (None, "/h".into()));
        assert_eq!(wish("connect --shared /s"), Ok(Wish::Connect("/s".into())));
        let Ok(Wish::Init(init)) = wish("init --wait /p --user 7:8 --shared /s --ttl 60") else {
            panic!()
        };
        assert_eq!((init.wait, init.root), (Some("/p".into()), PathBuf::new()));
        let Ok(Wish::Keep(keep)) = wish("keep --socket /s --owner 7 --ttl 60") else { panic!() };
        assert_eq!((keep.socket, keep.owner), ("/s".into(), 7));
    }

    #[test]
    fn what_init_cannot_be_told_is_named() {
        for (line, names) in [
            ("init", "--user"),
            ("init --user 7", "\"7\""),
            ("init --user me:me", "\"me:me\""),
            ("init --user 4294967295:1", "--user"),
            ("init --user 1:1 --root w", "absolute"),
            ("init --user 1:1 --root /w", "--shared"),
            ("init --user 1:1 --root /w --shared /s", "--ttl"),
            ("init --proxy http_proxy=x", "--proxy"),
            ("init --listen stdio", "--listen"),
            ("init --user 1:1 --root /w --wait /p --shared /s --ttl 1", "--wait"),
            ("init --wait p", "absolute"),
            ("init --volume v", "absolute"),
            ("keep --owner 7 --ttl 1", "--socket"),
            ("keep --socket /s --ttl 1", "--owner"),
            ("keep --socket /s --owner 7", "--ttl"),
            ("keep --socket s", "absolute"),
            ("keep --root /w", "--root"),
            ("connect", "--shared"),
            ("connect --root /w", "--root"),
            ("--root /w init", "init"),
        ] {
            let error = wish(line).unwrap_err();
            assert!(error.contains(names), "{line}: {error}");
        }
    }
}
