//! The text of expressions and templates.
//!
//! Operators, from the loosest to the tightest: `|>`, `||`, `&&`, `== !=`, `< <= > >= in`, `??`, `+ -`,
//! `* / %`, the prefixes `- !`, and then members, indices and calls. `??` binds more tightly than comparisons,
//! so that `x.count ?? 0 > 5` asks whether the count is above five. Comparisons do not chain.

mod template;

use std::sync::Arc;

use super::lexer::{Lexer, ParseError, Token};
use super::{BinaryOp, Expr, Template, UnaryOp};
use crate::value::Value;

/// How deeply expressions may be nested in one another. What walks expressions does so by recursion, and
/// relies on this bound.
pub(crate) const MAX_HEIGHT: usize = 100;

/// The expression that a text writes. A lambda may stand alone too, where the reader of the field wants one.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    parse_node(text).map(|node| node.expr)
}

/// The template that a text writes: text with `${…}` in it. `\${` is a `${` that begins no expression; other
/// backslashes are themselves.
pub fn parse_template(text: &str) -> Result<Template, ParseError> {
    // Only for its bound on the length; tokens of text mean nothing.
    if text.len() > super::lexer::MAX_TEXT {
        return Lexer::new(text).map(|_| Template(Vec::new()));
    }
    let mut parser = Parser { lexer: Lexer::at(text, text.len())?, depth: 0 };
    parser.template(0, false).map(|(template, _, _)| template)
}

/// The expression of a text with its height, for those who put it into a larger tree.
pub(super) fn parse_node(text: &str) -> Result<Node, ParseError> {
    let mut parser = Parser { lexer: Lexer::new(text)?, depth: 0 };
    let node = match parser.lambda()? {
        Some(lambda) => lambda,
        None => parser.expression()?,
    };
    match parser.lexer.token() {
        Token::End => Ok(node),
        _ => Err(parser.lexer.unexpected("an operator or the end")),
    }
}

/// An expression and how many levels it has.
pub(super) struct Node {
    pub(super) expr: Expr,
    pub(super) height: usize,
}

impl Node {
    fn leaf(expr: Expr) -> Self {
        Self { expr, height: 1 }
    }

