//! Why a step was done again: each kind of cause, from real builds.

use cutover_build::{CacheLimits, prune_cache};
use cutover_store::Keep;

use crate::support::Lab;

const TEXT: &str = "FROM base
ARG VERSION=1
ENV MODE=fast
COPY app /app
RUN echo $VERSION $MODE > /out
RUN cat /out";

fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.options.explain = true;
    lab.write("app/x.php", "x");
    lab.write("app/deep/y.php", "y");
    check(
        &lab,
        TEXT,
        &[(4, "never built before"), (5, "never built before"), (6, "never built before")],
    );
    lab
}

/// Builds; what is said of each step by its line: `hit`, or the causes.
#[track_caller]
fn check(lab: &Lab, text: &str, expected: &[(usize, &str)]) {
    let (built, events) = lab.record(text);
    built.unwrap();
    let mut said: Vec<(usize, String)> = events
        .into_iter()
        .filter_map(|event| {
            let rest = event.strip_prefix("explained ")?;
            let (head, causes) = rest.split_once('\n').unwrap_or((rest, ""));
            let line = head.split_once("Dockerfile:")?.1.split_once(' ')?.0.parse().ok()?;
            let causes: Vec<_> = causes.lines().map(str::trim).collect();
            let text = if head.starts_with("hit") { "hit".to_owned() } else { causes.join("; ") };
            Some((line, text))
        })
        .collect();
    said.sort();
    let said: Vec<_> = said.iter().map(|(line, text)| (*line, text.as_str())).collect();
    assert_eq!(said, expected);
}

const AFTER_4: (usize, &str) = (5, "the step before it, line 4, came out different");
const AFTER_5: (usize, &str) = (6, "the step before it, line 5, came out different");

#[test]
fn nothing_changed() {
    let lab = lab();
    check(&lab, TEXT, &[(4, "hit"), (5, "hit"), (6, "hit")]);
}

#[test]
fn files() {
    let lab = lab();
    lab.write("app/x.php", "changed");
    lab.write("app/new", "");
    fs_err::remove_dir_all(lab.context.join("app/deep")).unwrap();
    let files = "file `app/deep` of the build context is gone; \
        file `app/deep/y.php` of the build context is gone; \
        file `app/new` of the build context is new; \
        file `app/x.php` of the build context changed";
    check(&lab, TEXT, &[(4, files), AFTER_4, AFTER_5]);
    let path = lab.context.join("app/x.php");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(path, mode).unwrap();
    let mode = "file `app/x.php` of the build context changed from File 644 to File 755";
    check(&lab, TEXT, &[(4, mode), AFTER_4, AFTER_5]);
}

#[test]
fn variables_without_their_values() {
    let mut lab = lab();
    lab.options.build_args.insert("VERSION".to_owned(), "s3cret-value".to_owned());
    // Whether the last step uses a variable is not known: it sees it.
    let check = |text: &str, cause: &str| {
        let last = format!("{}; {cause}", AFTER_5.1);
        check(&lab, text, &[(4, "hit"), (5, cause), (6, &last)]);
    };
    check(TEXT, "ARG VERSION changed");
    let text = TEXT.replace("MODE=fast", "MODE=slow");
    check(&text, "ENV MODE changed");
    let text = text.replace("ENV MODE=slow", "ENV OTHER=1");
    check(&text, "ENV OTHER is new; ENV MODE is gone");
    for file in ["build.db", "build.db-wal"] {
        let bytes = fs_err::read(lab.root.join(file)).unwrap_or_default();
        let found = bytes.windows(12).any(|window| window == b"s3cret-value");
        assert!(!found, "the value of a build argument is in `{file}`");
    }
}

#[test]
fn variables_of_a_copy() {
    let mut lab = Lab::new();
    lab.options.explain = true;
    lab.write("app/x.php", "x");
    lab.write("app/deep/y.php", "y");
    let text = "FROM base\nARG FILE=x.php\nCOPY app/$FILE /";
    check(&lab, text, &[(3, "never built before")]);
    lab.options.build_args.insert("FILE".to_owned(), "deep/y.php".to_owned());
    let files = "ARG FILE changed; file `app/deep/y.php` of the build context is new; \
        file `app/x.php` of the build context is gone";
    check(&lab, text, &[(3, files)]);
}

