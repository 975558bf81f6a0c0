//! What starts the flows of Cores: showing it, registering and removing it.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use scaigrid_audit::{AuditAction, AuditRecord, Changes, RequestContext, diff};
use scaigrid_cores::triggers::hook::HookSecret;
use scaigrid_cores::triggers::{self, Entry, Kind, Listens, Source, TRIGGERS_AT_MOST, Trigger};
use scaigrid_cores::{Core, FieldProblem};
use scaigrid_engine::Declared;
use scaigrid_ir::load;
use scaigrid_ir::module::Module;
use scaigrid_persistence::{
    Error as DatabaseError, Revised, Transaction, Written, audit, breakpoints, cores, data_keys,
    triggers as stored,
};
use scaigrid_scope::{Authorized, CoreId, Instant, Name, Principal, TenantScope, TriggerId, perm};
use scaigrid_webhooks::Secret;
use serde_json::{Map, Value, json};

use super::{MODULE, lifecycle};
use crate::transaction::ended;
use crate::{App, Error, FieldError, Resource};

/// How often a change is tried again because somebody else changed the same Core in between.
const ATTEMPTS: u32 = 10;
/// How long the secret before counts beside a new one.
const OVERLAP: Duration = Duration::from_hours(24);

/// A trigger as it is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTrigger {
    /// In a word.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// The flow that it starts.
    pub flow: String,
    /// What it listens to; with the secret of a webhook, which is drawn where it is left out.
    pub config: Map<String, Value>,
}

/// A trigger of a Core, wherever it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct ShownTrigger {
    /// The Core.
    pub core_id: CoreId,
    /// The trigger. No secret is in it.
    pub entry: Entry,
}

/// A trigger that was just registered.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisteredTrigger {
    /// The trigger.
    pub trigger: ShownTrigger,
    /// The secret that was drawn: the only time that it is seen.
    pub secret: Option<String>,
}

/// The Core that a trigger is registered on, as it was found, and what its program declares.
struct Beside<'a> {
    found: &'a Revised<Core>,
    declared: Option<Declared>,
}

/// A webhook's new secret.
#[derive(Debug, Clone, PartialEq)]
pub struct RotatedHookSecret {
    /// The secret: the only time that it is seen.
    pub secret: String,
    /// Until when the one before counts beside it.
    pub previous_until: Option<Instant>,
}

impl App {
    /// The triggers of a Core: what its program declares, then what was registered.
    ///
    /// # Errors
    /// There is no such Core.
    #[boxed]
    pub async fn triggers(
        &self,
        by: &Authorized<perm::CoresView>,
        id: CoreId,
    ) -> Result<Vec<ShownTrigger>, Error> {
        let core = self.find_core(by.tenant_scope(), id).await?.value;
        let module = module_of(&core).await?;
        Ok(shown(&core, module.as_deref()))
    }

    /// One of them.
    ///
    /// # Errors
    /// There is no such Core or trigger.
    #[boxed]
    pub async fn trigger(
        &self,
        by: &Authorized<perm::CoresView>,
        id: CoreId,
        trigger: TriggerId,
    ) -> Result<ShownTrigger, Error> {
        let found = self.triggers(by, id).await?.into_iter().find(|shown| shown.entry.id == trigger);
        found.ok_or(Error::NotFound(Resource::Trigger))
    }

    /// Registers a trigger. On a Core that runs it is at work from now on, on every node within a second.
    ///
    /// # Errors
    /// There is no such Core; a field is not as it must be; the name or the calls are taken, or there are very many already.
    #[boxed]
    pub async fn register_trigger(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
        new: NewTrigger,
    ) -> Result<RegisteredTrigger, Error> {
        let listens = Listens::parse(new.kind, &new.config).map_err(invalid)?;
        let (secret, drawn) = secret_of(&listens, &new.config)?;
        let scope = by.tenant_scope();
        for _ in 0..ATTEMPTS {
            let found = self.find_core(scope, id).await?;
            let core = &found.value;
            let now = self.now();
            let trigger = Trigger {
                id: TriggerId::from_ulid(self.0.ids.draw(now)),
                name: new.name.clone(),
                flow: new.flow.clone(),
                listens: listens.clone(),
                created_by: by.user_id(),
                created_at: now,
            };
            let module = module_of(core).await?;
            check(core, module.as_deref(), &trigger)?;
            let changes = diff(&json!({}), &described(id, &trigger), &[]);
            let record = self.trigger_record(by, request, AuditAction::TriggerCreate, trigger.id, changes);
            let beside = Beside { found: &found, declared: lifecycle::declared(core).await? };
            let mut tx = self.0.database.begin().await?;
            let written =
                self.write_trigger(&mut tx, scope, &beside, &trigger, secret.as_ref(), &record).await;
            match ended(tx, written).await {
                Err(Error::PreconditionFailed) => continue,
                written => written?,
            }
            self.core_changed(id);
            let after = Core { triggers: added(core, trigger.clone()), ..found.value };
            let mut all = shown(&after, module.as_deref());
            let Some(at) = all.iter().position(|shown| shown.entry.id == trigger.id) else {
                return Err(Error::NotFound(Resource::Trigger));
            };
            let secret = secret.filter(|_| drawn).map(|secret| secret.reveal().to_owned());
            return Ok(RegisteredTrigger { trigger: all.swap_remove(at), secret });
        }
        Err(Error::core_contended())
    }

