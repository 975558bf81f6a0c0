//! What an expression cannot know by itself: the time, chance, and persistent memory.
//!
//! A question's answer comes from outside and is recorded there. The n-th question of one evaluation has the
//! n-th answer; an evaluation that runs out of answers stops with the question it could not answer. Evaluation
//! is otherwise pure, so with one answer more it comes back to the same place and goes on.

use std::sync::Arc;

use super::evaluate::{Arg, Env, Eval, Evaluator, fault};
use super::options::{Options, SearchOptions};
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
    /// Get, list, search, last or count.
    pub op: MemoryOp,
    /// The persistent variable.
    pub target: Arc<str>,
    /// The entry, for a get; the whole variable where absent.
    pub key: Option<Arc<str>>,
    /// What keys must begin with, for a list.
    pub prefix: Option<Arc<str>>,
    /// The text to find, for a search.
    pub query: Option<Arc<str>>,
    /// How well entries must fit at least, for a search.
    pub min_similarity: Option<f64>,
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
            min_similarity: None,
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
            // Where the variable is no map and no array, whoever answers gives the length of its value.
            ("length", []) => MemoryRead::new(MemoryOp::Count, target),
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
            ("search", args) if args.len() <= 3 => {
                let SearchOptions { query, limit, min_similarity } = SearchOptions::new(args)?;
                let search = MemoryRead::new(MemoryOp::Search, target);
                MemoryRead { query: Some(query), limit, min_similarity, ..search }
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
