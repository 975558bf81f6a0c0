//! The grammar of what a tenant's own people administer: groups, custom roles, webhooks.

use std::path::PathBuf;

use clap::Subcommand;
use scaigrid_scope::{Description, Name, PermissionKey, Slug, WebhookId};
use scaigrid_webhooks::{Subscription, WebhookStatus, WebhookUrl};

use super::SHOWN;

/// What to do about groups.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum GroupTask {
    /// Make a group
    Create {
        /// Its name for people
        name: Name,
        /// Its name for programs; made of the name if it is left out
        #[arg(long)]
        slug: Option<Slug>,
        /// Who is in it, by id or mail address; may be given several times
        #[arg(long = "member")]
        members: Vec<String>,
    },
    /// List the groups, newest first
    List {
        /// At most so many
        #[arg(long, default_value_t = SHOWN)]
        limit: u32,
    },
    /// Show a group and who is in it
    Show {
        /// The group, by id or slug
        group: String,
    },
    /// Put somebody into a group
    Add {
        /// The group, by id or slug
        group: String,
        /// The user, by id or mail address
        user: String,
    },
    /// Take somebody out of a group
    Remove {
        /// The group, by id or slug
        group: String,
        /// The user, by id or mail address
        user: String,
    },
    /// Remove a group
    Delete {
        /// The group, by id or slug
        group: String,
    },
}

/// What to do about custom roles.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum RoleTask {
    /// Make a custom role
    Create {
        /// Its name for people
        name: Name,
        /// Its name for programs; made of the name if it is left out
        #[arg(long)]
        slug: Option<Slug>,
        /// What it is for
        #[arg(long)]
        description: Option<Description>,
        /// A permission that it gives; may be given several times
        #[arg(long = "permission")]
        permissions: Vec<PermissionKey>,
    },
    /// List the custom roles, newest first
    List {
        /// At most so many
        #[arg(long, default_value_t = SHOWN)]
        limit: u32,
    },
    /// Show a custom role
    Show {
        /// The role, by id or slug
        role: String,
    },
    /// Change what a custom role gives; permissions that are not named are taken away
    Change {
        /// The role, by id or slug
        role: String,
        /// All permissions that it gives from now on
        #[arg(required = true)]
        permissions: Vec<PermissionKey>,
    },
    /// Remove a custom role, and take it from all who hold it
    Delete {
        /// The role, by id or slug
        role: String,
    },
}

/// What to do about webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum WebhookTask {
    /// Make a webhook and show its secret, once
    Create {
        /// Where events are posted
        url: WebhookUrl,
        /// What is told; may be given several times
        #[arg(long = "event", required = true)]
        events: Vec<Subscription>,
        /// A file with the secret that deliveries are signed with; - is standard input; drawn if it is left out
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
    /// List the webhooks, newest first
    List {
        /// At most so many
        #[arg(long, default_value_t = SHOWN)]
        limit: u32,
    },
    /// Show a webhook, without its secret
    Show {
        /// The webhook's id
        id: WebhookId,
    },
    /// Switch a webhook on or off
    Status {
        /// The webhook's id
        id: WebhookId,
        /// active or inactive
        status: WebhookStatus,
    },
    /// Remove a webhook and what it was to be told
    Delete {
        /// The webhook's id
        id: WebhookId,
    },
}
