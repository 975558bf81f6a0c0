//! What is made of one look at a remote module after the other.

use scaigrid_scope::Instant;

use crate::state::{Failure, Health};

/// How many looks in a row must fail before a module counts as failed: one alone may be a lost packet or a restart.
pub const FAILURES: u32 = 2;

/// What has been seen of a module so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watch {
    health: Health,
    /// How many looks in a row have failed, and when the first of them did.
    failing: Option<(u32, Instant)>,
}

impl Watch {
    /// How the module is.
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// Takes in one more look: fine, or what was wrong. Says whether the module's health is another one now; other words
    /// for the same failure are not.
    pub fn see(&mut self, found: Result<(), &str>, at: Instant) -> bool {
        let Err(message) = found else {
            self.failing = None;
            return std::mem::take(&mut self.health) != Health::Well;
        };
        let (count, since) = self.failing.map_or((1, at), |(count, since)| (count.saturating_add(1), since));
        self.failing = Some((count, since));
        if count < FAILURES {
            return false;
        }
        let failed = Health::Failed(Failure { message: message.to_owned(), at: since });
        let changed = failed != self.health;
        self.health = failed;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_none_and_one_success_is_recovery() {
        let at = Instant::from_micros;
        let mut watch = Watch::default();
        assert!(!watch.see(Ok(()), at(1)));
        assert!(!watch.see(Err("no answer"), at(2)));
        assert!(!watch.see(Ok(()), at(3)), "it was never said to have failed");
        assert!(!watch.see(Err("no answer"), at(4)));
        assert_eq!(watch.health(), &Health::Well);
        assert!(watch.see(Err("status 503"), at(5)));
        let failed = |message: &str| Health::Failed(Failure { message: message.into(), at: at(4) });
        assert_eq!(watch.health(), &failed("status 503"), "it has failed since it began to");
        assert!(!watch.see(Err("status 503"), at(6)));
        assert!(watch.see(Err("no answer"), at(7)));
        assert_eq!(watch.health(), &failed("no answer"));
        assert!(watch.see(Ok(()), at(8)));
        assert_eq!(watch.health(), &Health::Well);
        assert!(!watch.see(Ok(()), at(9)));
    }
}
