//! The modules that there are: those that the program knows of, and those of the folder that the operator names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use scaigrid_app::modules::{InvalidModules, Modules};
use scaigrid_modules::{Manifest, ModuleId, install, shipped};
use serde::Deserialize as _;
use serde_json::Value;

use crate::files::Unusable;

const SETTING: &str = "SCAIGRID_MODULES_DIR";
/// The most bytes of a manifest.
const MAX_BYTES: u64 = 1024 * 1024;

/// All modules. What is wrong with a file of the folder is told with its name, and ends the start.
pub(crate) fn modules(folder: Option<&Path>) -> Result<Modules, Unusable> {
    let mut manifests = shipped();
    let mut files = BTreeMap::new();
    for (path, manifest) in folder.map(read_all).transpose()?.unwrap_or_default() {
        let id = manifest.module_id.clone();
        if let Some(other) = files.insert(id.clone(), path.clone()) {
            return Err(refused(&path, format!("module_id: {id} is told of in {} too", other.display())));
        }
        install(&mut manifests, manifest).map_err(|error| refused(&path, format!("module_id: {error}")))?;
    }
    Modules::new(manifests).map_err(|error| match (files.get(error.module()), &error) {
        (Some(path), InvalidModules::Catalogue(problem)) => refused(path, format!("dependencies: {problem}")),
        (Some(path), InvalidModules::Schema { problem, .. }) => {
            refused(path, format!("config_schema: {problem}"))
        }
        (None, _) => Unusable(format!("{SETTING}: {error}")),
    })
}

fn refused(path: &Path, problem: impl std::fmt::Display) -> Unusable {
    Unusable(format!("{SETTING}: {}: {problem}", path.display()))
}

