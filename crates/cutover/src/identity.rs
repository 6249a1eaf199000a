//! Who asks: the name that the ledger keeps with a deployment.

/// `user@host`, from the environment and the kernel.
#[expect(clippy::disallowed_methods, reason = "the binary's edge reads the environment")]
pub(crate) fn who() -> String {
    let user = std::env::var("SUDO_USER").or_else(|_unset| std::env::var("USER"));
    let user = user.unwrap_or_else(|_unset| format!("uid {}", rustix::process::getuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host}")
}
