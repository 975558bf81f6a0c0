//! Tests of the transitions and of who may make them.

use proptest::prelude::*;
use proptest::sample::select;
use scaigrid_scope::{
    ApiKeyId, Credential, Email, GroupId, Identity, Membership, Name, PartnerId, Permission, Permissions,
    Place, Role, Slug, TenantRef, TenantStatus, UserKind, UserStatus,
};
use serde_json::json;
use ulid::Ulid;

use super::*;
use crate::assignee::Assignee;

const OPENED: Instant = Instant::from_micros(1_000_000);
const DUE: Instant = Instant::from_micros(5_000_000);

fn identity(user: u128, roles: &[Role]) -> Identity {
    Identity {
        user_id: UserId::from_ulid(Ulid(user)),
        email: Email::parse(&format!("user{user}@acme")).unwrap(),
        display_name: Name::parse("A user").unwrap(),
        kind: UserKind::Human,
        status: UserStatus::Active,
        home: TenantRef {
            id: TenantId::from_ulid(Ulid(1)),
            slug: Slug::parse("acme").unwrap(),
            partner_id: PartnerId::from_ulid(Ulid(1)),
            status: TenantStatus::Active,
        },
        roles: roles.iter().copied().collect(),
        groups: vec![Membership {
            id: GroupId::from_ulid(Ulid(user)),
            slug: Slug::parse(&format!("group-{user}")).unwrap(),
        }],
        grants: Permissions::default(),
        credential: Credential::ApiKey { id: ApiKeyId::from_ulid(Ulid(1)), scopes: None },
    }
}

fn reviewer(user: u128) -> Principal {
    let mut identity = identity(user, &[Role::TenantUser]);
    identity.grants.insert(Permission::ScaicoreCheckpointResolve.into());
    identity.act(Place::Own).unwrap()
}

fn admin(user: u128) -> Principal {
    identity(user, &[Role::TenantAdmin]).act(Place::Own).unwrap()
}

fn routing(text: &str) -> Routing {
    Routing::parse(text, None).unwrap()
}

fn open(asks: &str, options: &[&str], expiry: Option<ExpiryAction>) -> Checkpoint {
    let question = NewCheckpoint {
        id: CheckpointId::from_ulid(Ulid(1)),
        tenant_id: TenantId::from_ulid(Ulid(1)),
        core_id: CoreId::from_ulid(Ulid(1)),
        execution_id: ExecutionId::from_ulid(Ulid(1)),
        flow_name: "submit".into(),
        block_id: "approve".into(),
        instance_key: None,
        checkpoint_type: "approval".into(),
        prompt: "Approve?".into(),
        options: options.iter().map(ToString::to_string).collect(),
        routing: routing(asks),
        context: Arc::new(json!({"total": 1200})),
        priority: Priority::High,
        expiry: expiry.map(|action| Expiry { at: DUE, action }),
    };
    let opened = Checkpoint::open(question, OPENED);
    assert!(opened.asks_someone_new() && !opened.ends_the_wait());
    opened.checkpoint
}

fn decision(text: &str) -> Decision {
    Decision { decision: text.into(), response_data: None, comment: None }
}

fn after(seconds: u64) -> Instant {
    OPENED.plus(std::time::Duration::from_secs(seconds))
}

#[test]
fn those_who_are_asked_may_act_and_admins_always() {
    let grp = GroupId::from_ulid(Ulid(2)).to_string();
    let usr = UserId::from_ulid(Ulid(2)).to_string();
    for asks in [
        format!("user:{usr}"),
        "user:user2@ACME".into(),
        format!("group:{grp}"),
        "group:group-2".into(),
        "role:tenant_user".into(),
    ] {
        let checkpoint = open(&asks, &[], None);
        assert_eq!(checkpoint.access(&reviewer(2)), Access::Act, "{asks}");
        assert_eq!(checkpoint.access(&admin(3)), Access::Act, "{asks}");
        let other = if asks.starts_with("role") { Access::Act } else { Access::See };
        assert_eq!(checkpoint.access(&reviewer(4)), other, "{asks}");
    }
    let unrouted = open("whoever", &[], None);
    assert_eq!(unrouted.routing.assignee, Assignee::Unrouted);
    assert_eq!(unrouted.access(&reviewer(2)), Access::See);
    assert_eq!(unrouted.access(&admin(2)), Access::Act);
}

