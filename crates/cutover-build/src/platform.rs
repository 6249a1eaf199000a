//! Platforms as text: `linux/arm64/v8` ↔ [`Platform`], with the names that people and kernels use.

use cutover_core::oci::Platform;

/// Reads `os/arch[/variant]`, `os` or `arch`; what is missing is `default`'s.
pub(crate) fn parse(text: &str, default: &Platform) -> Option<Platform> {
    let lower = text.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('/').collect();
    let word = |part: &str| {
        !part.is_empty()
            && part.chars().all(|ch| ch.is_ascii_alphanumeric() || matches!(ch, '_' | '.' | '-'))
    };
    if !parts.iter().all(|part| word(part)) {
        return None;
    }
    match parts.as_slice() {
        [os] if is_os(os) => Some(Platform { os: (*os).to_owned(), ..default.clone() }),
        [arch] => known(arch).map(|_known| of(&default.os, arch, None)),
        [os, arch] => Some(of(os, arch, None)),
        [os, arch, variant] => Some(of(os, arch, Some(variant))),
        _ => None,
    }
}

/// `os/arch[/variant]`.
pub(crate) fn format(platform: &Platform) -> String {
    let mut text = format!("{}/{}", platform.os, platform.architecture);
    if let Some(variant) = platform.variant.as_deref().filter(|variant| !variant.is_empty()) {
        text.push('/');
        text.push_str(variant);
    }
    text
}

fn of(os: &str, arch: &str, variant: Option<&str>) -> Platform {
    let os = if os == "macos" { "darwin" } else { os };
    let (arch, implied) = known(arch).unwrap_or((arch, None));
    let variant = variant.or(implied);
    // The first of its kind is what no variant means.
    let variant = variant
        .filter(|variant| !matches!((arch, *variant), ("amd64", "v1") | ("arm64", "v8" | "8")));
    Platform { variant: variant.map(str::to_owned), ..Platform::new(os, arch) }
}

/// The Go name of an architecture, and the variant that its other names imply.
fn known(arch: &str) -> Option<(&'static str, Option<&'static str>)> {
    Some(match arch {
        "amd64" | "x86_64" | "x86-64" => ("amd64", None),
        "386" | "i386" => ("386", None),
        "arm64" | "aarch64" => ("arm64", None),
        "arm" | "armhf" => ("arm", Some("v7")),
        "armel" => ("arm", Some("v6")),
        "riscv64" => ("riscv64", None),
        "ppc64le" => ("ppc64le", None),
        "s390x" => ("s390x", None),
        "loong64" => ("loong64", None),
        "mips64le" => ("mips64le", None),
        "mips64" => ("mips64", None),
        _ => return None,
    })
}

fn is_os(text: &str) -> bool {
    matches!(text, "linux" | "darwin" | "windows" | "freebsd")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_normalised() {
        let default = Platform::new("linux", "amd64");
        let check = |text, expected: Option<&str>| {
            let got = parse(text, &default).map(|platform| format(&platform));
            assert_eq!(got.as_deref(), expected, "of `{text}`");
        };
        check("linux/amd64", Some("linux/amd64"));
        check("Linux/x86_64", Some("linux/amd64"));
        check("arm64", Some("linux/arm64"));
        check("linux/arm64/v8", Some("linux/arm64"));
        check("linux/arm", Some("linux/arm/v7"));
        check("linux/arm/v6", Some("linux/arm/v6"));
        check("linux", Some("linux/amd64"));
        check("darwin/other", Some("darwin/other"));
        check("nonsense", None);
        check("a/b/c/d", None);
        check("linux//", None);
    }
}
