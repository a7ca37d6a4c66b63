//! Pages with figures say at which commit they were measured, and one names the scenarios that show a property.
//! Both can come to nothing: a commit that was written anew, a scenario with another name.

use std::path::Path;
use std::process::Command;

use crate::process::{self, ProcessError};

/// Pages that name commits.
pub const MEASURED: &[&str] = &["docs/benchmarks.md", "docs/testing.md", "docs/track-record.md"];

/// The page that names scenarios, and its part that does.
pub const TESTING: &str = "docs/testing.md";
const BY_PROPERTY: &str = "## Property by property";

/// Letters of a commit's name on a page.
const SHORT: usize = 7;

/// What a page has in backticks.
pub fn in_backticks(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Every commit that led here, by its short name; `None` where the clone does not have them all.
pub fn commits(root: &Path) -> Result<Option<Vec<String>>, ProcessError> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        process::output(git.current_dir(root).args(arguments))
    };
    if git(&["rev-parse", "--is-shallow-repository"])?.trim() != "false" {
        return Ok(None);
    }
    let all = git(&["rev-list", "HEAD"])?;
    Ok(Some(all.lines().filter_map(|name| name.get(..SHORT)).map(str::to_owned).collect()))
}

/// Commits that a page names, in backticks, and that are not among these.
pub fn unknown_commits(page: &str, text: &str, commits: &[String]) -> Vec<String> {
    let is_commit = |word: &&str| {
        let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        let digit = word.chars().any(|c| c.is_ascii_digit());
        word.len() == SHORT && word.chars().all(hex) && digit && word.parse::<u32>().is_err()
    };
    let named = in_backticks(text).filter(is_commit);
    let unknown = named.filter(|name| !commits.iter().any(|known| known == name));
    unknown.map(|name| format!("{page}: no commit `{name}` led here; measure again, or name the one that has the code")).collect()
}

/// Scenarios that the table by property names in its last column and that no file of scenarios is called.
pub fn unknown_scenarios(text: &str, sources: &[(String, String)]) -> Vec<String> {
    let part = text.split(BY_PROPERTY).nth(1).and_then(|rest| rest.split("\n## ").next());
    let rows = part.unwrap_or_default().lines().filter(|line| line.starts_with('|'));
    let last = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    let named = last.flat_map(in_backticks);
    let there = |name: &str| {
        let path = format!("/scenarios/{name}.rs");
        sources.iter().any(|(file, text)| file.ends_with(&path) && text.contains("#[test]"))
    };
    named
        .filter(|name| !there(name))
        .map(|name| format!("{TESTING}: there are no scenarios `{name}` (`cargo xtask test {name}` would play none)"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_that_is_named_must_have_led_here() {
        let commits = ["1a2b3c4".to_owned()];
        let text = "at `1a2b3c4`, with `--seeds`, `2592000` s and `defaced`";
        assert_eq!(unknown_commits("docs/a.md", text, &commits), Vec::<String>::new());
        let found = unknown_commits("docs/a.md", "at `1a2b3c5`", &commits);
        assert!(found.len() == 1 && found[0].contains("1a2b3c5"), "{found:?}");
    }

    #[test]
    fn scenarios_that_are_named_must_be_there() {
        let sources = vec![
            ("e2e/tests/scenarios/drain.rs".to_owned(), "#[test]\nfn it_drains() {".to_owned()),
            ("e2e/tests/scenarios/turns.rs".to_owned(), "pub struct Turn;".to_owned()),
        ];
        let page = |cell: &str| {
            format!(
                "# a\n| `x` | `y` |\n{BY_PROPERTY}\n| `a` | b | {cell} |\n\n## Figures\n| `z` |\n"
            )
        };
        assert_eq!(unknown_scenarios(&page("`drain`"), &sources), Vec::<String>::new());
        assert_eq!(unknown_scenarios(&page("`drain`, `turns` and `gone`"), &sources).len(), 2);
    }
}
