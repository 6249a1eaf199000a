//! Other programs, and our own client, push to the embedded registry and pull from it.

use std::process::Command;

use super::{Registry, movable};
use crate::fixture::Bench;

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program} is installed (Debian package): {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn our_client_and_skopeo() {
    let registry = Registry::with_policy(movable);
    let host = format!("127.0.0.1:{}", registry.port);
    let (mut bench, digest) = Bench::with_image(40, 3);
    // which every program reads
    bench.options.form = Some(cutover_store::LayerForm::GZIP);
    for (tag, chunk) in [("whole", None), ("chunks", Some(40_000))] {
        bench.options.chunk = chunk;
        let name = format!("{host}/team/ours:{tag}");
        let pushed = bench.push(&digest, &name).unwrap();
        assert_eq!(bench.push(&digest, &name).unwrap(), pushed);
        let other = Bench::new();
        assert_eq!(other.pull(&name).unwrap().digest, pushed.descriptor.digest);
        other.assert_clean();
    }
    let copy = |from: &str, to: &str, more: &[&str]| {
        let fixed =
            ["--insecure-policy", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"];
        let fixed: Vec<&str> = fixed
            .into_iter()
            .filter(|it| {
                (from.starts_with("docker:") || !it.starts_with("--src"))
                    && (to.starts_with("docker:") || !it.starts_with("--dest"))
            })
            .collect();
        run("skopeo", &[&fixed[..], more, &[from, to]].concat());
    };
    let layout = format!("oci:{}", registry.dir.path().join("layout").display());
    let ours = format!("docker://{host}/team/ours:whole");
    copy(&ours, &format!("{layout}:a"), &[]);
    for (tag, more) in [
        ("oci", &["--format", "oci"][..]),
        ("docker", &["--format", "v2s2"]),
        ("zstd", &["--dest-compress-format", "zstd", "--dest-compress"]),
    ] {
        let to = format!("docker://{host}/team/theirs:{tag}");
        copy(&format!("{layout}:a"), &to, more);
        copy(&to, &format!("docker://{host}/other/copied:{tag}"), &[]);
        let other = Bench::new();
        let image = other.pull(&format!("{host}/other/copied:{tag}")).unwrap();
        assert_eq!(image.manifest.layers.len(), 3, "{tag}");
    }
    let tags = Command::new("skopeo")
        .args(["list-tags", "--tls-verify=false", &format!("docker://{host}/team/theirs")])
        .output()
        .unwrap();
    let tags: serde_json::Value = serde_json::from_slice(&tags.stdout).unwrap();
    assert_eq!(tags["Tags"], serde_json::json!(["docker", "oci", "zstd"]));
    run("skopeo", &["delete", "--tls-verify=false", &format!("docker://{host}/team/theirs:oci")]);
    let left = registry.client().get("/v2/team/theirs/tags/list").json();
    assert!(!left["tags"].as_array().unwrap().contains(&"oci".into()));
}
