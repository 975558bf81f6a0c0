//! What operators, members and functions give.

use super::super::{Limits, Stop, evaluate, evaluate_lambda, parse};
use super::{Variables, check, check_errors};
use crate::value::Value;

#[test]
fn numbers() {
    check(&[
        ("1 + 2 * 3 - 4", "3"),
        ("7 / 2", "3.5"),
        ("6 / 2", "3.0"),
        ("6 / 2 == 3", "true"),
        ("7.div(2)", "3"),
        ("-7 % 3", "-1"),
        ("1 + 0.5", "1.5"),
        ("7.5 % 2", "1.5"),
        ("0.1 + 0.2 == 0.3", "false"),
        ("money('0.1') + money('0.2') == 0.3", "true"),
        ("price * 2", "money('25.00')"),
        ("2 * price - 1", "money('24.00')"),
        ("price * 0.19", "money('2.3750')"),
        ("price / 5", "money('2.50')"),
        ("price % 5", "money('2.50')"),
        ("-price", "money('-12.50')"),
        ("1 == 1.0 && 1 != 2 && 1 <= 1.0 && 2 > 1.5 && 12.5 >= price", "true"),
        ("'10' == 10", "false"),
    ]);
    check_errors(&[
        ("9223372036854775807 + 1", "INTEGER_OVERFLOW"),
        ("-9223372036854775808 - 1", "INTEGER_OVERFLOW"),
        ("9223372036854775807 * 2", "INTEGER_OVERFLOW"),
        ("-(-9223372036854775808)", "INTEGER_OVERFLOW"),
        ("money('79228162514264337593543950335') * 2", "INTEGER_OVERFLOW"),
        ("1 / 0", "DIVISION_BY_ZERO"),
        ("1 % 0", "DIVISION_BY_ZERO"),
        ("1.0 / 0", "DIVISION_BY_ZERO"),
        ("price / 0", "DIVISION_BY_ZERO"),
        ("1h / 0", "DIVISION_BY_ZERO"),
        ("1e308 * 10", "FLOAT_OVERFLOW"),
        ("1 + '1'", "TYPE_MISMATCH"),
        ("'a' - 'b'", "TYPE_MISMATCH"),
        ("1 < 'a'", "TYPE_MISMATCH"),
        ("null < 1", "TYPE_MISMATCH"),
        ("true < false", "TYPE_MISMATCH"),
        ("-'a'", "TYPE_MISMATCH"),
    ]);
}

#[test]
fn truth_is_of_bools_and_stops_early() {
    check(&[
        ("false && missing", "false"),
        ("true || missing", "true"),
        ("true && false || true", "true"),
        ("i ?? missing", "7"),
        ("n ?? 5", "5"),
        ("if true then 1 else missing", "1"),
        ("!(i > 5)", "false"),
    ]);
    check_errors(&[
        ("1 && true", "TYPE_MISMATCH"),
        ("true && 1", "TYPE_MISMATCH"),
        ("null || true", "TYPE_MISMATCH"),
        ("!''", "TYPE_MISMATCH"),
        ("if 1 then 2 else 3", "TYPE_MISMATCH"),
        ("missing", "UNKNOWN_NAME"),
        ("memory", "UNKNOWN_NAME"),
    ]);
}

#[test]
fn members_and_indices() {
    check(&[
        ("o.a", "1"),
        ("o.missing", "null"),
        ("o.c.d", "null"),
        ("o['a']", "1"),
        ("{'7': 'x'}[i]", "'x'"),
        ("o.missing?.x", "null"),
        ("n?.x.y.z", "null"),
        ("n?.x().y[0]", "null"),
        ("n?.[0].x", "null"),
        ("n?.x ?? 5", "5"),
        ("xs[0]", "3"),
        ("xs[4 / 2]", "2"),
        ("s[1]", "'é'"),
        ("xs.length", "3"),
        ("xs.length()", "3"),
        ("s.length", "11"),
        ("{length: 9}.length", "9"),
        ("o.length()", "3"),
        ("xs.first", "3"),
        ("day.year", "2026"),
        ("{a: 1, a: 2}", "{a: 2}"),
    ]);
    check_errors(&[
        ("n.x", "NULL_MEMBER"),
        ("n[0]", "NULL_MEMBER"),
        ("n.x()", "NULL_MEMBER"),
        ("o.missing.x", "NULL_MEMBER"),
        ("(o?.missing).x", "NULL_MEMBER"),
        ("xs[3]", "INDEX_OUT_OF_RANGE"),
        ("xs[-1]", "INDEX_OUT_OF_RANGE"),
        ("xs['a']", "TYPE_MISMATCH"),
        ("xs[0.5]", "TYPE_MISMATCH"),
        ("i[0]", "TYPE_MISMATCH"),
        ("i.x", "NO_SUCH_MEMBER"),
        ("s.upper", "NO_SUCH_MEMBER"),
        ("s.frobnicate()", "NO_SUCH_METHOD"),
        ("s.upper(1)", "WRONG_ARGUMENTS"),
        ("xs.map(1)", "WRONG_ARGUMENTS"),
        ("xs.append(x => x)", "WRONG_ARGUMENTS"),
        ("frobnicate()", "NO_SUCH_FUNCTION"),
        ("json()", "WRONG_ARGUMENTS"),
    ]);
}

