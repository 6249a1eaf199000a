use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What a path becomes, in short: the route, or the code of the refusal, or `-`.
fn shown(path: &str) -> String {
    match Route::parse(path) {
        None => "-".to_owned(),
        Some(Err(refusal)) => {
            format!("{} {}", refusal.status.as_u16(), refusal.code.as_str())
        }
        Some(Ok(route)) => match route {
            Route::Ping => "ping".to_owned(),
            Route::Catalog => "catalog".to_owned(),
            Route::Tags { name } => format!("tags {name}"),
            Route::Manifest { name, target: Target::Tag(tag) } => format!("manifest {name} {tag}"),
            Route::Manifest { name, target: Target::Digest(digest) } => {
                format!("manifest {name} @{}", digest.short())
            }
            Route::Blob { name, digest } => format!("blob {name} {}", digest.short()),
            Route::Uploads { name } => format!("uploads {name}"),
            Route::Upload { name, id } => format!("upload {name} {}", &id[..4]),
            Route::Referrers { name, digest } => format!("referrers {name} {}", digest.short()),
            Route::History { name } => format!("history {name}"),
        },
    }
}

#[test]
fn paths() {
    let long = "a".repeat(NAME_MAX + 1);
    let id = "0123456789abcdef0123456789abcdef";
    for (path, wanted) in [
        ("/", "-"),
        ("/v1/", "-"),
        ("/v2", "ping"),
        ("/v2/", "ping"),
        ("/v2//", "-"),
        ("/v22/", "-"),
        ("/v2/_catalog", "catalog"),
        ("/v2/a/tags/list", "tags a"),
        ("/v2/a/b-c/d__e/tags/list", "tags a/b-c/d__e"),
        ("/v2/tags/list", "-"),
        ("/v2/tags/tags/list", "tags tags"),
        ("/v2/a/manifests/latest", "manifest a latest"),
        ("/v2/a/manifests/V1.0_x-y", "manifest a V1.0_x-y"),
        ("/v2/a/manifests/-x", "400 DIGEST_INVALID"),
        ("/v2/a/manifests/", "400 DIGEST_INVALID"),
        ("/v2/a/manifests/sha256:baddigeststring", "400 DIGEST_INVALID"),
        ("/v2/a/manifests/md5:d41d8cd98f00b204e9800998ecf8427e", "400 DIGEST_INVALID"),
        (&format!("/v2/a/manifests/sha256:{HEX}"), "manifest a @e3b0c44298fc"),
        (&format!("/v2/a/manifests/sha256%3A{HEX}"), "manifest a @e3b0c44298fc"),
        (&format!("/v2/a/blobs/sha256:{HEX}"), "blob a e3b0c44298fc"),
        (&format!("/v2/a/blobs/sha512:{HEX}{HEX}"), "blob a e3b0c44298fc"),
        (&format!("/v2/a/blobs/sha512:{HEX}"), "400 DIGEST_INVALID"),
        (&format!("/v2/a/blobs/SHA256:{HEX}"), "400 DIGEST_INVALID"),
        (&format!("/v2/a/blobs/sha256:{}", HEX.to_uppercase()), "400 DIGEST_INVALID"),
        (&format!("/v2/a/referrers/sha256:{HEX}"), "referrers a e3b0c44298fc"),
        ("/v2/a/referrers/latest", "400 DIGEST_INVALID"),
        ("/v2/a/blobs/uploads/", "uploads a"),
        ("/v2/a/blobs/uploads", "uploads a"),
        ("/v2/blobs/uploads/blobs/uploads/", "uploads blobs/uploads"),
        (&format!("/v2/a/blobs/uploads/{id}"), "upload a 0123"),
        ("/v2/a/blobs/uploads/..", "404 BLOB_UPLOAD_UNKNOWN"),
        (&format!("/v2/a/blobs/uploads/{}", id.to_uppercase()), "404 BLOB_UPLOAD_UNKNOWN"),
        ("/v2/a/_cutover/tags/history", "history a"),
        ("/v2/a/other/x", "-"),
        // tricks
        ("/v2/../tags/list", "400 NAME_INVALID"),
        ("/v2/a/../b/tags/list", "400 NAME_INVALID"),
        ("/v2/a//b/tags/list", "400 NAME_INVALID"),
        ("/v2//a/tags/list", "400 NAME_INVALID"),
        ("/v2/a%2Fb/tags/list", "400 NAME_INVALID"),
        ("/v2/%2e%2e/manifests/latest", "400 NAME_INVALID"),
        ("/v2/A/tags/list", "400 NAME_INVALID"),
        ("/v2/a_/tags/list", "400 NAME_INVALID"),
        ("/v2/a___b/tags/list", "400 NAME_INVALID"),
        ("/v2/a---b/tags/list", "tags a---b"),
        ("/v2/\u{e4}/tags/list", "400 NAME_INVALID"),
        (&format!("/v2/{}/tags/list", &long[1..]), &format!("tags {}", &long[1..])),
        (&format!("/v2/{long}/tags/list"), "400 NAME_INVALID"),
        (&format!("/v2/a/manifests/{}", "t".repeat(129)), "400 DIGEST_INVALID"),
    ] {
        assert_eq!(shown(path), wanted, "{path}");
    }
}

#[test]
fn queries() {
    let values =
        |text, key| -> Vec<String> { query(Some(text), key).map(Cow::into_owned).collect() };
    assert_eq!(values("tag=a&tag=b&n=1", "tag"), ["a", "b"]);
    assert_eq!(values("digest=sha256%3Aab", "digest"), ["sha256:ab"]);
    assert_eq!(values("t=a+b%2", "t"), ["a b%2"]);
    assert_eq!(values("t=%ff", "t"), ["\u{fffd}"]);
    assert_eq!(values("", "t"), [""; 0]);
    assert_eq!(query(None, "t").count(), 0);
    assert_eq!(escape("a b/c:d"), "a%20b/c%3Ad");
}
