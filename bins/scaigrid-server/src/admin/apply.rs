//! Documents that say what is to be there: read, with what they refer to, and applied.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use scaigrid_app::desired::document::SlotValue;
use scaigrid_app::desired::{Desired, Document, Refused, Step, Verdict};
use scaigrid_ir::bundle;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::{Desk, refusal};
use crate::files::Unusable;

/// The most bytes of a document, and of a file that one takes a value from.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The most documents that are applied together.
const MAX_DOCUMENTS: usize = 1000;
/// The endings of the files of a folder that are documents.
const ENDINGS: [&str; 4] = ["yaml", "yml", "json", "toml"];

impl Desk {
    pub(super) async fn apply(&self, files: &[PathBuf], dry_run: bool) -> anyhow::Result<Answer> {
        let mut documents = Vec::new();
        for path in all_files(files)? {
            documents.push(read(&path)?);
        }
        let desired = Desired::of(documents).map_err(|problems| {
            let problems: Vec<String> =
                problems.iter().map(|problem| format!("{} {}", problem.field, problem.message)).collect();
            Unusable(format!("--file: {}", problems.join("; ")))
        })?;
        let bearer = self.key.reveal();
        let planned = self.app.plan_desired(bearer, &self.request, &desired).await;
        let planned = match planned {
            Ok(steps) => steps,
            Err(refused) => {
                let lines: Vec<String> = refused.iter().map(told).collect();
                anyhow::bail!("nothing was changed: {}", lines.join("; "));
            }
        };
        if dry_run {
            let document = view(&planned, true, None, 0);
            return Ok(Answer::document(document).told_as(text(&planned, true)));
        }
        let told_now = !self.json;
        let tell = |step: &Step| {
            if told_now && step.verdict != Verdict::Unchanged {
                // As it happens: whoever breaks off shall know how far it came.
                print!("{}", of_step(step));
            }
        };
        let applied = self.app.apply_desired(bearer, &self.request, &desired, &tell).await;
        let document = view(&applied.done, false, applied.refused.as_ref(), applied.left);
        let answer = Answer::document(document).told_as(summary(&applied.done, false));
        Ok(match applied.refused {
            None => answer,
            Some(refused) => {
                let reason = told(&refused);
                answer.of_failure(format!(
                    "stopped at {reason}; {} things are left, apply again to go on",
                    applied.left
                ))
            }
        })
    }
}

/// A refusal with where it comes from, in one line.
fn told(refused: &Refused) -> String {
    format!("{} ({}): {}", refused.place, refused.key, refusal::told(&refused.error))
}

/// The files that are named, with those of folders in the order of their names.
fn all_files(named: &[PathBuf]) -> Result<Vec<PathBuf>, Unusable> {
    let mut files = Vec::new();
    for path in named {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let bad = |error: io::Error| Unusable(format!("--file: cannot read {}: {error}", path.display()));
        let mut inside = Vec::new();
        for entry in fs::read_dir(path).map_err(bad)? {
            let file = entry.map_err(bad)?.path();
            let hidden = file.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
            if !hidden && file.is_file() && ENDINGS.contains(&ending(&file).as_str()) {
                inside.push(file);
            }
        }
        if inside.is_empty() {
            return Err(Unusable(format!("--file: there is no document in {}", path.display())));
        }
        inside.sort();
        files.extend(inside);
    }
    if files.len() > MAX_DOCUMENTS {
        return Err(Unusable(format!("--file: at most {MAX_DOCUMENTS} documents can be applied together")));
    }
    Ok(files)
}

fn ending(path: &Path) -> String {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// The bytes of a file, or of standard input.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is larger than {MAX_BYTES} bytes")));
    }
    Ok(bytes)
}

