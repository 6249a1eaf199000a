//! [`sbom`]: the packages of an image as an SPDX 2.3 document. An own writer: the document has
//! three kinds of objects, and a library would bring the whole model for them.

use cutover_core::Digest;
use serde_json::{Value, json};

use super::packages::{Distro, Package};
use super::{Attestation, SPDX_TYPE};

/// The image that a document is about.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    pub name: &'a str,
    /// Its address as a package.
    pub purl: &'a str,
    /// Of its manifest.
    pub digest: &'a Digest,
    /// RFC 3339, of the image: the same image has the same document.
    pub created: &'a str,
    /// Version of this program.
    pub version: &'a str,
}

const NONE: &str = "NOASSERTION";

/// Writes the document.
pub fn sbom(image: Described<'_>, (distro, packages): &(Distro, Vec<Package>)) -> Attestation {
    let root = json!({
        "SPDXID": "SPDXRef-Image",
        "name": image.name,
        "versionInfo": image.digest,
        "downloadLocation": NONE,
        "filesAnalyzed": false,
        "licenseConcluded": NONE,
        "licenseDeclared": NONE,
        "copyrightText": NONE,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": image.digest.hex()}],
        "externalRefs": [purl(image.purl)],
    });
    let mut all = vec![root];
    let mut relations = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image")];
    for (number, package) in packages.iter().enumerate() {
        let id = format!("SPDXRef-Package-{}", number + 1);
        relations.push(relation("SPDXRef-Image", "CONTAINS", &id));
        all.push(json!({
            "SPDXID": id,
            "name": package.name,
            "versionInfo": package.version,
            "downloadLocation": NONE,
            "filesAnalyzed": false,
            "licenseConcluded": NONE,
            "licenseDeclared": package.license.as_deref().unwrap_or(NONE),
            "copyrightText": NONE,
            "sourceInfo": format!("found in /{}", package.found),
            "externalRefs": [purl(&package.purl(distro))],
        }));
    }
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": image.name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/{}", image.digest.hex()),
        "creationInfo": {
            "created": whole_seconds(image.created),
            "creators": [format!("Tool: cutover-{}", image.version)],
        },
        "packages": all,
        "relationships": relations,
    });
    Attestation {
        media_type: SPDX_TYPE,
        predicate_type: "https://spdx.dev/Document",
        document: serde_json::to_vec(&document).expect("only string keys"),
    }
}

fn purl(locator: &str) -> Value {
    json!({
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": locator,
    })
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to})
}

/// SPDX knows no parts of a second.
fn whole_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => time.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attest::packages::Kind;

    #[test]
    fn a_document() {
        let package = Package {
            kind: Kind::Deb,
            name: "libstdc++6".to_owned(),
            version: "1:12.2-14".to_owned(),
            architecture: Some("amd64".to_owned()),
            license: None,
            found: "var/lib/dpkg/status".to_owned(),
        };
        let distro = Distro { id: "debian".to_owned(), version: "12".to_owned() };
        let digest = Digest::sha256(b"x");
        let image = Described {
            name: "app:1",
            purl: "pkg:docker/app@1",
            digest: &digest,
            created: "2026-01-02T03:04:05.678Z",
            version: "0.1.0",
        };
        let sbom = sbom(image, &(distro, vec![package]));
        let read: Value = serde_json::from_slice(&sbom.document).unwrap();
        assert_eq!(read["spdxVersion"], "SPDX-2.3");
        assert_eq!(read["creationInfo"]["created"], "2026-01-02T03:04:05Z");
        assert_eq!(
            read["packages"][1]["externalRefs"][0]["referenceLocator"],
            "pkg:deb/debian/libstdc%2B%2B6@1%3A12.2-14?arch=amd64&distro=debian-12"
        );
        assert_eq!(read["relationships"][1]["relatedSpdxElement"], "SPDXRef-Package-1");
        let subject = cutover_core::oci::Descriptor::new("m", digest.clone(), 5);
        let manifest: Value = serde_json::from_slice(&sbom.manifest(&subject)).unwrap();
        assert_eq!(manifest["subject"]["digest"], digest.to_string());
        assert_eq!(manifest["artifactType"], SPDX_TYPE);
        assert_eq!(
            manifest["config"]["digest"],
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
    }
}
