//! The grammar of `scaigrid-server admin`. What the tasks do is decided by the application's use cases.

use clap::Subcommand;

/// What to administer.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum AdminTask {
    /// Partners
    #[command(subcommand)]
    Partner(PartnerTask),
    /// Tenants
    #[command(subcommand)]
    Tenant(TenantTask),
    /// Users
    #[command(subcommand)]
    User(UserTask),
    /// API keys
    #[command(subcommand)]
    Key(KeyTask),
}

/// What to do about partners.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum PartnerTask {
    /// Create a partner
    Create {
        /// Its name in URLs and headers
        slug: String,
        /// Its name for people; the slug if it is left out
        #[arg(long)]
        name: Option<String>,
    },
    /// List the partners
    List,
}

/// What to do about tenants.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum TenantTask {
    /// Create a tenant
    Create {
        /// Its name in URLs and headers
        slug: String,
        /// Its name for people; the slug if it is left out
        #[arg(long)]
        name: Option<String>,
        /// The partner it belongs to, by slug or id
        #[arg(long, default_value = "internal")]
        partner: String,
    },
    /// List the tenants
    List,
}

/// What to do about users.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum UserTask {
    /// Create a user
    Create {
        /// Their mail address
        email: String,
        /// The tenant they live in, by slug or id
        #[arg(long, default_value = "default")]
        tenant: String,
        /// Their name for people
        #[arg(long)]
        display_name: Option<String>,
        /// A role they hold; may be given several times
        #[arg(long = "role")]
        roles: Vec<String>,
    },
    /// List the users of a tenant
    List {
        /// The tenant, by slug or id
        #[arg(long, default_value = "default")]
        tenant: String,
    },
}

/// What to do about API keys.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum KeyTask {
    /// Create a key and show it, once
    Create {
        /// Whose key it is, by user id
        user: String,
        /// What the key is called
        #[arg(long)]
        name: String,
        /// When it ends (RFC 3339); never if it is left out
        #[arg(long)]
        expires_at: Option<String>,
    },
    /// Revoke a key at once
    Revoke {
        /// The key's id
        key: String,
    },
}
