//! Both stores do the same, and stay within their bounds when what they stand on does not do its work.
//!
//! The bucket is that of a real S3 server (`SCAIGRID_TEST_S3` names the folder of its program, s3s-fs); without one those tests
//! say that they were skipped.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod faulty;
mod server;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use scaigrid_storage::{Error, Files, Key, MAX_OBJECT, ObjectStore, S3, S3Settings, StoreSettings};

use faulty::{Faulty, Mood};
use server::S3Server;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// What every store must do.
async fn keeps_its_promises(store: &dyn ObjectStore) {
    let (one, two) = (key("t/ten_1/values/ab/one"), key("t/ten_1/values/ab/two"));
    assert_eq!(store.get(&one).await.unwrap(), None);
    assert!(!store.exists(&one).await.unwrap());
    store.delete(&one).await.unwrap();
    store.put(&one, Bytes::from_static(b"first")).await.unwrap();
    store.put(&one, Bytes::from_static(b"second")).await.unwrap();
    store.put(&two, Bytes::new()).await.unwrap();
    assert_eq!(store.get(&one).await.unwrap(), Some(Bytes::from_static(b"second")));
    assert_eq!(store.get(&two).await.unwrap(), Some(Bytes::new()));
    assert!(store.exists(&one).await.unwrap() && store.exists(&two).await.unwrap());
    let large: Bytes =
        (0..3_000_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<u8>>().into();
    let big = key("t/ten_2/big");
    store.put(&big, large.clone()).await.unwrap();
    assert_eq!(store.get(&big).await.unwrap(), Some(large));

    let names = |listed: Vec<scaigrid_storage::Listed>| -> Vec<String> {
        listed.into_iter().map(|object| object.key.to_string()).collect()
    };
    let all = store.list("t/", None, 100).await.unwrap();
    let sizes: Vec<u64> = all.iter().map(|object| object.size).collect();
    assert_eq!(names(all), ["t/ten_1/values/ab/one", "t/ten_1/values/ab/two", "t/ten_2/big"]);
    assert_eq!(sizes, [6, 0, 3_000_000]);
    assert_eq!(names(store.list("t/ten_1", None, 1).await.unwrap()), ["t/ten_1/values/ab/one"]);
    assert_eq!(names(store.list("t/", Some(&one), 1).await.unwrap()), ["t/ten_1/values/ab/two"]);
    assert_eq!(names(store.list("t/", Some(&big), 100).await.unwrap()), Vec::<String>::new());
    assert_eq!(names(store.list("nothing/", None, 100).await.unwrap()), Vec::<String>::new());
    store.delete(&one).await.unwrap();
    store.delete(&one).await.unwrap();
    assert_eq!(store.get(&one).await.unwrap(), None);
    assert_eq!(store.list("t/ten_1/", None, 100).await.unwrap().len(), 1);
    store.check().await.unwrap();
    let too_large = Bytes::from(vec![0; MAX_OBJECT + 1]);
    assert!(matches!(store.put(&one, too_large).await, Err(Error::TooLarge)));
}

/// Lists by pages give what one list gives.
async fn lists_in_one_order(store: &dyn ObjectStore) {
    let mut expected = Vec::new();
    for name in ["a-b", "a.b", "a0", "a/b", "a/c/d", "b"] {
        let key = key(&format!("pages/{name}"));
        store.put(&key, Bytes::from_static(b"?")).await.unwrap();
        expected.push(key);
    }
    expected.sort_unstable();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.list("pages/", after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        found.extend(page.into_iter().map(|object| object.key));
    }
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_folder_keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    let store = Files::open(folder.path().join("objects")).await.unwrap();
    keeps_its_promises(&store).await;
    lists_in_one_order(&store).await;
    // Nothing unfinished is left behind.
    assert_eq!(std::fs::read_dir(folder.path().join("objects/.unfinished")).unwrap().count(), 0);
}

#[tokio::test]
async fn where_a_file_is_no_folder_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let store = Files::open(folder.path().to_owned()).await.unwrap();
    store.put(&key("x/a"), Bytes::from_static(b"?")).await.unwrap();
    assert!(matches!(store.put(&key("x/a/b"), Bytes::new()).await, Err(Error::Unavailable(_))));
    assert_eq!(store.get(&key("x/a/b")).await.unwrap(), None);
    assert_eq!(store.get(&key("x")).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_in_a_folder_that_is_away_is_not_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (place, aside) = (folder.path().join("objects"), folder.path().join("aside"));
    let store = Files::open(place.clone()).await.unwrap();
    let one = key("x/a");
    assert_eq!(store.get(&one).await.unwrap(), None);
    assert!(!store.exists(&one).await.unwrap());
    std::fs::rename(&place, &aside).unwrap();
    assert!(matches!(store.get(&one).await, Err(Error::Unavailable(_))));
    assert!(matches!(store.exists(&one).await, Err(Error::Unavailable(_))));
    std::fs::write(&place, "no folder").unwrap();
    assert!(matches!(store.get(&one).await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn a_bucket_keeps_its_promises() {
    let Some(server) = S3Server::start().await else { return };
    for prefix in ["", "some/prefix"] {
        let store = S3::new(&server.settings("objects", prefix)).unwrap();
        keeps_its_promises(&store).await;
        lists_in_one_order(&store).await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_bucket_is_told_at_once() {
    let Some(server) = S3Server::start().await else { return };
    let missing = StoreSettings::S3(Box::new(server.settings("no-such-bucket", "")));
    let refused = missing.open().await.err().unwrap();
    assert!(matches!(&refused, Error::Refused(reason) if reason.contains("no-such-bucket")), "{refused}");
    let mut strange = server.settings("objects", "");
    strange.keys = Some(("AKIDWRONG".to_owned(), "wrong".to_owned()));
    let refused = StoreSettings::S3(Box::new(strange)).open().await.err().unwrap();
    assert!(matches!(refused, Error::Refused(_)), "{refused}");
    let mut strange = server.settings("objects", "");
    strange.keys = Some((server::ACCESS.to_owned(), "wrong".to_owned()));
    let refused = StoreSettings::S3(Box::new(strange)).open().await.err().unwrap();
    assert!(matches!(refused, Error::Refused(_)), "{refused}");
}

fn settings(endpoint: String) -> S3Settings {
    S3Settings {
        bucket: "bucket".to_owned(),
        prefix: String::new(),
        endpoint: Some(endpoint),
        region: "us-east-1".to_owned(),
        keys: Some(("id".to_owned(), "secret".to_owned())),
    }
}

#[tokio::test]
async fn a_store_that_fails_in_passing_is_asked_again() {
    for mood in [Mood::Failing, Mood::HangingUp, Mood::HalfABody] {
        let faulty = Faulty::start(mood, 2).await;
        let store = S3::new(&settings(faulty.endpoint.clone())).unwrap();
        let found = store.get(&key("a")).await.unwrap();
        assert_eq!(found, Some(Bytes::from_static(faulty::BODY)), "{mood:?}");
        assert_eq!(faulty.asked(), 3, "{mood:?}");
        assert!(faulty.signed(), "{mood:?}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_recover_is_given_up() {
    for mood in [Mood::Failing, Mood::HangingUp, Mood::HalfABody] {
        let faulty = Faulty::start(mood, usize::MAX).await;
        let store: Arc<dyn ObjectStore> = Arc::new(S3::new(&settings(faulty.endpoint.clone())).unwrap());
        let begun = Instant::now();
        let failed = store.get(&key("a")).await.err().unwrap();
        assert!(matches!(failed, Error::Unavailable(_)), "{mood:?}: {failed}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{mood:?}");
        assert_eq!(faulty.asked(), 4, "{mood:?}");
        assert!(store.check().await.is_err(), "{mood:?}");
    }
}

#[tokio::test]
async fn a_store_that_is_not_there_is_not_waited_for_and_opens_all_the_same() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = StoreSettings::S3(Box::new(settings(format!("http://{nobody}"))));
    let store = settings.open().await.unwrap();
    assert!(matches!(store.put(&key("a"), Bytes::new()).await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn a_store_that_is_silent_does_not_hold_up_the_question_whether_it_is_there() {
    let faulty = Faulty::start(Mood::Silent, usize::MAX).await;
    let store = S3::new(&settings(faulty.endpoint.clone())).unwrap();
    let begun = Instant::now();
    assert!(matches!(store.check().await, Err(Error::Unavailable(_))));
    assert!(begun.elapsed() < Duration::from_secs(9));
}
