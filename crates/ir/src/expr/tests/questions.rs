//! What evaluation asks for, and in which order.

use super::super::{Limits, MemoryRead, Question, Stop, evaluate, parse, parse_template, render};
use super::Variables;
use crate::block::MemoryOp;
use crate::value::Value;

fn ask(text: &str, answers: &[Value]) -> Result<Value, Stop> {
    evaluate(&parse(text).unwrap(), &Variables::usual(), answers, &Limits::default())
}

fn question(text: &str, answers: &[Value]) -> Question {
    match ask(text, answers) {
        Err(Stop::Asks(question)) => question,
        other => panic!("{text}: {other:?}"),
    }
}

fn read(text: &str) -> MemoryRead {
    match question(text, &[]) {
        Question::Memory(read) => read,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn questions_are_answered_in_order() {
    let text = "if random() < 0.5 then uuid() else string(now())";
    assert_eq!(question(text, &[]), Question::Random);
    assert_eq!(question(text, &[Value::Float(0.1)]), Question::Uuid);
    assert_eq!(question(text, &[Value::Float(0.9)]), Question::Now);
    assert_eq!(ask(text, &[Value::Float(0.1), Value::from("id")]), Ok(Value::from("id")));
    assert_eq!(ask("today()", &[Value::Datetime(0)]), Ok(Value::Date(time::macros::date!(1970 - 01 - 01))));
    assert_eq!(ask("xs.map(x => uuid())", &["a", "b", "c"].map(Value::from)), ask("['a', 'b', 'c']", &[]));
}

#[test]
fn questions_are_bounded() {
    let answers = vec![Value::from("id"); 2000];
    assert_eq!(ask("range(1000).map(x => uuid()).length", &answers), Ok(Value::Int(1000)));
    assert!(matches!(ask("range(1001).map(x => uuid()).length", &answers), Err(Stop::Error(_))));
}

#[test]
fn what_is_not_evaluated_asks_nothing() {
    assert_eq!(ask("false && memory.x", &[]), Ok(Value::Bool(false)));
    assert_eq!(ask("1 ?? now()", &[]), Ok(Value::Int(1)));
    assert_eq!(ask("[{x: 1}].map(memory => memory.x)", &[]), Ok(Value::array(vec![Value::Int(1)])));
}

#[test]
fn memory_is_read_by_its_forms() {
    let whole = MemoryRead {
        op: MemoryOp::Get,
        target: "x".into(),
        key: None,
        prefix: None,
        query: None,
        min_similarity: None,
        limit: None,
        descending: false,
    };
    let entry = |key: &str| MemoryRead { key: Some(key.into()), ..whole.clone() };
    assert_eq!(read("memory.x"), whole);
    assert_eq!(read("memory.x.name"), whole);
    assert_eq!(read("memory.x?.name"), whole);
    assert_eq!(read("memory.x.length"), MemoryRead { op: MemoryOp::Count, ..whole.clone() });
    assert_eq!(read("memory.x.map(y => y)"), whole);
    assert_eq!(read("memory.x.get('k')"), entry("k"));
    assert_eq!(read("memory.x['k'].y"), entry("k"));
    assert_eq!(read("memory.x[i]"), entry("7"));
    assert_eq!(read("memory.x.has(day)"), entry("2026-01-31"));
    let list = MemoryRead { op: MemoryOp::List, ..whole.clone() };
    assert_eq!(read("memory.x.list()"), list);
    let narrow = MemoryRead { prefix: Some("a".into()), limit: Some(5), descending: true, ..list };
    assert_eq!(read("memory.x.list('a', 5, 'desc')"), narrow);
    assert_eq!(read("memory.x.list('a', limit = 5, order = 'desc')"), narrow);
    let search =
        MemoryRead { op: MemoryOp::Search, query: Some("q".into()), limit: Some(3), ..whole.clone() };
    assert_eq!(read("memory.x.search('q', 3)"), search);
    assert_eq!(read("memory.x.search(query = 'q', limit = 3)"), search);
    let close = MemoryRead { min_similarity: Some(0.5), ..search };
    assert_eq!(read("memory.x.search('q', limit = 3, min_similarity = 0.5)"), close);
    assert_eq!(read("memory.x.last(2)"), MemoryRead { op: MemoryOp::Last, limit: Some(2), ..whole });
}

#[test]
fn memory_answers_are_values() {
    let answer = [Value::from([("a", Value::Int(1)), ("b", Value::Int(2))])];
    assert_eq!(ask("memory.x.keys().length", &answer), Ok(Value::Int(2)));
    assert_eq!(ask("memory.x.a + 1", &answer), Ok(Value::Int(2)));
    assert_eq!(ask("memory.x.length", &[Value::Int(2)]), Ok(Value::Int(2)));
    assert_eq!(ask("memory.x.get('k', 5)", &[Value::Null]), Ok(Value::Int(5)));
    assert_eq!(ask("memory.x.has('k')", &[Value::Null]), Ok(Value::Bool(false)));
    assert_eq!(ask("memory.x?.y ?? 0", &[Value::Null]), Ok(Value::Int(0)));
}

#[test]
fn memory_reads_that_make_no_sense_are_errors() {
    for text in [
        "memory.x[null]",
        "memory.x.list(order = 'up')",
        "memory.x.list(1)",
        "memory.x.list(nonsense = 1)",
        "memory.x.search()",
        "memory.x.search('q', min_similarity = 1.5)",
        "memory.x.last(-1)",
    ] {
        assert!(matches!(ask(text, &[]), Err(Stop::Error(_))), "{text}");
    }
}

#[test]
fn templates_ask_too() {
    let template = parse_template("at ${now()}: ${memory.x}").unwrap();
    let run = |answers: &[Value]| render(&template, &Variables::usual(), answers, &Limits::default());
    assert_eq!(run(&[]), Err(Stop::Asks(Question::Now)));
    assert_eq!(run(&[Value::Datetime(0), Value::Int(5)]), Ok("at 1970-01-01T00:00:00Z: 5".into()));
}
