//! The table agrees with the parser: what it calls supported is asked for, and nothing else is.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::{SECTIONS, Support};
use crate::compose::tests::parse_text;

thread_local! {
    static ASKED: RefCell<BTreeSet<(&'static str, String)>> = const { RefCell::new(BTreeSet::new()) };
}

/// Called by the parser for each key that it looks for.
pub(crate) fn record(section: &'static str, key: &str) {
    ASKED.with_borrow_mut(|asked| asked.insert((section, key.to_owned())));
}

#[test]
fn every_supported_key_is_read() {
    parse_text(include_str!("../testdata/everything.yaml")).unwrap();
    let asked = ASKED.take();
    for section in SECTIONS {
        for key in section.keys {
            assert_eq!(
                asked.contains(&(section.name, key.name.to_owned())),
                key.support == Support::Supported,
                "`{}` of `{}`: the table says {:?}",
                key.name,
                section.name,
                key.support
            );
        }
    }
}

#[test]
fn no_key_is_there_twice() {
    for section in SECTIONS {
        let names: BTreeSet<_> = section.keys.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), section.keys.len(), "in `{}`", section.name);
        for key in section.keys.iter().filter(|key| key.support != Support::Supported) {
            assert!(!key.note.is_empty(), "`{}` needs a reason", key.name);
        }
    }
}
