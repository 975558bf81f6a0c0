//! What is asked in the last moment before a request leaves.

use std::sync::Arc;

/// Says whether requests may leave at present. Cheap to clone, and to ask: it is asked on the way.
#[derive(Clone)]
pub struct Gate(Arc<dyn Fn() -> bool + Send + Sync>);

impl Gate {
    /// A gate that is open as long as something is so.
    pub fn new(is_open: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is_open))
    }

    pub(crate) fn is_open(&self) -> bool {
        (self.0)()
    }
}

impl Default for Gate {
    /// One that is always open.
    fn default() -> Self {
        Self::new(|| true)
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}
