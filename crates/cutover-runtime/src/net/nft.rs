//! nf_tables without the `nft` program.
//!
//! `expr` and `object` turn data into messages, `ruleset` decides what the data is (pure), `table`
//! loads it, `elements` publishes and withdraws ports, `foreign` makes room in other firewalls'
//! tables.
//!
//! Invariants: everything of ours is in one table of family `ip`, named after the root. It is
//! always replaced as a whole in one transaction, from the networks and leases on disk, so that it
//! cannot drift; only published ports come and go one by one.

mod elements;
mod expr;
mod foreign;
mod object;
mod ruleset;
mod table;

pub(crate) use foreign::Foreign;
pub(crate) use table::Table;
