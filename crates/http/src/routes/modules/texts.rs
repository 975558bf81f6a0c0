//! Modules as they are written: nearly always the same few texts, which are kept.
//!
//! What is written of a module depends on its manifest, which never changes while the process runs, on its status, and,
//! where something is wrong with it, on what that is. So there are four texts of each module at most, and few of all of them
//! together, for whatever number of tenants.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use scaigrid_app as app;
use scaigrid_app::modules::{ModuleStates, ModuleView};
use scaigrid_modules::{Effective, ModuleStatus};

use super::Module;
use crate::error::Error;

/// The most lists that are kept; tenants that have switched nothing, or the same, share one.
const LISTS: usize = 64;

/// Texts by what they are found by.
type ByKey<K> = HashMap<K, Rc<[u8]>>;

/// The texts of one worker.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// By status and id.
    modules: RefCell<HashMap<&'static str, ByKey<Box<str>>>>,
    /// By the status of each module, in the order of their ids.
    lists: RefCell<ByKey<Box<[u8]>>>,
}

impl Texts {
    /// The list of all modules, if it was written before with each in the same status. Of what is wrong with a module there
    /// is too much to tell.
    pub(super) fn known_list(&self, states: &ModuleStates) -> Option<Rc<[u8]>> {
        self.lists.borrow().get(&*shape(states)?).map(Rc::clone)
    }

    /// All modules as a JSON array.
    pub(super) fn list(&self, states: &ModuleStates, views: Vec<ModuleView>) -> Result<Rc<[u8]>, Error> {
        let mut text = vec![b'['];
        for (index, view) in views.into_iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            text.extend_from_slice(&self.one(view)?);
        }
        text.push(b']');
        let text: Rc<[u8]> = text.into();
        if let Some(shape) = shape(states) {
            let mut lists = self.lists.borrow_mut();
            if lists.len() >= LISTS {
                lists.clear();
            }
            lists.insert(shape, Rc::clone(&text));
        }
        Ok(text)
    }

    /// A module as a JSON object.
    pub(super) fn one(&self, view: ModuleView) -> Result<Rc<[u8]>, Error> {
        if view.last_error.is_some() {
            return written(view);
        }
        let status = view.effective.status.as_str();
        let id = view.manifest.module_id.as_str();
        if let Some(text) = self.modules.borrow().get(status).and_then(|texts| texts.get(id)) {
            return Ok(Rc::clone(text));
        }
        let id: Box<str> = id.into();
        let text = written(view)?;
        self.modules.borrow_mut().entry(status).or_default().insert(id, Rc::clone(&text));
        Ok(text)
    }
}

fn shape(states: &ModuleStates) -> Option<Box<[u8]>> {
    let letter = |effective: &Effective| match effective.status {
        ModuleStatus::Active => Some(b'a'),
        ModuleStatus::Available => Some(b'v'),
        ModuleStatus::Disabled => Some(b'd'),
        ModuleStatus::Error => None,
    };
    states.effective.values().map(letter).collect()
}

fn written(view: ModuleView) -> Result<Rc<[u8]>, Error> {
    let text = serde_json::to_vec(&Module::from(view)).map_err(app::Error::internal)?;
    Ok(text.into())
}
