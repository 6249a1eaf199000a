//! Plan, check, execute and the ledger of deployments.
