//! Bearer tokens of trusted issuers (RFC 9068, RFC 7519): their form, what a verified one says, and how far its issuer
//! is trusted.
//!
//! Nothing here verifies a signature. Whoever does gives a [`VerifiedToken`], and the rules about roles and scopes are
//! applied to that.

use sha2::{Digest, Sha256};

use crate::permission::{PermissionKey, Permissions};
use crate::role::{Role, Roles};
use crate::{Email, Group, Instant, Name, Slug, User, UserKind};

/// A text that has the form of a signed token in compact serialisation (RFC 7515 section 7.1): three parts of
/// base64url, of which none is empty. Nothing of it has been judged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BearerToken<'a>(&'a str);

impl<'a> BearerToken<'a> {
    /// The greatest number of bytes. Tokens that carry hundreds of groups are bigger, and are refused.
    pub const MAX_BYTES: usize = 8192;

    /// Recognises a token by its form.
    pub fn parse(text: &'a str) -> Option<Self> {
        let good = |part: &str| {
            !part.is_empty() && part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
        };
        let mut parts = text.split('.');
        let three = parts.next().is_some_and(good)
            && parts.next().is_some_and(good)
            && parts.next().is_some_and(good)
            && parts.next().is_none();
        (text.len() <= Self::MAX_BYTES && three).then_some(Self(text))
    }

    /// The text.
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// What it is remembered by; the token itself is kept nowhere.
    pub fn hash(self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

impl std::fmt::Debug for BearerToken<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BearerToken(…)")
    }
}

/// What a token says, once its signature, issuer, audience and times were found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenClaims {
    /// Who issued it: `iss`.
    pub issuer: Box<str>,
    /// Whom it is about, in the issuer's words: `sub`.
    pub subject: Box<str>,
    /// Their tenant, by id, slug or the issuer's own name for it: `tenant_id`.
    pub tenant: Option<Box<str>>,
    /// The partner of that tenant, by id or slug: `partner_id`.
    pub partner: Option<Box<str>>,
    /// The built-in roles that it names: `role`. Names that are no built-in role are left out; `None` where the claim
    /// is absent, which says nothing about roles.
    pub roles: Option<Roles>,
    /// What it is limited to: the permissions in `scope`; see [`scopes`].
    pub scopes: Option<Permissions>,
    /// The groups that it names: `groups`; `None` where the claim is absent, which says nothing about groups.
    pub groups: Option<NamedGroups>,
    /// Their address: `email`, unless `email_verified` is false.
    pub email: Option<Email>,
    /// Whether the issuer says that the address is theirs; not so where it says nothing of that.
    pub email_verified: bool,
    /// Their name: `name`.
    pub name: Option<Name>,
    /// Person, or program that logs in as itself.
    pub kind: UserKind,
    /// Who acts for them at present: `sub` of `act` (RFC 8693 section 4.1).
    pub actor: Option<Box<str>>,
    /// When it was issued: `iat`.
    pub issued_at: Instant,
    /// When it ends: `exp`.
    pub expires_at: Instant,
}

/// A group that a token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedGroup {
    /// What it is called here by programs: what its name suggests.
    pub slug: Slug,
    /// What the issuer calls it.
    pub name: Name,
}

/// The groups that a token names, each slug once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedGroups {
    groups: Vec<NamedGroup>,
    left_out: usize,
}

impl NamedGroups {
    /// Reads names in their order. Left out are those that are no names, or suggest no slug, and whatever comes after as
    /// many as a user can be in. Of two that suggest one slug, the first counts.
    pub fn read<'a>(names: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let mut read = Self::default();
        for name in names {
            let group = name.and_then(|name| {
                let name = Name::parse(name).ok()?;
                Some(NamedGroup { slug: Slug::from_name(name.as_str())?, name })
            });
            match group {
                Some(group) if read.contains(&group.slug) => {}
                Some(group) if read.groups.len() < Group::MAX_OF_USER => read.groups.push(group),
                _ => read.left_out += 1,
            }
        }
        read
    }

    /// The groups.
    pub fn iter(&self) -> impl Iterator<Item = &NamedGroup> {
        self.groups.iter()
    }

    /// Whether a group is among them.
    pub fn contains(&self, slug: &Slug) -> bool {
        self.groups.iter().any(|group| group.slug == *slug)
    }

    /// How many names were left out.
    pub const fn left_out(&self) -> usize {
        self.left_out
    }
}

