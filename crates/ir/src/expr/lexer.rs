//! The words of expressions and types.
//!
//! The lexer stands on one token at a time, because what follows a backquote or a `${` is read by other rules,
//! which only the parser can choose.

use std::fmt;
use std::sync::Arc;

use time::Date;

use crate::value::text;

/// The longest text that is parsed, in bytes.
pub(crate) const MAX_TEXT: usize = 256 * 1024;

/// Why a text is no expression, template or type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {})", .offset + 1)]
pub struct ParseError {
    /// `E0xx` where the words are wrong, `E1xx` where their order is.
    pub code: &'static str,
    /// Where, in bytes from the beginning.
    pub offset: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A word.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    End,
    Name(Arc<str>),
    /// As written, without a sign: 2^63 is still possible here, for the smallest integer.
    Int(u64),
    Float(f64),
    Duration(i64),
    Date(Date),
    Datetime(i64),
    Text(Arc<str>),
    Backquote,
    True,
    False,
    Null,
    If,
    Then,
    Else,
    In,
    OpenParen,
    CloseParen,
    OpenBracket,
    CloseBracket,
    OpenBrace,
    CloseBrace,
    Comma,
    Colon,
    Dot,
    OptionalDot,
    Question,
    Coalesce,
    Arrow,
    PipeForward,
    Pipe,
    Or,
    And,
    Not,
    Assign,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Plus,
    Minus,
    Star,
    Slash,
    Percent,
}

/// Symbols, longer ones before those they begin with.
static SYMBOLS: [(&str, Token); 31] = [
    ("=>", Token::Arrow),
    ("==", Token::Eq),
    ("!=", Token::Ne),
    ("<=", Token::Le),
    (">=", Token::Ge),
    ("&&", Token::And),
    ("||", Token::Or),
    ("|>", Token::PipeForward),
    ("??", Token::Coalesce),
    ("?.", Token::OptionalDot),
    ("(", Token::OpenParen),
    (")", Token::CloseParen),
    ("[", Token::OpenBracket),
    ("]", Token::CloseBracket),
    ("{", Token::OpenBrace),
    ("}", Token::CloseBrace),
    (",", Token::Comma),
    (":", Token::Colon),
    (".", Token::Dot),
    ("?", Token::Question),
    ("|", Token::Pipe),
    ("!", Token::Not),
    ("=", Token::Assign),
    ("<", Token::Lt),
    (">", Token::Gt),
    ("+", Token::Plus),
    ("-", Token::Minus),
    ("*", Token::Star),
    ("/", Token::Slash),
    ("%", Token::Percent),
    ("`", Token::Backquote),
];

/// The words that are no names.
static KEYWORDS: [(&str, Token); 7] = [
    ("true", Token::True),
    ("false", Token::False),
    ("null", Token::Null),
    ("if", Token::If),
    ("then", Token::Then),
    ("else", Token::Else),
    ("in", Token::In),
];

impl Token {
    /// The word as a field's name: keywords and quoted text are names there.
    pub(crate) fn as_word(&self) -> Option<Arc<str>> {
        match self {
            Self::Name(name) | Self::Text(name) => Some(name.clone()),
            keyword => KEYWORDS.iter().find(|(_, token)| token == keyword).map(|(word, _)| (*word).into()),
        }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("the end"),
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Int(_) | Self::Float(_) => f.write_str("a number"),
            Self::Duration(_) => f.write_str("a duration"),
            Self::Date(_) => f.write_str("a date"),
            Self::Datetime(_) => f.write_str("a date-time"),
            Self::Text(_) => f.write_str("text"),
            other => SYMBOLS
                .iter()
                .chain(&KEYWORDS)
                .find(|(_, token)| token == other)
                .map_or(Ok(()), |(symbol, _)| write!(f, "`{symbol}`")),
        }
    }
}

/// Stands on one token of a text. Copies of it are marks to return to.
#[derive(Clone)]
pub(crate) struct Lexer<'a> {
    source: &'a str,
    token: Token,
    start: usize,
    end: usize,
}

impl<'a> Lexer<'a> {
    /// On the first token of the text.
    pub(crate) fn new(source: &'a str) -> Result<Self, ParseError> {
        if source.len() > MAX_TEXT {
            let message = format!("the text is longer than {MAX_TEXT} bytes");
            return Err(ParseError { code: "E109", offset: MAX_TEXT, message });
        }
        Self::at(source, 0)
    }

