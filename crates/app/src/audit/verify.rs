//! Whether the audit log is what was written.

use async_recursion::async_recursion as boxed;
use scaigrid_audit::chain::{Chain, Digest, Fault, Finding, Findings, Head, Keys, Walk, combined};
use scaigrid_persistence::audit::heads::{self, ChainScope, StoredHead};
use scaigrid_persistence::audit::links::{self, RecordsOf};
use scaigrid_scope::{AuthorizedAtLevel, Instant, LevelScope, perm};

use crate::{App, Error};

/// The most problems that are told one by one.
const TOLD: usize = 100;
/// Links that are read at once.
const LINKS: i64 = 500;
/// Records, or chains, that are looked at in one go for what is missing of them.
const LOOKED_AT: i64 = 1000;

/// What was found.
#[derive(Debug, Clone)]
pub struct AuditReport {
    /// How many records are as they were sealed.
    pub records: u64,
    /// How many were removed because their time was over.
    pub purged: u64,
    /// How many are written and not sealed yet.
    pub pending: u64,
    /// Where the chains end: of one its last link, of several one value for all; none when nothing is sealed.
    pub head: Option<Digest>,
    /// What was recorded before this instant is sealed.
    pub sealed_through: Instant,
    /// What is wrong, the first hundred.
    pub problems: Vec<Finding>,
    /// How many more problems there are.
    pub more_problems: u64,
}

impl AuditReport {
    /// Whether nothing is wrong.
    pub fn is_valid(&self) -> bool {
        self.problems.is_empty() && self.more_problems == 0
    }
}

/// What is known so far.
struct Check {
    keys: Keys,
    findings: Findings,
    records: u64,
    purged: u64,
    pending: u64,
    sealed_through: Instant,
    ends: Vec<(String, Head)>,
}

impl Check {
    fn note(&mut self, fault: Fault, chain: Option<Chain>, message: impl Into<String>) {
        let message = message.into();
        self.findings.note(Finding { fault, chain, position: None, record_id: None, message });
    }
}

impl App {
    /// Checks the chains that the caller sees: a tenant's own, a partner's and those of its tenants, or all. The root over
    /// all heads is checked for everyone, since a chain that was put back as a whole shows nowhere else.
    ///
    /// Reads page by page and holds nothing in between, neither a connection nor a lock, so that it disturbs nobody however
    /// long it takes. `progress` hears of every page how many links have been read.
    ///
    /// # Errors
    /// The database's; what is wrong with the log is no error.
    pub async fn verify_audit(
        &self,
        caller: &AuthorizedAtLevel<perm::AdminAccess>,
        progress: impl FnMut(u64),
    ) -> Result<AuditReport, Error> {
        self.verify_chains(caller.level_scope(), progress).await
    }

    /// Checks all chains, for a process that looks at a database which nobody works on yet.
    ///
    /// # Errors
    /// The database's.
    #[boxed]
    pub async fn verify_all_audit(&self) -> Result<AuditReport, Error> {
        self.verify_chains(LevelScope::Platform(self.0.system.platform()), |_| {}).await
    }

    async fn verify_chains(
        &self,
        scope: LevelScope,
        mut progress: impl FnMut(u64),
    ) -> Result<AuditReport, Error> {
        let mut check = Check {
            keys: self.audit_keys()?,
            findings: Findings::up_to(TOLD),
            records: 0,
            purged: 0,
            pending: 0,
            sealed_through: self.now(),
            ends: Vec::new(),
        };
        self.check_root(&mut check).await?;
        let (mut after, mut read) = (None, 0);
        loop {
            let mut connection = self.0.database.read().await?;
            let chains = heads::list(&mut connection, scope, after, LOOKED_AT).await?;
            drop(connection);
            let Some(last) = chains.last() else { break };
            after = Some(*last);
            for chain in chains {
                self.check_chain(&mut check, chain, &mut read, &mut progress).await?;
                if !matches!(scope, LevelScope::Platform(_)) {
                    self.check_unsealed(&mut check, RecordsOf::Chain(chain)).await?;
                }
            }
        }
        if let Some(all) = RecordsOf::level(scope) {
            self.check_unsealed(&mut check, all).await?;
        }
        let head = combined(check.ends.iter().map(|(chain, head)| (chain.as_str(), head)));
        Ok(AuditReport {
            records: check.records,
            purged: check.purged,
            pending: check.pending,
            head,
            sealed_through: check.sealed_through,
            problems: check.findings.kept,
            more_problems: check.findings.more,
        })
    }

