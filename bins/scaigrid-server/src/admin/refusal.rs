//! Errors as one line, with all that the operator can do something with.

use std::fmt::Display;

use scaigrid_app::{Error, Resource};
use serde_json::Value;

use crate::files::Unusable;

/// An error in one line. What the operator must put right before it can go at all keeps its kind, which is what the exit
/// code is made of.
pub(super) fn in_one_line(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Unusable>() {
        Ok(Unusable(text)) => Unusable(one_line(&text)).into(),
        Err(error) => {
            let text = error.downcast_ref::<Error>().map_or_else(|| format!("{error:#}"), told);
            anyhow::anyhow!(one_line(&text))
        }
    }
}

/// What a use case says, with its particulars, which the interface for programs tells in fields of their own.
pub(super) fn told(error: &Error) -> String {
    let particulars: Vec<String> = match error {
        Error::Invalid(fields) => {
            fields.iter().map(|field| format!("{} {}", field.field, field.message)).collect()
        }
        Error::InvalidSource(findings) => findings.iter().map(finding).collect(),
        Error::InvalidTransition { legal, .. } if legal.is_empty() => {
            vec!["it can do nothing now".to_owned()]
        }
        Error::InvalidTransition { legal, .. } => vec![format!("it can {}", legal.join(", "))],
        // Whoever administers the database may know what is the matter with it.
        Error::Internal(source) => vec![source.to_string()],
        _ => Vec::new(),
    };
    if particulars.is_empty() { error.to_string() } else { format!("{error}: {}", particulars.join("; ")) }
}

/// Has the error that there is no such thing tell what was asked for. Whoever calls over HTTP has it in the path; a task may
/// name several things.
pub(super) fn naming(name: impl Display) -> impl FnOnce(Error) -> anyhow::Error {
    move |error| match error {
        Error::NotFound(_) => anyhow::anyhow!("{error}: {name}"),
        other => other.into(),
    }
}

/// The error that there is nothing of this kind by this name.
pub(super) fn missing(what: Resource, name: &str) -> anyhow::Error {
    naming(name)(Error::NotFound(what))
}

/// A finding about a program, as it is written for programs. What is about the whole has no pointer.
pub(super) fn finding(finding: &Value) -> String {
    let text = |field: &str| finding.get(field).and_then(Value::as_str).unwrap_or_default();
    let place = match text("pointer") {
        "" => String::new(),
        pointer => format!(" at {pointer}"),
    };
    format!("{}{place}: {}", text("code"), text("message"))
}

fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use scaigrid_app::FieldError;
    use serde_json::json;

    use super::*;

    fn line(error: impl Into<anyhow::Error>) -> String {
        format!("{:#}", in_one_line(error.into()))
    }

    #[test]
    fn the_particulars_stand_in_the_line() {
        let fields =
            vec![FieldError::new("slug", "must not be empty"), FieldError::new("name", "is\ntoo long")];
        assert_eq!(
            line(Error::Invalid(fields)),
            "The request is not valid: slug must not be empty; name is too long"
        );
        let findings = vec![
            json!({"code": "E201", "pointer": "/flows/0", "message": "no such name"}),
            json!({"code": "E151", "pointer": "", "message": "no version"}),
        ];
        assert_eq!(
            line(Error::InvalidSource(findings)),
            "The program does not pass verification: E201 at /flows/0: no such name; E151: no version"
        );
        let refused = |legal: Vec<std::borrow::Cow<'static, str>>| {
            line(Error::InvalidTransition { from: "running".into(), attempted: "start".into(), legal })
        };
        assert_eq!(
            refused(vec!["stop".into(), "pause".into()]),
            "A Core that is running cannot start: it can stop, pause"
        );
        assert_eq!(refused(Vec::new()), "A Core that is running cannot start: it can do nothing now");
        assert_eq!(line(Error::TokenInvalid), "The credentials are not valid");
        assert_eq!(line(missing(Resource::Core, "no\npe")), "No such Core: no pe");
        assert_eq!(line(naming("nope")(Error::TokenInvalid)), "The credentials are not valid");
    }

    #[test]
    fn what_must_be_put_right_first_keeps_its_kind() {
        let error = in_one_line(Unusable("SCAIGRID_X: a\nb".to_owned()).into());
        assert!(error.is::<Unusable>());
        assert_eq!(error.to_string(), "SCAIGRID_X: a b");
        assert!(!in_one_line(Error::TokenInvalid.into()).is::<Unusable>());
    }
}
