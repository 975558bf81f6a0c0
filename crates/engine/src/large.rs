//! Large values on their way to the object store and back.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use metrics::counter;
use scaigrid_persistence::commit::Unit;
use scaigrid_persistence::{Objects, large, objects};
use scaigrid_storage::{Key, ObjectStore};

use crate::{Engine, Error};

/// The store, as large values are read from it.
pub(crate) struct Shelf(pub(crate) Arc<dyn ObjectStore>);

impl Objects for Shelf {
    fn get(&self, key: String) -> BoxFuture<'_, Result<Option<Bytes>, String>> {
        async move {
            let key = Key::new(key).map_err(|error| error.to_string())?;
            self.0.get(&key).await.map_err(|error| error.to_string())
        }
        .boxed()
    }
}

impl Engine {
    /// Puts what is too large for the database of a unit into the store, so that the unit can refer to it.
    ///
    /// Each has its row before it is there. When the process dies in between, or the unit is never written, nothing refers to
    /// it, and it goes with what else nothing refers to.
    ///
    /// # Errors
    /// [`Error::Storage`] once the store has failed as often as it is asked; the database's.
    pub(crate) async fn put_away(&self, unit: &mut Unit) -> Result<(), Error> {
        let pieces = large::pieces(unit)?;
        if pieces.is_empty() {
            return Ok(());
        }
        let (scope, now) = (self.0.system.tenant(unit.tenant_id), self.0.clock.now());
        let mut reserved = Vec::with_capacity(pieces.len());
        let mut transaction = self.0.database.begin().await?;
        for (hash, bytes) in pieces {
            let size = (hash, bytes.len() as u64);
            let id = self.0.ids.draw(now);
            let (object, stored) = objects::reserve(&mut transaction, scope, size, id, now).await?;
            reserved.push((object, stored, bytes));
        }
        transaction.commit().await?;
        for (object, stored, bytes) in reserved {
            if !stored {
                let key = Key::new(object.key(unit.tenant_id))
                    .map_err(|error| Error::Storage(error.to_string()))?;
                let put = self.0.objects.put(&key, bytes.into()).await;
                put.map_err(|error| Error::Storage(error.to_string()))?;
                counter!("scaigrid_large_values_total").increment(1);
            }
            unit.objects.insert(object.hash, object);
        }
        Ok(())
    }
}
