//! What models are asked. It is read by hand, since they are sent it as it was written, with whatever else stands in it.

use utoipa::openapi::schema::{
    AdditionalProperties, AllOfBuilder, AnyOfBuilder, ArrayBuilder, OneOfBuilder, Type,
};
use utoipa::openapi::{ObjectBuilder, Schema};

use super::kinds;

fn of(kind: Type) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(kind)
}

/// An object that may hold what it does not name.
fn open() -> ObjectBuilder {
    ObjectBuilder::new().additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)))
}

/// A text, or the parts of one.
fn content() -> OneOfBuilder {
    OneOfBuilder::new().item(of(Type::String)).item(ArrayBuilder::new().items(open()))
}

/// A message says something, or calls something.
fn message() -> AllOfBuilder {
    let roles = ["system", "developer", "user", "assistant", "tool", "function"];
    let base = open()
        .property("role", of(Type::String).enum_values(Some(roles)))
        .property("content", content().item(of(Type::Null)))
        .required("role");
    let calls = ArrayBuilder::new().items(open());
    let holds_something = AnyOfBuilder::new()
        .item(open().property("content", content()).required("content"))
        .item(open().property("tool_calls", calls).required("tool_calls"))
        .item(open().property("function_call", open()).required("function_call"));
    AllOfBuilder::new().item(base).item(holds_something)
}

fn response_format() -> OneOfBuilder {
    let plain = of(Type::String).enum_values(Some(["text", "json_object"]));
    let schema = open().property("schema", open()).required("schema");
    let structured = open()
        .property("type", of(Type::String).enum_values(Some(["json_schema"])))
        .property("json_schema", schema)
        .required("type")
        .required("json_schema");
    OneOfBuilder::new().item(open().property("type", plain).required("type")).item(structured)
}

/// A text of so many characters, or so many of them.
fn texts(least: usize, most: usize) -> OneOfBuilder {
    let text = || of(Type::String).min_length(Some(least));
    let list = ArrayBuilder::new().items(text()).min_items(Some(1)).max_items(Some(most));
    OneOfBuilder::new().item(text()).item(list)
}

kinds! { every_question:
    /// A message of a conversation, as OpenAI's chat completions have it.
    QuestionMessage = message();
    /// A text, or up to four, at which an answer ends.
    StopTexts = texts(0, 4);
    /// A tool that a model may call.
    QuestionTool = open().property("type", of(Type::String)).required("type");
    /// Whether and which tools a model calls.
    ToolChoice = OneOfBuilder::new().item(of(Type::String)).item(open());
    /// How an answer must look.
    ResponseFormat = response_format();
    /// A text, or up to 2048, none of them empty.
    EmbeddingInput = texts(1, 2048);
}