#[test]
fn to_be_asked_is_not_enough_without_the_permission() {
    let user = |roles: &[Role]| identity(2, roles).act(Place::Own).unwrap();
    let checkpoint = open("user:user2@acme", &[], None);
    assert_eq!(checkpoint.access(&user(&[Role::TenantUser])), Access::See);
    let foreign = open("user:user9@acme", &[], None);
    assert_eq!(foreign.access(&user(&[Role::TenantViewer])), Access::See);
    assert_eq!(foreign.access(&user(&[Role::TenantUser])), Access::Hidden);
    let refused = foreign.resolve(decision("yes"), &user(&[Role::TenantUser]), OPENED);
    assert_eq!(refused, Err(CheckpointError::Hidden));
}

#[test]
fn in_another_tenant_there_is_no_such_checkpoint() {
    let mut stranger = identity(2, &[Role::TenantAdmin]);
    stranger.home.id = TenantId::from_ulid(Ulid(2));
    let stranger = stranger.act(Place::Own).unwrap();
    let checkpoint = open("role:tenant_admin", &[], None);
    assert_eq!(checkpoint.access(&stranger), Access::Hidden);
    assert_eq!(checkpoint.cancel(&stranger, OPENED), Err(CheckpointError::Hidden));
}

#[test]
fn a_decision_must_be_an_option() {
    let checkpoint = open("whoever", &["approve", "reject"], None);
    let resolve = |text: &str| checkpoint.clone().resolve(decision(text), &admin(1), after(1));
    assert!(
        matches!(resolve("perhaps"), Err(CheckpointError::NotAnOption { options }) if options.len() == 2)
    );
    assert_eq!(resolve(""), Err(CheckpointError::EmptyDecision));
    let resolved = resolve("reject").unwrap();
    assert!(resolved.ends_the_wait());
    let State::Resolved(resolution) = &resolved.checkpoint.state else { panic!("resolved") };
    assert_eq!((resolution.decision.as_str(), resolution.at), ("reject", after(1)));
    assert_eq!(resolution.by.user(), Some(UserId::from_ulid(Ulid(1))));
    let free = open("whoever", &[], None);
    assert!(free.clone().resolve(decision("perhaps"), &admin(1), after(1)).is_ok());
    let too_long = free.resolve(decision(&"x".repeat(1001)), &admin(1), after(1));
    assert_eq!(too_long, Err(CheckpointError::TooLong { field: "decision", max: 1000 }));
}

#[test]
fn a_decision_is_too_late_the_moment_time_is_up() {
    let checkpoint = open("whoever", &[], Some(ExpiryAction::Expire));
    let last_moment = Instant::from_micros(DUE.micros() - 1);
    assert!(checkpoint.clone().resolve(decision("yes"), &admin(1), last_moment).is_ok());
    let late = checkpoint.clone().resolve(decision("yes"), &admin(1), DUE);
    assert_eq!(late, Err(CheckpointError::TimeIsUp { since: DUE }));
    assert_eq!(checkpoint.clone().expire(last_moment), Err(CheckpointError::NotDue));
    let expired = checkpoint.expire(after(9)).unwrap().checkpoint;
    assert_eq!(expired.state, State::Expired { at: after(9) });
    assert_eq!(open("whoever", &[], None).expire(Instant::MAX), Err(CheckpointError::NotDue));
}

#[test]
fn an_escalation_asks_someone_else_for_as_long_as_it_takes() {
    let to = routing("user:user7@acme");
    let checkpoint = open("user:user2@acme", &[], Some(ExpiryAction::Escalate { to: to.clone() }));
    let escalated = checkpoint.expire(DUE).unwrap();
    assert!(escalated.asks_someone_new() && !escalated.ends_the_wait());
    assert_eq!(escalated.event.details["to"], "user:user7@acme");
    let checkpoint = escalated.checkpoint;
    assert_eq!((checkpoint.routing.clone(), checkpoint.expiry.clone()), (to, None));
    assert_eq!(checkpoint.access(&reviewer(2)), Access::See);
    assert!(checkpoint.resolve(decision("yes"), &reviewer(7), Instant::MAX).is_ok());
}

#[test]
fn a_decision_for_the_case_that_none_comes_is_the_platforms() {
    let action = ExpiryAction::Resolve { option: "reject".into() };
    let resolved = open("whoever", &["approve", "reject"], Some(action)).expire(DUE).unwrap();
    let State::Resolved(resolution) = &resolved.checkpoint.state else { panic!("resolved") };
    assert_eq!((resolution.decision.as_str(), resolution.by), ("reject", By::System));
}

