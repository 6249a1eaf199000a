//! `build --provision`: scripts, playbooks and manifests over a base image, with this machine's own
//! Ansible and Puppet, which must be there.

use std::collections::BTreeSet;
use std::path::Path;

use crate::harness::{Root, eventually};

const SCRIPT: &str = "\
set -eu
cat /run/secrets/token | wc -c > /size
echo \"$GREETING from $(pwd) as $(id -u)\" > /made
cat beside >> /made
sleep 1000 &
";

const PLAYBOOK: &str = "\
- hosts: web
  gather_facts: false
  tasks:
    - ansible.builtin.template: {src: page.j2, dest: /page, mode: '0640'}
    - ansible.builtin.command: sh -c 'sleep 1000 & echo started'
    - ansible.builtin.copy: {content: here, dest: /local}
      delegate_to: localhost
";

/// Facter writes the names of facts in lower case.
const MANIFEST: &str = "\
file { '/manifest': content => \"${facts['greeting']} from Puppet\\n\", mode => '0600' }
exec { '/bin/sh -c \"sleep 1000 & echo ran > /ran\"': }
";

fn lab() -> Root {
    let root = Root::with_busybox();
    root.write("ctx/shell/setup.sh", SCRIPT);
    root.write("ctx/shell/beside", "a file beside\n");
    root.write("ctx/ansible/site.yml", PLAYBOOK);
    root.write("ctx/ansible/templates/page.j2", "{{ GREETING }} for {{ inventory_hostname }}\n");
    root.write("ctx/puppet/site.pp", MANIFEST);
    root.write("ctx/token", "secret");
    root.write("ctx/.dockerignore", "**/*.log\n");
    root
}

/// Without a network: these need none.
fn args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["build", "--from", "busybox", "--network", "none", "-t", "made"];
    args.extend(more);
    args
}

const ALL: [&str; 12] = [
    "--provision",
    "shell=shell/setup.sh",
    "--provision",
    "ansible=ansible/site.yml",
    "--provision",
    "puppet=puppet/site.pp",
    "--build-arg",
    "GREETING=hi",
    "--change",
    "CMD [\"cat\", \"/made\", \"/size\", \"/page\", \"/local\", \"/manifest\", \"/ran\"]",
    "--secret",
    "id=token,src=ctx/token",
];

#[test]
fn each_step_is_a_layer_and_the_image_runs() {
    let root = lab();
    let build = |flag: &str| root.run(args(&[&ALL[..], &[flag, "ctx"]].concat()));
    let said = build("--explain");
    assert_eq!(said.code, 0, "{}", said.err);
    let ran = root.ok(["run", "--rm", "made"]);
    let expected = "hi from /run/cutover/provision as 0\na file beside\n6\nhi for localhost\nhere\
                    hi from Puppet\nran";
    assert_eq!(ran, expected);
    let image = &root.json(&["inspect", "made"])[0]["config"];
    let history: Vec<String> = image["history"].as_array().unwrap()[..]
        .iter()
        .filter_map(|line| line["created_by"].as_str())
        .filter(|line| line.contains("PROVISION"))
        .map(str::to_owned)
        .collect();
    let line = |step: &str| format!("|1 GREETING=hi PROVISION {step}");
    assert_eq!(
        history,
        [
            line("shell=shell/setup.sh"),
            line("ansible=ansible/site.yml"),
            line("puppet=puppet/site.pp")
        ]
    );
    assert_eq!(image["rootfs"]["diff_ids"].as_array().unwrap().len(), 4);
    let files = |image: &str| -> BTreeSet<String> {
        let list = ["run", "--rm", "--entrypoint", "find", image, "/", "-xdev"];
        root.ok(list).lines().map(str::to_owned).collect()
    };
    let (before, after) = (files("busybox"), files("made"));
    let new: Vec<&str> = after.difference(&before).map(String::as_str).collect();
    assert_eq!(new, ["/local", "/made", "/manifest", "/page", "/ran", "/size"]);
    let saved = root.work().join("made.tar");
    root.ok(["save", "-o", saved.to_str().unwrap(), "made"]);
    let bytes = std::fs::read(&saved).unwrap();
    let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    assert!(has(b"a file beside"), "the search works");
    for word in ["AnsiballZ", "policy-rc.d", "puppet.rb", ".ansible"] {
        assert!(!has(word.as_bytes()), "`{word}` is in the image");
    }

    let again = build("--quiet");
    assert_eq!(again.code, 0, "{}", again.err);
    let digest = root.json(&["inspect", "made"])[0]["digest"].as_str().unwrap().to_owned();
    assert_eq!(again.out.trim(), digest, "the same files give the same image");
    let times = root.work().join("ctx/ansible/templates/page.j2");
    std::fs::write(&times, std::fs::read(&times).unwrap()).unwrap();
    root.write("ctx/ansible/noise.log", "ignored");
    assert_eq!(build("--quiet").out.trim(), digest, "only times and ignored files changed");
    root.write("ctx/ansible/templates/page.j2", "other\n");
    let said = build("--explain");
    assert!(said.err.contains("ansible/templates/page.j2"), "{}", said.err);
    assert!(root.ok(["run", "--rm", "made"]).contains("other"));
}

