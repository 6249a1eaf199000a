//! The data plane: routes, targets, health, switch, drain.
