//! The seal on a delivery, in two hands: Standard Webhooks (`v1,` and base64) and the platform's own (`sha256=` and hex).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::Secret;

/// The headers that vouch for a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// `webhook-timestamp`: when it was sent, in seconds since 1970.
    pub timestamp: String,
    /// `webhook-signature`: over id, timestamp and body.
    pub standard: String,
    /// `X-ScaiGrid-Signature`: over the body alone.
    pub own: String,
}

/// Signs a body that is sent under an id at a time, in seconds since 1970.
pub fn sign(secret: &Secret, id: &str, seconds: i64, body: &[u8]) -> Signed {
    let key = secret.key();
    let timestamp = seconds.to_string();
    let standard = mac(&key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
    let own = mac(&key, &[body]);
    let hex = HEXLOWER.encode(&own);
    Signed { timestamp, standard: format!("v1,{}", STANDARD.encode(standard)), own: format!("sha256={hex}") }
}

impl Signed {
    /// The same, signed by another secret too: Standard Webhooks allows several signatures, separated by spaces, for the
    /// time in which receivers change secrets. The platform's own header has room for one.
    #[must_use]
    pub fn and_by(mut self, secret: &Secret, id: &str, body: &[u8]) -> Self {
        let parts = [id.as_bytes(), b".", self.timestamp.as_bytes(), b".", body];
        let standard = STANDARD.encode(mac(&secret.key(), &parts));
        self.standard = format!("{} v1,{standard}", self.standard);
        self
    }
}

/// HMAC-SHA256 (RFC 2104). A key longer than the block is hashed first.
fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // Keys of any length are taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn published_vectors_hold() {
        // The example of the Standard Webhooks specification's libraries.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signed = sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed.standard, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let other = Secret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        let both = signed.clone().and_by(&other, "msg_p5jXN8AQM9LWM0D4loKWxJek", body);
        let alone = sign(&other, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(both.standard, format!("{} {}", signed.standard, alone.standard));
        assert_eq!(both.own, signed.own);
        // RFC 4231, test case 6: a key that is longer than the block.
        let bytes = mac(&[0xaa; 131], &[b"Test Using Larger Than Block-Size Key - Hash Key First"]);
        assert_eq!(bytes[..4], [0x60, 0xe4, 0x31, 0x59]);
        // GitHub's example of a header of the same form as ours.
        let own = mac(b"It's a Secret to Everybody", &[b"Hello, World!"]);
        assert_eq!(own[..6], [0x75, 0x71, 0x07, 0xea, 0x0e, 0xb2]);
        let plain = Secret::parse("a-plain-secret-of-someone").unwrap();
        let own = sign(&plain, "evt_1", 0, b"{}").own;
        assert!(own.len() == 7 + 64 && own.starts_with("sha256="), "{own}");
    }

    proptest! {
        #[test]
        fn what_is_signed_another_library_verifies(
            key in prop::collection::vec(any::<u8>(), 24..=64),
            body in ".{0,200}",
            id in "evt_[0-9A-Z]{26}",
            seconds in 0..4_000_000_000_i64,
        ) {
            let text = format!("whsec_{}", STANDARD.encode(&key));
            let secret = Secret::parse(&text).unwrap();
            let signed = sign(&secret, &id, seconds, body.as_bytes());
            let other = standardwebhooks::Webhook::new(&text).unwrap();
            prop_assert_eq!(other.sign(&id, seconds, body.as_bytes()).unwrap(), signed.standard);
        }
    }
}
