//! [`PlanError`]: why there is no plan.

/// Why a deployment cannot be planned. Nothing has happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("release {release} of `{app}` already serves and nothing about it needs to change")]
    Nothing { app: String, release: u64 },
    #[error("`{app}` is not deployed")]
    NotServing { app: String },
    #[error("no release of `{app}` is given to move to")]
    NoRelease { app: String },
    #[error("release {release} of `{app}` serves but is not in the ledger any more")]
    LostRelease { app: String, release: u64 },
    #[error("`{app}` has no service `{service}`")]
    NoService { app: String, service: String },
    #[error("services depend on each other in a circle: {}", .services.join(" → "))]
    Circle { services: Vec<String> },
    #[error(
        "service `{service}` publishes port {port} and has `order: start-first`: its old and new \
         instance cannot both have the port"
    )]
    PortTakenByItself { service: String, port: String },
    #[error("service `{service}` publishes port {port} and has {replicas} replicas: only one fits")]
    PortOfMany { service: String, port: String, replicas: u32 },
}
