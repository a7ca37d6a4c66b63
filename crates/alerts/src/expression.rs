//! The expression that says whether an alert belongs to a node, in CEL: `labels` are the alert's labels,
//! `FullName` is the node's name, `ShortName` the part of it before the first dot. The contract is
//! Sciuro's, with one difference: where an expression fails on one alert, that alert does not match, and
//! no other is concerned (Sciuro then takes all conditions of the node for unknown).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use cel::{
    Context, ExecutionError, Program, Value,
    extractors::This,
    objects::{Key, Map},
};
use regex::Regex;
use rerail_core::words;

mod names;

/// The variable of an alert's labels.
pub const LABELS: &str = "labels";
/// The variable of a node's name.
pub const FULL_NAME: &str = "FullName";
/// The variable of a node's name before the first dot.
pub const SHORT_NAME: &str = "ShortName";

/// The expression of a source that has none of its own.
pub use rerail_core::alert::DEFAULT_EXPRESSION as DEFAULT;

/// Regular expressions that are kept compiled. One that is made of a node's name is another for every
/// node; all alerts are tried on one node before the next.
const COMPILED_KEPT: usize = 64;

/// The longest expression, in bytes, as in the schema of AlertSource.
const LENGTH_LIMIT: usize = 4096;

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// It is not CEL.
    #[error("this is no CEL expression: {0}")]
    Syntax(String),
    /// It is more than is evaluated for each alert and node.
    #[error("{0}; write it shorter")]
    Size(&'static str),
    /// It speaks of something that is not there.
    #[error(
        "`{0}` is not known here; there are the variables `labels`, `FullName` and `ShortName`, and CEL's functions on strings, numbers, lists and maps"
    )]
    Unknown(String),
}

/// What an expression says of one alert and one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The alert belongs to the node.
    Match,
    /// It does not.
    NoMatch,
    /// It does not, since the expression failed on it, or says neither true nor false: why.
    Failed(String),
}

/// A node's name before the first dot.
pub fn short_name(full_name: &str) -> &str {
    full_name.split_once('.').map_or(full_name, |(short, _)| short)
}

/// An expression, compiled once.
pub struct Expression {
    text: String,
    program: Program,
    /// Where the expression can only be true if one of these labels is the node's name, long or short:
    /// these labels. Nodes are then found by name, and not tried one after the other.
    name_labels: Option<BTreeSet<String>>,
    functions: Context<'static>,
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expression").field("name_labels", &self.name_labels).finish_non_exhaustive()
    }
}

/// By what was written.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// If it is not CEL, or speaks of variables or functions that are not there.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > LENGTH_LIMIT {
            return Err(ExpressionError::Size("it has more than 4096 bytes"));
        }
        // Somebody else's words and somebody else's parser: whatever it does with them harms no other
        // source (SAFE-17).
        let compiled = catch_unwind(|| Program::compile(text));
        let compiled =
            compiled.map_err(|_| ExpressionError::Syntax("the parser broke down".into()))?;
        let program =
            compiled.map_err(|error| ExpressionError::Syntax(one_line(&error.to_string())))?;
        names::check(program.expression())?;
        let name_labels = names::name_labels(program.expression());
        Ok(Expression { text: text.to_owned(), program, name_labels, functions: functions() })
    }

    /// The labels of which one must be the node's name for the expression to be true; `None`: it can be
    /// true for other reasons.
    pub fn name_labels(&self) -> Option<&BTreeSet<String>> {
        self.name_labels.as_ref()
    }

    /// What the expression says of an alert with these labels and a node of this name.
    pub fn verdict(&self, labels: &BTreeMap<String, String>, full_name: &str) -> Verdict {
        self.with_labels(labels).verdict(full_name)
    }

    /// The expression for one alert, to be asked about several nodes.
    pub(crate) fn with_labels(&self, labels: &BTreeMap<String, String>) -> OfAlert<'_> {
        let map = labels.iter().map(|(key, value)| {
            (Key::String(Arc::new(key.clone())), Value::String(Arc::new(value.clone())))
        });
        let map = Map { map: Arc::new(map.collect()) };
        let mut context = self.functions.new_inner_scope();
        context.add_variable_from_value(LABELS, Value::Map(map));
        OfAlert { program: &self.program, context }
    }
}

/// An expression with the labels of one alert.
pub(crate) struct OfAlert<'a> {
    program: &'a Program,
    context: Context<'a>,
}

impl OfAlert<'_> {
    /// What it says of a node.
    pub(crate) fn verdict(&self, full_name: &str) -> Verdict {
        let mut context = self.context.new_inner_scope();
        context.add_variable_from_value(FULL_NAME, full_name);
        context.add_variable_from_value(SHORT_NAME, short_name(full_name));
        let result = catch_unwind(AssertUnwindSafe(|| self.program.execute(&context)));
        let Ok(result) = result else {
            return Verdict::Failed("its evaluation broke down".to_owned());
        };
        match result {
            Ok(Value::Bool(true)) => Verdict::Match,
            Ok(Value::Bool(false)) => Verdict::NoMatch,
            Ok(other) => Verdict::Failed(format!(
                "the expression gives a {}, not true or false",
                other.type_of()
            )),
            Err(ExecutionError::NoSuchKey(key)) => {
                Verdict::Failed(one_line(&format!("the alert has no label `{key}`")))
            }
            Err(error) => Verdict::Failed(one_line(&error.to_string())),
        }
    }
}

/// The functions of CEL, with regular expressions that are compiled once.
fn functions() -> Context<'static> {
    let compiled: Mutex<BTreeMap<String, Regex>> = Mutex::default();
    let mut context = Context::default();
    context.add_function(
        "matches",
        move |This(text): This<Arc<String>>,
              pattern: Arc<String>|
              -> Result<bool, ExecutionError> {
            let mut compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(regex) = compiled.get(pattern.as_str()) {
                return Ok(regex.is_match(&text));
            }
            let regex = Regex::new(&pattern).map_err(|error| {
                ExecutionError::function_error("matches", one_line(&error.to_string()))
            })?;
            if compiled.len() >= COMPILED_KEPT {
                compiled.clear();
            }
            let found = regex.is_match(&text);
            compiled.insert(pattern.as_ref().clone(), regex);
            Ok(found)
        },
    );
    context
}

/// A text of several lines as one, and not too long for a condition's message.
fn one_line(text: &str) -> String {
    words::one_line(text, 300)
}

#[cfg(test)]
mod tests;
