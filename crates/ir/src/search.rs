//! Which texts fit a query, and how well.
//!
//! Texts are compared word by word (Unicode Standard Annex #29), after compatibility normalisation (NFKC) and without
//! regard to case. The *similarity* of a text is the share of the query that is found in it: each word of the query
//! weighs the more, the fewer of the texts have it (the inverse document frequency of BM25). So 1 means that every word
//! is there, and words that nearly all texts have count for little. The last word also fits words that begin with it,
//! in proportion to how much of the word it is, unless something follows it in the query. Among equals the text in
//! which the words stand more densely comes first (BM25's score), then the one that was added first.
//!
//! Where a model has made vectors of the texts and the query, a text is also as similar as their directions are
//! ([`cosine`]): the greater of the two similarities counts ([`Search::finish_with`]), so that what words find is found with
//! vectors too.
//!
//! Nothing here knows where the texts lie: they are added one by one, and only counts are kept.

use std::collections::HashMap;

use unicode_normalization::UnicodeNormalization as _;
use unicode_segmentation::UnicodeSegmentation as _;

use crate::value::Value;

/// Different words of a query that count; what follows is left out.
pub const QUERY_WORDS: usize = 64;
/// How much a word's repetition in one text counts (k₁ of BM25).
const SATURATION: f64 = 1.2;
/// How much a text's length counts (b of BM25).
const LENGTH_SHARE: f64 = 0.75;
/// Similarities are given to so many parts of one.
const PARTS: f64 = 10_000.0;

/// A text that fits, by the place at which it was added.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// How many texts were added before it.
    pub place: usize,
    /// Above 0, and 1 at most; four digits after the point.
    pub similarity: f64,
}

/// A search under way.
#[derive(Debug)]
pub struct Search {
    words: HashMap<String, usize>,
    /// The last word, in lower case, where words that begin with it fit too; and its length in characters.
    open: Option<(String, usize, usize)>,
    texts: usize,
    length: usize,
    /// In how many texts each word of the query is.
    frequencies: Vec<usize>,
    hits: Vec<Hit>,
}

#[derive(Debug)]
struct Hit {
    place: usize,
    length: usize,
    matches: Vec<Match>,
}

/// How a text has a word of the query.
#[derive(Debug, Clone, Copy, Default)]
struct Match {
    times: u32,
    /// 1 for the word itself, less for one that begins with it.
    closeness: f64,
}

impl Search {
    /// A search for a query. One without words fits nothing.
    pub fn new(query: &str) -> Self {
        let folded = fold(query);
        let mut words = HashMap::new();
        let mut open = None;
        for (start, word) in folded.unicode_word_indices() {
            let next = words.len();
            if next == QUERY_WORDS && !words.contains_key(word) {
                open = None;
                break;
            }
            let number = *words.entry(word.to_owned()).or_insert(next);
            let is_last = start + word.len() == folded.len();
            open = is_last.then(|| (word.to_owned(), word.chars().count(), number));
        }
        let frequencies = vec![0; words.len()];
        Self { words, open, texts: 0, length: 0, frequencies, hits: Vec::new() }
    }

