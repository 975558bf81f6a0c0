//! What holds for every program and every course of events.

use proptest::prelude::*;

use crate::generator::{Event, body, events};
use crate::world::{World, expired, flow, said, suitable};
use scaigrid_ir::Value;
use scaigrid_runtime::journal::{Base, Entry, decode_chunk, encode_chunk, replay, resume};
use scaigrid_runtime::{EffectId, Machine, Outcome, Program, Step};
use serde_json::json;

/// A machine whose twin is made anew of its bytes before everything that happens to it.
struct Twins {
    world: World,
    /// Journal lengths at which the machine could have been lost, and the machine as it stood then.
    points: Vec<(usize, Machine)>,
    cancelled: bool,
}

impl Twins {
    fn new(program: &Program) -> Self {
        let mut start = crate::world::begin("main", &json!({ "x": [4, 5] }));
        start.debug = true;
        let world = World::start_with(program, start);
        Self { world, points: Vec::new(), cancelled: false }
    }

    fn twin(&self) -> Machine {
        let bytes = self.world.machine.encode();
        let twin = Machine::decode(&bytes).unwrap();
        assert_eq!(twin.encode(), bytes);
        twin
    }

    fn point(&mut self) {
        self.points.push((self.world.journal.len(), self.world.machine.clone()));
    }

    fn advance(&mut self, program: &Program, fuel: u32) -> Step {
        let mut twin = self.twin();
        let (mut left, mut twins) = (fuel, fuel);
        let step = self.world.machine.advance(program, &mut left);
        assert_eq!(twin.advance(program, &mut twins), step);
        assert_eq!(left, twins);
        assert_eq!(twin.encode(), self.world.machine.encode());
        if let Step::Effects(effects) = &step {
            for effect in effects {
                assert!(
                    !self.cancelled || effect.kind.is_inside(),
                    "no outside effect after the cancellation"
                );
                self.world.see(effect.clone());
            }
            self.point();
        }
        step
    }

    fn resolve(&mut self, id: EffectId, outcome: Outcome) {
        let mut twin = self.twin();
        twin.deliver(id, outcome.clone()).unwrap();
        self.world.resolve(id, outcome);
        assert_eq!(twin.encode(), self.world.machine.encode());
        self.point();
    }

    fn happen(&mut self, program: &Program, event: &Event) {
        match event {
            Event::Advance(fuel) => {
                self.advance(program, *fuel);
            }
            Event::Answer(which, how) => {
                let pending = self.world.pending();
                if let Some(id) = which.checked_rem(pending.len()).map(|index| pending[index]) {
                    let kind = self.world.open().into_iter().find(|effect| effect.id == id).unwrap().kind;
                    let outcome = match how {
                        0..=2 => suitable(&kind, "yes"),
                        3 => suitable(&kind, "mend"),
                        4 | 5 => suitable(&kind, "no"),
                        6 => expired(),
                        7 => said("n is not here", 90),
                        8 => said("```json\n{\"n\": 5}\n```", 10),
                        _ => Outcome::Value(Value::from(7)),
                    };
                    self.resolve(id, outcome);
                }
            }
            Event::Cancel => {
                let mut twin = self.twin();
                twin.cancel("enough");
                self.world.cancel();
                self.cancelled = true;
                assert_eq!(twin.encode(), self.world.machine.encode());
                self.point();
            }
        }
    }

    /// Runs to the end, answering everything.
    fn finish(&mut self, program: &Program) -> Step {
        for _ in 0..5000 {
            match self.advance(program, 1000) {
                Step::Effects(_) | Step::OutOfFuel => {}
                Step::Suspended => {
                    let pending = self.world.pending();
                    assert!(!pending.is_empty(), "a suspended machine waits for something");
                    let effect = self.world.open().remove(0);
                    self.resolve(effect.id, suitable(&effect.kind, "yes"));
                }
                end => {
                    self.world.journal.push(Entry::Ended(self.world.machine.end().unwrap().clone()));
                    self.point();
                    return end;
                }
            }
        }
        panic!("no end in sight");
    }
}

/// Runs to the next thing that a driver would see.
fn settled(program: &Program, machine: &Machine) -> (Step, Vec<u8>) {
    let mut machine = machine.clone();
    let mut fuel = 1_000_000;
    let step = machine.advance(program, &mut fuel);
    (step, machine.encode())
}

