//! Helpers for tests; never shipped.
