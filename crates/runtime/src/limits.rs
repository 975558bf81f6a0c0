//! The bounds that every execution keeps, so that no program can take a driver with it.
//!
//! Expression evaluation has its own bounds (`ir::expr::Limits`); these are about the execution as a whole. They
//! are part of the state format: a replay under other bounds may end elsewhere.

/// Steps (statements, blocks, iterations, deliveries) that one execution may take in its life.
pub const MAX_STEPS: u64 = 20_000_000;

/// Bytes that the variables, loop states and open requests of one execution may take together, roughly.
pub const MAX_STATE_BYTES: u64 = 16 * 1024 * 1024;

/// Growth of the state, in bytes, after which it is measured anew.
pub(crate) const MEASURE_EVERY: u64 = 1024 * 1024;

/// Iterations of one `foreach` that may be under way at once, whatever the program asks for.
pub const MAX_CONCURRENT: u32 = 256;

/// Iterations of all `foreach` blocks of an execution that may be under way at once. Where it is reached, a
/// `foreach` that begins runs its iterations one after the other.
pub const MAX_FIBERS: usize = 2048;

/// Bytes that an encoded state or journal chunk may have to be read at all.
pub const MAX_ENCODED_BYTES: usize = 64 * 1024 * 1024;

/// Nesting that a decoder follows before it refuses the input.
pub(crate) const MAX_DECODE_DEPTH: usize = 400;

/// Findings that one failure lists.
pub(crate) const MAX_DETAILS: usize = 20;

/// Causes of one failure, each that of the one before: calls that led from one execution to the next.
pub(crate) const MAX_CAUSES: usize = 4;

/// Characters that a cause keeps of a message, and of a code.
pub(crate) const MAX_CAUSE_TEXT: usize = 1000;
