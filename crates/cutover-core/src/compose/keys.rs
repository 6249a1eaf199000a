//! The one table of keys: what a compose file may say, and what becomes of it here.
//!
//! The parser checks every map against it, error messages take their sentence from it, and
//! `docs/compose.md` is written from it. It names every key of the Compose Specification
//! (schema of 2026-06), so that "unknown" always means a mistake.

/// The keys that one kind of map may have.
#[derive(Debug)]
pub(crate) struct Section {
    /// Path with `*` for free keys, e.g. `services.*.build`.
    pub(crate) name: &'static str,
    pub(crate) keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) support: Support,
    /// A sentence fragment: what it does, or why it does not.
    pub(crate) note: &'static str,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// Acted on.
    Supported,
    /// Read over with a warning: leaving it out changes nothing that matters here.
    Ignored,
    /// An error: leaving it out would change what the file means.
    Refused,
}

impl Section {
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// The section of that name.
pub(crate) fn section(name: &str) -> &'static Section {
    let found = SECTIONS.iter().find(|section| section.name == name);
    found.expect("sections are asked for by names that are in the table")
}

const fn yes(name: &'static str, note: &'static str) -> Key {
    Key { name, support: Support::Supported, note }
}

const fn ignored(name: &'static str, note: &'static str) -> Key {
    Key { name, support: Support::Ignored, note }
}

const fn refused(name: &'static str, note: &'static str) -> Key {
    Key { name, support: Support::Refused, note }
}

/// Every section, in the order of the documentation.
pub(crate) static SECTIONS: &[Section] = &[
    Section { name: "(top level)", keys: TOP },
    Section { name: "services.*", keys: SERVICE },
    Section { name: "services.*.build", keys: BUILD },
    Section { name: "services.*.build.secrets", keys: BUILD_SECRET },
    Section { name: "services.*.build.x-cutover", keys: PROVISION },
    Section { name: "services.*.build.x-cutover.provision", keys: PROVISION_STEP },
    Section { name: "services.*.deploy", keys: DEPLOY },
    Section { name: "services.*.deploy.update_config", keys: UPDATE_CONFIG },
    Section { name: "services.*.deploy.resources", keys: DEPLOY_RESOURCES },
    Section { name: "services.*.deploy.resources.limits", keys: LIMITS },
    Section { name: "services.*.deploy.resources.reservations", keys: RESERVATIONS },
    Section { name: "services.*.deploy.restart_policy", keys: RESTART_POLICY },
    Section { name: "services.*.x-cutover", keys: X_CUTOVER },
    Section { name: "services.*.x-cutover.routes", keys: ROUTE },
    Section { name: "services.*.x-cutover.health", keys: HTTP_HEALTH },
    Section { name: "services.*.x-cutover.verify", keys: VERIFY },
    Section { name: "services.*.x-cutover.verify.http", keys: HTTP_CHECK },
    Section { name: "services.*.healthcheck", keys: HEALTHCHECK },
    Section { name: "services.*.pre_start", keys: PRE_START },
    Section { name: "services.*.post_start", keys: HOOK },
    Section { name: "services.*.depends_on.*", keys: DEPENDS_ON },
    Section { name: "services.*.env_file", keys: ENV_FILE },
    Section { name: "services.*.extends", keys: EXTENDS },
    Section { name: "services.*.networks.*", keys: SERVICE_NETWORK },
    Section { name: "services.*.ports", keys: PORT },
    Section { name: "services.*.volumes", keys: MOUNT },
    Section { name: "services.*.volumes.bind", keys: MOUNT_BIND },
    Section { name: "services.*.volumes.volume", keys: MOUNT_VOLUME },
    Section { name: "services.*.volumes.tmpfs", keys: MOUNT_TMPFS },
    Section { name: "services.*.secrets", keys: FILE_MOUNT },
    Section { name: "services.*.devices", keys: DEVICE },
    Section { name: "services.*.ulimits.*", keys: ULIMIT },
    Section { name: "networks.*", keys: NETWORK },
    Section { name: "networks.*.ipam", keys: IPAM },
    Section { name: "networks.*.ipam.config", keys: IPAM_CONFIG },
    Section { name: "volumes.*", keys: VOLUME },
    Section { name: "secrets.*", keys: SECRET },
    Section { name: "configs.*", keys: CONFIG },
];

