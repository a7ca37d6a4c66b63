//! `-f`: policies from files, each YAML document by itself, so that an error names its line.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use kube::ResourceExt;
use rerail_api::{RemediationPolicy, names};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// What stands in files.
#[derive(Debug, Default)]
pub struct Files {
    /// The policies.
    pub policies: Vec<FromFile>,
    /// Documents that are no policies, for people.
    pub ignored: Vec<String>,
}

/// A policy from a file.
#[derive(Debug, Clone)]
pub struct FromFile {
    /// Where it stands, for people: `policy.yaml:12`.
    pub place: String,
    /// As this program reads it.
    pub policy: RemediationPolicy,
    /// As it is written.
    pub written: Value,
}

/// Why the policies of a file cannot be previewed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("-f: {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("-f: {place}: {message}")]
    Yaml { place: String, message: String },
    #[error("-f: {place}: the policy has no `metadata.name`")]
    NoName { place: String },
    #[error("-f: {place}: {message}; write `apiVersion: {}/{}`", names::GROUP, names::VERSION)]
    Version { place: String, message: String },
    #[error("-f: policy {name} stands in {first} and in {second}; leave one out")]
    Twice { name: String, first: String, second: String },
    #[error("-f: {0} holds no {group} RemediationPolicy", group = names::GROUP)]
    Nothing(String),
}

/// Reads every file; `-` is standard input.
pub fn read(paths: &[PathBuf]) -> Result<Files, FileError> {
    let mut files = Files::default();
    for path in paths {
        let failed = |source| FileError::Read { path: path.clone(), source };
        let standard = path == Path::new("-");
        let text = if standard {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(failed)?;
            text
        } else {
            std::fs::read_to_string(path).map_err(failed)?
        };
        let name = if standard { "standard input".into() } else { path.display().to_string() };
        parse(&name, &text, &mut files)?;
    }
    let mut places: BTreeMap<String, &str> = BTreeMap::new();
    for found in &files.policies {
        let name = found.policy.name_any();
        if let Some(first) = places.insert(name.clone(), &found.place) {
            let (first, second) = (first.to_owned(), found.place.clone());
            return Err(FileError::Twice { name, first, second });
        }
    }
    Ok(files)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Value,
}

/// Takes in the documents of one text.
fn parse(file: &str, text: &str, files: &mut Files) -> Result<(), FileError> {
    let before = files.policies.len();
    for (line, document) in documents(text) {
        let place = format!("{file}:{line}");
        let head: Option<Head> = yaml(file, &document)?;
        let Some(head) = head else { continue };
        let name = head.metadata.get("name").and_then(Value::as_str).unwrap_or("without a name");
        let (group, version) = head.api_version.split_once('/').unwrap_or_default();
        if (group, head.kind.as_str()) != (names::GROUP, "RemediationPolicy") {
            let kind = if head.kind.is_empty() { "an object without `kind`" } else { &head.kind };
            files.ignored.push(format!("{place}: {kind} {name} is no policy, and is left aside"));
            continue;
        }
        if version != names::VERSION {
            let message = format!("version `{version}` of RemediationPolicy is not known");
            return Err(FileError::Version { place, message });
        }
        let policy: RemediationPolicy = yaml(file, &document)?;
        if policy.metadata.name.as_deref().unwrap_or_default().is_empty() {
            return Err(FileError::NoName { place });
        }
        files.policies.push(FromFile { place, policy, written: yaml(file, &document)? });
    }
    if files.policies.len() == before {
        return Err(FileError::Nothing(file.to_owned()));
    }
    Ok(())
}

fn yaml<T: DeserializeOwned>(file: &str, document: &str) -> Result<T, FileError> {
    serde_saphyr::from_str(document).map_err(|error| {
        let line = error.location().map_or(String::new(), |at| format!(":{}", at.line()));
        let words =
            error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
        FileError::Yaml { place: format!("{file}{line}"), message: words }
    })
}

