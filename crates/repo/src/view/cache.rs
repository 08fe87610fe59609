//! What was used lately, up to a bound.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Keeps values up to a sum of costs; what was not used for longest goes first.
pub(super) struct Cache<K, V> {
    cost_max: u64,
    cost: u64,
    /// Counts uses; the smallest is the oldest.
    now: u64,
    values: HashMap<K, Slot<V>>,
    by_use: BTreeMap<u64, K>,
}

struct Slot<V> {
    value: V,
    cost: u64,
    used: u64,
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn new(cost_max: u64) -> Self {
        Cache { cost_max, cost: 0, now: 0, values: HashMap::new(), by_use: BTreeMap::new() }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        self.now += 1;
        let slot = self.values.get_mut(key)?;
        self.by_use.remove(&slot.used);
        slot.used = self.now;
        self.by_use.insert(self.now, key.clone());
        Some(slot.value.clone())
    }

    /// Keeps `value`. One that costs more than the bound is kept alone, until the next comes.
    pub(super) fn put(&mut self, key: K, value: V, cost: u64) {
        self.remove(&key);
        self.now += 1;
        self.cost = self.cost.saturating_add(cost);
        self.by_use.insert(self.now, key.clone());
        self.values.insert(key, Slot { value, cost, used: self.now });
        while self.cost > self.cost_max && self.values.len() > 1 {
            let Some((_, oldest)) = self.by_use.pop_first() else { return };
            if let Some(slot) = self.values.remove(&oldest) {
                self.cost -= slot.cost;
            }
        }
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(slot) = self.values.remove(key) {
            self.by_use.remove(&slot.used);
            self.cost -= slot.cost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut cache = Cache::new(10);
        for key in 0..5 {
            cache.put(key, key * 10, 2);
        }
        assert_eq!(cache.get(&0), Some(0));
        cache.put(5, 50, 4);
        let left: Vec<i32> = (0..6).filter(|key| cache.get(key).is_some()).collect();
        assert_eq!(left, [0, 3, 4, 5]);
        assert_eq!(cache.cost, 10);
        cache.put(6, 60, 100);
        assert_eq!((cache.get(&6), cache.get(&5), cache.cost), (Some(60), None, 100));
        cache.put(6, 61, 1);
        cache.put(7, 70, 1);
        assert_eq!((cache.get(&6), cache.get(&7), cache.cost), (Some(61), Some(70), 2));
    }
}
