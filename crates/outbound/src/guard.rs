//! The decision: may a call go there, and to which addresses.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use url::{Host, Url};

use crate::address::{Class, classify};
use crate::allow::AllowList;
use crate::resolve::{Resolve, SystemResolver};
use crate::target::{Scheme, Target};

/// The longest wait for a resolver.
const RESOLVE: Duration = Duration::from_secs(5);
/// The most addresses that a name may have.
const ADDRESSES: usize = 64;

/// Why a call may not go there. The text names no address: what a name resolves to inside is nobody's business. It names
/// the server's setting where that decides, for this is all that is told of it to whoever could change the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither `https` nor `http`.
    #[error("only https can be called, and http where the operator allows the target")]
    Scheme,
    /// A name or password in the URL.
    #[error("the URL holds credentials")]
    Credentials,
    /// No port that can be called.
    #[error("the URL's port cannot be called")]
    Port,
    /// `http` to a target that the operator has not allowed.
    #[error("plain http is for targets that the operator allows with SCAIGRID_EGRESS_ALLOW; use https")]
    PlainHttp,
    /// An address that is not public.
    #[error("the target is at a {} address; the operator can allow it with SCAIGRID_EGRESS_ALLOW", .0.as_str())]
    Address(Class),
    /// Some addresses are public and others allowed although they are not.
    #[error(
        "the name has public and other addresses at once; the operator can allow it by its name with \
         SCAIGRID_EGRESS_ALLOW"
    )]
    Mixed,
    /// The name has no address just now.
    #[error("the name cannot be resolved")]
    Unresolvable,
}

/// What is known of a name's addresses once all of them were judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ground {
    /// All are public.
    Public,
    /// The operator allows all of them.
    Allowed,
}

/// Judges all addresses of a target together: one that is not fit spoils the answer, and so does a mixture.
fn judge(allow: &AllowList, target: &Target, addresses: &[IpAddr]) -> Result<Ground, Refusal> {
    if let Host::Domain(name) = &target.host
        && allow.names(name, target.port)
    {
        return Ok(Ground::Allowed);
    }
    let mut ground = None;
    for address in addresses {
        let class = classify(*address);
        let this = if allow.holds(*address, class, target.port) {
            Ground::Allowed
        } else if class == Class::Public {
            Ground::Public
        } else {
            return Err(Refusal::Address(class));
        };
        if *ground.get_or_insert(this) != this {
            return Err(Refusal::Mixed);
        }
    }
    ground.ok_or(Refusal::Unresolvable)
}

/// The guard of the way out. Cheap to clone.
#[derive(Clone)]
pub struct Guard(Arc<Inner>);

struct Inner {
    allow: AllowList,
    resolver: Box<dyn Resolve>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("allow", &self.0.allow).finish_non_exhaustive()
    }
}

impl Guard {
    /// A guard that asks the operating system for addresses.
    pub fn new(allow: AllowList) -> Self {
        Self::with_resolver(allow, SystemResolver)
    }

    /// A guard that asks somebody else for addresses.
    pub fn with_resolver(allow: AllowList, resolver: impl Resolve + 'static) -> Self {
        Self(Arc::new(Inner { allow, resolver: Box::new(resolver) }))
    }

    /// Whether a URL may be kept, to be called some day. A name that has no address now may get one: it passes here, and
    /// is judged again by every call.
    ///
    /// # Errors
    /// Why not.
    pub async fn examine(&self, url: &Url) -> Result<(), Refusal> {
        let target = Target::of(url)?;
        match self.addresses(&target).await {
            Ok(_) => Ok(()),
            Err(Refusal::Unresolvable) if target.scheme == Scheme::Https => Ok(()),
            Err(Refusal::Unresolvable) => Err(Refusal::PlainHttp),
            Err(refusal) => Err(refusal),
        }
    }