#[test]
fn a_long_prompt_is_cut_between_characters() {
    let mut question = open("whoever", &[], None).question;
    question.prompt = "ü".repeat(20_000);
    let prompt = Checkpoint::open(question, OPENED).checkpoint.question.prompt;
    assert_eq!(prompt.chars().count(), Checkpoint::MAX_PROMPT_CHARS + 1);
}

/// Something that is done to a checkpoint.
#[derive(Debug, Clone)]
enum Attempt {
    Resolve { by: u128, decision: &'static str },
    Cancel { by: u128 },
    Withdraw,
    Reassign { by: u128, to: &'static str },
    Expire,
}

fn attempts() -> impl Strategy<Value = Vec<(Attempt, u64)>> {
    let user = 1..4_u128;
    let assignees = &["user:user1@acme", "user:user2@acme", "role:tenant_admin", "whoever"][..];
    let attempt = prop_oneof![
        4 => (user.clone(), select(&["approve", "reject", "perhaps", ""][..]))
            .prop_map(|(by, decision)| Attempt::Resolve { by, decision }),
        1 => user.clone().prop_map(|by| Attempt::Cancel { by }),
        1 => Just(Attempt::Withdraw),
        2 => (user, select(assignees)).prop_map(|(by, to)| Attempt::Reassign { by, to }),
        2 => Just(Attempt::Expire),
    ];
    prop::collection::vec((attempt, 0..2_u64), 0..30)
}

fn expiries() -> impl Strategy<Value = Option<ExpiryAction>> {
    prop_oneof![
        Just(None),
        Just(Some(ExpiryAction::Expire)),
        Just(Some(ExpiryAction::Escalate { to: routing("user:user1@acme") })),
        Just(Some(ExpiryAction::Resolve { option: "reject".into() })),
    ]
}

proptest! {
    #[test]
    fn the_first_end_of_a_wait_is_its_only_one(expiry in expiries(), attempts in attempts()) {
        let (mut checkpoint, mut seconds, mut ends) = (open("user:user2@acme", &["approve", "reject"], expiry), 0, 0);
        // User 3 runs the tenant, the others review.
        let who = |user| if user == 3 { admin(3) } else { reviewer(user) };
        for (attempt, passed) in attempts {
            seconds += passed;
            let (before, now) = (checkpoint.clone(), after(seconds));
            let due = before.expiry.as_ref().is_some_and(|expiry| expiry.is_due(now));
            let actor = match attempt {
                Attempt::Resolve { by, .. } | Attempt::Cancel { by } | Attempt::Reassign { by, .. } => Some(who(by)),
                Attempt::Withdraw | Attempt::Expire => None,
            };
            let result = match (attempt, &actor) {
                (Attempt::Resolve { decision: text, .. }, Some(by)) => checkpoint.clone().resolve(decision(text), by, now),
                (Attempt::Cancel { .. }, Some(by)) => checkpoint.clone().cancel(by, now),
                (Attempt::Reassign { to, .. }, Some(by)) => checkpoint.clone().reassign(routing(to), None, by, now),
                (Attempt::Withdraw, _) => checkpoint.clone().withdraw(now),
                _ => checkpoint.clone().expire(now),
            };
            let Ok(change) = result else { continue };
            prop_assert_eq!(before.status(), CheckpointStatus::Pending, "a second one has won");
            if let Some(by) = &actor {
                prop_assert_eq!(before.access(by), Access::Act);
                prop_assert!(!due, "someone acted after time was up");
            }
            if let State::Resolved(resolution) = &change.checkpoint.state {
                prop_assert!(before.options.contains(&resolution.decision));
                prop_assert_eq!(resolution.by == By::System, actor.is_none());
            }
            ends += u32::from(change.ends_the_wait());
            prop_assert_eq!(change.event.at, now);
            checkpoint = change.checkpoint;
        }
        prop_assert_eq!(ends, u32::from(checkpoint.status() != CheckpointStatus::Pending));
    }

    #[test]
    fn texts_of_any_kind_are_parsed_or_refused(text in ".{0,80}", prefix in select(&["", "user:", "group:", "role:"][..])) {
        let text = format!("{prefix}{text}");
        if let Ok(assignee) = Assignee::parse(Some(&text), None) {
            prop_assert_eq!(Assignee::from_stored(assignee.kind(), assignee.value().as_deref()), Some(assignee));
        }
    }
}
