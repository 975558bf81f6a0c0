//! Expressions in this process, without a server: a whole program on the machine, as the engine drives it, and a
//! condition by itself; each against other interpreters for Rust that do the same.
//!
//! The yardsticks are [rhai](https://rhai.rs), a scripting language, and [CEL](https://cel.dev), a language of
//! conditions without loops. What counts is the processor time of this thread, so that a busy machine weighs less.

mod condition;
mod program;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::time::{ClockId, clock_gettime};

use super::Bench;
use crate::options::Scenario;
use crate::report::Computed;

/// Runs of each at least, whatever time they take.
const RUNS: usize = 3;

/// Something that computes the same result again and again.
trait Compute {
    /// Who computes.
    const BY: &'static str;

    /// The result of one run, as JSON.
    fn run(&mut self) -> anyhow::Result<serde_json::Value>;
}

/// A [`Compute`] behind a pointer, with its name.
struct Contender<'a> {
    by: &'static str,
    run: Box<dyn FnMut() -> anyhow::Result<serde_json::Value> + 'a>,
    times: Vec<Duration>,
}

impl<'a> Contender<'a> {
    fn of<C: Compute + 'a>(mut compute: C) -> Self {
        Self { by: C::BY, run: Box::new(move || compute.run()), times: Vec::new() }
    }
}

/// Measures the program and the condition.
pub(crate) async fn measure(bench: &Bench<'_>) -> anyhow::Result<()> {
    if !bench.options.wants(Scenario::Expressions) {
        return Ok(());
    }
    let count = bench.options.rounds();
    let per_run = u64::from(count) * program::expressions_per_round()?;
    let machine = program::OnMachine::new(count)?;
    let contenders = vec![Contender::of(machine), Contender::of(program::InRhai::new(count)?)];
    race(bench, "program", per_run, contenders).await?;
    let count = bench.options.rounds();
    let contenders = vec![
        Contender::of(condition::Ours::new(count)?),
        Contender::of(condition::InRhai::new(count)?),
        Contender::of(condition::InCel::new(count)?),
    ];
    race(bench, "condition", u64::from(count), contenders).await
}

/// Has them run in turns until each has had its time. The first run of each is for warming up, and shows that all come to
/// the same result.
async fn race(
    bench: &Bench<'_>,
    task: &str,
    per_run: u64,
    mut contenders: Vec<Contender<'_>>,
) -> anyhow::Result<()> {
    eprintln!("expressions, {task}, in this process …");
    let mut expected = None;
    for contender in &mut contenders {
        let by = contender.by;
        let result = (contender.run)().with_context(|| format!("{task} by {by}"))?;
        let expected = expected.get_or_insert_with(|| result.clone());
        ensure!(result == *expected, "{task}: {by} comes to {result}, not to {expected}");
    }
    let slowest = |contenders: &[Contender<'_>]| {
        contenders.iter().map(|contender| contender.times.iter().sum::<Duration>()).min()
    };
    while contenders.iter().any(|contender| contender.times.len() < RUNS)
        || slowest(&contenders).is_some_and(|time| time < bench.options.window())
    {
        for contender in &mut contenders {
            let begun = processor_time();
            let result = (contender.run)()?;
            contender.times.push(processor_time().saturating_sub(begun));
            // Whoever wants to interrupt gets a chance.
            tokio::task::yield_now().await;
            ensure!(Some(&result) == expected.as_ref(), "{task}: {} changed its mind", contender.by);
        }
    }
    let computed: Vec<Computed> = contenders
        .into_iter()
        .map(|contender| Computed::of(task, contender.by, per_run, contender.times))
        .collect();
    bench.report.borrow_mut().keep_computed(computed);
    Ok(())
}

/// What this thread has taken of the processors, user and system.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_counts_work_and_no_rest() {
        let begun = processor_time();
        std::thread::sleep(Duration::from_millis(30));
        assert!(processor_time().saturating_sub(begun) < Duration::from_millis(20));
        let begun = processor_time();
        while processor_time().saturating_sub(begun) < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn all_come_to_the_same_result() {
        let results = [
            program::OnMachine::new(1_000).unwrap().run().unwrap(),
            program::InRhai::new(1_000).unwrap().run().unwrap(),
        ];
        assert_eq!(results[0], results[1]);
        assert!(results[0]["score"].as_i64().unwrap() > 0, "{}", results[0]);
        let results = [
            condition::Ours::new(1_000).unwrap().run().unwrap(),
            condition::InRhai::new(1_000).unwrap().run().unwrap(),
            condition::InCel::new(1_000).unwrap().run().unwrap(),
        ];
        assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
        let held = results[0].as_u64().unwrap();
        assert!(held > 0 && held < 1_000, "{held}: it should hold now and then");
    }
}
