//! What kind of place an address is.
//!
//! After the special-purpose registries of IANA (RFC 6890 and its successors): what is not assigned as globally
//! reachable unicast is not public. Addresses that carry another one inside are what the inner one is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of place that an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Reachable from everywhere.
    Public,
    /// This machine.
    Loopback,
    /// A private network (RFC 1918).
    Private,
    /// A private network of IPv6 (RFC 4193).
    UniqueLocal,
    /// The nearest network, where clouds serve their metadata (RFC 3927, RFC 4291).
    LinkLocal,
    /// Between a provider and its customers (RFC 6598).
    Shared,
    /// No address, which many systems take for this machine.
    Unspecified,
    /// Many at once.
    Multicast,
    /// Everybody near.
    Broadcast,
    /// For examples (RFC 5737, RFC 3849, RFC 9637).
    Documentation,
    /// Anything else that is not assigned for public use.
    Reserved,
}

impl Class {
    /// The class in words, as a refusal tells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::UniqueLocal => "unique-local",
            Self::LinkLocal => "link-local",
            Self::Shared => "shared",
            Self::Unspecified => "unspecified",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Documentation => "documentation",
            Self::Reserved => "reserved",
        }
    }

    /// Whether this is where an organisation's own machines are.
    pub const fn is_own_network(self) -> bool {
        matches!(self, Self::Loopback | Self::Private | Self::UniqueLocal | Self::LinkLocal)
    }
}

/// The class of an address.
pub fn classify(address: IpAddr) -> Class {
    match canonical(address) {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => classify_v6(address),
    }
}

/// The address that a connection to this one goes to: an IPv4 address that is written as one of IPv6
/// (`::ffff:127.0.0.1`) is the IPv4 address.
pub(crate) fn canonical(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    }
}

