//! Words, precedence, and what is no expression.

use super::super::{Expr, from_json, parse, parse_template, to_json};
use super::check;
use crate::value::Value;

/// The same tree, whatever parentheses and blanks there are.
#[test]
fn operators_bind_as_documented() {
    for (text, grouped) in [
        ("a + b * c", "a + (b * c)"),
        ("a - b - c", "(a - b) - c"),
        ("a / b % c * d", "((a / b) % c) * d"),
        ("-a * b", "(-a) * b"),
        ("!a && b", "(!a) && b"),
        ("-a.b", "-(a.b)"),
        ("a || b && c", "a || (b && c)"),
        ("a && b == c", "a && (b == c)"),
        ("a == b < c", "a == (b < c)"),
        ("a < b + c", "a < (b + c)"),
        ("a ?? b > c", "(a ?? b) > c"),
        ("a ?? b + c", "a ?? (b + c)"),
        ("a ?? b ?? c", "a ?? (b ?? c)"),
        ("a in b && c", "(a in b) && c"),
        ("a + b |> f(c) |> g", "(a + b).f(c).g()"),
        ("if a then b else c + d", "if a then b else (c + d)"),
        ("if a then b else if c then d else e", "if a then b else (if c then d else e)"),
        ("1 + if a then b else c", "1 + (if a then b else c)"),
        ("f(x => x + 1, y)", "f((x) => (x + 1), y)"),
        ("a?.b?.[c]?.d(e)", "((((a)?.b)?.[c])?.d(e))"),
        ("{a, b: c,}", "{a: a, 'b': c}"),
        ("[a, b,]", "[a,b]"),
        ("x.list(a, limit = 5)", "x.list(a, {limit: 5})"),
        ("a // to the end\n + /* here */ b /**/ + c /*/ x */", "(a + b) + c"),
        (":draft", "'draft'"),
        ("a.if.then.in", "((a.if).then).in"),
    ] {
        let left = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let right = parse(grouped).unwrap_or_else(|error| panic!("{grouped}: {error}"));
        assert_eq!(left, right, "{text}");
    }
}

