//! Tests of templates: what one is, and what substitution may change.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::limits::DOCUMENT_MAX_DEPTH;

fn template(content: Value, substitute: Value) -> Result<Template, Vec<TemplateProblem>> {
    let parameters = json!({"properties": {"a": {}, "b": {}, "unused": {}}});
    Template::read(&json!({"kind": "YAML", "parameters": parameters, "substitute": substitute, "content": content}))
}

fn read(content: Value, substitute: Value) -> Template {
    template(content, substitute).expect("a template")
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}

fn problems(document: &Value) -> Vec<(String, String)> {
    let found = Template::read(document).expect_err("no template");
    found.into_iter().map(|problem| (problem.pointer, problem.message)).collect()
}

#[test]
fn a_template_has_its_members_and_no_other() {
    let whole = json!({"kind": "JSON", "parameters": {"properties": {}}, "substitute": {}, "content": 1});
    assert!(Template::read(&whole).is_ok());
    for (member, value, pointer, message) in [
        ("kind", json!("CEDAR"), "/kind", "is neither JSON nor YAML"),
        ("kind", json!(1), "/kind", "is neither JSON nor YAML"),
        ("parameters", json!(true), "/parameters", "is no JSON Schema of an object"),
        ("parameters", json!({"type": "object"}), "/parameters", "is no JSON Schema of an object"),
        ("substitute", json!([]), "/substitute", "is no object from JSON Pointers"),
        ("substitute", json!({"": 1}), "/substitute/", "is not the name of a parameter"),
        ("a/b", json!(1), "/a~1b", "is no member of a template"),
    ] {
        let mut document = whole.clone();
        document[member] = value;
        let found = problems(&document);
        assert!(found.len() == 1 && found[0].0 == pointer && found[0].1.starts_with(message), "{member}: {found:?}");
    }
    for name in MEMBERS {
        let mut document = whole.clone();
        document.as_object_mut().expect("an object").remove(name);
        assert_eq!(problems(&document), [(String::new(), format!("has no {name}"))]);
    }
    for other in [json!([whole]), json!("{}"), Value::Null] {
        assert_eq!(problems(&other).len(), 1, "{other}");
    }
}

#[test]
fn pointers_lead_to_values_that_do_not_hold_each_other() {
    let content = json!({"a/b": {"~": [0, {"c": 1}]}, "a": {"x": 1}, "a-": 1});
    let ok = json!({"/a~1b/~0/1/c": "a", "/a/x": "b", "/a-": "a"});
    assert!(template(content.clone(), ok).is_ok());
    assert!(template(content.clone(), json!({"": "a"})).is_ok(), "the whole");
    for (pointer, message) in [
        ("/nothing", "leads to nothing"),
        ("a", "leads to nothing"),
        ("#/a", "leads to nothing"),
        ("/a~2b", "leads to nothing"),
        ("/a~1b/~0/2", "leads to nothing"),
        ("/a~1b/~0/01", "leads to nothing"),
        ("/a~1b/~0/-", "leads to nothing"),
        ("/a/x/", "leads to nothing"),
    ] {
        let found = template(content.clone(), json!({ pointer: "a" })).expect_err(pointer);
        assert!(found.len() == 1 && found[0].message.starts_with(message), "{pointer}: {found:?}");
    }
    let found = template(content.clone(), json!({"/a/x": "c"})).expect_err("not declared");
    assert!(found[0].message.contains("does not declare"), "{found:?}");
    for inside in [json!({"/a": "a", "/a-": "a", "/a/x": "b"}), json!({"": "a", "/a": "b"})] {
        let found = template(content.clone(), inside).expect_err("one in another");
        assert!(found.len() == 1 && found[0].message.starts_with("leads into"), "{found:?}");
    }
    let many: Map<String, Value> = (0..=TEMPLATE_SUBSTITUTIONS_MAX).map(|at| (format!("/{at}"), json!("a"))).collect();
    let list = json!(vec![0; TEMPLATE_SUBSTITUTIONS_MAX + 1]);
    assert!(template(list.clone(), Value::Object(many.clone())).is_err());
    let fewer = many.into_iter().skip(1).collect();
    assert!(template(list, Value::Object(fewer)).is_ok());
}

