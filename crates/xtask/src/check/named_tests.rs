//! A page that says which test shows what is worth nothing when the tests have been renamed.

use super::pages::in_backticks;

/// The page.
pub const PAGE: &str = "docs/safety.md";

/// The tests that the page names (`module::name`, in backticks) and that no source file has.
pub fn missing(page: &str, sources: &[(String, String)]) -> Vec<String> {
    let named = in_backticks(page).filter_map(|word| {
        let (module, name) = word.rsplit_once("::")?;
        let is_name = |text: &str| !text.is_empty() && text.chars().all(is_of_a_name);
        (is_name(module.rsplit("::").next()?) && is_name(name)).then_some((module, name))
    });
    let there = |module: &str, name: &str| {
        let last = module.rsplit("::").next().unwrap_or(module);
        let of_module = |path: &str| {
            path.contains(&format!("/{last}/")) || path.ends_with(&format!("/{last}.rs"))
        };
        sources.iter().any(|(path, text)| of_module(path) && text.contains(&format!("fn {name}(")))
    };
    named
        .filter(|(module, name)| !there(module, name))
        .map(|(module, name)| format!("{PAGE}: there is no test `{module}::{name}`"))
        .collect()
}

fn is_of_a_name(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_is_named_must_be_there() {
        let sources = vec![
            ("crates/core/src/sweep/tests.rs".to_owned(), "fn it_holds() {".to_owned()),
            ("e2e/tests/scenarios/gone.rs".to_owned(), "fn it_is_gone() {".to_owned()),
        ];
        let page = "| a | `sweep::it_holds`, `gone::it_is_gone` and `status.frozen` |";
        assert_eq!(missing(page, &sources), Vec::<String>::new());
        let page = "`sweep::it_is_gone`, `gone::renamed`";
        assert_eq!(missing(page, &sources).len(), 2);
    }
}
