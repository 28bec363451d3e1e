//! Finds which part of a content an expression looks at, so that what breaks it has a place.

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};

use super::cel::children;

/// Returns the longest path that all uses of one of the variables begin with: names of members from the outside in. Empty: the
/// expression looks at the whole, or at parts of it that have nothing in common.
pub(super) fn common_path(expression: &IdedExpr, variables: &[&str]) -> Vec<String> {
    let mut paths = Vec::new();
    collect(expression, variables, &mut paths);
    let mut paths = paths.into_iter();
    let first = paths.next().unwrap_or_default();
    paths.fold(first, |common, path| {
        common.into_iter().zip(path).take_while(|(one, other)| one == other).map(|(one, _)| one).collect()
    })
}

fn collect(node: &IdedExpr, variables: &[&str], paths: &mut Vec<Vec<String>>) {
    match path_of(node, variables) {
        Some(path) => paths.push(path),
        None => children(node).into_iter().for_each(|child| collect(child, variables, paths)),
    }
}

/// Returns the path of `content.a['b']`.
fn path_of(node: &IdedExpr, variables: &[&str]) -> Option<Vec<String>> {
    let (operand, member) = match &node.expr {
        Expr::Ident(name) => return variables.contains(&name.as_str()).then(Vec::new),
        Expr::Select(select) => (&*select.operand, select.field.clone()),
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(key)), .. }] => {
                (operand, key.inner().to_owned())
            }
            _ => return None,
        },
        _ => return None,
    };
    let mut path = path_of(operand, variables)?;
    path.push(member);
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::super::cel::Cel;
    use super::common_path;

    #[test]
    fn the_part_that_is_looked_at_is_the_common_one() {
        let cel = Cel::new().expect("an environment");
        for (source, path) in [
            ("content.a.b <= 3", "a/b"),
            ("content.a['b c'] == value.a['b c'] || version.change_note != ''", "a/b c"),
            ("has(content.a.b) && content.a.c != ''", "a"),
            ("content.a.all(x, x.size() < content.a.size())", "a"),
            ("content.a < 3 || content.b", ""),
            ("content.a[0] == 1", "a"),
            ("content.size() < 3", ""),
            ("text != null", ""),
        ] {
            let expression = cel.compile(source).expect(source);
            assert_eq!(common_path(expression.tree(), &["content", "value"]).join("/"), path, "{source}");
        }
    }
}