proptest! {
    #[test]
    fn a_decoded_machine_goes_on_alike_and_a_journal_leads_to_the_same_state(body in body(), events in events()) {
        let program = flow(&body);
        let mut twins = Twins::new(&program);
        for event in &events {
            twins.happen(&program, event);
        }
        let end = twins.finish(&program);
        prop_assert!(!twins.cancelled || events.is_empty() || end == Step::Cancelled || ended_before(&twins, &events));

        let journal = decode_chunk(&encode_chunk(&twins.world.journal)).unwrap();
        prop_assert_eq!(&journal, &twins.world.journal);
        for (length, machine) in &twins.points {
            let replayed = replay(&program, &journal[..*length]).unwrap();
            prop_assert_eq!(settled(&program, &replayed), settled(&program, machine), "after {} entries", length);
            // A snapshot at that point and the rest of the journal lead to the same end.
            let base = Base { machine: machine.clone(), seq: *length };
            let resumed = resume(&program, Some(&base), &journal[*length..]).unwrap();
            prop_assert_eq!(resumed.machine.encode(), twins.world.machine.encode());
            prop_assert_eq!(resumed.unrecorded, vec![]);
        }
        // Any beginning of a journal can be gone on with.
        for length in 1..journal.len() {
            prop_assert!(replay(&program, &journal[..length]).is_ok());
        }
        prop_assert_eq!(replay(&program, &journal).unwrap().encode(), twins.world.machine.encode());
    }

    #[test]
    fn a_cancelled_execution_ends_soon(body in body(), events in events()) {
        let program = flow(&body);
        let mut twins = Twins::new(&program);
        for event in events.iter().filter(|event| !matches!(event, Event::Cancel)) {
            twins.happen(&program, event);
        }
        if twins.world.machine.end().is_none() {
            twins.happen(&program, &Event::Cancel);
            prop_assert_eq!(twins.world.pending(), vec![]);
            let before = twins.world.machine.steps();
            prop_assert_eq!(twins.world.run(&program), Step::Cancelled);
            prop_assert!(twins.world.machine.steps() - before < 20_000);
        }
    }

    #[test]
    fn fuel_does_not_matter(body in body(), events in events()) {
        let program = flow(&body);
        let (mut one, mut other) = (Twins::new(&program), Twins::new(&program));
        for event in &events {
            if let Event::Advance(_) = event {
                // As far as it goes, in one breath or in many.
                one.world.run(&program);
                while let Step::OutOfFuel | Step::Effects(_) = other.advance(&program, 3) {}
            } else {
                one.happen(&program, event);
                other.happen(&program, event);
            }
            prop_assert_eq!(one.world.machine.encode(), other.world.machine.encode());
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_or_a_machine_panic(
        body in body(),
        events in events(),
        noise in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let program = flow(&body);
        let mut twins = Twins::new(&program);
        for event in &events {
            twins.happen(&program, event);
        }
        let mut bytes = twins.world.machine.encode();
        prop_assert!(Machine::decode(&bytes[..cut.index(bytes.len())]).is_err());
        for (index, byte) in &noise {
            let at = index.index(bytes.len());
            bytes[at] = *byte;
        }
        if let Ok(mut machine) = Machine::decode(&bytes) {
            let mut fuel = 2000;
            for _ in 0..50 {
                if let Step::Effects(effects) = machine.advance(&program, &mut fuel) {
                    for effect in effects {
                        let _ = machine.deliver(effect.id, Outcome::Value(Value::Null));
                    }
                }
            }
            machine.cancel("x");
            machine.advance(&program, &mut fuel);
            machine.encode();
        }
        let mut chunk = encode_chunk(&twins.world.journal);
        prop_assert!(decode_chunk(&chunk[..cut.index(chunk.len())]).is_err());
        for (index, byte) in &noise {
            let at = index.index(chunk.len());
            chunk[at] = *byte;
        }
        if let Ok(entries) = decode_chunk(&chunk) {
            let _ = replay(&program, &entries);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Machine::decode(&bytes);
        let _ = decode_chunk(&bytes);
        let mut versioned = vec![1];
        versioned.extend(&bytes);
        let _ = Machine::decode(&versioned);
        let _ = decode_chunk(&versioned);
    }
}

/// Whether the program had ended when the cancellation came.
fn ended_before(twins: &Twins, events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Cancel)) && twins.world.machine.cancel_reason().is_none()
}
