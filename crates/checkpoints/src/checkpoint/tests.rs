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
use crate::rules::{AllowedCall, FormFinding};
use std::num::NonZeroU32;

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
        rules: Rules::default(),
    };
    let opened = Checkpoint::open(question, OPENED);
    assert!(opened.asks_someone_new() && !opened.ends_the_wait());
    opened.checkpoint
}

fn decision(text: &str) -> Decision {
    Decision { decision: text.into(), response_data: None, comment: None }
}

/// A form that everything fits.
const ANY: FormCheck<'static> = &|_, _| Vec::new();

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
    let refused = foreign.resolve(decision("yes"), &user(&[Role::TenantUser]), OPENED, ANY);
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
    let resolve = |text: &str| checkpoint.clone().resolve(decision(text), &admin(1), after(1), ANY);
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
    assert!(free.clone().resolve(decision("perhaps"), &admin(1), after(1), ANY).is_ok());
    let too_long = free.resolve(decision(&"x".repeat(1001)), &admin(1), after(1), ANY);
    assert_eq!(too_long, Err(CheckpointError::TooLong { field: "decision", max: 1000 }));
}

#[test]
fn a_decision_is_too_late_the_moment_time_is_up() {
    let checkpoint = open("whoever", &[], Some(ExpiryAction::Expire));
    let last_moment = Instant::from_micros(DUE.micros() - 1);
    assert!(checkpoint.clone().resolve(decision("yes"), &admin(1), last_moment, ANY).is_ok());
    let late = checkpoint.clone().resolve(decision("yes"), &admin(1), DUE, ANY);
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
    assert!(checkpoint.resolve(decision("yes"), &reviewer(7), Instant::MAX, ANY).is_ok());
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

fn asking_for(approvals: u32, rules: Rules) -> Checkpoint {
    let mut checkpoint = open("role:tenant_user", &["approve", "reject", "later"], None);
    checkpoint.question.rules = Rules { required_approvals: NonZeroU32::new(approvals).unwrap(), ..rules };
    checkpoint
}

fn say(checkpoint: &Checkpoint, text: &str, by: &Principal) -> Result<Change, CheckpointError> {
    checkpoint.clone().resolve(decision(text), by, after(1), ANY)
}

#[test]
fn several_must_decide_alike_and_each_counts_once() {
    let checkpoint = asking_for(2, Rules::default());
    let first = say(&checkpoint, "approve", &reviewer(1)).unwrap();
    assert!(!first.ends_the_wait() && !first.asks_someone_new());
    assert_eq!(first.event.kind, EventKind::Voted);
    assert_eq!(say(&first.checkpoint, "approve", &reviewer(1)), Err(CheckpointError::AlreadyVoted));
    let other = say(&first.checkpoint, "later", &reviewer(2)).unwrap();
    assert!(!other.ends_the_wait(), "they did not decide alike");
    let last = say(&other.checkpoint, "approve", &reviewer(3)).unwrap();
    let State::Resolved(resolution) = &last.checkpoint.state else { panic!("resolved") };
    assert_eq!(
        (resolution.decision.as_str(), resolution.by.user()),
        ("approve", Some(reviewer(3).user_id()))
    );
    assert_eq!(last.checkpoint.votes.len(), 3);
}

#[test]
fn one_refusal_is_enough() {
    assert!(say(&asking_for(3, Rules::default()), "reject", &reviewer(1)).unwrap().ends_the_wait());
    // What allows nothing refuses, whatever it is called.
    let call = AllowedCall {
        alias: "bank".into(),
        method: "pay".into(),
        hash: "0".into(),
        decisions: vec!["approve".into()],
        expires_in: None,
    };
    let checkpoint = asking_for(3, Rules { allows: Some(call), ..Rules::default() });
    assert!(say(&checkpoint, "later", &reviewer(1)).unwrap().ends_the_wait());
    assert!(!say(&checkpoint, "approve", &reviewer(1)).unwrap().ends_the_wait());
}

#[test]
fn whoever_started_it_can_do_nothing_but_look() {
    let excluded = vec![admin(1).user_id()];
    let checkpoint = asking_for(1, Rules { excluded, ..Rules::default() });
    assert_eq!(checkpoint.access(&admin(1)), Access::See);
    assert_eq!(say(&checkpoint, "approve", &admin(1)), Err(CheckpointError::Excluded));
    assert_eq!(checkpoint.clone().cancel(&admin(1), OPENED), Err(CheckpointError::Excluded));
    assert_eq!(checkpoint.clone().claim(&admin(1), OPENED), Err(CheckpointError::Excluded));
    let moved = checkpoint.clone().reassign(routing("role:tenant_user"), None, &admin(1), OPENED);
    assert_eq!(moved, Err(CheckpointError::Excluded));
    assert!(say(&checkpoint, "approve", &admin(2)).is_ok());
}

#[test]
fn what_is_claimed_is_one_persons() {
    let checkpoint = asking_for(1, Rules::default());
    let claimed = checkpoint.claim(&reviewer(1), after(1)).unwrap().checkpoint;
    let by = reviewer(1).user_id();
    assert_eq!(say(&claimed, "approve", &admin(2)), Err(CheckpointError::Claimed { by }));
    assert_eq!(claimed.clone().claim(&reviewer(2), OPENED), Err(CheckpointError::Claimed { by }));
    assert_eq!(claimed.clone().claim(&reviewer(1), OPENED), Err(CheckpointError::Unchanged));
    assert_eq!(claimed.clone().release(&reviewer(2), OPENED), Err(CheckpointError::Claimed { by }));
    let free = claimed.clone().release(&admin(2), after(2)).unwrap().checkpoint;
    assert_eq!(free.clone().release(&admin(2), after(2)), Err(CheckpointError::Unchanged));
    assert!(say(&free, "approve", &reviewer(2)).is_ok());
    assert_eq!(say(&claimed, "approve", &reviewer(1)).unwrap().checkpoint.claim, None);
    let moved = claimed.reassign(routing("role:tenant_admin"), None, &reviewer(1), after(2)).unwrap();
    assert_eq!(moved.checkpoint.claim, None);
}

#[test]
fn whoever_has_decided_keeps_nobody_else_from_it() {
    let claimed = asking_for(2, Rules::default()).claim(&reviewer(1), after(1)).unwrap().checkpoint;
    let voted = say(&claimed, "approve", &reviewer(1)).unwrap().checkpoint;
    assert_eq!(voted.claim, None);
    assert_eq!(voted.clone().claim(&reviewer(1), after(2)), Err(CheckpointError::AlreadyVoted));
    let claimed = voted.claim(&reviewer(2), after(2)).unwrap().checkpoint;
    assert!(say(&claimed, "approve", &reviewer(2)).unwrap().ends_the_wait());
}

#[test]
fn the_data_of_an_answer_must_fit_the_form() {
    let rules = Rules { form: Some(Arc::new(json!({"required": ["reason"]}))), ..Rules::default() };
    let checkpoint = asking_for(1, rules);
    let finding = FormFinding { pointer: "/reason".into(), message: "is required".into() };
    let check = |form: &Value, data: &Value| {
        assert_eq!(form["required"][0], "reason");
        if data["reason"].is_string() { Vec::new() } else { vec![finding.clone()] }
    };
    let answer = |data: Option<Value>| {
        let decision = Decision { response_data: data, ..decision("approve") };
        checkpoint.clone().resolve(decision, &reviewer(1), after(1), &check)
    };
    assert_eq!(answer(None), Err(CheckpointError::FormInvalid { findings: vec![finding.clone()] }));
    assert!(answer(Some(json!({"reason": "fits"}))).unwrap().ends_the_wait());
}

#[test]
fn reminders_come_to_an_end() {
    let mut checkpoint =
        asking_for(1, Rules { reminder: Some(std::time::Duration::from_mins(5)), ..Rules::default() });
    assert_eq!(checkpoint.next_reminder(OPENED), Some(after(300)));
    for count in 1..=Rules::MAX_REMINDERS {
        let change = checkpoint.remind(after(u64::from(count))).unwrap();
        assert!(!change.ends_the_wait() && !change.asks_someone_new());
        assert_eq!(change.event.details["count"], count);
        checkpoint = change.checkpoint;
    }
    assert_eq!(checkpoint.next_reminder(OPENED), None);
    assert_eq!(checkpoint.remind(after(99)), Err(CheckpointError::Unchanged));
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
                (Attempt::Resolve { decision: text, .. }, Some(by)) => checkpoint.clone().resolve(decision(text), by, now, ANY),
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

proptest! {
    #[test]
    fn a_quorum_is_of_different_people_who_decide_alike(
        approvals in 1..5_u32, votes in prop::collection::vec((1..7_u128, select(&["approve", "later", "reject"][..])), 0..40)
    ) {
        let mut checkpoint = asking_for(approvals, Rules::default());
        for (by, text) in votes {
            let Ok(change) = say(&checkpoint, text, &reviewer(by)) else { continue };
            checkpoint = change.checkpoint;
            if let State::Resolved(resolution) = &checkpoint.state {
                let alike: std::collections::BTreeSet<_> =
                    checkpoint.votes.iter().filter(|vote| vote.decision == resolution.decision).map(|vote| vote.by).collect();
                let needed = if resolution.decision == "reject" { 1 } else { approvals };
                let several = if approvals > 1 { alike.len() } else { 1 };
                prop_assert_eq!(several, usize::try_from(needed).unwrap());
            }
        }
        if checkpoint.status() == CheckpointStatus::Pending {
            let most = |text: &str| checkpoint.votes.iter().filter(|vote| vote.decision == text).count();
            prop_assert!(most("approve") < usize::try_from(approvals).unwrap() && most("reject") == 0);
        }
    }
}
