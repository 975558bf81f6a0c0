//! What an expression cannot know by itself: the time, chance, and persistent memory.
//!
//! A question's answer comes from outside and is recorded there. The n-th question of one evaluation has the
//! n-th answer; an evaluation that runs out of answers stops with the question it could not answer. Evaluation
//! is otherwise pure, so with one answer more it comes back to the same place and goes on.

use std::sync::Arc;

use super::evaluate::{Arg, Env, Eval, Evaluator, fault};
use super::{Expr, Stop};
use crate::block::MemoryOp;
use crate::value::Value;

/// How many questions one evaluation asks. Each costs a run from the beginning, so their number counts twice.
const MAX_QUESTIONS: usize = 1000;

/// What evaluation needs to be told.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// The present instant, answered by a datetime.
    Now,
    /// A fresh UUID, answered by its text.
    Uuid,
    /// A random float of at least 0 and below 1.
    Random,
    /// What persistent memory holds.
    Memory(MemoryRead),
}

/// A read of persistent memory.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryRead {
    /// Get, list, search or last.
    pub op: MemoryOp,
    /// The persistent variable.
    pub target: Arc<str>,
    /// The entry, for a get; the whole variable where absent.
    pub key: Option<Arc<str>>,
    /// What keys must begin with, for a list.
    pub prefix: Option<Arc<str>>,
    /// The text to find, for a search.
    pub query: Option<Arc<str>>,
    /// How many at most.
    pub limit: Option<u32>,
    /// Whether a list begins at the end.
    pub descending: bool,
}

impl MemoryRead {
    fn new(op: MemoryOp, target: &Arc<str>) -> Self {
        Self {
            op,
            target: target.clone(),
            key: None,
            prefix: None,
            query: None,
            limit: None,
            descending: false,
        }
    }
}

impl Evaluator<'_> {
    /// The answer to the next question.
    pub(super) fn ask(&mut self, question: impl FnOnce() -> Question) -> Eval {
        if self.asked >= MAX_QUESTIONS {
            return Err(fault(
                "EVALUATION_LIMIT",
                format!("an expression asks at most {MAX_QUESTIONS} questions"),
            ));
        }
        match self.answers.get(self.asked) {
            Some(answer) => {
                self.asked += 1;
                Ok(answer.clone())
            }
            None => Err(Stop::Asks(question()).into()),
        }
    }

    /// The persistent variable that an expression names: `memory.x`, unless `memory` is a lambda's parameter.
    pub(super) fn memory_target<'e>(expr: &'e Expr, env: &Env<'_>) -> Option<&'e Arc<str>> {
        match expr {
            Expr::Member { object, name, .. } => match &**object {
                Expr::Name(memory) if &**memory == "memory" && env.lookup("memory").is_none() => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    /// `memory.x`.
    pub(super) fn memory_whole(&mut self, target: &Arc<str>) -> Eval {
        self.ask(|| Question::Memory(MemoryRead::new(MemoryOp::Get, target)))
    }

    /// `memory.x[key]`.
    pub(super) fn memory_entry(&mut self, target: &Arc<str>, key: &Value) -> Eval {
        let key = key_text(key)?;
        self.ask(|| Question::Memory(MemoryRead { key: Some(key), ..MemoryRead::new(MemoryOp::Get, target) }))
    }

    /// `memory.x.method(args)` where the memory itself answers; none where the method is one of the value's.
    pub(super) fn memory_method(
        &mut self,
        target: &Arc<str>,
        method: &str,
        args: &[Arg<'_>],
    ) -> Eval<Option<Value>> {
        let read = match (method, args) {
            ("get", [key]) => return self.memory_entry(target, key.value()?).map(Some),
            ("get", [key, default]) => {
                let found = self.memory_entry(target, key.value()?)?;
                return Ok(Some(if found.is_null() { default.value()?.clone() } else { found }));
            }
            ("has", [key]) => {
                let found = self.memory_entry(target, key.value()?)?;
                return Ok(Some(Value::Bool(!found.is_null())));
            }
            ("length", []) => {
                return Ok(Some(match self.memory_whole(target)? {
                    Value::Null => Value::Int(0),
                    Value::Array(items) => items.len().into(),
                    Value::Object(fields) => fields.len().into(),
                    Value::String(text) => text.chars().count().into(),
                    other => {
                        return Err(fault("TYPE_MISMATCH", format!("{} has no length", other.type_name())));
                    }
                }));
            }
            ("list", args) if args.len() <= 3 => {
                let options = Options::new(args, &["prefix", "limit", "order"])?;
                let descending = match options.text("order")?.as_deref() {
                    None | Some("asc") => false,
                    Some("desc") => true,
                    Some(_) => return Err(fault("INVALID_VALUE", "the order is `asc` or `desc`")),
                };
                let (prefix, limit) = (options.text("prefix")?, options.count("limit")?);
                MemoryRead { prefix, limit, descending, ..MemoryRead::new(MemoryOp::List, target) }
            }
            ("search", args) if args.len() <= 2 => {
                let options = Options::new(args, &["query", "limit"])?;
                let query = options.text("query")?;
                if query.is_none() {
                    return Err(fault("WRONG_ARGUMENTS", "`search` needs the text to find"));
                }
                let limit = options.count("limit")?;
                MemoryRead { query, limit, ..MemoryRead::new(MemoryOp::Search, target) }
            }
            ("last", [_]) => {
                let limit = Options::new(args, &["n"])?.count("n")?;
                MemoryRead { limit, ..MemoryRead::new(MemoryOp::Last, target) }
            }
            _ => return Ok(None),
        };
        self.ask(|| Question::Memory(read)).map(Some)
    }
}

/// A memory key as text; scalars other than text stand for how they are shown.
fn key_text(key: &Value) -> Eval<Arc<str>> {
    match key {
        Value::String(text) => Ok(text.clone()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(fault("TYPE_MISMATCH", format!("{} is no key", key.type_name())))
        }
        scalar => Ok(scalar.to_string().into()),
    }
}

/// Arguments by position, or as the fields of one object.
struct Options<'a> {
    names: &'a [&'a str],
    given: Vec<Option<Value>>,
}

impl<'a> Options<'a> {
    fn new(args: &[Arg<'_>], names: &'a [&'a str]) -> Eval<Self> {
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

    fn text(&self, name: &str) -> Eval<Option<Arc<str>>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => {
                Err(fault("TYPE_MISMATCH", format!("`{name}` is a string, not {}", other.type_name())))
            }
        }
    }

    fn count(&self, name: &str) -> Eval<Option<u32>> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let count = value.as_int().and_then(|int| u32::try_from(int).ok());
        count.map(Some).ok_or_else(|| fault("INVALID_VALUE", format!("`{name}` is no count: {value}")))
    }
}