    /// Writes a trigger beside a Core that is still as it was found; [`Error::PreconditionFailed`] where it is not.
    async fn write_trigger(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        beside: &Beside<'_>,
        trigger: &Trigger,
        secret: Option<&Secret>,
        record: &AuditRecord,
    ) -> Result<(), Error> {
        let core = &beside.found.value;
        self.touch(tx, scope, beside.found).await?;
        let sealed = match secret {
            None => None,
            Some(secret) => {
                let sealer = data_keys::sealer(tx, scope, &self.0.vault, self.now()).await?;
                let place = stored::sealing_place(&trigger.id.to_string());
                Some(sealer.seal(&place, secret.reveal()).map_err(Error::internal)?)
            }
        };
        match stored::add(tx, scope, core.id, trigger, sealed.as_deref()).await {
            Err(DatabaseError::Duplicate(_)) => return Err(taken(trigger.name.as_str())),
            other => other?,
        }
        self.arrange(tx, scope, core, beside.declared.as_ref()).await?;
        Ok(audit::add(tx, record).await?)
    }

    /// Takes a Core's next revision, if nobody has changed it since it was found.
    async fn touch(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        found: &Revised<Core>,
    ) -> Result<(), Error> {
        match cores::touch(tx, scope, found.value.id, found.revision, self.now()).await? {
            Written::Done => Ok(()),
            Written::Missing => Err(Error::NotFound(Resource::Core)),
            Written::Stale => Err(Error::PreconditionFailed),
        }
    }

    /// Removes a trigger that was registered. What it has started goes on.
    ///
    /// # Errors
    /// There is no such Core or trigger; [`Error::Conflict`] where the program declares it.
    #[boxed]
    pub async fn remove_trigger(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
        trigger: TriggerId,
    ) -> Result<(), Error> {
        let scope = by.tenant_scope();
        for _ in 0..ATTEMPTS {
            let found = self.find_core(scope, id).await?;
            let Some(known) = found.value.triggers.iter().find(|known| known.id == trigger) else {
                return Err(self.not_registered(&found.value, trigger).await?);
            };
            let changes = diff(&described(id, known), &json!({}), &[]);
            let record = self.trigger_record(by, request, AuditAction::TriggerDelete, trigger, changes);
            let declared = lifecycle::declared(&found.value).await?;
            let mut tx = self.0.database.begin().await?;
            let removed = async {
                self.touch(&mut tx, scope, &found).await?;
                if !stored::remove(&mut tx, scope, id, trigger).await? {
                    return Err(Error::NotFound(Resource::Trigger));
                }
                self.arrange(&mut tx, scope, &found.value, declared.as_ref()).await?;
                Ok(audit::add(&mut tx, &record).await?)
            };
            let removed = removed.await;
            match ended(tx, removed).await {
                Err(Error::PreconditionFailed) => {}
                removed => {
                    removed?;
                    self.core_changed(id);
                    return Ok(());
                }
            }
        }
        Err(Error::core_contended())
    }

    /// Why a trigger cannot be changed that is not registered.
    async fn not_registered(&self, core: &Core, trigger: TriggerId) -> Result<Error, Error> {
        let module = module_of(core).await?;
        let declared = shown(core, module.as_deref()).into_iter().any(|shown| shown.entry.id == trigger);
        Ok(if declared {
            Error::Conflict(
                "The Core's program declares this trigger; it changes with the program".to_owned(),
            )
        } else {
            Error::NotFound(Resource::Trigger)
        })
    }