#[test]
fn equality_membership_and_joining() {
    check(&[
        ("[1, {a: 2.0}] == [1.0, {a: 2}]", "true"),
        ("{a: 1, b: 2} == {b: 2, a: 1}", "true"),
        ("null == null", "true"),
        ("null == false", "false"),
        ("2.0 in xs", "true"),
        ("9 in xs", "false"),
        ("'a' in o", "true"),
        ("'llo' in s", "true"),
        ("'a' + 'b'", "'ab'"),
        ("[1] + [2]", "[1, 2]"),
        ("'a' < 'b' && 'Z' < 'a'", "true"),
        ("day < 2026-02-01 && at > datetime(day)", "true"),
        ("1h < 61m && 60m == 1h", "true"),
    ]);
    check_errors(&[
        ("1 in 5", "TYPE_MISMATCH"),
        ("'a' + null", "TYPE_MISMATCH"),
        ("{} + {}", "TYPE_MISMATCH"),
    ]);
}

#[test]
fn dates_and_durations() {
    check(&[
        ("2026-03-01 - day", "29d"),
        ("day + 1d", "2026-02-01"),
        ("1d + day", "2026-02-01"),
        ("day - 31d", "2025-12-31"),
        ("at - 2026-01-31T10:00:00Z", "20m30s250ms"),
        ("at + 1h", "2026-01-31T11:20:30.250Z"),
        ("at - 10h", "2026-01-31T00:20:30.250Z"),
        ("1h + 30m", "90m"),
        ("1h - 2h", "-1h"),
        ("1h * 1.5", "90m"),
        ("2 * 1h", "2h"),
        ("3h / 2", "90m"),
        ("3h / 2.0", "90m"),
        ("3h / 2h", "1.5"),
        ("90m % 1h", "30m"),
    ]);
    check_errors(&[
        ("day + 1h", "TYPE_MISMATCH"),
        ("day + 1", "TYPE_MISMATCH"),
        ("at + at", "TYPE_MISMATCH"),
        ("9999-12-31 + 1d", "DATE_OUT_OF_RANGE"),
        ("0000-01-01 - 1d", "DATE_OUT_OF_RANGE"),
        ("9999-12-31T23:59:59Z + 1s", "DATE_OUT_OF_RANGE"),
        ("day + 99999999d", "DATE_OUT_OF_RANGE"),
        ("99999999d * 99999999", "INTEGER_OVERFLOW"),
        ("1h * 1e300", "INTEGER_OVERFLOW"),
    ]);
}