    /// On the first token after an offset.
    pub(crate) fn at(source: &'a str, offset: usize) -> Result<Self, ParseError> {
        let mut lexer = Self { source, token: Token::End, start: offset, end: offset };
        lexer.advance()?;
        Ok(lexer)
    }

    pub(crate) fn source(&self) -> &'a str {
        self.source
    }

    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Where the present token ends.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// An error at the present token.
    pub(crate) fn error(&self, code: &'static str, message: impl Into<String>) -> ParseError {
        ParseError { code, offset: self.start, message: message.into() }
    }

    /// The present token is not what belongs here.
    pub(crate) fn unexpected(&self, expected: &str) -> ParseError {
        self.error("E100", format!("found {} where {expected} is expected", self.token))
    }

    /// Steps over the present token if it is this one.
    pub(crate) fn eat(&mut self, token: &Token) -> Result<bool, ParseError> {
        if self.token != *token {
            return Ok(false);
        }
        self.advance()?;
        Ok(true)
    }

    /// Steps over this token, which must be the present one.
    pub(crate) fn expect(&mut self, token: &Token) -> Result<(), ParseError> {
        if self.eat(token)? {
            return Ok(());
        }
        Err(self.error("E101", format!("found {} where {token} is expected", self.token)))
    }

    /// Goes to the next token.
    pub(crate) fn advance(&mut self) -> Result<(), ParseError> {
        self.start = self.skip_blanks(self.end)?;
        self.end = self.start;
        let rest = &self.source[self.start..];
        self.token = match rest.bytes().next() {
            None => Token::End,
            Some(b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => {
                let length = run(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
                self.end += length;
                let word = &rest[..length];
                KEYWORDS
                    .iter()
                    .find(|(keyword, _)| *keyword == word)
                    .map_or_else(|| Token::Name(word.into()), |(_, token)| token.clone())
            }
            Some(quote @ (b'\'' | b'"')) => self.quoted(quote)?,
            Some(_) => {
                let Some((symbol, token)) = SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol))
                else {
                    let character = rest.chars().next().unwrap_or_default();
                    return Err(
                        self.error("E001", format!("the character {character:?} has no meaning here"))
                    );
                };
                self.end += symbol.len();
                token.clone()
            }
        };
        Ok(())
    }

    fn skip_blanks(&self, mut at: usize) -> Result<usize, ParseError> {
        loop {
            let rest = &self.source[at..];
            let trimmed = rest.trim_start();
            at += rest.len() - trimmed.len();
            if trimmed.starts_with("//") {
                at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if let Some(comment) = trimmed.strip_prefix("/*") {
                let Some(end) = comment.find("*/") else {
                    let message = "the comment that begins here has no `*/`".to_owned();
                    return Err(ParseError { code: "E003", offset: at, message });
                };
                at += end + 4;
            } else {
                return Ok(at);
            }
        }
    }

    /// A number, and what begins like one: durations, dates and instants.
    fn number(&mut self) -> Result<Token, ParseError> {
        let rest = &self.source[self.start..];
        if let Some(date) = rest.get(..10).and_then(text::parse_date)
            && !rest[10..].starts_with(|c: char| c.is_ascii_digit())
        {
            return self.date(rest, date);
        }
        let digits = |from: usize| from + run(&rest[from..], |byte| byte.is_ascii_digit() || byte == b'_');
        let byte = |at: usize| rest.as_bytes().get(at).copied().unwrap_or(0);
        let mut end = digits(0);
        let mut is_float = false;
        if byte(end) == b'.' && byte(end + 1).is_ascii_digit() {
            is_float = true;
            end = digits(end + 1);
        }
        let sign = usize::from(matches!(byte(end + 1), b'+' | b'-'));
        if matches!(byte(end), b'e' | b'E') && byte(end + 1 + sign).is_ascii_digit() {
            is_float = true;
            end = digits(end + 1 + sign);
        }
        if byte(end).is_ascii_alphabetic() {
            end += run(&rest[end..], |byte| byte.is_ascii_alphanumeric() || byte == b'_');
            self.end += end;
            let written = &rest[..end];
            return text::parse_duration(&written.replace('_', "")).map(Token::Duration).ok_or_else(|| {
                self.error(
                    "E005",
                    format!("`{written}` is neither a number nor a duration such as `30s` or `1h30m`"),
                )
            });
        }
        self.end += end;
        let written = &rest[..end];
        let plain = written.replace('_', "");
        let invalid = |what: &str| self.error("E005", format!("`{written}` {what}"));
        if written.ends_with('_') {
            return Err(invalid("ends with `_`"));
        }
        if is_float {
            let float: f64 = plain.parse().map_err(|_| invalid("is no number"))?;
            return if float.is_finite() { Ok(Token::Float(float)) } else { Err(invalid("is too large")) };
        }
        plain.parse().map(Token::Int).map_err(|_| invalid("does not fit into 64 bits"))
    }

    fn date(&mut self, rest: &str, date: Date) -> Result<Token, ParseError> {
        let time = rest
            .as_bytes()
            .get(10..12)
            .is_some_and(|next| matches!(next[0], b'T' | b't') && next[1].is_ascii_digit());
        if !time {
            self.end += 10;
            return Ok(Token::Date(date));
        }
        let mut end = 11 + run(&rest[11..], |byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'));
        match rest.as_bytes().get(end) {
            Some(b'Z' | b'z') => end += 1,
            Some(b'+' | b'-') => {
                end += 1;
                end += run(&rest[end..], |byte| byte.is_ascii_digit() || byte == b':');
            }
            _ => {}
        }
        self.end += end;
        let written = &rest[..end];
        text::parse_datetime(written).map(Token::Datetime).ok_or_else(|| {
            self.error(
                "E005",
                format!("`{written}` is no RFC 3339 date-time; it needs seconds and `Z` or an offset"),
            )
        })
    }

    fn quoted(&mut self, quote: u8) -> Result<Token, ParseError> {
        let quote = char::from(quote);
        let mut content = String::new();
        let mut at = self.start + 1;
        loop {
            let rest = &self.source[at..];
            let Some(next) = rest.chars().next() else {
                return Err(self.error("E002", "the text that begins here has no closing quote"));
            };
            at += next.len_utf8();
            if next == quote {
                break;
            }
            if next == '\\' {
                let (character, length) = escape(self.source, at)?;
                content.push(character);
                at += length;
            } else {
                content.push(next);
            }
        }
        self.end = at;
        Ok(Token::Text(content.into()))
    }
}

/// The character that an escape stands for, and how many bytes it takes after the backslash.
pub(crate) fn escape(source: &str, at: usize) -> Result<(char, usize), ParseError> {
    let invalid = || ParseError {
        code: "E004",
        offset: at.saturating_sub(1),
        message: "unknown escape; there are \\n \\r \\t \\0 \\\\ \\' \\\" \\` \\$ \\uXXXX \\u{…}".to_owned(),
    };
    let rest = &source[at..];
    let letter = rest.chars().next().ok_or_else(invalid)?;
    let character = match letter {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '0' => '\0',
        '\\' | '\'' | '"' | '`' | '$' | '/' => letter,
        'u' => return unicode_escape(rest).ok_or_else(invalid),
        _ => return Err(invalid()),
    };
    Ok((character, letter.len_utf8()))
}

fn unicode_escape(rest: &str) -> Option<(char, usize)> {
    let hex = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if plain { u32::from_str_radix(digits, 16).ok() } else { None }
    };
    if let Some(braced) = rest.strip_prefix("u{") {
        let end = braced.find('}')?;
        return Some((char::from_u32(hex(&braced[..end])?)?, end + 3));
    }
    let first = hex(rest.get(1..5)?)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, 5));
    }
    // Characters beyond the basic plane come as pairs of surrogates, as in JSON.
    let second = hex(rest.get(5..)?.strip_prefix("\\u")?.get(..4)?)?;
    let both = char::decode_utf16([u16::try_from(first).ok()?, u16::try_from(second).ok()?]).next()?;
    Some((both.ok()?, 11))
}

/// How many bytes from the beginning are of a kind.
fn run(text: &str, of: impl Fn(u8) -> bool) -> usize {
    text.bytes().take_while(|byte| of(*byte)).count()
}
