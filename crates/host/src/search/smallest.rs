//! The first entries in order out of many that arrive in none, in bounded memory.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Collects entries from many threads and keeps the smallest keys.
///
/// Each entry holds some items (a file's matches, say) and some bytes. Entries are kept until they
/// hold *more* than a limit: the one item too many is what proves that the result is truncated. From
/// then on nothing larger than the largest kept key can be part of the result, so it is refused,
/// and the searchers need not even look at it.
#[derive(Debug)]
pub(super) struct Smallest<K, V> {
    state: Mutex<State<K, V>>,
    /// Set once `state` is full, never cleared; spares the lock while it is not.
    full: AtomicBool,
}

#[derive(Debug)]
struct State<K, V> {
    entries: BTreeMap<K, Entry<V>>,
    items: usize,
    bytes: usize,
    max_items: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Entry<V> {
    items: usize,
    bytes: usize,
    value: V,
}

impl<K: Ord, V> Smallest<K, V> {
    pub(super) fn new(max_items: usize, max_bytes: usize) -> Self {
        let entries = BTreeMap::new();
        let state = State { entries, items: 0, bytes: 0, max_items, max_bytes };
        Self { state: Mutex::new(state), full: AtomicBool::new(false) }
    }

    /// Whether an entry with this key could still be part of the result.
    pub(super) fn wants<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        !self.full.load(Ordering::Acquire) || self.lock().wants(key)
    }

    /// Adds an entry; the second with the same key is dropped.
    pub(super) fn insert(&self, key: K, items: usize, bytes: usize, value: V) {
        let mut state = self.lock();
        if state.insert(key, items, bytes, value) {
            self.full.store(true, Ordering::Release);
        }
    }

    /// What was kept, in order, and whether it is more than the limits. If it is, then it is so by
    /// its last entry, which the caller cuts to size.
    pub(super) fn finish(self) -> (impl DoubleEndedIterator<Item = (K, V)>, bool) {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let full = state.full();
        (state.entries.into_iter().map(|(key, entry)| (key, entry.value)), full)
    }

    fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        // A thread that panicked cannot have left the map half changed in a way that matters here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord, V> Smallest<K, V> {
    /// [`finish`](Self::finish) where each entry is one item: the values within the limits.
    pub(super) fn finish_singles(self) -> (Vec<(K, V)>, bool) {
        let (entries, full) = self.finish();
        let mut entries: Vec<_> = entries.collect();
        if full {
            entries.pop();
        }
        (entries, full)
    }
}

impl<K: Ord, V> State<K, V> {
    fn full(&self) -> bool {
        self.items > self.max_items || self.bytes > self.max_bytes
    }

    fn wants<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let beyond = || self.entries.last_key_value().is_some_and(|(last, _)| key > last.borrow());
        !(self.full() && beyond())
    }

    /// Returns whether the limits are passed now.
    fn insert(&mut self, key: K, items: usize, bytes: usize, value: V) -> bool {
        if !self.wants(&key) || self.entries.contains_key(&key) {
            return self.full();
        }
        self.entries.insert(key, Entry { items, bytes, value });
        self.items = self.items.saturating_add(items);
        self.bytes = self.bytes.saturating_add(bytes);
        while let Some(last) = self.entries.last_entry() {
            let (items, bytes) = (last.get().items, last.get().bytes);
            if self.items - items <= self.max_items && self.bytes - bytes <= self.max_bytes {
                break;
            }
            last.remove();
            self.items -= items;
            self.bytes -= bytes;
        }
        self.full()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the order of arrival, the result is that of sorting everything and cutting it.
        #[test]
        fn keeps_what_sorting_everything_would(
            entries in prop::collection::btree_map(0_u32..200, (1_usize..5, 0_usize..50), 0..60),
            order in any::<u64>(),
            max_items in 0_usize..40,
            max_bytes in 0_usize..600,
        ) {
            let mut shuffled: Vec<_> = entries.clone().into_iter().collect();
            let length = shuffled.len().max(1) as u64;
            for index in 0..shuffled.len() {
                let other = (order.wrapping_mul(6364136223846793005).wrapping_add(index as u64 * 97))
                    % length;
                shuffled.swap(index, other as usize);
            }
            let smallest = Smallest::new(max_items, max_bytes);
            for (key, (items, bytes)) in shuffled {
                smallest.insert(key, items, bytes, ());
                smallest.insert(key, items, bytes, ());
            }
            let mut expected = Vec::new();
            let (mut items, mut bytes) = (0, 0);
            for (key, (more_items, more_bytes)) in entries {
                if items > max_items || bytes > max_bytes {
                    break;
                }
                expected.push(key);
                items += more_items;
                bytes += more_bytes;
            }
            let (kept, full) = smallest.finish();
            prop_assert_eq!(kept.map(|(key, ())| key).collect::<Vec<_>>(), expected);
            prop_assert_eq!(full, items > max_items || bytes > max_bytes);
        }
    }

    #[test]
    fn exactly_the_limit_is_not_truncated() {
        let smallest = Smallest::new(2, usize::MAX);
        smallest.insert("b", 1, 1, ());
        smallest.insert("a", 1, 1, ());
        assert!(smallest.wants("z"));
        let (kept, full) = smallest.finish_singles();
        assert_eq!((kept, full), (vec![("a", ()), ("b", ())], false));
    }
}
