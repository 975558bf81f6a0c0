//! Tables that have grown are analysed, once.

use std::time::Duration;

use scaigrid_persistence::{DatabaseUrl, planner, platform_facts};
use scaigrid_scope::SystemScope;

use crate::home::Home;
use crate::on_both_databases;

on_both_databases!(a_table_that_has_grown_is_analysed_once);

const TABLE: &str = "platform_facts";

async fn analysed(home: &Home) -> bool {
    let system = SystemScope::for_the_process();
    let tables = planner::analyse_grown(&mut home.read().await, &system).await.unwrap();
    tables.iter().any(|table| table == TABLE)
}

async fn a_table_that_has_grown_is_analysed_once(home: &Home) {
    assert!(!analysed(home).await, "it is small");
    let mut tx = home.begin().await;
    for number in 0..500 {
        platform_facts::put_if_absent(&mut tx, &format!("fact {number}"), "so").await.unwrap();
    }
    tx.commit().await.unwrap();
    if matches!(home.url, DatabaseUrl::Sqlite(_)) {
        assert!(!analysed(home).await, "nobody counts its rows");
        return;
    }
    // What a session has written is counted within a second or so.
    let mut waits = 0;
    while !analysed(home).await {
        waits += 1;
        assert!(waits < 400, "a table of 500 rows is not found");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!analysed(home).await, "it has not grown since");
}
