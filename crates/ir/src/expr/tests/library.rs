//! Every method.

use super::super::methods::tables;
use super::{check, check_errors};

const TEXT: &[(&str, &str)] = &[
    ("s.length", "11"),
    ("''.is_empty && !s.is_empty()", "true"),
    ("s.lower() == s.to_lower()", "true"),
    ("s.upper()", "'HÉLLO WÖRLD'"),
    ("s.to_upper()", "s.upper()"),
    ("s.capitalize() + ''.capitalize()", "'Héllo wörld'"),
    ("' a '.trim() + ' a '.trim_start() + ' a '.trim_end()", "'aa  a'"),
    ("s.contains('wö') && s.includes('h') && s.contains('') && !s.contains('x')", "true"),
    ("s.starts_with('hé') && s.ends_with('ld') && !s.starts_with('é')", "true"),
    ("'aXbX'.replace('X', '-')", "'a-b-'"),
    ("'aXbX'.replace_first('X', '-')", "'a-bX'"),
    ("'ab'.replace('', '-')", "'-a-b-'"),
    ("'a,b,,c'.split(',')", "['a', 'b', '', 'c']"),
    ("'héy'.split('')", "['h', 'é', 'y']"),
    ("'héy'.chars()", "['h', 'é', 'y']"),
    ("s.slice(1, 4) + s.slice(-2) + s.slice(3, 1) + s.slice(100)", "'éllld'"),
    ("s.index_of('l')", "2"),
    ("s.index_of('x')", "null"),
    ("s.last_index_of('l')", "9"),
    ("s.count('l')", "3"),
    ("'7'.pad_start(3, '0') + '7'.pad_end(3) + 'long'.pad_start(2)", "'0077  long'"),
    ("'ab'.repeat(3) + 'ab'.repeat(0)", "'ababab'"),
    ("'abc'.matches('a*c') && 'abc'.matches('?b?') && 'abc'.matches('*') && ''.matches('*')", "true"),
    ("'abc'.matches('b') || 'abc'.matches('a?') || 'abc'.matches('*d')", "false"),
    ("'aXbXc'.matches('a*X?') && 'é'.matches('?')", "true"),
    ("'a\\nb'.lines()", "['a', 'b']"),
    ("' a  b '.words()", "['a', 'b']"),
    ("'abc'.reverse()", "'cba'"),
    ("'a'.concat('b', 'c')", "'abc'"),
    ("s.at(1) + s.at(-1)", "'éd'"),
    ("s.at(99)", "null"),
    ("' 12 '.to_int()", "12"),
    ("'x'.to_int() ?? 'none'", "'none'"),
    ("'1.5'.to_float()", "1.5"),
    ("'true'.to_bool()", "true"),
    ("'1.50'.to_money()", "money('1.50')"),
    ("'2026-01-31'.to_date()", "day"),
    ("'soon'.to_date()", "null"),
    ("'2026-01-31T10:20:30.25Z'.to_datetime()", "at"),
    ("'90m'.to_duration()", "1h30m"),
    ("'[1]'.parse_json()", "[1]"),
    ("'x'.to_string() + 'x'.json() + 'x'.type_of()", "'x\"x\"string'"),
    ("'x'.hash() == hash('x')", "true"),
];