#[test]
fn what_a_step_started_ends_with_it() {
    let root = lab();
    let started = std::time::Instant::now();
    root.ok(args(&[&ALL[..], &["ctx"]].concat()));
    assert!(started.elapsed().as_secs() < 100, "nobody waits for `sleep 1000`");
    let own = root.path().to_string_lossy().into_owned();
    eventually("no process of the build is left", || !processes().any(|line| line.contains(&own)));
    assert_eq!(leftovers(&root.path().join("root/tmp")), Vec::<String>::new());
}

fn processes() -> impl Iterator<Item = String> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    })
}

fn leftovers(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.ends_with(".lock")).collect()
}

#[test]
fn failures_say_which_step_and_task() {
    let root = lab();
    let check = |file: &str, text: &str, step: &str, expected: &[&str]| {
        root.write(&format!("ctx/bad/{file}"), text);
        let said = root.run(args(&["--provision", step, "ctx"]));
        assert_eq!(said.code, 1, "{}", said.err);
        for part in expected {
            assert!(said.err.contains(part), "no `{part}` in {}", said.err);
        }
        assert_eq!(leftovers(&root.path().join("root/tmp")), Vec::<String>::new());
    };
    check(
        "a.sh",
        "echo before; exit 7",
        "shell=bad/a.sh",
        &["`PROVISION shell=bad/a.sh` exited with code 7", "before"],
    );
    check(
        "a.yml",
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: Break it\n      command: cat /none\n",
        "ansible=bad/a.yml",
        &[
            "`PROVISION ansible=bad/a.yml` exited with code 2",
            "TASK [Break it]",
            "a.yml:4",
            "/none",
        ],
    );
    check(
        "b.yml",
        "- hosts: 'web*'\n  gather_facts: false\n  tasks: []\n",
        "ansible=bad/b.yml",
        &["`PROVISION ansible=bad/b.yml` exited with code 1", "web*"],
    );
    check(
        "a.pp",
        "exec { '/bin/false': }",
        "puppet=bad/a.pp",
        &["`PROVISION puppet=bad/a.pp` exited with code 4", "Exec[/bin/false]"],
    );
    check("b.pp", "file {", "puppet=bad/b.pp", &["exited with code 1", "Syntax error"]);
}

#[test]
fn missing_tools_and_files_are_told() {
    let root = lab();
    let empty = root.work().join("empty");
    std::fs::create_dir(&empty).unwrap();
    for (step, package) in
        [("ansible=ansible/site.yml", "ansible-core"), ("puppet=puppet/site.pp", "puppet-agent")]
    {
        let mut command = root.command(args(&["--provision", step, "ctx"]));
        let output = command.env("PATH", &empty).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains("is not installed on this machine") && err.contains(package), "{err}");
    }
    let said = root.run(args(&["--provision", "shell=none.sh", "ctx"]));
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("`none.sh` is not in the build context"), "{}", said.err);
    for bad in [
        &["--provision", "chef=x"][..],
        &["--provision", "shell=../x"],
        &["--provision", "shell=shell/setup.sh", "--change", "RUN x"],
        &["--provision", "shell=shell/setup.sh", "-f", "Dockerfile"],
    ] {
        assert_eq!(root.run(args(&[bad, &["ctx"]].concat())).code, 2, "{bad:?}");
    }
}

