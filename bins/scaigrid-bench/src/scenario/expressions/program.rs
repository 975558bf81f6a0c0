//! The whole program: the machine against rhai.

use anyhow::{Context as _, bail, ensure};
use scaigrid_ir::Value;
use scaigrid_runtime::{ExecutionContext, Machine, Program, Start, Step};

use super::Compute;

const DOCUMENT: &str = include_str!("../../../programs/rounds.json");
const SCRIPT: &str = include_str!("../../../programs/rounds.rhai");
/// What the engine gives a machine before others get their turn.
const FUEL: u32 = 10_000;

/// How many expressions the program evaluates in each round: those of its loop's condition and of the statements in its
/// body. Branches of a condition have as many each.
pub(super) fn expressions_per_round() -> anyhow::Result<u64> {
    let document: serde_json::Value = serde_json::from_str(DOCUMENT)?;
    let blocks = document["flows"][0]["body"].as_array().context("no body")?;
    let round = blocks.iter().find(|block| block["kind"] == "while").context("no loop")?;
    let mut count = 1;
    for block in round["body"].as_array().context("no body of the loop")? {
        count += expressions(&block["statements"])?;
    }
    Ok(count)
}

fn expressions(statements: &serde_json::Value) -> anyhow::Result<u64> {
    let mut count = 0;
    for statement in statements.as_array().context("no statements")? {
        count += 1;
        if statement["kind"] == "if" {
            let (then, otherwise) = (expressions(&statement["then"])?, expressions(&statement["else"])?);
            ensure!(then == otherwise, "the branches differ, so rounds would");
            count += then;
        }
    }
    Ok(count)
}

/// Our machine.
pub(super) struct OnMachine {
    program: Program,
    rounds: u32,
}

impl OnMachine {
    pub(super) fn new(rounds: u32) -> anyhow::Result<Self> {
        let (module, diagnostics) = scaigrid_ir::check(&serde_json::from_str(DOCUMENT)?);
        ensure!(diagnostics.is_empty(), "{diagnostics:?}");
        let module = module.context("no program")?;
        Ok(Self { program: Program::new(module), rounds })
    }

    fn start(&self) -> Start {
        let empty = || Value::from([]);
        Start {
            flow: "compute".into(),
            input: Value::from([("rounds", self.rounds.into())]),
            config: empty(),
            context: ExecutionContext {
                execution_id: "exec_bench".into(),
                core_id: "core_bench".into(),
                trigger: Value::Null,
                started_at: 0,
            },
            debug: false,
            env: empty(),
        }
    }
}

impl Compute for OnMachine {
    const BY: &'static str = "scaigrid";

    fn run(&mut self) -> anyhow::Result<serde_json::Value> {
        let mut machine = Machine::start(&self.program, self.start())
            .map_err(|failure| anyhow::anyhow!("{}: {}", failure.code, failure.message))?;
        loop {
            let mut fuel = FUEL;
            match machine.advance(&self.program, &mut fuel) {
                Step::OutOfFuel => {}
                Step::Completed(value) => return Ok(value.to_json()),
                other => bail!("the program came to {other:?}"),
            }
        }
    }
}

/// rhai, as it comes: its tree is walked, sums are checked, and no bounds are set.
pub(super) struct InRhai {
    engine: rhai::Engine,
    script: rhai::AST,
    rounds: u32,
}

impl InRhai {
    pub(super) fn new(rounds: u32) -> anyhow::Result<Self> {
        let engine = rhai::Engine::new();
        let script = engine.compile(SCRIPT)?;
        Ok(Self { engine, script, rounds })
    }
}

impl Compute for InRhai {
    const BY: &'static str = "rhai";

    fn run(&mut self) -> anyhow::Result<serde_json::Value> {
        let mut scope = rhai::Scope::new();
        scope.push("rounds", i64::from(self.rounds));
        let result: rhai::Map = self
            .engine
            .eval_ast_with_scope(&mut scope, &self.script)
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let fields = result.into_iter().map(|(name, value)| {
            let value = value.as_int().map_err(|found| anyhow::anyhow!("{name} is of type {found}"))?;
            Ok((name.to_string(), value.into()))
        });
        fields.collect::<anyhow::Result<serde_json::Map<_, _>>>().map(serde_json::Value::Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_counted_once_per_round() {
        assert_eq!(expressions_per_round().unwrap(), 12);
        let uneven = r#"[{"kind": "if", "condition": "a", "then": [{"kind": "break"}], "else": []}]"#;
        assert!(expressions(&serde_json::from_str(uneven).unwrap()).is_err());
    }
}
