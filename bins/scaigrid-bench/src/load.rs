//! The loops, and what is recorded of them. In the closed one clients each wait for their answer before they ask again; in the open
//! one operations are due at instants that are given beforehand ([`pace`]).

mod pace;
mod progress;
mod stretch;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::probe::{Probe, Sample};
use progress::Progress;
use stretch::{Division, Stretch};

pub(crate) use pace::{Pace, Record, clients_for, follow};

/// How long clients may take to finish what they have begun when the measurement is over.
const FINISH: Duration = Duration::from_mins(1);
/// The longest time that is recorded; longer ones count as this.
const LONGEST: u64 = 120_000_000_000;
/// How often progress is looked at.
const TICK: Duration = Duration::from_millis(200);

/// What one client does again and again.
pub(crate) trait Work: 'static {
    /// The parts that an operation is made of, in their order; none for an operation of one part.
    const PHASES: &'static [&'static str];

    /// Does it once, and checks what came of it. Adds the time of each part to `laps`.
    async fn once(&mut self, laps: &mut Laps) -> anyhow::Result<()>;
}

/// The times of one operation's parts.
#[derive(Debug, Default)]
pub(crate) struct Laps(Vec<Duration>);

impl Laps {
    /// A part is done.
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }
}

/// How long clients work.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent {
    /// A while without counting, then a while with.
    Time { warm_up: Duration, window: Duration },
    /// So many operations, all of which count, within a time.
    Count { operations: u64, limit: Duration },
}

/// The distribution of the times of an operation, or of a part of it, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Times {
    /// Which part; `all` for the whole.
    pub(crate) phase: &'static str,
    /// The median.
    pub(crate) p50: f64,
    /// The 99th percentile.
    pub(crate) p99: f64,
    /// The 99.9th percentile.
    pub(crate) p999: f64,
    /// The mean.
    pub(crate) mean: f64,
    /// The longest.
    pub(crate) max: f64,
}

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Seconds that counted.
    pub(crate) seconds: f64,
    /// Seconds that did not, since the machine's host kept too much of its processors for itself.
    pub(crate) seconds_left_out: f64,
    /// Operations that ended well in that time.
    pub(crate) operations: u64,
    /// Operations that failed at any time.
    pub(crate) errors: u64,
    /// What the first of them said.
    pub(crate) first_error: Option<String>,
    /// The times of the whole, then of its parts.
    pub(crate) times: Vec<Times>,
    /// What it cost.
    pub(crate) spent: Sample,
}

#[derive(Clone, Copy)]
enum Window {
    WarmUp,
    Open { since: Instant },
    Closed { since: Instant, until: Instant },
}

struct Shared {
    window: Cell<Window>,
    /// Operations that may still begin.
    allowance: Cell<u64>,
    working: Cell<usize>,
    ended: Cell<u64>,
    /// When the last of those that count has ended.
    last: Cell<Option<Instant>>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
    recorded: RefCell<Vec<Histogram<u64>>>,
}

impl Shared {
    fn new(clients: usize, phases: usize, extent: Extent) -> anyhow::Result<Self> {
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3).context("the histogram's bounds")?;
        let (window, allowance) = match extent {
            Extent::Time { .. } => (Window::WarmUp, u64::MAX),
            Extent::Count { operations, .. } => (Window::Open { since: Instant::now() }, operations),
        };
        Ok(Self {
            window: Cell::new(window),
            allowance: Cell::new(allowance),
            working: Cell::new(clients),
            ended: Cell::new(0),
            last: Cell::new(None),
            errors: Cell::new(0),
            first_error: RefCell::new(None),
            recorded: RefCell::new(vec![histogram; phases + 1]),
        })
    }

    /// What was recorded since the last time.
    fn take_recorded(&self) -> (u64, Vec<Histogram<u64>>) {
        let mut recorded = self.recorded.borrow_mut();
        let taken = recorded.clone();
        recorded.iter_mut().for_each(Histogram::reset);
        (self.ended.take(), taken)
    }

    /// Whether a client may begin once more.
    fn take(&self) -> bool {
        let allowance = self.allowance.get();
        if matches!(self.window.get(), Window::Closed { .. }) || allowance == 0 {
            return false;
        }
        self.allowance.set(allowance - 1);
        true
    }

    /// What has just ended counts while the window is open.
    fn record(&self, whole: Duration, laps: &Laps) {
        if matches!(self.window.get(), Window::Open { .. }) {
            self.count();
            self.keep(whole, laps);
        }
    }

    fn count(&self) {
        self.ended.set(self.ended.get() + 1);
        self.last.set(Some(Instant::now()));
    }

    fn keep(&self, whole: Duration, laps: &Laps) {
        let mut recorded = self.recorded.borrow_mut();
        for (histogram, time) in recorded.iter_mut().zip(std::iter::once(&whole).chain(&laps.0)) {
            histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST));
        }
    }

    fn fail(&self, error: &anyhow::Error) {
        self.errors.set(self.errors.get() + 1);
        self.first_error.borrow_mut().get_or_insert_with(|| format!("{error:#}"));
    }

    fn leave(&self) {
        self.working.set(self.working.get() - 1);
    }
}