const COMPOSE: &str = "\
name: provisioned
secrets:
  token: {file: ctx/token}
services:
  web:
    command: [sleep, '1000']
    stop_grace_period: 0s
    build:
      context: ctx
      network: none
      args: {GREETING: hi}
      secrets: [token]
      x-cutover:
        from: busybox
        provision: [shell=shell/setup.sh]
  other:
    command: [sleep, '1000']
    stop_grace_period: 0s
    build:
      context: ctx
      network: none
      secrets: [{source: token, target: t}]
      shm_size: 1m
      ulimits: {nofile: 77}
      extra_hosts: [friend=10.1.2.3]
      dockerfile_inline: |
        FROM busybox
        RUN --mount=type=secret,id=t cat /run/secrets/t | wc -c > /size
        RUN ulimit -n > /files && grep friend /etc/hosts > /friend
        RUN stat -f -c '%b %s' /dev/shm > /shm
";

#[test]
fn compose_builds_with_the_same_keys() {
    let root = lab();
    root.write("compose.yaml", COMPOSE);
    root.ok(["deploy"]);
    let has = |image: &str, path: &str| root.ok(["run", "--rm", image, "cat", path]);
    assert!(has("provisioned-web", "/made").starts_with("hi from"));
    assert_eq!(has("provisioned-other", "/size"), "6");
    assert_eq!(has("provisioned-other", "/files"), "77");
    assert!(has("provisioned-other", "/friend").contains("10.1.2.3"));
    assert_eq!(has("provisioned-other", "/shm"), "256 4096");
}

/// The examples, on a Debian made here: packages are installed and a service is started.
#[test]
fn examples_make_web_servers() {
    let root = Root::new();
    let tar = root.work().join("debian.tar");
    let made = match std::env::var_os("CUTOVER_TEST_DEBIAN") {
        Some(path) => std::fs::copy(path, &tar).is_ok(),
        None => std::process::Command::new("mmdebstrap")
            .args(["--variant=minbase", "--include=ca-certificates", "bookworm"])
            .arg(&tar)
            .output()
            .is_ok_and(|output| output.status.success()),
    };
    if !made {
        eprintln!("SKIPPED: no Debian could be made; `mmdebstrap` and its archive are needed");
        return;
    }
    root.ok(["import", tar.to_str().unwrap(), "debian:bookworm-slim"]);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/provision");
    let examples = examples.to_str().unwrap();
    for (step, said) in [
        ("shell=shell/setup.sh", "hi from a script"),
        ("ansible=ansible/site.yml", "hi from a playbook for Debian"),
        ("puppet=puppet/site.pp", "hi from a manifest for Debian"),
    ] {
        let build = || {
            let from = ["build", "-q", "-t", "site", "--from", "debian:bookworm-slim"];
            root.ok(from.iter().chain(&[
                "--provision",
                step,
                "--build-arg",
                "greeting=hi",
                examples,
            ]))
        };
        let first = build();
        assert_eq!(build(), first, "{step}");
        assert_eq!(root.ok(["run", "--rm", "site", "cat", "/var/www/html/index.html"]), said);
        root.ok(["run", "--rm", "site", "nginx", "-t"]);
        let script = "command -v python3 puppet ansible; ls -d /root/.ansible /run/nginx.pid \
                      /usr/sbin/policy-rc.d /var/lib/puppet /run/cutover 2>/dev/null; dpkg -l | grep -c python3";
        assert_eq!(root.run(["run", "--rm", "site", "sh", "-c", script]).out.trim(), "0", "{step}");
    }
}
