//! What an engine says while it pulls, for people.

use std::collections::HashMap;

use bollard::models::CreateImageInfo;
use stigmer_core::manager::Progress;

/// The most layers that are told of apart; an image has 127 at most.
const LAYERS: usize = 256;

/// A layer is told of again when so much more of it is there: an engine says it ten times a second
/// for each.
const STEP: u64 = 1 << 20;

/// A message of the engine's, if it is of any interest.
pub(super) fn of(message: &CreateImageInfo) -> Option<Progress> {
    let status = message.status.as_deref()?;
    let id = message.id.as_deref().filter(|id| is_layer(id))?;
    let number = |value: Option<i64>| value.and_then(|it| u64::try_from(it).ok()).unwrap_or(0);
    let detail = message.progress_detail.as_ref();
    Some(Progress::Layer {
        id: id.to_owned(),
        what: what(status)?.to_owned(),
        done: number(detail.and_then(|detail| detail.current)),
        total: number(detail.and_then(|detail| detail.total)),
    })
}

/// Layers are hexadecimal; a tag is what is pulled.
fn is_layer(id: &str) -> bool {
    (6..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn what(status: &str) -> Option<&'static str> {
    Some(match status {
        "Pulling fs layer" | "Waiting" => "waiting",
        "Downloading" => "downloading",
        "Verifying Checksum" | "Download complete" => "downloaded",
        "Extracting" => "extracting",
        "Pull complete" => "complete",
        "Already exists" => "there already",
        _ => return None,
    })
}

/// Lets through what is new.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    told: HashMap<String, (String, u64)>,
}

impl Throttle {
    pub(super) fn take(&mut self, progress: Option<Progress>) -> Option<Progress> {
        let progress = progress?;
        let Progress::Layer { id, what, done, .. } = &progress else { return Some(progress) };
        let is_new = match self.told.get(id) {
            Some((last, at)) => last != what || *done >= at.saturating_add(STEP),
            None => self.told.len() < LAYERS,
        };
        if !is_new {
            return None;
        }
        self.told.insert(id.clone(), (what.clone(), *done));
        Some(progress)
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    fn message(id: &str, status: &str, current: i64, total: i64) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn layers_are_told_of_and_nothing_else() {
        let layer = of(&message("8dbf6f0eb2b4", "Downloading", 10, 20)).unwrap();
        let wanted = Progress::Layer {
            id: "8dbf6f0eb2b4".to_owned(),
            what: "downloading".to_owned(),
            done: 10,
            total: 20,
        };
        assert_eq!(layer, wanted);
        for (id, status) in
            [("latest", "Pulling from x"), ("8dbf6f0eb2b4", "Something new"), ("", "Waiting")]
        {
            assert_eq!(of(&message(id, status, 0, 0)), None, "{id} {status}");
        }
        assert_eq!(of(&CreateImageInfo::default()), None);
    }

    #[test]
    fn a_number_that_is_none_is_nothing() {
        let Some(Progress::Layer { done, total, .. }) =
            of(&message("abcdef", "Extracting", -1, -1))
        else {
            panic!()
        };
        assert_eq!((done, total), (0, 0));
    }

    #[test]
    fn every_change_is_told_and_little_more() {
        let mut throttle = Throttle::default();
        let mut told = 0;
        for done in 0..1000 {
            let next = of(&message("abcdef", "Downloading", done * 10_000, 10_000_000));
            told += usize::from(throttle.take(next).is_some());
        }
        assert!((8..=11).contains(&told), "{told}");
        assert!(throttle.take(of(&message("abcdef", "Pull complete", 0, 0))).is_some());
        let floods = (0..10_000).filter(|n| {
            throttle.take(of(&message(&format!("{n:012x}"), "Waiting", 0, 0))).is_some()
        });
        assert_eq!(floods.count(), LAYERS - 1);
    }
}
