//! The model that every platform has.

use scaigrid_audit::{Actor, AuditAction, AuditRecord, Outcome, RequestContext, diff};
use scaigrid_catalog::echo::Script;
use scaigrid_catalog::{
    Backend, Capabilities, ConnectionConfig, Mapping, Modality, Model, ModelSlug, ModelStatus, Parameters,
    Price, Priority, Weight,
};
use scaigrid_persistence::{Error as DatabaseError, audit, backends, models, platform_facts};
use scaigrid_scope::{BackendId, Description, Level, LevelScope, ModelId, Name};
use serde_json::{Map, Value, json};

use crate::App;
use crate::bootstrap::BootstrapError;

/// The fact that names the node which made it. Once it was made, the platform's admins may do with it what they like.
const MADE_BY: &str = "echo_made_by";
/// What it is called.
const NAME: &str = "echo";

impl App {
    /// Makes the model `echo`, if nobody ever has: offline, free, for every tenant, and enabled unless a tenant says
    /// otherwise.
    pub(crate) async fn make_echo(&self) -> Result<(), BootstrapError> {
        let mut connection = self.0.database.read().await?;
        if platform_facts::lookup(&mut connection, MADE_BY).await?.is_some() {
            return Ok(());
        }
        drop(connection);
        let now = self.now();
        let mut tx = self.0.database.begin().await?;
        let node = self.0.engine.node().to_string();
        let slug = ModelSlug::parse(NAME).map_err(|error| setup(&error))?;
        let first = platform_facts::put_if_absent(&mut tx, MADE_BY, &node).await? == node;
        if !first || models::is_taken(&mut tx, &slug).await? {
            tx.commit().await?;
            return Ok(());
        }
        let level = LevelScope::Platform(self.0.system.platform());
        let backend = Backend {
            id: BackendId::from_ulid(self.0.ids.draw(now)),
            owner: Level::Platform,
            name: Name::parse("Echo")?,
            model: NAME.parse().map_err(|error: &str| setup(&error))?,
            config: ConnectionConfig::Echo(Script::default()),
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let able = json!({"streaming": true, "structured_output": true, "tool_use": true});
        let able = match able {
            Value::Object(able) => able,
            _ => Map::new(),
        };
        let model = Model {
            id: ModelId::from_ulid(self.0.ids.draw(now)),
            owner: Level::Platform,
            slug,
            display_name: Name::parse("Echo")?,
            description: Some(Description::parse(
                "Repeats the last message, and fills schemas. Built in, offline, always the same.",
            )?),
            modality: Modality::Chat,
            context_window: None,
            max_output_tokens: None,
            input_price: Some(Price::default()),
            output_price: Some(Price::default()),
            default_params: Parameters::default(),
            capabilities: Capabilities::new(able).map_err(|error| setup(&error))?,
            avatar_url: None,
            status: ModelStatus::Active,
            global: true,
            default_enabled: true,
            revision: 1,
            created_at: now,
            updated_at: now,
        };
        let mapping =
            Mapping { backend_id: backend.id, priority: Priority::default(), weight: Weight::default() };
        backends::add(&mut tx, level, &backend, &self.0.vault, now).await?;
        models::add(&mut tx, level, &model).await?;
        models::set_mappings(&mut tx, model.id, &[mapping]).await?;
        let made = [
            (AuditAction::BackendCreate, backend.id.to_string(), super::backends::state(&backend)),
            (AuditAction::ModelCreate, model.id.to_string(), super::models::state(&model, &[mapping])),
        ];
        for (action, resource_id, state) in made {
            let (id, at) = self.audit_stamp(now);
            let record = AuditRecord {
                id,
                at,
                action,
                actor: Actor::SYSTEM,
                tenant_id: None,
                partner_id: None,
                resource_id,
                outcome: Outcome::Success,
                changes: diff(&Value::Null, &state, &[]),
                request: RequestContext::default(),
                module: None,
            };
            audit::add(&mut tx, &record).await?;
        }
        tx.commit().await?;
        self.catalog_changed();
        Ok(())
    }
}

fn setup(error: &dyn std::fmt::Display) -> DatabaseError {
    DatabaseError::Setup(error.to_string())
}
