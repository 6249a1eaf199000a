//! What a process inside may not do: capabilities, system calls, devices, kernel files, sockets of the host.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use cutover_runtime::spec::Network;

use crate::bundle::{Bundle, strings};
use crate::mounts::host_libraries;

#[track_caller]
fn check(script: &str, expected: &str) {
    let output = Bundle::new().sh(script);
    assert_eq!(output.stdout.trim_end(), expected, "{}", output.stderr);
}

#[test]
fn capabilities() {
    check(
        "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\n\\t'",
        "CapInh:0000000000000000CapPrm:00000000a80425fbCapEff:00000000a80425fbCapBnd:00000000a80425fb\
         CapAmb:0000000000000000NoNewPrivs:1Seccomp:2",
    );
    let mut bundle = Bundle::new();
    bundle.spec.user = "web".to_owned();
    let output =
        bundle.sh("grep -E '^Cap(Prm|Eff|Inh|Amb)' /proc/self/status | grep -vc 0000000000000000");
    assert_eq!(output.stdout, "0\n");
    bundle.spec.user = String::new();
    bundle.spec.capabilities.drop = strings(&["ALL"]);
    bundle.spec.capabilities.add = strings(&["CHOWN"]);
    let output = bundle.sh("grep -E '^Cap(Bnd|Eff)' /proc/self/status | tr -d '\\n\\t'");
    assert_eq!(output.stdout, "CapEff:0000000000000001CapBnd:0000000000000001");
}

#[test]
fn setuid_programs_gain_nothing() {
    let mut bundle = Bundle::new();
    fs_err::copy("/bin/busybox", bundle.image("bin/id-as-root")).expect("busybox");
    fs_err::remove_file(bundle.image("bin/id")).expect("applet");
    fs_err::copy("/bin/busybox", bundle.image("bin/id")).expect("busybox");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    fs_err::set_permissions(bundle.image("bin/id"), mode).expect("mode");
    bundle.spec.user = "web".to_owned();
    let effective = "/bin/id | grep -o 'euid=[0-9]*'; true";
    assert_eq!(bundle.sh(effective).stdout, "");
    bundle.spec.no_new_privileges = false;
    let output = bundle.sh("grep -E '^(NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\n\\t'");
    assert_eq!(output.stdout, "NoNewPrivs:0Seccomp:2");
}

#[test]
fn mounting_and_namespaces() {
    for command in [
        "mount -t tmpfs none /tmp",
        "mount -o remount,rw /proc/sys",
        "mount -o bind /proc /tmp",
        "umount /proc/kcore",
        "umount /sys/fs/cgroup",
        "unshare -m true",
        "unshare -U true",
        "unshare -n true",
        "hostname changed",
    ] {
        check(&format!("{command} 2>/dev/null && echo done; true"), "");
    }
}

#[test]
fn files_of_the_kernel() {
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
        "/sys/kernel/uevent_helper",
        "/sys/power/state",
    ] {
        check(&format!("[ -e {path} ] && (echo x > {path}) 2>/dev/null && echo written; true"), "");
    }
    check(
        "cat /proc/kcore /proc/keys /proc/timer_list /proc/latency_stats 2>/dev/null | wc -c",
        "0",
    );
    check("ls /sys/firmware /proc/acpi /proc/scsi 2>/dev/null | grep -v : | grep -c .", "0");
    check("(echo x > /sys/firmware/x) 2>/dev/null && echo written; true", "");
}

#[test]
fn files_that_the_user_hides() {
    let mut bundle = Bundle::new();
    bundle.spec.masked_paths = strings(&["/etc", "/root/key", "/no/such", "/tmp/out"]);
    bundle.spec.readonly_paths = strings(&["/var", "/tmp/out"]);
    fs_err::write(bundle.image("root/key"), "secret").expect("file");
    std::os::unix::fs::symlink("/proc/self/root/root", bundle.image("tmp/out")).expect("symlink");
    let script = "ls /etc; cat /root/key; touch /var/x 2>/dev/null || echo refused; touch /root/x && echo written";
    let output = bundle.sh(script);
    // A magic link on the way is an error, not a way round.
    assert_eq!(output.stderr, "mask `/tmp/out`: Too many levels of symbolic links (os error 40)");
    bundle.spec.masked_paths.pop();
    bundle.spec.readonly_paths.pop();
    assert_eq!(bundle.sh(script).stdout, "refused\nwritten\n");
}

