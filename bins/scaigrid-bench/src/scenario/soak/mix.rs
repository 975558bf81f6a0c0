//! Several kinds of work at once, each at a pace of its own, and how long each took since it was last looked at.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use hdrhistogram::Histogram;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::load::{Laps, Pace, Record, Work, clients_for, follow};
use crate::report::Stretch;

/// How long what was begun may take to end.
const FINISH: Duration = Duration::from_mins(1);
/// The longest time that is recorded, in microseconds; longer ones count as this.
const LONGEST_US: u64 = 300_000_000;

/// One kind of work.
struct Strand {
    name: &'static str,
    times: RefCell<Histogram<u64>>,
    failure: RefCell<Option<String>>,
}

impl Record for Strand {
    fn ended(&self, due: Instant, _: &Laps) {
        let micros = u64::try_from(due.elapsed().as_micros()).unwrap_or(LONGEST_US);
        self.times.borrow_mut().saturating_record(micros);
    }

    fn failed(&self, error: &anyhow::Error) {
        self.failure.borrow_mut().get_or_insert_with(|| format!("{}: {error:#}", self.name));
    }
}

impl Strand {
    /// Fails if anything of it has.
    fn check(&self) -> anyhow::Result<()> {
        self.failure.borrow_mut().take().map_or(Ok(()), |failure| Err(anyhow!(failure)))
    }

    /// What was done since the last time.
    fn take(&self) -> Stretch {
        let mut times = self.times.borrow_mut();
        let [p50_ms, p99_ms, max_ms] =
            [0.5, 0.99, 1.0].map(|quantile| millis(times.value_at_quantile(quantile)));
        let stretch = Stretch { name: self.name, operations: times.len(), p50_ms, p99_ms, max_ms };
        times.reset();
        stretch
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of less than five minutes")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1e3
}

/// All that goes on. It needs a `LocalSet` around it, and ends with that.
#[derive(Default)]
pub(super) struct Mix {
    strands: Vec<Rc<Strand>>,
    paces: Vec<(f64, Rc<Pace>)>,
    tasks: Vec<JoinHandle<()>>,
}

impl Mix {
    /// Begins with a kind of work. `clients` are asked for as many as it needs.
    pub(super) async fn add<W: Work>(
        &mut self,
        name: &'static str,
        per_second: f64,
        clients: impl AsyncFnOnce(usize) -> anyhow::Result<Vec<W>>,
    ) -> anyhow::Result<()> {
        let clients = clients(clients_for(per_second)).await.context(name)?;
        let times = Histogram::new_with_bounds(1, LONGEST_US, 3).context("the histogram's bounds")?;
        let strand = Rc::new(Strand { name, times: RefCell::new(times), failure: RefCell::default() });
        let pace = Rc::new(Pace::start(per_second)?);
        for client in clients {
            let (strand, pace) = (Rc::clone(&strand), Rc::clone(&pace));
            self.tasks.push(tokio::task::spawn_local(async move { follow(client, &pace, &*strand).await }));
        }
        self.strands.push(strand);
        self.paces.push((per_second, pace));
        Ok(())
    }

    /// What is due of each, in a second.
    pub(super) fn paces(&self) -> Vec<(&'static str, f64)> {
        let paces = self.paces.iter().map(|(per_second, _)| *per_second);
        self.strands.iter().map(|strand| strand.name).zip(paces).collect()
    }

    /// What was done of each since the last time. Fails if anything has.
    pub(super) fn take(&self) -> anyhow::Result<Vec<Stretch>> {
        let told = self.strands.iter().map(|strand| strand.check().map(|()| strand.take()));
        told.collect()
    }

    /// Waits until everything that was due has ended.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let Self { strands, paces, tasks } = self;
        for (_, pace) in &paces {
            pace.end();
        }
        let all = async {
            for task in tasks {
                task.await?;
            }
            anyhow::Ok(())
        };
        timeout(FINISH, all).await.context("not everything that was due has ended")??;
        strands.iter().try_for_each(|strand| strand.check())
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    /// Works so often, and fails then.
    struct Worker(u32);

    impl Work for Worker {
        const PHASES: &'static [&'static str] = &[];

        async fn once(&mut self, _: &mut Laps) -> anyhow::Result<()> {
            anyhow::ensure!(self.0 > 0, "tired");
            self.0 -= 1;
            Ok(())
        }
    }

    #[tokio::test]
    async fn every_kind_is_told_apart_and_a_failure_is_told() {
        let room = LocalSet::new();
        let told = room.run_until(async {
            let mut mix = Mix::default();
            mix.add("idle", 1.0, async |count| Ok((0..count).map(|_| Worker(u32::MAX)).collect()))
                .await
                .unwrap();
            mix.add("busy", 200.0, async |_| Ok(vec![Worker(3)])).await.unwrap();
            assert_eq!(mix.paces(), [("idle", 1.0), ("busy", 200.0)]);
            let begun = Instant::now();
            let told = loop {
                match mix.take() {
                    Ok(stretches) => assert_eq!([stretches[0].name, stretches[1].name], ["idle", "busy"]),
                    Err(error) => break error.to_string(),
                }
                assert!(begun.elapsed() < Duration::from_secs(30), "nothing has failed");
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            mix.end().await.unwrap();
            told
        });
        assert_eq!(told.await, "busy: tired");
    }
}
