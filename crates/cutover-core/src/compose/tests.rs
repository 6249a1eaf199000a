//! Whole files: what they become, and what is said about those that are wrong.

mod errors;
mod forms;
mod merging;
mod properties;

use super::*;

/// A project to be, with every input at its simplest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Case {
    pub(crate) files: Vec<(String, String)>,
    pub(crate) environment: Vec<(&'static str, &'static str)>,
    pub(crate) dot_env: Option<String>,
    pub(crate) name: Option<&'static str>,
    pub(crate) profiles: Vec<String>,
    /// Files that can be read, by absolute path.
    pub(crate) disk: Vec<(&'static str, &'static str)>,
}

impl Case {
    pub(crate) fn new(text: &str) -> Self {
        Self { files: vec![("compose.yaml".to_owned(), text.to_owned())], ..Self::default() }
    }

    pub(crate) fn parse(&self) -> Result<Project, Problems> {
        let files: Vec<_> = self
            .files
            .iter()
            .map(|(name, text)| SourceText { name: name.clone(), text: text.clone() })
            .collect();
        let mut environment = BTreeMap::from([("HOME".to_owned(), "/home/me".to_owned())]);
        environment
            .extend(self.environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let dot_env = self.dot_env.clone().map(|text| SourceText { name: ".env".to_owned(), text });
        parse(&Input {
            files: &files,
            dir: "/srv/shop",
            name: self.name,
            dot_env: dot_env.as_ref(),
            environment: &environment,
            profiles: &self.profiles,
            read: &|path| {
                let found = self.disk.iter().find(|(name, _)| *name == path);
                Ok(found.map(|(_, text)| (*text).to_owned()))
            },
        })
    }
}

pub(crate) fn parse_text(text: &str) -> Result<Project, Problems> {
    Case::new(text).parse()
}

/// The one service `web` with `body` (indented by four) as its keys.
pub(crate) fn web(body: &str) -> Service {
    let project = parse_text(&web_text(body));
    let mut project = project.unwrap_or_else(|problems| panic!("{problems}\n\nin:\n{body}"));
    project.services.swap_remove("web").unwrap()
}

pub(crate) fn web_text(body: &str) -> String {
    let body = body.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let top = "volumes: {data: {}, cache: {name: shared-cache, external: true}}\n\
               networks: {front: {}, back: {internal: true}}\n\
               secrets: {password: {file: pw.txt}}\n\
               configs: {site: {content: hello}}\n";
    format!("services:\n  db: {{image: mariadb}}\n  web:\n    image: nginx\n{body}{top}")
}

#[test]
fn the_support_page_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compose.md");
    let page = support_page();
    // writing the page is asked for explicitly; a plain run only compares
    if std::env::var_os("CUTOVER_BLESS").is_some() {
        fs_err::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        fs_err::write(path, &page).unwrap();
    }
    let committed = fs_err::read_to_string(path).unwrap();
    let hint = "docs/compose.md is stale: run `CUTOVER_BLESS=1 cargo test -p cutover-core`";
    assert!(committed == page, "{hint}");
}
