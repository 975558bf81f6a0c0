//! The JSON form of expressions.
//!
//! In a document, text is an expression's text, an object whose `kind` is one of an expression is its tree, and
//! any other JSON is a constant whose texts are expressions in turn.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::parser::{MAX_HEIGHT, Node, parse_node};
use super::{BinaryOp, Expr, Template, TemplatePart, UnaryOp};
use crate::types::Type;
use crate::value::Value;

/// Why JSON is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TreeError {
    /// Where, from the expression's own place on (RFC 6901).
    pub pointer: String,
    /// As in [`super::ParseError`].
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
}

const KINDS: [&str; 13] = [
    "literal",
    "name",
    "member",
    "index",
    "unary",
    "binary",
    "conditional",
    "call",
    "method",
    "lambda",
    "object",
    "array",
    "template",
];

/// The expression that JSON writes.
pub fn from_json(json: &Json) -> Result<Expr, TreeError> {
    Place { json, parent: None, step: Step::Root, depth: 0 }.node().map(|node| node.expr)
}

/// The tree form of an expression; [`from_json`] gives the same expression again.
pub fn to_json(expr: &Expr) -> Json {
    let many = |items: &[Expr]| Json::Array(items.iter().map(to_json).collect());
    match expr {
        Expr::Literal(value) => literal_to_json(value),
        Expr::Name(name) => json!({"kind": "name", "name": **name}),
        Expr::Member { object, name, optional } => {
            json!({"kind": "member", "object": to_json(object), "name": **name, "optional": optional})
        }
        Expr::Index { object, index, optional } => {
            json!({"kind": "index", "object": to_json(object), "index": to_json(index), "optional": optional})
        }
        Expr::Unary { op, operand } => {
            json!({"kind": "unary", "op": op.symbol(), "operand": to_json(operand)})
        }
        Expr::Binary { op, left, right } => {
            json!({"kind": "binary", "op": op.symbol(), "left": to_json(left), "right": to_json(right)})
        }
        Expr::Conditional { condition, then, otherwise } => json!({
            "kind": "conditional",
            "condition": to_json(condition),
            "then": to_json(then),
            "else": to_json(otherwise),
        }),
        Expr::Method { object, name, args, optional } => json!({
            "kind": "method",
            "object": to_json(object),
            "name": **name,
            "args": many(args),
            "optional": optional,
        }),
        Expr::Call { function, args } => json!({"kind": "call", "function": **function, "args": many(args)}),
        Expr::Lambda { params, body } => {
            let params: Vec<&str> = params.iter().map(AsRef::as_ref).collect();
            json!({"kind": "lambda", "params": params, "body": to_json(body)})
        }
        Expr::Object(fields) => {
            let fields: Vec<Json> =
                fields.iter().map(|(name, value)| json!({"name": **name, "value": to_json(value)})).collect();
            json!({"kind": "object", "fields": fields})
        }
        Expr::Array(items) => json!({"kind": "array", "items": many(items)}),
        Expr::Template(Template(parts)) => {
            let parts: Vec<Json> = parts
                .iter()
                .map(|part| match part {
                    TemplatePart::Text(text) => json!(**text),
                    TemplatePart::Expr(expr) => to_json(expr),
                })
                .collect();
            json!({"kind": "template", "parts": parts})
        }
    }
}

/// A constant: JSON's own types as they are, the others with the name of their type.
fn literal_to_json(value: &Value) -> Json {
    match value {
        Value::Array(items) => {
            json!({"kind": "literal", "type": "array", "value": items.iter().map(literal_to_json).collect::<Vec<_>>()})
        }
        Value::Object(fields) => {
            let fields: Map<_, _> = fields
                .iter()
                .map(|(name, value)| (name.as_ref().to_owned(), literal_to_json(value)))
                .collect();
            json!({"kind": "literal", "type": "object", "value": fields})
        }
        Value::Money(_) | Value::Date(_) | Value::Datetime(_) | Value::Duration(_) => {
            json!({"kind": "literal", "type": value.type_name(), "value": value.to_json()})
        }
        plain => json!({"kind": "literal", "value": plain.to_json()}),
    }
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

/// A place in the JSON, linked to what it is in; the pointer is only written out for an error.
#[derive(Clone, Copy)]
struct Place<'a> {
    json: &'a Json,
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
    depth: usize,
}

