//! Whether an operation fits the persistent variable that it is meant for.

use std::sync::Arc;

use crate::block::{MemoryOp, MemoryStatement};
use crate::diagnostic::codes;
use crate::expr::Expr;
use crate::types::Type;

use super::Verifier;
use super::expressions::optional;
use super::known::{self, Kind};

impl Verifier<'_> {
    /// Whether a variable of that type has the operation; reports it where it has not. Whole values can be read, set and
    /// deleted whatever they are; entries need a map, elements an array.
    pub(super) fn memory_shape(&mut self, variable: &str, ty: &Type, op: &str, pointer: &str) -> bool {
        let Some(kind) = known::kind(ty, &self.module.types) else { return true };
        let wanted = match op {
            "add" | "last" if kind != Kind::List => "an array",
            "list" | "search" if !matches!(kind, Kind::List | Kind::Map) => "a map or an array",
            _ => return true,
        };
        let message = format!("{op:?} needs {wanted}, but {variable} is {}", kind.name());
        self.error(codes::MEMORY_OPERATION, pointer, message);
        false
    }

    pub(super) fn memory_statement(&mut self, statement: &MemoryStatement, pointer: &str) {
        let fields = [
            ("key", &statement.key),
            ("prefix", &statement.prefix),
            ("query", &statement.query),
            ("min_similarity", &statement.min_similarity),
            ("limit", &statement.limit),
        ];
        for (field, expr) in fields {
            if let Some(expr) = expr {
                let ty = self.expr(expr, &format!("{pointer}/{field}"));
                let wanted = match field {
                    "limit" => (Type::Int, "the limit"),
                    "min_similarity" => (Type::Float, "the least similarity"),
                    "prefix" => (Type::String, "the prefix"),
                    "query" => (Type::String, "the query"),
                    _ => continue,
                };
                self.wants(ty.as_ref(), &wanted.0, &format!("{pointer}/{field}"), wanted.1);
            }
        }
        let value_pointer = format!("{pointer}/value");
        let value = match &statement.value {
            Some(Expr::Lambda { params, body }) if statement.op == MemoryOp::Update => {
                if params.len() != 1 {
                    let message = "the lambda of an update takes one parameter, the present value";
                    self.error(codes::ARGUMENTS, &value_pointer, message);
                }
                self.lambda(params, body, &value_pointer);
                None
            }
            Some(expr) => self.expr(expr, &value_pointer),
            None => None,
        };
        let result = self.memory_operation(statement, value.as_ref(), pointer);
        let result = result.filter(|_| !self.doubts.in_part(pointer));
        if let Some(name) = &statement.result_binding {
            self.bind(name, result, &format!("{pointer}/result_binding"));
        }
    }

    /// Checks the operation against the declaration; gives the type of its result.
    fn memory_operation(
        &mut self,
        statement: &MemoryStatement,
        value: Option<&Type>,
        pointer: &str,
    ) -> Option<Type> {
        let MemoryStatement { op, target, key, .. } = statement;
        let module = self.module;
        let Some(declared) = module.memory.get(target) else {
            if self.doubts.may_declare("/memory", target) {
                return None;
            }
            let hint = self.findings.hint(target, module.memory.keys().map(AsRef::as_ref));
            let message = format!("the memory variable {target:?} is not declared{hint}");
            self.error(codes::UNKNOWN_MEMORY, &format!("{pointer}/target"), message);
            return None;
        };
        let needs = |present: bool, field: &'static str| (!present).then_some(field);
        let missing = match op {
            MemoryOp::Set | MemoryOp::Update | MemoryOp::Add => needs(statement.value.is_some(), "value"),
            MemoryOp::Search => needs(statement.query.is_some(), "query"),
            _ => None,
        };
        if let Some(field) = missing {
            let message = format!("the operation {:?} needs the field {field:?}", name(*op));
            self.error(codes::MEMORY_OPERATION, pointer, message);
        }
        if !self.memory_shape(target, &declared.ty, name(*op), pointer) {
            return None;
        }
        let ty = known::present(&declared.ty, &module.types);
        let kind = known::kind(ty, &module.types);
        if statement.prefix.is_some() && kind == Some(Kind::List) {
            let message =
                format!("elements have no keys that could begin with something, but {target} is an array");
            self.error(codes::MEMORY_OPERATION, &format!("{pointer}/prefix"), message);
        }
        if let (Some(_), Some(kind)) = (key, kind)
            && !matches!(ty, Type::Map(_) | Type::Object(_))
        {
            let message = format!("only maps and objects have keys, but {target} is {}", kind.name());
            self.error(codes::MEMORY_OPERATION, &format!("{pointer}/key"), message);
        }
        let part = match (ty, key) {
            (Type::Map(entry), Some(_)) => Some(&**entry),
            (Type::Array(element), _) if *op == MemoryOp::Add => Some(&**element),
            (_, None) => Some(&declared.ty),
            _ => None,
        };
        // An update may give only the fields that change, so its value need not have the type.
        if let (MemoryOp::Set | MemoryOp::Add, Some(part)) = (op, part) {
            self.wants(value, part, &format!("{pointer}/value"), "the value");
        }
        match op {
            MemoryOp::Get => part.and_then(known::remembered).map(optional),
            MemoryOp::Last => known::remembered(&declared.ty),
            _ => None,
        }
    }
}

fn name(op: MemoryOp) -> &'static str {
    match op {
        MemoryOp::Get => "get",
        MemoryOp::Set => "set",
        MemoryOp::Update => "update",
        MemoryOp::Delete => "delete",
        MemoryOp::Add => "add",
        MemoryOp::List => "list",
        MemoryOp::Search => "search",
        MemoryOp::Last => "last",
        MemoryOp::Count => "length",
    }
}

impl Verifier<'_> {
    /// Binds a variable, unless its name is taken by what is always there.
    pub(super) fn bind(&mut self, name: &Arc<str>, ty: Option<Type>, pointer: &str) {
        if super::expressions::ROOTS.contains(&&**name) {
            let message = format!("{name:?} is always there and cannot be a variable");
            self.error(codes::RESERVED_WORD, pointer, message);
        }
        self.scope.bind(name, ty);
    }
}
