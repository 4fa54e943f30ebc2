//! What a container may write outside its volumes.

/// What is to be said of the limit when a container is made.
pub(crate) fn notes(limit: Option<u64>, enforced: bool) -> Vec<String> {
    match limit {
        Some(limit) if !enforced => vec![format!(
            "the engine's storage cannot limit what a container writes: the limit of {limit} bytes is only watched"
        )],
        _ => Vec::new(),
    }
}

/// What is to be said of what a container has written.
pub(crate) fn over(limit: Option<u64>, written: Option<u64>) -> Option<String> {
    let (limit, written) = (limit?, written?);
    (written > limit).then(|| {
        format!("the container has written {written} bytes, which is over the limit of {limit}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_only_watched_says_so() {
        assert!(notes(None, false).is_empty() && notes(Some(1), true).is_empty());
        assert!(notes(Some(7), false)[0].contains("7 bytes is only watched"));
        assert_eq!(over(Some(7), Some(7)), None);
        assert_eq!(over(None, Some(7)), None);
        assert_eq!(over(Some(7), None), None);
        assert!(over(Some(7), Some(8)).unwrap().contains("over the limit"));
    }
}
