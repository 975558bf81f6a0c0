//! Pages of long lists: how much is asked for, from where, and what came.
//!
//! A cursor here is plain: the sort key of the last item given. The edge seals it before a client sees it.

use std::str::FromStr;

use crate::error::Error;

/// One part of a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CursorPart {
    /// A text, e.g. an identifier.
    Text(String),
    /// A number, e.g. an instant in microseconds.
    Int(i64),
}

impl From<String> for CursorPart {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for CursorPart {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for CursorPart {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

/// Where a list goes on: the sort key of the last item of the page before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(Vec<CursorPart>);

impl Cursor {
    /// The most parts that a cursor has.
    pub const MAX_PARTS: usize = 4;

    /// A cursor of its parts; those beyond [`Cursor::MAX_PARTS`] are left out.
    pub fn new(parts: impl IntoIterator<Item = CursorPart>) -> Self {
        Self(parts.into_iter().take(Self::MAX_PARTS).collect())
    }

    /// The parts, in order.
    pub fn parts(&self) -> &[CursorPart] {
        &self.0
    }

    /// The part at an index, when it is a text.
    pub fn text(&self, index: usize) -> Option<&str> {
        match self.0.get(index)? {
            CursorPart::Text(text) => Some(text),
            CursorPart::Int(_) => None,
        }
    }

    /// The part at an index, when it is a number.
    pub fn int(&self, index: usize) -> Option<i64> {
        match self.0.get(index)? {
            CursorPart::Int(number) => Some(*number),
            CursorPart::Text(_) => None,
        }
    }
}

/// What part of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items at most; at least one.
    pub limit: u32,
    /// After which item; `None` from the beginning.
    pub cursor: Option<Cursor>,
}

impl PageRequest {
    /// How many rows to read so that one knows whether more follow.
    pub fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// The identifier after which the list goes on, of a list whose sort key is one.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the cursor holds something else.
    pub fn after<T: FromStr>(&self) -> Result<Option<T>, Error> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let id = cursor.text(0).and_then(|text| text.parse().ok());
        id.map(Some).ok_or_else(|| {
            Error::invalid("cursor", "must be the next_cursor of an earlier page of this list")
        })
    }
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// The page of `request`, of rows that were read up to [`PageRequest::rows`]: a row too many means that
    /// more follow, after the last item that is kept.
    pub fn of_rows(mut rows: Vec<T>, request: &PageRequest, cursor: impl FnOnce(&T) -> Cursor) -> Self {
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = if more { rows.last().map(cursor) } else { None };
        Self { items: rows, next }
    }

    /// The same page with other items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_too_many_means_that_more_follow() {
        let request = PageRequest { limit: 2, cursor: None };
        let page = |rows| Page::of_rows(rows, &request, |row: &i64| Cursor::new([(*row).into()]));
        assert_eq!(page(vec![1, 2]).next, None);
        let full = page(vec![1, 2, 3]);
        assert_eq!(full.items, [1, 2]);
        assert_eq!(full.next.unwrap().int(0), Some(2));
    }
}