    /// The addresses that a call to a target may connect to, now.
    ///
    /// # Errors
    /// Why it may not go there.
    pub async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, Refusal> {
        let found = match &target.host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => self.resolve(name).await,
        };
        let ground = judge(&self.0.allow, target, &found);
        // A name that is allowed as such may lack addresses just now.
        if found.is_empty() {
            return Err(Refusal::Unresolvable);
        }
        match (ground?, target.scheme) {
            (Ground::Public, Scheme::Http) => Err(Refusal::PlainHttp),
            _ => Ok(found.into_iter().map(|address| SocketAddr::new(address, target.port)).collect()),
        }
    }

    async fn resolve(&self, name: &str) -> Vec<IpAddr> {
        match tokio::time::timeout(RESOLVE, self.0.resolver.resolve(name)).await {
            // A name with so many addresses cannot be judged as a whole.
            Ok(Ok(found)) if found.len() <= ADDRESSES => found,
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;
    use std::sync::Mutex;

    use proptest::prelude::*;

    use super::*;
    use crate::resolve::ResolveFuture;

    /// Names with a list of answers each; the last is given again and again.
    struct Zone(Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>);

    impl Resolve for Zone {
        fn resolve<'a>(&'a self, name: &'a str) -> ResolveFuture<'a> {
            Box::pin(async move {
                let mut zone = self.0.lock().unwrap();
                let answers = zone.get_mut(name).ok_or_else(|| io::Error::other("no such name"))?;
                Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
            })
        }
    }

    fn guard(allow: &str, zone: &[(&str, &[&[&str]])]) -> Guard {
        let answer = |texts: &&[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let zone =
            zone.iter().map(|(name, answers)| ((*name).to_owned(), answers.iter().map(answer).collect()));
        Guard::with_resolver(allow.parse().unwrap(), Zone(Mutex::new(zone.collect())))
    }

    async fn examine(guard: &Guard, url: &str) -> Result<(), Refusal> {
        guard.examine(&Url::parse(url).unwrap()).await
    }

    #[tokio::test]
    async fn every_address_of_a_name_is_judged() {
        let guard = guard(
            "10.9.0.0/16 inner.example",
            &[
                ("good.example", &[&["8.8.8.8", "2606:4700::1"]]),
                ("bad.example", &[&["8.8.8.8", "10.0.0.1"]]),
                ("mapped.example", &[&["::ffff:127.0.0.1"]]),
                ("mixed.example", &[&["8.8.8.8", "10.9.0.1"]]),
                ("allowed.example", &[&["10.9.0.1", "10.9.0.2"]]),
                ("inner.example", &[&["127.0.0.1", "8.8.8.8"]]),
                ("empty.example", &[&[]]),
            ],
        );
        assert_eq!(examine(&guard, "https://good.example/").await, Ok(()));
        assert_eq!(examine(&guard, "http://good.example/").await, Err(Refusal::PlainHttp));
        assert_eq!(examine(&guard, "https://bad.example/").await, Err(Refusal::Address(Class::Private)));
        assert_eq!(examine(&guard, "https://mapped.example/").await, Err(Refusal::Address(Class::Loopback)));
        assert_eq!(examine(&guard, "https://mixed.example/").await, Err(Refusal::Mixed));
        for url in [
            "https://allowed.example/",
            "http://allowed.example/",
            "http://inner.example:1/",
            "http://10.9.1.1/",
        ] {
            assert_eq!(examine(&guard, url).await, Ok(()), "{url}");
        }
        // What has no address may get one, and is judged then.
        for url in ["https://empty.example/", "https://unknown.example/"] {
            assert_eq!(examine(&guard, url).await, Ok(()), "{url}");
            let target = Target::of(&Url::parse(url).unwrap()).unwrap();
            assert_eq!(guard.addresses(&target).await, Err(Refusal::Unresolvable));
        }
        assert_eq!(examine(&guard, "http://unknown.example/").await, Err(Refusal::PlainHttp));
    }

    #[tokio::test]
    async fn a_name_that_changes_its_mind_is_judged_by_what_it_says_now() {
        let guard = guard("", &[("rebind.example", &[&["8.8.8.8"], &["8.8.4.4"], &["127.0.0.1"]])]);
        assert_eq!(examine(&guard, "https://rebind.example/").await, Ok(()));
        let target = Target::of(&Url::parse("https://rebind.example/").unwrap()).unwrap();
        // What is connected to is what was judged, not what the name says a moment later.
        assert_eq!(guard.addresses(&target).await, Ok(vec!["8.8.4.4:443".parse().unwrap()]));
        assert_eq!(guard.addresses(&target).await, Err(Refusal::Address(Class::Loopback)));
    }

    #[tokio::test]
    async fn literal_addresses_need_no_resolver() {
        let guard = guard("", &[]);
        for (url, class) in [
            ("https://127.0.0.1/", Class::Loopback),
            ("https://0x7f.1/", Class::Loopback),
            ("https://169.254.169.254/latest/meta-data", Class::LinkLocal),
            ("https://[fe80::1]/", Class::LinkLocal),
            ("https://[::ffff:10.0.0.1]/", Class::Private),
            ("https://0/", Class::Unspecified),
            ("https://[::]/", Class::Unspecified),
            ("https://100.100.100.200/", Class::Shared),
            ("https://[fd00:ec2::254]/", Class::UniqueLocal),
        ] {
            assert_eq!(examine(&guard, url).await, Err(Refusal::Address(class)), "{url}");
        }
        assert_eq!(examine(&guard, "https://8.8.8.8/").await, Ok(()));
    }

    proptest! {
        #[test]
        fn one_address_that_is_not_public_spoils_the_answer(
            public in prop::collection::vec(0x0800_0000..=0x08ff_ffff_u32, 0..6),
            private in 0x0a00_0000..=0x0aff_ffff_u32,
            at in any::<prop::sample::Index>(),
        ) {
            let mut addresses: Vec<IpAddr> = public.into_iter().map(|bits| IpAddr::V4(bits.into())).collect();
            let target = Target { scheme: Scheme::Https, host: Host::Domain("a.example".into()), port: 443 };
            let allow = AllowList::default();
            if !addresses.is_empty() {
                prop_assert_eq!(judge(&allow, &target, &addresses), Ok(Ground::Public));
            }
            addresses.insert(at.index(addresses.len() + 1), IpAddr::V4(private.into()));
            prop_assert_eq!(judge(&allow, &target, &addresses), Err(Refusal::Address(Class::Private)));
            let all: AllowList = "10.0.0.0/8".parse().unwrap();
            let expected = if addresses.len() == 1 { Ok(Ground::Allowed) } else { Err(Refusal::Mixed) };
            prop_assert_eq!(judge(&all, &target, &addresses), expected);
        }
    }
}
