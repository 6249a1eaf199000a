//! [`plan`]: every choice of a deployment, made before anything happens.
//!
//! Pure. The result lists what will be done in order, so it can be shown, checked, stored, and
//! carried out by an executor that has nothing left to decide. What each part decides:
//!
//! - `change`: per service, which instances stay, which are new, which go;
//! - [`crate::policy`]: start-first or stop-first, and what a failure means;
//! - `waves`: the order that `depends_on` asks for;
//! - `forward`: the steps up to and including the switch;
//! - `retire`: the steps after it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::facts::{Instance, Kind};
use crate::policy::Policy;
use crate::step::Step;

/// The format that this version writes; a plan of a newer one is refused.
pub const VERSION: u32 = 1;

/// A deployment, decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub version: u32,
    pub app: String,
    pub deployment: u64,
    pub kind: Kind,
    /// The release that serves before; `None`: nothing does.
    pub from: Option<u64>,
    /// The release that serves after; `None`: nothing will.
    pub to: Option<u64>,
    /// What was there when this was decided: what a revert restores.
    pub found: Found,
    pub steps: Vec<Step>,
    /// How each service that gets new instances is replaced.
    pub policies: BTreeMap<String, Policy>,
    /// Choices worth telling the user, one line each.
    pub notes: Vec<String>,
}

/// The part of [`Observed`](crate::facts::Observed) that a plan keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    pub generation: u64,
    /// What serves, by service.
    pub serving: BTreeMap<String, Vec<Instance>>,
    pub instances: Vec<crate::facts::InstanceFact>,
}
