//! The words of cutover as types, and the parsers that turn text into checked values.
//!
//! Nothing here does I/O, reads a clock, draws randomness or blocks: every function is a pure
//! function of its arguments, so all of it is tested by tables and properties. Each module holds
//! one word of the glossary (`docs/glossary.md`).

pub mod compose;
pub mod digest;
pub mod oci;
pub mod reference;
pub mod release;
pub mod service;
pub mod suggest;
pub mod units;

pub use digest::Digest;
pub use reference::Reference;
