//! A program run by a host of a few lines: `cargo run --example embed`. What a host owes a machine is in docs/embedding.md.

use scaigrid_ir::{Diagnostic, Value, bundle, check};
use scaigrid_runtime::{EffectKind, ExecutionContext, Machine, Outcome, Program, Start, Step};
use serde_json::json;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let document = bundle::decode(include_bytes!("../../../examples/expense-approval.json"))?;
    let (module, findings) = check(&document);
    let right = !findings.iter().any(Diagnostic::is_error);
    let program = Program::new(module.filter(|_| right).ok_or("the verifier refuses the program")?);
    let input = json!({"employee": "Kim", "lines": [{"label": "laptop", "amount": 5000}]});
    let (input, none) = (Value::from_json(&input), Value::from_json(&json!({})));
    let (id, core): (_, _) = ("exec_1".into(), "core_1".into());
    let context = ExecutionContext { execution_id: id, core_id: core, trigger: Value::Null, started_at: 0 };
    let start =
        Start { flow: "submit".into(), input, config: none.clone(), context, env: none, debug: false };
    let mut machine = Machine::start(&program, start).map_err(|failure| failure.message.to_string())?;
    loop {
        match machine.advance(&program, &mut 10_000) {
            Step::Effects(effects) => {
                // What is inside is done at once; what is outside waits, here for the answer below.
                for effect in effects.iter().filter(|effect| effect.kind.is_inside()) {
                    println!("{}: {}", effect.block, effect.kind.name());
                    machine.deliver(effect.id, Outcome::Value(Value::Null))?;
                }
            }
            Step::Suspended => {
                // Days may lie between these two lines, and machines.
                machine = Machine::decode(&machine.encode())?;
                let waiting = machine.pending().first().map(|effect| (effect.id, effect.kind.clone()));
                let Some((id, EffectKind::Checkpoint(asked))) = waiting else { return Err("stuck".into()) };
                println!("{} {:?} -> approve", asked.prompt, asked.options);
                machine.deliver(id, Outcome::Value(Value::from_json(&json!({"decision": "approve"}))))?;
            }
            Step::OutOfFuel => {}
            end => break println!("{end:?}"),
        }
    }
    Ok(())
}
