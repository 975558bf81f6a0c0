//! From what a request gives to values of the domain: every field that is not as it must be is told at once.

use std::fmt::Display;
use std::str::FromStr;

use scaigrid_app::{self as app, FieldError};
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;
use utoipa::openapi::{RefOr, Response};

use crate::error::Error;
use crate::openapi::kinds;

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<FieldError>);

impl Problems {
    /// Reads a text; `None` when it cannot be such a value, which is noted.
    pub(crate) fn read<T>(&mut self, field: &str, text: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.0.push(FieldError::new(field, error.to_string()));
                None
            }
        }
    }

    /// Reads a text that may be left out.
    pub(crate) fn maybe<T>(&mut self, field: &str, text: Option<&str>) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        self.read(field, text?)
    }

    /// Reads a list of texts.
    pub(crate) fn each<T>(&mut self, field: &str, texts: &[String]) -> Option<Vec<T>>
    where
        T: FromStr<Err: Display>,
    {
        let read: Vec<Option<T>> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| self.read(&format!("{field}[{index}]"), text))
            .collect();
        read.into_iter().collect()
    }

    /// Notes what is wrong with a field.
    pub(crate) fn note(&mut self, field: &str, message: impl Display) {
        self.0.push(FieldError::new(field, message.to_string()));
    }

    /// The answer, when something is wrong.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(app::Error::Invalid(std::mem::take(&mut self.0)).into()) }
    }

    /// The answer, when something that is required was found wrong.
    pub(crate) fn refusal(self) -> Error {
        app::Error::Invalid(self.0).into()
    }
}

/// Reads a field that may be left out, be `null`, or hold a value, and tells the three apart. With
/// `#[serde(default, deserialize_with = "given")]`.
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
pub(crate) fn given<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// Reads a field that may be left out, or be taken away with `null`.
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
pub(super) fn nullable<T>(
    problems: &mut Problems,
    field: &str,
    text: Option<&Option<String>>,
) -> Option<Option<T>>
where
    T: FromStr<Err: Display>,
{
    text.map(|text| problems.maybe(field, text.as_deref()))
}

/// Which partners a list shows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    /// In this status: `active` or `suspended`.
    #[param(value_type = Option<kinds::TenantStatus>)]
    status: Option<String>,
}

impl StatusQuery {
    /// The status, if one is asked for.
    pub(super) fn read<T>(&self) -> Result<Option<T>, Error>
    where
        T: FromStr<Err: Display>,
    {
        let mut problems = Problems::default();
        let status = problems.maybe("status", self.status.as_deref());
        problems.check()?;
        Ok(status)
    }
}

/// The shared answer `Conflict` of the document, for operations that are no POST.
pub(crate) struct Conflict;

impl<'r> utoipa::ToResponse<'r> for Conflict {
    fn response() -> (&'r str, RefOr<Response>) {
        ("Conflict", Response::new("The present state does not allow it").into())
    }
}

#[cfg(test)]
mod tests {
    use scaigrid_scope::{Email, Role};

    use super::*;

    #[test]
    fn every_field_that_is_wrong_is_told() {
        let mut problems = Problems::default();
        assert!(problems.read::<Email>("email", "nobody").is_none());
        assert!(problems.each::<Role>("roles", &["tenant_user".into(), "king".into()]).is_none());
        assert_eq!(problems.maybe::<Email>("contact_email", None), None);
        assert_eq!(problems.maybe::<Role>("role", Some("queen")), None);
        let Error::App(app::Error::Invalid(found)) = problems.refusal() else { panic!("another error") };
        let fields: Vec<_> = found.iter().map(|found| found.field.as_str()).collect();
        assert_eq!(fields, ["email", "roles[1]", "role"]);
    }

    #[test]
    fn null_is_not_the_same_as_nothing() {
        #[derive(Deserialize)]
        struct Changes {
            #[serde(default, deserialize_with = "given")]
            #[expect(clippy::option_option, reason = "that is what is tested")]
            note: Option<Option<String>>,
        }
        let read = |text: &str| serde_json::from_str::<Changes>(text).unwrap().note;
        assert_eq!(read("{}"), None);
        assert_eq!(read(r#"{"note":null}"#), Some(None));
        assert_eq!(read(r#"{"note":"x"}"#), Some(Some("x".to_owned())));
    }
}
