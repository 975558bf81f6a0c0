//! The tables as both databases have them. The two migration trees are compared by a test.

#![allow(missing_docs, reason = "the columns are what they are called")]
#![allow(
    clippy::wildcard_imports,
    reason = "each table names its types without a path, as diesel prints them"
)]

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    platform_facts (name) {
        name -> Text,
        value -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    nodes (id) {
        id -> Text,
        started_at -> Moment,
        lease_until -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    partners (id) {
        id -> Text,
        slug -> Text,
        name -> Text,
        contact_email -> Nullable<Text>,
        status -> Text,
        limits -> Jsonb,
        revision -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    tenants (id) {
        id -> Text,
        partner_id -> Text,
        slug -> Text,
        name -> Text,
        status -> Text,
        scaikey_tenant_id -> Nullable<Text>,
        limits -> Jsonb,
        features -> Jsonb,
        revision -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    users (id) {
        id -> Text,
        tenant_id -> Text,
        email -> Text,
        display_name -> Nullable<Text>,
        kind -> Text,
        status -> Text,
        roles -> Jsonb,
        revision -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    external_identities (tenant_id, issuer, subject) {
        tenant_id -> Text,
        issuer -> Text,
        subject -> Text,
        user_id -> Text,
        heard_at -> Moment,
        created_at -> Moment,
        groups_heard_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    data_keys (owner, generation) {
        owner -> Text,
        generation -> Integer,
        id -> Text,
        master_key -> Text,
        wrapped -> Binary,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    signing_keys (generation) {
        generation -> Integer,
        id -> Text,
        public_key -> Binary,
        sealed -> Text,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    api_keys (id) {
        id -> Text,
        tenant_id -> Text,
        user_id -> Text,
        name -> Text,
        prefix -> Text,
        hash -> Binary,
        scopes -> Jsonb,
        expires_at -> Nullable<Moment>,
        revoked_at -> Nullable<Moment>,
        created_at -> Moment,
        created_by -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    user_groups (id) {
        id -> Text,
        tenant_id -> Text,
        slug -> Text,
        name -> Text,
        revision -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    group_members (group_id, user_id) {
        tenant_id -> Text,
        group_id -> Text,
        user_id -> Text,
        issuer -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    custom_roles (id) {
        id -> Text,
        tenant_id -> Text,
        slug -> Text,
        name -> Text,
        description -> Nullable<Text>,
        permissions -> Jsonb,
        created_by -> Text,
        revision -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    custom_role_holders (role_id, user_id) {
        tenant_id -> Text,
        role_id -> Text,
        user_id -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    user_grants (tenant_id, user_id) {
        tenant_id -> Text,
        user_id -> Text,
        permissions -> Jsonb,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    module_settings (level, scope_id, module_id) {
        level -> Text,
        scope_id -> Text,
        module_id -> Text,
        enablement -> Text,
        changed_by -> Text,
        changed_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    module_configs (level, scope_id, module_id) {
        level -> Text,
        scope_id -> Text,
        module_id -> Text,
        config -> Jsonb,
        secrets -> Jsonb,
        origins -> Jsonb,
        revision -> BigInt,
        changed_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    audit_records (id) {
        id -> Text,
        tenant_id -> Nullable<Text>,
        partner_id -> Nullable<Text>,
        at -> Moment,
        action -> Text,
        actor_id -> Nullable<Text>,
        actor_email -> Nullable<Text>,
        actor_type -> Text,
        resource_type -> Text,
        resource_id -> Text,
        status -> Text,
        changes -> Jsonb,
        request_id -> Nullable<Text>,
        ip_address -> Nullable<Text>,
        user_agent -> Nullable<Text>,
        module -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    audit_unsealed (record_id) {
        record_id -> Text,
        chain -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    audit_seals (chain, position) {
        chain -> Text,
        position -> BigInt,
        record_id -> Text,
        digest -> Binary,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    audit_chains (chain) {
        chain -> Text,
        links -> BigInt,
        last -> Binary,
        cut -> BigInt,
        cut_last -> Binary,
        changed_at -> Moment,
        key_id -> Text,
        code -> Binary,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    audit_root (id) {
        id -> Integer,
        key_id -> Text,
        nonce -> Binary,
        chains -> BigInt,
        value -> Binary,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    idempotency_keys (tenant_id, endpoint, key) {
        tenant_id -> Text,
        endpoint -> Text,
        key -> Text,
        body_hash -> Binary,
        node_id -> Text,
        status -> Nullable<Integer>,
        headers -> Nullable<Jsonb>,
        body -> Nullable<Binary>,
        created_at -> Moment,
        expires_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    cores (id) {
        id -> Text,
        tenant_id -> Text,
        slug -> Text,
        name -> Text,
        status -> Text,
        last_error -> Nullable<Jsonb>,
        runtime_mode -> Text,
        concurrency_mode -> Text,
        entity_key_field -> Nullable<Text>,
        source_version -> Integer,
        plugins -> Jsonb,
        environment -> Jsonb,
        resource_limits -> Jsonb,
        checkpoint_mode -> Text,
        privilege_level -> Text,
        metadata -> Jsonb,
        identity_mode -> Text,
        created_by -> Text,
        revision -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
        published_model_id -> Nullable<Text>,
        published_backend_id -> Nullable<Text>,
        published_slug -> Nullable<Text>,
        avatar_type -> Nullable<Text>,
        avatar_hash -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    delegations (tenant_id, core_id) {
        tenant_id -> Text,
        core_id -> Text,
        id -> Text,
        user_id -> Text,
        scopes -> Jsonb,
        expires_at -> Nullable<Moment>,
        granted_by -> Text,
        granted_at -> Moment,
        revoked_at -> Nullable<Moment>,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    core_grams (tenant_id, gram, core_id) {
        tenant_id -> Text,
        gram -> Text,
        core_id -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    avatar_objects (tenant_id, core_id) {
        tenant_id -> Text,
        core_id -> Text,
        touched_at -> Moment,
        bytes -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    conversations (id) {
        id -> Text,
        tenant_id -> Text,
        core_id -> Text,
        caller_tenant_id -> Text,
        caller -> Text,
        key -> Nullable<Text>,
        entity_id -> Nullable<Text>,
        status -> Text,
        turns -> Integer,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    conversation_turns (tenant_id, conversation_id, turn) {
        tenant_id -> Text,
        conversation_id -> Text,
        turn -> Integer,
        core_id -> Text,
        caller -> Text,
        execution_id -> Text,
        status -> Text,
        asked -> Jsonb,
        asked_print -> Text,
        answer -> Nullable<Text>,
        answer_print -> Nullable<Text>,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        cost -> Text,
        created_at -> Moment,
        ended_at -> Nullable<Moment>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    core_versions (tenant_id, core_id, version) {
        tenant_id -> Text,
        core_id -> Text,
        version -> Integer,
        bundle -> Binary,
        created_by -> Text,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    executions (id) {
        id -> Text,
        tenant_id -> Text,
        core_id -> Text,
        flow -> Text,
        source_version -> Integer,
        status -> Text,
        origin -> Text,
        instance_key -> Nullable<Text>,
        parent_id -> Nullable<Text>,
        parent_effect -> Nullable<Integer>,
        depth -> Integer,
        input -> Binary,
        output -> Nullable<Binary>,
        error -> Nullable<Binary>,
        snapshot -> Nullable<Binary>,
        next_seq -> BigInt,
        snapshot_seq -> BigInt,
        owner -> Nullable<Text>,
        epoch -> BigInt,
        started_at -> Moment,
        finished_at -> Nullable<Moment>,
        slots -> Nullable<Integer>,
        debugging -> Nullable<Text>,
        trace -> Nullable<Text>,
        delegation_id -> Nullable<Text>,
        requested_by -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    journal (tenant_id, execution_id, seq) {
        tenant_id -> Text,
        execution_id -> Text,
        seq -> BigInt,
        entries -> Binary,
        core_id -> Nullable<Text>,
        at -> Nullable<Moment>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    core_logs (tenant_id, core_id, lane, last) {
        tenant_id -> Text,
        core_id -> Text,
        lane -> Integer,
        last -> BigInt,
        entry_count -> Integer,
        level -> Integer,
        execution_id -> Text,
        at -> Moment,
        entries -> Binary,
    }
}

diesel::table! {
    core_log_lanes (tenant_id, core_id, lane) {
        tenant_id -> Text,
        core_id -> Text,
        lane -> Integer,
        last -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    core_breakpoints (id) {
        id -> Text,
        tenant_id -> Text,
        core_id -> Text,
        flow -> Text,
        block -> Text,
        condition -> Nullable<Text>,
        enabled -> Integer,
        created_by -> Text,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    execution_snapshots (tenant_id, execution_id, seq) {
        tenant_id -> Text,
        execution_id -> Text,
        seq -> BigInt,
        machine -> Binary,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    objects (tenant_id, hash) {
        tenant_id -> Text,
        hash -> Text,
        id -> Text,
        bytes -> BigInt,
        state -> Text,
        touched_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    object_refs (tenant_id, object_id, kind, holder, place) {
        tenant_id -> Text,
        object_id -> Text,
        kind -> Text,
        holder -> Text,
        place -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    removed_cores (tenant_id, core_id) {
        tenant_id -> Text,
        core_id -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    tallies (tenant_id, figure, id) {
        tenant_id -> Text,
        figure -> Text,
        id -> BigInt,
        value -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    model_usage_hours (tenant_id, hour, model, id) {
        tenant_id -> Text,
        hour -> Moment,
        model -> Text,
        id -> BigInt,
        requests -> BigInt,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    duties (name) {
        name -> Text,
        node_id -> Text,
        until -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    execution_inbox (tenant_id, execution_id, effect) {
        tenant_id -> Text,
        execution_id -> Text,
        effect -> Integer,
        outcome -> Binary,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    checkpoints (id) {
        id -> Text,
        tenant_id -> Text,
        core_id -> Text,
        execution_id -> Text,
        effect -> Integer,
        flow_name -> Text,
        block_id -> Text,
        instance_key -> Nullable<Text>,
        checkpoint_type -> Text,
        prompt -> Text,
        options -> Jsonb,
        context -> Jsonb,
        assignee_raw -> Nullable<Text>,
        assignee_type -> Text,
        assignee_value -> Nullable<Text>,
        priority -> Text,
        status -> Text,
        expires_at -> Nullable<Moment>,
        expiry_action -> Text,
        escalation_target -> Nullable<Text>,
        decision -> Nullable<Text>,
        response_data -> Nullable<Jsonb>,
        comment -> Nullable<Text>,
        resolved_by -> Nullable<Text>,
        resolved_at -> Nullable<Moment>,
        history -> Jsonb,
        created_at -> Moment,
        updated_at -> Moment,
        rules -> Nullable<Jsonb>,
        standing -> Nullable<Jsonb>,
        excluded -> Nullable<Text>,
        revision -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    checkpoint_votes (tenant_id, checkpoint_id, user_id) {
        tenant_id -> Text,
        checkpoint_id -> Text,
        user_id -> Text,
        core_id -> Text,
        execution_id -> Text,
        decision -> Text,
        response_data -> Nullable<Jsonb>,
        comment -> Nullable<Text>,
        at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    checkpoint_links (id) {
        id -> Text,
        tenant_id -> Text,
        hash -> Text,
        checkpoint_id -> Text,
        user_id -> Text,
        core_id -> Text,
        execution_id -> Text,
        created_at -> Moment,
        expires_at -> Moment,
        used_at -> Nullable<Moment>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    mails (id) {
        id -> Text,
        tenant_id -> Text,
        checkpoint_id -> Text,
        core_id -> Text,
        execution_id -> Text,
        user_id -> Text,
        reason -> Text,
        status -> Text,
        attempts -> Integer,
        next_at -> Moment,
        last_error -> Nullable<Text>,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    core_memory (tenant_id, core_id, partition, name, key) {
        tenant_id -> Text,
        core_id -> Text,
        partition -> Text,
        name -> Text,
        key -> Text,
        value -> Binary,
        version -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    core_events (id) {
        id -> Text,
        tenant_id -> Text,
        core_id -> Text,
        execution_id -> Nullable<Text>,
        name -> Text,
        data -> Binary,
        at -> Moment,
        heard -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    core_triggers (id) {
        id -> Text,
        tenant_id -> Text,
        core_id -> Text,
        name -> Text,
        kind -> Text,
        flow -> Text,
        config -> Jsonb,
        secret -> Nullable<Text>,
        previous_secret -> Nullable<Text>,
        previous_until -> Nullable<Moment>,
        created_by -> Text,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    hook_messages (tenant_id, core_id, trigger_id, message) {
        tenant_id -> Text,
        core_id -> Text,
        trigger_id -> Text,
        message -> Text,
        execution_id -> Nullable<Text>,
        at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    timers (tenant_id, kind, owner, effect) {
        tenant_id -> Text,
        kind -> Text,
        owner -> Text,
        effect -> Integer,
        core_id -> Text,
        due_at -> Moment,
        failures -> Integer,
        held_until -> Nullable<Moment>,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    event_waits (tenant_id, execution_id, effect) {
        tenant_id -> Text,
        execution_id -> Text,
        effect -> Integer,
        core_id -> Text,
        name -> Text,
        source_version -> Integer,
        pointer -> Text,
        captured -> Nullable<Binary>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    core_schedules (tenant_id, core_id, name) {
        tenant_id -> Text,
        core_id -> Text,
        name -> Text,
        flow -> Text,
        cron -> Text,
        timezone -> Text,
        catch_up -> Text,
        last_slot -> Nullable<Moment>,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    core_subscriptions (tenant_id, core_id, from_slug, event) {
        tenant_id -> Text,
        core_id -> Text,
        from_slug -> Text,
        event -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    core_instances (tenant_id, core_id, key) {
        tenant_id -> Text,
        core_id -> Text,
        key -> Text,
        activated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    webhooks (id) {
        id -> Text,
        tenant_id -> Text,
        url -> Text,
        events -> Jsonb,
        secret -> Text,
        status -> Text,
        disabled_reason -> Nullable<Text>,
        disabled_at -> Nullable<Moment>,
        failing_since -> Nullable<Moment>,
        max_retries -> Integer,
        revision -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
        previous_secret -> Nullable<Text>,
        previous_until -> Nullable<Moment>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    webhook_deliveries (id) {
        id -> Text,
        tenant_id -> Text,
        webhook_id -> Text,
        event_id -> Text,
        event_type -> Text,
        body -> Text,
        status -> Text,
        next_at -> Nullable<Moment>,
        claimed_by -> Nullable<Text>,
        claims -> BigInt,
        attempts -> Integer,
        log -> Jsonb,
        created_at -> Moment,
        finished_at -> Nullable<Moment>,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    plugins (tenant_id, plugin) {
        tenant_id -> Text,
        plugin -> Text,
        kind -> Text,
        endpoint -> Text,
        credentials -> Nullable<Text>,
        manifest -> Jsonb,
        found -> Nullable<Jsonb>,
        read_at -> Nullable<Moment>,
        revision -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    backends (id) {
        id -> Text,
        level -> Text,
        scope_id -> Text,
        name -> Text,
        provider_type -> Text,
        model -> Text,
        sealed_config -> Text,
        revision -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    models (id) {
        id -> Text,
        level -> Text,
        scope_id -> Text,
        slug -> Text,
        display_name -> Text,
        description -> Nullable<Text>,
        modality -> Text,
        context_window -> Nullable<BigInt>,
        max_output_tokens -> Nullable<BigInt>,
        input_price -> Nullable<Text>,
        output_price -> Nullable<Text>,
        default_params -> Jsonb,
        capabilities -> Jsonb,
        status -> Text,
        reach -> Text,
        default_state -> Text,
        revision -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
        avatar_url -> Nullable<Text>,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    model_backends (model_id, backend_id) {
        model_id -> Text,
        backend_id -> Text,
        priority -> Integer,
        weight -> Integer,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    model_groups (id) {
        id -> Text,
        level -> Text,
        scope_id -> Text,
        slug -> Text,
        name -> Text,
        revision -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    model_group_members (group_id, model_id) {
        group_id -> Text,
        model_id -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    tenant_models (tenant_id, model_id) {
        tenant_id -> Text,
        model_id -> Text,
        state -> Text,
        changed_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    model_usage (id) {
        id -> Text,
        tenant_id -> Text,
        model_id -> Text,
        model -> Text,
        backend_id -> Nullable<Text>,
        user_id -> Nullable<Text>,
        core_id -> Nullable<Text>,
        execution_id -> Nullable<Text>,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        counted -> Text,
        cost -> Text,
        latency_us -> BigInt,
        status -> Text,
        created_at -> Moment,
        effect -> Nullable<Integer>,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    model_budgets (tenant_id, owner, month) {
        tenant_id -> Text,
        owner -> Text,
        month -> Text,
        tokens -> BigInt,
        cost -> Text,
        calls -> BigInt,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    core_vectors (tenant_id, core_id, space, hash) {
        tenant_id -> Text,
        core_id -> Text,
        space -> Text,
        hash -> Text,
        vector -> Binary,
        used_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    model_reservations (id) {
        id -> Text,
        tenant_id -> Text,
        model_id -> Text,
        model -> Text,
        backend_id -> Nullable<Text>,
        user_id -> Nullable<Text>,
        core_id -> Nullable<Text>,
        execution_id -> Nullable<Text>,
        effect -> Nullable<Integer>,
        month -> Text,
        node_id -> Text,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        cost -> Text,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    workspace_settings (tenant_id, name) {
        tenant_id -> Text,
        name -> Text,
        document -> Jsonb,
        sealed -> Nullable<Text>,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    workspace_plugins (tenant_id, plugin_id) {
        tenant_id -> Text,
        plugin_id -> Text,
        state -> Text,
        changed_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    workspace_memories (tenant_id, user_id, id) {
        tenant_id -> Text,
        user_id -> Text,
        id -> Text,
        body -> Text,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    participants (id) {
        id -> Text,
        tenant_id -> Text,
        kind -> Text,
        local_id -> Text,
        user_id -> Nullable<Text>,
        display_name -> Nullable<Text>,
        model -> Nullable<Text>,
        profile -> Jsonb,
        helper -> Nullable<Jsonb>,
        state -> Text,
        revision -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    rooms (id) {
        id -> Text,
        tenant_id -> Text,
        name -> Text,
        status -> Text,
        last_seq -> BigInt,
        created_by -> Text,
        revision -> BigInt,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    room_members (tenant_id, room_id, participant_id) {
        tenant_id -> Text,
        room_id -> Text,
        participant_id -> Text,
        power -> Integer,
        engagement -> Text,
        joined_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    room_messages (tenant_id, room_id, seq) {
        tenant_id -> Text,
        room_id -> Text,
        seq -> BigInt,
        id -> Text,
        kind -> Text,
        author_id -> Text,
        body -> Text,
        mentions -> Jsonb,
        answer_id -> Nullable<Text>,
        model -> Nullable<Text>,
        input_tokens -> BigInt,
        output_tokens -> BigInt,
        error -> Nullable<Text>,
        created_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    room_answers (id) {
        id -> Text,
        tenant_id -> Text,
        room_id -> Text,
        asked_seq -> BigInt,
        participant_id -> Text,
        user_id -> Text,
        status -> Text,
        owner -> Nullable<Text>,
        attempts -> Integer,
        next_at -> Moment,
        error -> Nullable<Text>,
        created_at -> Moment,
        updated_at -> Moment,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use crate::instant::Moment;

    helper_invocations (id) {
        id -> Text,
        tenant_id -> Text,
        participant_id -> Text,
        asked_by -> Text,
        user_id -> Text,
        question -> Text,
        status -> Text,
        tokens -> BigInt,
        created_at -> Moment,
        finished_at -> Nullable<Moment>,
    }
}

diesel::table! {
    use diesel::sql_types::*;

    helper_days (tenant_id, participant_id, day) {
        tenant_id -> Text,
        participant_id -> Text,
        day -> Text,
        tokens -> BigInt,
    }
}

diesel::allow_tables_to_appear_in_same_query!(executions, cores, core_versions, checkpoints);
diesel::allow_tables_to_appear_in_same_query!(delegations, cores, core_triggers);
diesel::allow_tables_to_appear_in_same_query!(delegations, core_versions);
diesel::allow_tables_to_appear_in_same_query!(avatar_objects, cores);
diesel::allow_tables_to_appear_in_same_query!(conversations, conversation_turns);
diesel::allow_tables_to_appear_in_same_query!(core_subscriptions, cores);
diesel::allow_tables_to_appear_in_same_query!(core_instances, executions, timers);
diesel::allow_tables_to_appear_in_same_query!(
    api_keys,
    users,
    tenants,
    partners,
    group_members,
    custom_role_holders,
    user_grants
);
diesel::allow_tables_to_appear_in_same_query!(idempotency_keys, nodes);
diesel::allow_tables_to_appear_in_same_query!(user_groups, group_members);
diesel::allow_tables_to_appear_in_same_query!(custom_roles, custom_role_holders);
diesel::allow_tables_to_appear_in_same_query!(external_identities, users);
diesel::allow_tables_to_appear_in_same_query!(webhooks, webhook_deliveries);
diesel::allow_tables_to_appear_in_same_query!(webhooks, tenants);
diesel::allow_tables_to_appear_in_same_query!(webhooks, partners);
diesel::allow_tables_to_appear_in_same_query!(webhook_deliveries, tenants);
diesel::allow_tables_to_appear_in_same_query!(webhook_deliveries, partners);
diesel::allow_tables_to_appear_in_same_query!(webhook_deliveries, nodes);
diesel::allow_tables_to_appear_in_same_query!(room_answers, tenants);
diesel::allow_tables_to_appear_in_same_query!(room_answers, nodes);
diesel::allow_tables_to_appear_in_same_query!(audit_records, audit_seals, audit_unsealed);
diesel::allow_tables_to_appear_in_same_query!(audit_chains, audit_root);
diesel::allow_tables_to_appear_in_same_query!(
    models,
    backends,
    model_backends,
    model_groups,
    model_group_members,
    tenant_models
);
diesel::allow_tables_to_appear_in_same_query!(participants, users, rooms, room_members);