impl<'a> Place<'a> {
    fn error(&self, code: &'static str, message: impl Into<String>) -> TreeError {
        let mut steps = Vec::new();
        let mut place = Some(self);
        while let Some(here) = place {
            match here.step {
                Step::Root => {}
                Step::Key(key) => steps.push(key.replace('~', "~0").replace('/', "~1")),
                Step::Index(index) => steps.push(index.to_string()),
            }
            place = here.parent;
        }
        let pointer = steps.iter().rev().flat_map(|step| ["/", step]).collect();
        TreeError { pointer, code, message: message.into() }
    }

    fn too_deep(&self) -> TreeError {
        self.error("E108", format!("the expression has more than {MAX_HEIGHT} levels"))
    }

    fn joined(&self, expr: Expr, height: usize) -> Result<Node, TreeError> {
        if height >= MAX_HEIGHT {
            return Err(self.too_deep());
        }
        Ok(Node { expr, height: height + 1 })
    }

    fn at(&'a self, step: Step<'a>, json: &'a Json) -> Place<'a> {
        Place { json, parent: Some(self), step, depth: self.depth + 1 }
    }

    fn optional_field(&'a self, key: &'a str) -> Option<Place<'a>> {
        self.json.get(key).map(|json| self.at(Step::Key(key), json))
    }

