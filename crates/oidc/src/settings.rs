//! Trusted issuers, as an operator writes them.

use std::net::IpAddr;

use scaigrid_scope::token::IssuerTrust;
use scaigrid_scope::{Role, Roles, Slug, TenantId};
use url::{Host, Url};

/// A trusted issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// Its name, exactly as in `iss`.
    pub issuer: String,
    /// Of the audiences in `aud`, those that are us; at least one.
    pub audiences: Vec<String>,
    /// Where its keys are; `None` for where its discovery document says.
    pub jwks: Option<Url>,
    /// Where its discovery document is (`OpenID` Connect Discovery 1.0, section 4.1).
    pub discovery: Url,
    /// How far it is trusted.
    pub trust: IssuerTrust,
}

/// Why a text is no list of issuers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIssuers {
    /// There is nothing in it.
    #[error("expected at least one issuer: URL audience=NAME …")]
    Empty,
    /// An issuer or a place of keys is not a URL that can be trusted.
    #[error(
        "expected an https URL without user, query or fragment, or an http URL of this machine, not `{0}`"
    )]
    Url(String),
    /// An issuer stands there twice.
    #[error("the issuer {0} stands there twice")]
    Twice(String),
    /// An issuer without an audience: its tokens for anybody else would be taken too.
    #[error("the issuer {0} needs audience=NAME")]
    NoAudience(String),
    /// A word that means nothing here.
    #[error(
        "expected audience=, jwks=, tenant=, roles=, default_role=, link= or groups=, each once, not `{0}`"
    )]
    Word(String),
    /// A value that means nothing here.
    #[error("{name}= must be {rule}")]
    Value {
        /// What was to be said.
        name: &'static str,
        /// The rule that the value breaks.
        rule: &'static str,
    },
}

const ROLES_RULE: &str =
    "some of super_admin, partner_admin, partner_viewer, tenant_admin, tenant_user, tenant_viewer";

impl IssuerSettings {
    /// Reads issuers, separated by semicolons or line breaks, each a URL and words of the form `name=value`.
    ///
    /// # Errors
    /// [`InvalidIssuers`], with the rule that is broken.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, InvalidIssuers> {
        let mut issuers: Vec<Self> = Vec::new();
        for entry in text.split([';', '\n']).map(str::trim).filter(|entry| !entry.is_empty()) {
            let issuer = Self::parse(entry)?;
            if issuers.iter().any(|other| other.issuer == issuer.issuer) {
                return Err(InvalidIssuers::Twice(issuer.issuer));
            }
            issuers.push(issuer);
        }
        if issuers.is_empty() { Err(InvalidIssuers::Empty) } else { Ok(issuers) }
    }

    fn parse(entry: &str) -> Result<Self, InvalidIssuers> {
        let mut words = entry.split_whitespace();
        let issuer = words.next().unwrap_or_default();
        fit_url(issuer)?;
        let discovery =
            fit_url(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')))?;
        let mut settings = Self {
            issuer: issuer.to_owned(),
            audiences: Vec::new(),
            jwks: None,
            discovery,
            trust: IssuerTrust {
                roles: IssuerTrust::USUAL_ROLES,
                default_role: Some(Role::TenantUser),
                tenant: None,
                links_by_email: false,
                names_groups: true,
            },
        };
        let mut seen = Vec::new();
        for word in words {
            let unknown = || InvalidIssuers::Word(word.to_owned());
            let (name, value) = word.split_once('=').ok_or_else(unknown)?;
            if seen.contains(&name) || value.is_empty() {
                return Err(unknown());
            }
            seen.push(name);
            match name {
                "audience" => settings.audiences = value.split(',').map(str::to_owned).collect(),
                "jwks" => settings.jwks = Some(fit_url(value)?),
                "tenant" => settings.trust.tenant = Some(tenant(value)?),
                "roles" => settings.trust.roles = roles(value)?,
                "default_role" => settings.trust.default_role = default_role(value)?,
                "link" => settings.trust.links_by_email = link(value)?,
                "groups" => settings.trust.names_groups = groups(value)?,
                _ => return Err(unknown()),
            }
        }
        if settings.audiences.is_empty() {
            return Err(InvalidIssuers::NoAudience(settings.issuer));
        }
        if settings.audiences.iter().any(String::is_empty) {
            return Err(InvalidIssuers::Value { name: "audience", rule: "names, separated by commas" });
        }
        Ok(settings)
    }
}

