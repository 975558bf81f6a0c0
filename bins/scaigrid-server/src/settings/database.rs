//! Which database, and where.

use scaigrid_persistence::DatabaseUrl;

use super::values::check_hosts;

/// Reads `sqlite://PATH`, `postgres://…` or `postgresql://…`. The error is the rule, without the value, which may hold
/// a password.
pub(super) fn parse(text: &str) -> Result<DatabaseUrl, String> {
    if let Some(path) = text.strip_prefix("sqlite://") {
        if path.is_empty() || path.ends_with('/') {
            return Err("sqlite:// must be followed by the path of a file".to_owned());
        }
        if path == ":memory:" || path.contains('?') {
            return Err("sqlite:// takes the path of a file and no parameters".to_owned());
        }
        return Ok(DatabaseUrl::Sqlite(path.into()));
    }
    let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    let Some(rest) = rest else {
        return Err("must begin with sqlite:// or postgres://".to_owned());
    };
    check_hosts(rest)?;
    Ok(DatabaseUrl::Postgres(text.to_owned()))
}
