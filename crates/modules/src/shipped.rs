//! The modules that this program knows of from the start, one file each in `manifests`.

use crate::manifest::{Manifest, ModuleId, ModuleKind};

/// The manifests of the modules that are made elsewhere. They are listed and cannot be enabled until a manifest with an
/// endpoint takes their place.
const ELSEWHERE: [&str; 11] = [
    include_str!("../manifests/scaibot.json"),
    include_str!("../manifests/scaibunker.json"),
    include_str!("../manifests/scaiecho.json"),
    include_str!("../manifests/scailink.json"),
    include_str!("../manifests/scaimatrix.json"),
    include_str!("../manifests/scaimcp.json"),
    include_str!("../manifests/scaimind.json"),
    include_str!("../manifests/scaipersona.json"),
    include_str!("../manifests/scaiqueue.json"),
    include_str!("../manifests/scaiskills.json"),
    include_str!("../manifests/scaispeak.json"),
];

/// The manifests of all modules that this program knows of: the built-in one first.
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "the texts are parts of the program, and a test reads them"
)]
pub fn shipped() -> Vec<Manifest> {
    let read = |text: &&str| serde_json::from_str(text).expect("a valid manifest");
    std::iter::once(Manifest::scaicore()).chain(ELSEWHERE.iter().map(read)).collect()
}

/// A manifest that cannot take the place that it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotInstall {
    /// The module is built in.
    #[error("{0} is a part of this program, and no manifest takes its place")]
    BuiltIn(ModuleId),
    /// The module is installed already.
    #[error("{0} is installed already")]
    Installed(ModuleId),
}

/// Adds a manifest to others, in place of one of the same module that has no code behind it.
///
/// # Errors
/// When the module is there already, and not only announced.
pub fn install(manifests: &mut Vec<Manifest>, manifest: Manifest) -> Result<(), CannotInstall> {
    let id = &manifest.module_id;
    match manifests.iter_mut().find(|known| known.module_id == *id) {
        None => manifests.push(manifest),
        Some(known) => match known.kind {
            ModuleKind::Announced => *known = manifest,
            ModuleKind::BuiltIn => return Err(CannotInstall::BuiltIn(id.clone())),
            ModuleKind::Remote { .. } => return Err(CannotInstall::Installed(id.clone())),
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Catalogue;

    #[test]
    fn the_shipped_manifests_go_together() {
        let catalogue = Catalogue::new(shipped()).unwrap();
        assert_eq!(catalogue.iter().count(), 12);
        for manifest in catalogue.iter() {
            let here = manifest.module_id.as_str() == "scaicore";
            assert_eq!(manifest.kind, if here { ModuleKind::BuiltIn } else { ModuleKind::Announced });
            assert_eq!(manifest.default_enabled, here, "{}", manifest.module_id);
            assert!(
                !manifest.description.is_empty() && !manifest.permissions.is_empty(),
                "{}",
                manifest.module_id
            );
        }
    }

    #[test]
    fn scaibot_is_as_its_documentation_shows_it() {
        let bot = shipped().into_iter().find(|manifest| manifest.module_id.as_str() == "scaibot").unwrap();
        assert_eq!((bot.display_name.as_str(), bot.version.to_string().as_str()), ("ScaiBot", "1.0.0"));
        assert_eq!(bot.description, "Embeddable chatbot platform");
        assert_eq!(bot.frontend_url.as_deref(), Some("/static/modules/scaibot/widget.js"));
        assert!(bot.dependencies.is_empty());
        let page = &bot.admin_pages[0];
        assert_eq!((page.page_id.as_str(), page.path.as_str()), ("scaibot-bots", "/scaibot"));
        assert_eq!(bot.permissions[0].key.to_string(), "scaibot:bots:read");
        let fields = bot.config_schema.as_value()["properties"].as_object().unwrap();
        assert!(
            ["default_model", "default_knowledge_top_k", "escalation_email"]
                .iter()
                .all(|name| fields.contains_key(*name))
        );
        assert_eq!(bot.config_schema.defaults_for(&json!({})), json!({}));
    }
}