static TOP: &[Key] = &[
    yes("name", "the app's name; else `-p`, else the name of the folder"),
    yes("services", "the workloads"),
    yes("networks", "networks of the app; `default` is made when it is used"),
    yes("volumes", "named volumes of the app"),
    yes("secrets", "contents that only the services see, by version in each release"),
    yes("configs", "files, by version in each release"),
    ignored("version", "it is obsolete, the format has no versions"),
    refused("include", "give the files with several `-f` instead"),
    refused("models", "models are not run here"),
];

static SERVICE: &[Key] = &[
    yes("image", "the image to run; pinned by digest in a release"),
    yes("build", "how to build the image; folder or map"),
    yes("platform", "`os/architecture[/variant]`"),
    yes("pull_policy", "`missing`, `always`, `never`, `build`"),
    yes("command", "text (split as a shell would) or list"),
    yes("entrypoint", "text or list"),
    yes("environment", "map or list; `KEY` alone takes the environment's value"),
    yes("env_file", "one or several files, short or long form"),
    yes("user", "`user[:group]`"),
    yes("working_dir", "absolute path in the container"),
    yes("hostname", ""),
    yes("domainname", ""),
    yes("tty", ""),
    yes("stdin_open", ""),
    yes("init", "an init that reaps and forwards signals"),
    yes("labels", "map or list"),
    yes("volumes", "short and long form; types `bind`, `volume`, `tmpfs`"),
    yes("tmpfs", "paths, with `size=` and `mode=`"),
    yes("secrets", "short and long form"),
    yes("configs", "short and long form"),
    yes("read_only", "the root file system"),
    yes("networks", "list or map, with `aliases` and `ipv4_address`"),
    yes("network_mode", "`host` or `none`"),
    yes("ports", "short and long form; a fixed port makes the service stop-first"),
    yes("extra_hosts", "map or list; `host-gateway` is the machine"),
    yes("dns", ""),
    yes("dns_search", ""),
    yes("dns_opt", ""),
    yes("healthcheck", ""),
    yes("pre_start", "commands run to completion before the first new instance starts"),
    yes("post_start", "commands run in each instance after its start"),
    yes("pre_stop", "commands run in each instance before its stop signal"),
    yes("depends_on", "list or map with conditions"),
    yes("stop_signal", ""),
    yes("stop_grace_period", "10s unless written"),
    yes("restart", "`no`, `always`, `on-failure[:n]`, `unless-stopped` (the default)"),
    yes("deploy", ""),
    yes("scale", "as `deploy.replicas`"),
    yes("extends", "a service of this or of another file"),
    yes("profiles", "the service exists only when one of them is chosen"),
    yes("cpus", "as `deploy.resources.limits.cpus`"),
    yes("cpu_shares", ""),
    yes("mem_limit", "as `deploy.resources.limits.memory`"),
    yes("mem_reservation", "as `deploy.resources.reservations.memory`"),
    yes("memswap_limit", "memory and swap together, -1 is unlimited"),
    yes("pids_limit", "as `deploy.resources.limits.pids`"),
    yes("shm_size", "of `/dev/shm`"),
    yes("oom_score_adj", ""),
    yes("cap_add", ""),
    yes("cap_drop", ""),
    yes("privileged", ""),
    yes("security_opt", "`no-new-privileges[:true]`, `seccomp:unconfined`"),
    yes("group_add", ""),
    yes("devices", "short and long form"),
    yes("sysctls", "map or list"),
    yes("ulimits", "number, or `soft` and `hard`"),
    yes("pid", "`host`"),
    yes("ipc", "`host`, `private`, `shareable`"),
    yes("x-cutover", "routes, verification, standby: what compose cannot say"),
    ignored("annotations", "there is no other runtime to read them"),
    ignored("attach", "`logs` shows every service"),
    ignored("cgroup", "containers always have a private view of their control group"),
    ignored("container_name", "instances are named after app, service and release"),
    ignored("develop", "there is no watch command yet"),
    ignored("expose", "services of one network reach all of each other's ports"),
    ignored("external_links", "use a network that both services join"),
    ignored("links", "services of one network find each other by name"),
    ignored("logging", "logs are kept and rotated by the machine, 3 files of 10 MiB"),
    ignored("mac_address", "addresses are given by the machine"),
    ignored("mem_swappiness", "the kernel no longer has it per container"),
    ignored("oom_kill_disable", "a container out of memory is always ended"),
    ignored("pull_refresh_after", "use `pull_policy`"),
    ignored("runtime", "there is one runtime"),
    ignored("userns_mode", "there is one user namespace"),
    ignored("uts", "containers always have their own host name"),
    refused("blkio_config", "block I/O limits are not set here"),
    refused("cgroup_parent", "control groups are placed by the agent"),
    refused("cpu_count", "it is for Windows containers"),
    refused("cpu_percent", "it is for Windows containers"),
    refused("cpu_period", "use `cpus`"),
    refused("cpu_quota", "use `cpus`"),
    refused("cpu_rt_period", "real-time scheduling is not set here"),
    refused("cpu_rt_runtime", "real-time scheduling is not set here"),
    refused("cpuset", "containers are not pinned to CPUs"),
    refused("credential_spec", "it is for Windows containers"),
    refused("device_cgroup_rules", "use `devices`"),
    refused("gpus", "GPUs are not handed to containers"),
    refused("isolation", "it is for Windows containers"),
    refused("label_file", "write the labels under `labels`"),
    refused("models", "models are not run here"),
    refused("provider", "services are containers only"),
    refused("storage_opt", "the writable layer has no options; use a volume"),
    refused("use_api_socket", "there is no Docker API to hand out"),
    refused("volumes_from", "name the volumes under `volumes`"),
];