    async fn check_root(&self, check: &mut Check) -> Result<(), Error> {
        let mut connection = self.0.database.read().await?;
        let (root, heads) = heads::snapshot(&mut connection, &self.0.system).await?;
        let pairs = heads.iter().map(|stored| (stored.chain.as_str(), &stored.head));
        match root {
            None if heads.is_empty() => {}
            None => check.note(Fault::Root, None, "there are chains, and nothing that covers them"),
            Some(root) if !check.keys.knows(&root.key_id) => {
                let key = &root.key_id;
                let message =
                    format!("the heads are covered under the key {key}, which this node does not have");
                check.note(Fault::Root, None, message);
            }
            Some(root) if !check.keys.is_root(&root, pairs) => {
                let message = "the heads of the platform's chains do not fit together: one of them was put back to an \
                               earlier state, or a chain was removed or added";
                check.note(Fault::Root, None, message);
            }
            Some(_) => {}
        }
        Ok(())
    }

    async fn head_of(&self, chain: ChainScope) -> Result<Option<StoredHead>, Error> {
        let mut connection = self.0.database.read().await?;
        Ok(heads::head(&mut connection, chain).await?)
    }

    async fn last_of(&self, chain: ChainScope) -> Result<u64, Error> {
        let mut connection = self.0.database.read().await?;
        Ok(links::last(&mut connection, chain).await?.map_or(0, |(position, _)| position))
    }

    async fn check_chain(
        &self,
        check: &mut Check,
        chain: ChainScope,
        read: &mut u64,
        progress: &mut impl FnMut(u64),
    ) -> Result<(), Error> {
        let mut connection = self.0.database.read().await?;
        let (waiting, oldest) = links::waiting(&mut connection, chain).await?;
        drop(connection);
        check.pending += waiting;
        check.sealed_through = oldest.map_or(check.sealed_through, |oldest| oldest.min(check.sealed_through));
        // First the links and then the head: it may have moved on in between, and must not be behind.
        let reached = self.last_of(chain).await?;
        let name = chain.chain();
        let Some(stored) = self.head_of(chain).await? else {
            if reached > 0 {
                let message = format!("the chain has links up to {reached} and no head");
                check.note(Fault::Head, Some(name), message);
            }
            return Ok(());
        };
        let key = &stored.seal.key_id;
        if !check.keys.knows(key) {
            let message = format!("the head stands under the key {key}, which this node does not have");
            check.note(Fault::Head, Some(name), message);
        } else if !check.keys.is_sealed(&stored.chain, &stored.head, &stored.seal) {
            check.note(Fault::Head, Some(name), "the head is not what was sealed");
        }
        let mut walk = Walk::new(name, stored.head);
        loop {
            let mut connection = self.0.database.read().await?;
            let page = links::list(&mut connection, chain, walk.position(), walk.end(), LINKS).await?;
            drop(connection);
            let whole = page.iter().all(|link| link.entry.is_some())
                && page.first().map_or(walk.end(), |first| first.position - 1) == walk.position();
            if !whole
                && let Some(now) = self.head_of(chain).await?
                && check.keys.is_sealed(&now.chain, &now.head, &now.seal)
            {
                // What is not there may have been removed meanwhile, for its time was over.
                walk.was_cut(&now.head);
            }
            if page.is_empty() {
                break;
            }
            *read += u64::try_from(page.len()).unwrap_or_default();
            for link in page {
                walk.take(link, &mut check.findings);
            }
            progress(*read);
        }
        walk.finish(&mut check.findings);
        if reached > stored.head.count {
            let message =
                format!("the chain has links up to {reached}, and its head is at {}", stored.head.count);
            check.note(Fault::Extra, Some(name), message);
        }
        check.records += walk.intact();
        check.purged += stored.head.cut;
        check.ends.push((stored.chain, stored.head));
        Ok(())
    }

    /// Looks for records that were put in by hand, or whose link was taken away.
    async fn check_unsealed(&self, check: &mut Check, of: RecordsOf) -> Result<(), Error> {
        let mut after: Option<String> = None;
        loop {
            let mut connection = self.0.database.read().await?;
            let part = links::strays(&mut connection, of, after.as_deref(), LOOKED_AT).await?;
            drop(connection);
            for record_id in part.records {
                check.findings.note(Finding {
                    fault: Fault::Unsealed,
                    chain: match of {
                        RecordsOf::Everyone(_) => None,
                        RecordsOf::Chain(scope) => Some(scope.chain()),
                    },
                    position: None,
                    record_id: Some(record_id),
                    message: "the record is in no chain and does not wait to be".to_owned(),
                });
            }
            match part.last {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }
}