/// The documents of a text that say something, each with the number of its first line. Every document
/// is preceded by as many empty lines as stand before it, so that line numbers in errors are the file's.
fn documents(text: &str) -> Vec<(usize, String)> {
    let marker =
        |line: &str| line.strip_prefix("---").is_some_and(|r| r.trim_start() != r || r.is_empty());
    let says = |line: &str| {
        let line = line.trim();
        !(line.is_empty()
            || line.starts_with('#')
            || line.starts_with('%')
            || line == "..."
            || line == "---")
    };
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut first = None;
    let mut current = String::new();
    let mut take = |first: &mut Option<usize>, current: &mut String, ended: usize| {
        let document = std::mem::replace(current, "\n".repeat(ended));
        found.extend(first.take().map(|line| (line, document)));
    };
    for (index, line) in text.lines().enumerate() {
        if marker(line) {
            take(&mut first, &mut current, index);
        }
        if first.is_none() && says(line) {
            first = Some(index.saturating_add(1));
        }
        current.push_str(line);
        current.push('\n');
    }
    take(&mut first, &mut current, 0);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "apiVersion: rerail.dev/v1alpha1
kind: RemediationPolicy
metadata: {name: a}
spec:
  nodes: {all: true}
  triggers: [{condition: {type: Sick}}]
  remedies: [{reboot: {method: Command}}]
";

    fn parsed(text: &str) -> Result<Files, FileError> {
        let mut files = Files::default();
        parse("p.yaml", text, &mut files).map(|()| files)
    }

    fn refused(text: &str) -> String {
        parsed(text).unwrap_err().to_string()
    }

    #[test]
    fn policies_are_taken_and_other_kinds_are_named_and_left_aside() {
        let text = format!(
            "# a comment\n---\nkind: ConfigMap\napiVersion: v1\nmetadata: {{name: x}}\n---\n---\n{POLICY}---\n# end\n"
        );
        let files = parsed(&text).unwrap();
        let [found] = files.policies.as_slice() else { panic!("{files:?}") };
        assert_eq!((found.place.as_str(), found.policy.name_any().as_str()), ("p.yaml:8", "a"));
        assert_eq!(files.ignored, ["p.yaml:3: ConfigMap x is no policy, and is left aside"]);
    }

    #[test]
    fn what_is_garbage_is_named_with_its_line() {
        let wrong_type = format!("---\n{POLICY}---\n{}", POLICY.replace("{all: true}", "{all: 7}"));
        let text = refused(&wrong_type);
        assert!(text.starts_with("-f: p.yaml:14: "), "{text}");
        let text = refused(&format!("{POLICY}  mode: Perhaps\n"));
        assert!(text.starts_with("-f: p.yaml:8: ") && text.contains("Perhaps"), "{text}");
        let text = refused("a: [1\nb: }\n");
        assert!(text.starts_with("-f: p.yaml:"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn what_is_no_policy_of_this_version_or_has_no_name_is_refused() {
        let text = refused(&POLICY.replace("v1alpha1", "v2"));
        assert!(text.contains("p.yaml:1: version `v2`") && text.contains("v1alpha1"), "{text}");
        let text = refused(&POLICY.replace("{name: a}", "{}"));
        assert!(text.contains("has no `metadata.name`"), "{text}");
        for empty in ["", "---\n", "# nothing\n", "kind: ConfigMap\n"] {
            assert!(refused(empty).contains("p.yaml holds no"), "{empty}");
        }
    }

    #[test]
    fn a_policy_that_stands_in_two_files_is_refused() {
        let dir = std::env::temp_dir().join(format!("rerail-files-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let paths = [dir.join("1.yaml"), dir.join("2.yaml")];
        for path in &paths {
            std::fs::write(path, POLICY).unwrap();
        }
        let twice = read(&paths).unwrap_err().to_string();
        let once = read(&paths[..1]).unwrap().policies.len();
        std::fs::remove_dir_all(&dir).unwrap();
        assert!(twice.contains("policy a stands in") && twice.contains("2.yaml:1"), "{twice}");
        assert_eq!(once, 1);
        assert!(read(&paths).unwrap_err().to_string().contains("cannot be read"));
    }

    #[test]
    fn a_marker_is_a_line_of_its_own_and_not_any_three_dashes() {
        let starts: Vec<_> = documents("a: 1\n--- # x\nb: |\n  ---\n  c\n---d: 1\n---\tb: 2\n")
            .into_iter()
            .map(|(line, text)| (line, text.lines().count()))
            .collect();
        assert_eq!(starts, [(1, 1), (2, 6), (7, 7)]);
    }
}