    /// Looks at the next text, which may come in several parts. Gives whether it has anything of the query.
    pub fn add<'t>(&mut self, parts: impl IntoIterator<Item = &'t str>) -> bool {
        let mut matches: Vec<Match> = Vec::new();
        let mut length = 0_usize;
        for part in parts {
            for word in fold(part).unicode_words() {
                length += 1;
                if let Some((number, closeness)) = self.fits(word) {
                    matches.resize(self.words.len(), Match::default());
                    if let Some(found) = matches.get_mut(number) {
                        found.times = found.times.saturating_add(1);
                        found.closeness = found.closeness.max(closeness);
                    }
                }
            }
        }
        let place = self.texts;
        self.texts += 1;
        self.length = self.length.saturating_add(length);
        if matches.is_empty() {
            return false;
        }
        for (frequency, found) in self.frequencies.iter_mut().zip(&matches) {
            *frequency += usize::from(found.times > 0);
        }
        self.hits.push(Hit { place, length, matches });
        true
    }

    /// Looks at the next text: that of a value, and of the key that it lies under.
    pub fn add_value(&mut self, key: Option<&str>, value: &Value) -> bool {
        let mut parts: Vec<String> = key.map(str::to_owned).into_iter().collect();
        texts(value, &mut parts);
        self.add(parts.iter().map(String::as_str))
    }

    /// Which word of the query a word fits, and how closely.
    fn fits(&self, word: &str) -> Option<(usize, f64)> {
        if let Some(number) = self.words.get(word) {
            return Some((*number, 1.0));
        }
        let (prefix, length, number) = self.open.as_ref()?;
        word.starts_with(prefix.as_str()).then(|| (*number, ratio(*length, word.chars().count())))
    }

    /// What fits, the best first: at most so many, of at least this similarity.
    pub fn finish(self, limit: usize, min_similarity: f64) -> Vec<Found> {
        self.finish_with(|_| None, limit, min_similarity)
    }

    /// What fits by its words or by what it means, the best first. `closeness` says how near a text, by its place, is to the
    /// query in what it means, from -1 to 1; none where that is not known.
    pub fn finish_with(
        self,
        closeness: impl Fn(usize) -> Option<f64>,
        limit: usize,
        min_similarity: f64,
    ) -> Vec<Found> {
        let mean = ratio(self.length, self.texts).max(1.0);
        let weights: Vec<f64> =
            self.frequencies.iter().map(|frequency| rarity(*frequency, self.texts)).collect();
        let whole: f64 = weights.iter().sum();
        let mut ranked: Vec<(Found, f64)> = Vec::new();
        let mut hits = self.hits.iter().peekable();
        for place in 0..self.texts {
            let meant = closeness(place).map_or(0.0, |near| (near.clamp(0.0, 1.0) * PARTS).round() / PARTS);
            // Hits are in the order of their places.
            let Some(hit) = hits.next_if(|hit| hit.place == place) else {
                if meant > 0.0 && meant >= min_similarity {
                    ranked.push((Found { place, similarity: meant }, 0.0));
                }
                continue;
            };
            let (mut share, mut density) = (0.0, 0.0);
            let length = 1.0 - LENGTH_SHARE + LENGTH_SHARE * as_float(hit.length) / mean;
            for (weight, found) in weights.iter().zip(&hit.matches) {
                let (weight, times) = (weight * found.closeness, f64::from(found.times));
                share += weight;
                density += weight * times / (times + SATURATION * length);
            }
            // Rounding leads neither to a perfect fit nor away from one.
            let perfect = hit.matches.iter().all(|found| found.closeness >= 1.0);
            let similarity = match (share / whole * PARTS).round() / PARTS {
                _ if perfect => 1.0,
                rounded => rounded.clamp(1.0 / PARTS, 1.0 - 1.0 / PARTS),
            };
            let similarity = similarity.max(meant);
            if similarity >= min_similarity {
                ranked.push((Found { place, similarity }, density));
            }
        }
        ranked.sort_by(|(a, dense_a), (b, dense_b)| {
            b.similarity
                .total_cmp(&a.similarity)
                .then_with(|| dense_b.total_cmp(dense_a))
                .then_with(|| a.place.cmp(&b.place))
        });
        ranked.into_iter().take(limit).map(|(found, _)| found).collect()
    }
}

/// How near the directions of two vectors are: 1 where they are the same, 0 where they have nothing to do with each other,
/// -1 where they are opposite. None where one has no direction, or they are not of the same space.
///
/// The sums are taken in the order of the components, so that it is the same number wherever it is computed.
pub fn cosine(one: &[f32], other: &[f32]) -> Option<f64> {
    if one.len() != other.len() {
        return None;
    }
    let (mut product, mut squares) = (0.0_f64, (0.0_f64, 0.0_f64));
    for (a, b) in one.iter().zip(other) {
        let (a, b) = (f64::from(*a), f64::from(*b));
        product += a * b;
        squares = (squares.0 + a * a, squares.1 + b * b);
    }
    let length = (squares.0 * squares.1).sqrt();
    let cosine = product / length;
    (length > 0.0 && cosine.is_finite()).then(|| cosine.clamp(-1.0, 1.0))
}

/// The text that a model gets to see of a value and the key that it lies under: what is searched for words, a part per line.
pub fn text(key: Option<&str>, value: &Value) -> String {
    let mut parts: Vec<String> = key.map(str::to_owned).into_iter().collect();
    texts(value, &mut parts);
    parts.join("\n")
}

/// The text without what does not tell words apart: compatibility forms and case.
fn fold(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // By way of upper case, which brings together what lower case keeps apart: `ß` and `SS`, `ς` and `σ`.
    let raised = text.nfkc().flat_map(char::to_uppercase);
    raised.flat_map(char::to_lowercase).nfkc().collect()
}

