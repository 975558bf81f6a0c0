use super::*;
use proptest::prelude::*;

fn schedule(cron: &str, zone: &str) -> Schedule {
    Schedule::parse(cron, zone, CatchUp::default()).unwrap()
}

fn at(text: &str) -> Instant {
    Instant::parse(text).unwrap()
}

/// The first firings after an instant.
fn firings(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = schedule(cron, zone);
    let next = |last: &Instant| schedule.next_after(*last);
    let after = at(after);
    std::iter::successors(Some(after), next).skip(1).take(count).map(|at| at.to_string()).collect()
}

#[test]
fn patterns_are_those_of_cron() {
    let week = ["2026-11-23T09:00:00Z", "2026-11-24T09:00:00Z"];
    assert_eq!(firings("0 9 * * 1-5", "UTC", "2026-11-20T09:00:00Z", 2), week, "a weekend lies between");
    assert_eq!(firings("0 9 * * MON-Fri", "UTC", "2026-11-20T09:00:00.000001Z", 2), week);
    let quarters = ["2026-11-20T09:15:00Z", "2026-11-20T09:30:00Z", "2026-11-20T09:45:00Z"];
    assert_eq!(firings("15-59/15 * * * *", "UTC", "2026-11-20T09:00:00Z", 3), quarters);
    assert_eq!(firings("*/15 * * * *", "UTC", "2026-11-20T09:14:59.9Z", 3), quarters);
    // Days that are both restricted: either will do. The 1st and every Sunday.
    let either = ["2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z", "2026-12-01T00:00:00Z"];
    assert_eq!(firings("0 0 1 * sun", "UTC", "2026-11-20T09:00:00Z", 3), either);
    assert_eq!(firings("0 0 1 * 7", "UTC", "2026-11-20T09:00:00Z", 3), either);
    let leap = ["2028-02-29T12:00:00Z", "2032-02-29T12:00:00Z"];
    assert_eq!(firings("0 12 29 feb *", "UTC", "2026-11-20T09:00:00Z", 2), leap);
    assert_eq!(firings("0 12 29 2 *", "UTC", "2096-03-01T00:00:00Z", 1), ["2104-02-29T12:00:00Z"]);
    // A step over the weekdays restricts nothing by itself: both must fit.
    assert_eq!(firings("0 0 29 2 */7", "UTC", "2026-11-20T09:00:00Z", 1), ["2032-02-29T00:00:00Z"]);
}

#[test]
fn what_is_no_pattern_is_told() {
    let told = |cron: &str| match Schedule::parse(cron, "UTC", CatchUp::Skip) {
        Err((field, error)) => format!("{field} {error}"),
        Ok(_) => panic!("{cron} is taken"),
    };
    assert_eq!(told("0 9 * *"), "cron must have five fields, e.g. 0 9 * * 1-5");
    assert_eq!(told("0 0 9 * * *"), "cron must have five fields, e.g. 0 9 * * 1-5");
    assert_eq!(told("60 9 * * *"), "cron has a minute that cannot be: \"60\" is nothing from 0 to 59");
    for cron in [
        "a * * * *",
        "5-1 * * * *",
        "*/0 * * * *",
        ", * * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "0 0 * 13 *",
        "0 0 * * 8",
        "+1 * * * *",
        "1- * * * *",
        "-1 * * * *",
        "*/99 * * * *",
        "0 0 30 2 *",
        "0 0 31 4,6 *",
    ] {
        assert!(Schedule::parse(cron, "UTC", CatchUp::Skip).is_err(), "{cron}");
    }
    let unknown = Schedule::parse("* * * * *", "Europe/Atlantis", CatchUp::Skip).unwrap_err();
    assert_eq!((unknown.0, unknown.1.to_string().contains("Europe/Atlantis")), ("timezone", true));
}

#[test]
fn berlin_puts_its_clock_forward_and_back_by_an_hour() {
    let zone = "Europe/Berlin";
    // 02:00 becomes 03:00 at 01:00 UTC on 29 March 2026.
    assert_eq!(
        firings("30 2 * * *", zone, "2026-03-27T12:00:00Z", 3),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        firings("0,30 2 * * *", zone, "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"],
        "once, however much was left out"
    );
    assert_eq!(
        firings("0 2,3 * * *", zone, "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]
    );
    assert_eq!(
        firings("*/30 * * * *", zone, "2026-03-29T00:15:00Z", 3),
        ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]
    );
    assert_eq!(
        firings("*/30 2 * * *", zone, "2026-03-28T12:00:00Z", 1),
        ["2026-03-30T00:00:00Z"],
        "every so often within an hour that there is not"
    );
    // 03:00 becomes 02:00 at 01:00 UTC on 25 October 2026.
    assert_eq!(
        firings("30 2 * * *", zone, "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    assert_eq!(
        firings("0 3 * * *", zone, "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T02:00:00Z", "2026-10-26T02:00:00Z"]
    );
    assert_eq!(
        firings("*/30 * * * *", zone, "2026-10-24T23:50:00Z", 5),
        [
            "2026-10-25T00:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:00:00Z"
        ]
    );
    // Asked from within the hour that comes the second time.
    assert_eq!(firings("30 2 * * *", zone, "2026-10-25T01:10:00Z", 1), ["2026-10-26T01:30:00Z"]);
}

#[test]
fn new_york_changes_at_other_times() {
    let zone = "America/New_York";
    assert_eq!(
        firings("30 2 * * *", zone, "2026-03-07T12:00:00Z", 2),
        ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"]
    );
    assert_eq!(
        firings("30 1 * * *", zone, "2026-10-31T12:00:00Z", 2),
        ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]
    );
}

