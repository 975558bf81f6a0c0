//! Where a URL leads, read strictly.

use std::fmt;

use url::{Host, Url};

use crate::guard::Refusal;

/// How it is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Under TLS.
    Https,
}

/// Where a URL leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// How.
    pub scheme: Scheme,
    /// To whom. Whatever way an IPv4 address was spelt (`0x7f.1`, `2130706433`, `0177.0.0.1`), here it is one.
    pub host: Host,
    /// To which port.
    pub port: u16,
}

impl Target {
    /// Where a URL leads.
    ///
    /// # Errors
    /// Another scheme than `http` and `https`, credentials in the URL, port 0.
    pub fn of(url: &Url) -> Result<Self, Refusal> {
        let scheme = match url.scheme() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(Refusal::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Credentials);
        }
        let host = url.host().ok_or(Refusal::Scheme)?.to_owned();
        let port = url.port_or_known_default().filter(|port| *port > 0).ok_or(Refusal::Port)?;
        Ok(Self { scheme, host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::classify;

    fn target(text: &str) -> Result<Target, Refusal> {
        Target::of(&Url::parse(text).unwrap())
    }

    #[test]
    fn odd_spellings_are_the_address_that_they_spell() {
        for text in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://127.0.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.0x0.0x0.0x1/",
            "http://0177.0.0.01/",
            "http://017700000001/",
            "http://127.0.0.1./",
            "http://１２７.０.０.１/",
            "http://127。0。0。1/",
            "http://%31%32%37.0.0.1/",
        ] {
            assert_eq!(target(text).unwrap().host, Host::<String>::Ipv4(Ipv4Addr::LOCALHOST), "{text}");
        }
        for text in ["http://[::ffff:7f00:1]/", "http://[0:0:0:0:0:ffff:127.0.0.1]/", "http://[::127.0.0.1]/"]
        {
            let Host::Ipv6(address) = target(text).unwrap().host else { panic!("{text}") };
            assert_eq!(classify(IpAddr::V6(address)), crate::Class::Loopback, "{text}");
        }
        for text in [
            "http://256.0.0.1/",
            "http://1.2.3.4.5/",
            "http://0x100000000/",
            "http://[::1%25lo]/",
            "http:///",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_web_is_spoken_to_and_without_credentials() {
        for text in
            ["ftp://example.org/", "file:///etc/passwd", "gopher://example.org/", "unix:/run/x", "data:,x"]
        {
            assert_eq!(target(text), Err(Refusal::Scheme), "{text}");
        }
        for text in ["https://user@example.org/", "https://user:pw@example.org/", "https://:pw@example.org/"]
        {
            assert_eq!(target(text), Err(Refusal::Credentials), "{text}");
        }
        // What looks like a host and is a name before the `@`.
        assert_eq!(target("https://good.example@evil.example/"), Err(Refusal::Credentials));
        assert_eq!(target("https://example.org:0/"), Err(Refusal::Port));
        assert_eq!(target("https://example.org/").unwrap().port, 443);
        assert_eq!(target("http://example.org:8080/").unwrap().to_string(), "example.org:8080");
    }
}
