//! Identifiers: each kind has one form and one spelling.

use scaigrid_scope as scope;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::Type;

use super::kinds;

/// A prefix and a ULID in its canonical spelling. The first digit holds three bits.
fn prefixed(prefix: &str) -> ObjectBuilder {
    let pattern = format!("^{prefix}[0-7][0-9A-HJKMNP-TV-Z]{{25}}$");
    let example = format!("{prefix}01JZ8QZ5T0000000000000000A");
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).examples([example])
}

/// A UUID in its hyphenated spelling, in lower case.
fn uuid() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"))
        .examples(["0197d17f-9740-0000-0000-00000000000a"])
}

kinds! { every_id:
    /// The id of a partner.
    PartnerId = prefixed(scope::PartnerId::PREFIX);
    /// The id of a tenant.
    TenantId = prefixed(scope::TenantId::PREFIX);
    /// The id of a user.
    UserId = prefixed(scope::UserId::PREFIX);
    /// The id of a group of users.
    GroupId = prefixed(scope::GroupId::PREFIX);
    /// The id of a custom role.
    CustomRoleId = prefixed(scope::CustomRoleId::PREFIX);
    /// The id of an API key.
    ApiKeyId = prefixed(scope::ApiKeyId::PREFIX);
    /// The id of a Core.
    CoreId = prefixed(scope::CoreId::PREFIX);
    /// The id of an execution.
    ExecutionId = prefixed(scope::ExecutionId::PREFIX);
    /// The id of a breakpoint.
    BreakpointId = prefixed(scope::BreakpointId::PREFIX);
    /// The id of a delegation.
    DelegationId = prefixed(scope::DelegationId::PREFIX);
    /// The id of a backend.
    BackendId = prefixed(scope::BackendId::PREFIX);
    /// The id of a group of models.
    ModelGroupId = prefixed(scope::ModelGroupId::PREFIX);
    /// The id of a conversation.
    ConversationId = prefixed(scope::ConversationId::PREFIX);
    /// The id of a participant.
    ParticipantId = prefixed(scope::ParticipantId::PREFIX);
    /// The id of a room.
    RoomId = prefixed(scope::RoomId::PREFIX);
    /// The id of what is remembered.
    MemoryId = prefixed(scope::FactId::PREFIX);
    /// The id of a webhook.
    WebhookId = prefixed(scope::WebhookId::PREFIX);
    /// The id of a delivery.
    DeliveryId = prefixed(scope::DeliveryId::PREFIX);
    /// The id of a checkpoint.
    CheckpointId = uuid();
    /// The id of a trigger.
    TriggerId = uuid();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_ids() {
        let example = |schema: ObjectBuilder| {
            let schema = schema.build();
            schema.examples[0].as_str().unwrap().to_owned()
        };
        assert!(example(prefixed(scope::CoreId::PREFIX)).parse::<scope::CoreId>().is_ok());
        assert!(example(uuid()).parse::<scope::CheckpointId>().is_ok());
    }
}
