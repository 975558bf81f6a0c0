//! What somebody may have meant who wrote a name that is not there.

/// The longest name that is compared, in bytes; longer ones are hardly slips.
const COMPARED: usize = 48;
/// Names that are compared with one; a document may declare any number of them.
const NAMES: usize = 200;

/// The known name that is nearest to one that is not, where one is near enough to have been meant: about one slip in three letters,
/// and at most three. Of names that are equally near it is the first in the alphabet.
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let letters = name.chars().count();
    let most = (letters / 3).min(3);
    if name.len() > COMPARED {
        return None;
    }
    let comparable = |known: &&str| {
        known.len() <= COMPARED && known.chars().count().abs_diff(letters) <= most && *known != name
    };
    let near = known.into_iter().filter(comparable).take(NAMES);
    let near = near.map(|known| (distance(name, known), known)).filter(|(slips, _)| *slips <= most);
    near.min().map(|(_, known)| known)
}

/// The question to put behind a message, `; did you mean "assignee"?`, or nothing where no known name is near.
pub fn hint<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(name, known).map(|known| format!("; did you mean {known:?}?")).unwrap_or_default()
}

/// Slips from one name to the other; none where only letters are of another case.
fn distance(name: &str, known: &str) -> usize {
    if name.eq_ignore_ascii_case(known) { 0 } else { strsim::osa_distance(name, known) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_seen_and_other_words_are_not() {
        let known = ["assignee", "kind", "id", "priority", "timeout"];
        for (name, meant) in [
            ("assigne", Some("assignee")),
            ("asignee", Some("assignee")),
            ("knid", Some("kind")),
            ("Timeout", Some("timeout")),
            ("priorty", Some("priority")),
            ("ID", Some("id")),
            ("ie", None),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
        assert_eq!(hint("assigne", known), "; did you mean \"assignee\"?");
        assert_eq!(hint("colour", known), "");
        assert_eq!(nearest("beta", ["zeta", "bets", "beta"]), Some("bets"), "the name itself is no answer");
        assert_eq!(nearest(&"a".repeat(49), [&*"a".repeat(48)]), None);
    }
}
