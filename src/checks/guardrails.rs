//! Evaluates one guardrail on a content: for each value that it looks at, true, false or an error.

use cel::{Context, Value};
use serde_json::Value as Json;

use super::cel::{Cel, Expression, text, value};
use super::cel_paths::common_path;
use super::check_limit::ANSWER_FINDINGS_MAX;
use super::evaluation::{EvaluatedContent, Facts, TaskAnswer};
use super::parse_failure::{push_token, shortened};
use crate::domain::guardrail::Guardrail;
use crate::domain::report::CheckFinding;

/// The token that stands for each member in the pattern of a guardrail.
const EACH: &str = "*";

/// A part of a guardrail's message.
enum MessagePart {
    Text(String),
    Value(Expression),
}

/// Evaluates a guardrail. Without a content it is only compiled.
pub(super) fn evaluate(guardrail: &Guardrail, content: &EvaluatedContent, facts: &Facts) -> TaskAnswer {
    match compile(guardrail) {
        Err(why) => TaskAnswer::Unusable(why),
        Ok(compiled) => TaskAnswer::Findings(compiled.findings_of_each(guardrail, content, facts)),
    }
}

struct Compiled {
    cel: Cel,
    expression: Expression,
    message: Vec<MessagePart>,
}

fn compile(guardrail: &Guardrail) -> Result<Compiled, String> {
    let cel = Cel::new()?;
    let expression = cel.compile(&guardrail.expression).map_err(|why| format!("expression: {why}"))?;
    let message = message_parts(&cel, &guardrail.message).map_err(|why| format!("message: {why}"))?;
    Ok(Compiled { cel, expression, message })
}

impl Compiled {
    /// Evaluates the guardrail on each document of a stream and each file: otherwise a content that is split up would have nothing that
    /// `for_each` leads to, and pass.
    fn findings_of_each(&self, guardrail: &Guardrail, content: &EvaluatedContent, facts: &Facts) -> Vec<CheckFinding> {
        // Made once: the active content, up to 1 MiB, would otherwise be converted again for each document of a stream.
        let context = self.context_of(facts);
        let found = |document: &Json| self.findings(guardrail, document, &context);
        let of_index = |(index, document): (usize, &Json)| {
            let within = move |finding: CheckFinding| {
                let pointer = format!("/{index}{}", finding.pointer);
                finding.at_pointer(pointer)
            };
            found(document).into_iter().map(within).collect::<Vec<_>>()
        };
        let of_file = |path: &str, document: &Json| {
            found(document).into_iter().map(|finding| finding.in_file(path)).collect::<Vec<_>>()
        };
        let each: Box<dyn Iterator<Item = CheckFinding>> = match content {
            EvaluatedContent::None => Box::new(std::iter::empty()),
            EvaluatedContent::Document(document) => Box::new(found(document).into_iter()),
            EvaluatedContent::Documents(documents) => Box::new(documents.iter().enumerate().flat_map(of_index)),
            EvaluatedContent::DocumentFiles(files) => {
                Box::new(files.iter().flat_map(|(path, document)| of_file(path, document)))
            }
            EvaluatedContent::Texts(files) => {
                Box::new(files.iter().flat_map(|file| of_file(&file.path, &Json::String(file.text.clone()))))
            }
        };
        // Nothing is evaluated beyond the last finding that is listed: a stream may have a hundred thousand documents.
        each.take(ANSWER_FINDINGS_MAX).collect()
    }

    /// Returns a context with every variable that is the same for all documents of a content.
    fn context_of(&self, facts: &Facts) -> Context<'_, '_> {
        let mut context = self.cel.context();
        for (name, fact) in &facts.known {
            context.add_variable_from_value(name.as_str(), value(fact));
        }
        context.add_variable_from_value("text", facts.text.as_ref().map_or(Value::Null, |text| text.as_str().into()));
        context.add_variable_from_value("active", facts.active.as_ref().map_or(Value::Null, value));
        context
    }

    fn findings(&self, guardrail: &Guardrail, content: &Json, facts: &Context<'_, '_>) -> Vec<CheckFinding> {
        let mut context = facts.new_inner_scope();
        let whole = value(content);
        context.add_variable_from_value("content", whole.clone());
        let mut found = Vec::new();
        // Content that is no document has nothing that a pattern leads to, and must not pass by it: it is evaluated once, without
        // `value`, so that an expression that asks for it is broken.
        let has_no_value = content.is_null() && !guardrail.for_each.is_empty();
        let pattern = if has_no_value { "" } else { guardrail.for_each.as_str() };
        let tokens: Vec<&str> = pattern.split('/').skip(1).collect();
        for_each(content, &tokens, &mut String::new(), &mut |pointer, each| {
            let mut context = context.new_inner_scope();
            let each = if pointer.is_empty() { whole.clone() } else { value(each) };
            if !has_no_value {
                context.add_variable_from_value("value", each);
            }
            if let Some(message) = self.broken(guardrail, &context) {
                let place = if tokens.is_empty() { self.place(content) } else { pointer.to_owned() };
                let hint = format!("the guardrail {} asks: {}", guardrail.id, shortened(&guardrail.expression));
                found.push(
                    CheckFinding::new(guardrail.severity.of_finding(), message).at_pointer(place).with_hint(hint),
                );
            }
            found.len() < ANSWER_FINDINGS_MAX
        });
        found
    }

