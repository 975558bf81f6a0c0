use std::collections::BTreeMap;
use std::sync::Mutex as StdMutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use scaigrid_scope::token::TokenClaims;
use scaigrid_scope::{Role, Roles, UserKind};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const NOW: i64 = 1_800_000_000;

fn now() -> Instant {
    Instant::from_micros(NOW * 1_000_000)
}

/// A key that signs, and its public half under an id.
struct Signer {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    fn es256(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let der = pair.to_pkcs8v1().unwrap();
        Self { kid, algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(der.as_ref()) }
    }

    fn rs256(kid: &'static str) -> Self {
        use aws_lc_rs::encoding::Pkcs8V1Der;
        use aws_lc_rs::rsa::{KeyPair, KeySize};

        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        // The key itself (RFC 8017) is the last part of the envelope (RFC 5208), whose length is fixed for a key size.
        let key = &der.as_ref()[26..];
        Self { kid, algorithm: Algorithm::RS256, key: EncodingKey::from_rsa_der(key) }
    }

    fn jwk(&self) -> Value {
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk
    }

    /// A token with any header.
    fn sign_under(&self, header: &str, claims: &Value) -> String {
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    fn sign(&self, claims: &Value) -> String {
        let name = if self.algorithm == Algorithm::RS256 { "RS256" } else { "ES256" };
        self.sign_under(&format!(r#"{{"alg":"{name}","kid":"{}","typ":"at+jwt"}}"#, self.kid), claims)
    }
}

/// An issuer on the loopback: answers by path, and how often it was asked.
struct Provider {
    url: String,
    answers: Arc<StdMutex<BTreeMap<&'static str, (u16, String)>>>,
    asked: Arc<AtomicUsize>,
}

const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/jwks";

impl Provider {
    async fn start(keys: &[&Signer]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::new(StdMutex::new(BTreeMap::new()));
        let asked = Arc::new(AtomicUsize::new(0));
        let (given, count) = (Arc::clone(&answers), Arc::clone(&asked));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).await.unwrap_or(0) == 0 {
                        break;
                    }
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                if path == KEYS {
                    count.fetch_add(1, Ordering::SeqCst);
                }
                let answer: Option<(u16, String)> = given.lock().unwrap().get(path.as_str()).cloned();
                let (status, body) = answer.unwrap_or((404, String::new()));
                let text = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nLocation: /elsewhere\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        let provider = Self { url, answers, asked };
        let document = json!({"issuer": provider.url, "jwks_uri": format!("{}{KEYS}", provider.url)});
        provider.answer(DISCOVERY, 200, &document.to_string());
        provider.publish(keys);
        provider
    }

    fn answer(&self, path: &'static str, status: u16, body: &str) {
        self.answers.lock().unwrap().insert(path, (status, body.to_owned()));
    }

    fn publish(&self, keys: &[&Signer]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.answer(KEYS, 200, &json!({"keys": keys}).to_string());
    }

    fn trusted(&self) -> Issuers {
        Issuers::trust(IssuerSettings::parse_list(&format!("{} audience=grid", self.url)).unwrap()).unwrap()
    }

    fn claims(&self) -> Value {
        json!({"iss": self.url, "sub": "ada", "aud": "grid", "iat": NOW - 10, "exp": NOW + 3600})
    }

    fn with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        claims[name] = value;
        claims
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn verify(issuers: &Issuers, token: &str) -> Result<VerifiedToken, TokenRefused> {
    issuers.verify(BearerToken::parse(token).expect("a token by its form"), now()).await
}

#[tokio::test]
async fn a_good_token_says_what_it_says() {
    let (rsa, ec) = (Signer::rs256("r"), Signer::es256("e"));
    let provider = Provider::start(&[&rsa, &ec]).await;
    let issuers = provider.trusted();
    let mut claims = provider.claims();
    claims["aud"] = json!(["other", "grid"]);
    claims["tenant_id"] = json!("acme");
    claims["partner_id"] = json!("internal");
    claims["role"] = json!(["tenant_admin", "chief"]);
    claims["scope"] = json!("openid models:list");
    claims["email"] = json!("ada@acme.example");
    claims["name"] = json!("Ada");
    claims["email_verified"] = json!("true");
    claims["act"] = json!({"sub": "agent", "act": {"sub": "first"}});
    for signer in [&rsa, &ec] {
        let said = verify(&issuers, &signer.sign(&claims)).await.unwrap().claims;
        assert_eq!((&*said.issuer, &*said.subject), (provider.url.as_str(), "ada"));
        assert_eq!((said.tenant.as_deref(), said.partner.as_deref()), (Some("acme"), Some("internal")));
        assert_eq!(said.roles, Some(Roles::NONE.with(Role::TenantAdmin)));
        assert_eq!(said.scopes.unwrap().iter().count(), 1);
        assert_eq!((said.email.unwrap().as_str(), said.email_verified), ("ada@acme.example", true));
        assert_eq!(said.name.unwrap().as_str(), "Ada");
        assert_eq!((said.kind, said.actor.as_deref()), (UserKind::Human, Some("agent")));
        assert_eq!(said.expires_at.micros(), (NOW + 3600) * 1_000_000);
    }
    let named = |said: &TokenClaims| {
        let groups = said.groups.as_ref().unwrap();
        let slugs: Vec<_> = groups.iter().map(|group| group.slug.to_string()).collect();
        (slugs, groups.left_out())
    };
    for (groups, slugs, left_out) in [
        (json!(["Sales", "/ops/night", {"value": "x"}, 7, null, ""]), vec!["sales", "ops-night"], 4),
        (json!("Sales"), vec!["sales"], 0),
        (json!([]), vec![], 0),
    ] {
        let said = verify(&issuers, &ec.sign(&provider.with("groups", groups))).await.unwrap().claims;
        assert_eq!(named(&said), (slugs.into_iter().map(str::to_owned).collect(), left_out));
    }
    assert_eq!(verify(&issuers, &ec.sign(&claims)).await.unwrap().claims.groups, None);
    claims.as_object_mut().unwrap().remove("email_verified");
    let said = verify(&issuers, &ec.sign(&claims)).await.unwrap().claims;
    assert_eq!((said.email.is_some(), said.email_verified), (true, false), "nothing said is not said so");
    claims["email_verified"] = json!(false);
    claims["client_id"] = json!("ada");
    let said = verify(&issuers, &ec.sign(&claims)).await.unwrap().claims;
    assert_eq!((said.email, said.kind), (None, UserKind::Service));
    assert_eq!(verify(&issuers, &ec.sign(&provider.claims())).await.unwrap().claims.roles, None);
}

#[tokio::test]
async fn a_token_under_another_header_is_refused() {
    let (rsa, ec) = (Signer::rs256("r"), Signer::es256("e"));
    let provider = Provider::start(&[&rsa, &ec]).await;
    let issuers = provider.trusted();
    let claims = provider.claims();
    assert!(verify(&issuers, &ec.sign(&claims)).await.is_ok());
    for header in [
        r#"{"alg":"none","kid":"e"}"#,
        r#"{"alg":"None","kid":"e"}"#,
        r#"{"alg":"HS256","kid":"e"}"#,
        r#"{"alg":"ES384","kid":"e"}"#,
        r#"{"alg":"es256","kid":"e"}"#,
        r#"{"alg":"RS256","kid":"e"}"#,
        r#"{"alg":"ES256","kid":"r"}"#,
        r#"{"alg":"ES256"}"#,
        r#"{"alg":"ES256","kid":""}"#,
        r#"{"alg":"ES256","kid":7}"#,
        r#"{"alg":"ES256","kid":"e","kid":"e"}"#,
        r#"{"alg":"ES256","alg":"ES256","kid":"e"}"#,
        r#"{"alg":"ES256","kid":"e","crit":["exp"],"exp":1}"#,
        r#"{"alg":"ES256","kid":"e","crit":[]}"#,
        r#"{"alg":"ES256","kid":"e","crit":null}"#,
        r#"{"alg":"ES256","kid":"e","typ":"logout+jwt"}"#,
        r#"{"alg":"ES256","kid":"e","typ":"dpop+jwt"}"#,
        r#"["ES256"]"#,
        "nonsense",
    ] {
        let refused = verify(&issuers, &ec.sign_under(header, &claims)).await;
        assert!(matches!(refused, Err(TokenRefused::Invalid(_))), "{header}: {refused:?}");
    }
    // The public key as the secret of a symmetric signature.
    let secret = EncodingKey::from_secret(rsa.jwk()["n"].as_str().unwrap().as_bytes());
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"r"}"#),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();
    assert!(verify(&issuers, &format!("{message}.{signature}")).await.is_err());
}

#[tokio::test]
async fn a_token_that_was_changed_or_is_not_for_us_is_refused() {
    let ec = Signer::es256("e");
    let provider = Provider::start(&[&ec]).await;
    let issuers = provider.trusted();
    let good = ec.sign(&provider.claims());
    let parts: Vec<&str> = good.split('.').collect();
    let forged = URL_SAFE_NO_PAD.encode(provider.with("sub", json!("eve")).to_string());
    let stranger = Signer::es256("e").sign(&provider.claims());
    let signature = format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([0; 64]));
    let twice = provider.claims().to_string().replacen('{', r#"{"sub":"eve","#, 1);
    let message = format!("{}.{}", parts[0], URL_SAFE_NO_PAD.encode(twice));
    let twice = jsonwebtoken::crypto::sign(message.as_bytes(), &ec.key, Algorithm::ES256).unwrap();
    for token in
        [format!("{}.{forged}.{}", parts[0], parts[2]), stranger, signature, format!("{message}.{twice}")]
    {
        assert!(matches!(verify(&issuers, &token).await, Err(TokenRefused::Invalid(_))), "{token}");
    }
    for (name, value) in [
        ("iss", json!("https://other.example")),
        ("iss", json!(format!("{}/", provider.url))),
        ("aud", json!("other")),
        ("aud", json!([])),
        ("aud", Value::Null),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("a\nb")),
        ("sub", json!("x".repeat(256))),
        ("exp", json!("soon")),
        ("exp", json!(1e300)),
        ("iat", Value::Null),
        ("role", json!({"a": 1})),
        ("groups", json!({"a": 1})),
        ("groups", json!(7)),
        ("act", json!("agent")),
    ] {
        let refused = verify(&issuers, &ec.sign(&provider.with(name, value.clone()))).await;
        assert!(matches!(refused, Err(TokenRefused::Invalid(_))), "{name} {value}: {refused:?}");
    }
}

#[tokio::test]
async fn clocks_may_be_a_minute_apart() {
    let ec = Signer::es256("e");
    let provider = Provider::start(&[&ec]).await;
    let issuers = provider.trusted();
    let early = TokenRefused::Invalid("the token is not valid yet");
    for (name, seconds, outcome) in [
        ("exp", -59, Ok(())),
        ("exp", -60, Err(TokenRefused::Expired)),
        ("nbf", 60, Ok(())),
        ("nbf", 61, Err(early.clone())),
        ("iat", 60, Ok(())),
        ("iat", 61, Err(early)),
    ] {
        let token = ec.sign(&provider.with(name, json!(NOW + seconds)));
        assert_eq!(verify(&issuers, &token).await.map(|_| ()), outcome, "{name} {seconds}");
    }
    // Who cannot sign learns nothing from a token that has expired.
    let forged = Signer::es256("e").sign(&provider.with("exp", json!(NOW - 1000)));
    assert!(matches!(verify(&issuers, &forged).await, Err(TokenRefused::Invalid(_))));
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_but_not_at_every_call() {
    let (first, second) = (Signer::es256("first"), Signer::es256("second"));
    let provider = Provider::start(&[&first]).await;
    let issuers = provider.trusted();
    assert!(verify(&issuers, &first.sign(&provider.claims())).await.is_ok());
    assert_eq!(provider.asked(), 1);
    provider.publish(&[&first, &second]);
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(11)).await;
    tokio::time::resume();
    // Many at once that miss the same key cause one question.
    let token = second.sign(&provider.claims());
    let all = futures_util::future::join_all((0..20).map(|_| verify(&issuers, &token))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(provider.asked(), 2);
    let nobody = Signer::es256("nobody").sign(&provider.claims());
    for _ in 0..20 {
        assert!(verify(&issuers, &nobody).await.is_err());
    }
    assert_eq!(provider.asked(), 2);
}

#[tokio::test]
async fn keys_are_kept_while_the_issuer_is_away() {
    let ec = Signer::es256("e");
    let provider = Provider::start(&[&ec]).await;
    let issuers = provider.trusted();
    let token = ec.sign(&provider.claims());
    assert!(verify(&issuers, &token).await.is_ok());
    for (status, body) in
        [(500, String::new()), (200, "<html>".to_owned()), (302, String::new()), (200, " ".repeat(300_000))]
    {
        provider.answer(KEYS, status, &body);
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(11)).await;
        tokio::time::resume();
        let asked = provider.asked();
        assert!(verify(&issuers, &Signer::es256("new").sign(&provider.claims())).await.is_err());
        assert!(provider.asked() > asked, "it was asked");
        assert!(verify(&issuers, &token).await.is_ok(), "{status}");
    }
}

#[tokio::test]
async fn an_issuer_that_was_never_there_has_no_keys() {
    let ec = Signer::es256("e");
    let provider = Provider::start(&[&ec]).await;
    let token = ec.sign(&provider.claims());
    for (path, body) in [
        (
            DISCOVERY,
            json!({"issuer": "https://other.example", "jwks_uri": format!("{}{KEYS}", provider.url)}),
        ),
        (DISCOVERY, json!({"issuer": provider.url, "jwks_uri": "http://203.0.113.1/jwks"})),
        (DISCOVERY, json!({"issuer": provider.url})),
        (KEYS, json!({"keys": []})),
    ] {
        provider.answer(
            DISCOVERY,
            200,
            &json!({"issuer": provider.url, "jwks_uri": format!("{}{KEYS}", provider.url)}).to_string(),
        );
        provider.answer(path, 200, &body.to_string());
        assert_eq!(verify(&provider.trusted(), &token).await, Err(TokenRefused::NoKeys), "{body}");
    }
}
