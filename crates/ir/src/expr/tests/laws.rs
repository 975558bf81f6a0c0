//! What holds for any input.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::{
    BinaryOp, Expr, Limits, Template, TemplatePart, UnaryOp, evaluate, from_json, is_method, parse,
    parse_template, to_json,
};
use super::Variables;
use crate::types::Type;
use crate::value::Value;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-3..10_i64).prop_map(Value::Int),
        any::<f64>().prop_filter("finite", |float| float.is_finite()).prop_map(Value::Float),
        (any::<i64>(), 0..28_u32)
            .prop_map(|(digits, scale)| Value::Money(rust_decimal::Decimal::new(digits, scale))),
        ".{0,8}".prop_map(Value::from),
        (0..3_000_000_i32)
            .prop_filter_map("a day", |days| time::Date::from_julian_day(1_721_060 + days).ok())
            .prop_map(Value::Date),
        (-62_167_219_200_000_000..=253_402_300_799_999_999_i64).prop_map(Value::Datetime),
        (-i64::MAX..=i64::MAX).prop_map(Value::Duration),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::array),
            prop::collection::btree_map(".{0,4}".prop_map(Arc::from), inner, 0..5).prop_map(Value::object),
        ]
    })
}

fn name() -> impl Strategy<Value = Arc<str>> {
    prop::sample::select(vec![
        "n", "i", "s", "xs", "lines", "o", "day", "at", "price", "x", "memory", "a", "then",
    ])
    .prop_map(Arc::from)
}

fn method() -> impl Strategy<Value = Arc<str>> {
    let names: Vec<&str> =
        super::super::methods::tables().into_iter().flatten().map(|(name, ..)| *name).collect();
    prop::sample::select(names).prop_map(Arc::from)
}

fn function() -> impl Strategy<Value = Arc<str>> {
    prop::sample::select(super::super::functions().collect::<Vec<_>>()).prop_map(Arc::from)
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        scalar().prop_map(Expr::Literal),
        value().prop_map(Expr::Literal),
        name().prop_map(Expr::Name)
    ];
    leaf.prop_recursive(5, 48, 4, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let many = || prop::collection::vec(inner.clone(), 0..3);
        let lambda = (prop::collection::vec(name(), 0..3), boxed())
            .prop_map(|(params, body)| Expr::Lambda { params, body });
        let args = prop::collection::vec(prop_oneof![2 => inner.clone(), 1 => lambda], 0..3);
        let part = prop_oneof![
            ".{0,4}".prop_map(|text| TemplatePart::Text(text.into())),
            inner.clone().prop_map(TemplatePart::Expr)
        ];
        prop_oneof![
            (boxed(), name(), any::<bool>()).prop_map(|(object, name, optional)| Expr::Member {
                object,
                name,
                optional
            }),
            (boxed(), boxed(), any::<bool>()).prop_map(|(object, index, optional)| Expr::Index {
                object,
                index,
                optional
            }),
            (prop::sample::select(UnaryOp::ALL.to_vec()), boxed())
                .prop_map(|(op, operand)| Expr::Unary { op, operand }),
            (prop::sample::select(BinaryOp::ALL.to_vec()), boxed(), boxed())
                .prop_map(|(op, left, right)| Expr::Binary { op, left, right }),
            (boxed(), boxed(), boxed()).prop_map(|(condition, then, otherwise)| Expr::Conditional {
                condition,
                then,
                otherwise
            }),
            (boxed(), method(), args.clone(), any::<bool>())
                .prop_map(|(object, name, args, optional)| Expr::Method { object, name, args, optional }),
            (function(), args).prop_map(|(function, args)| Expr::Call { function, args }),
            prop::collection::vec((name(), inner.clone()), 0..3).prop_map(Expr::Object),
            many().prop_map(Expr::Array),
            prop::collection::vec(part, 0..3).prop_map(|parts| Expr::Template(Template(parts))),
        ]
    })
}