    /// Returns the pointer of the part of the content that the expression looks at, as far as the content has it.
    fn place(&self, content: &Json) -> String {
        let (mut pointer, mut value) = (String::new(), content);
        for name in common_path(self.expression.tree(), &["content", "value"]) {
            match value.get(&name) {
                Some(member) if push_token(&mut pointer, &name) => value = member,
                _ => break,
            }
        }
        pointer
    }

    /// Returns the message when the guardrail does not hold.
    fn broken(&self, guardrail: &Guardrail, context: &Context<'_, '_>) -> Option<String> {
        let id = &guardrail.id;
        match self.expression.evaluate(context) {
            Ok(Value::Bool(true)) => None,
            Ok(Value::Bool(false)) if self.message.is_empty() => Some(format!("{id}: the guardrail does not hold")),
            Ok(Value::Bool(false)) => Some(shortened(&format!("{id}: {}", self.message(context)))),
            Ok(other) => Some(format!("{id}: its expression gives {}, and must give a bool", other.type_of())),
            Err(why) => Some(shortened(&format!("{id}: its expression can't be evaluated here: {why}"))),
        }
    }

    fn message(&self, context: &Context<'_, '_>) -> String {
        let part = |part: &MessagePart| match part {
            MessagePart::Text(text) => text.clone(),
            MessagePart::Value(expression) => {
                expression.evaluate(context).map_or_else(|_| "?".to_owned(), |v| text(&v))
            }
        };
        self.message.iter().map(part).collect()
    }
}

/// Splits a message into its text and its expressions.
fn message_parts(cel: &Cel, message: &str) -> Result<Vec<MessagePart>, String> {
    let (mut parts, mut rest) = (Vec::new(), message);
    while let Some((before, after)) = rest.split_once('{') {
        parts.push(MessagePart::Text(before.to_owned()));
        if let Some(after) = after.strip_prefix('{') {
            parts.push(MessagePart::Text("{".to_owned()));
            rest = after;
            continue;
        }
        let (source, after) = after.split_once('}').ok_or("a { has no }; write {{ for a brace")?;
        parts.push(MessagePart::Value(cel.compile(source)?));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(MessagePart::Text(rest.to_owned()));
    }
    Ok(parts)
}