fn classify_v4(address: Ipv4Addr) -> Class {
    let [a, b, c, d] = address.octets();
    match (a, b, c, d) {
        (0, 0, 0, 0) => Class::Unspecified,
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) => Class::Private,
        (100, 64..=127, ..) => Class::Shared,
        (127, ..) => Class::Loopback,
        (169, 254, ..) => Class::LinkLocal,
        (192, 0, 2, _) | (198, 51, 100, _) | (203, 0, 113, _) => Class::Documentation,
        (224..=239, ..) => Class::Multicast,
        (255, 255, 255, 255) => Class::Broadcast,
        // This network; protocol assignments; relays to 6to4 (RFC 7526); measurements of devices (RFC 2544); the future.
        (0 | 240..=255, ..) | (192, 0, 0, _) | (192, 88, 99, _) | (198, 18..=19, ..) => Class::Reserved,
        _ => Class::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> Class {
    let s = address.segments();
    let last = embedded(s[6], s[7]);
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        // IPv4-compatible (RFC 4291), IPv4-translated (RFC 2765), NAT64 (RFC 6052).
        [0, 0, 0, 0, 0 | 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => classify_v4(last),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => classify_v4(embedded(high, low)),
        // Teredo (RFC 4380): the server, and the client with its bits turned over.
        [0x2001, 0, high, low, ..] => match classify_v4(embedded(high, low)) {
            Class::Public => classify_v4(embedded(!s[6], !s[7])),
            other => other,
        },
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Class::Documentation,
        // Protocol assignments (RFC 2928): nothing in there is a host to be called.
        [0x2001, 0..=0x01ff, ..] => Class::Reserved,
        [0xfe80..=0xfebf, ..] => Class::LinkLocal,
        // Site-local addresses are what unique-local ones replaced (RFC 3879).
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => Class::UniqueLocal,
        [0xff00..=0xffff, ..] => Class::Multicast,
        // Global unicast (RFC 4291).
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Reserved,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class(text: &str) -> Class {
        classify(text.parse().unwrap())
    }

    #[test]
    fn addresses_are_what_the_registries_say() {
        let table = [
            ("8.8.8.8", Class::Public),
            ("1.1.1.1", Class::Public),
            ("172.15.255.255", Class::Public),
            ("172.32.0.0", Class::Public),
            ("100.63.255.255", Class::Public),
            ("100.128.0.0", Class::Public),
            ("223.255.255.255", Class::Public),
            ("0.0.0.0", Class::Unspecified),
            ("0.0.0.1", Class::Reserved),
            ("10.0.0.0", Class::Private),
            ("10.255.255.255", Class::Private),
            ("172.16.0.1", Class::Private),
            ("172.31.255.255", Class::Private),
            ("192.168.0.1", Class::Private),
            ("100.64.0.1", Class::Shared),
            ("100.127.255.255", Class::Shared),
            ("127.0.0.1", Class::Loopback),
            ("127.255.255.254", Class::Loopback),
            ("169.254.169.254", Class::LinkLocal),
            ("192.0.0.8", Class::Reserved),
            ("192.0.2.1", Class::Documentation),
            ("192.88.99.1", Class::Reserved),
            ("198.18.0.1", Class::Reserved),
            ("198.19.255.255", Class::Reserved),
            ("198.51.100.7", Class::Documentation),
            ("203.0.113.7", Class::Documentation),
            ("224.0.0.1", Class::Multicast),
            ("239.255.255.250", Class::Multicast),
            ("240.0.0.1", Class::Reserved),
            ("255.255.255.255", Class::Broadcast),
            ("2606:4700:4700::1111", Class::Public),
            ("2001:200::1", Class::Public),
            ("::", Class::Unspecified),
            ("::1", Class::Loopback),
            ("::2", Class::Reserved),
            ("::127.0.0.1", Class::Loopback),
            ("::8.8.8.8", Class::Public),
            ("::ffff:127.0.0.1", Class::Loopback),
            ("::ffff:169.254.169.254", Class::LinkLocal),
            ("::ffff:8.8.8.8", Class::Public),
            ("::ffff:0:10.0.0.1", Class::Private),
            ("64:ff9b::10.0.0.1", Class::Private),
            ("64:ff9b::8.8.8.8", Class::Public),
            ("64:ff9b:1::8.8.8.8", Class::Reserved),
            ("2002:7f00:1::", Class::Loopback),
            ("2002:a9fe:a9fe::1", Class::LinkLocal),
            ("2002:808:808::1", Class::Public),
            ("2001:0:808:808:0:0:f5ff:fffe", Class::Private),
            ("2001:0:a00:1:0:0:f7f7:f7f7", Class::Private),
            ("2001:0:808:808:0:0:f7f7:f7f7", Class::Public),
            ("2001:2::1", Class::Reserved),
            ("2001:10::1", Class::Reserved),
            ("2001:db8::1", Class::Documentation),
            ("3fff:fff::1", Class::Documentation),
            ("3fff:1000::1", Class::Public),
            ("4000::1", Class::Reserved),
            ("5f00::1", Class::Reserved),
            ("100::1", Class::Reserved),
            ("fc00::1", Class::UniqueLocal),
            ("fd12:3456::1", Class::UniqueLocal),
            ("fe80::1", Class::LinkLocal),
            ("febf::1", Class::LinkLocal),
            ("fec0::1", Class::UniqueLocal),
            ("ff02::1", Class::Multicast),
        ];
        for (address, expected) in table {
            assert_eq!(class(address), expected, "{address}");
        }
    }

    proptest! {
        #[test]
        fn an_inner_address_decides(inner: u32) {
            let v4 = Ipv4Addr::from(inner);
            let expected = classify(v4.into());
            prop_assert_eq!(classify(v4.to_ipv6_mapped().into()), expected);
            let [a, b, c, d] = v4.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let nat64 = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low);
            prop_assert_eq!(classify(nat64.into()), expected);
            let six_to_four = Ipv6Addr::new(0x2002, high, low, 1, 2, 3, 4, 5);
            prop_assert_eq!(classify(six_to_four.into()), expected);
        }

        #[test]
        fn the_standard_library_knows_no_more(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let special = v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified()
                || v4.is_multicast() || v4.is_broadcast() || v4.is_documentation();
            prop_assert!(!special || classify(v4.into()) != Class::Public, "{}", v4);
        }

        #[test]
        fn only_global_unicast_is_public(bits: u128) {
            let v6 = Ipv6Addr::from(bits);
            let carries = v6.segments()[..4] == [0, 0, 0, 0] || v6.segments()[..2] == [0x64, 0xff9b];
            prop_assert!(classify(v6.into()) != Class::Public || carries || v6.segments()[0] >> 13 == 1, "{}", v6);
        }
    }
}
