//! Expressions: their tree, their text, and their evaluation.
//!
//! A program's expressions are written as text ([`parse`]) or as JSON trees ([`from_json`]); both become an
//! [`Expr`], which [`evaluate`] computes over a [`Scope`]. Evaluation is a pure function: what only the world
//! outside can tell (the time, randomness, persistent memory) it asks for as a [`Question`], and is then run
//! again with the answer. The texts of templates are [`render`]ed the same way.

mod evaluate;
mod functions;
pub(crate) mod lexer;
mod methods;
mod operators;
mod options;
mod parser;
mod questions;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

use std::sync::Arc;

use crate::value::Value;

pub use evaluate::{EvalError, Limits, Scope, Stop, evaluate, evaluate_lambda, render};
pub use functions::{function_arity, functions, is_function};
pub use lexer::ParseError;
pub use methods::{is_method, is_property, methods};
pub use parser::{parse, parse_template};
pub use questions::{MemoryRead, Question};
pub use tree::{TreeError, from_json, to_json};
pub use walk::{free_names, is_nondeterministic, memory_names, template_free_names, walk, walk_template};

/// An expression. The text form and the tree form of a document both become this.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A constant.
    Literal(Value),
    /// A variable, or one of the names that are always there.
    Name(Arc<str>),
    /// A field: `object.name`, `object?.name`.
    Member {
        /// What it is a field of.
        object: Box<Expr>,
        /// The field.
        name: Arc<str>,
        /// Whether null in place of the object gives null.
        optional: bool,
    },
    /// An element or entry: `object[index]`.
    Index {
        /// What it is an element of.
        object: Box<Expr>,
        /// Which.
        index: Box<Expr>,
        /// Whether null in place of the object gives null.
        optional: bool,
    },
    /// `-x`, `!x`.
    Unary {
        /// The operator.
        op: UnaryOp,
        /// The operand.
        operand: Box<Expr>,
    },
    /// `a + b` and its like.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// The left operand.
        left: Box<Expr>,
        /// The right operand; not evaluated where the left decides.
        right: Box<Expr>,
    },
    /// `if c then a else b`.
    Conditional {
        /// Which.
        condition: Box<Expr>,
        /// Where it is true.
        then: Box<Expr>,
        /// Where it is false.
        otherwise: Box<Expr>,
    },
    /// A method of a value: `object.name(args)`; `object |> name(args)` is the same.
    Method {
        /// The value.
        object: Box<Expr>,
        /// The method.
        name: Arc<str>,
        /// Its arguments.
        args: Vec<Expr>,
        /// Whether null in place of the object gives null.
        optional: bool,
    },
    /// A function: `json(x)`, `now()`.
    Call {
        /// The function.
        function: Arc<str>,
        /// Its arguments.
        args: Vec<Expr>,
    },
    /// `x => e`, `(a, b) => e`: only as an argument.
    Lambda {
        /// The parameters.
        params: Vec<Arc<str>>,
        /// What it computes.
        body: Box<Expr>,
    },
    /// `{a: x}`.
    Object(Vec<(Arc<str>, Expr)>),
    /// `[x, y]`.
    Array(Vec<Expr>),
    /// Text with `${…}` in it.
    Template(Template),
}

/// Text with expressions in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(pub Vec<TemplatePart>);

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub enum TemplatePart {
    /// Text as it stands.
    Text(Arc<str>),
    /// An expression, shown as text.
    Expr(Expr),
}

impl Template {
    /// A template that is this text.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self(vec![TemplatePart::Text(text.into())])
    }

    /// Its text, where there is no expression in it.
    pub fn as_text(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [TemplatePart::Text(text)] => Some(text),
            _ => None,
        }
    }
}

/// The operators before one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-`
    Neg,
    /// `!`
    Not,
}

/// The operators between two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Eq,
    /// `!=`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
    /// `in`
    In,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Rem,
    /// `??`
    Coalesce,
}

impl UnaryOp {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Neg, Self::Not];

    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Neg => "-",
            Self::Not => "!",
        }
    }
}

impl BinaryOp {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Or,
        Self::And,
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
        Self::In,
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Rem,
        Self::Coalesce,
    ];

    /// How it is written.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Rem => "%",
            Self::Coalesce => "??",
        }
    }
}
