use super::*;
use crate::DockerfileSource;

fn options(text: &str) -> BuildOptions {
    let mut options = BuildOptions::new("/".into(), "/".into(), Platform::new("linux", "amd64"), 0);
    options.dockerfile = DockerfileSource::Inline(text.into());
    options
}

const TEXT: &str = "\
ARG inherited=box
ARG inherited2=box2
ARG unused=abc${inherited2}
# sfx is a suffix
ARG sfx=\"usy${inherited}\"
FROM b${sfx} AS first
# this is not assigned to anything
ARG FOO=123
# BAR is a number
ARG BAR=456
RUN --mount=type=secret,target=/etc/passwd,required=true --mount=type=ssh true
FROM alpine${unused} AS second
ARG BAZ
RUN --mount=type=secret,id=unused true
FROM scratch AS third
ARG ABC=a
# check=skip=all
ARG password
# password2 is shown
# check=skip=all
ARG password2 TARGETARCH
RUN --mount=type=secret,id=second${BAR} true
# target defines build target
FROM third AS target
COPY --from=first /etc/passwd /
RUN --mount=type=ssh,id=ssh3,required true
FROM second
";

#[test]
fn an_outline_has_what_the_target_takes() {
    let mut options = options(TEXT);
    options.target = Some("target".to_owned());
    options.build_args.insert("BAR".to_owned(), "678".to_owned());
    let outline = outline(&options, &()).unwrap();
    assert_eq!(outline.name.as_deref(), Some("target"));
    assert_eq!(outline.description, "defines build target");
    let arguments: Vec<String> = outline
        .arguments
        .iter()
        .map(|a| format!("{} {}={} {}", a.lines.start, a.name, a.value, a.description))
        .collect();
    let expected = [
        "1 inherited=box ",
        "5 sfx=usybox is a suffix",
        "8 FOO=123 ",
        "10 BAR=678 is a number",
        "16 ABC=a ",
        "18 password= ",
        "21 password2= is shown",
    ];
    assert_eq!(arguments, expected);
    let show = |list: &[Needed]| -> Vec<String> {
        list.iter().map(|n| format!("{} {} {}", n.lines.start, n.name, n.required)).collect()
    };
    assert_eq!(show(&outline.secrets), ["11 passwd true", "22 second false"]);
    assert_eq!(show(&outline.ssh), ["11 default false", "26 ssh3 true"]);
    let json = outline.json();
    assert_eq!(json["args"][1]["value"], "usybox");
    assert_eq!(json["args"][1]["location"]["ranges"][0]["start"]["line"], 5);
    assert_eq!(json["secrets"][0]["required"], true);
    assert!(json["args"][0].get("description").is_none() && json.get("cache").is_none());
}

#[test]
fn defaults_made_of_defaults_are_followed() {
    let text = "ARG A=1\nARG B=2\nARG C=3\nARG A=$A$B\nFROM scratch$A\n";
    let outline = outline(&options(text), &()).unwrap();
    let names: Vec<&str> = outline.arguments.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["B", "A"]);
}

#[test]
fn targets_are_the_stages() {
    let text = "# a is first\nFROM --platform=$BUILDPLATFORM x AS a\nFROM a\nFROM scratch AS c\n";
    let targets = targets(&options(text)).unwrap();
    let shown: Vec<_> = targets
        .list
        .iter()
        .map(|t| format!("{}|{}|{}", t.shown(), t.description, t.base))
        .collect();
    assert_eq!(shown, ["a|is first|x", "||a", "c (default)||scratch"]);
    let json = targets.json();
    assert_eq!(json["targets"][0]["platform"], "$BUILDPLATFORM");
    assert_eq!(json["targets"][2]["default"], true);
    assert!(json["targets"][1].get("name").is_none());
}

#[test]
fn what_cannot_be_read_is_an_error_with_its_place() {
    let error = targets(&options("FROM scratch\nRUNN x\n")).unwrap_err();
    assert!(error.to_string().starts_with("Dockerfile:2: unknown instruction"), "{error}");
    let error = outline(&options("FROM scratch AS a\nARG x=${\n"), &()).unwrap_err();
    assert!(error.to_string().starts_with("Dockerfile:2: "), "{error}");
    let mut missing = options("FROM scratch AS app\n");
    missing.target = Some("ap".to_owned());
    let error = outline(&missing, &()).unwrap_err();
    assert_eq!(error.hint(), Some("did you mean `app`?"));
}
