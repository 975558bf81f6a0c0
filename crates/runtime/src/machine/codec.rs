//! The state as bytes: a version byte, then the state in MessagePack, structures as arrays.

use serde::Deserialize;

use super::state::State;
use crate::failure::StateError;
use crate::limits::{MAX_DECODE_DEPTH, MAX_ENCODED_BYTES};

/// The format that is written. A change of any field, variant name or list numbering is another version.
const VERSION: u8 = 2;

/// The older format that is read: it lacks the last fields of some structures, which then have their defaults.
const OLDER: u8 = 1;

pub(super) fn encode(state: &State) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.push(VERSION);
    // Writing to memory does not fail, and nothing in the state refuses to be written.
    let written = rmp_serde::encode::write(&mut bytes, state);
    debug_assert!(written.is_ok(), "a state can always be written");
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<State, StateError> {
    let state: State = read(bytes, &[VERSION, OLDER])?;
    check(&state)?;
    Ok(state)
}

/// Reads what stands behind the version byte, to the last byte.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(bytes: &[u8], versions: &[u8]) -> Result<T, StateError> {
    if bytes.len() > MAX_ENCODED_BYTES {
        return Err(StateError::TooLarge { found: bytes.len(), limit: MAX_ENCODED_BYTES });
    }
    let body = match bytes.split_first() {
        Some((found, body)) if versions.contains(found) => body,
        first => return Err(StateError::UnknownVersion { found: first.map(|(byte, _)| *byte) }),
    };
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(body);
    deserializer.set_max_depth(MAX_DECODE_DEPTH);
    let value = T::deserialize(&mut deserializer)
        .map_err(|error| StateError::Damaged { reason: error.to_string() })?;
    // The deserializer does not tell what it left; at the end of the bytes it finds no further marker.
    match <()>::deserialize(&mut deserializer) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(damaged("there are bytes behind the end")),
    }
}

fn damaged(reason: &str) -> StateError {
    StateError::Damaged { reason: reason.to_owned() }
}

/// What the machine takes for granted about its fibers: sorted, and every parent before its children.
fn check(state: &State) -> Result<(), StateError> {
    if state.fibers.is_empty() != state.end.is_some() {
        return Err(damaged("an execution has fibers until it ends"));
    }
    let sorted = state.fibers.windows(2).all(|pair| matches!(pair, [first, second] if first.id < second.id));
    let rooted = state.fibers.iter().enumerate().all(|(index, fiber)| match fiber.parent {
        None => index == 0,
        Some(parent) => parent < fiber.id && state.fiber_index(parent).is_some(),
    });
    let open = state.open.windows(2).all(|pair| matches!(pair, [a, b] if a.effect.id < b.effect.id));
    if !open {
        return Err(damaged("the open effects are out of order"));
    }
    if !sorted || !rooted || state.fibers.last().is_some_and(|fiber| fiber.id >= state.next_fiber) {
        return Err(damaged("the fibers are out of order"));
    }
    Ok(())
}
