//! States and journals of the format before this one are read, and go on.

use serde_json::{Value as Json, json};

use crate::world::{World, ask, completed, decided, flow, note, program};
use scaigrid_runtime::journal::{Entry, decode_chunk, replay};
use scaigrid_runtime::{Machine, Outcome, Step};

/// The expense example, waiting for approval, as version 1 wrote it.
const STATE: &str = "\
    019f0082a8656d706c6f796565a34b696da56c696e65739282a6616d6f756e7428a56c6162656ca5747261696e82a661\
    6d6f756e74cd1388a56c6162656ca66c6170746f7081a56c696d6974cd03e881a6524547494f4ea2657594a665786563\
    5f31a6636f72655f3181a46b696e64a3617069cf00060a24181e400081a5746f74616ccd13b0919600c09181a1629300\
    01c081a177929501a67375626d6974a7617070726f7665af2f666c6f77732f302f626f64792f3181a1639aa861707072\
    6f76616cb5417070726f7665203530343020666f72204b696d3f82a8656d706c6f796565a34b696da5746f74616ccd13\
    b092a7617070726f7665a672656a656374b1726f6c653a74656e616e745f61646d696ea16892cd0e1000a178c0c0a166\
    9290908001029006ccc000c0c0";
/// Its journal.
const JOURNAL: &str = "\
    019381a17395a67375626d697482a8656d706c6f796565a34b696da56c696e65739282a6616d6f756e7428a56c616265\
    6ca5747261696e82a6616d6f756e74cd1388a56c6162656ca66c6170746f708094a6657865635f31a6636f72655f3181\
    a46b696e64a3617069cf00060a24181e400081a6524547494f4ea2657581a165929500a67375626d6974a5746f74616c\
    bc2f666c6f77732f302f626f64792f302f73746174656d656e74732f3181a16c93a169b37265706f7274206f66204b69\
    6d3a2035303430c081a176c081a165929501a67375626d6974a7617070726f7665af2f666c6f77732f302f626f64792f\
    3181a1639aa8617070726f76616cb5417070726f7665203530343020666f72204b696d3f82a8656d706c6f796565a34b\
    696da5746f74616ccd13b092a7617070726f7665a672656a656374b1726f6c653a74656e616e745f61646d696ea16892\
    cd0e1000a178c0c0c0";
/// Two iterations that wait side by side.
const ITERATIONS: &str = "\
    019f0081a178c081a56c696d69740a81a6524547494f4ea2657594a6657865635f31a6636f72655f3181a46b696e64a3\
    617069cf00060a24181e400080939600c09481a162930000c081a174930000a16281a162930100c081a16b9601009301\
    02030280c0a16a929090809601009481a169940100000181a162930200c081a174930200a16281a162930300c081a177\
    929500a46d61696eb062302e747279302e646f302e74727930d9242f666c6f77732f302f626f64792f302f626f64792f\
    302f626f64792f302f626f64792f3081a1639aa161a13fc090c0a16ec0a178c0c0a166929090809602009481a1699401\
    00010281a162930200c081a174930200a16281a162930300c081a177929501a46d61696eb062302e747279302e646f30\
    2e74727930d9242f666c6f77732f302f626f64792f302f626f64792f302f626f64792f302f626f64792f3081a1639aa1\
    61a13fc090c0a16ec0a178c0c0a16692909080030290063000c0c0";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_state_and_a_journal_of_version_1_go_on() {
    let document: Json =
        serde_json::from_str(include_str!("../../../../examples/expense-approval.json")).unwrap();
    let program = program(&document);
    let machine = Machine::decode(&bytes(STATE)).unwrap();
    let journal = decode_chunk(&bytes(JOURNAL)).unwrap();
    let Entry::Started(start) = &journal[0] else { panic!("{journal:?}") };
    assert!(!start.debug);
    let replayed = replay(&program, &journal).unwrap();
    assert_eq!(replayed, machine);
    // What is written is the new version, and is read again.
    let again = machine.encode();
    assert_eq!((again[0], Machine::decode(&again).unwrap()), (2, machine.clone()));

    let mut world = World::start_with(&program, (**start).clone());
    world.machine = machine;
    world.journal = journal;
    world.decide(world.pending()[0], "approve");
    assert_eq!(completed(&world.run(&program))["decision"], json!("approve"));
    crate::world::replays(&program, &world);
}

#[test]
fn iterations_of_version_1_go_on() {
    let mut wait = ask("b0");
    wait.as_object_mut().unwrap().remove("id");
    wait["checkpoint_type"] = json!("a");
    let program = flow(&json!([{ "kind": "try", "body": [
        { "kind": "foreach", "items": "[1, 2, 3]", "var": "i", "max_concurrent": 2, "body": [
            { "kind": "try", "body": [wait], "finally": [note("left ${i}")] }] }],
        "catch": [{ "body": [] }] }]));
    let mut world = World::start(&program, &json!({}));
    world.machine = Machine::decode(&bytes(ITERATIONS)).unwrap();
    for _ in 0..3 {
        let id = world.pending()[0];
        world.machine.deliver(id, Outcome::Value(decided("yes"))).unwrap();
        world.run(&program);
    }
    assert_eq!(world.seen, ["log left 1", "log left 2", "log left 3"]);
    assert!(matches!(world.run(&program), Step::Completed(_)));
}
