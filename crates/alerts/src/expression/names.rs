//! What an expression speaks of: the names in it that nothing stands behind, and the labels of which one
//! must be a node's name for it to be true.

use std::collections::BTreeSet;

use cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, operators},
};

use super::{FULL_NAME, LABELS, SHORT_NAME};

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

/// A name in the expression that is neither a variable nor a function.
pub(super) fn unknown(expression: &IdedExpr) -> Option<String> {
    let mut scope = vec![LABELS, FULL_NAME, SHORT_NAME];
    first_unknown(expression, &mut scope)
}

fn first_unknown<'e>(expression: &'e IdedExpr, scope: &mut Vec<&'e str>) -> Option<String> {
    match &expression.expr {
        Expr::Ident(name) => {
            let known = scope.contains(&name.as_str()) || name.starts_with('@');
            (!known).then(|| name.clone())
        }
        Expr::Call(call) => unknown_in_call(call, scope),
        Expr::Comprehension(all) => {
            let outside = first_unknown(&all.iter_range, scope)
                .or_else(|| first_unknown(&all.accu_init, scope));
            let depth = scope.len();
            scope.extend([all.iter_var.as_str(), all.accu_var.as_str()]);
            scope.extend(all.iter_var2.as_deref());
            let parts = [&all.loop_cond, &all.loop_step, &all.result];
            let inside = parts.into_iter().find_map(|part| first_unknown(part, scope));
            scope.truncate(depth);
            outside.or(inside)
        }
        Expr::List(list) => list.elements.iter().find_map(|part| first_unknown(part, scope)),
        Expr::Map(map) => map.entries.iter().find_map(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                first_unknown(&entry.key, scope).or_else(|| first_unknown(&entry.value, scope))
            }
            EntryExpr::StructField(field) => first_unknown(&field.value, scope),
        }),
        Expr::Select(select) => first_unknown(&select.operand, scope),
        Expr::Struct(of_type) => Some(of_type.type_name.clone()),
        Expr::Literal(_) | Expr::Unspecified => None,
    }
}

fn unknown_in_call<'e>(call: &'e CallExpr, scope: &mut Vec<&'e str>) -> Option<String> {
    let name = call.func_name.as_str();
    // Operators have names that nobody can write: `_&&_`, `!_`, `@in`.
    let identifier = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    if identifier && !FUNCTIONS.contains(&name) {
        return Some(name.to_owned());
    }
    // `optional.of(x)` reads as a call upon a variable of that name.
    let target = call.target.as_deref().filter(|target| !is_ident(target, "optional"));
    let all = target.into_iter().chain(&call.args);
    all.into_iter().find_map(|part| first_unknown(part, scope))
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