fn tenant(value: &str) -> Result<Box<str>, InvalidIssuers> {
    if value.parse::<TenantId>().is_ok() || Slug::parse(value).is_ok() {
        Ok(value.into())
    } else {
        Err(InvalidIssuers::Value { name: "tenant", rule: "the id or slug of a tenant" })
    }
}

fn roles(value: &str) -> Result<Roles, InvalidIssuers> {
    let roles = value.split(',').map(str::parse::<Role>).collect::<Result<Roles, _>>();
    roles.map_err(|_| InvalidIssuers::Value { name: "roles", rule: ROLES_RULE })
}

fn default_role(value: &str) -> Result<Option<Role>, InvalidIssuers> {
    if value == "none" {
        return Ok(None);
    }
    let role = value.parse().map(Some);
    role.map_err(|_| InvalidIssuers::Value { name: "default_role", rule: "a built-in role, or none" })
}

fn link(value: &str) -> Result<bool, InvalidIssuers> {
    match value {
        "email" => Ok(true),
        "none" => Ok(false),
        _ => Err(InvalidIssuers::Value { name: "link", rule: "email or none" }),
    }
}

fn groups(value: &str) -> Result<bool, InvalidIssuers> {
    match value {
        "follow" => Ok(true),
        "ignore" => Ok(false),
        _ => Err(InvalidIssuers::Value { name: "groups", rule: "follow or ignore" }),
    }
}

fn fit_url(text: &str) -> Result<Url, InvalidIssuers> {
    let invalid = || InvalidIssuers::Url(text.to_owned());
    let url = Url::parse(text).map_err(|_| invalid())?;
    if is_fit(&url) { Ok(url) } else { Err(invalid()) }
}

/// Whether keys may come from there: who can change them on the way can be anybody.
pub(crate) fn is_fit(url: &Url) -> bool {
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    };
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    bare && url.has_host() && (url.scheme() == "https" || url.scheme() == "http" && here)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_read() {
        let text = "https://id.example/realms/a audience=scaigrid ;\n\
                    http://127.0.0.1:9/ audience=a,b jwks=https://k.example/keys tenant=acme \
                    roles=super_admin,tenant_user default_role=none link=email groups=ignore;";
        let found = IssuerSettings::parse_list(text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].trust.roles, IssuerTrust::USUAL_ROLES);
        assert_eq!(found[0].trust.default_role, Some(Role::TenantUser));
        assert_eq!(
            found[0].discovery.as_str(),
            "https://id.example/realms/a/.well-known/openid-configuration"
        );
        assert_eq!(found[1].discovery.as_str(), "http://127.0.0.1:9/.well-known/openid-configuration");
        assert_eq!(found[1].issuer, "http://127.0.0.1:9/", "its name is kept to the letter");
        assert_eq!(found[1].audiences, ["a", "b"]);
        assert_eq!(found[1].jwks.as_ref().map(Url::as_str), Some("https://k.example/keys"));
        assert_eq!(found[1].trust.tenant.as_deref(), Some("acme"));
        assert_eq!(found[1].trust.roles, [Role::SuperAdmin, Role::TenantUser].into_iter().collect());
        assert!(found[0].trust.names_groups && !found[1].trust.names_groups);
        assert!(found[1].trust.links_by_email && found[1].trust.default_role.is_none());
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for text in [
            "",
            " ; ",
            "https://id.example",
            "https://id.example audience=",
            "https://id.example audience=a,",
            "https://id.example audience=a audience=b",
            "https://id.example audience=a audiense=b",
            "https://id.example audience=a roles=king",
            "https://id.example audience=a default_role=king",
            "https://id.example audience=a link=yes",
            "https://id.example audience=a groups=yes",
            "https://id.example audience=a tenant=A_B",
            "https://id.example audience=a jwks=http://k.example/keys",
            "https://id.example audience=a; https://id.example audience=b",
            "http://id.example audience=a",
            "https://u:p@id.example audience=a",
            "https://id.example/?x audience=a",
            "https://id.example/#x audience=a",
            "id.example audience=a",
            "file:///keys audience=a",
        ] {
            assert!(IssuerSettings::parse_list(text).is_err(), "{text}");
        }
    }
}
