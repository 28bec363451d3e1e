//! Expressions of the Common Expression Language (CEL): compiled within bounds, and evaluated on JSON values.
//!
//! The library has no budget for evaluation, and its parser may overflow its stack, so this runs in a worker process alone.

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::objects::{Key, Map};
use cel::{Context, Env, Value, extensions};
use serde_json::Value as Json;

use super::cel_order::{ORDERED, ordered, with_order};
use super::parse_failure::shortened;
use crate::domain::limits::{
    GUARDRAIL_EXPRESSION_MAX_BYTES, GUARDRAIL_EXPRESSION_MAX_DEPTH, GUARDRAIL_EXPRESSION_MAX_NODES,
};

/// The names that an expression may use.
pub(super) const VARIABLES: [&str; 6] = ["active", "content", "policy", "text", "value", "version"];

/// The functions that an expression may call, besides operators. Another one would fail only when it is evaluated.
const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "charAt",
    "contains",
    "distinct",
    "double",
    "dyn",
    "endsWith",
    "flatten",
    "format",
    "indexOf",
    "int",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "matches",
    "replace",
    "reverse",
    "size",
    "slice",
    "sort",
    "split",
    "startsWith",
    "string",
    "substring",
    "trim",
    "type",
    "uint",
    "upperAscii",
];

/// How the parser says that brackets are nested deeper than it goes, some 95 levels.
const TOO_DEEP: &str = "Recursion limit";

/// The environment in which expressions are compiled and evaluated.
pub(super) struct Cel(Arc<Env>);

/// A compiled expression.
pub(super) struct Expression(IdedExpr);

impl Cel {
    /// Makes the environment: the standard functions, and those on strings and lists.
    ///
    /// # Errors
    /// The library has two functions of one name.
    pub fn new() -> Result<Self, String> {
        let mut env = Env::stdlib();
        for extension in [extensions::strings, extensions::lists] {
            env.add_extension(extension).map_err(|error| error.to_string())?;
        }
        Ok(Self(Arc::new(env)))
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// It is too long, too deep, has too many nodes, is no CEL, or uses a name or a function that there is not. The error is a
    /// lower-case fragment for the author.
    pub fn compile(&self, source: &str) -> Result<Expression, String> {
        if source.len() > GUARDRAIL_EXPRESSION_MAX_BYTES {
            return Err(format!("it is over {GUARDRAIL_EXPRESSION_MAX_BYTES} bytes"));
        }
        let program = self.0.compile(source).map_err(|errors| match errors.errors.first() {
            Some(first) if first.msg.contains(TOO_DEEP) => "it is nested too deeply".to_owned(),
            Some(first) => {
                let (line, column) = (first.pos.0.max(1), first.pos.1.max(1));
                shortened(&format!("line {line}, column {column}: {}", first.msg))
            }
            None => "it is no CEL expression".to_owned(),
        })?;
        let mut nodes = 0;
        check_names(program.expression(), 1, &mut nodes, &mut Vec::new())?;
        Ok(Expression(with_order(program.expression().clone())))
    }

    /// Returns a context in which variables can be set.
    pub fn context(&self) -> Context<'static, 'static> {
        let mut context = Context::with_env(Arc::clone(&self.0));
        // An expression that does not find it fails, and what it guards is refused.
        let _ = context.add_function(ORDERED, ordered);
        context
    }
}

impl Expression {
    /// Evaluates the expression.
    ///
    /// # Errors
    /// The evaluation fails. The error is a fragment for the author.
    pub fn evaluate(&self, context: &Context<'_, '_>) -> Result<Value, String> {
        Value::resolve(&self.0, context).map_err(|error| shortened(&error.to_string()))
    }

    /// Returns the expression as a tree.
    pub fn tree(&self) -> &IdedExpr {
        &self.0
    }
}

/// Returns a JSON value as CEL sees it. Integers are signed, so that `content.n + 1` has one type of number.
pub(super) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Int(integer),
            (None, Some(float)) => Value::Float(float),
            (None, None) => Value::Null,
        },
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(items) => Value::List(Arc::new(items.iter().map(value).collect())),
        Json::Object(members) => {
            let members = members.iter().map(|(key, item)| (Key::String(Arc::new(key.clone())), value(item)));
            Value::Map(Map { map: Arc::new(members.collect::<HashMap<_, _>>()) })
        }
    }
}

/// Returns a value as text for a message: strings as they are, all else as JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        other => other.json().map_or_else(
            |_| other.type_of().to_string(),
            |mut json| {
                json.sort_all_objects();
                json.to_string()
            },
        ),
    }
}

