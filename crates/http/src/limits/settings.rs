//! The rate limits as an operator writes them.

use std::str::FromStr;

/// Requests per minute at each level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Of one API key.
    pub key: u32,
    /// Of one user.
    pub user: u32,
    /// Of one tenant.
    pub tenant: u32,
    /// Of one partner.
    pub partner: u32,
    /// Of one address that nobody known calls from.
    pub address: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { key: 1200, user: 2400, tenant: 20_000, partner: 100_000, address: 1200 }
    }
}

/// Why a text is not a setting of rate limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected `off`, or `key=…,user=…,tenant=…,partner=…,address=…` with whole numbers from 1, not `{found}`"
)]
pub struct InvalidRateLimits {
    found: String,
}

impl RateLimits {
    /// Reads a setting: `off` gives `None`; a level that is left out has its default.
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidRateLimits> {
        if text.trim().eq_ignore_ascii_case("off") {
            return Ok(None);
        }
        text.parse().map(Some)
    }
}

impl FromStr for RateLimits {
    type Err = InvalidRateLimits;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut limits = Self::default();
        let mut seen = Vec::new();
        for part in text.split(',').map(str::trim) {
            let invalid = || InvalidRateLimits { found: part.to_owned() };
            let (level, number) = part.split_once('=').ok_or_else(invalid)?;
            let level = level.trim();
            let slot = match level {
                "key" => &mut limits.key,
                "user" => &mut limits.user,
                "tenant" => &mut limits.tenant,
                "partner" => &mut limits.partner,
                "address" => &mut limits.address,
                _ => return Err(invalid()),
            };
            if seen.contains(&level) {
                return Err(invalid());
            }
            seen.push(level);
            *slot = number.trim().parse().ok().filter(|limit| *limit > 0).ok_or_else(invalid)?;
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_read_or_refused() {
        assert_eq!(RateLimits::parse("off"), Ok(None));
        let expected = RateLimits { key: 5, partner: 9, ..RateLimits::default() };
        assert_eq!(RateLimits::parse("key=5, partner=9"), Ok(Some(expected)));
        for refused in ["", "on", "key", "key=0", "key=-1", "key=1,key=2", "keys=1", "key=99999999999"] {
            assert!(RateLimits::parse(refused).is_err(), "{refused}");
        }
    }
}
