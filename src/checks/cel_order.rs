//! Gives the members of a map an order in expressions: that of their names.
//!
//! The library iterates over maps in an order of chance, so that `content.map(k, k)[0]` would be another one at each try.

use cel::Value;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr};
use cel::objects::Key;

/// The name under which a context has the function `ordered`. No source can name it.
pub(super) const ORDERED: &str = "@ordered";

/// Returns the keys of a map in order, and anything else as it is.
pub(super) fn ordered(value: Value) -> Value {
    let Value::Map(map) = &value else { return value };
    let mut keys: Vec<&Key> = map.map.keys().collect();
    keys.sort();
    Value::List(keys.into_iter().cloned().map(Value::from).collect::<Vec<_>>().into())
}

/// Returns an expression whose comprehensions iterate over maps in order.
pub(super) fn with_order(mut node: IdedExpr) -> IdedExpr {
    for child in children_mut(&mut node.expr) {
        *child = with_order(std::mem::take(child));
    }
    if let Expr::Comprehension(each) = &mut node.expr {
        let id = each.iter_range.id;
        let range = std::mem::take(&mut each.iter_range);
        let call = CallExpr { func_name: ORDERED.to_owned(), target: None, args: vec![range] };
        each.iter_range = IdedExpr { id, expr: Expr::Call(call) };
    }
    node
}

fn children_mut(expression: &mut Expr) -> Vec<&mut IdedExpr> {
    match expression {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => Vec::new(),
        Expr::Call(call) => call.target.as_deref_mut().into_iter().chain(&mut call.args).collect(),
        Expr::Comprehension(each) => {
            vec![&mut each.iter_range, &mut each.accu_init, &mut each.loop_cond, &mut each.loop_step, &mut each.result]
        }
        Expr::List(list) => list.elements.iter_mut().collect(),
        Expr::Map(map) => map.entries.iter_mut().flat_map(|entry| entry_nodes(&mut entry.expr)).collect(),
        Expr::Struct(made) => made.entries.iter_mut().flat_map(|entry| entry_nodes(&mut entry.expr)).collect(),
        Expr::Select(select) => vec![&mut select.operand],
    }
}

fn entry_nodes(entry: &mut EntryExpr) -> Vec<&mut IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&mut field.value],
        EntryExpr::MapEntry(entry) => vec![&mut entry.key, &mut entry.value],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cel::{Cel, text, value};

    #[test]
    fn the_members_of_a_map_have_one_order() {
        let cel = Cel::new().expect("an environment");
        let content = json!({"m": {"d": 1, "b": 2, "a": {"z": 1, "y": 2, "x": 3}, "c": 4, "e": 5, "f": 6}});
        for (source, expected) in [
            ("content.m.map(k, k).join('')", "abcdef"),
            ("content.m.filter(k, k != 'a')[0]", "b"),
            ("content.m.map(k, content.m.map(j, j + k)[0]).join('')", "aaabacadaeaf"),
            ("[content].map(c, c.m.map(k, k)[5])[0]", "f"),
            ("{'b': 1, 'a': 2, 'c': 3}.map(k, k).join('')", "abc"),
            ("content.m.a", r#"{"x":3,"y":2,"z":1}"#),
            ("content.m.all(k, k < 'g') && content.m.exists_one(k, k == 'c')", "true"),
            ("[3, 1, 2].map(n, n)", "[3,1,2]"),
        ] {
            // Each map of the library has an order of its own, so one try would prove little.
            for _ in 0..20 {
                let expression = cel.compile(source).expect(source);
                let mut context = cel.context();
                context.add_variable_from_value("content", value(&content));
                assert_eq!(text(&expression.evaluate(&context).expect(source)), expected, "{source}");
            }
        }
    }
}