#[test]
fn functions() {
    check(&[
        ("json({b: [1, 2.5, null], a: price})", r#"'{"a":"12.50","b":[1,2.5,null]}'"#),
        ("parse_json('{\"a\": [1, 2.0]}')", "{a: [1, 2.0]}"),
        ("hash({b: 1, a: 2}) == hash({a: 2, b: 1})", "true"),
        ("hash('')", "'12ae32cb1ec02d01eda3581b127c1fee3b0dc53572ed6baf239721a03d82e126'"),
        ("string(1.5) + string(true) + string('x')", "'1.5truex'"),
        ("int('-12') + int(3.9) + int(-3.9) + int(price)", "0"),
        ("float('1e3')", "1000.0"),
        ("float(price)", "12.5"),
        ("bool('true')", "true"),
        ("money(3) + money(0.1) + money('-1.1')", "2.0 + money(0)"),
        ("date('2026-01-31') == date(at) && date(2026, 1, 31) == day", "true"),
        ("datetime(day)", "2026-01-31T00:00:00Z"),
        ("datetime(60)", "1970-01-01T00:01:00Z"),
        ("datetime('2026-01-31T12:00:00+02:00')", "2026-01-31T10:00:00Z"),
        ("duration('1h30m') == duration(5400)", "true"),
        ("length('é') + length([1]) + length({})", "2"),
        ("min(3, 1.5, 2)", "1.5"),
        ("max([1, 3, 2])", "3"),
        ("range(3)", "[0, 1, 2]"),
        ("range(1, 3) + range(3, 0, -2)", "[1, 2, 3, 1]"),
        ("range(-1)", "[]"),
        ("type_of(price) + type_of(null) + type_of([])", "'moneynullarray'"),
        ("coalesce(null, n, 5, 6)", "5"),
        ("conforms(lines[0], 'Line') && !conforms(o, 'Line') && conforms([1], 'array[int]')", "true"),
        ("round(2.5) + floor(-0.5) + ceil(0.2) + abs(-1)", "4"),
        ("sum(xs) + keys(o).length + values(o).length + entries(o).length", "15"),
        ("merge({a: 1}, {b: 2})", "{a: 1, b: 2}"),
    ]);
    check_errors(&[
        ("int('x')", "INVALID_VALUE"),
        ("int(1e300)", "INTEGER_OVERFLOW"),
        ("int(null)", "TYPE_MISMATCH"),
        ("float('inf')", "INVALID_VALUE"),
        ("bool('yes')", "INVALID_VALUE"),
        ("money('1,5')", "INVALID_VALUE"),
        ("date(2026, 2, 30)", "INVALID_VALUE"),
        ("datetime('2026-01-31')", "INVALID_VALUE"),
        ("duration('soon')", "INVALID_VALUE"),
        ("parse_json('{')", "INVALID_VALUE"),
        ("range(0, 5, 0)", "INVALID_VALUE"),
        ("conforms(1, 'array[')", "INVALID_VALUE"),
        ("datetime(9999999999999)", "DATE_OUT_OF_RANGE"),
    ]);
}

#[test]
fn lambdas_see_what_is_around_them() {
    check(&[
        ("xs.map(x => xs.map(y => x * y + i).sum()).sum()", "99"),
        ("xs.map((x, index) => x + index)", "[3, 2, 4]"),
        ("xs.map(i => i)", "xs"),
        ("xs.map(() => 1)", "[1, 1, 1]"),
        ("[1].map((a, b, c) => c)", "[null]"),
        ("xs |> map(x => x * 2) |> sum", "12"),
    ]);
    check_errors(&[("x => x", "TYPE_MISMATCH")]);
    let variables = Variables::usual();
    let lambda = parse("seen => (seen ?? 0) + i").unwrap();
    let limits = Limits::default();
    assert_eq!(evaluate_lambda(&lambda, &[Value::Null], &variables, &[], &limits), Ok(Value::Int(7)));
    assert_eq!(evaluate_lambda(&lambda, &[Value::Int(3)], &variables, &[], &limits), Ok(Value::Int(10)));
}

#[test]
fn evaluation_is_bounded() {
    check_errors(&[
        ("range(100000000)", "EVALUATION_LIMIT"),
        ("range(2000).map(a => range(2000).sum()).sum()", "EVALUATION_LIMIT"),
        ("'x'.repeat(1000000000)", "EVALUATION_LIMIT"),
        ("'x'.repeat(9223372036854775807)", "EVALUATION_LIMIT"),
        ("'x'.pad_start(9223372036854775807)", "EVALUATION_LIMIT"),
        ("range(40).reduce('ab', (s, x) => s + s)", "EVALUATION_LIMIT"),
        ("range(40).reduce('ab', (s, x) => `${s}${s}`)", "EVALUATION_LIMIT"),
        ("range(200).reduce([], (s, x) => [s, s])", "EVALUATION_LIMIT"),
        ("range(200).reduce([], (s, x) => [s])", "EVALUATION_LIMIT"),
        ("range(200).reduce({}, (s, x) => {}.set('a', s))", "EVALUATION_LIMIT"),
        ("range(40).reduce([1, 2], (s, x) => s.concat(s))", "EVALUATION_LIMIT"),
        ("range(40).reduce([[1], [2]], (s, x) => [s.flatten(), s.flatten()])", "EVALUATION_LIMIT"),
        ("'a'.repeat(100000).matches('*' + 'a'.repeat(500) + 'b')", "EVALUATION_LIMIT"),
    ]);
    let variables = Variables::usual();
    let expr = parse("1 + 1 + 1").unwrap();
    let few = Limits { steps: 4, ..Limits::default() };
    assert!(
        matches!(evaluate(&expr, &variables, &[], &few), Err(Stop::Error(error)) if &*error.code == "EVALUATION_LIMIT")
    );
    let shallow = Limits { depth: 2, ..Limits::default() };
    assert!(
        matches!(evaluate(&expr, &variables, &[], &shallow), Err(Stop::Error(error)) if &*error.code == "EVALUATION_LIMIT")
    );
}

#[test]
fn the_deepest_expressions_are_evaluated() {
    for text in [
        format!("x{}", ".a".repeat(98)),
        format!("1{}", " + 1".repeat(98)),
        format!("{}1{}", "[".repeat(98), "]".repeat(98)),
        format!("{}i{}", "xs.map(i => ".repeat(24), ").sum()".repeat(24)),
    ] {
        let expr = parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        // Whatever comes of it, it comes without overflowing the stack.
        let _ = evaluate(&expr, &Variables::usual(), &[], &Limits::default());
    }
}
