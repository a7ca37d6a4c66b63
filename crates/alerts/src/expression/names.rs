//! What an expression speaks of: the names in it that nothing stands behind, and the labels of which one
//! must be a node's name for it to be true.

use std::collections::BTreeSet;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators},
};

use super::{ExpressionError, FULL_NAME, LABELS, SHORT_NAME, one_line};

/// CEL's functions that are of use on labels and names. Times have none: an alert is matched by what it
/// says, not by when.
const FUNCTIONS: [&str; 21] = [
    "contains",
    "size",
    "max",
    "min",
    "startsWith",
    "endsWith",
    "string",
    "bytes",
    "double",
    "int",
    "uint",
    "matches",
    "optional.none",
    "optional.of",
    "optional.ofNonZeroValue",
    "value",
    "hasValue",
    "or",
    "orValue",
    "none",
    "of",
];

/// How deep an expression may be nested: evaluation goes as deep, and a thread's stack has an end.
const DEPTH_LIMIT: usize = 100;

/// Refuses what speaks of unknown things, or is more than is evaluated for every alert and node.
pub(super) fn check(expression: &IdedExpr) -> Result<(), ExpressionError> {
    let mut walk = Walk { scope: vec![LABELS, FULL_NAME, SHORT_NAME], depth: 0, loops: 0 };
    walk.expression(expression)
}

/// Where in an expression one is.
struct Walk<'e> {
    /// Variables that are known here.
    scope: Vec<&'e str>,
    depth: usize,
    /// Macros that go over a list or a map, around here.
    loops: usize,
}

impl<'e> Walk<'e> {
    fn expression(&mut self, expression: &'e IdedExpr) -> Result<(), ExpressionError> {
        if self.depth >= DEPTH_LIMIT {
            return Err(ExpressionError::Size("it is nested more than 100 deep"));
        }
        self.depth += 1;
        self.parts(&expression.expr)?;
        self.depth -= 1;
        Ok(())
    }

    fn each(
        &mut self,
        parts: impl IntoIterator<Item = &'e IdedExpr>,
    ) -> Result<(), ExpressionError> {
        parts.into_iter().try_for_each(|part| self.expression(part))
    }

    fn parts(&mut self, expression: &'e Expr) -> Result<(), ExpressionError> {
        match expression {
            Expr::Ident(name) => {
                let known = self.scope.contains(&name.as_str()) || name.starts_with('@');
                if known { Ok(()) } else { Err(ExpressionError::Unknown(one_line(name))) }
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(all) => {
                if self.loops > 0 {
                    return Err(ExpressionError::Size(
                        "it has one macro such as `exists` in another",
                    ));
                }
                self.each([&all.iter_range, &all.accu_init])?;
                let depth = self.scope.len();
                self.scope.extend([all.iter_var.as_str(), all.accu_var.as_str()]);
                self.scope.extend(all.iter_var2.as_deref());
                self.loops += 1;
                self.each([&all.loop_cond, &all.loop_step, &all.result])?;
                self.loops -= 1;
                self.scope.truncate(depth);
                Ok(())
            }
            Expr::List(list) => self.each(&list.elements),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => self.each([&entry.key, &entry.value]),
                EntryExpr::StructField(field) => self.expression(&field.value),
            }),
            Expr::Select(select) => self.expression(&select.operand),
            Expr::Struct(of_type) => Err(ExpressionError::Unknown(one_line(&of_type.type_name))),
            Expr::Unspecified => Err(ExpressionError::Syntax("a part of it is empty".to_owned())),
            Expr::Literal(_) => Ok(()),
        }
    }

    fn call(&mut self, call: &'e CallExpr) -> Result<(), ExpressionError> {
        let name = call.func_name.as_str();
        // Operators have names that nobody can write: `_&&_`, `!_`, `@in`.
        let identifier = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
        if identifier && !FUNCTIONS.contains(&name) {
            return Err(ExpressionError::Unknown(one_line(name)));
        }
        // `optional.of(x)` reads as a call upon a variable of that name.
        let target = call.target.as_deref().filter(|target| !is_ident(target, "optional"));
        self.each(target.into_iter().chain(&call.args))
    }
}

/// The labels of which one must be equal to a node's name, long or short, for the expression to be true.
/// `None`: it can be true without. Never too few: what is not understood gives `None`.
pub(super) fn name_labels(expression: &IdedExpr) -> Option<BTreeSet<String>> {
    let Expr::Call(call) = &expression.expr else { return None };
    match (call.func_name.as_str(), call.args.as_slice()) {
        // True only if both are: either side's labels will do, and fewer are better.
        (operators::LOGICAL_AND, [a, b]) => match (name_labels(a), name_labels(b)) {
            (Some(a), Some(b)) => Some(if a.len() <= b.len() { a } else { b }),
            (one, other) => one.or(other),
        },
        (operators::LOGICAL_OR, [a, b]) | (operators::CONDITIONAL, [_, a, b]) => {
            let (mut a, b) = (name_labels(a)?, name_labels(b)?);
            a.extend(b);
            Some(a)
        }
        (operators::EQUALS, [a, b]) => match (label(a), label(b)) {
            (Some(label), None) if is_name(b) => Some([label].into()),
            (None, Some(label)) if is_name(a) => Some([label].into()),
            _ => None,
        },
        (operators::IN, [value, of]) => {
            let Expr::List(list) = &of.expr else { return None };
            let names = list.elements.iter().all(is_name);
            label(value).filter(|_| names).map(|label| [label].into())
        }
        _ => None,
    }
}

/// The label that `labels["x"]` or `labels.x` stands for.
fn label(expression: &IdedExpr) -> Option<String> {
    match &expression.expr {
        Expr::Select(select) if !select.test && is_ident(&select.operand, LABELS) => {
            Some(select.field.clone())
        }
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [map, key] if is_ident(map, LABELS) => match &key.expr {
                Expr::Literal(LiteralValue::String(key)) => Some(key.inner().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn is_name(expression: &IdedExpr) -> bool {
    is_ident(expression, FULL_NAME) || is_ident(expression, SHORT_NAME)
}

fn is_ident(expression: &IdedExpr, name: &str) -> bool {
    matches!(&expression.expr, Expr::Ident(ident) if ident == name)
}
