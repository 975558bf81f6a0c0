//! Which object store a database has: one, whoever asks first, and none that could not be asked.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use scaigrid_app::own_store::{MARK, OwnStore};
use scaigrid_persistence::Database;
use scaigrid_storage::{Error, Files, Key, ObjectStore as _};

use crate::house::house;

fn id(number: u8) -> String {
    format!("01ARZ3NDEKTSV4RRFFQ69G5F{number:02}")
}

fn of_server(folder: &Path, database: &Database, number: u8) -> OwnStore {
    let files = Arc::new(Files::visit(folder.to_owned()));
    OwnStore::of_server(files, database.clone(), "file://there".to_owned(), id(number))
}

fn mark(folder: &Path) -> Option<String> {
    std::fs::read_to_string(folder.join(MARK)).ok().map(|text| text.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_stores_at_a_first_start_one_is_the_databases() {
    let house = house().await;
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = of_server(one.path(), &house.database, 1);
    let second = of_server(two.path(), &house.database, 2);
    let answers = tokio::join!(first.prove(), second.prove());
    let ours = match &answers {
        (Ok(()), Err(Error::Another(_))) => (mark(one.path()), mark(two.path())) == (Some(id(1)), None),
        (Err(Error::Another(_)), Ok(())) => (mark(one.path()), mark(two.path())) == (None, Some(id(2))),
        _ => false,
    };
    assert!(ours, "{answers:?}");
    // Nothing is written to the other one.
    let (other, folder) = if answers.0.is_ok() { (&second, two.path()) } else { (&first, one.path()) };
    let key = Key::new("some/value").unwrap();
    let put = other.put(&key, Bytes::from_static(b"?")).await;
    assert!(matches!(put, Err(Error::Another(_))) && !folder.join("some").exists(), "{put:?}");
    assert!(matches!(other.get(&key).await, Err(Error::Another(_))));
    assert!(matches!(other.check().await, Err(Error::Another(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_at_a_first_start_agree_on_their_one_store() {
    let house = house().await;
    let folder = tempfile::tempdir().unwrap();
    let first = of_server(folder.path(), &house.database, 1);
    let second = of_server(folder.path(), &house.database, 2);
    let visitor = Arc::new(Files::visit(folder.path().to_owned()));
    let visitor = OwnStore::of_visitor(visitor, house.database.clone(), "file://there".to_owned());
    // A visitor settles nothing.
    visitor.prove().await.unwrap();
    assert_eq!(mark(folder.path()), None);
    let answers = tokio::join!(first.prove(), second.prove());
    // One that saw the other's mark before that was settled asks again.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(first.prove().await.is_ok() && second.prove().await.is_ok(), "{answers:?}");
    assert!([Some(id(1)), Some(id(2))].contains(&mark(folder.path())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_asked_is_not_used_until_it_can_be() {
    let house = house().await;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("objects");
    std::fs::write(&place, "no folder").unwrap();
    let store = of_server(&place, &house.database, 1);
    assert!(matches!(store.prove().await, Err(Error::Unavailable(_))));
    let key = Key::new("some/value").unwrap();
    assert!(matches!(store.put(&key, Bytes::from_static(b"?")).await, Err(Error::Unavailable(_))));
    // It is another one when it comes back.
    std::fs::remove_file(&place).unwrap();
    std::fs::create_dir(&place).unwrap();
    let settled = of_server(&folder.path().join("settled"), &house.database, 2);
    std::fs::create_dir(folder.path().join("settled")).unwrap();
    settled.prove().await.unwrap();
    let error = tokio::time::timeout(Duration::from_secs(20), store.turns_out_to_be_another()).await.unwrap();
    assert!(matches!(&error, Error::Another(told) if told.contains("file://there") && told.contains(&id(2))));
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
}
