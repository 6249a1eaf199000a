//! `key=value,key=value` as buildx writes it: one record of CSV.

use std::collections::BTreeMap;

use super::usage;
use crate::failure::Outcome;

/// The fields of one CSV record; a field in quotes may have commas, and `""` for a quote.
fn split(text: &str) -> Option<Vec<String>> {
    let (mut fields, mut rest) = (Vec::new(), text);
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            match rest.split_once(',') {
                Some((field, after)) => {
                    fields.push(field.to_owned());
                    rest = after;
                    continue;
                }
                None => {
                    fields.push(rest.to_owned());
                    return Some(fields);
                }
            }
        };
        let mut field = String::new();
        let mut after = quoted;
        loop {
            let (part, next) = after.split_once('"')?;
            field.push_str(part);
            match next.strip_prefix('"') {
                Some(next) => {
                    field.push('"');
                    after = next;
                }
                None => {
                    after = next;
                    break;
                }
            }
        }
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Some(fields),
            None => return None,
        }
    }
}

/// Keys and values, each to be taken; what is left at the end is a mistake.
#[derive(Debug)]
pub(crate) struct Fields {
    flag: &'static str,
    text: String,
    values: BTreeMap<String, String>,
}

impl Fields {
    /// Reads the value of `flag`.
    pub(crate) fn read(flag: &'static str, text: &str) -> Outcome<Self> {
        let bad = |why: String| usage(format!("`{flag} {text}`: {why}"));
        let fields = split(text).ok_or_else(|| bad("a quote is not closed".to_owned()))?;
        let mut values = BTreeMap::new();
        for field in fields {
            let Some((key, value)) = field.split_once('=') else {
                return Err(bad(format!("`{field}` is not `key=value`")));
            };
            // what comes after the first point of an annotation is its own key
            let key = match key.split_once('.') {
                Some((kind, name)) if kind.starts_with("annotation") => format!("{kind}.{name}"),
                _ => key.trim().to_lowercase(),
            };
            values.insert(key, value.to_owned());
        }
        Ok(Self { flag, text: text.to_owned(), values })
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<String> {
        self.values.remove(key)
    }

    /// `true`, `1` and the like; `None` when it is not there.
    pub(crate) fn truth(&mut self, key: &str) -> Outcome<Option<bool>> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.as_str() {
            "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
            _ => Err(self.bad(format!("`{key}` is `true` or `false`, not `{value}`"))),
        }
    }

    /// Every key that starts with `prefix`.
    pub(crate) fn take_all(&mut self, prefix: &str) -> Vec<(String, String)> {
        let keys: Vec<_> =
            self.values.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        keys.into_iter().filter_map(|key| self.values.remove_entry(&key)).collect()
    }

    pub(crate) fn bad(&self, why: impl AsRef<str>) -> crate::failure::Failure {
        usage(format!("`{} {}`: {}", self.flag, self.text, why.as_ref()))
    }

    /// Refuses what nobody took.
    pub(crate) fn end(self) -> Outcome {
        match self.values.keys().next() {
            None => Ok(()),
            Some(key) => Err(self.bad(format!("unknown key `{key}`"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let check = |text: &str, expected: Option<&[&str]>| {
            let got = split(text);
            let got = got.as_ref().map(|it| it.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(got.as_deref(), expected, "{text}");
        };
        check("type=oci,dest=a", Some(&["type=oci", "dest=a"]));
        check(r#"type=image,"name=a,b",push=true"#, Some(&["type=image", "name=a,b", "push=true"]));
        check(r#""a""b""#, Some(&[r#"a"b"#]));
        check("", Some(&[""]));
        check(r#""a"#, None);
        check(r#""a"b"#, None);
    }

    #[test]
    fn keys_are_taken_or_refused() {
        let mut fields = Fields::read("--output", "Type=oci,annotation.A.b=c,tar=false").unwrap();
        assert_eq!(fields.take("type").as_deref(), Some("oci"));
        assert_eq!(fields.truth("tar").unwrap(), Some(false));
        assert_eq!(fields.take_all("annotation."), [("annotation.A.b".into(), "c".into())]);
        fields.end().unwrap();
        let left = Fields::read("--output", "x=1").unwrap().end().unwrap_err().to_string();
        assert!(left.contains("unknown key `x`"), "{left}");
        assert!(Fields::read("--output", "x").is_err());
    }
}