static BUILD: &[Key] = &[
    yes("context", "a folder"),
    yes("dockerfile", "path within the context, `Dockerfile` unless written"),
    yes("dockerfile_inline", "the Dockerfile's text"),
    yes("target", "the stage to build"),
    yes("args", "map or list"),
    yes("labels", "map or list"),
    yes("tags", "more names for the image"),
    yes("platforms", ""),
    yes("no_cache", ""),
    yes("pull", "ask the registry for base images"),
    yes("network", "`none` or `host`, for `RUN`"),
    yes("extra_hosts", "for `RUN`"),
    yes("additional_contexts", "map or list of name and folder"),
    yes(
        "secrets",
        "for `RUN --mount=type=secret`: keys of the top-level `secrets`; `target` is the id",
    ),
    yes("ssh", "for `RUN --mount=type=ssh`: `default`, or names with sockets of agents"),
    yes("ulimits", "of `RUN`"),
    yes("shm_size", "of `/dev/shm` in `RUN`, 64 MiB unless written"),
    yes("entitlements", "`network.host`, `security.insecure`"),
    yes("cache_from", "list, as `build --cache-from`"),
    yes("cache_to", "list, as `build --cache-to`"),
    yes("x-cutover", "an image without a Dockerfile: scripts, playbooks, manifests"),
    ignored("isolation", "it is for Windows containers"),
    ignored("provenance", "attestations go along with a push: `build --push --provenance`"),
    ignored("sbom", "attestations go along with a push: `build --push --sbom`"),
    refused("privileged", "`RUN` is never privileged"),
];

static BUILD_SECRET: &[Key] = &[
    yes("source", "a key of the top-level `secrets`"),
    yes("target", "the id in the Dockerfile, `source` unless written"),
    ignored("uid", "the Dockerfile says who may read it"),
    ignored("gid", "the Dockerfile says who may read it"),
    ignored("mode", "the Dockerfile says who may read it"),
];

static PROVISION: &[Key] = &[
    yes("from", "the base image"),
    yes("provision", "list of steps, each a layer: map or text `shell=setup.sh`"),
    yes("change", "Dockerfile instructions for the config, text or list: `CMD [\"nginx\"]`"),
];

static PROVISION_STEP: &[Key] = &[
    yes("shell", "a script, within the context"),
    yes("ansible", "a playbook, within the context"),
    yes("puppet", "a manifest, within the context"),
];

static DEPLOY: &[Key] = &[
    yes("replicas", "the number of instances, 1 unless written"),
    yes("update_config", ""),
    yes("rollback_config", "as `update_config`"),
    yes("resources", ""),
    yes("restart_policy", ""),
    yes("mode", "`replicated`"),
    ignored("endpoint_mode", "the proxy spreads requests over the instances"),
    ignored("labels", "they are for a Swarm"),
    ignored("placement", "the project runs on one machine"),
];

static UPDATE_CONFIG: &[Key] = &[
    yes(
        "order",
        "`start-first` unless written (compose: `stop-first`); `stop-first` for a service that \
         owns a volume or a fixed host port",
    ),
    yes(
        "failure_action",
        "`rollback` unless written (compose: `pause`); `pause`, `continue`. In \
         `rollback_config`: `pause` unless written, or `continue`",
    ),
    yes("parallelism", "instances at a time, 0 is all; 1 unless written, 0 for a rollback"),
    yes("delay", "between two groups, 0s unless written"),
    yes("monitor", "how long new instances are watched, 5s unless written (compose: 0s)"),
    yes("max_failure_ratio", "0 to 1, 0 unless written"),
];