#[test]
fn lord_howe_changes_by_half_an_hour() {
    let zone = "Australia/Lord_Howe";
    assert_eq!(
        firings("15 2 * * *", zone, "2026-10-03T00:00:00Z", 2),
        ["2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"]
    );
    assert_eq!(
        firings("45 1 * * *", zone, "2026-04-04T00:00:00Z", 2),
        ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]
    );
    assert_eq!(
        firings("*/20 * * * *", zone, "2026-04-04T14:30:00Z", 3),
        ["2026-04-04T14:40:00Z", "2026-04-04T15:10:00Z", "2026-04-04T15:30:00Z"]
    );
}

#[test]
fn some_change_at_midnight_and_some_never() {
    assert_eq!(
        firings("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", 2),
        ["2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"]
    );
    assert_eq!(
        firings("30 23 * * *", "America/Sao_Paulo", "2019-02-16T12:00:00Z", 2),
        ["2019-02-17T01:30:00Z", "2019-02-18T02:30:00Z"]
    );
    assert_eq!(
        firings("0 9 * * *", "Asia/Kolkata", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T03:30:00Z", "2026-03-30T03:30:00Z"]
    );
}

#[test]
fn apia_left_a_whole_day_out() {
    assert_eq!(
        firings("0 9 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 4),
        ["2011-12-29T19:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T19:00:00Z", "2011-12-31T19:00:00Z"]
    );
}

#[test]
fn what_was_missed_is_left_out_or_served() {
    let slots = |catch_up, first: &str, now: &str, served: Option<&str>| {
        let schedule = Schedule::parse("*/10 * * * *", "UTC", catch_up).unwrap();
        let slots = schedule.slots((at(first), at(now)), served.map(at));
        (slots.due.iter().map(ToString::to_string).collect::<Vec<_>>(), slots.left_out)
    };
    let (ten, half) = ("2026-11-20T10:00:00Z", "2026-11-20T10:30:00Z");
    for catch_up in [CatchUp::Skip, CatchUp::Latest, CatchUp::All] {
        assert_eq!(
            slots(catch_up, ten, "2026-11-20T10:00:00.4Z", None),
            (vec![ten.to_owned()], 0),
            "on time"
        );
        assert_eq!(slots(catch_up, ten, "2026-11-20T10:00:00.4Z", Some(ten)), (vec![], 0), "served already");
    }
    let late = "2026-11-20T10:35:00Z";
    assert_eq!(slots(CatchUp::Skip, ten, late, None), (vec![], 4));
    assert_eq!(slots(CatchUp::Skip, ten, "2026-11-20T10:30:59Z", None), (vec![half.to_owned()], 3));
    assert_eq!(slots(CatchUp::Latest, ten, late, None), (vec![half.to_owned()], 3));
    let (all, left_out) = slots(CatchUp::All, ten, late, Some(ten));
    assert_eq!((all.len(), left_out, all[0].as_str()), (3, 0, "2026-11-20T10:10:00Z"));
    // A year away: a bounded number, the newest.
    let (all, left_out) = slots(CatchUp::All, "2025-11-20T10:00:00Z", late, None);
    assert_eq!((all.len(), all.last().unwrap().as_str()), (1_000, half));
    assert!(left_out > 3_000, "{left_out}");
    assert_eq!(slots(CatchUp::Latest, "2025-11-20T10:00:00Z", late, None).0, [half]);
}

const ZONES: [&str; 6] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Pacific/Apia",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_time_of_the_day_comes_once_a_day(zone in 0..ZONES.len(), hour in 0..24, minute in 0..60) {
        let schedule = schedule(&format!("{minute} {hour} * * *"), ZONES[zone]);
        let mut last = at("2026-01-01T00:00:00Z");
        let end = at("2028-01-01T00:00:00Z");
        let mut count = 0;
        while let Some(next) = schedule.next_after(last).filter(|next| *next < end) {
            prop_assert!(next > last);
            let apart = next.since(last).as_secs();
            prop_assert!(count == 0 || (22 * 3600..=26 * 3600).contains(&apart), "{apart} s before {next}");
            last = next;
            count += 1;
        }
        prop_assert!((729..=731).contains(&count), "{count} times in 730 days");
    }

    #[test]
    fn intervals_are_even(zone in 0..ZONES.len(), step in prop::sample::select(vec![5, 10, 15, 30]),
        // Where one zone or another changes its clock within the next weeks.
        start in prop::sample::select(vec!["2026-03-07T00:00:00Z", "2026-09-28T00:00:00Z"])) {
        let schedule = schedule(&format!("*/{step} * * * *"), ZONES[zone]);
        let mut last = schedule.next_after(at(start)).unwrap();
        for _ in 0..9_000 {
            let next = schedule.next_after(last).unwrap();
            prop_assert_eq!(next.since(last).as_secs(), step * 60);
            last = next;
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[0-9*/,a-zA-Z -]{0,24}") {
        if let Ok(schedule) = Schedule::parse(&text, "Europe/Berlin", CatchUp::All) {
            let next = schedule.next_after(at("2026-01-01T00:00:00Z"));
            prop_assert!(next.is_some(), "{text} never comes");
            prop_assert_eq!(Schedule::parse(&schedule.cron().to_string(), "Europe/Berlin", CatchUp::All), Ok(schedule));
        }
    }
}
