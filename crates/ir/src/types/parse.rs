//! The text of types: `array[Line]?`, `{ label: string, amount: int }`, `enum[draft, sent]`, `A | null`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use super::Type;
use crate::expr::lexer::{Lexer, Token};
use crate::expr::{ParseError, TreeError};

/// How deeply types may be nested in one another.
const MAX_DEPTH: usize = 64;

/// The primitive types by their names.
static PLAIN: [(&str, Type); 13] = [
    ("string", Type::String),
    ("int", Type::Int),
    ("float", Type::Float),
    ("bool", Type::Bool),
    ("date", Type::Date),
    ("datetime", Type::Datetime),
    ("duration", Type::Duration),
    ("money", Type::Money),
    ("email", Type::Email),
    ("url", Type::Url),
    ("uuid", Type::Uuid),
    ("json", Type::Json),
    ("null", Type::Null),
];

/// The name of a primitive type.
pub(super) fn plain_name(ty: &Type) -> &'static str {
    PLAIN.iter().find(|(_, plain)| plain == ty).map_or("json", |(name, _)| name)
}

/// A field's or an enum member's name, in quotes where it is no identifier.
pub(super) struct Word<'a>(pub(super) &'a str);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.0.bytes();
        let plain = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if plain { f.write_str(self.0) } else { Json::from(self.0).fmt(f) }
    }
}

impl Type {
    /// The type that a text declares.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut parser = Parser { lexer: Lexer::new(text)? };
        let ty = parser.union(0)?;
        match parser.lexer.token() {
            Token::End => Ok(ty),
            _ => Err(parser.lexer.unexpected("the end of the type")),
        }
    }

    /// The type that JSON declares: text, or an object of fields with their types.
    pub fn from_json(json: &Json) -> Result<Self, TreeError> {
        Self::from_json_at(json, "", 0)
    }

    fn from_json_at(json: &Json, pointer: &str, depth: usize) -> Result<Self, TreeError> {
        let error = |code, message: String| TreeError { pointer: pointer.to_owned(), code, message };
        if depth > MAX_DEPTH {
            return Err(error("E108", "the type is nested too deeply".to_owned()));
        }
        match json {
            Json::String(text) => Self::parse(text).map_err(|found| error(found.code, found.to_string())),
            Json::Object(fields) => fields
                .iter()
                .map(|(name, field)| {
                    let step = name.replace('~', "~0").replace('/', "~1");
                    // `name?` declares an optional field here as it does in text.
                    let (name, optional) = match name.strip_suffix('?') {
                        Some(name) => (name, true),
                        None => (name.as_str(), false),
                    };
                    let ty = Self::from_json_at(field, &format!("{pointer}/{step}"), depth + 1)?;
                    Ok((name.into(), if optional { optional_of(ty) } else { ty }))
                })
                .collect::<Result<BTreeMap<Arc<str>, Self>, _>>()
                .map(Self::Object),
            _ => Err(error("E103", "a type is a text or an object of fields".to_owned())),
        }
    }
}