#[test]
fn what_is_not_given_stays_and_nothing_is_text() {
    let template = read(json!({"x": [1, "${a}"], "y": {"a": "b"}}), json!({"/x/0": "a", "/y": "b"}));
    let made = |parameters| template.substitute(&members(parameters));
    assert_eq!(made(json!({})), json!({"x": [1, "${a}"], "y": {"a": "b"}}));
    assert_eq!(made(json!({"a": "\"\n- b: 1"})), json!({"x": ["\"\n- b: 1", "${a}"], "y": {"a": "b"}}));
    assert_eq!(made(json!({"b": null})), json!({"x": [1, "${a}"], "y": null}));
    assert_eq!(template.unused().collect::<Vec<_>>(), ["unused"]);
    assert_eq!(template.unknown(&members(json!({"a": 1, "c": 1}))).collect::<Vec<_>>(), ["c"]);
}

#[test]
fn what_is_made_is_readable_and_within_the_limits() {
    let template = read(json!({"b": 1, "a": {"list": [[], {}, [[1]], [{"k": 0.5}]]}, "n": null}), json!({"/b": "a"}));
    let made =
        |value| template.make(&members(json!({ "a": value }))).map(|text| String::from_utf8(text).expect("text"));
    let expected = "a:\n  list:\n    - []\n    - {}\n    - - - 1\n    - - k: 0.5\nb: \"yes\"\n\"n\": null\n";
    assert_eq!(made(json!("yes")).as_deref(), Ok(expected));
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    assert!(made(nested(DOCUMENT_MAX_DEPTH - 1)).is_ok());
    let refused = made(nested(DOCUMENT_MAX_DEPTH)).expect_err("too deep");
    assert!(refused.contains("nested deeper"), "{refused}");
    for hostile in [
        "\u{7f}\u{85}\u{9b}",
        "\u{feff}\u{2028}\u{ffff}",
        "\u{0}",
        "😀",
        "---\n...",
        "- a",
        "#",
        "~",
        "0x1F",
        "1e3",
        ": ",
        "",
    ] {
        let text = made(json!({ hostile: hostile })).expect(hostile);
        assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'), "{text:?}");
    }
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        (-1e15..1e15f64).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z~/ \"é]{0,4}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Returns the pointers of all values in a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| pointers(item, &format!("{at}/{index}"), found));
        }
        Value::Object(members) => {
            for (key, member) in members {
                pointers(member, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
            }
        }
        _ => {}
    }
}

proptest! {
    /// Substitution changes the values that the pointers name and nothing else, whatever the order of the pointers is, and what is
    /// made reads as that value in both kinds.
    #[test]
    fn substitution_changes_only_what_pointers_name(content in value(), a in value(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..4)) {
        let mut all = Vec::new();
        pointers(&content, "", &mut all);
        let mut named: Vec<&String> = picks.iter().map(|pick| pick.get(&all)).collect();
        named.sort();
        named.dedup();
        let substitute: Map<String, Value> = named.iter().map(|pointer| ((*pointer).clone(), json!("a"))).collect();
        let Ok(template) = template(content.clone(), Value::Object(substitute)) else {
            prop_assert!(named.len() > 1, "one pointer into the content is refused: {named:?}");
            return Ok(());
        };
        let given = members(json!({"a": a}));
        let made = template.substitute(&given);
        let mut model = content;
        for pointer in &named {
            prop_assert_eq!(made.pointer(pointer), Some(&a));
            *model.pointer_mut(pointer).expect("it is there") = a.clone();
        }
        prop_assert_eq!(&made, &model);
        let mut backwards = template.clone();
        backwards.substitutions.reverse();
        prop_assert_eq!(&backwards.substitute(&given), &made);
        for kind in [PolicyKind::Json, PolicyKind::Yaml] {
            let template = Template { kind, ..template.clone() };
            let text = template.make(&given).expect("it can be written");
            let again = document::parse(kind, &text).expect("it parses").expect("a document").value;
            prop_assert_eq!(&again, &made);
            prop_assert_eq!(backwards.kind == kind && backwards.make(&given).ok() != Some(text), false);
        }
    }
}
