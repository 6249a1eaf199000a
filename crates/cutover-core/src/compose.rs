//! compose
pub mod interpolate;
