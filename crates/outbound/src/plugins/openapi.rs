//! Services that an OpenAPI document describes.

use ::http::{HeaderMap, HeaderName, HeaderValue, Method};
use scaigrid_cores::plugins::{Binding, Manifest, Place, openapi};
use serde_json::{Map, Value};
use url::Url;

use super::{CallFault, Fault, Limits, exchange, judge, request, value};
use crate::client::Client;

/// Reads a document, JSON or YAML, and what it offers.
///
/// # Errors
/// What went wrong.
pub async fn manifest(
    client: &Client,
    location: &Url,
    headers: &HeaderMap,
    limits: Limits,
) -> Result<Manifest, CallFault> {
    let mut headers = headers.clone();
    let accept = "application/vnd.oai.openapi+json, application/json, application/yaml;q=0.9, */*;q=0.5";
    headers.insert(::http::header::ACCEPT, HeaderValue::from_static(accept));
    let answer = judge(exchange(client, location, request(Method::GET, &headers, None), limits).await?)?;
    let nonsense = |text: String| CallFault::after(Fault::Nonsense(text));
    let text =
        std::str::from_utf8(&answer.body).map_err(|_| nonsense("the document is no UTF-8".to_owned()))?;
    let document: Value = match serde_json::from_str(text) {
        Ok(document) => document,
        Err(_) => serde_saphyr::from_str(text)
            .map_err(|_| nonsense("the document is neither JSON nor YAML".to_owned()))?,
    };
    openapi::manifest(&document, location).map_err(|error| nonsense(error.to_string()))
}

/// Calls an operation.
///
/// # Errors
/// What went wrong, and whether the service may have heard of it.
pub async fn call(
    client: &Client,
    binding: &Binding,
    args: &Map<String, Value>,
    headers: &HeaderMap,
    limits: Limits,
) -> Result<Value, CallFault> {
    let (verb, url, headers, body) =
        written(binding, args, headers).map_err(|reason| CallFault::before(Fault::Unreachable(reason)))?;
    let answer = exchange(client, &url, request(verb, &headers, body), limits).await?;
    value(&judge(answer)?)
}

/// The request that a call is.
fn written<'a>(
    binding: &Binding,
    args: &'a Map<String, Value>,
    headers: &HeaderMap,
) -> Result<(Method, Url, HeaderMap, Option<&'a Value>), String> {
    let mut url = Url::parse(&binding.base).map_err(|_| "its URL is none".to_owned())?;
    let verb = Method::from_bytes(binding.verb.as_bytes()).map_err(|_| "its verb is none".to_owned())?;
    let value_of = |place: Place, wire_name: &str| {
        let argument = binding
            .arguments
            .iter()
            .find(|argument| argument.place == place && &*argument.wire_name == wire_name)?;
        args.get(&*argument.name).filter(|value| !value.is_null())
    };
    {
        let mut path = url.path_segments_mut().map_err(|()| "its URL has no path".to_owned())?;
        path.pop_if_empty();
        for segment in binding.path.trim_start_matches('/').split('/') {
            let filled = fill(segment, |name| value_of(Place::Path, name))?;
            // Dots would be taken for a way up, also where they are spelt otherwise.
            if matches!(filled.as_str(), "." | "..") || (filled.is_empty() && !segment.is_empty()) {
                return Err("an argument of its path cannot be empty or a way up".to_owned());
            }
            path.push(&filled);
        }
    }
    let mut headers = headers.clone();
    let mut body = None;
    for argument in &binding.arguments {
        let Some(value) = args.get(&*argument.name).filter(|value| !value.is_null()) else { continue };
        match argument.place {
            Place::Path => {}
            Place::Query => {
                let mut query = url.query_pairs_mut();
                match value {
                    Value::Array(items) => {
                        for item in items {
                            query.append_pair(&argument.wire_name, &text(item));
                        }
                    }
                    // The form style spreads an object over names of its own.
                    Value::Object(fields) => {
                        for (name, field) in fields {
                            query.append_pair(name, &text(field));
                        }
                    }
                    value => {
                        query.append_pair(&argument.wire_name, &text(value));
                    }
                }
            }
            Place::Header => {
                let unfit = || format!("the argument {} cannot be a header", argument.name);
                let name = HeaderName::from_bytes(argument.wire_name.as_bytes()).map_err(|_| unfit())?;
                let value = HeaderValue::from_str(&listed(value)).map_err(|_| unfit())?;
                // What the platform says of a call, no argument says otherwise.
                headers.entry(name).or_insert(value);
            }
            Place::Body => body = Some(value),
        }
    }
    Ok((verb, url, headers, body))
}

