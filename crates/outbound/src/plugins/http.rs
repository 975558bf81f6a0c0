//! Plugins that are plain HTTP: `POST {endpoint}/{method}`, the arguments as JSON, the result as JSON.

use ::http::{HeaderMap, Method};
use scaigrid_cores::plugins::MethodName;
use serde_json::Value;
use url::Url;

use super::{CallFault, Fault, Limits, exchange, judge, request, value};
use crate::client::Client;

/// The URL of a method.
fn url_of(endpoint: &Url, method: &MethodName) -> Option<Url> {
    let mut url = endpoint.clone();
    // A name is letters, digits, `.`, `_`, `-` and `/`; one that begins with none of the first cannot be `..`.
    url.path_segments_mut().ok()?.pop_if_empty().extend(method.as_str().split('/'));
    Some(url)
}

/// Calls a method.
///
/// # Errors
/// What went wrong, and whether the plugin may have heard of it.
pub async fn call(
    client: &Client,
    endpoint: &Url,
    method: &MethodName,
    args: &Value,
    headers: &HeaderMap,
    limits: Limits,
) -> Result<Value, CallFault> {
    let nowhere = || CallFault::before(Fault::Unreachable("its endpoint has no paths".to_owned()));
    let url = url_of(endpoint, method).ok_or_else(nowhere)?;
    let answer = exchange(client, &url, request(Method::POST, headers, Some(args)), limits).await?;
    value(&judge(answer)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_below_its_endpoint() {
        let url = |endpoint: &str, method: &str| {
            url_of(&Url::parse(endpoint).unwrap(), &method.parse().unwrap()).unwrap().to_string()
        };
        assert_eq!(url("https://a.example", "find"), "https://a.example/find");
        assert_eq!(url("https://a.example/v1/", "find"), "https://a.example/v1/find");
        assert_eq!(url("https://a.example/v1?k=1", "a/b"), "https://a.example/v1/a/b?k=1");
        assert_eq!(url("https://a.example/v1", "a/../../b"), "https://a.example/v1/a/b");
    }
}
