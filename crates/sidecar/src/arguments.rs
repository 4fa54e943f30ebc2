//! The arguments. They are few, and a parser for more would be a tenth of the program's size.

mod contained;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use contained::{Init, Keep};

/// What `--help` says.
pub(crate) const HELP: &str = "\
stigmer-sidecar: serves the tool operations of one workspace

usage: stigmer-sidecar --root DIR --state DIR --listen WHERE [--listen WHERE]...
       stigmer-sidecar init --user UID:GID --root DIR --shared DIR --ttl SECONDS [OPTION]...
       stigmer-sidecar connect --shared DIR
       stigmer-sidecar keep --socket PATH --owner UID --ttl SECONDS

  --root DIR          the workspace
  --state DIR         where commands and their output are kept; made if it is missing
  --listen WHERE      unix:/path, tcp:ADDRESS:PORT, vsock:PORT or stdio
  --token-file FILE   holds the token that clients show; needed for tcp and vsock
  --owner UID         whose connections the unix socket takes; the sidecar's own user by default
  --ttl SECONDS       ends, with exit code 10, when it was not used for so long; a command that
                      runs is use, and 0 is never
  --end-commands      ends all commands when it is told to terminate
  --own-environment   gives its own environment to commands
  --version           says the version
  --help              says this

As process 1 it takes in orphans, and ends all commands when it is told to terminate.

init is process 1 of a container, as root: it prepares the container, serves as the given user at
DIR/socket with its state in DIR/state, and runs package managers as root for that user's commands.
It ends with code 0 when it is told to, or was idle for too long.

  --user UID:GID      whom the workspace belongs to and commands run as
  --shared DIR        a directory of that user's, for the socket and the state
  --ttl SECONDS       as above
  --home DIR          the home of commands; /home/sandbox by default, made if it is missing
  --ca-bundle FILE    certificate authorities that tools shall trust
  --volume DIR        a volume of the engine's is mounted there: an empty one becomes the user's; may
                      be repeated
  --mounted DIR       something else is; beneath the home what lies above either becomes the user's
  --wait DIR          instead of --root: waits at DIR/wait until it is given a workspace, and ends if
                      none comes in its time to live

connect bridges standard input and output to DIR/socket.

keep mounts, for the user UID and nobody else, that user's directories in containers that wait for them.
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Serve(Arguments),
    Init(Init),
    Connect(PathBuf),
    Keep(Keep),
    Help,
    Version,
}

/// How to serve.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) root: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) listen: Vec<Listen>,
    pub(crate) token_file: Option<PathBuf>,
    pub(crate) owner: Option<u32>,
    /// How long it goes on unused; `None` is for ever.
    pub(crate) ttl: Option<Duration>,
    pub(crate) end_commands: bool,
    pub(crate) own_environment: bool,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    Unix(PathBuf),
    Tcp(SocketAddr),
    Vsock(u32),
    Stdio,
}

impl Listen {
    fn needs_token(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Vsock(_))
    }

    fn parse(text: &OsStr) -> Result<Self, String> {
        // A path need not be text; everything else is.
        if let Some(path) = text.as_bytes().strip_prefix(b"unix:") {
            let path = PathBuf::from(OsStr::from_bytes(path));
            if !path.is_absolute() {
                return Err("--listen unix: needs an absolute path".to_owned());
            }
            return Ok(Self::Unix(path));
        }
        let shown = text.to_string_lossy();
        match (shown.as_ref(), shown.split_once(':')) {
            ("stdio", _) => Ok(Self::Stdio),
            (_, Some(("tcp", address))) => address.parse().map(Self::Tcp).map_err(|_| {
                format!("--listen tcp: \"{address}\" is no address and port, such as 127.0.0.1:50051 (names are not looked up)")
            }),
            (_, Some(("vsock", port))) => port
                .parse()
                .map(Self::Vsock)
                .map_err(|_| format!("--listen vsock: \"{port}\" is no port, such as 50051")),
            _ => Err(format!(
                "--listen \"{shown}\" is none of unix:/path, tcp:ADDRESS:PORT, vsock:PORT, stdio"
            )),
        }
    }
}

/// Reads the arguments, without the program's name.
///
/// # Errors
/// In words, for whoever wrote them.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Wish, String> {
    let mut arguments = arguments.into_iter().peekable();
    for (word, read) in contained::WORDS {
        if arguments.next_if(|first| first == word).is_some() {
            return read(&mut arguments);
        }
    }
    let (mut root, mut state, mut token_file, mut owner) = (None, None, None, None);
    let (mut ttl, mut end_commands, mut own_environment) = (None, None, None);
    let mut listen = Vec::new();
    while let Some(argument) = arguments.next() {
        let (name, joined) = split(&argument);
        let mut value = || value_of(&name, &joined, &mut arguments);
        match name.as_str() {
            "--help" | "-h" if joined.is_none() => return Ok(Wish::Help),
            "--version" | "-V" if joined.is_none() => return Ok(Wish::Version),
            "--root" => once(&mut root, &name, PathBuf::from(value()?))?,
            "--state" => once(&mut state, &name, PathBuf::from(value()?))?,
            "--token-file" => once(&mut token_file, &name, PathBuf::from(value()?))?,
            "--owner" => {
                once(&mut owner, &name, user_id(&value()?)?)?;
            }
            "--ttl" => once(&mut ttl, &name, seconds(&value()?)?)?,
            "--end-commands" if joined.is_none() => once(&mut end_commands, &name, ())?,
            "--own-environment" if joined.is_none() => once(&mut own_environment, &name, ())?,
            "--listen" => listen.push(Listen::parse(&value()?)?),
            _ => return Err(format!("\"{}\" is no argument of this program", argument.display())),
        }
    }
    let root = root.ok_or("--root is missing: the workspace to serve")?;
    let state = state.ok_or("--state is missing: where commands are kept")?;
    check(&listen, token_file.is_some(), owner.is_some())?;
    Ok(Wish::Serve(Arguments {
        root,
        state,
        listen,
        token_file,
        owner,
        ttl: ttl.flatten(),
        end_commands: end_commands.is_some(),
        own_environment: own_environment.is_some(),
    }))
}