    fn literal(value: impl Into<Value>) -> Self {
        Self::leaf(Expr::Literal(value.into()))
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    depth: usize,
}

/// How tightly an operator between operands binds, and whether a second of its level may follow.
fn infix(token: &Token) -> Option<(u8, BinaryOp, Chain)> {
    Some(match token {
        Token::Or => (2, BinaryOp::Or, Chain::Left),
        Token::And => (3, BinaryOp::And, Chain::Left),
        Token::Eq => (4, BinaryOp::Eq, Chain::None),
        Token::Ne => (4, BinaryOp::Ne, Chain::None),
        Token::Lt => (5, BinaryOp::Lt, Chain::None),
        Token::Le => (5, BinaryOp::Le, Chain::None),
        Token::Gt => (5, BinaryOp::Gt, Chain::None),
        Token::Ge => (5, BinaryOp::Ge, Chain::None),
        Token::In => (5, BinaryOp::In, Chain::None),
        Token::Coalesce => (6, BinaryOp::Coalesce, Chain::Right),
        Token::Plus => (7, BinaryOp::Add, Chain::Left),
        Token::Minus => (7, BinaryOp::Sub, Chain::Left),
        Token::Star => (8, BinaryOp::Mul, Chain::Left),
        Token::Slash => (8, BinaryOp::Div, Chain::Left),
        Token::Percent => (8, BinaryOp::Rem, Chain::Left),
        _ => return None,
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Chain {
    Left,
    Right,
    None,
}

impl Parser<'_> {
    /// A larger expression of parts, the highest of which has this height.
    fn node(&self, expr: Expr, height: usize) -> Result<Node, ParseError> {
        if height >= MAX_HEIGHT {
            return Err(self.too_deep());
        }
        Ok(Node { expr, height: height + 1 })
    }

    fn too_deep(&self) -> ParseError {
        self.lexer.error("E108", format!("the expression has more than {MAX_HEIGHT} levels"))
    }

    /// A whole expression, pipes included.
    fn expression(&mut self) -> Result<Node, ParseError> {
        self.depth += 1;
        if self.depth > MAX_HEIGHT {
            return Err(self.too_deep());
        }
        let mut node = self.operation(0)?;
        while self.lexer.eat(&Token::PipeForward)? {
            let name = self.name("a method")?;
            let (args, height) = match self.lexer.token() {
                Token::OpenParen => self.arguments()?,
                _ => (Vec::new(), 0),
            };
            let height = height.max(node.height);
            node =
                self.node(Expr::Method { object: Box::new(node.expr), name, args, optional: false }, height)?;
        }
        self.depth -= 1;
        Ok(node)
    }

    /// Operands and operators that bind more tightly than `min`.
    fn operation(&mut self, min: u8) -> Result<Node, ParseError> {
        let mut left = self.prefixed()?;
        let mut unchained = None;
        while let Some((power, op, chain)) = infix(self.lexer.token()) {
            if power <= min {
                break;
            }
            if unchained == Some(power) {
                return Err(self.lexer.error("E100", "comparisons do not chain; join two with `&&`"));
            }
            self.lexer.advance()?;
            self.depth += 1;
            if self.depth > MAX_HEIGHT {
                return Err(self.too_deep());
            }
            let right = self.operation(if chain == Chain::Right { power - 1 } else { power })?;
            self.depth -= 1;
            let height = left.height.max(right.height);
            let expr = Expr::Binary { op, left: Box::new(left.expr), right: Box::new(right.expr) };
            left = self.node(expr, height)?;
            unchained = (chain == Chain::None).then_some(power);
        }
        Ok(left)
    }

    fn prefixed(&mut self) -> Result<Node, ParseError> {
        let op = match self.lexer.token() {
            Token::Minus => UnaryOp::Neg,
            Token::Not => UnaryOp::Not,
            Token::If => return self.conditional(),
            _ => return self.postfixed(),
        };
        self.lexer.advance()?;
        if op == UnaryOp::Neg && self.lexer.token() == &Token::Int(1 << 63) {
            self.lexer.advance()?;
            return Ok(Node::literal(i64::MIN));
        }
        self.depth += 1;
        if self.depth > MAX_HEIGHT {
            return Err(self.too_deep());
        }
        let operand = self.prefixed()?;
        self.depth -= 1;
        // A negative number is a constant, not an operation.
        match (op, operand.expr) {
            (UnaryOp::Neg, Expr::Literal(Value::Int(int))) if int > 0 => Ok(Node::literal(-int)),
            (UnaryOp::Neg, Expr::Literal(Value::Float(float))) if float > 0.0 => Ok(Node::literal(-float)),
            (UnaryOp::Neg, Expr::Literal(Value::Duration(micros))) if micros > 0 => {
                Ok(Node::leaf(Expr::Literal(Value::Duration(-micros))))
            }
            (op, expr) => self.node(Expr::Unary { op, operand: Box::new(expr) }, operand.height),
        }
    }

    fn conditional(&mut self) -> Result<Node, ParseError> {
        self.lexer.advance()?;
        let condition = self.expression()?;
        self.lexer.expect(&Token::Then)?;
        let then = self.expression()?;
        self.lexer.expect(&Token::Else)?;
        let otherwise = self.expression()?;
        let height = condition.height.max(then.height).max(otherwise.height);
        let expr = Expr::Conditional {
            condition: Box::new(condition.expr),
            then: Box::new(then.expr),
            otherwise: Box::new(otherwise.expr),
        };
        self.node(expr, height)
    }

    fn postfixed(&mut self) -> Result<Node, ParseError> {
        let mut node = self.primary()?;
        loop {
            let optional = match self.lexer.token() {
                Token::Dot => false,
                Token::OptionalDot => true,
                Token::OpenBracket => {
                    self.lexer.advance()?;
                    node = self.index(node, false)?;
                    continue;
                }
                _ => return Ok(node),
            };
            self.lexer.advance()?;
            if optional && self.lexer.eat(&Token::OpenBracket)? {
                node = self.index(node, true)?;
                continue;
            }
            if matches!(self.lexer.token(), Token::Text(_)) {
                return Err(self.lexer.error("E105", "a field's name is expected here; `[…]` takes text"));
            }
            let name = self.name("a field's name")?;
            let (expr, height) = if self.lexer.token() == &Token::OpenParen {
                let (args, height) = self.arguments()?;
                (Expr::Method { object: Box::new(node.expr), name, args, optional }, height)
            } else {
                (Expr::Member { object: Box::new(node.expr), name, optional }, 0)
            };
            node = self.node(expr, height.max(node.height))?;
        }
    }

    fn index(&mut self, object: Node, optional: bool) -> Result<Node, ParseError> {
        let index = self.expression()?;
        self.lexer.expect(&Token::CloseBracket)?;
        let height = object.height.max(index.height);
        let expr = Expr::Index { object: Box::new(object.expr), index: Box::new(index.expr), optional };
        self.node(expr, height)
    }

    fn name(&mut self, what: &str) -> Result<Arc<str>, ParseError> {
        let Some(name) = self.lexer.token().as_word() else {
            return Err(self
                .lexer
                .error("E105", format!("found {} where {what} is expected", self.lexer.token())));
        };
        self.lexer.advance()?;
        Ok(name)
    }

    fn primary(&mut self) -> Result<Node, ParseError> {
        let node = match self.lexer.token().clone() {
            Token::Int(int) => {
                let int = i64::try_from(int)
                    .map_err(|_| self.lexer.error("E005", "the number does not fit into 64 bits"))?;
                Node::literal(int)
            }
            Token::Float(float) => Node::literal(float),
            Token::Duration(micros) => Node::leaf(Expr::Literal(Value::Duration(micros))),
            Token::Date(date) => Node::literal(date),
            Token::Datetime(micros) => Node::leaf(Expr::Literal(Value::Datetime(micros))),
            Token::Text(text) => Node::literal(text),
            Token::True => Node::literal(true),
            Token::False => Node::literal(false),
            Token::Null => Node::leaf(Expr::Literal(Value::Null)),
            Token::Name(name) => {
                self.lexer.advance()?;
                if self.lexer.token() == &Token::OpenParen {
                    let (args, height) = self.arguments()?;
                    return self.node(Expr::Call { function: name, args }, height);
                }
                return Ok(Node::leaf(Expr::Name(name)));
            }
            Token::Backquote => {
                let (template, height, end) = self.template(self.lexer.end(), true)?;
                self.lexer = Lexer::at(self.lexer.source(), end)?;
                return self.node(Expr::Template(template), height);
            }
            Token::OpenParen => {
                self.lexer.advance()?;
                let node = self.expression()?;
                self.lexer.expect(&Token::CloseParen)?;
                return Ok(node);
            }
            Token::OpenBracket => {
                self.lexer.advance()?;
                let (items, height) = self.list(&Token::CloseBracket, Self::expression)?;
                return self.node(Expr::Array(items), height);
            }
            Token::OpenBrace => {
                self.lexer.advance()?;
                return self.object();
            }
            Token::Colon => {
                // An enum member as a symbol: `:draft`.
                self.lexer.advance()?;
                Node::literal(self.word_here("a symbol's name")?)
            }
            Token::Then | Token::Else | Token::In => {
                return Err(self
                    .lexer
                    .error("E006", format!("{} is a keyword, not a name", self.lexer.token())));
            }
            other => {
                return Err(self
                    .lexer
                    .error("E102", format!("found {other} where an expression is expected")));
            }
        };
        self.lexer.advance()?;
        Ok(node)
    }

    /// The name that the lexer stands on, without stepping over it.
    fn word_here(&self, what: &str) -> Result<Arc<str>, ParseError> {
        self.lexer.token().as_word().ok_or_else(|| {
            self.lexer.error("E105", format!("found {} where {what} is expected", self.lexer.token()))
        })
    }

    /// Expressions up to a closing token; a comma may follow the last.
    fn list(
        &mut self,
        close: &Token,
        item: fn(&mut Self) -> Result<Node, ParseError>,
    ) -> Result<(Vec<Expr>, usize), ParseError> {
        let mut items = Vec::new();
        let mut height = 0;
        while self.lexer.token() != close {
            let node = item(self)?;
            height = height.max(node.height);
            items.push(node.expr);
            if !self.lexer.eat(&Token::Comma)? {
                break;
            }
        }
        self.lexer.expect(close)?;
        Ok((items, height))
    }

    fn object(&mut self) -> Result<Node, ParseError> {
        let mut fields: Vec<(Arc<str>, Expr)> = Vec::new();
        let mut height = 0;
        while self.lexer.token() != &Token::CloseBrace {
            let shorthand = matches!(self.lexer.token(), Token::Name(_));
            let name = self.name("a field's name")?;
            let value = if shorthand && matches!(self.lexer.token(), Token::Comma | Token::CloseBrace) {
                Node::leaf(Expr::Name(name.clone()))
            } else {
                self.lexer.expect(&Token::Colon)?;
                self.expression()?
            };
            height = height.max(value.height);
            fields.push((name, value.expr));
            if !self.lexer.eat(&Token::Comma)? {
                break;
            }
        }
        self.lexer.expect(&Token::CloseBrace)?;
        self.node(Expr::Object(fields), height)
    }

    /// Arguments in parentheses. Named ones (`limit = 5`) come last and become the fields of one object.
    fn arguments(&mut self) -> Result<(Vec<Expr>, usize), ParseError> {
        self.lexer.advance()?;
        let mut args = Vec::new();
        let mut named = Vec::new();
        let mut height = 0;
        while self.lexer.token() != &Token::CloseParen {
            let mark = self.lexer.clone();
            if let Token::Name(name) = self.lexer.token().clone() {
                self.lexer.advance()?;
                if self.lexer.eat(&Token::Assign)? {
                    let value = self.expression()?;
                    height = height.max(value.height + 1);
                    named.push((name, value.expr));
                    if !self.lexer.eat(&Token::Comma)? {
                        break;
                    }
                    continue;
                }
                self.lexer = mark;
            }
            if !named.is_empty() {
                return Err(self.lexer.error("E100", "named arguments come after the others"));
            }
            let node = match self.lambda()? {
                Some(lambda) => lambda,
                None => self.expression()?,
            };
            height = height.max(node.height);
            args.push(node.expr);
            if !self.lexer.eat(&Token::Comma)? {
                break;
            }
        }
        self.lexer.expect(&Token::CloseParen)?;
        if !named.is_empty() {
            args.push(Expr::Object(named));
        }
        Ok((args, height))
    }

    /// A lambda, if one begins here.
    fn lambda(&mut self) -> Result<Option<Node>, ParseError> {
        let mark = self.lexer.clone();
        let params = match self.lexer.token().clone() {
            Token::Name(name) => {
                self.lexer.advance()?;
                Some(vec![name])
            }
            Token::OpenParen => {
                self.lexer.advance()?;
                self.lambda_params()?
            }
            _ => None,
        };
        let Some(params) = params.filter(|_| self.lexer.token() == &Token::Arrow) else {
            self.lexer = mark;
            return Ok(None);
        };
        self.lexer.advance()?;
        let body = self.expression()?;
        self.node(Expr::Lambda { params, body: Box::new(body.expr) }, body.height).map(Some)
    }

    /// `a, b)`; none where something else stands in the parentheses.
    fn lambda_params(&mut self) -> Result<Option<Vec<Arc<str>>>, ParseError> {
        let mut params = Vec::new();
        while let Token::Name(name) = self.lexer.token().clone() {
            self.lexer.advance()?;
            params.push(name);
            if !self.lexer.eat(&Token::Comma)? {
                break;
            }
        }
        Ok(if self.lexer.eat(&Token::CloseParen)? { Some(params) } else { None })
    }
}
