//! Text with `${…}` in it, within backquotes and as a field of its own.

use super::super::lexer::{Lexer, ParseError, Token, escape};
use super::super::{Template, TemplatePart};
use super::{Node, Parser};

impl Parser<'_> {
    /// Text with `${…}` from an offset on, up to a backquote or the end. Gives the parts, their height, and
    /// where the text after them begins.
    pub(super) fn template(
        &mut self,
        from: usize,
        in_backquotes: bool,
    ) -> Result<(Template, usize, usize), ParseError> {
        let source = self.lexer.source();
        let mut parts = Vec::new();
        let mut content = String::new();
        let mut height = 0;
        let mut at = from;
        loop {
            let rest = &source[at..];
            let Some(next) = rest.chars().next() else {
                if in_backquotes {
                    let message = "the template that begins here has no closing backquote".to_owned();
                    return Err(ParseError { code: "E002", offset: from.saturating_sub(1), message });
                }
                break;
            };
            if in_backquotes && next == '`' {
                at += 1;
                break;
            }
            if rest.starts_with("${") {
                let node = self.interpolation(at)?;
                at = self.lexer.end();
                height = height.max(node.height);
                if !content.is_empty() {
                    parts.push(TemplatePart::Text(std::mem::take(&mut content).into()));
                }
                parts.push(TemplatePart::Expr(node.expr));
            } else if next == '\\' && in_backquotes {
                let (character, length) = escape(source, at + 1)?;
                content.push(character);
                at += 1 + length;
            } else if rest.starts_with("\\${") {
                content.push_str("${");
                at += 3;
            } else {
                content.push(next);
                at += next.len_utf8();
            }
        }
        if !content.is_empty() {
            parts.push(TemplatePart::Text(content.into()));
        }
        Ok((Template(parts), height, at))
    }

    /// The expression of a `${…}`; the lexer then stands on its closing brace.
    fn interpolation(&mut self, at: usize) -> Result<Node, ParseError> {
        let source = self.lexer.source();
        let unterminated = || ParseError {
            code: "E008",
            offset: at,
            message: "the `${` that begins here has no `}`".to_owned(),
        };
        self.lexer = Lexer::at(source, at + 2)?;
        if self.lexer.token() == &Token::End {
            return Err(unterminated());
        }
        let node = self.expression()?;
        match self.lexer.token() {
            Token::CloseBrace => Ok(node),
            Token::End => Err(unterminated()),
            _ => Err(self.lexer.unexpected("an operator or `}`")),
        }
    }
}
