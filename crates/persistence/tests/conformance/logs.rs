//! Logs: a reader that remembers one number per lane skips nothing and sees nothing twice, in whatever order steps commit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use scaigrid_cores::logs::{KeptEntry, Level, LogEntry, LogPlace, LogSource};
use scaigrid_persistence::commit::{self, Change, Unit, Verdict};
use scaigrid_persistence::logs::{self, LogFilter};
use scaigrid_persistence::retention;
use scaigrid_scope::{CoreId, ExecutionId};
use serde_json::json;

use crate::commit::{begin, core_id, execution_id, hosted};
use crate::home::Home;
use crate::values::{at, of_tenant, tenant_id, ulid};

crate::on_both_databases! {
    what_is_written_is_read_again,
    a_reader_misses_nothing_that_commits_late,
    a_refused_step_says_nothing,
    what_is_old_goes_though_its_execution_goes_on,
}

pub(crate) fn entry(number: i64, level: Level) -> LogEntry {
    LogEntry {
        at: at(number),
        level,
        source: if level == Level::Info { LogSource::Program } else { LogSource::Runtime },
        flow: Some("main".into()),
        block: (number % 2 == 0).then(|| "b".into()),
        message: format!("odd \0 {number}"),
        fields: if number == 1 { serde_json::Value::Null } else { json!({ "n": number }) },
    }
}

fn step(execution: u128, lane: u16, entries: Vec<LogEntry>) -> Unit {
    let mut unit = Unit::new(tenant_id(1), at(5), Change::Keep { id: execution_id(execution) });
    unit.core_id = Some(core_id());
    unit.lane = lane;
    unit.logs = entries;
    unit
}

async fn write(home: &Home, units: Vec<Unit>) {
    let mut tx = home.begin().await;
    let verdicts = commit::apply(&mut tx, units).await.unwrap();
    assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Done), "{verdicts:?}");
    tx.commit().await.unwrap();
}

async fn read_lane(home: &Home, lane: u16, number: i64) -> Vec<KeptEntry> {
    let mut c = home.database.read().await.unwrap();
    let place = LogPlace { lane, number };
    let chunks = logs::after(&mut c, of_tenant(1), core_id(), place, 1000).await.unwrap();
    chunks.into_iter().flat_map(|chunk| chunk.entries).collect()
}

