//! Facts of the whole platform that are settled once: which master key it uses, when it was set up.

use async_recursion::async_recursion as boxed;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use crate::database::{Connection, Engine, Transaction, with};
use crate::error::Result;
use crate::schema::platform_facts;

/// A fact by its name.
#[boxed]
pub async fn lookup(c: &mut Connection, name: &str) -> Result<Option<String>> {
    let query = platform_facts::table.find(name.to_owned()).select(platform_facts::value);
    Ok(with!(c, c => query.get_result(c).await.optional())?)
}

/// Settles a fact if it is not settled yet, and gives the value that counts from then on: the first one.
///
/// Of several processes that settle the same fact at once one wins, and all are told its value.
#[boxed]
pub async fn put_if_absent(tx: &mut Transaction, name: &str, value: &str) -> Result<String> {
    let insert = diesel::insert_into(platform_facts::table)
        .values((platform_facts::name.eq(name.to_owned()), platform_facts::value.eq(value.to_owned())))
        .on_conflict_do_nothing();
    let inserted = with!(tx, c => insert.execute(c).await)?;
    if inserted == 1 {
        return Ok(value.to_owned());
    }
    let query = platform_facts::table.find(name.to_owned()).select(platform_facts::value);
    Ok(with!(tx, c => query.get_result(c).await)?)
}

/// Holds a fact until the transaction ends: of all who do so, one goes on at a time. False when it is not settled.
#[boxed]
pub async fn lock(tx: &mut Transaction, name: &str) -> Result<bool> {
    // An update that changes nothing takes the row lock in both databases, by the same statement.
    let update = diesel::update(platform_facts::table.find(name.to_owned()))
        .set(platform_facts::value.eq(platform_facts::value));
    Ok(with!(tx, c => update.execute(c).await)? > 0)
}

/// Holds a fact until the transaction ends against whoever [`lock`]s it; those who share it do not wait for each other.
#[boxed]
pub async fn share(tx: &mut Transaction, name: &str) -> Result<()> {
    // SQLite has one writer: a transaction that writes waits for nobody any more.
    if let Engine::Postgres(c) = tx.engine()? {
        let query = platform_facts::table.find(name.to_owned()).select(platform_facts::name).for_share();
        let _: Option<String> = query.get_result(c).await.optional()?;
    }
    Ok(())
}

/// Settles a fact anew.
#[boxed]
pub async fn put(tx: &mut Transaction, name: &str, value: &str) -> Result<()> {
    let insert = diesel::insert_into(platform_facts::table)
        .values((platform_facts::name.eq(name.to_owned()), platform_facts::value.eq(value.to_owned())))
        .on_conflict(platform_facts::name)
        .do_update()
        .set(platform_facts::value.eq(value.to_owned()));
    with!(tx, c => insert.execute(c).await)?;
    Ok(())
}

/// Forgets a fact.
#[boxed]
pub async fn remove(tx: &mut Transaction, name: &str) -> Result<()> {
    let delete = diesel::delete(platform_facts::table.find(name.to_owned()));
    with!(tx, c => delete.execute(c).await)?;
    Ok(())
}
