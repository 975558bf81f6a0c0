//! Who calls, where they act and what they may do there.
//!
//! Partners, tenants, users and groups as values; roles and permissions; the principal that a credential
//! stands for; and the tokens that prove a check has been made. A [`TenantScope`] or an [`Authorized`] cannot be
//! written down, only earned, so a function that asks for one cannot be reached without the check.
//!
//! Nothing here reads a database, a header or a clock: the caller brings what it found there.
//!
//! ```
//! use scaigrid_scope::{Email, Instant, Slug, TenantId, TraceContext};
//! use ulid::Ulid;
//!
//! // Values are checked where they come in, and trusted from then on.
//! assert!(Email::parse("ada@example.org").is_ok() && Slug::parse("Not a slug").is_err());
//! let id = TenantId::from_ulid(Ulid::from_parts(1_700_000_000_000, 1));
//! assert_eq!(id.to_string().parse(), Ok(id));
//! assert!(Instant::from_micros(0) < Instant::from_micros(1));
//! let place: TraceContext = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse()?;
//! assert!(place.is_sampled());
//! # Ok::<(), scaigrid_scope::InvalidTraceContext>(())
//! ```

mod api_key;
mod appoint;
mod authorize;
mod clock;
mod custom_role;
mod group;
mod id;
mod names;
mod partner;
mod permission;
mod principal;
mod reach;
mod role;
mod status;
mod tenant;
mod text;
pub mod token;
mod trace;
mod user;

pub use api_key::{InvalidApiKey, PlaintextKey};
pub use appoint::Lacking;
pub use authorize::{Authorized, AuthorizedAtLevel, Denied, PermissionMarker, perm};
pub use clock::{Clock, Instant};
pub use custom_role::{CustomRole, CustomRoleChanges};
pub use group::{Group, GroupChanges, Membership};
pub use id::{
    AnswerId, ApiKeyId, AuditId, BackendId, BreakpointId, CheckpointId, ConversationId, CoreId, CustomRoleId,
    DelegationId, DeliveryId, EventId, ExecutionId, FactId, GroupId, InvalidId, InvocationId, MessageId,
    ModelGroupId, ModelId, NodeId, ParticipantId, PartnerId, RequestId, RoomId, TenantId, TriggerId, UsageId,
    UserId, WebhookId,
};
pub use names::{Description, Email, InvalidName, Name, Slug};
pub use partner::{Partner, PartnerChanges, PartnerLimits};
pub use permission::{ModulePermission, Permission, PermissionKey, Permissions, UnknownPermission};
pub use principal::{CannotAct, Credential, Identity, Place, Principal, TenantRef};
pub use reach::{Level, LevelScope, PartnerScope, PlatformScope, SystemScope, TenantScope};
pub use role::{Role, RoleLevel, Roles};
pub use status::{PartnerStatus, TenantStatus, UserKind, UserStatus};
pub use tenant::{Features, InvalidFeatures, Tenant, TenantChanges, TenantLimits};
pub use text::UnknownText;
pub use trace::{InvalidTraceContext, TraceContext, TracedSpan};
pub use user::{ApiKey, User, UserChanges};
