//! The language, on a list of its own; then the tables of the product beside the proto.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::api::pb;
use crate::domain::Result;
use crate::domain::filter::{EnumNames, Field, Filter, Kind, Listing, Order, Range, Served, Value};
use crate::domain::limits::{FILTER_MAX_BYTES, FILTER_MAX_DEPTH, FILTER_TERMS_MAX};
use crate::domain::listing::{BINDINGS, DENIALS, EVENTS, KEYS, NAMESPACES, POLICIES, RUNS, SUBSCRIBERS, VERSIONS};
use crate::domain::name::NamespaceId;
use crate::domain::time::Micros;

#[derive(Debug, Clone, Default)]
struct Item {
    text: String,
    number: i64,
    time: Option<Micros>,
    truth: bool,
    word: usize,
    policies: Vec<String>,
    map: BTreeMap<String, String>,
}

fn policies(item: &Item) -> Value<'_> {
    Value::Texts(item.policies.iter().map(String::as_str).collect())
}

const WORDS: [&str; 3] = ["ONE", "TWO", "THREE"];

static ITEMS: Listing<Item> = Listing {
    request: "",
    fields: &[
        Field::text("text", |item| Value::text(&item.text)),
        Field::number("number", |item| Value::Number(item.number)),
        Field::number("nested.number", |item| Value::Number(item.number)),
        Field::time("time", |item| Value::time(item.time)),
        Field::truth("truth", |item| Value::Truth(item.truth)),
        Field::enumeration("word", EnumNames { prefix: "WORD_", all: || WORDS.to_vec() }, |item| {
            Value::Enum(WORDS.get(item.word).copied().unwrap_or_default())
        }),
        Field::policy("policy", policies),
        Field::<Item>::policy("only", policies).narrowing(),
        Field::list("policies", policies),
        Field::map("map", |item| Value::Map(&item.map)),
    ],
    orders: &[Order::ascending("number"), Order::descending("number desc")],
};

fn namespace() -> NamespaceId {
    NamespaceId::parse("namespace", "default").expect("an id")
}

fn parse(text: &str) -> Result<Filter<Item>> {
    parse_filter(&ITEMS, Some(&namespace()), text)
}

