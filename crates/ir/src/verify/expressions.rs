//! Names, members, functions and types in expressions.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnostic::codes;
use crate::expr::{
    BinaryOp, Expr, Template, TemplatePart, UnaryOp, function_arity, functions, is_method, is_property,
    methods,
};
use crate::types::Type;

use super::Verifier;
use super::known::{self, Kind};

/// The names that are always there, which no variable may hide.
pub(super) const ROOTS: &[&str] = &["input", "config", "memory", "reference", "identity", "execution", "env"];

const IDENTITY_FIELDS: &[&str] = &["name", "persona", "languages"];
const EXECUTION_FIELDS: &[&str] = &["id", "core_id", "flow", "trigger", "started_at"];
/// Reads of persistent variables that expressions may make.
const MEMORY_READS: &[&str] = &["get", "list", "search", "last"];
const MEMORY_WRITES: &[&str] = &["set", "update", "delete", "add"];
/// Functions whose value comes from outside.
const RECORDED: &[&str] = &["now", "today", "uuid", "random"];

impl Verifier<'_> {
    /// Checks an expression and gives its type, where that is cheaply known.
    pub(super) fn expr(&mut self, expr: &Expr, pointer: &str) -> Option<Type> {
        if self.doubts.at(pointer) {
            // A stand-in.
            return None;
        }
        match expr {
            Expr::Literal(value) => known::of_value(value),
            Expr::Name(name) => self.name(name, pointer),
            Expr::Member { object, name, .. } => self.member(object, name, pointer),
            Expr::Index { object, index, .. } => {
                self.expr(index, pointer);
                if let Expr::Name(root) = &**object
                    && self.is_root(root)
                {
                    if let Expr::Literal(crate::Value::String(name)) = &**index {
                        return self.root_member(root, name, pointer);
                    }
                    // Which one is read is only known when it is; secrets must not leave by that door.
                    if &**root == "config" && self.holds_secrets {
                        let message = "config holds secrets and must be read by a parameter's name";
                        self.error(codes::SECRET_USED, pointer, message);
                    }
                    return None;
                }
                let ty = self.expr(object, pointer)?;
                match known::present(&ty, &self.module.types) {
                    Type::Array(element) | Type::Map(element) => known::remembered(element).map(optional),
                    _ => None,
                }
            }
            Expr::Unary { op, operand } => self.unary(*op, operand, pointer),
            Expr::Binary { op, left, right } => self.binary(*op, left, right, pointer),
            Expr::Conditional { condition, then, otherwise } => {
                self.condition(condition, pointer);
                let then = self.expr(then, pointer);
                let otherwise = self.expr(otherwise, pointer);
                if then == otherwise { then } else { None }
            }
            Expr::Method { object, name, args, .. } => self.method(object, name, args, pointer),
            Expr::Call { function, args } => self.call(function, args, pointer),
            Expr::Lambda { .. } => {
                let message = "a lambda can only be an argument of a method or the value of a memory update";
                self.error(codes::STRAY_LAMBDA, pointer, message);
                None
            }
            Expr::Object(fields) => {
                let mut known = BTreeMap::new();
                for (name, value) in fields {
                    known.insert(Arc::clone(name), known::leaf(self.expr(value, pointer).as_ref()));
                }
                known::remembered(&Type::Object(known))
            }
            Expr::Array(items) => {
                let mut element = None;
                for (index, item) in items.iter().enumerate() {
                    let ty = known::leaf(self.expr(item, pointer).as_ref());
                    element = Some(if index == 0 || element.as_ref() == Some(&ty) { ty } else { Type::Json });
                }
                Some(Type::Array(Box::new(element.unwrap_or(Type::Json))))
            }
            Expr::Template(template) => {
                self.template(template, pointer);
                Some(Type::String)
            }
        }
    }

    pub(super) fn template(&mut self, template: &Template, pointer: &str) {
        for part in &template.0 {
            if let TemplatePart::Expr(expr) = part {
                self.expr(expr, pointer);
            }
        }
    }

    /// An expression that decides something, so must be true or false.
    pub(super) fn condition(&mut self, expr: &Expr, pointer: &str) {
        let ty = self.expr(expr, pointer);
        self.wants(ty.as_ref(), &Type::Bool, pointer, "the condition");
    }

    /// Reports a type that cannot be what is wanted.
    pub(super) fn wants(&mut self, ty: Option<&Type>, wanted: &Type, pointer: &str, what: &str) {
        let reason = ty.and_then(|ty| known::cannot_fit(ty, wanted, &self.module.types));
        if let Some(reason) = reason {
            self.error(codes::TYPE_MISMATCH, pointer, format!("{what} does not fit: {reason}"));
        }
    }

    fn is_root(&self, name: &str) -> bool {
        ROOTS.contains(&name)
            && self.scope.get(name).is_none()
            && !self.lambdas.iter().flatten().any(|local| &**local == name)
    }

    fn name(&mut self, name: &Arc<str>, pointer: &str) -> Option<Type> {
        if self.lambdas.iter().flatten().any(|local| local == name) {
            return None;
        }
        if let Some(names) = self.closed {
            if !names.contains(&&**name) {
                let hint = self.findings.hint(name, names.iter().copied());
                let message =
                    format!("{name:?} is not in scope here; only {} are{hint}", names.join(" and "));
                self.error(codes::UNKNOWN_NAME, pointer, message);
            }
            return None;
        }
        if self.is_root(name) {
            return self.whole_root(name, pointer);
        }
        let Some(variable) = self.scope.get(name) else {
            if self.doubts.may_name(name) {
                return None;
            }
            let lambdas = self.lambdas.iter().flatten().map(|local| &**local);
            let known = self.scope.names().chain(lambdas).chain(ROOTS.iter().copied());
            let hint = self.findings.hint(name, known);
            let message = format!("the name {name:?} is not bound here{hint}");
            self.error(codes::UNKNOWN_NAME, pointer, message);
            return None;
        };
        let (certain, ty) = (variable.certain, variable.ty.as_deref().cloned());
        if !certain {
            let message = format!(
                "{name:?} is bound on some of the ways that lead here only; reading it on another fails with UNKNOWN_NAME"
            );
            self.warning(codes::MAYBE_UNBOUND, pointer, message);
        }
        ty
    }

    fn whole_root(&mut self, root: &str, pointer: &str) -> Option<Type> {
        match root {
            "input" => {
                let params = self.flow.map(|flow| flow.params.as_slice()).unwrap_or_default();
                let fields =
                    params.iter().map(|param| (Arc::clone(&param.name), known::leaf(Some(&param.ty))));
                known::remembered(&Type::Object(fields.collect()))
            }
            "memory" => {
                let message = "memory is read by variable, as memory.name";
                self.error(codes::UNKNOWN_MEMORY, pointer, message);
                None
            }
            "config" if self.holds_secrets => {
                let message = "config holds secrets and cannot be read as a whole";
                self.error(codes::SECRET_USED, pointer, message);
                None
            }
            _ => None,
        }
    }

    fn member(&mut self, object: &Expr, name: &Arc<str>, pointer: &str) -> Option<Type> {
        if let Expr::Name(root) = object
            && self.is_root(root)
            && self.closed.is_none()
        {
            return self.root_member(root, name, pointer);
        }
        let ty = self.expr(object, pointer)?;
        let types = &self.module.types;
        match known::present(&ty, types) {
            Type::Object(fields) => {
                if let Some(field) = fields.get(name) {
                    return known::remembered(field);
                }
                let names: Vec<_> = fields.keys().take(20).map(AsRef::as_ref).collect();
                let hint = self.findings.hint(name, fields.keys().map(AsRef::as_ref));
                let message =
                    format!("the field {name:?} is not declared{hint} (declared are {})", names.join(", "));
                self.warning(codes::UNDECLARED_MEMBER, pointer, message);
                None
            }
            Type::Map(value) => known::remembered(value).map(optional),
            Type::Array(_) | Type::String if &**name == "length" => Some(Type::Int),
            other => {
                let kind = known::kind(other, types)?;
                if kind != Kind::Null && !is_property(name) {
                    let message = format!("{} has no field {name:?}", kind.name());
                    self.error(codes::TYPE_MISMATCH, pointer, message);
                }
                None
            }
        }
    }

    /// A declared thing by its name: `config.limit`, `memory.turns`.
    fn root_member(&mut self, root: &str, name: &Arc<str>, pointer: &str) -> Option<Type> {
        let module = self.module;
        match root {
            "input" => {
                let param = self.flow.and_then(|flow| flow.params.iter().find(|param| param.name == *name));
                if param.is_none() && !self.doubts.may_name(name) {
                    let params = self.flow.map(|flow| flow.params.as_slice()).unwrap_or_default();
                    let hint = self.findings.hint(name, params.iter().map(|param| &*param.name));
                    self.undeclared(root, name, ("parameter of this flow", &hint), pointer);
                }
                param.and_then(|param| known::remembered(&param.ty))
            }
            "config" => {
                let Some(declared) = module.config.get(name) else {
                    if self.doubts.may_declare("/config", name) {
                        return None;
                    }
                    let hint = self.findings.hint(name, module.config.keys().map(AsRef::as_ref));
                    self.undeclared(root, name, ("configuration parameter", &hint), pointer);
                    return None;
                };
                if declared.secret {
                    let message =
                        format!("config.{name} is secret and only goes into plugin and model configuration");
                    self.error(codes::SECRET_USED, pointer, message);
                }
                let ty = known::remembered(&declared.ty);
                // A default that could not be read is one all the same.
                let given = declared.default.is_some() || self.doubts.at(&super::child("/config", name));
                if given { ty } else { ty.map(optional) }
            }
            "memory" => {
                let Some(declared) = module.memory.get(name) else {
                    if self.doubts.may_declare("/memory", name) {
                        return None;
                    }
                    let hint = self.findings.hint(name, module.memory.keys().map(AsRef::as_ref));
                    let message = format!("the memory variable {name:?} is not declared{hint}");
                    self.error(codes::UNKNOWN_MEMORY, pointer, message);
                    return None;
                };
                self.recorded("memory", pointer);
                known::remembered(&declared.ty).map(optional)
            }
            "reference" => {
                if !module.reference.contains_key(name) && !self.doubts.may_declare("/reference", name) {
                    let hint = self.findings.hint(name, module.reference.keys().map(AsRef::as_ref));
                    self.undeclared(root, name, ("reference", &hint), pointer);
                }
                None
            }
            "identity" | "execution" => {
                let fields = if root == "identity" { IDENTITY_FIELDS } else { EXECUTION_FIELDS };
                if !fields.contains(&&**name) {
                    let hint = self.findings.hint(name, fields.iter().copied());
                    let message = format!("{root} has no field {name:?}, only {}{hint}", fields.join(", "));
                    self.error(codes::UNKNOWN_DECLARATION, pointer, message);
                }
                None
            }
            // What the environment holds is the Core's, not the program's.
            _ => None,
        }
    }

    fn undeclared(&mut self, root: &str, name: &str, (what, hint): (&str, &str), pointer: &str) {
        let message = format!("{root}.{name} is not declared: there is no {what} {name:?}{hint}");
        self.error(codes::UNKNOWN_DECLARATION, pointer, message);
    }

    fn unary(&mut self, op: UnaryOp, operand: &Expr, pointer: &str) -> Option<Type> {
        let ty = self.expr(operand, pointer);
        match op {
            UnaryOp::Not => {
                self.wants(ty.as_ref(), &Type::Bool, pointer, "the operand of !");
                Some(Type::Bool)
            }
            UnaryOp::Neg => {
                let kind = ty.as_ref().and_then(|ty| known::kind(ty, &self.module.types));
                if let Some(kind @ (Kind::Text | Kind::Bool | Kind::List | Kind::Map)) = kind {
                    self.error(codes::TYPE_MISMATCH, pointer, format!("{} cannot be negated", kind.name()));
                }
                ty
            }
        }
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr, pointer: &str) -> Option<Type> {
        let left = self.expr(left, pointer);
        let right = self.expr(right, pointer);
        let types = &self.module.types;
        let kinds = [&left, &right].map(|ty| ty.as_ref().and_then(|ty| known::kind(ty, types)));
        match op {
            BinaryOp::Or | BinaryOp::And => {
                for ty in [&left, &right] {
                    self.wants(ty.as_ref(), &Type::Bool, pointer, "an operand of && or ||");
                }
                Some(Type::Bool)
            }
            BinaryOp::Eq | BinaryOp::Ne | BinaryOp::In => Some(Type::Bool),
            BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => {
                if let [Some(a), Some(b)] = kinds {
                    let ordered = |kind: Kind| kind.is_number() || matches!(kind, Kind::Text | Kind::Time);
                    if !ordered(a) || !ordered(b) || !(a == b || (a.is_number() && b.is_number())) {
                        let message = format!("{} and {} have no order", a.name(), b.name());
                        self.error(codes::TYPE_MISMATCH, pointer, message);
                    }
                }
                Some(Type::Bool)
            }
            BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem => {
                let wrong = kinds.into_iter().flatten().find(|kind| !kind.is_number() && *kind != Kind::Time);
                if let Some(kind) = wrong {
                    self.error(
                        codes::TYPE_MISMATCH,
                        pointer,
                        format!("there is no arithmetic with {}", kind.name()),
                    );
                }
                arithmetic(op, kinds)
            }
            BinaryOp::Add => arithmetic(op, kinds),
            BinaryOp::Coalesce => {
                if left == right {
                    left
                } else {
                    None
                }
            }
        }
    }

    fn method(&mut self, object: &Expr, name: &str, args: &[Expr], pointer: &str) -> Option<Type> {
        if let Expr::Member { object: root, name: variable, .. } = object
            && let Expr::Name(root_name) = &**root
            && self.is_root(root_name)
        {
            if &**root_name == "memory" {
                return self.memory_method(variable, name, args, pointer);
            }
            if &**root_name == "reference" && MEMORY_WRITES.contains(&name) {
                let message = format!("reference.{variable} is read-only; there is no {name} for it");
                self.error(codes::READ_ONLY, pointer, message);
                return None;
            }
        }
        self.expr(object, pointer);
        self.arguments(args, pointer);
        if !is_method(name) {
            self.no_method(name, pointer);
        }
        None
    }

    fn memory_method(
        &mut self,
        variable: &Arc<str>,
        name: &str,
        args: &[Expr],
        pointer: &str,
    ) -> Option<Type> {
        let ty = self.root_member("memory", variable, pointer);
        self.arguments(args, pointer);
        if MEMORY_WRITES.contains(&name) {
            let message = format!("an expression only reads memory; use a memory statement with op {name:?}");
            self.error(codes::MEMORY_OPERATION, pointer, message);
        } else if MEMORY_READS.contains(&name) {
            if let Some(ty) = &ty {
                self.memory_shape(variable, ty, name, pointer);
            }
        } else if !is_method(name) {
            self.no_method(name, pointer);
        }
        None
    }

    fn no_method(&mut self, name: &str, pointer: &str) {
        let hint = self.findings.hint(name, methods());
        self.error(codes::UNKNOWN_METHOD, pointer, format!("no value has a method {name:?}{hint}"));
    }

    fn call(&mut self, function: &str, args: &[Expr], pointer: &str) -> Option<Type> {
        self.arguments(args, pointer);
        let Some((least, most)) = function_arity(function) else {
            let hint = self.findings.hint(function, functions());
            let known = functions().collect::<Vec<_>>().join(", ");
            let message = format!("there is no function {function:?}{hint} (there are {known})");
            self.error(codes::UNKNOWN_FUNCTION, pointer, message);
            return None;
        };
        if !(least..=most).contains(&args.len()) {
            let wanted = match (least, most) {
                (least, usize::MAX) => format!("at least {least}"),
                (least, most) if least == most => format!("{least}"),
                (least, most) => format!("{least} to {most}"),
            };
            let message = format!("{function} takes {wanted} arguments, not {}", args.len());
            self.error(codes::ARGUMENTS, pointer, message);
        }
        if RECORDED.contains(&function) {
            self.recorded(function, pointer);
        }
        None
    }

    /// Values from outside are recorded within flows; elsewhere nothing records them.
    fn recorded(&mut self, what: &str, pointer: &str) {
        if self.closed.is_some() || self.unrecorded {
            let message =
                format!("{what} cannot be used here: nothing records its value, so a repeat could differ");
            self.error(codes::NONDETERMINISM, pointer, message);
        }
    }

    fn arguments(&mut self, args: &[Expr], pointer: &str) {
        for arg in args {
            match arg {
                Expr::Lambda { params, body } => self.lambda(params, body, pointer),
                other => {
                    self.expr(other, pointer);
                }
            }
        }
    }

    /// A lambda where one may stand: its parameters are in scope in its body only.
    pub(super) fn lambda(&mut self, params: &[Arc<str>], body: &Expr, pointer: &str) {
        self.lambdas.push(params.to_vec());
        self.expr(body, pointer);
        self.lambdas.pop();
    }
}

pub(super) fn optional(ty: Type) -> Type {
    match ty {
        Type::Optional(_) | Type::Json => ty,
        _ => Type::Optional(Box::new(ty)),
    }
}

/// The type of a sum, difference, product or remainder.
fn arithmetic(op: BinaryOp, kinds: [Option<Kind>; 2]) -> Option<Type> {
    match (op, kinds) {
        (BinaryOp::Div, _) => None,
        (_, [Some(Kind::Int), Some(Kind::Int)]) => Some(Type::Int),
        (BinaryOp::Add, [Some(Kind::Text), Some(Kind::Text)]) => Some(Type::String),
        _ => None,
    }
}
