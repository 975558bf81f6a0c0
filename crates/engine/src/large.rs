//! Large values on their way to the object store and back.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use metrics::counter;
use scaigrid_persistence::commit::Unit;
use scaigrid_persistence::{Objects, Transaction, large, objects, tenants};
use scaigrid_scope::TenantScope;
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
    /// it, and it goes with what else nothing refers to. Until then it counts against the tenant's limit.
    ///
    /// # Errors
    /// [`Error::StorageFull`] when the tenant has no room for what is new; [`Error::Storage`] once the store has failed as often as it is asked; the database's.
    pub(crate) async fn put_away(&self, unit: &mut Unit) -> Result<(), Error> {
        let pieces = large::pieces(unit)?;
        if pieces.is_empty() {
            return Ok(());
        }
        let (scope, now) = (self.0.system.tenant(unit.tenant_id), self.0.clock.now());
        let mut reserved = Vec::with_capacity(pieces.len());
        let mut transaction = self.0.database.begin().await?;
        let room = Room::of(&mut transaction, scope).await?;
        for (hash, bytes) in pieces {
            let size = (hash, bytes.len() as u64);
            let id = self.0.ids.draw(now);
            let (object, stored) = objects::reserve(&mut transaction, scope, size, id, now).await?;
            reserved.push((object, stored, bytes));
        }
        if let Some(limit) = room.is_exceeded(&mut transaction, scope).await? {
            transaction.rollback().await?;
            return Err(Error::StorageFull(limit));
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

/// How much a tenant may have in the store, and has: none where nothing bounds it.
struct Room(Option<(u64, u64)>);

impl Room {
    /// Whoever takes room holds the tenant meanwhile, so that two do not both take the last of it.
    async fn of(tx: &mut Transaction, scope: TenantScope) -> Result<Self, Error> {
        let tenant = tenants::lookup(tx, scope.into(), scope.tenant_id()).await?;
        if tenant.is_none_or(|tenant| tenant.limits.max_storage_bytes.is_none()) {
            return Ok(Self(None));
        }
        let tenant = tenants::lock(tx, scope).await?;
        let Some(limit) = tenant.and_then(|tenant| tenant.limits.max_storage_bytes) else {
            return Ok(Self(None));
        };
        Ok(Self(Some((limit, objects::stored_bytes(tx, scope).await?))))
    }

    /// The limit, if what came since goes past it. What was there before is nobody's fault.
    async fn is_exceeded(&self, tx: &mut Transaction, scope: TenantScope) -> Result<Option<u64>, Error> {
        let Self(Some((limit, before))) = *self else { return Ok(None) };
        let now = objects::stored_bytes(tx, scope).await?;
        Ok((now > limit && now > before).then_some(limit))
    }
}
