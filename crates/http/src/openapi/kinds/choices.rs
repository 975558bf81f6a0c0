//! Texts of which there are only so many, as the types list them that read them.

use std::collections::BTreeSet;

use scaigrid_app::audit;
use scaigrid_catalog as catalog;
use scaigrid_checkpoints as checkpoints;
use scaigrid_cores as cores;
use scaigrid_scope as scope;
use scaigrid_webhooks as webhooks;
use scaigrid_workspace as workspace;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::Type;

use super::kinds;
use crate::export;

fn one_of<'a>(texts: impl IntoIterator<Item = &'a str>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(texts))
}

/// Every value of an enumeration.
macro_rules! every {
    ($of:ty) => {
        one_of(<$of>::ALL.iter().map(|value| value.as_str()))
    };
}

/// `*`, every family, and every type of event but the one that nobody can wish for.
fn wishes() -> BTreeSet<String> {
    let types = webhooks::EventType::ALL.iter().filter(|event| **event != webhooks::EventType::WebhookTest);
    let mut wishes = BTreeSet::from(["*".to_owned()]);
    for name in types.map(|event| event.as_str()) {
        wishes.insert(name.to_owned());
        wishes.extend(name.match_indices('.').map(|(at, _)| format!("{}.*", name.split_at(at).0)));
    }
    wishes
}

kinds! { every_choice:
    /// The status of a user.
    UserStatus = every!(scope::UserStatus);
    /// The status that a user can be given.
    UserStanding = one_of([scope::UserStatus::Active.as_str(), scope::UserStatus::Suspended.as_str()]);
    /// What a user is.
    UserKind = every!(scope::UserKind);
    /// The status of a partner or tenant.
    TenantStatus = every!(scope::TenantStatus);
    /// A built-in role.
    Role = every!(scope::Role);
    /// A permission of the platform.
    PlatformPermission = one_of(scope::Permission::CORE.iter().map(|permission| permission.as_str()));
    /// What a model is for.
    Modality = every!(catalog::Modality);
    /// The status of a model.
    ModelStatus = every!(catalog::ModelStatus);
    /// How a backend that is made by hand is spoken to.
    ProviderType = one_of([catalog::ProviderType::OpenAi.as_str(), catalog::ProviderType::Echo.as_str()]);
    /// Which tenants see a group's models.
    GroupScope = every!(catalog::GroupScope);
    /// An action of the audit log.
    AuditAction = every!(audit::AuditAction);
    /// How an action ended.
    AuditOutcome = every!(audit::Outcome);
    /// How a file is written.
    ExportFormat = every!(export::Format);
    /// The status of a webhook.
    WebhookStatus = every!(webhooks::WebhookStatus);
    /// The status of a delivery.
    DeliveryStatus = every!(webhooks::DeliveryStatus);
    /// What a webhook is told: a type of events, a family of them, or everything.
    Subscription = one_of(wishes().iter().map(String::as_str));
    /// Where a Core is in its life.
    CoreStatus = every!(cores::Status);
    /// What starts a Core's flows.
    RuntimeMode = every!(cores::RuntimeMode);
    /// How executions of one Core share memory.
    ConcurrencyMode = every!(cores::ConcurrencyMode);
    /// Which waits for a person become checkpoints that people see.
    CheckpointMode = every!(cores::CheckpointMode);
    /// How much a Core is trusted with.
    PrivilegeLevel = every!(cores::PrivilegeLevel);
    /// The status of an execution.
    ExecutionStatus = every!(cores::execution::ExecutionStatus);
    /// How far a debugger lets an execution go.
    StepMode = every!(cores::debugging::StepMode);
    /// How much an entry of a log matters.
    LogLevel = every!(cores::logs::Level);
    /// What a trigger listens to.
    TriggerKind = every!(cores::triggers::Kind);
    /// How a plugin is spoken to.
    PluginKind = every!(cores::plugins::PluginKind);
    /// How a Core's API is described.
    SpecFormat = one_of(["compact", "openapi"]);
    /// What is done with many checkpoints.
    BulkAction = one_of(["resolve", "cancel", "reassign", "claim", "release"]);
    /// How vectors are written.
    VectorFormat = one_of(["float", "base64"]);
    /// How much a checkpoint matters.
    CheckpointPriority = every!(checkpoints::Priority);
    /// The status of a checkpoint.
    CheckpointStatus = every!(checkpoints::CheckpointStatus);
    /// In whose name AIs call their models.
    AuthMode = every!(workspace::ai_config::AuthMode);
    /// What a participant is.
    ParticipantType = every!(workspace::ParticipantKind);
    /// How an AI gives its answers.
    ResponseMode = every!(workspace::ResponseMode);
    /// How much a model thinks before it answers.
    ReasoningEffort = every!(workspace::compose::ReasoningEffort);
    /// The status of a room.
    RoomStatus = every!(workspace::RoomStatus);
    /// When an AI answers by itself; `none` for a person.
    Engagement = every!(workspace::Engagement);
    /// When an AI that takes part answers by itself.
    AiEngagement = one_of([workspace::Engagement::Always.as_str(), workspace::Engagement::Mention.as_str()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wish_can_be_wished() {
        let wishes = wishes();
        assert!(wishes.contains("scaicore.*") && wishes.contains("scaikey.user.*"));
        for wish in &wishes {
            assert!(wish.parse::<webhooks::Subscription>().is_ok(), "{wish}");
        }
    }

    #[test]
    fn partners_have_the_statuses_of_tenants() {
        let partners = scope::PartnerStatus::ALL.iter().map(|status| status.as_str());
        assert!(partners.eq(scope::TenantStatus::ALL.iter().map(|status| status.as_str())));
    }
}