/// Text that is likely to get far into the parser.
fn text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "a",
        "1",
        "1.5",
        "30s",
        "2026-01-31",
        "'x'",
        "\"",
        "`",
        "${",
        "}",
        "{",
        "(",
        ")",
        "[",
        "]",
        "=>",
        "|>",
        "??",
        "?.",
        ".",
        ",",
        ":",
        "if",
        "then",
        "else",
        "in",
        "+",
        "-",
        "!",
        "==",
        "<",
        "/*",
        "//",
        "\\",
        "é",
        "\n",
        " ",
        "=",
        "f",
        "null",
        "T10:00:00Z",
    ]);
    prop_oneof![any::<String>(), prop::collection::vec(word, 0..24).prop_map(|words| words.concat()),]
}

fn ty() -> impl Strategy<Value = Type> {
    let leaf = prop::sample::select(vec![
        "string",
        "int",
        "float",
        "bool",
        "date",
        "datetime",
        "duration",
        "money",
        "email",
        "url",
        "uuid",
        "json",
        "null",
        "enum[a, b]",
        "Line",
    ])
    .prop_map(|text| Type::parse(text).unwrap());
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|ty| Type::Array(Box::new(ty))),
            inner.clone().prop_map(|ty| Type::Map(Box::new(ty))),
            inner.clone().prop_map(|ty| Type::Optional(Box::new(ty))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Type::Union),
            prop::collection::btree_map("[a-c]".prop_map(Arc::from), inner, 0..3).prop_map(Type::Object),
        ]
    })
}

proptest! {
    #[test]
    fn no_text_breaks_the_parsers(text in text()) {
        let _ = parse_template(&text);
        let _ = Type::parse(&text);
        if let Ok(expr) = parse(&text) {
            prop_assert_eq!(from_json(&to_json(&expr)), Ok(expr));
        }
    }

    #[test]
    fn trees_survive_their_json(expr in expr()) {
        prop_assert_eq!(from_json(&to_json(&expr)), Ok(expr));
    }

    #[test]
    fn no_expression_breaks_the_evaluator(expr in expr()) {
        let limits = Limits { steps: 20_000, depth: 64, size: 1 << 20 };
        let variables = Variables::usual();
        let answers = [Value::Datetime(0), Value::from("b"), Value::Int(1)];
        let first = evaluate(&expr, &variables, &answers, &limits);
        if let Ok(value) = &first {
            prop_assert!(value.extent(64 << 20).is_some());
        }
        prop_assert_eq!(first, evaluate(&expr, &variables, &answers, &limits));
    }

    #[test]
    fn values_survive_message_pack(value in value()) {
        let bytes = rmp_serde::to_vec(&value).unwrap();
        let back: Value = rmp_serde::from_slice(&bytes).unwrap();
        prop_assert_eq!(rmp_serde::to_vec(&back).unwrap(), bytes);
        prop_assert_eq!(back, value);
    }

    #[test]
    fn no_bytes_break_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = rmp_serde::from_slice::<Value>(&bytes);
    }

    #[test]
    fn values_survive_their_own_text(value in scalar()) {
        let ty = Type::parse(value.type_name()).unwrap();
        let json = Value::from_json(&value.to_json());
        prop_assert_eq!(ty.admit(json, &BTreeMap::new()), Ok(value));
    }

    #[test]
    fn the_order_is_total(a in value(), b in value(), c in value()) {
        prop_assert_eq!(a.compare(&b), b.compare(&a).reverse());
        prop_assert_eq!(a.equals(&b), a.compare(&b).is_eq());
        prop_assert!(a.equals(&a));
        if a.compare(&b).is_le() && b.compare(&c).is_le() {
            prop_assert!(a.compare(&c).is_le());
        }
    }

    #[test]
    fn admitting_again_changes_nothing(ty in ty(), value in value()) {
        let types = Variables::usual().types;
        if let Ok(admitted) = ty.admit(value, &types) {
            prop_assert_eq!(ty.admit(admitted.clone(), &types), Ok(admitted));
        }
    }

    #[test]
    fn types_are_read_as_they_are_shown(ty in ty()) {
        // What is shown is the plain form of a type, and that is its own.
        let plain = Type::parse(&ty.to_string()).unwrap();
        prop_assert_eq!(Type::parse(&plain.to_string()), Ok(plain));
    }
}

#[test]
fn methods_are_known_by_name() {
    assert!(is_method("map") && is_method("list") && is_method("json") && !is_method("frobnicate"));
}