static DEPLOY_RESOURCES: &[Key] = &[yes("limits", ""), yes("reservations", "")];

static LIMITS: &[Key] = &[yes("cpus", "e.g. `0.5`"), yes("memory", "e.g. `512m`"), yes("pids", "")];

static RESERVATIONS: &[Key] = &[
    yes("memory", "kept back when the machine is short of memory"),
    ignored("cpus", "nothing else is placed on the machine that it could be kept from"),
    refused("devices", "devices are not reserved; use `devices` of the service"),
    refused("generic_resources", "it is for a Swarm"),
];

static RESTART_POLICY: &[Key] = &[
    yes("condition", "`none`, `on-failure`, `any`"),
    yes("max_attempts", ""),
    ignored("delay", "the pause doubles from 100ms up to one minute"),
    ignored("window", "an instance that ran for 10s counts as well"),
];

static X_CUTOVER: &[Key] = &[
    yes("routes", "list of requests that the proxy sends here, map or text `host/path`"),
    yes("port", "the container's port for the proxy; needed with `routes`"),
    yes("health", "the proxy's own probe, map or text with the path; else a TCP connection"),
    yes("verify", "list of proofs before traffic moves"),
    yes("standby", "the previous release is kept `running` (default), `frozen`, `stopped`, `none`"),
    yes("drain_timeout", "for requests in flight in old instances, 30s unless written"),
    yes("hold_timeout", "for requests held during a stop-first replacement, 30s unless written"),
    yes("exec", "`allow`, `taint` (default), `deny`"),
];

static ROUTE: &[Key] = &[
    yes("host", "a host name, `*.example.org`, or any host when absent"),
    yes("path", "path prefix of whole segments, `/` unless written"),
    yes("strip_prefix", "the service sees the path without the prefix"),
];

static HTTP_HEALTH: &[Key] = &[
    yes("path", ""),
    yes("status", "e.g. `200`, `200-399`, `2xx` (default)"),
    yes("interval", "1s unless written"),
    yes("timeout", "5s unless written"),
    yes("healthy_after", "successes in a row, 1 unless written"),
    yes("unhealthy_after", "failures in a row, 3 unless written"),
    yes("host", "the `Host` header; else the first route's host"),
    yes("port", "another port than the service's"),
];

static VERIFY: &[Key] = &[
    yes("http", "a request to the new instance through the proxy's own code"),
    yes("command", "run in a one-off container of the new image; 0 is success"),
    yes("timeout", "for `command`, 60s unless written"),
];

static HTTP_CHECK: &[Key] = &[
    yes("path", "`/` unless written"),
    yes("method", "`GET` unless written"),
    yes("headers", "map or list"),
    yes("host", "the `Host` header; else the first route's host"),
    yes("status", "e.g. `200`, `200-399`, `2xx` (default)"),
    yes("contains", "text that the body must have"),
    yes("timeout", "10s unless written"),
    yes("retries", "further attempts, 0 unless written"),
];

static HEALTHCHECK: &[Key] = &[
    yes("test", "text, or list with `CMD`, `CMD-SHELL`, `NONE`"),
    yes("interval", ""),
    yes("timeout", ""),
    yes("retries", ""),
    yes("start_period", ""),
    yes("start_interval", ""),
    yes("disable", ""),
];

static PRE_START: &[Key] = &[
    yes("command", "text or list; may be absent with an `image`"),
    yes("image", "another image than the service's"),
    yes("user", ""),
    yes("privileged", ""),
    yes("working_dir", ""),
    yes("environment", "over the service's"),
    yes("per_replica", "once per instance instead of once"),
];

static HOOK: &[Key] = &[
    yes("command", "text or list"),
    yes("user", ""),
    yes("privileged", ""),
    yes("working_dir", ""),
    yes("environment", "over the service's"),
];

static DEPENDS_ON: &[Key] = &[
    yes(
        "condition",
        "`service_started` (default), `service_healthy`, `service_completed_successfully`",
    ),
    yes("required", "false: a missing service is no error"),
    ignored("restart", "instances are replaced, never restarted for another service"),
];

static ENV_FILE: &[Key] = &[
    yes("path", ""),
    yes("required", "true unless written"),
    yes("format", "`raw`: docker's rules (no quotes, no variables)"),
];

static EXTENDS: &[Key] = &[yes("service", ""), yes("file", "else this file")];