    /// Finds that there is such a trigger: told before anything about the request.
    ///
    /// # Errors
    /// There is none.
    #[boxed]
    pub async fn trigger_to_change(
        &self,
        by: &Authorized<perm::CoresManage>,
        id: CoreId,
        trigger: TriggerId,
    ) -> Result<(), Error> {
        let core = self.find_core(by.tenant_scope(), id).await?.value;
        if core.triggers.iter().any(|known| known.id == trigger) {
            return Ok(());
        }
        Err(self.not_registered(&core, trigger).await?)
    }

    /// Gives a webhook another secret, drawn where none is named. For a day messages are verified with either.
    ///
    /// # Errors
    /// There is no such Core or trigger; [`Error::Conflict`] where it keeps no secret of its own, or has this one already.
    #[boxed]
    pub async fn rotate_trigger_secret(
        &self,
        by: &Authorized<perm::CoresManage>,
        request: &RequestContext,
        id: CoreId,
        trigger: TriggerId,
        secret: Option<Secret>,
    ) -> Result<RotatedHookSecret, Error> {
        let scope = by.tenant_scope();
        let found = self.find_core(scope, id).await?;
        let Some(known) = found.value.triggers.iter().find(|known| known.id == trigger) else {
            return Err(self.not_registered(&found.value, trigger).await?);
        };
        if !matches!(&known.listens, Listens::Webhook(hook) if hook.secret == HookSecret::Own) {
            let why = "The trigger keeps no secret of its own";
            return Err(Error::Conflict(why.to_owned()));
        }
        let secret = secret.unwrap_or_else(drawn);
        let changes = diff(&json!({"secret": "old"}), &json!({"secret": "new"}), &[]);
        let record = self.trigger_record(by, request, AuditAction::TriggerRotateSecret, trigger, changes);
        let mut tx = self.0.database.begin().await?;
        let rotated = self.exchange(&mut tx, scope, (id, trigger), &secret, &record).await;
        let previous_until = ended(tx, rotated).await?;
        Ok(RotatedHookSecret { secret: secret.reveal().to_owned(), previous_until })
    }

    async fn exchange(
        &self,
        tx: &mut Transaction,
        scope: TenantScope,
        (core, trigger): (CoreId, TriggerId),
        secret: &Secret,
        record: &AuditRecord,
    ) -> Result<Option<Instant>, Error> {
        // Of two at once each sees the other's.
        if !breakpoints::lock_core(tx, scope, core).await? {
            return Err(Error::NotFound(Resource::Core));
        }
        let (sealed, _) =
            stored::secrets(tx, scope, core, trigger).await?.ok_or(Error::NotFound(Resource::Trigger))?;
        let name = trigger.to_string();
        let opener = data_keys::opener(tx, scope, &self.0.vault, [sealed.as_str()]).await?;
        // What cannot be opened verifies nothing in any case.
        let before = opener.open(&stored::sealing_place(&name), &sealed).ok();
        if before.as_deref() == Some(secret.reveal()) {
            let message = "The trigger has this secret already".to_owned();
            return Err(Error::Taken { field: "secret", message });
        }
        let seal = data_keys::sealer(tx, scope, &self.0.vault, self.now()).await?;
        let new = seal.seal(&stored::sealing_place(&name), secret.reveal()).map_err(Error::internal)?;
        let previous = match before {
            None => None,
            Some(text) => {
                let sealed = seal.seal(&stored::previous_place(&name), &text).map_err(Error::internal)?;
                Some((sealed, self.now().plus(OVERLAP)))
            }
        };
        let kept = previous.as_ref().map(|(sealed, until)| (sealed.as_str(), *until));
        stored::rotate_secret(tx, scope, (core, trigger), &new, kept).await?;
        audit::add(tx, record).await?;
        Ok(previous.map(|(_, until)| until))
    }

    fn trigger_record(
        &self,
        by: &Principal,
        request: &RequestContext,
        action: AuditAction,
        id: TriggerId,
        changes: Changes,
    ) -> AuditRecord {
        let stamp = self.audit_stamp(self.now());
        AuditRecord::in_tenant(stamp, by, request, action, id.to_string(), changes).of_module(MODULE)
    }
}

fn taken(name: &str) -> Error {
    Error::Taken { field: "name", message: format!("The Core has a trigger {name} already") }
}

