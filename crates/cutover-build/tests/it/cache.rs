//! What is done again and what is not.

use crate::support::Lab;

/// Steps of a build: `cached …` and `run …`, without the builder's own.
#[track_caller]
fn check(lab: &Lab, text: &str, expected: &[&str]) {
    let (built, events) = lab.record(text);
    built.unwrap();
    let step = |line: String| {
        let (word, rest) = line.split_once('[')?;
        let (_, rest) = rest.split_once("] ")?;
        let own = line.contains("[internal]") || rest.starts_with("FROM");
        (!own).then(|| format!("{word}{rest}"))
    };
    assert_eq!(events.into_iter().filter_map(step).collect::<Vec<_>>(), expected);
}

const TEXT: &str = "FROM base
    ARG version=1
    COPY a /a
    COPY b /b
    LABEL changed=no
    RUN cat /a /b > /c";
const COPY_A: &str = "cached COPY a /a";
const COPY_B: &str = "cached COPY b /b";
const RUN: &str = "cached RUN cat /a /b > /c";
const ALL_RUN: [&str; 3] = ["run COPY a /a", "run COPY b /b", "run RUN cat /a /b > /c"];

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("a", "a");
    lab.write("b", "b");
    check(&lab, TEXT, &ALL_RUN);
    lab
}

#[test]
fn nothing_changed_nothing_is_done() {
    let lab = lab();
    let first = lab.image().digest;
    check(&lab, TEXT, &[COPY_A, COPY_B, RUN]);
    assert_eq!(lab.image().digest, first);
    lab.assert_clean();
}

#[test]
fn a_touched_file_is_the_same_file() {
    let lab = lab();
    let file = std::fs::File::options().write(true).open(lab.context.join("a")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    check(&lab, TEXT, &[COPY_A, COPY_B, RUN]);
}

#[test]
fn a_changed_file_counts_with_the_same_size_and_time() {
    let lab = lab();
    let path = lab.context.join("b");
    let time = fs_err::metadata(&path).unwrap().modified().unwrap();
    lab.write("b", "B");
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    check(&lab, TEXT, &[COPY_A, "run COPY b /b", "run RUN cat /a /b > /c"]);
    assert_eq!(lab.read("c"), "aB");
}

#[test]
fn metadata_does_not_count_and_arguments_do() {
    let mut lab = lab();
    check(&lab, &TEXT.replace("changed=no", "changed=yes"), &[COPY_A, COPY_B, RUN]);
    lab.options.build_args.insert("version".to_owned(), "2".to_owned());
    check(&lab, TEXT, &[COPY_A, COPY_B, "run RUN cat /a /b > /c"]);
    lab.options.build_args.insert("HTTP_PROXY".to_owned(), "http://p".to_owned());
    check(&lab, TEXT, &[COPY_A, COPY_B, RUN]);
}

#[test]
fn no_cache_does_everything_again() {
    let mut lab = lab();
    lab.options.no_cache = true;
    check(&lab, TEXT, &ALL_RUN);
}

#[test]
fn a_stage_that_comes_out_the_same_changes_nothing_after_it() {
    let lab = Lab::new();
    lab.write("source", "1");
    let text = "FROM base AS build
        COPY source /source
        RUN echo artefact > /out
        FROM base
        COPY --from=build /out /out";
    lab.build(text).unwrap();
    lab.write("source", "2");
    let expected = [
        "run COPY source /source",
        "run RUN echo artefact > /out",
        "cached COPY --from=build /out /out",
    ];
    check(&lab, text, &expected);
}

#[test]
fn a_collected_layer_is_made_again() {
    let lab = lab();
    let untag = || lab.store.images().untag(&"result".parse().unwrap()).unwrap();
    untag();
    let kept = || {
        let chains = cutover_build::kept_chains(&lab.root).unwrap();
        Ok(cutover_store::Keep { chains, ..Default::default() })
    };
    lab.store.gc(&kept).unwrap();
    check(&lab, TEXT, &[COPY_A, COPY_B, RUN]);
    cutover_build::forget_cache(&lab.root).unwrap();
    check(&lab, TEXT, &ALL_RUN);
}
