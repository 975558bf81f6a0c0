//! The floors: bare programs that do the part of the work which nobody can take away.
//!
//! They run as children of the generator, on the same actix-web and the same databases, with the settings that the
//! server uses for durability. They know no tenants, no authentication and no flows.

pub(crate) mod commit;
mod flow;
pub(crate) mod http;
mod queue;
pub(crate) mod rows;
pub(crate) mod select;

/// Binds a free port of the loopback address, and prints it as the server does.
pub(crate) fn announce(addresses: &[std::net::SocketAddr]) -> anyhow::Result<()> {
    let address = addresses.first().ok_or_else(|| anyhow::anyhow!("no address"))?;
    println!("listening on http://{address}");
    Ok(())
}