/// What does not fit together.
fn check(listen: &[Listen], token: bool, owner: bool) -> Result<(), String> {
    if listen.is_empty() {
        return Err("--listen is missing: unix:/path, tcp:ADDRESS:PORT, vsock:PORT or stdio".into());
    }
    for (index, one) in listen.iter().enumerate() {
        if listen[..index].contains(one) {
            return Err("--listen names the same place twice".to_owned());
        }
    }
    let needs_token = listen.iter().any(Listen::needs_token);
    if needs_token && !token {
        return Err("--token-file is missing: tcp and vsock need a token".to_owned());
    }
    if token && !needs_token {
        return Err("--token-file is only used with tcp and vsock".to_owned());
    }
    if owner && !listen.iter().any(|one| matches!(one, Listen::Unix(_))) {
        return Err("--owner is only used with a unix socket".to_owned());
    }
    Ok(())
}

/// `--name=value` in two.
fn split(argument: &OsStr) -> (String, Option<OsString>) {
    let bytes = argument.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) if bytes.starts_with(b"--") => {
            let name = String::from_utf8_lossy(&bytes[..at]).into_owned();
            (name, Some(OsStr::from_bytes(&bytes[at + 1..]).to_owned()))
        }
        _ => (argument.to_string_lossy().into_owned(), None),
    }
}

/// What stands behind `=`, or is the next argument.
fn value_of(
    name: &str,
    joined: &Option<OsString>,
    rest: &mut impl Iterator<Item = OsString>,
) -> Result<OsString, String> {
    let value = joined.clone().or_else(|| rest.next());
    value.filter(|value| !value.is_empty()).ok_or_else(|| format!("{name} needs a value"))
}

/// A time to live; 0 is for ever.
fn seconds(value: &OsStr) -> Result<Option<Duration>, String> {
    let text = value.to_string_lossy();
    let seconds: u32 =
        text.parse().map_err(|_| format!("--ttl \"{text}\" is no number of seconds"))?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds.into())))
}

fn user_id(value: &OsStr) -> Result<u32, String> {
    let text = value.to_string_lossy();
    text.parse().map_err(|_| format!("--owner \"{text}\" is no user id"))
}

fn once<T>(place: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{name} is given twice")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(line: &str) -> Result<Wish, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn both_forms_of_an_argument_are_the_same() {
        let apart = wish(
            "--root /w --state /s --listen unix:/run/s --listen tcp:[::1]:1 --token-file /t --owner 7",
        );
        let joined = wish(
            "--root=/w --state=/s --listen=unix:/run/s --listen=tcp:[::1]:1 --token-file=/t --owner=7",
        );
        assert_eq!(apart, joined);
        let Ok(Wish::Serve(arguments)) = apart else { panic!("{apart:?}") };
        let listen = [Listen::Unix("/run/s".into()), Listen::Tcp("[::1]:1".parse().unwrap())];
        assert_eq!(arguments.listen, listen);
        assert_eq!((arguments.owner, arguments.root), (Some(7), PathBuf::from("/w")));
    }

    #[test]
    fn every_bad_argument_is_named() {
        for (line, names) in [
            ("", "--root"),
            ("--root", "--root needs a value"),
            ("--root= --state /s", "--root needs a value"),
            ("--root /w", "--state"),
            ("--root /w --root /w", "twice"),
            ("--root /w --state /s", "--listen"),
            ("--root /w --state /s --listen unix:relative", "absolute"),
            ("--root /w --state /s --listen tcp:localhost:1", "names are not looked up"),
            ("--root /w --state /s --listen tcp:127.0.0.1:1", "--token-file is missing"),
            ("--root /w --state /s --listen vsock:1", "--token-file is missing"),
            ("--root /w --state /s --listen vsock:x --token-file /t", "no port"),
            ("--root /w --state /s --listen stdio --token-file /t", "only used with"),
            ("--root /w --state /s --listen stdio --owner 1", "only used with"),
            ("--root /w --state /s --listen stdio --listen stdio", "twice"),
            ("--root /w --state /s --listen nowhere", "nowhere"),
            ("--root /w --state /s --listen unix:/s --owner me", "\"me\""),
            ("--root /w --ttl soon", "\"soon\""),
            ("--root /w --ttl -1", "\"-1\""),
            ("--root /w --end-commands=yes", "--end-commands=yes"),
            ("--rot /w", "--rot"),
            ("extra", "extra"),
            ("--help=yes", "--help=yes"),
        ] {
            let error = wish(line).unwrap_err();
            assert!(error.contains(names), "{line}: {error}");
        }
    }

    #[test]
    fn help_and_version_need_nothing_else() {
        assert_eq!(wish("--help"), Ok(Wish::Help));
        assert_eq!(wish("--root /w --version"), Ok(Wish::Version));
    }
}
