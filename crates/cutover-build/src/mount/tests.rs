use super::*;

/// Reads the fields of `text`, separated by commas, in WORKDIR `/w`; `$v` is `V`.
fn read(text: &str) -> Result<Mount, String> {
    let fields = text.split(',').map(str::to_owned).collect();
    let flag = MountFlag { fields, from: String::new() };
    Mount::read(&flag, "/w", |value| match value {
        "$bad" => Err("bad substitution".to_owned()),
        value => Ok(value.replace("$v", "V")),
    })
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let got = match read(text) {
        Ok(Mount { target, kind }) => format!("{target} {kind:?}"),
        Err(error) => error,
    };
    assert_eq!(got, expected, "of `{text}`");
}

#[test]
fn binds() {
    check("target=/x", r#"/x Bind { from: None, source: "/", writable: false }"#);
    check("dst=x,src=../a/b/", r#"/w/x Bind { from: None, source: "/a/b", writable: false }"#);
    let writable = r#"/x Bind { from: Some("s"), source: "/V", writable: true }"#;
    check("TYPE=Bind,From=s,Source=$v,Destination=/x,RW", writable);
    check("type=bind,from=s,src=$v,dst=/x,readonly=false", writable);
    check("from=s,src=$v,dst=/x,readwrite=T", writable);
    check("from=,target=/x,rw,ro", r#"/x Bind { from: None, source: "/", writable: false }"#);
    check("target=/", "invalid mount target `/`: nothing can be mounted over the root");
    check("target=..", "invalid mount target `/`: nothing can be mounted over the root");
    // Without a target it is WORKDIR itself, as in BuildKit.
    check("source=a", r#"/w Bind { from: None, source: "/a", writable: false }"#);
}

#[test]
fn caches() {
    check(
        "type=cache,target=./x/",
        r#"/w/x Cache(CacheMount { id: "x", from: None, source: "/", read_only: false, sharing: Shared, access: None })"#,
    );
    check(
        "type=cache,id=$v,target=/x,ro,sharing=LOCKED,from=s,source=a,mode=700",
        r#"/x Cache(CacheMount { id: "V", from: Some("s"), source: "/a", read_only: true, sharing: Locked, access: None })"#,
    );
    check(
        "type=cache,target=/x,uid=7,sharing=private",
        r#"/x Cache(CacheMount { id: "/x", from: None, source: "/", read_only: false, sharing: Private, access: Some(Access { mode: 493, uid: 7, gid: 0 }) })"#,
    );
}

#[test]
fn memory() {
    check("type=tmpfs,target=/x", "/x Tmpfs { size: None, read_only: false }");
    check("type=tmpfs,target=/x,size=2m", "/x Tmpfs { size: Some(2097152), read_only: false }");
    check("size=2m,type=tmpfs", "unexpected key `size` for mount type `bind`");
}

#[test]
fn secrets() {
    let file = |target: &str, id: &str, access: &str| {
        format!(
            "{target} Secret(SecretMount {{ id: {id:?}, env: None, required: false, access: {access} }})"
        )
    };
    let default = "Access { mode: 256, uid: 0, gid: 0 }";
    check("type=secret,id=a/b", &file("/run/secrets/b", "a/b", default));
    check("type=secret,source=a", &file("/run/secrets/a", "a", default));
    check("type=secret,target=/etc/key", &file("/etc/key", "key", default));
    check("type=secret,id=a,target=b/c", &file("/b/c", "a", default));
    let given = "Access { mode: 420, uid: 1, gid: 2 }";
    check("type=secret,id=a,mode=0644,uid=1,gid=2", &file("/run/secrets/a", "a", given));
    let env = |target: &str| {
        format!(
            "{target} Secret(SecretMount {{ id: \"a\", env: Some(\"A\"), required: true, access: {default} }})"
        )
    };
    check("type=secret,id=a,env=A,required", &env(""));
    check("type=secret,id=a,env=A,required=true,target=/a", &env("/a"));
    check("type=secret", "a secret mount needs an `id` or a `target`");
    check("type=secret,id=a,from=b", "a secret mount has no `from`");
    check("type=secret,id=a,source=b", "a secret mount has `id` or `source`, not both");
    check("type=secret,id=a,sharing=shared", "`sharing` is not allowed for mount type `secret`");
    check("type=secret,target=/", "invalid mount target `/`: nothing can be mounted over the root");
}

#[test]
fn agents() {
    check(
        "type=ssh",
        r#" Ssh { id: "default", required: false, access: Access { mode: 384, uid: 0, gid: 0 } }"#,
    );
    check(
        "type=ssh,id=a,target=s,required,uid=5,mode=0666",
        r#"/s Ssh { id: "a", required: true, access: Access { mode: 438, uid: 5, gid: 0 } }"#,
    );
    check("type=ssh,source=x", "an ssh mount has no `source`");
}

#[test]
fn what_is_wrong() {
    check("typ=tmpfs", "unexpected key `typ` in `typ=tmpfs`: did you mean `type`?");
    check("type=tmp", "unsupported mount type `tmp`: did you mean `tmpfs`?");
    check(
        "type=volume",
        "unsupported mount type `volume`: it is one of `bind`, `cache`, `tmpfs`, `secret`, `ssh`",
    );
    check(
        "type=cache,sharing=loked,target=/x",
        "unsupported sharing value `loked`: did you mean `locked`?",
    );
    check("target=/x,sharing=shared", "`sharing` is not allowed for mount type `bind`");
    check("target=/x,mode=755", "`mode` is not allowed for mount type `bind`");
    check("type=tmpfs,target=/x,uid=1", "`uid` is not allowed for mount type `tmpfs`");
    check("required,type=secret,id=a", "unexpected key `required` for mount type `bind`");
    check("target", "invalid mount field `target`: it must be `key=value`");
    check("", "invalid mount field ``: it must be `key=value`");
    check("target=/x,ro=yes", "invalid value `yes` for `ro`: write `true` or `false`");
    check("type=cache,mode=9", "invalid value `9` for `mode`: it is not an octal number");
    check("type=cache,uid=+1", "invalid value `+1` for `uid`: it is not a number");
    check("type=cache,uid=4294967296", "invalid value `4294967296` for `uid`: it is not a number");
    check("target=$bad", "bad substitution");
}