/// A document, with all that it refers to in place, and what it is called.
fn read(path: &Path) -> anyhow::Result<(String, Document)> {
    let name = path.display().to_string();
    let bad = |reason: String| Unusable(format!("--file: {name}: {reason}"));
    let bytes = bytes(path).map_err(|error| bad(format!("cannot be read: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|_| bad("is not UTF-8".to_owned()))?;
    let mut document = parse(&ending(path), &text).map_err(bad)?;
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    for slot in document.slots() {
        let at = |reason: String| bad(format!("{}: {reason}", slot.place));
        match slot.value {
            SlotValue::Text(text) => resolve(text, folder).map_err(at)?,
            SlotValue::Fields(fields) => resolve_all(fields, folder).map_err(at)?,
            SlotValue::Program(program) => load(program, folder).map_err(at)?,
        }
    }
    Ok((if path == Path::new("-") { "standard input".to_owned() } else { name }, document))
}

/// A document of a form that the file's ending names; YAML, which JSON is too, where there is none.
fn parse(ending: &str, text: &str) -> Result<Document, String> {
    match ending {
        "json" => serde_json::from_str(text).map_err(|error| error.to_string()),
        "toml" => toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let place = line.map(|line| format!(" at line {line}")).unwrap_or_default();
            format!("{}{place}", error.message())
        }),
        _ => {
            let options = serde_saphyr::options! { with_snippet: false };
            serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
        }
    }
}

/// Puts in place what a text refers to, if it is a reference: `${env:NAME}` or `${file:PATH}`.
fn resolve(text: &mut String, folder: &Path) -> Result<(), String> {
    let Some(reference) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
        return Ok(());
    };
    if let Some(name) = reference.strip_prefix("env:") {
        *text = std::env::var(name).map_err(|_| format!("the variable {name} is not set, or not UTF-8"))?;
    } else if let Some(path) = reference.strip_prefix("file:") {
        let read = bytes(&folder.join(path)).map_err(|error| format!("{path} cannot be read: {error}"))?;
        let read = String::from_utf8(read).map_err(|_| format!("{path} is not UTF-8"))?;
        read.trim_end_matches(['\r', '\n']).clone_into(text);
    }
    Ok(())
}

fn resolve_all(fields: &mut Map<String, Value>, folder: &Path) -> Result<(), String> {
    fields.values_mut().try_for_each(|value| resolve_within(value, folder))
}

fn resolve_within(value: &mut Value, folder: &Path) -> Result<(), String> {
    match value {
        Value::String(text) => resolve(text, folder),
        Value::Array(items) => items.iter_mut().try_for_each(|item| resolve_within(item, folder)),
        Value::Object(fields) => resolve_all(fields, folder),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
    }
}

/// Puts a program in the place of the name of the file that it is in.
fn load(program: &mut Value, folder: &Path) -> Result<(), String> {
    let Value::String(path) = &*program else { return Ok(()) };
    let read = bytes(&folder.join(path)).map_err(|error| format!("{path} cannot be read: {error}"))?;
    *program = bundle::decode(&read).map_err(|error| format!("{path}: {error}"))?;
    Ok(())
}

fn count(steps: &[Step], verdict: Verdict) -> usize {
    steps.iter().filter(|step| step.verdict == verdict).count()
}

/// What programs are told.
fn view(steps: &[Step], dry_run: bool, refused: Option<&Refused>, left: usize) -> Value {
    let steps_shown = steps.iter().map(|step| {
        let changes = step
            .changes
            .iter()
            .map(|change| json!({"field": change.field, "before": change.before, "after": change.after}));
        json!({
            "kind": step.key.kind.as_str(),
            "name": step.key.name,
            "action": step.verdict.as_str(),
            "changes": changes.collect::<Vec<_>>(),
        })
    });
    json!({
        "dry_run": dry_run,
        "summary": {
            "create": count(steps, Verdict::Create),
            "update": count(steps, Verdict::Update),
            "unchanged": count(steps, Verdict::Unchanged),
            "left": left,
        },
        "steps": steps_shown.collect::<Vec<_>>(),
        "refused": refused.map(|refused| json!({
            "place": refused.place,
            "kind": refused.key.kind.as_str(),
            "name": refused.key.name,
            "message": refusal::told(&refused.error),
        })),
    })
}

