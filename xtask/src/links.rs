//! Links between documents held against the tree: every one that stays inside leads to a file or folder, and to a heading of it.
//!
//! Nothing is fetched: what begins with a scheme is for others to keep. Understood is what the documents use: links outside of
//! code, and headings of the form `## …`, whose anchors are made as GitHub makes them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;

use crate::workspace;

/// The documents beside those in `docs`.
const AT_THE_TOP: [&str; 2] = ["README.md", "CHANGELOG.md"];

/// Whether every link leads somewhere; what does not is printed.
pub(crate) fn lead_somewhere() -> anyhow::Result<bool> {
    let problems = problems(&workspace::root())?;
    for problem in &problems {
        eprintln!("links: {problem}");
    }
    Ok(problems.is_empty())
}

/// The links of all documents that lead nowhere.
fn problems(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut documents: Vec<PathBuf> = AT_THE_TOP.iter().map(PathBuf::from).collect();
    gather(root, Path::new("docs"), &mut documents)?;
    let mut problems = Vec::new();
    for document in &documents {
        let text = without_spans(&prose(&read(root, document)?).join("\n"));
        for (number, line) in text.lines().enumerate() {
            for target in targets(line) {
                if let Some(problem) = problem(root, document, target)? {
                    problems.push(format!("{}:{}: {target}: {problem}", document.display(), number + 1));
                }
            }
        }
    }
    Ok(problems)
}

/// Adds the documents of a folder and of all folders in it, in the order of their names.
fn gather(root: &Path, folder: &Path, documents: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(root.join(folder)).with_context(|| folder.display().to_string())?;
    let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<anyhow::Result<Vec<_>>>()?;
    names.sort();
    for path in names.iter().map(|name| folder.join(name)) {
        if root.join(&path).is_dir() {
            gather(root, &path, documents)?;
        } else if is_document(&path) {
            documents.push(path);
        }
    }
    Ok(())
}

fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

fn read(root: &Path, document: &Path) -> anyhow::Result<String> {
    fs::read_to_string(root.join(document)).with_context(|| document.display().to_string())
}

/// What is wrong with a link in a document.
fn problem(root: &Path, document: &Path, target: &str) -> anyhow::Result<Option<&'static str>> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(None);
    }
    let (path, anchor) = match target.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (target, None),
    };
    let there = if path.is_empty() {
        document.to_owned()
    } else {
        let folder = document.parent().unwrap_or(Path::new(""));
        match resolved(&folder.join(path)) {
            Some(there) if root.join(&there).exists() => there,
            _ => return Ok(Some("there is no such file")),
        }
    };
    let Some(anchor) = anchor else { return Ok(None) };
    let found = is_document(&there) && anchors(&prose(&read(root, &there)?)).contains(anchor);
    Ok((!found).then_some("there is no such heading"))
}

/// A path without `.` and `..`, unless it leads out of the tree.
fn resolved(path: &Path) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => resolved.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

/// The lines of a text; those of fenced code, and what only looks empty, are empty.
fn prose(text: &str) -> Vec<&str> {
    let mut fence = None;
    let mut kept = Vec::new();
    for line in text.lines() {
        let mark = ["```", "~~~"].into_iter().find(|mark| line.trim_start().starts_with(*mark));
        kept.push(match (fence, mark) {
            (None, None) => line.trim_end(),
            (None, opened) => {
                fence = opened;
                ""
            }
            (opened, closed) => {
                if opened == closed {
                    fence = None;
                }
                ""
            }
        });
    }
    kept
}

/// A text without what stands between backticks, which is no link whatever it looks like. Its lines keep their numbers.
fn without_spans(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('`') {
        let (before, from) = rest.split_at(at);
        let (mark, inside) = from.split_at(run(from));
        kept.push_str(before);
        // A span may go on over the end of a line, but not over that of a paragraph.
        let paragraph = inside.find("\n\n").map_or(inside, |end| &inside[..end]);
        if let Some(end) = closing(paragraph, mark.len()) {
            kept.extend(inside[..end].chars().filter(|letter| *letter == '\n'));
            rest = &inside[end + mark.len()..];
        } else {
            kept.push_str(mark);
            rest = inside;
        }
    }
    kept.push_str(rest);
    kept
}

