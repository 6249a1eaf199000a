//! [`Flights`]: things that several threads want and only one makes.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Values by key, each made once. Who asks for one that is being made waits for it.
#[derive(Debug)]
pub(super) struct Flights<K, V> {
    /// `None` while it is being made.
    values: Mutex<BTreeMap<K, Option<V>>>,
    changed: Condvar,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { values: Mutex::default(), changed: Condvar::new() }
    }
}

/// Takes the mark of something in the making away, unless it was made.
struct InFlight<'a, K: Ord + Clone, V>(&'a Flights<K, V>, K);

impl<K: Ord + Clone, V> Drop for InFlight<'_, K, V> {
    fn drop(&mut self) {
        let mut values = self.0.lock();
        if let Some(None) = values.get(&self.1) {
            values.remove(&self.1);
        }
        self.0.changed.notify_all();
    }
}

impl<K: Ord + Clone, V: Clone> Flights<K, V> {
    /// The value of `key`, made by `make` unless it is there. When making it fails, the next one
    /// who waits tries: `make` is to look first whether it still should.
    pub(super) fn get<E>(&self, key: &K, make: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        let mut values = self.lock();
        loop {
            match values.get(key) {
                Some(Some(value)) => return Ok(value.clone()),
                Some(None) => {
                    values = self.changed.wait(values).unwrap_or_else(PoisonError::into_inner);
                }
                None => break,
            }
        }
        values.insert(key.clone(), None);
        drop(values);
        let in_flight = InFlight(self, key.clone());
        let value = make()?;
        self.lock().insert(key.clone(), Some(value.clone()));
        drop(in_flight);
        Ok(value)
    }

    /// What was made so far.
    pub(super) fn made(&self) -> Vec<V> {
        self.lock().values().flatten().cloned().collect()
    }
}

impl<K, V> Flights<K, V> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Option<V>>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::Flights;

    #[test]
    fn each_value_is_made_once() {
        let (flights, made) = (Flights::default(), AtomicUsize::new(0));
        let start = Barrier::new(8);
        std::thread::scope(|scope| {
            for index in 0..8 {
                let (flights, made, start) = (&flights, &made, &start);
                scope.spawn(move || {
                    start.wait();
                    let key = index % 2;
                    let make = || {
                        made.fetch_add(1, Ordering::SeqCst);
                        Ok::<_, ()>(key * 10)
                    };
                    assert_eq!(flights.get(&key, make), Ok(key * 10));
                });
            }
        });
        assert_eq!(made.into_inner(), 2);
        assert_eq!(flights.made(), [0, 10]);
    }

    #[test]
    fn after_a_failure_the_next_one_tries() {
        let flights = Flights::default();
        assert_eq!(flights.get(&1, || Err("no")), Err("no"));
        assert_eq!(flights.get(&1, || Ok::<_, &str>(7)), Ok(7));
    }
}
