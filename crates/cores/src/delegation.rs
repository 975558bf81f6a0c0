//! Delegation: whose identity a Core acts under, within what, until when.
//!
//! A Core acts for its tenant, or for one user who has lent it some of what they may do. What was lent is a bound, not a gift:
//! at each moment the Core may do what lies in the scopes *and* what the user may do then. An execution stays under the
//! delegation that it began with; when that is over it does not go on as somebody else.

use scaigrid_scope::{DelegationId, Instant, Permission, PermissionKey, Permissions, UserId, text_enum};

use crate::core::FieldProblem;

/// A user's identity, lent to a Core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delegation {
    /// Which one: another grant, be it of the same, is another delegation.
    pub id: DelegationId,
    /// Whose identity.
    pub user_id: UserId,
    /// Within what. Never empty.
    pub scopes: Permissions,
    /// From when on it does not count any more; none for as long as nobody takes it back.
    pub expires_at: Option<Instant>,
    /// Who arranged it.
    pub granted_by: UserId,
    /// When.
    pub granted_at: Instant,
    /// When the user took it back. It stays with the Core, which acts for nobody until somebody who may delegate says what is next.
    pub revoked_at: Option<Instant>,
}

text_enum! {
    /// Why a Core may not act for a user, by the code that a program and a client are told.
    pub enum Lapse {
        /// Its time is over.
        Expired => "DELEGATION_EXPIRED",
        /// It was taken back, or another one has taken its place.
        NotActive => "DELEGATION_NOT_ACTIVE",
        /// The user is gone, or is not active.
        UserNotFound => "DELEGATED_USER_NOT_FOUND",
    }
}

impl Lapse {
    /// What happened, for people.
    pub const fn message(self) -> &'static str {
        match self {
            Self::Expired => "The delegation has expired",
            Self::NotActive => "The Core has no active delegation",
            Self::UserNotFound => "The delegated user does not exist or is not active",
        }
    }
}

impl Delegation {
    /// The most scopes of a delegation.
    pub const MAX_SCOPES: usize = 100;

    /// What the Core may do for the user in this moment: the scopes, as far as the user holds them.
    ///
    /// `held` is what the user may do now; none when they are gone or not active.
    ///
    /// # Errors
    /// Why it may not act for them at all.
    pub fn effective(&self, held: Option<&Permissions>, now: Instant) -> Result<Permissions, Lapse> {
        if self.is_taken_back() {
            return Err(Lapse::NotActive);
        }
        if self.is_over(now) {
            return Err(Lapse::Expired);
        }
        let held = held.ok_or(Lapse::UserNotFound)?;
        Ok(self.scopes.intersection(held))
    }

    /// Whether the user has taken it back.
    pub const fn is_taken_back(&self) -> bool {
        self.revoked_at.is_some()
    }