const ARRAY: &[(&str, &str)] = &[
    ("xs.length + xs.count()", "6"),
    ("[].is_empty && !xs.is_empty()", "true"),
    ("xs.first + xs.last", "5"),
    ("[].first", "null"),
    ("xs.last(2)", "[1, 2]"),
    ("xs.at(0) + xs.at(-1)", "5"),
    ("xs.at(5)", "null"),
    ("xs.get(1) + xs.get(9, 10)", "11"),
    ("xs.map(x => x * 2)", "[6, 2, 4]"),
    ("xs.filter((x, index) => x > 1 && index > 0)", "[2]"),
    ("xs.reduce((sum, x) => sum + x)", "6"),
    ("xs.reduce((list, x, index) => list.append(x * index), [])", "[0, 1, 4]"),
    ("xs.reduce(10, (sum, x) => sum + x)", "16"),
    ("[].reduce((a, b) => a)", "null"),
    ("lines.sum(l => l.amount) + xs.sum() + [].sum()", "18"),
    ("[price, 1].sum()", "money('13.50')"),
    ("[1h, 30m].sum()", "90m"),
    ("xs.avg()", "2.0"),
    ("lines.avg(l => l.amount)", "6.0"),
    ("[].avg()", "null"),
    ("xs.min() + xs.max() + lines.min(l => l.amount) + lines.max(l => l.amount)", "16"),
    ("[].min()", "null"),
    ("lines.min_by(l => l.amount).label + lines.max_by(l => l.amount).label", "'ab'"),
    ("xs.count(x => x > 1) + xs.count(3)", "3"),
    ("xs.any(x => x > 2) && xs.any() && ![].any()", "true"),
    ("xs.all(x => x > 0) && [].all(x => false)", "true"),
    ("xs.none(x => x > 3)", "true"),
    ("xs.find(x => x < 3)", "1"),
    ("xs.find(x => x > 3)", "null"),
    ("xs.find_index(x => x < 3)", "1"),
    ("xs.includes(2.0) && xs.contains(3) && !xs.contains('3')", "true"),
    ("xs.index_of(2)", "2"),
    ("xs.index_of(9)", "null"),
    ("xs.sort()", "[1, 2, 3]"),
    ("xs.sort('desc')", "[3, 2, 1]"),
    ("['b', null, 2, 1.5, 'a', price].sort()", "[null, 1.5, 2, price, 'a', 'b']"),
    ("lines.sort_by(l => -l.amount).map(l => l.label)", "['b', 'a']"),
    ("lines.sort_by(l => l.amount, 'desc').map(l => l.label)", "['b', 'a']"),
    ("xs.reverse()", "[2, 1, 3]"),
    ("xs.slice(1)", "[1, 2]"),
    ("xs.slice(0, -1)", "[3, 1]"),
    ("xs.concat([4], [5])", "[3, 1, 2, 4, 5]"),
    ("xs.append(4, 5)", "[3, 1, 2, 4, 5]"),
    ("xs.prepend(0)", "[0, 3, 1, 2]"),
    ("xs.set(1, 'x')", "[3, 'x', 2]"),
    ("[[1, [2]], 3].flatten()", "[1, [2], 3]"),
    ("lines.flat_map(l => l.tags)", "['x', 'x', 'y']"),
    ("[1, 1.0, 2, 'a', 'a'].unique()", "[1, 2, 'a']"),
    ("lines.unique(l => l.tags[0]).length + lines.unique_by(l => l.label).length", "3"),
    ("xs.group_by(x => x > 1)", "{'false': [1], 'true': [3, 2]}"),
    ("lines.key_by(l => l.label).b.amount", "7"),
    ("xs.join('-') + xs.join()", "'3-1-23, 1, 2'"),
    ("xs.take(2) + xs.skip(2) + xs.take(9)", "[3, 1, 2, 3, 1, 2]"),
    ("xs.zip(['a', 'b'])", "[[3, 'a'], [1, 'b']]"),
    ("xs.chunk(2)", "[[3, 1], [2]]"),
    ("[1, null].compact()", "[1]"),
    ("[{key: 'a', value: 1}, ['b', 2]].to_object()", "{a: 1, b: 2}"),
    ("lines.search('Y').map(l => l.value.label)", "['b']"),
    ("lines.search('x', 1).length", "1"),
];

