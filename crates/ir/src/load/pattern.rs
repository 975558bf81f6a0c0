//! The patterns of `match` arms, as JSON and as text.
//!
//! Text: `_`; a literal (`'open'`, `42`, `true`, `null`); an enum member (`:open`, or a bare word that names
//! no type); a type (`int`, `Line`, `array[string]`); an object (`{status: :open, note: _}`); several with `|`
//! between them. As JSON, numbers, truth values and null stand for themselves, arrays for alternatives, and
//! objects either for objects or, with a `kind` of `wildcard literal type object any bind`, for the tree form.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::block::Pattern;
use crate::diagnostic::codes;
use crate::expr;
use crate::types::Type;
use crate::value::Value;

use super::blocks::literal;
use super::form::{Findings, MAX_KEY, Node, child, declared_type, is_name};

const KINDS: &[&str] = &["wildcard", "literal", "type", "object", "any", "bind"];

/// The pattern in a field.
pub(super) fn field(node: &Node<'_>, key: &str, findings: &mut Findings) -> Pattern {
    let Some(value) = node.map.get(key) else {
        node.missing(key, findings);
        return Pattern::Wildcard;
    };
    read(value, &node.at(key), findings)
}

fn read(value: &Json, pointer: &str, findings: &mut Findings) -> Pattern {
    match value {
        Json::String(text) => Text { rest: text }.whole().unwrap_or_else(|message| {
            findings.error(codes::INVALID_PATTERN, pointer, message);
            Pattern::Wildcard
        }),
        Json::Array(list) => any(list, pointer, findings),
        Json::Object(map) => match map.get("kind").and_then(Json::as_str) {
            Some(kind) if KINDS.contains(&kind) => tree(kind, map, pointer, findings),
            _ => object(map, pointer, findings),
        },
        literal => Pattern::Literal(Value::from_json(literal)),
    }
}

fn any(list: &[Json], pointer: &str, findings: &mut Findings) -> Pattern {
    if list.is_empty() {
        findings.error(codes::INVALID_PATTERN, pointer, "must hold at least one pattern");
    }
    let members = list.iter().enumerate();
    Pattern::Any(members.map(|(index, item)| read(item, &format!("{pointer}/{index}"), findings)).collect())
}

fn object(map: &Map<String, Json>, pointer: &str, findings: &mut Findings) -> Pattern {
    let mut fields = Vec::with_capacity(map.len());
    for (name, item) in map {
        if name.len() > MAX_KEY {
            let message = format!("a field name in a pattern has at most {MAX_KEY} bytes");
            findings.error(codes::INVALID_PATTERN, pointer, message);
            continue;
        }
        fields.push((Arc::from(name.as_str()), read(item, &child(pointer, name), findings)));
    }
    Pattern::Object(fields)
}

fn tree(kind: &str, map: &Map<String, Json>, pointer: &str, findings: &mut Findings) -> Pattern {
    let node = Node { map, pointer: pointer.to_owned() };
    let missing = |findings: &mut Findings, key: &str| {
        findings.error(codes::INVALID_PATTERN, pointer, format!("a {kind} pattern needs the field {key:?}"));
        Pattern::Wildcard
    };
    match kind {
        "literal" => match map.get("value") {
            Some(value) => Pattern::Literal(Value::from_json(value)),
            None => missing(findings, "value"),
        },
        "type" => match map.get("type") {
            Some(ty) => Pattern::Type(declared_type(ty, &node.at("type"), findings)),
            None => missing(findings, "type"),
        },
        "object" => match map.get("fields") {
            Some(Json::Object(fields)) => object(fields, &node.at("fields"), findings),
            _ => missing(findings, "fields"),
        },
        "any" => match map.get("of") {
            Some(Json::Array(list)) => any(list, &node.at("of"), findings),
            _ => missing(findings, "of"),
        },
        "bind" => match map.get("name").and_then(Json::as_str).filter(|name| is_name(name)) {
            Some(name) => Pattern::Bind(Arc::from(name)),
            None => missing(findings, "name"),
        },
        _ => Pattern::Wildcard,
    }
}