#[test]
fn literals_are_what_they_look_like() {
    for (text, value) in [
        ("1_000", Value::Int(1000)),
        ("-5", Value::Int(-5)),
        ("-9223372036854775808", Value::Int(i64::MIN)),
        ("9223372036854775807", Value::Int(i64::MAX)),
        ("1.5", Value::Float(1.5)),
        ("1_0.2_5e-1", Value::Float(1.025)),
        ("2e3", Value::Float(2000.0)),
        ("30s", Value::Duration(30_000_000)),
        ("250ms", Value::Duration(250_000)),
        ("1h30m", Value::Duration(5_400_000_000)),
        ("-2d", Value::Duration(-172_800_000_000)),
        ("1_0m", Value::Duration(600_000_000)),
        ("1970-01-02T00:00:00Z", Value::Datetime(86_400_000_000)),
        ("1970-01-01T01:00:00.5+01:00", Value::Datetime(500_000)),
        (r#""a\n\"\u00e9\u{1F600}\ud83d\ude00""#, Value::from("a\n\"é😀😀")),
        (r"'it\'s ${x}'", Value::from("it's ${x}")),
        ("true", Value::Bool(true)),
        ("null", Value::Null),
    ] {
        assert_eq!(parse(text), Ok(Expr::Literal(value)), "{text}");
    }
    assert!(matches!(parse("2026-01-31"), Ok(Expr::Literal(Value::Date(_)))));
    // Not a date, so three numbers.
    check(&[("2026-1-31", "1994"), ("2026 - 01 - 31", "1994")]);
}

#[test]
fn templates_hold_expressions() {
    check(&[
        ("`a${i}b`", "'a7b'"),
        ("`${`${i}${'}'}`}`", "'7}'"),
        ("`${ {a: 1}.a }`", "'1'"),
        (r"`\${i} \` $ {`", "'${i} ` $ {'"),
        ("``", "''"),
        (
            "`${1.0} ${1.5} ${price} ${day} ${at} ${90m} ${null} ${[1, 'a']}`",
            "'1 1.5 12.50 2026-01-31 2026-01-31T10:20:30.25Z 1h30m null [1,\"a\"]'",
        ),
    ]);
    let template = parse_template(r#"C:\new ${a} \${b} "quoted" `x`"#).unwrap();
    assert_eq!(template.0.len(), 3);
    assert_eq!(parse_template("plain").unwrap().as_text(), Some("plain"));
    assert_eq!(parse_template("a ${b").unwrap_err().code, "E008");
    assert_eq!(parse_template("a ${").unwrap_err().code, "E008");
    assert_eq!(parse_template("a ${}").unwrap_err().code, "E102");
    assert_eq!(parse_template("a ${b c}").unwrap_err().code, "E100");
    assert_eq!(parse_template("é${b +}").unwrap_err().offset, 7);
}

#[test]
fn other_texts_are_errors_with_codes() {
    for (text, code) in [
        ("", "E102"),
        ("a #", "E001"),
        ("'a", "E002"),
        ("`a", "E002"),
        ("a /* b", "E003"),
        (r"'\x'", "E004"),
        (r"'\ud800'", "E004"),
        ("99999999999999999999", "E005"),
        ("9223372036854775808", "E005"),
        ("5y", "E005"),
        ("1_", "E005"),
        ("1e999", "E005"),
        ("2026-01-31T99:00:00Z", "E005"),
        ("2026-01-31T10:00:00", "E005"),
        ("1 + then", "E006"),
        ("`${a`", "E100"),
        ("1.5h", "E005"),
        ("a b", "E100"),
        ("a < b < c", "E100"),
        ("a == b != c", "E100"),
        ("f(a = 1, 2)", "E100"),
        ("(a", "E101"),
        ("{a b}", "E101"),
        ("if a then b", "E101"),
        ("a +", "E102"),
        ("f(,)", "E102"),
        ("a.'b'", "E105"),
        ("a.1", "E105"),
        ("x = 1", "E100"),
        ("[x => x]", "E101"),
    ] {
        match parse(text) {
            Ok(expr) => panic!("{text} is {expr:?}"),
            Err(error) => assert_eq!(error.code, code, "{text}: {error}"),
        }
    }
}

#[test]
fn depth_and_length_are_bounded() {
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("-", ""),
        ("!", ""),
        ("f(", ")"),
        ("{a:", "}"),
        ("`${", "}`"),
        ("if ", ""),
        ("x ?? ", ""),
        ("x => ", ""),
        ("f(x => ", ")"),
    ] {
        let text = [open.repeat(50_000), "x".to_owned(), close.repeat(50_000)].concat();
        let error = parse(&text[..text.len().min(250_000)]).map(|_| ()).unwrap_err();
        assert!(matches!(error.code, "E108" | "E100"), "{open}: {error}");
    }
    for chain in [" + x", ".x", "[x]", "?.x()", " |> x", " ?? x"] {
        let error = parse(&format!("x{}", chain.repeat(20_000))).unwrap_err();
        assert_eq!(error.code, "E108", "{chain}");
    }
    // What is flat may be long, but not without end.
    assert!(parse(&format!("[{}]", "1,".repeat(100_000))).is_ok());
    assert_eq!(parse(&" ".repeat(300 * 1024)).unwrap_err().code, "E109");
    assert_eq!(parse_template(&" ".repeat(300 * 1024)).unwrap_err().code, "E109");
    assert!(parse(&[&"(".repeat(80), "x", &")".repeat(80)].concat()).is_ok());
}

#[test]
fn trees_are_read_with_places_for_errors() {
    let json = serde_json::json!({"id": "entity_id", "n": 5, "list": ["a + 1", true]});
    assert_eq!(from_json(&json).unwrap(), parse("{id: entity_id, list: [a + 1, true], n: 5}").unwrap());
    let json =
        serde_json::json!({"kind": "binary", "op": "+", "left": "a", "right": {"kind": "name", "name": "b"}});
    assert_eq!(from_json(&json).unwrap(), parse("a + b").unwrap());
    let json = serde_json::json!({"kind": "object", "fields": {"a": "x"}});
    assert_eq!(from_json(&json).unwrap(), parse("{a: x}").unwrap());
    // An object of another kind is an object.
    assert!(matches!(from_json(&serde_json::json!({"kind": "'person'"})), Ok(Expr::Object(_))));
    for (json, pointer, code) in [
        (serde_json::json!({"a/b": ["x", "y +"]}), "/a~1b/1", "E102"),
        (serde_json::json!({"kind": "binary", "op": "^", "left": "a", "right": "b"}), "", "E100"),
        (serde_json::json!({"kind": "member", "name": "b"}), "", "E101"),
        (serde_json::json!({"kind": "call", "function": "f", "args": [{"kind": "name"}]}), "/args/0", "E101"),
        (serde_json::json!({"kind": "literal", "type": "date", "value": "x"}), "/value", "E005"),
    ] {
        let error = from_json(&json).unwrap_err();
        assert_eq!((error.pointer.as_str(), error.code), (pointer, code), "{json}");
    }
    let deep = (0..120).fold(serde_json::json!("x"), |inner, _| serde_json::json!([inner]));
    assert_eq!(from_json(&deep).unwrap_err().code, "E108");
}

#[test]
fn trees_are_the_same_expression_again() {
    for text in [
        "if a?.b[1].c(x => x, 2) in [1, 'x'] then {a, b: `t${u} v`} else !now() ?? -z",
        "[2026-01-31, 1h, 1970-01-01T00:00:00Z, 1.0, 1, null]",
        "(a, b) => a |> f(b)",
    ] {
        let expr = parse(text).unwrap();
        assert_eq!(from_json(&to_json(&expr)), Ok(expr));
    }
}
