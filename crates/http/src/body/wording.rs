//! What serde says of a value that is of another type, in the words of JSON: a client knows no `u64`.

use super::findings::bounded;

/// What a finding of serde means. Messages of the types' own are kept as they are.
pub(super) fn of(message: &str) -> String {
    let worded = of_types(message).or_else(|| of_choices(message));
    bounded(worded.unwrap_or_else(|| message.to_owned()))
}

/// `invalid type: X, expected Y`, `invalid value: X, expected Y` and `invalid length N, expected Y`.
fn of_types(message: &str) -> Option<String> {
    let rest = message.strip_prefix("invalid ")?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let wanted = wanted(expected)?;
    let Some(found) = found.strip_prefix("type: ") else { return Some(format!("must be {wanted}")) };
    Some(match given(found) {
        Some(given) => format!("must be {wanted}, not {given}"),
        None => format!("must be {wanted}"),
    })
}

/// A type of Rust as one of JSON; none for what only Rust knows.
fn wanted(expected: &str) -> Option<String> {
    let upto = |most: u64| Some(format!("a whole number from 0 to {most}"));
    let both = |most: i64| Some(format!("a whole number from {} to {most}", -most - 1));
    match expected {
        "u8" => upto(u8::MAX.into()),
        "u16" => upto(u16::MAX.into()),
        "u32" => upto(u32::MAX.into()),
        "u64" | "usize" => Some("a whole number of 0 or more".into()),
        "i8" => both(i8::MAX.into()),
        "i16" => both(i16::MAX.into()),
        "i32" => both(i32::MAX.into()),
        "i64" | "isize" => Some("a whole number".into()),
        "f32" | "f64" => Some("a number".into()),
        "a boolean" => Some("true or false".into()),
        "a sequence" => Some("an array".into()),
        "a map" => Some("an object".into()),
        "string or map" => Some("a string or an object".into()),
        rust if ["struct ", "tuple ", "enum ", "variant ", "unit", "internally tagged"]
            .iter()
            .any(|word| rust.starts_with(word)) =>
        {
            rust.starts_with("struct ").then(|| "an object".into())
        }
        said => Some(said.to_owned()),
    }
}

/// What was sent instead, without its value: that may be long, or a secret.
fn given(found: &str) -> Option<&'static str> {
    let kinds = [
        ("null", "null"),
        ("unit value", "null"),
        ("boolean", "true or false"),
        ("integer", "a number"),
        ("floating point", "a number with a fraction"),
        ("number", "a number"),
        ("string", "a string"),
        ("character", "a string"),
        ("sequence", "an array"),
        ("map", "an object"),
    ];
    kinds.iter().find(|(kind, _)| found.starts_with(kind)).map(|(_, said)| *said)
}

/// `unknown variant X, expected one of A, B`.
fn of_choices(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown variant `")?;
    let (_, choices) = rest.rsplit_once("`, expected ")?;
    let choices = choices.strip_prefix("one of ").unwrap_or(choices).replace('`', "");
    let several = choices.contains(", ") || choices.contains(" or ");
    Some(if several { format!("must be one of {choices}") } else { format!("must be {choices}") })
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn rust_is_put_in_words_of_json() {
        for (said, meant) in [
            ("invalid type: string \"many, expected\", expected i64", "must be a whole number, not a string"),
            ("invalid type: null, expected a string", "must be a string, not null"),
            ("invalid type: sequence, expected struct Line", "must be an object, not an array"),
            (
                "invalid type: floating point `1.5`, expected u64",
                "must be a whole number of 0 or more, not a number with a fraction",
            ),
            ("invalid value: integer `-1`, expected u8", "must be a whole number from 0 to 255"),
            ("invalid value: integer `70000`, expected i16", "must be a whole number from -32768 to 32767"),
            ("unknown variant `x`, expected one of `a`, `b`", "must be one of a, b"),
            ("unknown variant `x`, expected `a` or `b`", "must be one of a or b"),
            ("unknown variant `x`, expected `a`", "must be a"),
            ("expected an identifier cor_…", "expected an identifier cor_…"),
        ] {
            assert_eq!(of(said), meant, "{said}");
        }
    }
}
