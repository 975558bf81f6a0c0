//! What a page says, without its markup.

/// Elements whose content is no text for readers.
const SILENT: [&str; 7] = ["script", "style", "template", "noscript", "svg", "iframe", "head"];
/// Elements that stand on lines of their own.
const LINES: [&str; 27] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "br",
    "dd",
    "div",
    "dl",
    "dt",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "main",
    "ol",
    "p",
    "section",
    "table",
    "tr",
    "ul",
];

/// The text of an HTML page: markup left out, what stands on lines of its own on lines of its own, white space as one reads
/// it. It is no parser of HTML: of a page that is broken it gives some text.
pub fn text_of_html(html: &str) -> String {
    // The same number of bytes, so that places in the one are places in the other.
    let lower = html.to_ascii_lowercase();
    let mut text = Text::default();
    let mut at = 0;
    while let Some(rest) = html.get(at..) {
        let Some(open) = rest.find('<') else {
            text.add(rest);
            break;
        };
        text.add(rest.get(..open).unwrap_or_default());
        let begins = at + open;
        match after_markup(&lower, begins, &mut text) {
            Some(end) => at = end,
            None => break,
        }
    }
    text.finished()
}

/// Where the text goes on after a `<` and what belongs to it; nowhere, where its end is missing.
fn after_markup(lower: &str, begins: usize, text: &mut Text) -> Option<usize> {
    let rest = lower.get(begins + 1..)?;
    if let Some(comment) = rest.strip_prefix("!--") {
        return comment.find("-->").map(|end| begins + 4 + end + 3);
    }
    let named = rest.strip_prefix('/').unwrap_or(rest);
    let name: &str = named.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    if name.is_empty() && !rest.starts_with(['/', '!', '?']) {
        // A sign and no markup.
        text.add("<");
        return Some(begins + 1);
    }
    let end = begins + 1 + rest.find('>')? + 1;
    if LINES.contains(&name) {
        text.end_line();
    }
    if !rest.starts_with('/') && SILENT.contains(&name) {
        let closing = format!("</{name}");
        let from = end + lower.get(end..)?.find(&closing)?;
        return Some(from + lower.get(from..)?.find('>')? + 1);
    }
    Some(end)
}

/// Text as it is put together: no white space twice, no empty line twice.
#[derive(Default)]
struct Text {
    told: String,
    /// White space that is told once something follows it.
    gap: Option<char>,
}

impl Text {
    fn add(&mut self, piece: &str) {
        let mut rest = piece;
        while let Some(c) = rest.chars().next() {
            let (c, length) = if c == '&' { reference(rest) } else { (c, c.len_utf8()) };
            rest = rest.get(length..).unwrap_or_default();
            if c.is_whitespace() {
                self.gap.get_or_insert(' ');
                continue;
            }
            if let Some(gap) = self.gap.take()
                && !self.told.is_empty()
            {
                self.told.push(gap);
            }
            self.told.push(c);
        }
    }

    const fn end_line(&mut self) {
        self.gap = Some('\n');
    }

    fn finished(self) -> String {
        self.told
    }
}

/// The character that a reference at the beginning of a text means, and how many bytes it takes; `&` where it is none.
fn reference(text: &str) -> (char, usize) {
    let end = text.bytes().skip(1).take(11).position(|byte| byte == b';');
    let Some((name, end)) = end.and_then(|end| text.get(1..=end).map(|name| (name, end))) else {
        return ('&', 1);
    };
    let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
    let meant = match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        "nbsp" => Some(' '),
        "ndash" => Some('–'),
        "mdash" => Some('—'),
        "hellip" => Some('…'),
        _ => name.strip_prefix('#').and_then(|code| match code.strip_prefix(['x', 'X']) {
            Some(hex) => number(hex, 16),
            None => number(code, 10),
        }),
    };
    meant.filter(|c| *c != '\0').map_or(('&', 1), |c| (c, end + 2))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_to_be_read_is_kept() {
        let page = "<!DOCTYPE html><html><head><title>T</title></head><body>\n<h1>Hello &amp; welcome</h1>\
            <SCRIPT>if (a < b) { alert('</p>') }</Script><!-- not <b>this</b> --><p>One  <b>two</b>\n three&nbsp;&#x34;&#53;</p>\
            <ul><li>a<li>b &lt; c</ul> 1 < 2 &nothing; end</body></html>";
        assert_eq!(text_of_html(page), "Hello & welcome\nOne two three 45\na\nb < c\n1 < 2 &nothing; end");
    }

    #[test]
    fn what_has_no_end_is_left_out() {
        for broken in ["a<script>x", "a<!-- x", "a<p", "a<style>x</style"] {
            assert_eq!(text_of_html(broken), "a", "{broken}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(html in "[<>/!&;#x0-9a-c é\\-]{0,200}") {
            let text = text_of_html(&html);
            prop_assert!(text.len() <= html.len() * 4);
        }
    }
}
