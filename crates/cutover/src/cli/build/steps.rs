//! Flags about what RUN may see and use: secrets, ssh agents, rights, limits.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use cutover_build::{BuildOptions, Entitlement, Network, Secret};
use cutover_core::units::parse_size;
use fs_err as fs;

use crate::failure::{Context, Failure, Kind, Outcome};

#[derive(Debug, Args)]
pub(super) struct Steps {
    /// Give RUN a secret: `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// Give RUN an ssh agent: `default` is $SSH_AUTH_SOCK
    #[arg(long, value_name = "default|NAME[=SOCKET]")]
    ssh: Vec<String>,
    /// Allow what a Dockerfile asks for
    #[arg(long, value_name = "RIGHT")]
    allow: Vec<Right>,
    /// Resource limit of RUN: `nofile=1024:2048`
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    ulimit: Vec<String>,
    /// Limits of each RUN as a whole: `memory=`, `memory-swap=`, `cpus=`, `cpu-shares=`, `cpuset-cpus=`, `pids=`
    #[arg(long, value_name = "KEY=VALUE[,...]")]
    resource: Vec<String>,
    /// Not there: build steps have a control group of their own
    #[arg(long, value_name = "GROUP", hide = true)]
    cgroup_parent: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Right {
    /// `RUN --network=host`
    #[value(name = "network.host")]
    NetworkHost,
    /// `RUN --security=insecure`: all rights of this machine's root
    #[value(name = "security.insecure")]
    SecurityInsecure,
}

/// The caller's environment.
type Env<'a> = &'a dyn Fn(&str) -> Option<std::ffi::OsString>;

impl Steps {
    pub(super) fn apply(&self, options: &mut BuildOptions) -> Outcome {
        let env = |name: &str| std::env::var_os(name);
        if self.cgroup_parent.is_some() {
            return Err(usage(
                "`--cgroup-parent` is not there: build steps have control groups of their own",
            )
            .hint("limit them with `--resource`"));
        }
        for text in &self.secret {
            let (id, secret) = secret(text, &env)?;
            options.secrets.insert(id, secret);
        }
        for text in &self.ssh {
            let (id, socket) = agent(text, &env)?;
            options.ssh.insert(id, socket);
        }
        options.allow.extend(self.allow.iter().map(|right| match right {
            Right::NetworkHost => Entitlement::HostNetwork,
            Right::SecurityInsecure => Entitlement::Insecure,
        }));
        // Who gives every step the host's network has allowed it.
        if options.network == Network::Host {
            options.allow.insert(Entitlement::HostNetwork);
        }
        for text in &self.ulimit {
            options.limits.ulimits.push(super::super::options::ulimit(text)?);
        }
        for text in &self.resource {
            resource(text, options)?;
        }
        Ok(())
    }
}

fn usage(text: impl Into<String>) -> Failure {
    Failure::msg(Kind::Usage, text)
}

/// Most bytes of a secret, as in BuildKit.
pub(super) const MAX_SECRET: u64 = 500 * 1024;

pub(super) fn secret(text: &str, env: Env<'_>) -> Outcome<(String, Secret)> {
    let bad = |why: &str| {
        usage(format!("`--secret {text}`: {why}"))
            .hint("write `id=NAME,src=FILE` or `id=NAME,env=VARIABLE`")
    };
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        let (key, value) =
            field.split_once('=').ok_or_else(|| bad("a field is not `key=value`"))?;
        match key.to_lowercase().as_str() {
            "id" => id = Some(value),
            "src" | "source" => file = Some(value),
            "env" => variable = Some(value),
            "type" if matches!(value, "file" | "env") => kind = Some(value),
            "type" => return Err(bad("`type` is `file` or `env`")),
            _ => return Err(bad(&format!("unknown key `{key}`"))),
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or_else(|| bad("there is no `id`"))?;
    // `type=env,src=NAME` names a variable; with the id alone it is one if there is one.
    if kind == Some("env") && variable.is_none() {
        variable = Some(file.take().unwrap_or(id));
    }
    if file.is_none() && variable.is_none() {
        match env(id).is_some() && kind.is_none() {
            true => variable = Some(id),
            false => file = Some(id),
        }
    }
    let content = match (file, variable) {
        (Some(_), Some(_)) => return Err(bad("it has `src` and `env`")),
        (_, Some(name)) => {
            let value = env(name).ok_or_else(|| bad(&format!("`{name}` is not set")))?;
            std::os::unix::ffi::OsStringExt::into_vec(value)
        }
        (file, None) => read(Path::new(file.unwrap_or(id)))?,
    };
    if content.len() as u64 > MAX_SECRET {
        return Err(bad("it is longer than 500 KiB"));
    }
    Ok((id.to_owned(), Secret(content)))
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = fs::File::open(path).kind(Kind::Usage)?;
    file.take(MAX_SECRET + 1).read_to_end(&mut bytes).kind(Kind::Usage)?;
    Ok(bytes)
}

pub(super) fn agent(text: &str, env: Env<'_>) -> Outcome<(String, PathBuf)> {
    let (id, path) = match text.split_once('=') {
        Some((id, path)) => (id, PathBuf::from(path)),
        None => {
            let socket = env("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
            let socket = socket.ok_or_else(|| {
                usage(format!("`--ssh {text}`: there is no agent, SSH_AUTH_SOCK is not set"))
                    .hint("start one with `eval $(ssh-agent)` and give it a key with `ssh-add`")
            })?;
            (text, PathBuf::from(socket))
        }
    };
    if id.is_empty() {
        return Err(usage(format!("`--ssh {text}`: there is no name")));
    }
    match fs::metadata(&path) {
        Ok(meta) if meta.file_type().is_socket() => Ok((id.to_owned(), fs::canonicalize(path)?)),
        Err(error) if !path.to_string_lossy().contains(',') => {
            Err(Failure::new(Kind::Usage, error).hint("give the socket of an ssh agent"))
        }
        _ => Err(usage(format!("`--ssh {text}`: key files are not read, only agents are used"))
            .hint("give the key to an agent with `ssh-add FILE` and use `--ssh default`")),
    }
}

fn resource(text: &str, options: &mut BuildOptions) -> Outcome {
    let bad = |why: &str| usage(format!("`--resource {text}`: {why}"));
    let resources = &mut options.limits.resources;
    for field in text.split(',') {
        let (key, value) =
            field.split_once('=').ok_or_else(|| bad("a field is not `key=value`"))?;
        let number =
            || value.parse().map_err(|_not_one| bad(&format!("`{value}` is not a number")));
        match key {
            "memory" => resources.memory = Some(parse_size(value).kind(Kind::Usage)?),
            "memory-swap" if value == "-1" => resources.memory_swap = Some(u64::MAX),
            "memory-swap" => resources.memory_swap = Some(parse_size(value).kind(Kind::Usage)?),
            "cpus" => {
                let cpus: f64 = value.parse().unwrap_or(0.0);
                if !cpus.is_finite() || cpus <= 0.0 {
                    return Err(bad("`cpus` must be a number above 0, e.g. `1.5`"));
                }
                resources.cpus = Some(cpus);
            }
            "cpu-shares" => resources.cpu_shares = Some(number()?),
            "cpuset-cpus" => resources.cpuset_cpus = Some(value.to_owned()),
            "pids" => resources.pids = Some(number()?),
            _ => return Err(bad(&format!("unknown key `{key}`"))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<std::ffi::OsString> {
        matches!(name, "TOKEN").then(|| "value".into())
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let got = match secret(text, &env) {
            Ok((id, secret)) => format!("{id} {}", String::from_utf8_lossy(&secret.0)),
            Err(failure) => failure.to_string(),
        };
        assert!(got.contains(expected), "`{got}` for `{text}`");
    }

    #[test]
    fn secrets() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        fs::write(&file, "file\n").unwrap();
        let file = file.display();
        check(&format!("id=a,src={file}"), "a file\n");
        check(&format!("type=file,source={file},ID=a"), "a file\n");
        check("id=a,env=TOKEN", "a value");
        check("id=TOKEN", "TOKEN value");
        check("id=a,type=env,src=TOKEN", "a value");
        check("id=TOKEN,type=env", "TOKEN value");
        check("id=a,env=NONE", "`NONE` is not set");
        check("src=x", "there is no `id`");
        check("id=a,src=x,env=TOKEN", "it has `src` and `env`");
        check("id=a,what=x", "unknown key `what`");
        check("id=a,type=x", "`type` is `file` or `env`");
        check("a", "is not `key=value`");
        check("id=a,src=/nonexistent/f", "/nonexistent/f");
    }

    #[test]
    fn agents_are_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, key) = (dir.path().join("s"), dir.path().join("key"));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        fs::write(&key, "").unwrap();
        let (id, path) = agent(&format!("git={}", socket.display()), &env).unwrap();
        assert_eq!((id.as_str(), path.file_name().unwrap()), ("git", "s".as_ref()));
        let says = |text: String| agent(&text, &env).unwrap_err().to_string();
        assert!(says(format!("git={}", key.display())).contains("key files are not read"));
        assert!(says("default".to_owned()).contains("SSH_AUTH_SOCK is not set"));
    }
}
