//! Where commands run, decided from all settings that have a say in it. A pure function over one
//! table.
//!
//! Five settings speak of the same thing, because each was added by another deployment:
//! `STIGMER_EXECUTION_MODE`, `MODE`, `AGENT_MODE`, `SANDBOX_TYPE` and `FIRECRACKER_ENABLED`. Each
//! row of [`COMBINATIONS`] says with which values of all five (unset is a value of its own) a target
//! is meant. What no row admits contradicts itself and is refused: to guess would mean to run on
//! the bare host what somebody wanted isolated. `--mode` names a target outright and asks none of
//! them.

use stigmer_core::ExecutionMode;

use super::variables::Key;

/// The settings that have a say, in the order in which messages name them.
pub const DECIDING: [Key; 5] =
    [Key::ExecutionMode, Key::Mode, Key::AgentMode, Key::SandboxType, Key::FirecrackerEnabled];

/// One row of the table: if every deciding setting has one of the values listed for it, commands
/// run in `target`, provided that all of `needs` are set.
#[derive(Debug)]
pub struct Combination {
    /// Where commands run.
    pub target: ExecutionMode,
    /// For each of [`DECIDING`] the values it may have; `None` is unset.
    pub admits: [&'static [Option<&'static str>]; DECIDING.len()],
    /// Settings without which the target cannot be reached.
    pub needs: &'static [Key],
}

const UNSET: Option<&str> = None;
const LOCAL: Option<&str> = Some("local");
const FILES: &[Option<&str>] = &[UNSET, Some("filesystem")];
const HERE: &[Option<&str>] = &[UNSET, LOCAL];
const NO: &[Option<&str>] = &[UNSET, Some("false")];
const YES: &[Option<&str>] = &[Some("true")];
const ANY: &[Option<&str>] = &[UNSET, Some("true"), Some("false")];

/// The table. The rows exclude each other, so that their order means nothing.
#[rustfmt::skip]
pub static COMBINATIONS: &[Combination] = {
    use ExecutionMode::{Auto, Cloud, Firecracker, Local, Sandbox};
    const fn row(
        target: ExecutionMode,
        admits: [&'static [Option<&'static str>]; 5],
        needs: &'static [Key],
    ) -> Combination {
        Combination { target, admits, needs }
    }
    &[
        //               EXECUTION_MODE      MODE             AGENT_MODE              SANDBOX_TYPE        FIRECRACKER_ENABLED
        row(Local,       [&[UNSET],          HERE,            HERE,                   FILES,              NO],  &[]),
        row(Local,       [&[LOCAL],          HERE,            HERE,                   FILES,              ANY], &[]),
        row(Local,       [&[UNSET],          HERE,            &[LOCAL],               FILES,              YES], &[]),
        row(Sandbox,     [&[Some("sandbox")], HERE,           HERE,                   FILES,              ANY], &[]),
        row(Auto,        [&[Some("auto")],   HERE,            HERE,                   FILES,              ANY], &[]),
        row(Firecracker, [&[UNSET],          HERE,            &[UNSET],               FILES,              YES], &[]),
        row(Firecracker, [&[UNSET],          HERE,            &[Some("firecracker")], FILES,              &[UNSET, Some("true")]], &[]),
        row(Cloud,       [&[UNSET],          &[Some("cloud")], &[UNSET],              &[UNSET, Some("daytona")], ANY], &[Key::DaytonaApiKey, Key::RedisHost]),
        row(Cloud,       [&[UNSET],          &[UNSET],        &[UNSET],               &[Some("daytona")], ANY], &[Key::DaytonaApiKey]),
    ]
};

/// What the deciding settings are, and which others are set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// The value of each of [`DECIDING`]; `None` is unset.
    pub values: [Option<&'static str>; DECIDING.len()],
    /// What else is set.
    pub present: Vec<Key>,
}

/// Why no target could be decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undecidable {
    /// These two settings cannot both have the values they have.
    Contradiction(Key, Key),
    /// The target cannot be reached without this setting.
    Missing(ExecutionMode, Key),
}