fn drawn() -> Secret {
    Secret::of_bytes(&rand::random())
}

fn invalid(problems: Vec<FieldProblem>) -> Error {
    Error::Invalid(
        problems.into_iter().map(|problem| FieldError::new(problem.field, problem.message)).collect(),
    )
}

/// The secret that a webhook is to keep, and whether it was drawn.
fn secret_of(listens: &Listens, config: &Map<String, Value>) -> Result<(Option<Secret>, bool), Error> {
    match listens {
        Listens::Webhook(hook) if hook.secret == HookSecret::Own => {
            match config.get("secret").and_then(Value::as_str) {
                None => Ok((Some(drawn()), true)),
                Some(text) => match Secret::parse(text) {
                    Ok(secret) => Ok((Some(secret), false)),
                    Err(error) => Err(Error::invalid("config.secret", error.to_string())),
                },
            }
        }
        _ => Ok((None, false)),
    }
}

/// Whether a trigger can be registered beside what there is.
fn check(core: &Core, module: Option<&Module>, new: &Trigger) -> Result<(), Error> {
    let Some(module) = module else {
        return Err(Error::invalid("flow", "must be a flow of the Core's program, which cannot be read"));
    };
    if core.triggers.len() >= TRIGGERS_AT_MOST {
        return Err(Error::Conflict(format!("A Core has at most {TRIGGERS_AT_MOST} registered triggers")));
    }
    triggers::starts(module, &new.flow, &new.listens).map_err(|problem| invalid(vec![problem]))?;
    let before = triggers::entries(core.id, module, &core.triggers);
    if before.iter().any(|entry| *entry.name == *new.name.as_str()) {
        return Err(taken(new.name.as_str()));
    }
    let after = triggers::entries(core.id, module, &added(core, new.clone()));
    match after.iter().find(|entry| entry.id == new.id).and_then(Entry::problem) {
        Some(problem) => Err(Error::Taken { field: "config", message: problem.to_owned() }),
        None => Ok(()),
    }
}

fn added(core: &Core, new: Trigger) -> std::sync::Arc<Vec<Trigger>> {
    let mut all = core.triggers.to_vec();
    all.push(new);
    std::sync::Arc::new(all)
}

/// The program of a Core, as far as it can be read.
pub(super) async fn module_of(core: &Core) -> Result<Option<Arc<Module>>, Error> {
    if core.source.is_empty() {
        return Ok(None);
    }
    let program = std::sync::Arc::clone(&core.source.program);
    // A large program takes a while; the thread that serves requests must not stand still for it.
    let read = tokio::task::spawn_blocking(move || load::module(&program).module);
    read.await.map_err(Error::internal)
}

/// The triggers of a Core, as they are shown.
fn shown(core: &Core, module: Option<&Module>) -> Vec<ShownTrigger> {
    let Some(module) = module else {
        let resting = core.triggers.iter().map(|trigger| Entry {
            id: trigger.id,
            name: trigger.name.as_str().into(),
            flow: trigger.flow.as_str().into(),
            kind: trigger.listens.kind(),
            listens: Err("the Core's program cannot be read".to_owned()),
            config: trigger.listens.config(),
            source: Source::Registered { by: trigger.created_by, at: trigger.created_at },
        });
        return resting.map(|entry| ShownTrigger { core_id: core.id, entry }).collect();
    };
    let entries = triggers::entries(core.id, module, &core.triggers).into_iter();
    let each = entries.map(|mut entry| {
        if entry.source == Source::Program
            && let Some(filter) = written_filter(&core.source.program, &entry.name)
        {
            entry.config.insert("filter".to_owned(), filter.clone());
        }
        ShownTrigger { core_id: core.id, entry }
    });
    each.collect()
}

/// The filter of an event trigger, as the program has it: easier to read than what it was made into.
fn written_filter<'a>(program: &'a Value, name: &str) -> Option<&'a Value> {
    let declared = program.get("triggers")?.as_array()?;
    let declared =
        declared.iter().find(|trigger| trigger.get("name").and_then(Value::as_str) == Some(name))?;
    declared.get("filter")
}

fn described(core: CoreId, trigger: &Trigger) -> Value {
    json!({
        "core_id": core.to_string(),
        "kind": trigger.listens.kind().as_str(),
        "name": trigger.name.as_str(),
        "flow": trigger.flow,
        "config": trigger.listens.config(),
    })
}
