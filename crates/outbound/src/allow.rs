//! What the operator allows although the guard would refuse it.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::address::{Class, canonical};

/// Hosts, names below a suffix, and networks, each with or without a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    entries: Vec<Entry>,
    own_networks: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    what: What,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    /// A name, in lower case.
    Host(Box<str>),
    /// Names that end so; with the dot before it.
    Below(Box<str>),
    Network(IpNet),
}

/// A text that is no entry of an allow-list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a host (model.lan), names below one (*.corp.example), an address or a network (10.0.0.0/8, \
     [fd00::]/8), each with an optional :port, got {0:?}"
)]
pub struct InvalidEntry(String);

impl AllowList {
    /// The same list, and besides it whether loopback, link-local, private and unique-local addresses are allowed.
    #[must_use]
    pub fn and_own_networks(mut self, allowed: bool) -> Self {
        self.own_networks = allowed;
        self
    }

    /// Whether whatever this name resolves to is allowed.
    pub fn names(&self, host: &str, port: u16) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        self.entries.iter().filter(|entry| entry.port.is_none_or(|only| only == port)).any(|entry| {
            match &entry.what {
                What::Host(name) => name.eq_ignore_ascii_case(host),
                What::Below(suffix) => {
                    let at = host.len().checked_sub(suffix.len()).filter(|at| *at > 0);
                    at.and_then(|at| host.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
                }
                What::Network(_) => false,
            }
        })
    }

    /// Whether this address is allowed.
    pub fn holds(&self, address: IpAddr, class: Class, port: u16) -> bool {
        let address = canonical(address);
        (self.own_networks && class.is_own_network())
            || self.entries.iter().any(|entry| {
                entry.port.is_none_or(|only| only == port)
                    && matches!(&entry.what, What::Network(network) if network.contains(&address))
            })
    }
}

impl FromStr for AllowList {
    type Err = InvalidEntry;

    /// Entries separated by commas or white space.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|part| !part.is_empty());
        let entries = parts.map(|part| entry(part).ok_or_else(|| InvalidEntry(part.to_owned())));
        Ok(Self { entries: entries.collect::<Result<_, _>>()?, own_networks: false })
    }
}

fn entry(text: &str) -> Option<Entry> {
    // `[fd00::1]`, `[fd00::]/8` and `[fd00::/8]`, each perhaps with `:8080`.
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let (length, port) = match rest.strip_prefix('/') {
            Some(rest) => match rest.split_once(':') {
                Some((length, port)) => (Some(length), Some(port)),
                None => (Some(rest), None),
            },
            None if rest.is_empty() => (None, None),
            None => (None, Some(rest.strip_prefix(':')?)),
        };
        let text = length.map_or_else(|| address.to_owned(), |length| format!("{address}/{length}"));
        let network = network(&text).filter(|network| matches!(network, IpNet::V6(_)))?;
        return Some(Entry { what: What::Network(network), port: port.map(read_port).transpose().ok()? });
    }
    if let Some(network) = network(text) {
        return Some(Entry { what: What::Network(network), port: None });
    }
    let (place, port) = match text.split_once(':') {
        Some((place, port)) => (place, Some(read_port(port).ok()?)),
        None => (text, None),
    };
    let what = match (network(place), place.strip_prefix("*.")) {
        (Some(network), _) => What::Network(network),
        (None, Some(name)) => What::Below(format!(".{}", host(name)?).into()),
        (None, None) => What::Host(host(place)?.into()),
    };
    Some(Entry { what, port })
}

fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
    let network: IpNet = network;
    // An address of IPv4 in the clothes of IPv6 would match nothing: see `canonical`.
    match network {
        IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => None,
        _ => Some(network.trunc()),
    }
}

fn read_port(text: &str) -> Result<u16, ()> {
    text.parse().ok().filter(|port| *port > 0).ok_or(())
}

/// A name as URLs spell it.
fn host(text: &str) -> Option<String> {
    match url::Host::parse(text.strip_suffix('.').unwrap_or(text)).ok()? {
        url::Host::Domain(name) if !name.contains('*') && name.split('.').all(|label| !label.is_empty()) => {
            Some(name)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify;

    fn list(text: &str) -> AllowList {
        text.parse().unwrap()
    }

    fn holds(list: &AllowList, address: &str, port: u16) -> bool {
        let address = address.parse().unwrap();
        list.holds(address, classify(address), port)
    }

    #[test]
    fn names_are_allowed_as_they_are_written() {
        let list = list("model.lan, *.Corp.example:8443 bücher.example");
        assert!(list.names("model.lan", 80) && list.names("MODEL.lan.", 443));
        assert!(!list.names("model.lan.example", 80) && !list.names("xmodel.lan", 80));
        assert!(list.names("a.corp.example", 8443) && list.names("a.b.corp.example", 8443));
        assert!(!list.names("corp.example", 8443) && !list.names("a.corp.example", 443));
        assert!(!list.names("evilcorp.example", 8443) && !list.names(".corp.example", 8443));
        assert!(list.names("xn--bcher-kva.example", 443));
        assert!(!holds(&list, "127.0.0.1", 80));
    }

    #[test]
    fn networks_are_allowed_by_address() {
        let list = list("10.1.0.0/16 127.0.0.1:9000,[fd00::]/8:8080 [::1]:1 192.168.7.0/24:25 fd99::1");
        assert!(holds(&list, "10.1.2.3", 1) && !holds(&list, "10.2.0.0", 1));
        assert!(holds(&list, "127.0.0.1", 9000) && !holds(&list, "127.0.0.1", 9001));
        assert!(holds(&list, "::ffff:127.0.0.1", 9000), "it is the same place");
        assert!(!holds(&list, "2002:7f00:1::", 9000), "and this is another");
        assert!(holds(&list, "fd12::1", 8080) && !holds(&list, "fd12::1", 80));
        assert!(holds(&list, "::1", 1) && !holds(&list, "::1", 2));
        assert!(holds(&list, "192.168.7.200", 25) && holds(&list, "fd99::1", 5));
        assert!(!list.names("10.1.2.3", 1), "an address is no name");
        assert!(
            list == self::list(
                "10.1.3.3/16 127.0.0.1:9000,[fd00::/8]:8080 [::1]:1 192.168.7.0/24:25 fd99::1"
            )
        );
    }

    #[test]
    fn own_networks_are_those_of_an_organisation() {
        let list = AllowList::default().and_own_networks(true);
        for address in
            ["127.0.0.1", "::1", "10.0.0.1", "169.254.1.1", "fe80::1", "fd00::1", "::ffff:10.0.0.1"]
        {
            assert!(holds(&list, address, 80), "{address}");
        }
        for address in ["100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "8.8.8.8"] {
            assert!(!holds(&list, address, 80), "{address}");
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in [
            "*",
            "*.",
            "10.0.0.0/33",
            "a:0",
            "a:65536",
            "a:b",
            "[10.0.0.1]",
            "[::1",
            "a..b",
            "http://a",
            "a/b",
            "*.*.a",
            "::ffff:10.0.0.1",
            "[fd00::]/8:",
        ] {
            assert!(text.parse::<AllowList>().is_err(), "{text}");
        }
        assert_eq!(list(" , "), AllowList::default());
    }
}
