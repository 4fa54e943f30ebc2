//! What is known at a point of a command: the directory and the variables.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::shell::word::is_digits;

use super::word::Piece;

/// More directories than this may be current only in a command that is made to confuse.
const MOST_DIRECTORIES: usize = 4;

/// The longest value that is remembered: `x=$x$x` doubles it each time.
const MOST_VALUE: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// The directories that may be the current one: `cd` may have failed. Empty if it is not known.
    pub(super) directories: Vec<PathBuf>,
    /// The directories, if the last command was successful: after `cd x &&` it is x.
    pub(super) succeeded: Option<Vec<PathBuf>>,
    /// Variables of which something is known.
    variables: HashMap<String, Vec<Piece>>,
}

impl State {
    pub(super) fn at(directory: &Path) -> Self {
        Self { directories: vec![directory.to_owned()], succeeded: None, variables: HashMap::new() }
    }

    /// Of two ways to get here.
    pub(super) fn join(&mut self, other: &Self) {
        if self.directories.is_empty() || other.directories.is_empty() {
            self.directories.clear();
        } else {
            for directory in &other.directories {
                if !self.directories.contains(directory) {
                    self.directories.push(directory.clone());
                }
            }
            if self.directories.len() > MOST_DIRECTORIES {
                self.directories.clear();
            }
        }
        if self.succeeded != other.succeeded {
            self.succeeded = None;
        }
        self.variables.retain(|name, value| {
            let Some(theirs) = other.variables.get(name) else { return false };
            if value != theirs && is_number(value) && is_number(theirs) {
                *value = vec![Piece::Integer];
                return true;
            }
            value == theirs
        });
    }

    /// The current directory after `cd`; `None` if it cannot be told.
    pub(super) fn change_directory(&mut self, to: Option<Vec<PathBuf>>) {
        let mut changed = Self { directories: to.unwrap_or_default(), ..self.clone() };
        changed.succeeded = None;
        self.succeeded = None;
        self.join(&changed);
        self.succeeded = Some(changed.directories);
    }

    pub(super) fn set(&mut self, name: &str, value: Vec<Piece>) {
        let text: usize = value
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.len(),
                _ => 1,
            })
            .sum();
        if text > MOST_VALUE {
            self.forget(name);
            return;
        }
        self.variables.insert(name.to_owned(), value);
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.variables.remove(name);
    }

    /// Where something runs in a directory that is not known.
    pub(super) fn forget_directories(&mut self) {
        self.directories.clear();
        self.succeeded = None;
    }

    /// After something that may have changed everything.
    pub(super) fn forget_all(&mut self) {
        self.variables.clear();
        self.forget_directories();
    }

    pub(super) fn get(&self, name: &str) -> Option<&Vec<Piece>> {
        self.variables.get(name)
    }
}

/// Whether a value is a whole number.
pub(super) fn is_number(value: &[Piece]) -> bool {
    match value {
        [Piece::Integer] => true,
        [Piece::Text(text)] => is_digits(text.strip_prefix('-').unwrap_or(text)),
        _ => false,
    }
}
