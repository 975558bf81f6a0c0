//! The forms of checkpoints: JSON Schema (2020-12) that the data of an answer must fit.
//!
//! Nothing is fetched: references lead to the schema's own parts.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{Draft, ValidationError, Validator};
use scaigrid_checkpoints::FormFinding;
use serde_json::Value;

/// The most findings of one answer that are told.
const MAX_FINDINGS: usize = 50;
/// The most characters of what is told of a rule.
const MAX_MESSAGE: usize = 300;

/// What checks data against a form.
///
/// # Errors
/// What keeps it from being a form.
pub(crate) fn validator(form: &Value) -> Result<Validator, String> {
    let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
    options.build(form).map_err(|error| cut(format!("is not JSON Schema 2020-12: {error}")))
}

/// What is wrong with the data of an answer, place by place.
pub fn check(form: &Value, data: &Value) -> Vec<FormFinding> {
    match validator(form) {
        Ok(validator) => {
            validator.iter_errors(data).flat_map(|error| told(&error)).take(MAX_FINDINGS).collect()
        }
        Err(reason) => vec![FormFinding { pointer: String::new(), message: format!("the form {reason}") }],
    }
}

fn told(error: &ValidationError<'_>) -> Vec<FormFinding> {
    let place = error.instance_path();
    let at =
        |pointer: &str, message: String| FormFinding { pointer: pointer.to_owned(), message: cut(message) };
    let here = |message: String| vec![at(place.as_str(), message)];
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => unexpected
            .iter()
            .map(|name| at(place.join(name.as_str()).as_str(), "is not a field of the form".to_owned()))
            .collect(),
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![at(place.join(name).as_str(), "is required".to_owned())]
        }
        Kind::Type { kind: TypeKind::Single(one) } => here(format!("must be of type {one}")),
        Kind::Enum { options } => {
            let options = options.as_array().into_iter().flatten().map(Value::to_string);
            here(format!("must be one of {}", options.collect::<Vec<_>>().join(", ")))
        }
        Kind::Format { format } => here(format!("must have the format {format}")),
        Kind::Pattern { pattern } => here(format!("must match {pattern}")),
        Kind::MinLength { limit } => here(format!("must be at least {limit} characters long")),
        Kind::MaxLength { limit } => here(format!("must be at most {limit} characters long")),
        Kind::Minimum { limit } => here(format!("must be at least {limit}")),
        Kind::Maximum { limit } => here(format!("must be at most {limit}")),
        other => here(format!("breaks the form's rule {}", other.keyword())),
    }
}

fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_MESSAGE) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(form: &Value, data: &Value) -> Vec<String> {
        let findings = check(form, data);
        findings.iter().map(|finding| format!("{} {}", finding.pointer, finding.message)).collect()
    }

    #[test]
    fn findings_name_the_field_and_the_rule() {
        let form = json!({
            "type": "object", "required": ["reason"], "additionalProperties": false,
            "properties": {"reason": {"type": "string", "minLength": 3}, "amount": {"maximum": 10},
                "kind": {"enum": ["a", "b"]}, "to": {"format": "email"}}
        });
        assert!(
            found(&form, &json!({"reason": "because", "amount": 10, "kind": "a", "to": "a@b.example"}))
                .is_empty()
        );
        assert_eq!(found(&form, &Value::Null), [" must be of type object"]);
        let mut wrong = found(&form, &json!({"amount": 11, "kind": "c", "to": "nobody", "more": 1}));
        wrong.sort();
        assert_eq!(
            wrong,
            [
                "/amount must be at most 10",
                "/kind must be one of \"a\", \"b\"",
                "/more is not a field of the form",
                "/reason is required",
                "/to must have the format email",
            ]
        );
        assert_eq!(found(&form, &json!({"reason": "x"})), ["/reason must be at least 3 characters long"]);
    }

    #[test]
    fn what_is_no_schema_fits_nothing() {
        assert!(validator(&json!({"type": "strin"})).is_err());
        assert!(validator(&json!({"$ref": "https://forms.example/schema"})).is_err(), "nothing is fetched");
        assert_eq!(check(&json!({"type": "strin"}), &json!({})).len(), 1);
        assert!(check(&json!(true), &json!({})).is_empty() && !check(&json!(false), &json!({})).is_empty());
    }
}