    /// The same, taken back now. It has an end, too: a node of a version that knows of no taking back knows of that.
    #[must_use]
    pub fn taken_back(&self, now: Instant) -> Self {
        let end = self.expires_at.map_or(now, |end| end.min(now));
        Self { revoked_at: Some(now), expires_at: Some(end), ..self.clone() }
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// The same as it counts in this moment, with the scopes of [`Delegation::effective`].
    ///
    /// # Errors
    /// As there.
    pub fn narrowed(self, held: Option<&Permissions>, now: Instant) -> Result<Self, Lapse> {
        let scopes = self.effective(held, now)?;
        Ok(Self { scopes, ..self })
    }

    /// Whether it covers what a call needs.
    pub const fn covers(&self, needed: Permission) -> bool {
        self.scopes.contains(needed)
    }
}

/// Reads scopes as a client writes them.
///
/// # Errors
/// Everything that is wrong: there are none, or too many, or one is no permission.
pub fn parse_scopes(texts: &[String]) -> Result<Permissions, Vec<FieldProblem>> {
    if texts.is_empty() {
        return Err(vec![FieldProblem::new("scopes", "must name at least one permission")]);
    }
    if texts.len() > Delegation::MAX_SCOPES {
        let message = format!("must name at most {} permissions", Delegation::MAX_SCOPES);
        return Err(vec![FieldProblem::new("scopes", message)]);
    }
    let mut problems = Vec::new();
    let mut scopes = Permissions::default();
    for (index, text) in texts.iter().enumerate() {
        match text.parse::<PermissionKey>() {
            Ok(key) => scopes.insert(key),
            Err(why) => problems.push(FieldProblem::new(format!("scopes[{index}]"), why.to_string())),
        }
    }
    if problems.is_empty() { Ok(scopes) } else { Err(problems) }
}

/// Whether a user could lend these scopes, who holds so much.
///
/// # Errors
/// Each scope that they do not hold.
pub fn check_held(scopes: &Permissions, held: &Permissions) -> Result<(), Vec<FieldProblem>> {
    let lacking = scopes.iter().filter(|key| !held.contains_key(key));
    let problems: Vec<FieldProblem> = lacking
        .map(|key| FieldProblem::new("scopes", format!("names {key}, which the user does not hold")))
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Whether a delegation could end then.
///
/// # Errors
/// It is not in the future.
pub fn check_expiry(expires_at: Option<Instant>, now: Instant) -> Result<(), Vec<FieldProblem>> {
    if expires_at.is_some_and(|at| at <= now) {
        return Err(vec![FieldProblem::new("expires_at", "must be in the future")]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::subsequence;

    use super::*;

    const KEYS: [&str; 6] =
        ["models:use", "scaicore:invoke", "scaicore:view", "users:manage", "scaibot:bots:read", "x:y"];

    fn set(keys: &[&str]) -> Permissions {
        keys.iter().map(|key| key.parse::<PermissionKey>().unwrap()).collect()
    }

    fn delegation(scopes: Permissions, expires_at: Option<i64>) -> Delegation {
        Delegation {
            id: "dlg_00000000000000000000000001".parse().unwrap(),
            user_id: "usr_00000000000000000000000002".parse().unwrap(),
            scopes,
            expires_at: expires_at.map(Instant::from_micros),
            granted_by: "usr_00000000000000000000000003".parse().unwrap(),
            granted_at: Instant::from_micros(0),
            revoked_at: None,
        }
    }

    #[test]
    fn a_delegation_ends_in_the_moment_that_it_names() {
        let lent = delegation(set(&["models:use"]), Some(10));
        let held = set(&["models:use", "users:manage"]);
        let at = Instant::from_micros;
        assert_eq!(lent.effective(Some(&held), at(9)), Ok(set(&["models:use"])));
        assert_eq!(lent.effective(Some(&held), at(10)), Err(Lapse::Expired));
        assert_eq!(lent.effective(None, at(9)), Err(Lapse::UserNotFound));
        // Of two reasons the one that nobody can lift is told.
        assert_eq!(lent.effective(None, at(10)), Err(Lapse::Expired));
        let taken_back = lent.taken_back(at(5));
        assert_eq!((taken_back.revoked_at, taken_back.expires_at), (Some(at(5)), Some(at(5))));
        assert_eq!(lent.taken_back(at(20)).expires_at, lent.expires_at, "an end that has come stays");
        assert_eq!(taken_back.effective(Some(&held), at(6)), Err(Lapse::NotActive));
        assert_eq!(taken_back.effective(None, at(10)), Err(Lapse::NotActive));
    }

    #[test]
    fn what_is_wrong_with_scopes_is_told_by_place() {
        let parse = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            let fields = |problems: Vec<FieldProblem>| {
                problems.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
            };
            parse_scopes(&texts).map_err(fields)
        };
        assert_eq!(parse(&["models:use", "scaicore:view"]), Ok(set(&["models:use", "scaicore:view"])));
        assert_eq!(parse(&[]), Err(vec!["scopes".to_owned()]));
        assert_eq!(
            parse(&["models:use", "models:fly", "*"]),
            Err(vec!["scopes[1]".to_owned(), "scopes[2]".to_owned()])
        );
        assert_eq!(parse(&["models:use"; 101]), Err(vec!["scopes".to_owned()]));
        assert!(check_held(&set(&["models:use"]), &set(&["users:manage"])).is_err());
        assert!(check_expiry(Some(Instant::from_micros(5)), Instant::from_micros(5)).is_err());
        assert!(check_expiry(None, Instant::from_micros(5)).is_ok());
    }

    proptest! {
        #[test]
        fn nobody_lends_more_than_they_hold(
            lent in subsequence(KEYS.to_vec(), 1..=6), held in subsequence(KEYS.to_vec(), 0..=6)
        ) {
            let (lent, held) = (set(&lent), set(&held));
            let effective = delegation(lent.clone(), None).effective(Some(&held), Instant::from_micros(0)).unwrap();
            prop_assert!(lent.covers(&effective) && held.covers(&effective));
            prop_assert_eq!(check_held(&lent, &held).is_ok(), effective == lent);
        }
    }
}
