//! Canonical JSON: one byte string per value, whatever order its maps were written in.

use serde::Serialize;
use serde_json::Value;

/// `value` as JSON with the keys of every object sorted by their bytes and no white space.
/// Numbers are as `serde_json` prints them (shortest form that reads back to the same value).
pub fn canonical_json<T: Serialize>(value: &T) -> Vec<u8> {
    let value = serde_json::to_value(value).expect("plain data with text keys is always JSON");
    serde_json::to_vec(&sorted(value)).expect("a JSON value is always JSON")
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, v)| (key, sorted(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