async fn what_is_written_is_read_again(home: &Home) {
    hosted(home).await;
    write(home, vec![begin(1), begin(2)]).await;
    // Several steps in one transaction, in two lanes.
    let (debug, info, error) = (entry(1, Level::Debug), entry(2, Level::Info), entry(3, Level::Error));
    write(
        home,
        vec![
            step(1, 0, vec![debug.clone(), info.clone()]),
            step(2, 3, vec![error.clone()]),
            step(2, 0, vec![error.clone(), info.clone(), info.clone()]),
        ],
    )
    .await;
    let found = read_lane(home, 0, 0).await;
    let numbers: Vec<i64> = found.iter().map(|kept| kept.place.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert_eq!(found[2].execution_id, execution_id(2));
    let stored = LogEntry { message: "odd \u{fffd} 2".to_owned(), ..info.clone() };
    assert_eq!(found[1].entry, stored);
    write(home, vec![step(1, 0, vec![debug])]).await;
    assert_eq!(read_lane(home, 0, 5).await[0].place.number, 6);
    let mut c = home.database.read().await.unwrap();
    let lanes = logs::lanes(&mut c, of_tenant(1), core_id()).await.unwrap();
    assert_eq!(lanes, [LogPlace { lane: 0, number: 6 }, LogPlace { lane: 3, number: 1 }]);
    assert_eq!(logs::lanes(&mut c, of_tenant(2), core_id()).await.unwrap(), []);
    let other = CoreId::from_ulid(ulid(77));
    assert_eq!(logs::lanes(&mut c, of_tenant(1), other).await.unwrap(), []);
    // Backwards, from the middle of a row.
    let middle = LogPlace { lane: 0, number: 5 };
    let filter = LogFilter::default();
    let chunks = logs::before(&mut c, of_tenant(1), core_id(), middle, &filter, 10).await.unwrap();
    let ends: Vec<i64> = chunks.iter().map(|chunk| chunk.entries.last().unwrap().place.number).collect();
    assert_eq!(ends, [5, 2]);
    let errors = LogFilter { level: Some(Level::Error), ..LogFilter::default() };
    let chunks =
        logs::before(&mut c, of_tenant(1), core_id(), LogPlace { lane: 0, number: 99 }, &errors, 10).await;
    assert_eq!(chunks.unwrap().len(), 1);
    let own = logs::of_execution(&mut c, of_tenant(1), execution_id(2), None, 10).await.unwrap();
    assert_eq!(own.iter().map(|chunk| chunk.entries.len()).sum::<usize>(), 4);
    assert!(logs::of_execution(&mut c, of_tenant(2), execution_id(2), None, 10).await.unwrap().is_empty());
}

async fn a_refused_step_says_nothing(home: &Home) {
    hosted(home).await;
    write(home, vec![begin(1)]).await;
    let mut refused =
        crate::commit::proceed(1, (99, 0), scaigrid_cores::execution::ExecutionStatus::Suspended);
    refused.core_id = Some(core_id());
    refused.logs = vec![entry(1, Level::Info)];
    let mut tx = home.begin().await;
    let verdicts =
        commit::apply(&mut tx, vec![refused, step(1, 0, vec![entry(2, Level::Info)])]).await.unwrap();
    assert_eq!(verdicts, [Verdict::Fenced, Verdict::Done]);
    tx.commit().await.unwrap();
    let found = read_lane(home, 0, 0).await;
    assert_eq!((found.len(), found[0].place.number), (1, 1));
}

async fn a_reader_misses_nothing_that_commits_late(home: &Home) {
    const WRITERS: u128 = 4;
    const STEPS: i64 = 25;
    hosted(home).await;
    write(home, (1..=WRITERS).map(begin).collect()).await;
    // Two writers share a lane; each waits between writing and committing, some for longer.
    let writers: Vec<_> = (1..=WRITERS)
        .map(|writer| {
            let database = home.database.clone();
            tokio::spawn(async move {
                for number in 0..STEPS {
                    let entries =
                        (0..=number % 3).map(|more| entry(number * 10 + more + 1, Level::Info)).collect();
                    let lane = u16::from(writer % 2 == 0);
                    let mut tx = database.begin().await.unwrap();
                    commit::apply(&mut tx, vec![step(writer, lane, entries)]).await.unwrap();
                    let pause = u64::try_from(writer).unwrap() * 2 + u64::from(number % 7 == 0) * 10;
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    // Some change their mind: their numbers are given out again.
                    if number % 5 == 4 {
                        tx.rollback().await.unwrap();
                    } else {
                        tx.commit().await.unwrap();
                    }
                }
            })
        })
        .collect();
    let mut read: BTreeMap<u16, i64> = BTreeMap::new();
    let mut heard: Vec<(ExecutionId, String)> = Vec::new();
    let mut done = false;
    loop {
        let finished = writers.iter().all(tokio::task::JoinHandle::is_finished);
        let mut c = home.database.read().await.unwrap();
        let lanes = logs::lanes(&mut c, of_tenant(1), core_id()).await.unwrap();
        drop(c);
        for end in lanes {
            let last = read.entry(end.lane).or_default();
            for kept in read_lane(home, end.lane, *last).await {
                if kept.place.number <= *last {
                    continue;
                }
                assert_eq!(kept.place.number, *last + 1, "there is no gap");
                *last = kept.place.number;
                heard.push((kept.execution_id, kept.entry.message));
            }
        }
        if done {
            break;
        }
        done = finished;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let kept = (0..STEPS).filter(|number| number % 5 != 4).map(|number| number % 3 + 1).sum::<i64>();
    let each: BTreeSet<_> = heard.iter().collect();
    assert_eq!(i64::try_from(heard.len()).unwrap(), kept * i64::try_from(WRITERS).unwrap());
    assert_eq!(each.len(), heard.len(), "each once");
}

async fn what_is_old_goes_though_its_execution_goes_on(home: &Home) {
    hosted(home).await;
    write(home, vec![begin(1)]).await;
    let said = |number: i64, seconds: i64| {
        let mut unit = step(1, 0, vec![entry(number, Level::Info)]);
        unit.at = at(seconds);
        unit
    };
    for (number, seconds) in [(1, 10), (2, 20), (3, 30), (4, 900)] {
        write(home, vec![said(number, seconds)]).await;
    }
    let purge = async |tenant, most| {
        let mut tx = home.begin().await;
        let gone = retention::purge_logs(&mut tx, of_tenant(tenant), at(500), most).await.unwrap();
        tx.commit().await.unwrap();
        gone
    };
    assert_eq!(purge(2, 9).await, 0);
    assert_eq!((purge(1, 2).await, purge(1, 2).await, purge(1, 2).await), (2, 1, 0));
    let left = read_lane(home, 0, 0).await;
    assert_eq!(left.iter().map(|kept| kept.place.number).collect::<Vec<_>>(), [4]);
    // Numbers are not given out again.
    write(home, vec![said(5, 901)]).await;
    assert_eq!(read_lane(home, 0, 4).await[0].place.number, 5);
}