/// What people are told of a step.
fn of_step(step: &Step) -> String {
    let mut text = format!("{} {}\n", step.verdict.as_str(), step.key);
    for change in &step.changes {
        // Writing to a text cannot fail.
        let _ = match &change.before {
            Some(before) => writeln!(text, "    {}: {before} -> {}", change.field, change.after),
            None => writeln!(text, "    {}: {}", change.field, change.after),
        };
    }
    text
}

fn summary(steps: &[Step], dry_run: bool) -> String {
    let [create, update, unchanged] =
        [Verdict::Create, Verdict::Update, Verdict::Unchanged].map(|verdict| count(steps, verdict));
    if dry_run {
        format!("{create} to create, {update} to update, {unchanged} unchanged; nothing was changed\n")
    } else {
        format!("{create} created, {update} updated, {unchanged} unchanged\n")
    }
}

fn text(steps: &[Step], dry_run: bool) -> String {
    let changed = steps.iter().filter(|step| step.verdict != Verdict::Unchanged);
    let mut text: String = changed.map(of_step).collect();
    text.push_str(&summary(steps, dry_run));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_say_the_same() {
        let yaml = "api_version: scaigrid/v1\ntenants:\n  - slug: acme\n    limits: {max_users: 3}\n";
        let json =
            r#"{"api_version": "scaigrid/v1", "tenants": [{"slug": "acme", "limits": {"max_users": 3}}]}"#;
        let toml = "api_version = \"scaigrid/v1\"\n[[tenants]]\nslug = \"acme\"\nlimits = {max_users = 3}\n";
        let document = parse("yaml", yaml).unwrap();
        assert_eq!(document.tenants[0].limits.as_ref().unwrap().max_users, Some(3));
        assert_eq!(parse("json", json).as_ref(), Ok(&document));
        assert_eq!(parse("toml", toml).as_ref(), Ok(&document));
        assert_eq!(parse("", json).as_ref(), Ok(&document), "JSON is YAML");
    }

    #[test]
    fn what_is_not_known_is_named_with_its_line() {
        let yaml = "api_version: scaigrid/v1\ntenants:\n  - slug: acme\n    colour: red\n";
        let json = "{\"api_version\": \"scaigrid/v1\",\n \"tenants\": [{\"slug\": \"a\", \"colour\": 1}]}";
        let toml = "api_version = \"scaigrid/v1\"\n[[tenants]]\nslug = \"acme\"\ncolour = 1\n";
        for (ending, text, line) in
            [("yml", yaml, "line 4"), ("json", json, "line 2"), ("toml", toml, "line ")]
        {
            let error = parse(ending, text).unwrap_err();
            assert!(error.contains("colour") && error.contains(line), "{ending}: {error}");
            assert!(!error.contains('\n'), "{ending}: {error}");
        }
    }

    #[test]
    fn references_are_whole_texts_at_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "hush\r\n").unwrap();
        let mut value =
            json!({"a": [{"b": "${file:secret}"}], "c": "x ${file:secret}", "d": "${other}", "e": 1});
        resolve_within(&mut value, folder.path()).unwrap();
        assert_eq!(value, json!({"a": [{"b": "hush"}], "c": "x ${file:secret}", "d": "${other}", "e": 1}));
        let mut missing = json!("${env:SCAIGRID_NO_SUCH_VARIABLE}");
        let error = resolve_within(&mut missing, folder.path()).unwrap_err();
        assert!(error.contains("SCAIGRID_NO_SUCH_VARIABLE"), "{error}");
        assert!(resolve_within(&mut json!("${file:absent}"), folder.path()).unwrap_err().contains("absent"));
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_names() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yaml", "a.json", ".hidden.yaml", "notes.txt", "c.TOML"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let found = all_files(&[folder.path().to_owned(), PathBuf::from("-")]).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap().to_string_lossy()).collect();
        assert_eq!(names, ["a.json", "b.yaml", "c.TOML", "-"]);
    }
}
