//! Conditions that are not the program's own and are evaluated before one of its blocks.

use crate::block::Block;
use crate::diagnostic::Diagnostic;
use crate::expr::Expr;
use crate::module::Module;

use super::Verifier;

/// A condition to be judged where a block begins.
pub(super) struct Asked<'m> {
    block: &'m str,
    condition: &'m Expr,
    /// What was found, once the block was met.
    found: Option<Vec<Diagnostic>>,
}

/// What is wrong with a condition that is evaluated before a block of a flow, with the names that are known there and without
/// anything that would have to be recorded: errors alone, as of a condition of the program's own. Nothing where there is no such
/// block.
pub fn condition(module: &Module, flow: &str, block: &str, condition: &Expr) -> Vec<Diagnostic> {
    let Some(flow) = module.flow(flow) else { return Vec::new() };
    let mut verifier = Verifier::of(module);
    verifier.asked = Some(Asked { block, condition, found: None });
    verifier.flow(flow);
    let mut found = verifier.asked.and_then(|asked| asked.found).unwrap_or_default();
    found.retain(Diagnostic::is_error);
    found
}

impl Verifier<'_> {
    /// Judges the condition that is asked for before this block, if one is.
    pub(super) fn asked_before(&mut self, block: &Block) {
        let Some(asked) = &self.asked else { return };
        if asked.found.is_some() || *asked.block != *block.id {
            return;
        }
        let condition = asked.condition;
        let findings = std::mem::take(&mut self.findings);
        let outer = std::mem::replace(&mut self.unrecorded, true);
        self.condition(condition, "");
        self.unrecorded = outer;
        let found = std::mem::replace(&mut self.findings, findings);
        if let Some(asked) = &mut self.asked {
            asked.found = Some(found.into_list());
        }
    }
}