impl Record for Shared {
    /// What was due within the window counts, and its time is kept however late it ends: else those would be left out that waited
    /// longest. As one of the operations of that time it counts if it has ended in it.
    fn ended(&self, due: Instant, laps: &Laps) {
        let (since, until) = match self.window.get() {
            Window::WarmUp => return,
            Window::Open { since } => (since, None),
            Window::Closed { since, until } => (since, Some(until)),
        };
        if due < since || until.is_some_and(|until| due >= until) {
            return;
        }
        if until.is_none() {
            self.count();
        }
        self.keep(due.elapsed(), laps);
    }

    fn failed(&self, error: &anyhow::Error) {
        self.fail(error);
    }
}

/// Lets the clients work. A client that meets an error stops there: whatever it measured afterwards would mean nothing.
pub(crate) async fn run<W: Work>(
    title: &str,
    clients: Vec<W>,
    extent: Extent,
    probe: &Probe,
) -> anyhow::Result<Outcome> {
    let shared = Rc::new(Shared::new(clients.len(), W::PHASES.len(), extent)?);
    let tasks = LocalSet::new();
    for client in clients {
        tasks.spawn_local(work(client, Rc::clone(&shared)));
    }
    observe::<W>(title, (extent, Division::calm(extent)), probe, tasks, &shared, || {}).await
}

/// Lets the clients do so many operations in a second, each at its instant or as soon as one of them is free. Their times are from
/// the instant on.
pub(crate) async fn run_paced<W: Work>(
    title: &str,
    clients: Vec<W>,
    per_second: f64,
    extent: Extent,
    probe: &Probe,
) -> anyhow::Result<Outcome> {
    let shared = Rc::new(Shared::new(clients.len(), W::PHASES.len(), extent)?);
    let pace = Rc::new(Pace::start(per_second)?);
    let tasks = LocalSet::new();
    for client in clients {
        let (pace, shared) = (Rc::clone(&pace), Rc::clone(&shared));
        tasks.spawn_local(async move {
            follow(client, &pace, &*shared).await;
            shared.leave();
        });
    }
    // Whatever is late was due in it, and to leave some of that out would leave out what is looked for.
    observe::<W>(title, (extent, Division::whole(extent)), probe, tasks, &shared, || pace.end()).await
}

/// Measures what goes on, and waits for the clients.
async fn observe<W: Work>(
    title: &str,
    (extent, division): (Extent, Division),
    probe: &Probe,
    tasks: LocalSet,
    shared: &Shared,
    end: impl Fn(),
) -> anyhow::Result<Outcome> {
    let progress = Progress::new(title, extent);
    let stretches = tasks.run_until(conduct(shared, (extent, division), probe, &progress)).await?;
    end();
    let finished = timeout(FINISH, tasks).await.is_ok();
    progress.finish();
    if !finished {
        shared.fail(&anyhow::anyhow!("a client got no answer within {} s of the end", FINISH.as_secs()));
    }
    let names = std::iter::once("all").chain(W::PHASES.iter().copied());
    let all: f64 = stretches.iter().map(|stretch| stretch.seconds).sum();
    let mut counted = division.counted(stretches).context("nothing was measured")?;
    // What was due in the window and has ended since.
    counted.add(&shared.recorded.borrow());
    let Stretch { seconds, operations, spent, recorded } = counted;
    Ok(Outcome {
        seconds,
        seconds_left_out: all - seconds,
        operations,
        errors: shared.errors.get(),
        first_error: shared.first_error.borrow().clone(),
        times: names.zip(recorded.iter()).map(|(phase, histogram)| times(phase, histogram)).collect(),
        spent,
    })
}

async fn work<W: Work>(mut client: W, shared: Rc<Shared>) {
    let mut laps = Laps::default();
    while shared.take() {
        laps.0.clear();
        let begun = Instant::now();
        match client.once(&mut laps).await {
            Ok(()) => shared.record(begun.elapsed(), &laps),
            Err(error) => {
                shared.fail(&error);
                break;
            }
        }
    }
    shared.leave();
}