const OBJECT: &[(&str, &str)] = &[
    ("o.keys()", "['a', 'b', 'c']"),
    ("{a: 1}.values()", "[1]"),
    ("{a: 1}.entries()", "[{key: 'a', value: 1}]"),
    ("o.has('a') && !o.has('x')", "true"),
    ("o.get('a') + o.get('x', 5)", "6"),
    ("o.get('x')", "null"),
    ("{a: 1, b: 1}.merge({b: 2})", "{a: 1, b: 2}"),
    ("o.pick('a', 'x')", "{a: 1}"),
    ("o.omit(['a', 'b'])", "{c: {d: null}}"),
    ("{a: 1}.set('b', 2)", "{a: 1, b: 2}"),
    ("o.length()", "3"),
    ("{}.is_empty()", "true"),
    ("{a: 1}.map_values((v, k) => `${k}${v}`)", "{a: 'a1'}"),
    ("{a: 1, b: 2}.filter((v, k) => v > 1)", "{b: 2}"),
    ("{a: 'Foo bar', b: 'x'}.search('foo')", "[{key: 'a', value: 'Foo bar', similarity: 1.0}]"),
    ("['green tea', 'tea', 'coffee'].search('TEA').map(found => found.key)", "[1, 0]"),
    (
        "['tea time', 'tea'].search('tea time', min_similarity = 1)",
        "[{key: 0, value: 'tea time', similarity: 1.0}]",
    ),
    ("['tea', 'teapot'].search(query = 'tea', limit = 1).length", "1"),
];

const NUMBER: &[(&str, &str)] = &[
    ("(-3).abs() + -2.abs()", "1"),
    ("(-1.5).abs()", "1.5"),
    ("2.5.round() + (-2.5).round() + 7.round()", "7"),
    ("1.005.round(2)", "1.01"),
    ("money('2.345').round(2)", "money('2.35')"),
    ("money('2.5').round()", "money('3')"),
    ("2.9.floor() + (-2.1).floor()", "-1"),
    ("2.1.ceil() + price.ceil().to_int()", "16"),
    ("3.min(2) + 3.max(5)", "7"),
    ("15.clamp(0, 10) + (-5).clamp(0, 10) + 5.clamp(0, 10)", "15"),
    ("2.pow(10)", "1024"),
    ("2.pow(-1) + 2.0.pow(0.5) * 0", "0.5"),
    ("(-1).pow(1001) + 1.pow(1000) + 0.pow(1000)", "0"),
    ("money('1.1').pow(2)", "money('1.21')"),
    ("7.div(2) + (-7).div(2) + 7.5.div(2)", "3"),
    ("(-3).sign() + 0.sign() + 2.5.sign()", "0"),
    ("9.sqrt()", "3.0"),
    ("4.is_even() && 3.is_odd() && !4.is_odd()", "true"),
    ("3.14159.to_fixed(2) + 2.to_fixed(2) + price.to_fixed(1)", "'3.142.0012.5'"),
    ("3.9.to_int() + 3.to_float()", "6.0"),
    ("3.to_money()", "money('3')"),
    ("3.to_string()", "'3'"),
];

const DATE: &[(&str, &str)] = &[
    ("[day.year, day.month, day.day, day.weekday, day.day_of_year()]", "[2026, 1, 31, 6, 31]"),
    ("day.add(1d) == day.add_days(1)", "true"),
    ("day.sub(1d) == day - 1d && day.sub(2026-01-01) == 30d", "true"),
    ("day.add_months(1)", "2026-02-28"),
    ("day.add_months(-2)", "2025-11-30"),
    ("2024-02-29.add_years(1)", "2025-02-28"),
    ("day.start_of_month()", "2026-01-01"),
    ("2024-02-10.end_of_month()", "2024-02-29"),
    ("day.to_datetime().to_date() == day.to_date()", "true"),
    ("day.format('%d.%m.%Y %a %b %e %j %y %%')", "'31.01.2026 Sat Jan 31 031 26 %'"),
];

const DATETIME: &[(&str, &str)] = &[
    (
        "[at.year, at.month, at.day, at.hour, at.minute, at.second, at.millisecond]",
        "[2026, 1, 31, 10, 20, 30, 250]",
    ),
    ("[at.weekday, at.unix]", "[6, 1769854830]"),
    ("at.add(1h) == at + 1h && at.sub(1h) == at - 1h && at.sub(at) == 0s", "true"),
    ("at.add_days(1) == at + 24h", "true"),
    ("at.add_months(1)", "2026-02-28T10:20:30.25Z"),
    ("at.add_years(-26)", "2000-01-31T10:20:30.25Z"),
    ("at.start_of_day()", "2026-01-31T00:00:00Z"),
    ("at.to_date()", "day"),
    (
        "at.format('%F %T %I%p %A %B %H:%M:%S.%f %u %V %z %Z')",
        "'2026-01-31 10:20:30 10AM Saturday January 10:20:30.250000 6 05 +0000 UTC'",
    ),
];

