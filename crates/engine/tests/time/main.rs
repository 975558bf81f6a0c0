//! What the engine does at instants, on both databases, with a clock that is wound by hand and as many nodes as it takes.

#![expect(clippy::unwrap_used, reason = "tests, whose helpers the configured exceptions do not reach")]

mod clocks;
mod deaths;
mod decisions;
mod events;
mod home;
mod instances;
mod reminders;
mod said;
mod schedules;
mod timers;
mod updates;

/// Makes of each of a file's tests, all functions of a [`home::Home`], one test per database.
macro_rules! on_both_databases {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let home = $crate::home::Home::sqlite().await;
                    super::$test(&home).await;
                    home.remove().await;
                }
            )+
        }
        mod on_postgresql {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let test = concat!(module_path!(), "::", stringify!($test));
                    let Some(home) = $crate::home::Home::postgres(test).await else { return };
                    super::$test(&home).await;
                    home.remove().await;
                }
            )+
        }
    };
}
pub(crate) use on_both_databases;