/// A segment of a path with the arguments in it.
fn fill<'a>(segment: &str, value_of: impl Fn(&str) -> Option<&'a Value>) -> Result<String, String> {
    let (mut filled, mut rest) = (String::new(), segment);
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        filled.push_str(before);
        filled.push_str(&listed(value_of(name).ok_or_else(|| format!("the argument {name} is missing"))?));
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// A value in the simple style (OpenAPI 3.1.0, "Style Values"): lists and objects by commas.
fn listed(value: &Value) -> String {
    match value {
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| format!("{name},{}", text(field)));
            fields.collect::<Vec<_>>().join(",")
        }
        value => text(value),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use scaigrid_cores::plugins::Argument;
    use serde_json::json;

    use super::*;

    fn binding() -> Binding {
        let argument = |name: &str, place, wire_name: &str| Argument {
            name: name.into(),
            place,
            wire_name: wire_name.into(),
        };
        Binding {
            base: "https://a.example/api".into(),
            verb: "PUT".into(),
            path: "/orders/{id}/lines".into(),
            arguments: vec![
                argument("id", Place::Path, "id"),
                argument("tag", Place::Query, "tag"),
                argument("trace", Place::Header, "X-Trace"),
                argument("key", Place::Header, "Idempotency-Key"),
                argument("body", Place::Body, "body"),
            ],
        }
    }

    fn write(args: Value) -> Result<(String, HeaderMap, Option<Value>), String> {
        let Value::Object(args) = args else { panic!("an object") };
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", HeaderValue::from_static("ours"));
        let (verb, url, headers, body) = written(&binding(), &args, &headers)?;
        Ok((format!("{verb} {url}"), headers, body.cloned()))
    }

    #[test]
    fn arguments_go_where_the_document_says() {
        let args =
            json!({"id": "a/b c?d#", "tag": ["x&y", 2], "trace": [1, 2], "key": "theirs", "body": {"n": 1}});
        let (line, headers, body) = write(args).unwrap();
        assert_eq!(line, "PUT https://a.example/api/orders/a%2Fb%20c%3Fd%23/lines?tag=x%26y&tag=2");
        assert_eq!(
            (&headers["x-trace"], &headers["idempotency-key"]),
            (&HeaderValue::from_static("1,2"), &HeaderValue::from_static("ours"))
        );
        assert_eq!(body, Some(json!({"n": 1})));
        assert_eq!(
            write(json!({"id": 7, "tag": null})).unwrap().0,
            "PUT https://a.example/api/orders/7/lines"
        );
    }

    #[test]
    fn no_argument_leads_out_of_the_path() {
        for bad in [
            json!({}),
            json!({"id": ".."}),
            json!({"id": "."}),
            json!({"id": ""}),
            json!({"id": "a", "trace": "x\ny"}),
        ] {
            assert!(write(bad.clone()).is_err(), "{bad}");
        }
        assert!(write(json!({"id": "%2e%2e"})).unwrap().0.contains("%252e%252e"));
        assert!(write(json!({"id": "../x"})).unwrap().0.contains("/orders/..%2Fx/lines"));
    }
}
