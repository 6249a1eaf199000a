//! Docker's default policy for 64-bit machines: public facts, in our own table.

use super::compile::{Action, Policy, Rule, Test};
use super::numbers;
use crate::caps::CapSet;

/// Allowed without a condition; sorted, for binary search.
const ALLOWED: &str = "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown \
    clock_adjtime clock_getres clock_gettime clock_nanosleep close close_range connect \
    copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old \
    epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit \
    exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat \
    fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr \
    fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake \
    futimesat get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid geteuid \
    getgid getgroups getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom \
    getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday \
    getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch \
    io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set \
    kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link \
    linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat \
    madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod \
    mknodat mlock mlock2 mlockall mmap mprotect mq_getsetattr mq_notify mq_open mq_timedreceive \
    mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall \
    munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open \
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 \
    preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 ptrace \
    pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg \
    remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir \
    rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend \
    rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min \
    sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval \
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select \
    semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_robust_list \
    set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid \
    setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr \
    setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 socketpair splice \
    stat statfs statmount statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill \
    time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create \
    timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat uretprobe \
    utime utimensat utimes vfork vmsplice wait4 waitid write writev";

/// What a capability opens. `ptrace` and its like are allowed to everyone since Linux 4.8 checks it after seccomp.
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie \
         lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount \
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog \
         umount2 unshare",
    ),
    ("SYS_BOOT", "reboot"),
    ("SYS_CHROOT", "chroot"),
    ("SYS_MODULE", "delete_module finit_module init_module"),
    ("SYS_PACCT", "acct"),
    ("SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("SYS_RAWIO", "ioperm iopl"),
    ("SYS_TIME", "clock_settime settimeofday"),
    ("SYS_TTY_CONFIG", "vhangup"),
    ("SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("SYSLOG", "syslog"),
    ("BPF", "bpf"),
    ("PERFMON", "perf_event_open"),
];

/// What only this architecture has.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "arch_prctl modify_ldt";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "";

/// Address families that `socket` may use: all up to 45 but those that reach past the container
/// (`AF_ALG` 38, `AF_VSOCK` 40) and some relics.
const FAMILIES: [(u32, u32); 8] =
    [(0, 11), (13, 18), (21, 22), (24, 24), (26, 33), (35, 36), (39, 39), (41, 45)];

/// Values of `personality` that change nothing that matters, and the query.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, u32::MAX];

/// Every `CLONE_NEW*` that `clone` could be asked for.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

/// The policy for a container with these capabilities.
pub(super) fn docker_default(caps: CapSet) -> Policy {
    let allowed: Vec<&str> = ALLOWED.split_ascii_whitespace().collect();
    let open: Vec<&str> = BY_CAPABILITY
        .iter()
        .filter(|(capability, _)| caps.has(capability))
        .flat_map(|(_, names)| names.split_ascii_whitespace())
        .chain(ARCHITECTURE.split_ascii_whitespace())
        .collect();
    let rules = numbers::all()
        .filter_map(|(name, number)| {
            let free = allowed.binary_search(&name).is_ok() || open.contains(&name);
            let rules = if free { vec![Rule::always(Action::Allow)] } else { conditional(name) };
            (!rules.is_empty()).then_some((number, rules))
        })
        .collect();
    Policy { default: Action::Errno(libc::EPERM.unsigned_abs()), rules }
}

/// Calls that are allowed for some arguments, or fail in a way of their own.
fn conditional(name: &str) -> Vec<Rule> {
    let first = |&(low, high): &(u32, u32)| Rule {
        tests: vec![Test::Within { argument: 0, low, high }],
        action: Action::Allow,
    };
    match name {
        "socket" => FAMILIES.iter().map(first).collect(),
        "personality" => PERSONALITIES.iter().map(|&value| first(&(value, value))).collect(),
        "clone" => vec![Rule {
            tests: vec![Test::Clear { argument: 0, bits: NEW_NAMESPACES }],
            action: Action::Allow,
        }],
        // Its flags are behind a pointer that a filter cannot follow; libraries fall back to `clone`.
        "clone3" => vec![Rule::always(Action::Errno(libc::ENOSYS.unsigned_abs()))],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        let names: Vec<&str> = ALLOWED.split_ascii_whitespace().collect();
        assert!(names.is_sorted_by(|a, b| a < b));
    }
}