#[test]
fn a_users_profile() {
    let mut bundle = Bundle::new();
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
        {"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_KILL_PROCESS"}]}"#;
    bundle.spec.seccomp = cutover_runtime::spec::Seccomp::Profile(profile.to_owned());
    let output = bundle.sh("mkdir /x; chmod 700 /tmp; echo $?");
    assert_eq!(output.stdout, "159\n");
    assert!(output.stderr.contains("No space left on device"), "{}", output.stderr);
    bundle.spec.seccomp = cutover_runtime::spec::Seccomp::Profile("{".to_owned());
    assert_eq!(
        bundle.sh("true").stderr,
        "invalid `seccomp`: seccomp profile is not valid JSON of docker's format"
    );
}

#[test]
fn devices() {
    // Nodes can be made, as docker allows, but what they lead to is refused.
    let script = "for d in 'c 1 1' 'c 1 2' 'c 1 11' 'b 254 0' 'b 8 0' 'c 10 237'; do \
        mknod /tmp/d $d && head -c 1 /tmp/d > /dev/null 2>&1 && echo read $d; rm -f /tmp/d; done; true";
    check(script, "");
    check(
        "for d in null zero full random urandom tty; do head -c 0 /dev/$d 2>/dev/null && echo $d; done | wc -l",
        "5",
    );
}

#[test]
fn abstract_sockets_of_the_host() {
    let name = format!("cutover-probe-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("name");
    let _listener = UnixListener::bind_addr(&address).expect("listening");
    check(&format!("grep -c {name} /proc/net/unix"), "0");
    // And we have none ourselves that a container with the host's network could reach.
    let mut bundle = Bundle::new();
    bundle.spec.network = Network::Host;
    assert_eq!(bundle.sh(&format!("grep -c {name} /proc/net/unix")).stdout, "1\n");
    assert_eq!(bundle.sh("grep '@' /proc/net/unix | grep -c '@cutover[^-]'").stdout, "0\n");
}

/// The host's processes, and the copy of us that is process 1 under `init`.
#[test]
fn processes() {
    let mut bundle = Bundle::new();
    bundle.spec.init = true;
    for probe in [
        "cat /proc/1/environ",
        "readlink /proc/1/exe",
        "readlink /proc/1/cwd",
        "head -c 1 /proc/1/mem",
        "cat /proc/1/maps",
    ] {
        let output = bundle.sh(&format!("{probe} 2>/dev/null | wc -c"));
        assert_eq!(output.stdout, "0\n", "{probe}");
    }
    check("kill -0 2 2>/dev/null && echo there; true", "");
}

/// Denied calls by number, made by a real process. Perl's `syscall` needs the host's libraries.
#[test]
#[cfg(target_arch = "x86_64")]
fn system_calls() {
    if !std::path::Path::new("/usr/bin/perl").exists() {
        println!("SKIPPED: no perl to make raw system calls with");
        return;
    }
    let mut bundle = Bundle::new();
    bundle.spec.mounts = host_libraries();
    let script = "use Errno; $| = 1; for (@ARGV) { my ($n, @a) = split /,/; $! = 0; \
        my $r = syscall($n + 0, map { $_ + 0 } @a, (0) x (5 - @a)); printf \"%s=%d \", $n, $r < 0 ? $! + 0 : 0; }";
    let denied = "155 156 165 166 167 168 169 170 171 172 173 174 175 176 178 180 212 237 238 239 246 248 249 250 \
        256 272 279 298 300 304 308 310,-1 311,-1 312 313 320 321 323 425 426 427 428 429 430 431 432 433 438 440 442 443 \
        450 56,268435473 41,38 41,40 135,262144";
    // 310 and 311 (process_vm_*) are allowed, as by docker; without a process they fail in their own way.
    let denied: Vec<&str> = denied
        .split_ascii_whitespace()
        .filter(|call| !call.starts_with("31") || *call == "312" || *call == "313")
        .collect();
    let future = ["435", "470", "1000"];
    let fine = ["39", "102", "41,1,1,0"];
    let mut args = vec!["/usr/bin/perl", "-e", script, "--"];
    args.extend(denied.iter().copied().chain(future).chain(fine));
    let output = bundle.run(&args);
    let number = |call: &&str| call.split(',').next().map(str::to_owned).expect("number");
    let mut expected: Vec<String> =
        denied.iter().map(|call| format!("{}=1", number(call))).collect();
    expected.extend(future.iter().map(|call| format!("{}=38", number(call))));
    expected.extend(fine.iter().map(|call| format!("{}=0", number(call))));
    let got: Vec<&str> = output.stdout.split_whitespace().collect();
    assert_eq!(got, expected, "{}", output.stderr);
}
