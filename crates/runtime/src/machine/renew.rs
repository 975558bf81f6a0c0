//! Effects that are asked for once more, under numbers that none has had.

use super::state::{FiberState, Frame, Role, State};
use crate::effect::{Effect, EffectId};

impl State {
    /// Gives an effect that is open the next number, so that nothing that comes for the old one is taken for its outcome.
    ///
    /// The time of a frame keeps its number, by which frames within one another are told apart: its timer is known by
    /// when it is due as well.
    pub(super) fn renew(&mut self, id: EffectId) -> Option<Effect> {
        let new = EffectId(self.next_effect);
        let waiting = self.fibers.iter_mut().find_map(|fiber| match &mut fiber.state {
            FiberState::Wait(wait) if wait.effect.id == id => Some(wait),
            _ => None,
        });
        if let Some(wait) = waiting {
            self.next_effect = self.next_effect.saturating_add(1);
            wait.effect.id = new;
            return Some(wait.effect.clone());
        }
        let index = self.open.binary_search_by_key(&id, |open| open.effect.id).ok()?;
        let bound = self.open.get(index).filter(|open| open.role == Role::Bound || open.outcome.is_some());
        if let Some(bound) = bound {
            return bound.outcome.is_none().then(|| bound.effect.clone());
        }
        self.next_effect = self.next_effect.saturating_add(1);
        let mut open = self.open.remove(index);
        open.effect.id = new;
        if open.role == Role::Handle {
            open.handle = open.handle.or(Some(id));
        }
        let effect = open.effect.clone();
        // The highest number of all comes last.
        self.open.push(open);
        for frame in self.fibers.iter_mut().flat_map(|fiber| &mut fiber.frames) {
            if let Frame::Await { entries, .. } = frame {
                entries.iter_mut().filter(|entry| **entry == id).for_each(|entry| *entry = new);
            }
        }
        Some(effect)
    }
}
