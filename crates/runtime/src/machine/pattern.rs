//! Whether a value looks as a pattern says.

use std::collections::BTreeMap;
use std::sync::Arc;

use scaigrid_ir::block::Pattern;
use scaigrid_ir::{Type, Value};

/// Names that a pattern binds.
pub(super) type Bound = Vec<(Arc<str>, Value)>;

/// Whether the pattern fits; what it binds is appended to `bound`, which a pattern that does not fit leaves as
/// it was.
pub(super) fn fits(
    pattern: &Pattern,
    value: &Value,
    types: &BTreeMap<Arc<str>, Type>,
    bound: &mut Bound,
) -> bool {
    match pattern {
        Pattern::Wildcard => true,
        Pattern::Literal(literal) => value.equals(literal),
        Pattern::Type(ty) => ty.admit(value.clone(), types).is_ok(),
        Pattern::Bind(name) => {
            bound.push((Arc::clone(name), value.clone()));
            true
        }
        Pattern::Object(fields) => {
            let Some(found) = value.as_object() else { return false };
            let before = bound.len();
            let all = fields.iter().all(|(name, pattern)| {
                found.get(name).is_some_and(|value| fits(pattern, value, types, bound))
            });
            if !all {
                bound.truncate(before);
            }
            all
        }
        Pattern::Any(patterns) => patterns.iter().any(|pattern| fits(pattern, value, types, bound)),
    }
}
