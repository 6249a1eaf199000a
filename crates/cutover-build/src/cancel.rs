//! [`Cancel`]: the word to stop, for a whole build and for each thing under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that says stop. Clones share it; it is never taken back. Raising it is safe in a signal
/// handler.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    own: Arc<AtomicBool>,
    /// Whoever started us may be stopped too.
    above: Option<Arc<AtomicBool>>,
}

impl Cancel {
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that `flag` raises too, as a signal handler holds one.
    pub fn with_flag(flag: Arc<AtomicBool>) -> Self {
        Self { own: flag, above: None }
    }

    /// One that is raised with this one, and by itself without it.
    pub(crate) fn below(&self) -> Self {
        Self { own: Arc::default(), above: Some(Arc::clone(&self.own)) }
    }

    pub fn raise(&self) {
        self.own.store(true, Ordering::SeqCst);
    }

    pub fn is_raised(&self) -> bool {
        let raised = |flag: &Arc<AtomicBool>| flag.load(Ordering::SeqCst);
        raised(&self.own) || self.above.as_ref().is_some_and(raised)
    }
}

#[cfg(test)]
mod tests {
    use super::Cancel;

    #[test]
    fn stopping_goes_down_and_not_up() {
        let all = Cancel::new();
        let (one, other) = (all.below(), all.below());
        one.raise();
        assert!(one.is_raised() && !other.is_raised() && !all.is_raised());
        all.clone().raise();
        assert!(other.is_raised());
    }
}
