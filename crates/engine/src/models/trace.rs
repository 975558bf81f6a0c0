//! Calls of models in traces, by OpenTelemetry's conventions for generative AI. What was said stands there only where the
//! operator wants it.

use scaigrid_catalog::usage::{CallStatus, Usage};
use scaigrid_catalog::{Modality, Model};
use scaigrid_telemetry::{Kind, Span, Tracing, current};
use serde_json::Value;

use super::call::ModelCall;

/// The span of a call that begins.
pub(super) fn begin(tracing: &Tracing, call: &ModelCall, model: &Model) -> Span {
    let embeds = model.modality == Modality::Embedding;
    let operation = if embeds { "embeddings" } else { "chat" };
    let mut span = tracing.span(Kind::Client, current(), || format!("{operation} {}", model.slug).into());
    let Some(live) = span.live() else { return span };
    live.set("gen_ai.operation.name", operation).text("gen_ai.request.model", model.slug.as_str());
    let number = |name: &str| call.params.get(name).and_then(Value::as_f64);
    if let Some(temperature) = number("temperature") {
        live.set("gen_ai.request.temperature", temperature);
    }
    if let Some(most) = call.max_output_tokens.and_then(|most| i64::try_from(most).ok()) {
        live.set("gen_ai.request.max_tokens", most);
    }
    if let Some(execution) = call.asking.execution_id {
        live.set("scaigrid.execution.id", execution.to_string());
    }
    // Texts of which vectors are made are no messages.
    if live.takes_content() && !embeds {
        live.text("gen_ai.input.messages", Value::Array(call.messages.clone()).to_string());
    }
    span
}

/// What the conventions call a type of backends.
pub(super) fn provider(of: &'static str) -> &'static str {
    match of {
        "openai" => "openai",
        "echo" => "scaigrid.echo",
        "scaicore" => "scaigrid.core",
        other => other,
    }
}

/// Notes what the answer is made of.
pub(super) fn answered(span: &mut Span, choices: &[Value]) {
    let Some(live) = span.live() else { return };
    let reasons: Vec<&str> =
        choices.iter().filter_map(|choice| choice["finish_reason"].as_str()).take(8).collect();
    live.text("gen_ai.response.finish_reasons", reasons.join(","));
    if live.takes_content() {
        let said: Vec<Value> = choices.iter().map(|choice| choice["message"].clone()).collect();
        live.text("gen_ai.output.messages", Value::Array(said).to_string());
    }
}

/// Ends the span of a call with what it used.
pub(super) fn end(span: &mut Span, usage: &Usage) {
    let mut ended = std::mem::take(span);
    let Some(live) = ended.live() else { return };
    let tokens = |tokens: u64| i64::try_from(tokens).unwrap_or(i64::MAX);
    live.text("gen_ai.response.model", usage.model.as_str())
        .set("gen_ai.usage.input_tokens", tokens(usage.input_tokens))
        .set("gen_ai.usage.output_tokens", tokens(usage.output_tokens))
        .text("scaigrid.cost", usage.cost.to_string());
    match usage.status {
        CallStatus::Completed => {}
        CallStatus::Failed => drop(live.fail("failed")),
        CallStatus::Cancelled => drop(live.fail("cancelled")),
        CallStatus::Unknown => drop(live.fail("unknown")),
    }
}