/// What is left of a pattern in text form.
struct Text<'t> {
    rest: &'t str,
}

/// Objects within objects.
const MAX_LEVELS: usize = 32;

impl<'t> Text<'t> {
    fn whole(mut self) -> Result<Pattern, String> {
        let pattern = self.alternatives(0)?;
        self.skip();
        if self.rest.is_empty() { Ok(pattern) } else { Err(format!("{:?} is left over", self.rest)) }
    }

    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, sign: char) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn alternatives(&mut self, level: usize) -> Result<Pattern, String> {
        let mut members = vec![self.single(level)?];
        while self.eat('|') {
            members.push(self.single(level)?);
        }
        Ok(if members.len() == 1 { members.remove(0) } else { Pattern::Any(members) })
    }

    fn single(&mut self, level: usize) -> Result<Pattern, String> {
        if level > MAX_LEVELS {
            return Err(format!("objects are nested deeper than {MAX_LEVELS} levels"));
        }
        if self.eat('{') {
            return self.object(level);
        }
        if self.eat(':') {
            let word = self.word();
            return if word.is_empty() {
                Err("an enum member must follow the colon".to_owned())
            } else {
                Ok(Pattern::Literal(Value::String(Arc::from(word))))
            };
        }
        let token = self.token();
        if token.is_empty() {
            return Err("a pattern is missing".to_owned());
        }
        if token == "_" {
            return Ok(Pattern::Wildcard);
        }
        if let Some(value) = expr::parse(token).ok().as_ref().and_then(literal) {
            return Ok(Pattern::Literal(value));
        }
        // A word that is no built-in type and does not begin like a declared one is an enum member.
        match Type::parse(token) {
            Ok(Type::Named(name)) if !name.starts_with(char::is_uppercase) => {
                Ok(Pattern::Literal(Value::String(name)))
            }
            Ok(ty) => Ok(Pattern::Type(ty)),
            Err(_) if token.chars().all(|letter| letter.is_alphanumeric() || "_-.".contains(letter)) => {
                Ok(Pattern::Literal(Value::String(Arc::from(token))))
            }
            Err(_) => Err(format!("{token:?} is no pattern; write texts as 'text' and members as :member")),
        }
    }

    fn object(&mut self, level: usize) -> Result<Pattern, String> {
        let mut fields = Vec::new();
        while !self.eat('}') {
            self.skip();
            let name = self.word();
            if name.is_empty() {
                return Err("a field name is missing in an object pattern".to_owned());
            }
            let pattern =
                if self.eat(':') { self.alternatives(level + 1)? } else { Pattern::Bind(Arc::from(name)) };
            fields.push((Arc::from(name), pattern));
            if !self.eat(',') {
                if self.eat('}') {
                    break;
                }
                return Err("an object pattern does not end".to_owned());
            }
        }
        Ok(Pattern::Object(fields))
    }

    fn word(&mut self) -> &'t str {
        let end = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    /// Up to the next `|`, `,` or `}` outside of quotes and brackets.
    fn token(&mut self) -> &'t str {
        self.skip();
        let mut quote = None;
        let mut escaped = false;
        let mut open = 0_usize;
        let mut end = self.rest.len();
        for (at, letter) in self.rest.char_indices() {
            match (quote, letter) {
                _ if escaped => escaped = false,
                (Some(_), '\\') => escaped = true,
                (Some(mark), _) => quote = (mark != letter).then_some(mark),
                (None, '\'' | '"' | '`') => quote = Some(letter),
                (None, '[') => open += 1,
                (None, ']') => open = open.saturating_sub(1),
                (None, '|' | ',' | '}') if open == 0 => {
                    end = at;
                    break;
                }
                _ => {}
            }
        }
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        token.trim_end()
    }
}