/// How many backticks a text begins with.
fn run(text: &str) -> usize {
    text.len() - text.trim_start_matches('`').len()
}

/// Where so many backticks stand, and not one more.
fn closing(text: &str, ticks: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(next) = text[at..].find('`') {
        let length = run(&text[at + next..]);
        if length == ticks {
            return Some(at + next);
        }
        at += next + length;
    }
    None
}

/// Where the links in a line lead: `[…](target)`, and `[…]: target` at its beginning.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let inline = line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let named = line.strip_prefix('[').and_then(|rest| Some(rest.split_once("]: ")?.1));
    inline.chain(named).filter_map(|target| target.split_whitespace().next())
}

/// The anchors of a document's headings: of several that read the same, the later ones are numbered.
fn anchors(lines: &[&str]) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in lines {
        let text = line.trim_start_matches('#');
        let depth = line.len() - text.len();
        if (1..=6).contains(&depth) && text.starts_with(' ') {
            let anchor = anchor(text);
            let numbered = (1..).map(|number| format!("{anchor}-{number}"));
            let free = std::iter::once(anchor.clone()).chain(numbered).find(|one| !anchors.contains(one));
            anchors.extend(free);
        }
    }
    anchors
}

/// A heading's anchor: its words in lower case with hyphens between them, and no punctuation.
fn anchor(heading: &str) -> String {
    let mut words = String::new();
    let mut rest = heading.trim();
    // Of a link counts what is read.
    while let Some((before, (text, after))) = rest.split_once('[').and_then(|(before, from)| {
        let (text, to) = from.split_once("](")?;
        Some((before, (text, to.split_once(')')?.1)))
    }) {
        words.extend([before, text]);
        rest = after;
    }
    words.push_str(rest);
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    words.to_lowercase().chars().filter(kept).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_links_lead_somewhere() {
        assert_eq!(problems(&workspace::root()).unwrap(), [""; 0]);
    }

    #[test]
    fn what_leads_nowhere_is_named_with_its_line() {
        let root = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(root.path().join(name), text).unwrap();
        fs::create_dir_all(root.path().join("docs/decisions")).unwrap();
        write("CHANGELOG.md", "# Changes\n\n[1.0]: docs/gone.md\n[2.0]: https://example.org/gone\n");
        write(
            "README.md",
            "# One\n\n[a](docs/book.md), [b](docs/none.md)\n[c](#one) [d](#two)\n`[e](nowhere)` `a\nb [f](no)`\n\
             ```sh\n[g](no)\n# Two\n```\n[h](docs) [i](mailto:a@b.c) [j](docs/book.md#the-one-again \"Title\")\n",
        );
        write(
            "docs/book.md",
            "# The *one*, `again`!\n## Same\n## Same\n[k](../README.md#one) [l](#same-1) [m](#same-2)\n",
        );
        write(
            "docs/decisions/1.md",
            "[n](../book.md#same) [o](../../../etc/passwd) [p](/docs) [q](../../README.md)\n",
        );
        assert_eq!(
            problems(root.path()).unwrap(),
            [
                "README.md:3: docs/none.md: there is no such file",
                "README.md:4: #two: there is no such heading",
                "CHANGELOG.md:3: docs/gone.md: there is no such file",
                "docs/book.md:4: #same-2: there is no such heading",
                "docs/decisions/1.md:1: ../../../etc/passwd: there is no such file",
                "docs/decisions/1.md:1: /docs: there is no such file",
            ]
        );
    }

    #[test]
    fn anchors_are_made_as_githubs_are() {
        for (heading, made) in [
            (" Calls to the outside", "calls-to-the-outside"),
            (" `GET /v1/me`: who_am I?", "get-v1me-who_am-i"),
            (" A [link](b.md) and Ä – b", "a-link-and-ä--b"),
        ] {
            assert_eq!(anchor(heading), made);
        }
    }
}