#[test]
fn texts_and_places() {
    let lab = lab();
    let text = TEXT.replace("RUN cat /out", "RUN cat /out /app/x.php");
    let rewritten =
        "the instruction was rewritten: `RUN cat /out /app/x.php`, it was `RUN cat /out`";
    check(&lab, &text, &[(4, "hit"), (5, "hit"), (6, rewritten)]);
    let text = text.replace("RUN echo", "RUN true\nRUN echo");
    let after = (6, "the step before it, line 5, came out different");
    let after_6 = (7, "the step before it, line 6, came out different");
    check(&lab, &text, &[(4, "hit"), (5, "never built before"), after, after_6]);
}

#[test]
fn base_images() {
    let mut lab = lab();
    let old = lab.store.images().get(&"base".parse().unwrap()).unwrap().unwrap().digest;
    let tags = std::mem::replace(&mut lab.options.tags, vec!["base".parse().unwrap()]);
    let context = std::mem::replace(&mut lab.options.context, lab.root.join("run"));
    let new = lab.build("FROM base\nRUN touch /more").unwrap().image;
    (lab.options.tags, lab.options.context) = (tags, context);
    let moved = format!("the base image `base` moved from {old} to {new}");
    check(&lab, TEXT, &[(4, &moved), AFTER_4, AFTER_5]);
    lab.store.images().tag(&"other".parse().unwrap(), &old).unwrap();
    let text = TEXT.replace("FROM base", "FROM other");
    let lines = [(4, "hit"), (5, "hit"), (6, "hit")];
    check(&lab, &text, &lines);
    let text = "FROM other\nRUN touch /a";
    lab.build(text).unwrap();
    let base = "the base image is `base`, it was `other`";
    check(&lab, "FROM base\nRUN touch /a", &[(2, base)]);
}

#[test]
fn files_of_a_stage_and_options() {
    let mut lab = lab();
    let text = "FROM base AS build
COPY app/x.php /x
FROM base
COPY --from=build /x /x
RUN --network=default true";
    lab.build(text).unwrap();
    lab.write("app/x.php", "changed");
    let files = "file `x` of `build` changed";
    let context = "file `app/x.php` of the build context changed";
    let after = "the step before it, line 4, came out different";
    check(&lab, text, &[(2, context), (4, files), (5, after)]);
    lab.options.shm_size = Some(1 << 20);
    check(&lab, text, &[(2, "hit"), (4, "hit"), (5, "`--shm-size` is new")]);
}

#[test]
fn removed_layers_and_asked_anew() {
    let mut lab = lab();
    lab.store.images().untag(&"result".parse().unwrap()).unwrap();
    assert!(prune_cache(&lab.root, CacheLimits::default()).unwrap() >= 3);
    let kept = || {
        let chains = cutover_build::kept_chains(&lab.root).unwrap();
        Ok(Keep { chains, ..Keep::default() })
    };
    lab.store.gc(&kept).unwrap();
    let removed = "nothing changed, but its layer was removed";
    check(&lab, TEXT, &[(4, removed), (5, removed), (6, removed)]);
    lab.options.no_cache = true;
    let asked = "the cache was not to be used";
    check(&lab, TEXT, &[(4, asked), (5, asked), (6, asked)]);
    lab.options.no_cache = false;
    lab.options.no_cache_filter = vec!["Other".to_owned()];
    let text = format!("FROM base AS other\nRUN true\n{TEXT}\nCOPY --from=other /bin/sh /z");
    lab.build(&text).unwrap();
    let hits = [(2, asked), (6, "hit"), (7, "hit"), (8, "hit"), (9, "hit")];
    check(&lab, &text, &hits);
}

#[test]
fn another_directory_with_the_same_dockerfile() {
    let mut lab = lab();
    let other = lab.context.with_file_name("clone");
    fs_err::create_dir_all(other.join("app/deep")).unwrap();
    fs_err::write(other.join("app/x.php"), "other").unwrap();
    fs_err::write(other.join("app/deep/y.php"), "y").unwrap();
    lab.options.context = other;
    let file = "file `app/x.php` of the build context changed";
    check(&lab, TEXT, &[(4, file), AFTER_4, AFTER_5]);
}