/// How far an issuer is trusted, by the operator's setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerTrust {
    /// The roles that it may give and take.
    pub roles: Roles,
    /// The role of those whom it names no role for when they are seen first.
    pub default_role: Option<Role>,
    /// The one tenant that it speaks for, by id or slug; `None` where its tokens name the tenant.
    pub tenant: Option<Box<str>>,
    /// Whether someone whom it names for the first time may be the user who has their address already.
    pub links_by_email: bool,
    /// Whether its tokens decide about groups.
    pub names_groups: bool,
}

impl IssuerTrust {
    /// What an issuer may give when nothing else is said: the roles that reach no farther than a tenant.
    pub const USUAL_ROLES: Roles =
        Roles::NONE.with(Role::TenantAdmin).with(Role::TenantUser).with(Role::TenantViewer);

    /// The roles of someone who is seen for the first time.
    pub fn first_roles(&self, claimed: Option<Roles>) -> Roles {
        match claimed {
            Some(claimed) => self.given(claimed),
            None => self.default_role.into_iter().filter(|role| self.roles.contains(*role)).collect(),
        }
    }

    /// The roles of someone who is known, by a token that is newer than those before. What the issuer may not give it
    /// may not take either.
    pub fn roles_after(&self, held: Roles, claimed: Option<Roles>) -> Roles {
        let Some(claimed) = claimed else { return held };
        held.iter().filter(|role| !self.roles.contains(*role)).chain(self.given(claimed).iter()).collect()
    }

    fn given(&self, claimed: Roles) -> Roles {
        claimed.iter().filter(|role| self.roles.contains(*role)).collect()
    }

    /// Whether someone whom the issuer names may be this user, who was granted these permissions besides their roles: only
    /// where that is wished, and never one who holds a role that the issuer could not give, or may do what none of its
    /// roles allows.
    pub fn may_link(&self, user: &User, granted: &Permissions) -> bool {
        self.links_by_email
            && user.roles.iter().all(|role| self.roles.contains(role))
            && self.roles.permissions().covers(granted)
    }
}

/// A token that was found good, and how far its issuer is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// What it says.
    pub claims: TokenClaims,
    /// What its issuer may say.
    pub trust: IssuerTrust,
}

impl VerifiedToken {
    /// The groups that its subject is to be in, if it says so and its issuer may.
    pub fn groups(&self) -> Option<&NamedGroups> {
        self.claims.groups.as_ref().filter(|_| self.trust.names_groups)
    }
}

