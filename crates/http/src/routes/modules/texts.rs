//! Modules as they are written: nearly always the same few texts, which are kept.
//!
//! What is written of a module depends on its manifest, which never changes while the process runs, on its status, and,
//! where something is wrong with it, on what that is. So there are four texts of each module at most, for whatever number
//! of tenants.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use scaigrid_app as app;
use scaigrid_app::modules::ModuleView;

use super::Module;
use crate::error::Error;

/// A module and its status.
type Key = (Box<str>, &'static str);

/// The texts of one worker.
#[derive(Debug, Default)]
pub(super) struct Texts(RefCell<HashMap<Key, Rc<[u8]>>>);

impl Texts {
    /// A JSON array of modules.
    pub(super) fn list(&self, views: Vec<ModuleView>) -> Result<Vec<u8>, Error> {
        let mut text = vec![b'['];
        for (index, view) in views.into_iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            text.extend_from_slice(&self.text(view)?);
        }
        text.push(b']');
        Ok(text)
    }

    /// A module as a JSON object.
    pub(super) fn one(&self, view: ModuleView) -> Result<Vec<u8>, Error> {
        Ok(self.text(view)?.to_vec())
    }

    fn text(&self, view: ModuleView) -> Result<Rc<[u8]>, Error> {
        if view.last_error.is_some() {
            return written(view);
        }
        let key: Key = (view.manifest.module_id.as_str().into(), view.effective.status.as_str());
        if let Some(text) = self.0.borrow().get(&key) {
            return Ok(Rc::clone(text));
        }
        let text = written(view)?;
        self.0.borrow_mut().insert(key, Rc::clone(&text));
        Ok(text)
    }
}

fn written(view: ModuleView) -> Result<Rc<[u8]>, Error> {
    let text = serde_json::to_vec(&Module::from(view)).map_err(app::Error::internal)?;
    Ok(text.into())
}