impl Combination {
    fn admits(&self, setting: usize, value: Option<&str>) -> bool {
        self.admits[setting].contains(&value)
    }

    /// The row as one line for people.
    pub fn describe(&self) -> String {
        let mut line = format!("{}:", self.target);
        for (key, admitted) in DECIDING.iter().zip(&self.admits) {
            let words: Vec<&str> = admitted.iter().map(|value| value.unwrap_or("unset")).collect();
            if words.len() < ANY.len() {
                line.push_str(&format!(" {}={}", key.setting().variable, words.join("|")));
            }
        }
        for key in self.needs {
            line.push_str(&format!(" {}=…", key.setting().variable));
        }
        line
    }
}

/// Decides where commands run.
///
/// # Errors
/// Two settings that contradict each other, or one that is missing.
pub fn decide(choices: &Choices) -> Result<ExecutionMode, Undecidable> {
    let fits = |row: &&Combination| {
        choices.values.iter().enumerate().all(|(setting, value)| row.admits(setting, *value))
    };
    let Some(row) = COMBINATIONS.iter().find(fits) else {
        let (first, second) = contradiction(choices);
        return Err(Undecidable::Contradiction(first, second));
    };
    match row.needs.iter().find(|key| !choices.present.contains(key)) {
        Some(missing) => Err(Undecidable::Missing(row.target, *missing)),
        None => Ok(row.target),
    }
}