fn parsed(text: &str) -> Filter<Item> {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn item() -> Item {
    Item {
        text: "a \"b\" c".to_owned(),
        number: 7,
        time: Some(Micros(1_000_000)),
        truth: true,
        word: 1,
        policies: vec!["p".to_owned(), "q".to_owned()],
        map: BTreeMap::from([("owner".to_owned(), "x, y".to_owned()), ("a/b.c".to_owned(), "z".to_owned())]),
    }
}

#[test]
fn what_is_written_is_what_is_kept() {
    for (text, is_kept) in [
        ("", true),
        (" \t\n", true),
        ("number = 7", true),
        ("number=7", true),
        ("nested.number >= 8", false),
        ("number != 7", false),
        ("number > -1", true),
        (r#"text = "a \"b\" c""#, true),
        (r#"text = 'a "b" c'"#, true),
        (r#"text : "b""#, true),
        ("text:z", false),
        ("time = 1970-01-01T00:00:01Z", true),
        (r#"time < "1970-01-01T01:00:01.000001+01:00""#, true),
        ("time:*", true),
        ("truth = true", true),
        ("truth != true", false),
        ("word = TWO", true),
        ("word = WORD_TWO", true),
        ("word = ONE OR word = TWO", true),
        ("NOT word = TWO", false),
        ("-word = TWO", false),
        ("policy = q", true),
        (r#"policy = "namespaces/default/policies/q""#, true),
        ("policy != q", false),
        ("policies:p", true),
        ("policies:*", true),
        ("map:owner", true),
        ("map.owner:*", true),
        ("map.owner:y", true),
        ("map.owner = y", false),
        (r#"map."a/b.c" = z"#, true),
        ("map.a:*", false),
        ("map.a != z", true),
        // OR binds tighter than AND.
        ("truth = true OR number = 1 AND number = 2", false),
        ("truth = true OR (number = 1 AND number = 2)", true),
        ("(((number = 7)))", true),
        ("NOT (number = 7 AND truth = false)", true),
        ("number = 7 AND\n  NOT(truth = false)\tAND (only = p)", true),
    ] {
        assert_eq!(parsed(text).keeps(&item()), is_kept, "{text}");
    }
    assert!(!parsed("time <= 2026-01-01T00:00:00Z").keeps(&Item::default()), "what is unset is not before anything");
}

#[test]
fn what_can_not_be_taken_is_told_with_its_column() {
    let deep = |levels: usize| format!("{}number = 1{}", "(".repeat(levels), ")".repeat(levels));
    let many = |terms: usize| vec!["number = 1"; terms].join(" OR ");
    parsed(&deep(FILTER_MAX_DEPTH));
    parsed(&many(FILTER_TERMS_MAX));
    for (text, received) in [
        ("size = 1", "column 1: \"size\" is no field of this list, which takes text (text; = != :), number"),
        ("number", "column 7: expected an operator after the field, not the end"),
        ("number 7", "column 8: expected an operator"),
        ("number = x", "column 10: number takes a whole number, not \"x\""),
        ("number = 7.5", "column 10: number takes a whole number"),
        ("number = 9223372036854775808", "column 10: number takes a whole number"),
        ("number : 7", "column 8: : is no operator of number (number; = != < <= > >=)"),
        ("number == 7", "column 9: expected a value"),
        ("number = AND", "column 10: expected a value"),
        ("truth = yes", "column 9: truth takes true or false"),
        ("word = FOUR", "column 8: word takes one of ONE, TWO, THREE, not \"FOUR\""),
        ("word = one", "column 8: word takes one of"),
        ("word > ONE", "column 6: > is no operator of word"),
        ("time = yesterday", "column 8: time takes a time by RFC 3339"),
        ("time = 0000-01-01T00:00:00Z", "column 8: time takes a time by RFC 3339"),
        ("time:2026-01-01T00:00:00Z", "column 6: time takes only * after :"),
        ("policy = P", "column 10: policy takes the id or the name"),
        (r#"policy = "namespaces/other/policies/p""#, "column 10: policy takes the id or the name"),
        ("number = 1 number = 2", "column 12: expected AND, OR or the end, not \"number\""),
        ("number = 1 and number = 2", "column 12: expected AND, OR or the end"),
        ("number = 1 AND", "column 15: expected a field; this list takes"),
        ("AND number = 1", "column 1: expected a field"),
        ("(number = 1", "column 12: expected AND, OR or a closing parenthesis, not the end"),
        ("number = 1)", "column 11: expected AND, OR or the end"),
        ("refunds", "column 1: \"refunds\" is no field"),
        ("\"refunds\"", "column 1: expected a field"),
        ("regex(text, \"a\")", "column 1: functions are not taken"),
        ("text = \"a", "column 8: the text in quotes does not end"),
        ("text = \"a\u{0}\"", "column 10: a control character"),
        ("text = \"é\u{1b}[2J\"", "column 10: a control character"),
        (r#"text = "\u0000""#, "column 9: an escape that is none of"),
        ("text = a,b", "column 9: expected AND, OR or the end"),
        ("map != owner", "column 5: map takes != only with a key"),
        ("map = owner", "column 5: map takes = only with a key"),
        ("map. = 1", "column 5: expected a name after the point"),
        ("number.x = 1", "column 1: \"number.x\" is no field"),
        ("NOT only = p", "column 5: only can be given once, joined to the rest by AND"),
        ("number = 1 OR only = p", "column 15: only can be given once"),
        ("only = p AND only = q", "column 14: only can be given once"),
        ("number = 1; DROP TABLE events", "column 11: expected AND, OR or the end"),
        (&deep(FILTER_MAX_DEPTH + 1), "column 18: over 16 levels of parentheses and NOT"),
        (&"NOT ".repeat(100), "over 16 levels"),
        (&many(FILTER_TERMS_MAX + 1), "over 64 comparisons"),
        (&" ".repeat(FILTER_MAX_BYTES + 1), "is 4097 bytes long, over 4096"),
    ] {
        let error = parse(text).err().unwrap_or_else(|| panic!("{text}"));
        let [violation] = error.violations.as_slice() else { panic!("{text}: {error}") };
        assert_eq!(violation.field, "filter", "{text}");
        assert!(
            violation.description.starts_with(received) || received.starts_with("over"),
            "{text}: {}",
            violation.description
        );
        assert!(violation.description.contains(received), "{text}: {}", violation.description);
        assert!(!violation.description.contains('\u{1b}') && violation.description.len() < 1_000, "{text}");
    }
}

#[test]
fn an_order_is_one_of_the_list() {
    let order = |text| parse_order(&ITEMS, text).map(|order| order.map(|order| order.text));
    assert_eq!(order("").ok(), Some(Some("number")), "the default");
    assert_eq!(order(" number \t desc ").ok(), Some(Some("number desc")));
    for text in ["number asc", "NUMBER", "text", "number,text", "number desc desc", "number; --"] {
        let error = order(text).expect_err(text);
        assert_eq!(error.violations[0].field, "order_by", "{text}");
        assert!(error.message.contains("\"number\" or \"number desc\""), "{text}: {error}");
    }
    assert!(parse_order(&DENIALS, "count").expect_err("no order").message.contains("none but its own"));
    assert_eq!(parse_asked(&ITEMS, None, "x", "y").expect_err("both").violations.len(), 2, "all that is wrong is told");
}

#[test]
fn an_index_is_asked_for_what_has_to_hold() {
    let filter = parsed("number >= 3 AND number < 9 AND word != ONE AND policy = p");
    assert_eq!(filter.range("number"), Range { start: Some(3), end: Some(9) });
    assert_eq!(filter.text("policy"), Some("p"));
    let words = |filter: &Filter<Item>| filter.enum_values("word", &WORDS, |word| word);
    assert_eq!(words(&filter), ["TWO", "THREE"]);
    assert_eq!(words(&parsed("word = ONE OR (word = TWO AND truth = true)")), ["ONE", "TWO"]);
    assert_eq!(words(&parsed("NOT (word = ONE OR truth = true)")), ["TWO", "THREE"]);
    assert_eq!(words(&parsed("word = ONE AND word = TWO")), Vec::<&str>::new());
    assert_eq!(words(&parsed("word = ONE OR truth = true")), WORDS);
    assert_eq!(parsed("number = 3").range("number"), Range { start: Some(3), end: Some(4) });
    assert_eq!(parsed("number > 3 AND number <= 9").range("number"), Range { start: Some(4), end: Some(10) });
    assert_eq!(parsed("number = 3 OR number = 4").range("number"), Range::default(), "either is no range");
    assert_eq!(parsed("NOT number = 3").range("number"), Range::default());
    let highest = i64::MAX;
    assert_eq!(parsed(&format!("number <= {highest}")).range("number"), Range::default());
    assert_eq!(parsed(&format!("number > {highest}")).range("number"), Range { start: Some(highest), end: None });
    let by = Served { ranges: &["number", "time"], texts: &["policy"], enums: &["word"] };
    for (text, is_served) in [
        ("", true),
        ("number >= 3 AND time < 2026-01-01T00:00:00Z AND word != ONE AND policy = p", true),
        ("(word = ONE OR word = TWO) AND NOT word = ONE", true),
        ("number != 3", false),
        ("time:*", false),
        ("policy != p", false),
        ("policy = p AND policy = q", false),
        ("word = ONE OR number = 3", false),
        ("truth = true", false),
    ] {
        assert_eq!(parsed(text).is_served(by), is_served, "{text}");
    }
}

fn name_of(kind: &str, number: i32) -> Option<&'static str> {
    match kind {
        "EVENT_KIND_" => pb::EventKind::try_from(number).ok().map(|word| word.as_str_name()),
        "RUN_OUTCOME_" => pb::RunOutcome::try_from(number).ok().map(|word| word.as_str_name()),
        "VERSION_STATE_" => pb::VersionState::try_from(number).ok().map(|word| word.as_str_name()),
        "POLICY_KIND_" => pb::PolicyKind::try_from(number).ok().map(|word| word.as_str_name()),
        "ROLE_" => pb::Role::try_from(number).ok().map(|word| word.as_str_name()),
        "KEY_PURPOSE_" => pb::KeyPurpose::try_from(number).ok().map(|word| word.as_str_name()),
        "KEY_STATE_" => pb::KeyState::try_from(number).ok().map(|word| word.as_str_name()),
        other => panic!("no enum of the proto begins with {other}"),
    }
}

/// Compares a table with the comment of its request, and its enums with those of the proto.
fn is_documented<T>(listing: &'static Listing<T>) {
    const PROTOS: &str = concat!(
        include_str!("../../../proto/policyhub/v1/admin_service.proto"),
        include_str!("../../../proto/policyhub/v1/policy_service.proto"),
        include_str!("../../../proto/policyhub/v1/sync_service.proto")
    );
    let begin = format!("message {} {{", listing.request);
    let (_, message) = PROTOS.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (message, _) = message.split_once("\n}").expect("its end");
    let said: Vec<&str> = message.lines().filter_map(|line| line.trim().strip_prefix("// - ")).collect();
    let fields: Vec<String> = listing.fields.iter().map(Field::description).collect();
    assert_eq!(said, fields, "{}", listing.request);
    let (_, order) = message.split_once("string filter = ").expect("a filter");
    let (order, _) = order.split_once("string order_by = ").expect("an order");
    let quoted: Vec<&str> = order.split('"').skip(1).step_by(2).collect();
    assert_eq!(quoted, listing.orders.iter().map(|order| order.text).collect::<Vec<_>>(), "{}", listing.request);
    for field in listing.fields {
        let Kind::Enum(words) = field.kind else { continue };
        let named: Vec<&str> =
            (1..100).filter_map(|number| name_of(words.prefix, number)?.strip_prefix(words.prefix)).collect();
        assert_eq!((words.all)(), named, "{}", field.name);
    }
}

#[test]
fn the_proto_says_what_each_list_takes() {
    is_documented(&POLICIES);
    is_documented(&VERSIONS);
    is_documented(&EVENTS);
    is_documented(&NAMESPACES);
    is_documented(&BINDINGS);
    is_documented(&DENIALS);
    is_documented(&KEYS);
    is_documented(&SUBSCRIBERS);
    is_documented(&RUNS);
}

/// Filters as somebody might write them, with values that need quotes.
fn written() -> impl Strategy<Value = String> {
    let text = "[a-z\"'\\\\ \n\t%;é\u{1F600}]{0,8}".prop_map(|text| crate::domain::filter::quoted(&text));
    let ordered = prop::sample::select(vec!["=", "!=", "<", "<=", ">", ">="]);
    let equal = prop::sample::select(vec!["=", "!=", ":"]);
    let restriction = prop_oneof![
        (equal.clone(), text.clone()).prop_map(|(operator, text)| format!("text {operator} {text}")),
        (ordered.clone(), -9_i64..9).prop_map(|(operator, number)| format!("number {operator} {number}")),
        (ordered, 0_i64..4).prop_map(|(operator, second)| format!("time {operator} 1970-01-01T00:00:0{second}Z")),
        prop::sample::select(WORDS.to_vec()).prop_map(|word| format!("word != {word}")),
        any::<bool>().prop_map(|truth| format!("truth = {truth}")),
        (text.clone(), equal, text)
            .prop_map(|(key, operator, text)| format!("map.{} {operator} {text}", non_empty(&key))),
        Just("time:*".to_owned()),
        Just("policies:p".to_owned()),
    ];
    restriction.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("({})", parts.join(" AND "))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("({})", parts.join(" OR "))),
            inner.prop_map(|part| format!("NOT {part}")),
        ]
    })
}

fn non_empty(quoted: &str) -> &str {
    if quoted == "\"\"" { "\"k\"" } else { quoted }
}

proptest! {
    #[test]
    fn whatever_the_text_is_there_is_an_answer(text in "[ -~é\u{0}\u{1b}\n]{0,80}|(text|number|map|NOT|AND|OR|=|:|[(). \"'*]){0,60}") {
        if let Ok(filter) = parse(&text) {
            let again = filter.to_string();
            prop_assert_eq!(parsed(&again).to_string(), again);
        }
    }

    #[test]
    fn what_is_printed_is_read_back_as_the_same(text in written(), number in -9_i64..9, word in 0_usize..3, truth: bool) {
        let Ok(filter) = parse(&text) else {
            // Only too deep, by levels of NOT and of parentheses.
            return Ok(());
        };
        let printed = filter.to_string();
        let Ok(again) = parse(&printed) else { return Ok(()) };
        prop_assert_eq!(again.to_string(), printed);
        let item = Item { number, word, truth, ..item() };
        prop_assert_eq!(again.keeps(&item), filter.keeps(&item));
        let served = filter.enum_values("word", &[0, 1, 2], |word| WORDS[word]);
        prop_assert!(!filter.keeps(&item) || served.contains(&word), "an index leaves out what the filter keeps");
        let Range { start, end } = filter.range("number");
        let in_range = start.is_none_or(|start| start <= number) && end.is_none_or(|end| number < end);
        prop_assert!(!filter.keeps(&item) || in_range, "a range leaves out what the filter keeps");
    }
}