/// A type or null, without saying null twice.
fn optional_of(ty: Type) -> Type {
    match ty {
        Type::Optional(_) | Type::Null | Type::Json => ty,
        ty => Type::Optional(Box::new(ty)),
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
}

impl Parser<'_> {
    fn union(&mut self, depth: usize) -> Result<Type, ParseError> {
        if depth > MAX_DEPTH {
            return Err(self.lexer.error("E108", "the type is nested too deeply"));
        }
        let mut members = vec![self.postfix(depth)?];
        while self.lexer.eat(&Token::Pipe)? {
            members.push(self.postfix(depth)?);
        }
        Ok(joined(members))
    }

    fn postfix(&mut self, depth: usize) -> Result<Type, ParseError> {
        let mut ty = self.primary(depth)?;
        loop {
            if self.lexer.eat(&Token::Question)? {
                ty = optional_of(ty);
            } else if self.lexer.eat(&Token::Coalesce)? {
                // `??` is two question marks to the lexer; once optional is optional enough.
                ty = optional_of(ty);
            } else {
                return Ok(ty);
            }
        }
    }

    fn primary(&mut self, depth: usize) -> Result<Type, ParseError> {
        match self.lexer.token().clone() {
            Token::Name(name) => {
                self.lexer.advance()?;
                self.named(&name, depth)
            }
            Token::Null => {
                self.lexer.advance()?;
                Ok(Type::Null)
            }
            Token::Text(text) => {
                self.lexer.advance()?;
                Ok(Type::Enum(vec![text]))
            }
            Token::OpenParen => {
                self.lexer.advance()?;
                let ty = self.union(depth + 1)?;
                self.lexer.expect(&Token::CloseParen)?;
                Ok(ty)
            }
            Token::OpenBrace => {
                self.lexer.advance()?;
                self.object(depth)
            }
            _ => Err(self.lexer.error("E103", "a type is expected here")),
        }
    }

    fn named(&mut self, name: &Arc<str>, depth: usize) -> Result<Type, ParseError> {
        match &**name {
            "array" => {
                self.lexer.expect(&Token::OpenBracket)?;
                let element = self.union(depth + 1)?;
                self.lexer.expect(&Token::CloseBracket)?;
                Ok(Type::Array(Box::new(element)))
            }
            "map" => {
                self.lexer.expect(&Token::OpenBracket)?;
                if !matches!(self.lexer.token(), Token::Name(key) if &**key == "string") {
                    return Err(self.lexer.error("E103", "the keys of a map are `string`: `map[string, T]`"));
                }
                self.lexer.advance()?;
                self.lexer.expect(&Token::Comma)?;
                let entry = self.union(depth + 1)?;
                self.lexer.expect(&Token::CloseBracket)?;
                Ok(Type::Map(Box::new(entry)))
            }
            "enum" => {
                self.lexer.expect(&Token::OpenBracket)?;
                let mut members = Vec::new();
                while self.lexer.token() != &Token::CloseBracket {
                    // Members may be written as symbols: `:draft`.
                    self.lexer.eat(&Token::Colon)?;
                    let member = self.word()?;
                    if members.contains(&member) {
                        return Err(self.lexer.error("E100", format!("`{member}` is in the enum twice")));
                    }
                    members.push(member);
                    if !self.lexer.eat(&Token::Comma)? {
                        break;
                    }
                }
                self.lexer.expect(&Token::CloseBracket)?;
                if members.is_empty() {
                    return Err(self.lexer.error("E103", "an enum needs members"));
                }
                Ok(Type::Enum(members))
            }
            plain => Ok(PLAIN
                .iter()
                .find(|(name, _)| *name == plain)
                .map_or_else(|| Type::Named(name.clone()), |(_, ty)| ty.clone())),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Type, ParseError> {
        let mut fields = BTreeMap::new();
        while self.lexer.token() != &Token::CloseBrace {
            let name = self.word()?;
            let optional = self.lexer.eat(&Token::Question)?;
            self.lexer.expect(&Token::Colon)?;
            let ty = self.union(depth + 1)?;
            let ty = if optional { optional_of(ty) } else { ty };
            if fields.insert(name.clone(), ty).is_some() {
                return Err(self.lexer.error("E100", format!("the field `{name}` is declared twice")));
            }
            if !self.lexer.eat(&Token::Comma)? {
                break;
            }
        }
        self.lexer.expect(&Token::CloseBrace)?;
        Ok(Type::Object(fields))
    }

    /// A field's or a member's name: an identifier, a keyword, or text in quotes.
    fn word(&mut self) -> Result<Arc<str>, ParseError> {
        let Some(word) = self.lexer.token().as_word() else {
            return Err(self.lexer.error("E105", "a name is expected here"));
        };
        self.lexer.advance()?;
        Ok(word)
    }
}

/// The union of members: flat, text members as one enum, null as optional.
fn joined(members: Vec<Type>) -> Type {
    let mut flat: Vec<Type> = Vec::new();
    let mut optional = false;
    let mut pending = members;
    pending.reverse();
    while let Some(member) = pending.pop() {
        match member {
            Type::Union(inner) => pending.extend(inner.into_iter().rev()),
            Type::Optional(inner) => {
                optional = true;
                pending.push(*inner);
            }
            Type::Null => optional = true,
            Type::Enum(texts) => match flat.iter_mut().find_map(|ty| match ty {
                Type::Enum(known) => Some(known),
                _ => None,
            }) {
                Some(known) => {
                    for text in texts {
                        if !known.contains(&text) {
                            known.push(text);
                        }
                    }
                }
                None => flat.push(Type::Enum(texts)),
            },
            other => {
                if !flat.contains(&other) {
                    flat.push(other);
                }
            }
        }
    }
    let ty = match flat.len() {
        0 => return Type::Null,
        1 => flat.swap_remove(0),
        _ => Type::Union(flat),
    };
    if optional { optional_of(ty) } else { ty }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_as_they_are_shown() {
        for (text, shown) in [
            ("string", "string"),
            ("array[Line]", "array[Line]"),
            ("map[string,int]", "map[string, int]"),
            ("{label: string, amount?: int}", "{ amount: int?, label: string }"),
            ("{}", "{}"),
            ("int?", "int?"),
            ("int??", "int?"),
            ("A | null", "A?"),
            ("A | B | A", "A | B"),
            ("(A | B)?", "(A | B)?"),
            ("enum[:draft, sent, 'not now']", "enum[draft, sent, \"not now\"]"),
            ("'a' | \"b\"", "enum[a, b]"),
            ("array[{a: int}]?", "array[{ a: int }]?"),
            ("null", "null"),
        ] {
            let ty = Type::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(ty.to_string(), shown);
            assert_eq!(Type::parse(shown).unwrap(), ty, "{shown}");
        }
    }

    #[test]
    fn other_texts_are_errors() {
        for (text, code) in [
            ("", "E103"),
            ("array", "E101"),
            ("array[", "E103"),
            ("array[int", "E101"),
            ("map[int, string]", "E103"),
            ("enum[]", "E103"),
            ("enum[a, a]", "E100"),
            ("{a}", "E101"),
            ("{a: int, a: int}", "E100"),
            ("int int", "E100"),
            ("int |", "E103"),
        ] {
            assert_eq!(Type::parse(text).unwrap_err().code, code, "{text}");
        }
        assert_eq!(Type::parse(&"array[".repeat(10_000)).unwrap_err().code, "E108");
    }

    #[test]
    fn json_objects_declare_fields() {
        let json = serde_json::json!({"label": "string", "lines": {"amount?": "int"}});
        assert_eq!(
            Type::from_json(&json).unwrap(),
            Type::parse("{label: string, lines: {amount?: int}}").unwrap()
        );
        let error = Type::from_json(&serde_json::json!({"a": {"b/c": 5}})).unwrap_err();
        assert_eq!(error.pointer, "/a/b~1c");
    }
}