/// Counts nodes and depth, and checks each name and function.
fn check_names<'a>(
    node: &'a IdedExpr,
    depth: usize,
    nodes: &mut usize,
    bound: &mut Vec<&'a str>,
) -> Result<(), String> {
    *nodes += 1;
    if depth > GUARDRAIL_EXPRESSION_MAX_DEPTH {
        return Err(format!("it is nested deeper than {GUARDRAIL_EXPRESSION_MAX_DEPTH}"));
    }
    if *nodes > GUARDRAIL_EXPRESSION_MAX_NODES {
        return Err(format!("it has over {GUARDRAIL_EXPRESSION_MAX_NODES} nodes"));
    }
    let names_before = bound.len();
    match &node.expr {
        Expr::Ident(name)
            if !VARIABLES.contains(&name.as_str()) && !bound.contains(&name.as_str()) && !is_type(name) =>
        {
            return Err(shortened(&format!("there is no variable {name}; there are {}", VARIABLES.join(", "))));
        }
        Expr::Call(call) => {
            let is_operator = !call.func_name.starts_with(|first: char| first.is_ascii_alphabetic());
            if !is_operator && !FUNCTIONS.contains(&call.func_name.as_str()) {
                return Err(shortened(&format!("there is no function {}", call.func_name)));
            }
        }
        Expr::Struct(made) => return Err(shortened(&format!("there is no type {}", made.type_name))),
        _ => {}
    }
    for (index, child) in children(node).into_iter().enumerate() {
        check_names(child, depth + 1, nodes, bound)?;
        // The list of a comprehension is its first child, and does not see its variables.
        if let (0, Expr::Comprehension(comprehension)) = (index, &node.expr) {
            bound.extend([comprehension.iter_var.as_str(), comprehension.accu_var.as_str()]);
            bound.extend(comprehension.iter_var2.as_deref());
        }
    }
    bound.truncate(names_before);
    Ok(())
}

/// Returns the parts of an expression.
pub(super) fn children(node: &IdedExpr) -> Vec<&IdedExpr> {
    match &node.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(each) => {
            vec![&each.iter_range, &each.accu_init, &each.loop_cond, &each.loop_step, &each.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_nodes(&entry.expr)).collect(),
        Expr::Struct(made) => made.entries.iter().flat_map(|entry| entry_nodes(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
    }
}

fn entry_nodes(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// Returns whether a name is that of a type, as in `type(value) == string`.
fn is_type(name: &str) -> bool {
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"].contains(&name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checks::CHECK_STACK_MAX_BYTES;

    fn evaluated(source: &str, content: &Json) -> Result<Value, String> {
        let cel = Cel::new().expect("an environment");
        let expression = cel.compile(source)?;
        let mut context = cel.context();
        context.add_variable_from_value("content", value(content));
        expression.evaluate(&context)
    }

    #[test]
    fn numbers_of_json_count_as_numbers() {
        let content = json!({"n": 4, "f": 0.5, "big": 9_007_199_254_740_991_i64, "items": [1, 2, 3]});
        for source in [
            "content.n + 1 == 5",
            "content.n > 3.5",
            "content.f < content.n",
            "content.f < 1",
            "content.big > 0",
            "content.items.all(x, x < 4)",
            "content.items.filter(x, x > 1).size() == 2",
            "size(content.items) == 3",
            "type(content.n) == int",
            "content.items.exists(x, x in [3, 4]) && !has(content.absent)",
            "'a,b'.split(',') == ['a', 'b'] && 'X'.lowerAscii() == 'x'",
            "'aab'.matches('^a+b$')",
        ] {
            assert_eq!(evaluated(source, &content), Ok(Value::Bool(true)), "{source}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_when_it_is_compiled() {
        // As in a worker: the parser needs more stack than a thread of a test has.
        let thread = std::thread::Builder::new().stack_size(CHECK_STACK_MAX_BYTES).spawn(refuse_what_is_no_expression);
        thread.expect("a thread").join().expect("no panic");
    }

    fn refuse_what_is_no_expression() {
        let brackets = format!("{}true{}", "(".repeat(200), ")".repeat(200));
        let wide = format!("[{}].size() > 0", vec!["1"; 1_100].join(","));
        for (source, why) in [
            ("content.", "line 1, column"),
            ("contents.n > 1", "there is no variable contents"),
            ("content.all(x, y)", "there is no variable y"),
            ("x && content.all(x, x)", "there is no variable x"),
            ("frobnicate(content)", "there is no function frobnicate"),
            ("max(1, 2) > 1", "there is no function max"),
            ("Rule{a: 1} == content", "there is no type Rule"),
            (brackets.as_str(), "nested too deeply"),
            (wide.as_str(), "over 1000 nodes"),
            (&"1".repeat(GUARDRAIL_EXPRESSION_MAX_BYTES + 1), "over 4096 bytes"),
        ] {
            let refused = evaluated(source, &json!({})).expect_err(source);
            assert!(refused.contains(why), "{source:.40}: {refused}");
        }
    }

    #[test]
    fn a_failed_evaluation_says_why() {
        assert!(evaluated("content.a.b > 1", &json!({})).expect_err("no key").contains("No such key: a"));
        assert!(evaluated("content.a + 1 > 1", &json!({"a": "x"})).is_err());
        assert!(evaluated("1 / content.a > 1", &json!({"a": 0})).is_err());
        assert!(evaluated("'a'.matches('(')", &json!({})).is_err());
    }
}