    fn field(&'a self, key: &'a str) -> Result<Place<'a>, TreeError> {
        self.optional_field(key).ok_or_else(|| self.error("E101", format!("the field `{key}` is missing")))
    }

    fn text(&self) -> Result<Arc<str>, TreeError> {
        self.json.as_str().map(Into::into).ok_or_else(|| self.error("E105", "text is expected here"))
    }

    fn items(&'a self) -> Result<impl Iterator<Item = Place<'a>>, TreeError> {
        let items = self.json.as_array().ok_or_else(|| self.error("E101", "an array is expected here"))?;
        Ok(items.iter().enumerate().map(|(index, json)| self.at(Step::Index(index), json)))
    }

    fn flag(&self, key: &str) -> Result<bool, TreeError> {
        match self.json.get(key) {
            None => Ok(false),
            Some(Json::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.error("E101", format!("`{key}` is true or false"))),
        }
    }

    fn node(&self) -> Result<Node, TreeError> {
        if self.depth > 2 * MAX_HEIGHT {
            return Err(self.too_deep());
        }
        match self.json {
            Json::String(text) => parse_node(text).map_err(|error| self.error(error.code, error.to_string())),
            Json::Array(_) => {
                let (items, height) = self.nodes()?;
                self.joined(Expr::Array(items), height)
            }
            Json::Object(fields) => {
                let kind = fields.get("kind").and_then(Json::as_str);
                match kind.filter(|kind| KINDS.contains(kind)) {
                    Some(kind) => self.tree(kind),
                    None => self.fields(),
                }
            }
            scalar => Ok(Node { expr: Expr::Literal(Value::from_json(scalar)), height: 1 }),
        }
    }

    fn nodes(&self) -> Result<(Vec<Expr>, usize), TreeError> {
        let mut height = 0;
        let mut exprs = Vec::new();
        for place in self.items()? {
            let node = place.node()?;
            height = height.max(node.height);
            exprs.push(node.expr);
        }
        Ok((exprs, height))
    }

    /// An object whose fields are expressions.
    fn fields(&self) -> Result<Node, TreeError> {
        let mut height = 0;
        let mut exprs = Vec::new();
        for (name, json) in self.json.as_object().into_iter().flatten() {
            let node = self.at(Step::Key(name), json).node()?;
            height = height.max(node.height);
            exprs.push((Arc::from(name.as_str()), node.expr));
        }
        self.joined(Expr::Object(exprs), height)
    }

    fn tree(&self, kind: &str) -> Result<Node, TreeError> {
        match kind {
            "literal" => self.literal().map(|value| Node { expr: Expr::Literal(value), height: 1 }),
            "name" => Ok(Node { expr: Expr::Name(self.field("name")?.text()?), height: 1 }),
            "member" => {
                let object = self.field("object")?.node()?;
                let (name, optional) = (self.field("name")?.text()?, self.flag("optional")?);
                self.joined(Expr::Member { object: Box::new(object.expr), name, optional }, object.height)
            }
            "index" => {
                let object = self.field("object")?.node()?;
                let index = self.field("index")?.node()?;
                let optional = self.flag("optional")?;
                let height = object.height.max(index.height);
                let expr =
                    Expr::Index { object: Box::new(object.expr), index: Box::new(index.expr), optional };
                self.joined(expr, height)
            }
            "unary" => {
                let symbol = self.field("op")?.text()?;
                let op = UnaryOp::ALL.into_iter().find(|op| op.symbol() == &*symbol);
                let op = op.ok_or_else(|| self.error("E100", format!("there is no operator `{symbol}`")))?;
                let operand = self.field("operand")?.node()?;
                self.joined(Expr::Unary { op, operand: Box::new(operand.expr) }, operand.height)
            }
            "binary" => self.binary(),
            "conditional" => {
                let condition = self.field("condition")?.node()?;
                let then = self.field("then")?.node()?;
                let otherwise = self.field("else")?.node()?;
                let height = condition.height.max(then.height).max(otherwise.height);
                let expr = Expr::Conditional {
                    condition: Box::new(condition.expr),
                    then: Box::new(then.expr),
                    otherwise: Box::new(otherwise.expr),
                };
                self.joined(expr, height)
            }
            "call" => {
                let function = self.field("function")?.text()?;
                let (args, height) = self.arguments()?;
                self.joined(Expr::Call { function, args }, height)
            }
            "method" => {
                let object = self.field("object")?.node()?;
                let (name, optional) = (self.field("name")?.text()?, self.flag("optional")?);
                let (args, height) = self.arguments()?;
                let height = height.max(object.height);
                self.joined(Expr::Method { object: Box::new(object.expr), name, args, optional }, height)
            }
            "lambda" => {
                let params = self.field("params")?;
                let params = params.items()?.map(|param| param.text()).collect::<Result<Vec<_>, _>>()?;
                let body = self.field("body")?.node()?;
                self.joined(Expr::Lambda { params, body: Box::new(body.expr) }, body.height)
            }
            "object" => self.object(),
            "array" => {
                let (items, height) = self.field("items")?.nodes()?;
                self.joined(Expr::Array(items), height)
            }
            _ => self.template(),
        }
    }

    fn arguments(&self) -> Result<(Vec<Expr>, usize), TreeError> {
        self.optional_field("args").map_or(Ok((Vec::new(), 0)), |args| args.nodes())
    }

    fn binary(&self) -> Result<Node, TreeError> {
        let symbol = self.field("op")?.text()?;
        let op = BinaryOp::ALL.into_iter().find(|op| op.symbol() == &*symbol);
        let op = op.ok_or_else(|| self.error("E100", format!("there is no operator `{symbol}`")))?;
        let left = self.field("left")?.node()?;
        let right = self.field("right")?.node()?;
        let height = left.height.max(right.height);
        let expr = Expr::Binary { op, left: Box::new(left.expr), right: Box::new(right.expr) };
        self.joined(expr, height)
    }

    /// `fields` as an array of `{name, value}`, which keeps their order, or as an object.
    fn object(&self) -> Result<Node, TreeError> {
        let fields = self.field("fields")?;
        if fields.json.is_object() {
            return fields.fields();
        }
        let mut height = 0;
        let mut exprs = Vec::new();
        for field in fields.items()? {
            let name = field.field("name")?.text()?;
            let node = field.field("value")?.node()?;
            height = height.max(node.height);
            exprs.push((name, node.expr));
        }
        self.joined(Expr::Object(exprs), height)
    }

    fn template(&self) -> Result<Node, TreeError> {
        let mut height = 0;
        let mut parts = Vec::new();
        for part in self.field("parts")?.items()? {
            if part.json.is_string() {
                parts.push(TemplatePart::Text(part.text()?));
            } else {
                let node = part.node()?;
                height = height.max(node.height);
                parts.push(TemplatePart::Expr(node.expr));
            }
        }
        self.joined(Expr::Template(Template(parts)), height)
    }

    fn literal(&self) -> Result<Value, TreeError> {
        if self.depth > 3 * MAX_HEIGHT {
            return Err(self.too_deep());
        }
        let value = self.field("value")?;
        let Some(ty) = self.optional_field("type") else {
            return Ok(Value::from_json(value.json));
        };
        let ty = ty.text()?;
        match &*ty {
            "array" => {
                value.items()?.map(|item| item.literal()).collect::<Result<Vec<_>, _>>().map(Value::array)
            }
            "object" => {
                let mut fields = std::collections::BTreeMap::new();
                for (name, json) in value.json.as_object().into_iter().flatten() {
                    fields.insert(Arc::from(name.as_str()), value.at(Step::Key(name), json).literal()?);
                }
                Ok(Value::object(fields))
            }
            ty => {
                let declared = Type::parse(ty).map_err(|error| self.error("E103", error.to_string()))?;
                declared
                    .admit(Value::from_json(value.json), &std::collections::BTreeMap::new())
                    .map_err(|_| value.error("E005", format!("the constant is no {ty}")))
            }
        }
    }
}