/// The permissions that a `scope` (RFC 6749 section 3.3) limits a token to; `None` when it names none.
///
/// Words with a colon are permissions, the others (`openid`, `profile`) say nothing about what may be done here, nor
/// do URLs and URNs. A permission that does not exist limits all the same: what was asked for is not there.
pub fn scopes<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Permissions> {
    let permission = |word: &&str| word.contains(':') && !word.contains("://") && !word.starts_with("urn:");
    let mut named = words.into_iter().filter(permission).peekable();
    named.peek()?;
    Some(named.filter_map(|word| word.parse::<PermissionKey>().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Permission;

    fn roles(roles: &[Role]) -> Roles {
        roles.iter().copied().collect()
    }

    fn trust() -> IssuerTrust {
        IssuerTrust {
            roles: IssuerTrust::USUAL_ROLES,
            default_role: Some(Role::TenantUser),
            tenant: None,
            links_by_email: true,
            names_groups: true,
        }
    }

    #[test]
    fn a_token_is_known_by_its_form() {
        assert!(BearerToken::parse("eyJ.e-_0.c2ln").is_some());
        let long = format!("a.b.{}", "c".repeat(BearerToken::MAX_BYTES));
        for text in ["", "a", "a.b", "a.b.", ".b.c", "a..c", "a.b.c.d", "a.b.c=", "a.b.ü", "sgk_a", &long] {
            assert!(BearerToken::parse(text).is_none(), "{text}");
        }
        let token = BearerToken::parse("a.b.c").unwrap();
        assert!(!format!("{token:?}").contains("a.b"));
    }

    #[test]
    fn an_issuer_gives_and_takes_only_what_it_may() {
        use Role::{PartnerAdmin, SuperAdmin, TenantAdmin, TenantUser};

        let trust = trust();
        assert_eq!(trust.first_roles(Some(roles(&[SuperAdmin, TenantAdmin]))), roles(&[TenantAdmin]));
        assert_eq!(trust.first_roles(Some(Roles::NONE)), Roles::NONE);
        assert_eq!(trust.first_roles(None), roles(&[TenantUser]));
        let held = roles(&[PartnerAdmin, TenantAdmin]);
        assert_eq!(trust.roles_after(held, Some(roles(&[TenantUser]))), roles(&[PartnerAdmin, TenantUser]));
        assert_eq!(trust.roles_after(held, Some(roles(&[SuperAdmin]))), roles(&[PartnerAdmin]));
        assert_eq!(trust.roles_after(held, None), held);
        let narrow = IssuerTrust { roles: roles(&[Role::TenantViewer]), ..trust };
        assert_eq!(narrow.first_roles(None), Roles::NONE, "the default is no way around the limit");
    }

    #[test]
    fn nobody_becomes_someone_who_may_more_than_their_issuer_gives() {
        let user = |held: &[Role]| User {
            id: crate::UserId::from_ulid(ulid::Ulid(1)),
            tenant_id: crate::TenantId::from_ulid(ulid::Ulid(1)),
            email: Email::parse("ada@acme.example").unwrap(),
            display_name: None,
            kind: UserKind::Human,
            status: crate::UserStatus::Active,
            roles: roles(held),
            revision: 1,
            created_at: Instant::from_micros(0),
            updated_at: Instant::from_micros(0),
        };
        let nothing = Permissions::default();
        assert!(trust().may_link(&user(&[Role::TenantAdmin]), &nothing));
        assert!(!trust().may_link(&user(&[Role::TenantAdmin, Role::SuperAdmin]), &nothing));
        assert!(!IssuerTrust { links_by_email: false, ..trust() }.may_link(&user(&[]), &nothing));
        let manager: Permissions = [Permission::UsersManage].into_iter().collect();
        assert!(trust().may_link(&user(&[]), &manager));
        let narrow = IssuerTrust { roles: roles(&[Role::TenantUser]), ..trust() };
        assert!(!narrow.may_link(&user(&[Role::TenantUser]), &manager), "a custom role counts too");
    }

    #[test]
    fn groups_are_named_by_what_can_be_a_name() {
        let long = "x".repeat(Name::MAX_CHARS + 1);
        let names = ["/Sales/EMEA", "sales emea", " Ops ", "", "!?", &long, "a\u{7}b"];
        let read = NamedGroups::read(names.into_iter().map(Some).chain([None]));
        let found: Vec<_> = read.iter().map(|group| (group.slug.as_str(), group.name.as_str())).collect();
        assert_eq!(found, [("sales-emea", "/Sales/EMEA"), ("ops", "Ops")]);
        assert_eq!(read.left_out(), 5);
        assert!(
            read.contains(&Slug::parse("ops").unwrap()) && !read.contains(&Slug::parse("sales").unwrap())
        );

        let many: Vec<String> = (0..300).map(|number| format!("g{number}")).collect();
        let read = NamedGroups::read(many.iter().map(|name| Some(name.as_str())));
        assert_eq!((read.iter().count(), read.left_out()), (Group::MAX_OF_USER, 100));
    }

    #[test]
    fn only_permissions_limit_a_token() {
        let of = |scope: &str| scopes(scope.split(' '));
        assert_eq!(of("openid profile offline_access"), None);
        assert_eq!(of("https://api.example/read urn:x:y"), None);
        assert_eq!(of("openid models:list"), Some([Permission::ModelsList].into_iter().collect()));
        assert_eq!(of("models:fly"), Some(Permissions::default()));
    }
}
