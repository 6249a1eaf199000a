//! [`Deck`]: steps in order, each with an id of its own.

use std::collections::BTreeSet;

use crate::step::{Action, Step, StepId};

/// Steps being collected.
#[derive(Debug, Default)]
pub(crate) struct Deck {
    steps: Vec<Step>,
    ids: BTreeSet<StepId>,
    /// Put before each id.
    prefix: &'static str,
}

impl Deck {
    pub(crate) fn with_prefix(prefix: &'static str) -> Self {
        Self { prefix, ..Self::default() }
    }

    /// Adds a step; a second one of the same name is numbered.
    pub(crate) fn push(&mut self, action: Action) {
        let name = format!("{}{}", self.prefix, action.id());
        let numbered = (2..).map(|n| StepId(format!("{name} #{n}")));
        let mut ids = std::iter::once(StepId(name.clone())).chain(numbered);
        let id = ids.find(|id| !self.ids.contains(id)).expect("numbers do not end");
        self.ids.insert(id.clone());
        self.steps.push(Step { id, action });
    }

    pub(crate) fn extend(&mut self, actions: impl IntoIterator<Item = Action>) {
        actions.into_iter().for_each(|action| self.push(action));
    }

    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    pub(crate) fn into_steps(self) -> Vec<Step> {
        self.steps
    }
}