/// Opens and closes the window, stretch by stretch, and reads the costs of each.
async fn conduct(
    shared: &Shared,
    (extent, division): (Extent, Division),
    probe: &Probe,
    progress: &Progress,
) -> anyhow::Result<Vec<Stretch>> {
    if let Extent::Time { warm_up, .. } = extent {
        tokio::time::sleep(warm_up).await;
    }
    let (mut stretches, mut ended) = (Vec::new(), 0);
    let begun = Instant::now();
    let mut before = probe.sample().await?;
    loop {
        let since = match shared.window.get() {
            Window::Open { since } => since,
            Window::WarmUp | Window::Closed { .. } => Instant::now(),
        };
        shared.window.set(Window::Open { since });
        while shared.working.get() > 0 && since.elapsed() < division.length {
            tokio::time::sleep(TICK.min(division.length.saturating_sub(since.elapsed()))).await;
            progress.show(begun.elapsed(), ended + shared.ended.get());
        }
        let until = Instant::now();
        // Nothing counts while the costs are read. What is left of an open loop is told by its end.
        shared.window.set(if division.is_whole() { Window::Closed { since, until } } else { Window::WarmUp });
        // A number of operations is over when the last of them is, which is noticed a little later.
        let over = match extent {
            Extent::Count { .. } if shared.working.get() == 0 => shared.last.get().unwrap_or(until),
            _ => until,
        };
        let (operations, recorded) = shared.take_recorded();
        ended += operations;
        let after = probe.sample().await?;
        let seconds = over.duration_since(since).as_secs_f64();
        stretches.push(Stretch { seconds, operations, spent: after.since(&before), recorded });
        before = after;
        if division.is_done(&stretches) || shared.working.get() == 0 {
            shared.window.set(Window::Closed { since, until });
            return Ok(stretches);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of less than two minutes")]
fn times(phase: &'static str, histogram: &Histogram<u64>) -> Times {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
    Times {
        phase,
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        mean: histogram.mean() / 1e6,
        max: histogram.max() as f64 / 1e6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sleeper {
        left: u32,
    }

    impl Work for Sleeper {
        const PHASES: &'static [&'static str] = &["sleep"];

        async fn once(&mut self, laps: &mut Laps) -> anyhow::Result<()> {
            anyhow::ensure!(self.left > 0, "tired");
            self.left -= 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
            laps.add(Duration::from_millis(2));
            Ok(())
        }
    }

    fn probe() -> Probe {
        Probe::new(std::process::id(), None)
    }

    #[tokio::test]
    async fn a_count_is_reached_and_not_passed() {
        let clients = (0..4).map(|_| Sleeper { left: 1000 }).collect();
        let extent = Extent::Count { operations: 50, limit: Duration::from_secs(30) };
        let outcome = run("test", clients, extent, &probe()).await.unwrap();
        assert_eq!((outcome.operations, outcome.errors), (50, 0));
        assert_eq!(outcome.times.iter().map(|times| times.phase).collect::<Vec<_>>(), ["all", "sleep"]);
        assert!(outcome.times.iter().all(|times| times.p50 >= 1.9), "{:?}", outcome.times);
    }

    #[tokio::test]
    async fn the_warm_up_does_not_count() {
        let extent = Extent::Time { warm_up: Duration::from_millis(100), window: Duration::from_millis(100) };
        let outcome = run("test", vec![Sleeper { left: 1000 }], extent, &probe()).await.unwrap();
        assert!(outcome.operations > 0 && outcome.operations <= 60, "{}", outcome.operations);
    }

    #[tokio::test]
    async fn a_client_that_fails_stops_and_is_told_of() {
        let clients = vec![Sleeper { left: 3 }, Sleeper { left: 1000 }];
        let extent = Extent::Count { operations: 40, limit: Duration::from_secs(30) };
        let outcome = run("test", clients, extent, &probe()).await.unwrap();
        assert_eq!((outcome.operations, outcome.errors), (39, 1));
        assert_eq!(outcome.first_error.as_deref(), Some("tired"));
    }

    #[tokio::test]
    async fn what_waits_for_a_client_has_begun_when_it_was_due() {
        // One client that needs 2 ms each time cannot do a thousand in a second: the others wait longer and longer.
        let extent = Extent::Time { warm_up: Duration::ZERO, window: Duration::from_millis(400) };
        let outcome =
            run_paced("test", vec![Sleeper { left: 10_000 }], 1_000.0, extent, &probe()).await.unwrap();
        assert_eq!(outcome.errors, 0, "{:?}", outcome.first_error);
        let [all, sleep] = outcome.times.as_slice() else { panic!("{:?}", outcome.times) };
        // Those that were due last are kept though they ended behind the window.
        assert!(all.max >= 350.0 && sleep.max >= 350.0, "{:?}", outcome.times);
    }

    #[tokio::test]
    async fn a_pace_that_can_be_kept_is_kept() {
        let clients = (0..20).map(|_| Sleeper { left: 10_000 }).collect();
        let extent = Extent::Time { warm_up: Duration::from_millis(100), window: Duration::from_millis(500) };
        let outcome = run_paced("test", clients, 100.0, extent, &probe()).await.unwrap();
        // As many as were due, and not as many as the clients could have done.
        let due = outcome.seconds * 100.0 + 1.0;
        let done = f64::from(u32::try_from(outcome.operations).unwrap());
        assert!(done > 0.0 && done <= due, "{done} of {due}");
    }
}
