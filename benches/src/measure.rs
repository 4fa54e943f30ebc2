//! Taking times.

use std::time::Instant;

use crate::Outcome;

/// What a comparison promises.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Budget {
    /// Ours takes at most so many milliseconds more.
    ExtraMs(f64),
    /// Ours takes at most so many milliseconds.
    TotalMs(f64),
    /// Ours takes at most so many times as long.
    TimesAsLong(f64),
    /// Ours is at least so many times as fast.
    TimesAsFast(f64),
    /// Ours has at most so many bytes; there is no yardstick.
    Bytes(f64),
    /// Nothing: it is shown to be known.
    None,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) yardstick: String,
    pub(crate) budget: Budget,
    /// Milliseconds, run by run: of ours and of the yardstick. Bytes if the budget has them.
    pub(crate) runs: Vec<(Vec<f64>, Vec<f64>)>,
    /// Why there are none.
    pub(crate) missing: Option<String>,
}

impl Row {
    /// A line without figures.
    pub(crate) fn missing(what: &str, why: &str) -> Self {
        Self {
            what: what.to_owned(),
            yardstick: String::new(),
            budget: Budget::None,
            runs: Vec::new(),
            missing: Some(why.to_owned()),
        }
    }

    /// Bytes that were counted once in each run.
    pub(crate) fn bytes(what: &str, most: f64, counted: Vec<f64>) -> Self {
        Self {
            what: what.to_owned(),
            yardstick: String::new(),
            budget: Budget::Bytes(most),
            runs: counted.into_iter().map(|bytes| (vec![bytes], Vec::new())).collect(),
            missing: None,
        }
    }

    /// Milliseconds of ours: the median of the runs' medians.
    pub(crate) fn ours(&self) -> f64 {
        median(self.runs.iter().map(|run| median(run.0.iter().copied())))
    }

    /// The same of the yardstick.
    pub(crate) fn theirs(&self) -> f64 {
        median(self.runs.iter().map(|run| median(run.1.iter().copied())))
    }

    /// Each run's ratio, ours to theirs, smallest first.
    pub(crate) fn ratios(&self) -> Vec<f64> {
        let mut ratios: Vec<f64> = self
            .runs
            .iter()
            .map(|run| median(run.0.iter().copied()) / median(run.1.iter().copied()))
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    /// The median of the runs' differences, in milliseconds.
    pub(crate) fn extra(&self) -> f64 {
        median(
            self.runs
                .iter()
                .map(|run| median(run.0.iter().copied()) - median(run.1.iter().copied())),
        )
    }

    /// Whether the budget is met; nothing if there is none, or no figure.
    pub(crate) fn met(&self) -> Option<bool> {
        if self.runs.is_empty() {
            return None;
        }
        let ratio = median(self.ratios());
        match self.budget {
            Budget::ExtraMs(most) => Some(self.extra() <= most),
            Budget::TotalMs(most) | Budget::Bytes(most) => Some(self.ours() <= most),
            Budget::TimesAsLong(most) => Some(ratio <= most),
            Budget::TimesAsFast(least) => Some(1.0 / ratio >= least),
            Budget::None => None,
        }
    }
}

/// The middle one, or the upper of the two in the middle.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// How long something takes, in milliseconds.
pub(crate) fn time(work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}

/// Compares two programs that take their own times, one after the other, changing who is first.
pub(crate) fn compare(
    what: &str,
    yardstick: &str,
    budget: Budget,
    (runs, count): (usize, usize),
    mut ours: impl FnMut() -> Outcome<f64>,
    mut theirs: impl FnMut() -> Outcome<f64>,
) -> Outcome<Row> {
    // Once each, so that nobody pays for a cold cache.
    ours()?;
    theirs()?;
    let mut all = Vec::new();
    for _ in 0..runs {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for turn in 0..count {
            if turn % 2 == 0 {
                a.push(ours()?);
                b.push(theirs()?);
            } else {
                b.push(theirs()?);
                a.push(ours()?);
            }
        }
        all.push((a, b));
    }
    Ok(Row {
        what: what.to_owned(),
        yardstick: yardstick.to_owned(),
        budget,
        runs: all,
        missing: None,
    })
}
