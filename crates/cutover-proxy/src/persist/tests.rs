use super::*;
use crate::control::{ServiceOptions, TargetSpec};

fn state(generation: u64) -> State {
    let spec = ServiceSpec {
        service: "app/web".into(),
        generation,
        routes: Vec::new(),
        targets: vec![TargetSpec {
            id: "i1".into(),
            addr: "10.0.0.2:80".parse().unwrap(),
            release: 7,
            proven: true,
        }],
        health: None,
        options: ServiceOptions::default(),
    };
    let hold = Some(Hold { timeout: Duration::from_secs(3), limit: 10 });
    let mut state = State::default();
    state.services.insert("app/web".into(), Kept { spec, hold });
    state.removed.insert("app/old".into(), 4);
    state
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> (Self, StateFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = StateFile::open(folder.path()).unwrap();
        (Self(folder), file)
    }

    fn put(&self, name: &str, text: &str) {
        fs_err::write(self.0.path().join(name), text).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs_err::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn what_was_saved_is_loaded() {
    let (folder, file) = Folder::new();
    assert_eq!(file.load().unwrap(), Loaded::default());
    file.save(&state(1)).unwrap();
    file.save(&state(2)).unwrap();
    assert_eq!(file.load().unwrap().state, state(2));
    assert_eq!(folder.names(), ["routes.json", "routes.previous.json"]);
}

#[test]
fn a_torn_file_gives_way_to_the_copy_before_it() {
    let (folder, file) = Folder::new();
    file.save(&state(1)).unwrap();
    file.save(&state(2)).unwrap();
    folder.put("routes.json", "{\"version\":1,\"serv");
    let loaded = file.load().unwrap();
    assert_eq!(loaded.state, state(1));
    assert!(!loaded.lost);
    let problem = loaded.problem.unwrap();
    assert!(problem.contains("routes.json") && problem.contains("EOF"), "{problem}");
    assert_eq!(folder.names(), ["routes.damaged.json", "routes.previous.json"]);
}

#[test]
fn with_no_good_copy_the_routes_are_lost_loudly() {
    for previous in [None, Some("\0\0\0\0")] {
        let (folder, file) = Folder::new();
        folder.put("routes.json", "");
        if let Some(previous) = previous {
            folder.put("routes.previous.json", previous);
        }
        let loaded = file.load().unwrap();
        assert!(loaded.lost && loaded.state == State::default());
        assert!(loaded.problem.unwrap().contains("no routes are in force"));
    }
}

#[test]
fn valid_json_of_the_wrong_shape_is_damage_too() {
    let (folder, file) = Folder::new();
    folder.put("routes.json", "{\"version\":1,\"services\":[]}");
    assert!(file.load().unwrap().lost);
}

#[test]
fn a_newer_file_is_left_alone() {
    let (folder, file) = Folder::new();
    folder.put("routes.json", "{\"version\":2,\"what\":\"ever\"}");
    let error = file.load().unwrap_err().to_string();
    assert!(error.contains("has version 2, this program knows versions up to 1"), "{error}");
    assert_eq!(folder.names(), ["routes.json"]);
}

#[test]
fn a_crash_between_the_two_renames_loses_nothing() {
    let (folder, file) = Folder::new();
    file.save(&state(1)).unwrap();
    // The old name still there, temp files of the interrupted save too.
    folder.put("routes.json.new", "{");
    folder.put("routes.previous.json.new", "{");
    file.save(&state(2)).unwrap();
    assert_eq!(file.load().unwrap().state, state(2));
    assert_eq!(folder.names(), ["routes.json", "routes.previous.json"]);
}

#[test]
fn a_folder_that_cannot_be_written_fails_the_save() {
    let (folder, file) = Folder::new();
    fs_err::remove_dir_all(folder.0.path()).unwrap();
    assert_eq!(file.save(&state(1)).unwrap_err().to_string(), "save the routes");
}
