//! Schemathesis, which calls a server as its `OpenAPI` document allows and as it forbids: packages of the Python Package Index,
//! as a list with their checksums says.

use std::path::{Path, PathBuf};

use super::mcp::install;
use crate::workspace;

/// The variable that tells the tests in which folder the environment is.
pub(crate) const VARIABLE: &str = "SCAIGRID_TEST_SCHEMATHESIS";

/// The folder with the environment, which is made where it is missing and Python is there.
///
/// The error says, for the list of what was skipped, why there is none.
pub(crate) fn provide(target: &Path) -> Result<PathBuf, String> {
    if let Some(given) = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) {
        return Ok(given.into());
    }
    let list = workspace::root().join("tests").join("conformance").join("requirements.txt");
    install(&list, target.join("schemathesis"), "schemathesis")
}
