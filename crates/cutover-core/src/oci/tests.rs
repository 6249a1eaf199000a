use super::*;

#[test]
fn null_lists_are_empty_lists() {
    let digest = crate::Digest::sha256(b"{}");
    let text = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{digest}","size":2}},"layers":null}}"#
    );
    let manifest: Manifest = serde_json::from_str(&text).unwrap();
    assert!(manifest.layers.is_empty());
    let text = r#"{"architecture":"amd64","os":"linux","created":null,"rootfs":{"type":"layers","diff_ids":null},"config":{"Env":null,"Volumes":null,"User":null}}"#;
    let config: ImageConfig = serde_json::from_str(text).unwrap();
    assert!(config.rootfs.diff_ids.is_empty());
    assert_eq!(config.config, Config::default());
}

#[test]
fn dockers_extensions_and_unknown_fields_survive() {
    let text = r#"{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"],"Shell":["/bin/bash","-c"],"OnBuild":["RUN x"],"Healthcheck":{"Test":["CMD","true"],"Interval":5000000000},"Hostname":"h"},"rootfs":{"type":"layers","diff_ids":[]},"docker_version":"20"}"#;
    let config: ImageConfig = serde_json::from_str(text).unwrap();
    let again: serde_json::Value = serde_json::to_value(&config).unwrap();
    let first: serde_json::Value = serde_json::from_str(text).unwrap();
    assert_eq!(again, first);
}

#[test]
fn an_index_chooses_by_platform() {
    let entry = |platform: Option<Platform>| Descriptor {
        platform,
        ..Descriptor::new(media_type::OCI_MANIFEST, crate::Digest::sha256(b"x"), 1)
    };
    let index = |entries: Vec<Option<Platform>>| Index {
        schema_version: 2,
        media_type: None,
        manifests: entries.into_iter().map(entry).collect(),
        annotations: std::collections::BTreeMap::new(),
    };
    let amd64 = Platform::new("linux", "amd64");
    let v8 = Platform { variant: Some("v8".into()), ..Platform::new("linux", "arm64") };
    let both = index(vec![
        Some(Platform::new("unknown", "unknown")),
        Some(v8.clone()),
        Some(amd64.clone()),
    ]);
    assert_eq!(both.choose(&amd64).unwrap().platform, Some(amd64.clone()));
    assert_eq!(both.choose(&Platform::new("linux", "arm64")).unwrap().platform, Some(v8));
    assert_eq!(both.choose(&Platform::new("linux", "s390x")), None);
    assert!(index(vec![None]).choose(&amd64).is_some());
    assert_eq!(index(vec![None, None]).choose(&amd64), None);
}