/// Calls `visit` for each value that the pattern leads to, with its pointer, until it returns false. Returns whether it went on.
fn for_each(at: &Json, pattern: &[&str], pointer: &mut String, visit: &mut dyn FnMut(&str, &Json) -> bool) -> bool {
    let Some((token, rest)) = pattern.split_first() else { return visit(pointer, at) };
    let before = pointer.len();
    let mut step = |name: &str, member: &Json| {
        // A pointer that would be overlong stays at the nearest ancestor.
        push_token(pointer, name);
        let goes_on = for_each(member, rest, pointer, visit);
        pointer.truncate(before);
        goes_on
    };
    match at {
        Json::Array(items) if *token == EACH => {
            items.iter().enumerate().all(|(index, item)| step(&index.to_string(), item))
        }
        Json::Object(members) if *token == EACH => members.iter().all(|(name, member)| step(name, member)),
        Json::Array(items) => {
            // RFC 6901 has one way to write an index.
            let index = token.parse::<usize>().ok().filter(|index| index.to_string() == *token);
            index.and_then(|index| items.get(index)).is_none_or(|item| step(token, item))
        }
        Json::Object(members) => {
            let name = token.replace("~1", "/").replace("~0", "~");
            members.get(&name).is_none_or(|member| step(&name, member))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::checks::engine::TextFile;
    use crate::domain::guardrail::GuardrailSeverity;

    fn guardrail(expression: &str, for_each: &str, message: &str) -> Guardrail {
        Guardrail {
            id: "g".to_owned(),
            expression: expression.to_owned(),
            severity: GuardrailSeverity::Deny,
            message: message.to_owned(),
            for_each: for_each.to_owned(),
        }
    }

    fn found(guardrail: &Guardrail, content: Json) -> Vec<(String, String)> {
        let known = json!({"policy": {"id": "pricing", "required_approvals": 0}});
        let known = known.as_object().cloned().unwrap_or_default();
        let facts = Facts { known, text: Some("text".to_owned()), active: Some(json!({"content": {"n": 3}})) };
        match evaluate(guardrail, &EvaluatedContent::Document(content), &facts) {
            TaskAnswer::Findings(findings) => {
                findings.into_iter().map(|finding| (finding.pointer, finding.message)).collect()
            }
            TaskAnswer::Unusable(why) => panic!("{why}"),
        }
    }

    #[test]
    fn a_rule_for_each_value_points_to_those_that_break_it() {
        let rule = guardrail("value.principal != '*'", "/rules/*", "rule {value.id} of {policy.id} allows {{all}}");
        let content = json!({"rules": [{"id": "a", "principal": "ann"}, {"id": "b", "principal": "*"}]});
        let expected = ("/rules/1".to_owned(), "g: rule b of pricing allows {all}}".to_owned());
        assert_eq!(found(&rule, content), [expected]);
        for content in [json!({}), json!({"rules": []}), json!({"rules": 1}), json!([])] {
            assert_eq!(found(&rule, content), [], "nothing to look at");
        }
        assert_eq!(found(&rule, Json::Null).len(), 1, "content that is no document");
        let deep = guardrail("false", "/a~1b/*/x", "");
        let pointers: Vec<_> =
            found(&deep, json!({"a/b": {"p": {"x": 1}, "q": {"x": 2}, "r": {}}})).into_iter().collect();
        assert_eq!(
            pointers.iter().map(|(pointer, _)| pointer.as_str()).collect::<Vec<_>>(),
            ["/a~1b/p/x", "/a~1b/q/x"]
        );
    }

    #[test]
    fn what_can_not_be_evaluated_is_broken() {
        let message = |rule: &str| found(&guardrail(rule, "", ""), json!({"n": 1})).remove(0).1;
        assert_eq!(message("content.absent > 1"), "g: its expression can't be evaluated here: No such key: absent");
        assert_eq!(message("content.n"), "g: its expression gives int, and must give a bool");
        assert_eq!(message("content.n > 1"), "g: the guardrail does not hold");
        assert_eq!(
            found(&guardrail("content.n == 1 && active.content.n == 3 && text == 'text'", "", ""), json!({"n": 1})),
            []
        );
    }

    #[test]
    fn a_guardrail_that_does_not_compile_is_unusable() {
        for (rule, why) in [
            (guardrail("content.", "", ""), "expression: line 1"),
            (guardrail("true", "", "{"), "message: a { has no }"),
            (guardrail("true", "", "{nothing}"), "message: there is no variable nothing"),
        ] {
            let answer = evaluate(&rule, &EvaluatedContent::None, &Facts::default());
            assert!(matches!(&answer, TaskAnswer::Unusable(found) if found.starts_with(why)), "{answer:?}");
        }
        let fine = evaluate(&guardrail("content.n > 1", "", ""), &EvaluatedContent::None, &Facts::default());
        assert_eq!(fine, TaskAnswer::Findings(Vec::new()));
    }

    #[test]
    fn each_document_and_each_file_is_evaluated() {
        let rule = guardrail("value != '*'", "/rules/*", "");
        let (good, bad) = (json!({"rules": ["a"]}), json!({"rules": ["a", "*"]}));
        let places = |content: EvaluatedContent| match evaluate(&rule, &content, &Facts::default()) {
            TaskAnswer::Findings(found) => {
                found.into_iter().map(|finding| (finding.file, finding.pointer)).collect::<Vec<_>>()
            }
            TaskAnswer::Unusable(why) => panic!("{why}"),
        };
        let stream = EvaluatedContent::Documents(vec![good.clone(), bad.clone()]);
        assert_eq!(places(stream), [(String::new(), "/1/rules/1".to_owned())]);
        let files = [("a.json".to_owned(), good), ("b.json".to_owned(), bad)].into_iter().collect();
        assert_eq!(places(EvaluatedContent::DocumentFiles(files)), [("b.json".to_owned(), "/rules/1".to_owned())]);
        let text = TextFile { path: "a.rego".to_owned(), text: "package a".to_owned() };
        let answer = evaluate(
            &guardrail("content.startsWith('package b')", "", ""),
            &EvaluatedContent::Texts(vec![text]),
            &Facts::default(),
        );
        assert!(matches!(&answer, TaskAnswer::Findings(found) if found[0].file == "a.rego"), "{answer:?}");
    }

    #[test]
    fn findings_are_bounded() {
        let rule = guardrail("value < 0", "/*", "{content}");
        let all = found(&rule, Json::Array((0..1_000).map(Json::from).collect()));
        assert_eq!(all.len(), ANSWER_FINDINGS_MAX);
        assert!(all.iter().all(|(_, message)| message.chars().count() <= 401));
    }
}
