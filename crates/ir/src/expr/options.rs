//! Arguments that have names.

use std::sync::Arc;

use super::evaluate::{Arg, Eval, fault};
use crate::value::Value;

/// Arguments by position, or as the fields of one object.
pub(super) struct Options<'a> {
    names: &'a [&'a str],
    given: Vec<Option<Value>>,
}

impl<'a> Options<'a> {
    pub(super) fn new(args: &[Arg<'_>], names: &'a [&'a str]) -> Eval<Self> {
        let mut given: Vec<Option<Value>> = vec![None; names.len()];
        for (index, arg) in args.iter().enumerate() {
            match arg.value()? {
                Value::Object(fields) if index + 1 == args.len() => {
                    for (name, value) in fields.iter() {
                        let Some(place) = names.iter().position(|known| *known == &**name) else {
                            return Err(fault("WRONG_ARGUMENTS", format!("there is no argument `{name}`")));
                        };
                        given[place] = Some(value.clone());
                    }
                }
                value => {
                    if let Some(place) = given.get_mut(index) {
                        *place = Some(value.clone());
                    }
                }
            }
        }
        Ok(Self { names, given })
    }

    fn value(&self, name: &str) -> Option<&Value> {
        let place = self.names.iter().position(|known| *known == name)?;
        self.given[place].as_ref().filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &str) -> Eval<Option<Arc<str>>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => {
                Err(fault("TYPE_MISMATCH", format!("`{name}` is a string, not {}", other.type_name())))
            }
        }
    }

    pub(super) fn count(&self, name: &str) -> Eval<Option<u32>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let count = value.as_int().and_then(|int| u32::try_from(int).ok());
        count.map(Some).ok_or_else(|| fault("INVALID_VALUE", format!("`{name}` is no count: {value}")))
    }

    /// A share of one.
    pub(super) fn share(&self, name: &str) -> Eval<Option<f64>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let share = value.as_float().filter(|share| (0.0..=1.0).contains(share));
        let wrong = || fault("INVALID_VALUE", format!("`{name}` is a number from 0 to 1, not {value}"));
        share.map(Some).ok_or_else(wrong)
    }
}

/// What a search is told.
pub(super) struct SearchOptions {
    /// The text to find.
    pub(super) query: Arc<str>,
    /// How many at most.
    pub(super) limit: Option<u32>,
    /// How well what is found must fit at least.
    pub(super) min_similarity: Option<f64>,
}

impl SearchOptions {
    pub(super) fn new(args: &[Arg<'_>]) -> Eval<Self> {
        let options = Options::new(args, &["query", "limit", "min_similarity"])?;
        let query = options.text("query")?;
        let query = query.ok_or_else(|| fault("WRONG_ARGUMENTS", "`search` needs the text to find"))?;
        let (limit, min_similarity) = (options.count("limit")?, options.share("min_similarity")?);
        Ok(Self { query, limit, min_similarity })
    }
}