const DURATION: &[(&str, &str)] = &[
    ("(-1h).abs()", "1h"),
    ("[90m.hours, 90m.minutes, 1s.milliseconds, 1m.seconds, 36h.days]", "[1.5, 90.0, 1000.0, 60.0, 1.5]"),
];

#[test]
fn every_method_does_what_its_table_says() {
    for (ty, methods, cases) in [
        ("string", tables()[0], TEXT),
        ("array", tables()[1], ARRAY),
        ("object", tables()[2], OBJECT),
        ("number", tables()[3], NUMBER),
        ("date", tables()[4], DATE),
        ("datetime", tables()[5], DATETIME),
        ("duration", tables()[6], DURATION),
    ] {
        check(cases);
        for (method, ..) in methods {
            let used = |text: &str| {
                text.match_indices(&format!(".{method}")).any(|(at, found)| {
                    !text[at + found.len()..].starts_with(|next: char| next.is_alphanumeric() || next == '_')
                })
            };
            assert!(cases.iter().any(|(text, _)| used(text)), "no case for {ty}.{method}");
        }
    }
}

#[test]
fn arguments_that_make_no_sense_are_errors() {
    check_errors(&[
        ("s.repeat(-1)", "INVALID_VALUE"),
        ("s.pad_start(20, '')", "INVALID_VALUE"),
        ("s.contains(1)", "TYPE_MISMATCH"),
        ("s.at('x')", "TYPE_MISMATCH"),
        ("['a'].sum()", "TYPE_MISMATCH"),
        ("xs.filter(x => x)", "TYPE_MISMATCH"),
        ("xs.set(9, 0)", "INDEX_OUT_OF_RANGE"),
        ("xs.chunk(0)", "INVALID_VALUE"),
        ("xs.sort('up')", "INVALID_VALUE"),
        ("xs.concat(1)", "TYPE_MISMATCH"),
        ("[1].to_object()", "INVALID_VALUE"),
        ("[[1]].group_by(x => x)", "TYPE_MISMATCH"),
        ("o.merge(1)", "TYPE_MISMATCH"),
        ("o.get(null)", "TYPE_MISMATCH"),
        ("o.pick(1)", "TYPE_MISMATCH"),
        ("1.clamp(2, 1)", "INVALID_VALUE"),
        ("1.5.is_even()", "TYPE_MISMATCH"),
        ("(-1).sqrt()", "INVALID_VALUE"),
        ("10.pow(30)", "INTEGER_OVERFLOW"),
        ("money(0).pow(-1)", "DIVISION_BY_ZERO"),
        ("money(2).pow(1000000)", "INVALID_VALUE"),
        ("1.div(0)", "DIVISION_BY_ZERO"),
        ("1e300.round()", "INTEGER_OVERFLOW"),
        ("1.round(99)", "INVALID_VALUE"),
        ("day.add(1)", "TYPE_MISMATCH"),
        ("day.add_months(999999)", "DATE_OUT_OF_RANGE"),
        ("day.add_years(9223372036854775807)", "DATE_OUT_OF_RANGE"),
        ("day.format('%Q')", "INVALID_VALUE"),
        ("day.format('%')", "INVALID_VALUE"),
        ("true.not()", "NO_SUCH_METHOD"),
    ]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the manual is a file of the project")]
fn the_manual_names_every_method_and_function() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/expressions.md");
    let manual = std::fs::read_to_string(path).expect("the manual of expressions");
    let methods = tables().into_iter().flatten().map(|(name, ..)| *name);
    for name in methods.chain(super::super::functions()) {
        assert!(manual.contains(&format!("`{name}")), "{name} is not in the manual");
    }
}