/// The manifests of a folder, by the names of their files. Folders in it, and files whose names begin with a dot, are
/// passed over: file systems and orchestrators put such things there.
fn read_all(folder: &Path) -> Result<Vec<(PathBuf, Manifest)>, Unusable> {
    let entries = fs::read_dir(folder).map_err(|error| refused(folder, error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| refused(folder, error))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && !path.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    paths.into_iter().map(|path| read(&path).map(|manifest| (path, manifest))).collect()
}

fn read(path: &Path) -> Result<Manifest, Unusable> {
    let toml = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => false,
        Some("toml") => true,
        _ => return Err(refused(path, "a manifest is a file <module_id>.json or <module_id>.toml")),
    };
    if fs::metadata(path).is_ok_and(|file| file.len() > MAX_BYTES) {
        return Err(refused(path, format!("a manifest has at most {MAX_BYTES} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| refused(path, error))?;
    let value: Value = if toml {
        toml::from_str(&text).map_err(|error| refused(path, format!("is not TOML: {}", error.message())))?
    } else {
        serde_json::from_str(&text).map_err(|error| refused(path, format!("is not JSON: {error}")))?
    };
    let mut track = serde_path_to_error::Track::new();
    let manifest = Manifest::deserialize(serde_path_to_error::Deserializer::new(value, &mut track));
    let manifest = manifest.map_err(|error| match track.path().to_string().as_str() {
        // What is wrong with the whole names the field itself.
        "." => refused(path, error),
        field => refused(path, format!("{field}: {error}")),
    })?;
    if path.file_stem().and_then(|stem| stem.to_str()).map(ModuleId::parse)
        != Some(Ok(manifest.module_id.clone()))
    {
        let id = &manifest.module_id;
        return Err(refused(
            path,
            format!("module_id: is {id}, so the file must be called {id}.json or {id}.toml"),
        ));
    }
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use scaigrid_modules::ModuleKind;

    use super::*;

    /// What is said of a folder with these files.
    fn with(files: &[(&str, &str)]) -> Result<Modules, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let said = modules(Some(folder.path())).map_err(|Unusable(text)| text);
        said.map_err(|text| text.replace(&folder.path().display().to_string(), "DIR"))
    }

    fn bot(rest: &str) -> String {
        format!(r#"{{"module_id": "scaibot", "display_name": "Bots", "version": "2.0.0"{rest}}}"#)
    }

    #[test]
    fn a_manifest_with_an_endpoint_installs_a_module() {
        let toml = "module_id = 'own'\ndisplay_name = 'Own'\nversion = '0.1.0'\ndependencies = ['scaibot']\n\
                    endpoint = 'http://127.0.0.1:9/base'\n[config_schema.properties.a]\ntype = 'string'\n";
        let json = bot(r#", "endpoint": "https://bots.example", "health_path": "/well""#);
        let modules = with(&[("scaibot.json", &json), ("own.toml", toml), (".hidden", "x")]).unwrap();
        assert_eq!(modules.iter().count(), 13);
        let bot = modules.get(&"scaibot".parse().unwrap()).unwrap();
        assert!(matches!(&bot.kind, ModuleKind::Remote { health_path, .. } if health_path == "/well"));
        assert_eq!(bot.version.to_string(), "2.0.0");
        assert!(modules.get(&"own".parse().unwrap()).unwrap().is_installed());
        assert!(super::modules(None).unwrap().iter().count() == 12);
    }

    #[test]
    fn what_is_wrong_is_told_with_file_field_and_rule() {
        let own =
            r#"{"module_id": "scaicore", "display_name": "x", "version": "1.0.0", "endpoint": "http://x"}"#;
        for (name, text, said) in [
            ("scaibot.json", "{", "is not JSON: "),
            ("scaibot.toml", "a = ", "is not TOML: "),
            ("scaibot.yaml", "", "a manifest is a file <module_id>.json or <module_id>.toml"),
            ("scaibot.json", r#"{"module_id": "scaibot", "display_name": "x"}"#, "missing field `version`"),
            (
                "scaibot.json",
                r#"{"module_id": "scaibot", "display_name": "x", "version": 1}"#,
                "version: invalid type",
            ),
            ("scaibot.json", &bot(r#", "colour": 1"#), "unknown field `colour`"),
            ("scaibot.json", &bot(r#", "version2": 1, "version": "x""#), "unknown field `version2`"),
            (
                "scaibot.json",
                &bot(r#", "endpoint": "ftp://x""#),
                "endpoint: must be an http or https address",
            ),
            ("scaibot.json", &bot(r#", "health_path": "/x""#), "health_path: is of no use without endpoint"),
            (
                "scaibot.json",
                &bot(r#", "dependencies": ["absent"]"#),
                "dependencies: module scaibot depends on absent, which does not exist",
            ),
            (
                "scaibot.json",
                &bot(r#", "config_schema": {"type": "array"}"#),
                "config_schema: /type: must be object",
            ),
            (
                "scaibot.json",
                &bot(r#", "config_schema": {"properties": {"a": {"type": "strin"}}}"#),
                "config_schema: ",
            ),
            ("bots.json", &bot(""), "module_id: is scaibot, so the file must be called scaibot.json"),
            ("scaicore.json", own, "module_id: scaicore is a part of this program"),
        ] {
            let line = with(&[(name, text)]).unwrap_err();
            let start = format!("SCAIGRID_MODULES_DIR: DIR/{name}: ");
            assert!(line.starts_with(&start) && line.contains(said), "{line}");
        }
        let twice = with(&[
            ("scaibot.json", &bot("")),
            ("scaibot.toml", "module_id = 'scaibot'\ndisplay_name = 'x'\nversion = '1.0.0'"),
        ]);
        assert!(twice.unwrap_err().contains("scaibot is told of in DIR/scaibot.json too"));
        let Err(Unusable(line)) = modules(Some(Path::new("/nowhere/at/all"))) else {
            panic!("it is nowhere")
        };
        assert!(line.starts_with("SCAIGRID_MODULES_DIR: /nowhere/at/all: "), "{line}");
    }
}
