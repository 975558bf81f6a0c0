//! How versions before there were data keys sealed secrets, made from their description: such texts are in databases still.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};

/// SHA-256, in lower-case hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// A secret as it was sealed under a key of the tenant's that is derived from the master key.
pub fn seal_as_before(master: &str, tenant: &str, place: &str, secret: &str) -> String {
    let master = STANDARD.decode(master.trim()).unwrap();
    let id = Sha256::digest(&master)[..8].iter().fold(String::new(), |id, byte| id + &format!("{byte:02x}"));
    let mut key = [0; 32];
    let purpose = format!("scaigrid tenant key {tenant}");
    Hkdf::<Sha256>::new(None, &master).expand(purpose.as_bytes(), &mut key).unwrap();
    // Drawn at random then; here it may be anything that is used once.
    let mut nonce = [0; 24];
    nonce.copy_from_slice(&Sha256::digest(format!("{tenant} {place}"))[..24]);
    let bound = format!("{tenant}\n{place}");
    let cipher = XChaCha20Poly1305::new_from_slice(&key).unwrap();
    let payload = Payload { msg: secret.as_bytes(), aad: bound.as_bytes() };
    let body = [&nonce[..], &cipher.encrypt(&XNonce::from(nonce), payload).unwrap()].concat();
    format!("1.{id}.{}", URL_SAFE_NO_PAD.encode(body))
}
