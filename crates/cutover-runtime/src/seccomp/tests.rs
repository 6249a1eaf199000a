//! The verdict of compiled filters, by a small interpreter of classic BPF.

use super::*;

/// `struct seccomp_data` as the filter sees it.
fn run(program: &[Instruction], arch: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(arch.to_le_bytes());
    data.extend([0; 8]);
    data.extend(args.iter().flat_map(|arg| arg.to_le_bytes()));
    let (mut at, mut acc) = (0, 0u32);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        at += 1;
        let offset = usize::try_from(k).expect("small");
        let mut branch = |taken: bool| at += usize::from(if taken { jt } else { jf });
        match code {
            0x20 => acc = u32::from_le_bytes(data[offset..offset + 4].try_into().expect("four")),
            0x54 => acc &= k,
            0x05 => at += offset,
            0x15 => branch(acc == k),
            0x25 => branch(acc > k),
            0x35 => branch(acc >= k),
            0x06 => return k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn verdict(value: u32) -> String {
    match value {
        libc::SECCOMP_RET_ALLOW => "allow".to_owned(),
        libc::SECCOMP_RET_KILL_PROCESS => "kill".to_owned(),
        errno => format!("errno {}", errno & 0xffff),
    }
}

fn number(name: &str) -> u32 {
    numbers::all().find(|(known, _)| *known == name).expect("known").1
}

fn check_with(program: &[Instruction], call: &str, args: &[u64], expected: &str) {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    let got = verdict(run(program, numbers::AUDIT_ARCH, number(call), all));
    assert_eq!(got, expected, "{call} {args:?}");
}

fn default_filter(caps: CapSet) -> Vec<Instruction> {
    filter(&Seccomp::Default, caps).expect("valid").expect("confined")
}

#[test]
fn dockers_default() {
    let program = default_filter(CapSet::docker_default());
    for (call, args, expected) in [
        ("read", &[][..], "allow"),
        ("ptrace", &[], "allow"),
        ("chroot", &[], "allow"),
        ("mount", &[], "errno 1"),
        ("unshare", &[], "errno 1"),
        ("keyctl", &[], "errno 1"),
        ("bpf", &[], "errno 1"),
        ("io_uring_setup", &[], "errno 1"),
        ("userfaultfd", &[], "errno 1"),
        ("clone3", &[], "errno 38"),
        ("clone", &[0x11], "allow"),
        ("clone", &[0x1000_0011], "errno 1"),
        ("clone", &[0x8000_0011], "allow"),
        ("socket", &[2], "allow"),
        ("socket", &[16], "allow"),
        ("socket", &[38], "errno 1"),
        ("socket", &[0x1_0000_0026], "errno 1"),
        ("socket", &[40], "errno 1"),
        ("socket", &[46], "errno 1"),
        ("personality", &[0xffff_ffff], "allow"),
        ("personality", &[0x4_0000], "errno 1"),
    ] {
        check_with(&program, call, args, expected);
    }
}

#[test]
fn capabilities_open_more() {
    let program = default_filter(CapSet::ALL);
    for call in ["mount", "unshare", "clone3", "bpf", "reboot", "syslog", "setns"] {
        check_with(&program, call, &[u64::MAX], "allow");
    }
    check_with(&program, "clone", &[0x1000_0011], "allow");
    check_with(&program, "keyctl", &[], "errno 1");
}

#[test]
fn foreign_and_future_calls() {
    let program = default_filter(CapSet::docker_default());
    let native = |number| verdict(run(&program, numbers::AUDIT_ARCH, number, [0; 6]));
    assert_eq!(native(numbers::NEWEST + 1), "errno 38");
    assert_eq!(native(0x4000_0000), "errno 1");
    assert_eq!(native(u32::MAX), "errno 1");
    assert_eq!(verdict(run(&program, 0x4000_0003, 20, [0; 6])), "kill");
}

/// Every number, against the policy itself.
#[test]
fn the_search_finds_every_number() {
    let policy = policy::docker_default(CapSet::docker_default());
    let program = compile::compile(&policy);
    assert!(program.len() < 300, "{} instructions", program.len());
    for number in 0..=numbers::NEWEST {
        let rules = policy.rules.iter().find(|(known, _)| *known == number);
        if rules.is_some_and(|(_, rules)| rules.iter().any(|rule| !rule.tests.is_empty())) {
            continue;
        }
        let expected = match rules.map(|(_, rules)| rules[0].action) {
            Some(Action::Allow) => "allow".to_owned(),
            Some(Action::Errno(errno)) => format!("errno {errno}"),
            _ => "errno 1".to_owned(),
        };
        assert_eq!(verdict(run(&program, numbers::AUDIT_ARCH, number, [0; 6])), expected);
    }
}

#[test]
fn a_users_profile() {
    let json = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
        {"names": ["dup"], "action": "SCMP_ACT_ERRNO",
         "args": [{"index": 0, "value": 4294967297, "op": "SCMP_CMP_GE"}]},
        {"names": ["dup2"], "action": "SCMP_ACT_ERRNO",
         "args": [{"index": 1, "value": 240, "valueTwo": 16, "op": "SCMP_CMP_MASKED_EQ"}]},
        {"names": ["chmod"], "action": "SCMP_ACT_ERRNO",
         "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_LT"}, {"index": 1, "value": 7, "op": "SCMP_CMP_NE"}]},
        {"names": ["rmdir"], "action": "SCMP_ACT_ERRNO", "includes": {"caps": ["CAP_SYS_ADMIN"]}}]}"#;
    let seccomp = Seccomp::Profile(json.to_owned());
    let program = filter(&seccomp, CapSet::docker_default()).expect("valid").expect("confined");
    for (call, args, expected) in [
        ("mkdir", &[][..], "errno 13"),
        ("rmdir", &[], "allow"),
        ("dup", &[0x1_0000_0001], "errno 1"),
        ("dup", &[0x2_0000_0000], "errno 1"),
        ("dup", &[0x1_0000_0000], "allow"),
        ("dup", &[5], "allow"),
        ("dup2", &[0, 0x1f], "errno 1"),
        ("dup2", &[0, 0x2f], "allow"),
        ("chmod", &[4, 8], "errno 1"),
        ("chmod", &[4, 7], "allow"),
        ("chmod", &[5, 8], "allow"),
        ("chmod", &[0x1_0000_0000, 8], "allow"),
    ] {
        check_with(&program, call, args, expected);
    }
}

#[test]
fn profiles_that_would_be_weaker_than_written() {
    let check = |json: &str, expected: &str| {
        let error = filter(&Seccomp::Profile(json.to_owned()), CapSet::ALL).expect_err("refused");
        assert_eq!(error.to_string(), expected);
    };
    check(
        r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#,
        "seccomp profile has the unsupported action `SCMP_ACT_NOTIFY`",
    );
    check(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["dup"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_ALMOST"}]}]}"#,
        "seccomp profile has the unknown operator `SCMP_CMP_ALMOST`",
    );
    check("{", "seccomp profile is not valid JSON of docker's format");
}
