//! What can be done, as `noun.verb`.

use scaigrid_scope::text_enum;

text_enum! {
    /// Something that changes state and is therefore recorded. The noun is the type of the resource.
    pub enum AuditAction {
        /// A partner was made.
        PartnerCreate => "partner.create",
        /// A partner was changed, its status and limits included.
        PartnerUpdate => "partner.update",
        /// A tenant was made.
        TenantCreate => "tenant.create",
        /// A tenant was changed, its status and limits included.
        TenantUpdate => "tenant.update",
        /// A user was made.
        UserCreate => "user.create",
        /// A user was changed.
        UserUpdate => "user.update",
        /// A user was removed, and their keys with them.
        UserDelete => "user.delete",
        /// A user's roles or direct grants were changed.
        UserRoleUpdated => "user.role_updated",
        /// A group was made.
        GroupCreate => "group.create",
        /// A group or its membership was changed.
        GroupUpdate => "group.update",
        /// A group was removed.
        GroupDelete => "group.delete",
        /// A custom role was made.
        CustomRoleCreate => "custom_role.create",
        /// A custom role was changed.
        CustomRoleUpdate => "custom_role.update",
        /// A custom role was removed, and taken from those who held it.
        CustomRoleDelete => "custom_role.delete",
        /// An API key was made.
        ApiKeyCreate => "api_key.create",
        /// An API key was revoked.
        ApiKeyDelete => "api_key.delete",
        /// The keys of the secrets at rest were changed.
        SecretsRotate => "secrets.rotate",
        /// A module was enabled at a level.
        ModuleEnable => "module.enable",
        /// A module was disabled at a level.
        ModuleDisable => "module.disable",
        /// What a level said of a module was taken back.
        ModuleReset => "module.reset",
        /// A module was configured at a level.
        ModuleConfigure => "module.configure",
        /// An outgoing webhook was made.
        WebhookCreate => "webhook.create",
        /// An outgoing webhook was changed.
        WebhookUpdate => "webhook.update",
        /// An outgoing webhook was removed.
        WebhookDelete => "webhook.delete",
        /// An outgoing webhook was switched off by the platform.
        WebhookDisable => "webhook.disable",
        /// An outgoing webhook was tried out.
        WebhookTest => "webhook.test",
        /// An outgoing webhook was given another secret, beside which the one before counts for a while.
        WebhookRotateSecret => "webhook.rotate_secret",
        /// A delivery to a webhook was asked for once more.
        WebhookRedeliver => "webhook.redeliver",
        /// A plugin was registered.
        PluginCreate => "plugin.create",
        /// What is registered of a plugin was changed.
        PluginUpdate => "plugin.update",
        /// A plugin was removed from the registry.
        PluginDelete => "plugin.delete",
        /// What a plugin offers was read again, and is something else.
        PluginRefresh => "plugin.refresh",
        /// What a plugin offers now was accepted.
        PluginAccept => "plugin.accept",
        /// A model was put into the catalogue.
        ModelCreate => "model.create",
        /// A model was changed, or what answers for it.
        ModelUpdate => "model.update",
        /// A model was taken out of the catalogue.
        ModelDelete => "model.delete",
        /// A model was enabled in a tenant.
        ModelEnable => "model.enable",
        /// A model was disabled in a tenant.
        ModelDisable => "model.disable",
        /// What a tenant has set of its AI was changed.
        AiConfigUpdate => "ai_config.update",
        /// Who may try out prompts was changed.
        PromptStudioUpdate => "prompt_studio.update",
        /// How notes are processed was changed.
        NoteProcessingUpdate => "note_processing.update",
        /// A plugin of the workspace was enabled in a tenant.
        WorkspacePluginEnable => "workspace_plugin.enable",
        /// A plugin of the workspace was disabled in a tenant.
        WorkspacePluginDisable => "workspace_plugin.disable",
        /// An AI participant was made.
        ParticipantCreate => "participant.create",
        /// An AI participant was changed, its work as a helper included.
        ParticipantUpdate => "participant.update",
        /// A room was made.
        RoomCreate => "room.create",
        /// A room was changed: its name, its status, or who is in it.
        RoomUpdate => "room.update",
        /// Something that AIs remembered of a user was forgotten, as that user wished.
        WorkspaceMemoryDelete => "workspace_memory.delete",
        /// A backend of models was made.
        BackendCreate => "backend.create",
        /// A backend of models was changed.
        BackendUpdate => "backend.update",
        /// A backend of models was removed.
        BackendDelete => "backend.delete",
        /// A group of models was made.
        ModelGroupCreate => "model_group.create",
        /// A group of models was changed, or which are in it.
        ModelGroupUpdate => "model_group.update",
        /// A group of models was removed.
        ModelGroupDelete => "model_group.delete",
        /// A Core was made.
        CoreCreate => "core.create",
        /// A Core was changed.
        CoreUpdate => "core.update",
        /// A Core was removed.
        CoreDelete => "core.delete",
        /// A Core went back to an earlier program.
        CoreRollback => "core.rollback",
        /// A Core was started.
        CoreStart => "core.start",
        /// A Core was stopped.
        CoreStop => "core.stop",
        /// A Core was restarted.
        CoreRestart => "core.restart",
        /// A Core was paused.
        CorePause => "core.pause",
        /// A Core was resumed.
        CoreResume => "core.resume",
        /// The platform held a Core.
        CoreSuspend => "core.suspend",
        /// A Core could not start or go on.
        CoreFail => "core.fail",
        /// A Core was put into the catalogue as a model.
        CorePublish => "core.publish",
        /// What the catalogue says of a published Core was brought up to date.
        CoreSync => "core.sync",
        /// A Core was taken out of the catalogue.
        CoreUnpublish => "core.unpublish",
        /// A Core was lent a user's identity.
        CoreDelegate => "core.delegate",
        /// What a Core may do for a user, or until when, was changed.
        CoreDelegationUpdate => "core.delegation_update",
        /// A user's identity was taken back from a Core.
        CoreDelegationRevoke => "core.delegation_revoke",
        /// A conversation with a published Core was erased.
        ConversationDelete => "conversation.delete",
        /// An execution was cancelled.
        ExecutionCancel => "execution.cancel",
        /// An execution was tried again.
        ExecutionRetry => "execution.retry",
        /// An execution was started that branches off from another one.
        ExecutionFork => "execution.fork",
        /// An execution that stood still was let go on.
        ExecutionStep => "execution.step",
        /// A breakpoint was set.
        BreakpointCreate => "breakpoint.create",
        /// A breakpoint was taken away.
        BreakpointDelete => "breakpoint.delete",
        /// Something was registered to start a flow.
        TriggerCreate => "trigger.create",
        /// It was removed.
        TriggerDelete => "trigger.delete",
        /// A webhook that starts a flow got another secret.
        TriggerRotateSecret => "trigger.rotate_secret",
        /// Executions whose time was over, and what belonged to them, were deleted.
        ExecutionPurge => "execution.purge",
        /// A checkpoint was resolved.
        CheckpointResolve => "checkpoint.resolve",
        /// A checkpoint was given up.
        CheckpointCancel => "checkpoint.cancel",
        /// A checkpoint was given to someone else.
        CheckpointReassign => "checkpoint.reassign",
        /// A checkpoint was reserved.
        CheckpointClaim => "checkpoint.claim",
        /// A checkpoint that was reserved was let go.
        CheckpointRelease => "checkpoint.release",
        /// One of several who must decide a checkpoint alike has decided.
        CheckpointVote => "checkpoint.vote",
        /// Whoever a checkpoint asks was told once more.
        CheckpointRemind => "checkpoint.remind",
        /// A link was made by which a person decides a checkpoint.
        CheckpointLink => "checkpoint.link",
        /// A checkpoint's time was up, and it asks someone else now.
        CheckpointEscalate => "checkpoint.escalate",
        /// A checkpoint's time was up.
        CheckpointExpire => "checkpoint.expire",
        /// Records were taken out of the platform.
        AuditExport => "audit.export",
        /// Records whose time was over were removed.
        AuditPurge => "audit.purge",
        /// All that the platform keeps was taken out of it.
        BackupCreate => "backup.create",
    }
}

impl AuditAction {
    /// The type of the resource, e.g. `core`.
    pub fn resource_type(self) -> &'static str {
        self.as_str().split('.').next().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_a_noun_and_a_verb() {
        for action in AuditAction::ALL {
            let word =
                |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
            let (noun, verb) = action.as_str().split_once('.').unwrap();
            assert!(word(noun) && word(verb), "{action}");
            assert_eq!(action.resource_type(), noun);
        }
    }
}