/// The first two settings that are set and that no row admits together. There always are two: the
/// exhaustive test shows it.
fn contradiction(choices: &Choices) -> (Key, Key) {
    let set = |index: &usize| choices.values[*index].is_some();
    for first in (0..DECIDING.len()).filter(set) {
        for second in (first + 1..DECIDING.len()).filter(set) {
            let together = COMBINATIONS.iter().any(|row| {
                row.admits(first, choices.values[first])
                    && row.admits(second, choices.values[second])
            });
            if !together {
                return (DECIDING[first], DECIDING[second]);
            }
        }
    }
    (DECIDING[0], DECIDING[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExecutionMode::{Auto, Cloud, Firecracker, Local, Sandbox};

    const VALUES: [&[Option<&str>]; 5] = [
        &[None, Some("local"), Some("sandbox"), Some("auto")],
        &[None, Some("local"), Some("cloud")],
        &[None, Some("local"), Some("firecracker")],
        &[None, Some("filesystem"), Some("daytona")],
        &[None, Some("true"), Some("false")],
    ];

    /// Written from the meaning of each setting, not from the table: each setting leaves some
    /// targets over, and what is over in the end is the answer.
    fn expected(values: [Option<&str>; 5]) -> Option<ExecutionMode> {
        let [execution_mode, mode, agent_mode, sandbox_type, firecracker] = values;
        let mut left = vec![Local, Sandbox, Auto, Firecracker, Cloud];
        match execution_mode {
            Some("local") => left.retain(|target| *target == Local),
            Some("sandbox") => left.retain(|target| *target == Sandbox),
            Some("auto") => left.retain(|target| *target == Auto),
            _ => {}
        }
        match mode {
            Some("local") => left.retain(|target| *target != Cloud),
            Some("cloud") => left.retain(|target| *target == Cloud),
            _ => {}
        }
        match agent_mode {
            Some("local") => left.retain(|target| matches!(target, Local | Sandbox | Auto)),
            Some("firecracker") => left.retain(|target| *target == Firecracker),
            _ => {}
        }
        match sandbox_type {
            Some("filesystem") => left.retain(|target| *target != Cloud),
            Some("daytona") => left.retain(|target| *target == Cloud),
            _ => {}
        }
        if firecracker == Some("false") {
            left.retain(|target| *target != Firecracker);
        }
        if firecracker == Some("true") && left.contains(&Firecracker) {
            return Some(Firecracker);
        }
        left.first().copied()
    }

    fn all() -> Vec<[Option<&'static str>; 5]> {
        let mut all = vec![[None; 5]];
        for (setting, values) in VALUES.iter().enumerate() {
            all = all
                .into_iter()
                .flat_map(|row| {
                    values.iter().map(move |value| {
                        let mut row = row;
                        row[setting] = *value;
                        row
                    })
                })
                .collect();
        }
        all
    }

    #[test]
    fn every_combination_is_decided_as_the_settings_mean() {
        let all = all();
        assert_eq!(all.len(), 4 * 3 * 3 * 3 * 3);
        for values in all {
            let present = vec![Key::DaytonaApiKey, Key::RedisHost];
            let got = decide(&Choices { values, present });
            match expected(values) {
                Some(target) => assert_eq!(got, Ok(target), "{values:?}"),
                None => {
                    let Err(Undecidable::Contradiction(first, second)) = got else {
                        panic!("{values:?}: {got:?}");
                    };
                    // The two that are named contradict each other by themselves.
                    let alone = std::array::from_fn(|index| {
                        values[index].filter(|_| [first, second].contains(&DECIDING[index]))
                    });
                    assert_eq!(
                        alone.iter().flatten().count(),
                        2,
                        "{values:?} {first:?} {second:?}"
                    );
                    assert_eq!(expected(alone), None, "{values:?}");
                }
            }
        }
    }

    #[test]
    fn no_two_rows_admit_the_same() {
        for values in all() {
            let fitting = COMBINATIONS
                .iter()
                .filter(|row| (0..5).all(|index| row.admits(index, values[index])))
                .count();
            assert!(fitting <= 1, "{values:?}");
        }
    }

    /// The safety of it all, by itself: whoever asked for isolation never gets the bare host.
    #[test]
    fn only_those_who_ask_for_nothing_else_get_the_host() {
        for values in all() {
            let present = vec![Key::DaytonaApiKey, Key::RedisHost];
            if decide(&Choices { values, present }) == Ok(Local) {
                let asks = ["sandbox", "auto", "cloud", "firecracker", "daytona"];
                assert!(values.iter().flatten().all(|value| !asks.contains(value)), "{values:?}");
            }
        }
    }

    #[test]
    fn the_values_are_those_of_the_settings() {
        for (key, values) in DECIDING.iter().zip(VALUES) {
            let valid = key.setting().kind.valid();
            let listed: Vec<&str> = values.iter().flatten().copied().collect();
            assert_eq!(listed.join(", "), valid, "{key:?}");
            for row in COMBINATIONS {
                let index = DECIDING.iter().position(|other| other == key).unwrap();
                assert!(row.admits[index].iter().all(|value| values.contains(value)));
            }
        }
    }

    #[test]
    fn the_cloud_needs_its_keys() {
        let decide = |mode, kind, present: &[Key]| {
            let values = [None, mode, None, kind, None];
            decide(&Choices { values, present: present.to_vec() })
        };
        let missing = |key| Err(Undecidable::Missing(Cloud, key));
        let (daytona, redis) = (Key::DaytonaApiKey, Key::RedisHost);
        assert_eq!(decide(Some("cloud"), None, &[]), missing(daytona));
        assert_eq!(decide(Some("cloud"), None, &[daytona]), missing(redis));
        assert_eq!(decide(Some("cloud"), None, &[redis]), missing(daytona));
        assert_eq!(decide(Some("cloud"), None, &[daytona, redis]), Ok(Cloud));
        assert_eq!(decide(None, Some("daytona"), &[]), missing(daytona));
        assert_eq!(decide(None, Some("daytona"), &[daytona]), Ok(Cloud));
    }

    #[test]
    fn a_row_can_be_read() {
        assert_eq!(
            COMBINATIONS[7].describe(),
            "cloud: STIGMER_EXECUTION_MODE=unset MODE=cloud AGENT_MODE=unset \
             SANDBOX_TYPE=unset|daytona DAYTONA_API_KEY=… REDIS_HOST=…"
        );
    }
}