static SERVICE_NETWORK: &[Key] = &[
    yes("aliases", ""),
    yes("ipv4_address", ""),
    ignored("driver_opts", "there is one driver"),
    ignored("gw_priority", "the first network has the way out"),
    ignored("priority", "networks are joined in the order written"),
    ignored("mac_address", "addresses are given by the machine"),
    ignored("interface_name", "interfaces are named eth0, eth1, …"),
    refused("ipv6_address", "networks have IPv4 addresses only"),
    refused("link_local_ips", "networks have IPv4 addresses only"),
];

static PORT: &[Key] = &[
    yes("target", "the container's port"),
    yes("published", "port or range on the machine; any free one when absent"),
    yes("host_ip", "every address unless written"),
    yes("protocol", "`tcp`, `udp`, `sctp`"),
    ignored("name", "ports are known by number"),
    ignored("app_protocol", "the proxy speaks HTTP to what `x-cutover.routes` names"),
    ignored("mode", "ports are published on the machine itself"),
];

static MOUNT: &[Key] = &[
    yes("type", "`bind`, `volume`, `tmpfs`"),
    yes("source", ""),
    yes("target", "absolute path"),
    yes("read_only", ""),
    yes("bind", ""),
    yes("volume", ""),
    yes("tmpfs", ""),
    ignored("consistency", "it is for macOS"),
    refused("image", "images are not mounted; copy with `COPY --from`"),
];

static MOUNT_BIND: &[Key] = &[
    yes("propagation", ""),
    yes("create_host_path", "true unless written"),
    yes("recursive", "`enabled` (default), `disabled`"),
    ignored("selinux", "labels are not changed"),
];

static MOUNT_VOLUME: &[Key] = &[
    yes("nocopy", "do not fill an empty volume from the image"),
    yes("subpath", ""),
    ignored("labels", "write them under the top-level `volumes`"),
];

static MOUNT_TMPFS: &[Key] = &[yes("size", ""), yes("mode", "octal")];

static FILE_MOUNT: &[Key] = &[
    yes("source", ""),
    yes("target", "absolute path; a secret's name alone is under `/run/secrets`"),
    yes("uid", "0 unless written"),
    yes("gid", "0 unless written"),
    yes("mode", "octal, 0444 unless written"),
];

static DEVICE: &[Key] =
    &[yes("source", ""), yes("target", ""), yes("permissions", "`rwm` unless written")];

static ULIMIT: &[Key] = &[yes("soft", ""), yes("hard", "")];

static NETWORK: &[Key] = &[
    yes("name", "on the machine; `APP_KEY` unless written"),
    yes("external", "made by someone else"),
    yes("internal", "no way to the outside"),
    yes("ipam", ""),
    yes("labels", "map or list"),
    yes("driver", "`bridge`"),
    ignored("attachable", "every network is"),
    ignored("driver_opts", "the bridge has no options"),
    ignored("enable_ipv4", "networks have IPv4 addresses"),
    refused("enable_ipv6", "networks have IPv4 addresses only"),
];

static IPAM: &[Key] = &[
    yes("config", "one subnet"),
    ignored("driver", "addresses are given by the machine"),
    ignored("options", "addresses are given by the machine"),
];

static IPAM_CONFIG: &[Key] = &[
    yes("subnet", ""),
    yes("gateway", ""),
    ignored("ip_range", "addresses are taken from the whole subnet"),
    ignored("aux_addresses", "addresses are taken from the whole subnet"),
];

static VOLUME: &[Key] = &[
    yes("name", "on the machine; `APP_KEY` unless written"),
    yes("external", "made by someone else"),
    yes("driver", "`local`"),
    yes("driver_opts", "`type`, `device`, `o`"),
    yes("labels", "map or list"),
];

static SECRET: &[Key] = &[
    yes("file", "path"),
    yes("environment", "the value of a variable"),
    yes("external", "kept by the machine"),
    yes("name", "of an external secret"),
    ignored("labels", "secrets are known by name"),
    refused("driver", "secrets come from files, variables or the machine"),
    refused("driver_opts", "secrets come from files, variables or the machine"),
    refused("template_driver", "secrets are not templates"),
];

static CONFIG: &[Key] = &[
    yes("file", "path"),
    yes("content", "the text itself"),
    yes("environment", "the value of a variable"),
    yes("external", "kept by the machine"),
    yes("name", "of an external config"),
    ignored("labels", "configs are known by name"),
    refused("template_driver", "configs are not templates; variables in `content` are filled in"),
];

#[cfg(test)]
pub(crate) mod tests;