/// The texts in a value: strings, and numbers and times as they are shown; neither names of fields nor truths.
fn texts(value: &Value, parts: &mut Vec<String>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Array(items) => items.iter().for_each(|item| texts(item, parts)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, parts)),
        Value::String(text) => parts.push(text.to_string()),
        other => parts.push(other.to_string()),
    }
}

/// The inverse document frequency, in the form that is never negative.
fn rarity(frequency: usize, texts: usize) -> f64 {
    let (frequency, texts) = (as_float(frequency), as_float(texts));
    (1.0 + (texts - frequency + 0.5) / (frequency + 0.5)).ln()
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { as_float(part) / as_float(whole) }
}

#[expect(clippy::cast_precision_loss, reason = "counts of words are far below 2^53")]
fn as_float(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn search(query: &str, texts: &[&str]) -> Vec<(usize, f64)> {
        let mut search = Search::new(query);
        for text in texts {
            search.add([*text]);
        }
        search.finish(usize::MAX, 0.0).into_iter().map(|found| (found.place, found.similarity)).collect()
    }

    fn places(query: &str, texts: &[&str]) -> Vec<usize> {
        search(query, texts).into_iter().map(|(place, _)| place).collect()
    }

    #[test]
    fn words_are_found_and_parts_of_words_are_not() {
        let texts = ["The cat sat.", "A concatenation", "{\"cat\": 1}", "Cat-like"];
        assert_eq!(places("cat ", &texts), [2, 3, 0]);
        assert_eq!(places("", &texts), [0; 0]);
        assert_eq!(places("… !", &texts), [0; 0]);
    }

    #[test]
    fn case_and_form_make_no_difference() {
        for (query, text) in [
            ("STRASSE", "straße"),
            ("ΣΊΣΥΦΟΣ", "Σίσυφος"),
            ("caf\u{e9}", "CAFE\u{301}"),
            ("ﬁle", "FILE"),
            ("ｆｕｌｌ", "full"),
            ("k", "\u{212a}"),
        ] {
            assert_eq!(search(query, &[text]), [(0, 1.0)], "{query} in {text}");
        }
    }

    #[test]
    fn the_last_word_may_be_unfinished() {
        let texts = ["refund", "refunds", "fund"];
        assert_eq!(search("refund", &texts), [(0, 1.0), (1, 0.8571)]);
        assert_eq!(places("ref", &texts), [0, 1]);
        assert_eq!(places("ref ", &texts), [0; 0]);
        assert_eq!(places("ref order", &texts), [0; 0]);
    }

    #[test]
    fn rare_words_weigh_more_than_common_ones() {
        let texts = ["the refund", "the order", "the order", "the invoice", "the letter"];
        let found = search("the refund ", &texts);
        assert_eq!(found[0], (0, 1.0));
        assert!(found[1].1 < 0.2, "{found:?}");
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn among_equals_the_denser_comes_first() {
        let texts = ["an order among many other words here", "order order", "order"];
        assert_eq!(places("order", &texts), [1, 2, 0]);
    }

    #[test]
    fn values_are_their_texts() {
        let value = Value::from([
            ("title", Value::from("Late delivery")),
            ("lines", Value::array(vec![Value::Int(4711), Value::Bool(true), Value::Null])),
        ]);
        let fits = |query: &str| Search::new(query).add_value(Some("case-7"), &value);
        assert!(fits("delivery") && fits("4711") && fits("7"));
        assert!(!fits("title ") && !fits("true ") && !fits("null "));
    }

    #[test]
    fn long_queries_end_somewhere() {
        let words: Vec<String> = (0..1000).map(|number| format!("w{number}")).collect();
        let query = words.join(" ");
        let search = Search::new(&query);
        assert_eq!(search.frequencies.len(), QUERY_WORDS);
        assert!(search.open.is_none());
    }

    #[test]
    fn meaning_adds_to_words_and_takes_nothing_away() {
        let texts = ["refund", "money back", "weather", "a refund for you"];
        let near = [None, Some(0.8), Some(-0.3), Some(0.99996)];
        let found = |min| {
            let mut search = Search::new("refund ");
            for text in texts {
                search.add([text]);
            }
            let found = search.finish_with(|place| near[place], 10, min);
            found.into_iter().map(|found| (found.place, found.similarity)).collect::<Vec<_>>()
        };
        assert_eq!(found(0.0), [(0, 1.0), (3, 1.0), (1, 0.8)]);
        assert_eq!(found(0.9), [(0, 1.0), (3, 1.0)]);
    }

    #[test]
    fn directions_are_compared() {
        assert_eq!(cosine(&[1.0, 0.0], &[2.0, 0.0]), Some(1.0));
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 5.0]), Some(0.0));
        assert_eq!(cosine(&[1.0], &[-3.0]), Some(-1.0));
        for (one, other) in
            [(&[][..], &[][..]), (&[0.0], &[1.0]), (&[1.0], &[1.0, 1.0]), (&[f32::NAN], &[1.0])]
        {
            assert_eq!(cosine(one, other), None);
        }
        let value = Value::from([("b", Value::Int(1)), ("a", Value::from("x"))]);
        assert_eq!(text(Some("key"), &value), "key\nx\n1");
    }

    proptest! {
        #[test]
        fn meaning_only_ever_raises(
            query in "[a-c ]{0,8}",
            texts in proptest::collection::vec(("[a-c ]{0,8}", proptest::option::of(-1.0_f64..=1.0)), 0..10),
            min in 0.0_f64..1.0,
        ) {
            let run = |meant: bool, min| {
                let mut search = Search::new(&query);
                for (text, _) in &texts {
                    search.add([text.as_str()]);
                }
                search.finish_with(|place| texts[place].1.filter(|_| meant), usize::MAX, min)
            };
            let (words, both) = (run(false, min), run(true, min));
            for found in &words {
                let raised = both.iter().find(|other| other.place == found.place);
                prop_assert!(raised.is_some_and(|raised| raised.similarity >= found.similarity));
            }
            for found in &both {
                prop_assert!(found.similarity >= min && found.similarity > 0.0 && found.similarity <= 1.0);
                let near = texts[found.place].1.unwrap_or(0.0);
                prop_assert!(words.iter().any(|other| other.place == found.place) || near > 0.0);
            }
            prop_assert!(both.windows(2).all(|pair| pair[0].similarity >= pair[1].similarity));
        }

        #[test]
        fn a_cosine_is_one_number(pairs in proptest::collection::vec((-10.0_f32..10.0, -10.0_f32..10.0), 1..20)) {
            let (one, other): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let near = cosine(&one, &other);
            prop_assert_eq!(near, cosine(&other, &one));
            prop_assert!(near.is_none_or(|near| (-1.0..=1.0).contains(&near)));
        }

        #[test]
        fn folding_is_done_once(text in "\\PC{0,20}") {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded);
        }

        #[test]
        fn what_is_found_obeys_the_bounds(
            query in "[a-d ]{0,12}",
            texts in proptest::collection::vec("[a-d ]{0,12}", 0..12),
            limit in 0_usize..6,
            min in 0.0_f64..1.0,
        ) {
            let run = |limit, min| {
                let mut search = Search::new(&query);
                for text in &texts {
                    search.add([text.as_str()]);
                }
                search.finish(limit, min)
            };
            let all = run(usize::MAX, 0.0);
            for found in &all {
                prop_assert!(found.similarity > 0.0 && found.similarity <= 1.0);
                // One means that every word of the query is there, and nothing else does.
                let has = |word: &str| texts[found.place].split(' ').any(|other| other == word);
                let whole = query.split_whitespace().all(has);
                prop_assert_eq!(found.similarity >= 1.0, whole, "{:?} in {:?}", &query, &texts[found.place]);
            }
            prop_assert!(all.windows(2).all(|pair| pair[0].similarity >= pair[1].similarity));
            let some = run(limit, min);
            prop_assert!(some.len() <= limit);
            let expected: Vec<_> = all.iter().copied().filter(|found| found.similarity >= min).take(limit).collect();
            prop_assert_eq!(some, expected);
        }

        #[test]
        fn any_text_can_be_searched_for_any(query in "\\PC{0,40}", text in "\\PC{0,40}") {
            let mut search = Search::new(&query);
            let hit = search.add([text.as_str()]);
            prop_assert_eq!(search.finish(1, 0.0).len(), usize::from(hit));
            // A text has all of its own words.
            if fold(&text).unicode_words().count() > 0 && fold(&text).unicode_words().count() <= QUERY_WORDS {
                let mut itself = Search::new(&text);
                itself.add([text.as_str()]);
                prop_assert_eq!(itself.finish(1, 1.0).len(), 1);
            }
        }
    }
}
