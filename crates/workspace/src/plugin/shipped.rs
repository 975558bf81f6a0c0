//! What is told of the plugins that ship.

use serde_json::{Map, Value, json};

use super::{PluginManifest, PluginScope, PluginTool};

/// The version of what ships with this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn text(what: &str) -> Value {
    json!({"type": "string", "description": what})
}

fn number(what: &str, most: u32) -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": most, "description": what})
}

fn object(what: &str) -> Value {
    json!({"type": "object", "description": what})
}

/// A tool with its parameters; a name that ends with `?` may be left out.
fn tool<const N: usize>(name: &str, description: &str, parameters: [(&str, Value); N]) -> PluginTool {
    let required: Vec<&str> =
        parameters.iter().map(|(name, _)| *name).filter(|name| !name.ends_with('?')).collect();
    let required = Value::from(required);
    let properties: Map<String, Value> = parameters
        .into_iter()
        .map(|(name, schema)| (name.trim_end_matches('?').to_owned(), schema))
        .collect();
    let parameters = json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    });
    PluginTool { name: name.to_owned(), description: description.to_owned(), parameters }
}

/// A plugin that runs where a tenant has registered it, and touches the whole tenant's data.
fn plugin<const N: usize>(
    name: (&str, &str),
    description: &str,
    permissions: &[&str],
    tools: [PluginTool; N],
) -> PluginManifest {
    PluginManifest {
        id: format!("scaiwave.{}", name.0),
        name: name.1.to_owned(),
        version: VERSION.to_owned(),
        description: description.to_owned(),
        tools: tools.into(),
        permissions: permissions.iter().map(|permission| (*permission).to_owned()).collect(),
        injects_context: false,
        scope: None,
        default_enabled: false,
        built_in: false,
    }
}

fn private(plugin: PluginManifest) -> PluginManifest {
    PluginManifest { scope: Some(PluginScope::Private), ..plugin }
}

fn built_in(plugin: PluginManifest) -> PluginManifest {
    PluginManifest { built_in: true, ..plugin }
}

/// The plugins that ship, by id.
pub(super) fn manifests() -> Vec<PluginManifest> {
    let mut all = documents();
    all.extend(own());
    all.extend(services());
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all
}

/// Those that run inside the platform.
fn own() -> [PluginManifest; 3] {
    let calculator = plugin(
        ("calculator", "Calculator"),
        "Computes instead of guessing: numbers, comparisons, texts and lists.",
        &[],
        [tool(
            "calculate",
            "Compute an expression exactly, e.g. (17.5 + 3) * 12 or [3, 1, 2].sum(). There are + - * / %, comparisons, \
             texts, lists and objects.",
            [("expression", text("The expression."))],
        )],
    );
    let memory = plugin(
        ("memory", "Memory"),
        "Remembers what a person has told, for later conversations with them.",
        &["memory:read", "memory:write"],
        [
            tool(
                "remember",
                "Keep one fact about the person who asks for later conversations.",
                [("fact", text("The fact, in a sentence that stands by itself."))],
            ),
            tool(
                "recall",
                "Look up what is remembered of the person who asks, the newest first.",
                [("query?", text("Words that the facts must have in them; left out, all facts."))],
            ),
            tool(
                "forget",
                "Forget one fact about the person who asks.",
                [("fact_id", text("The id of the fact, as recall tells it."))],
            ),
        ],
    );
    let web = plugin(
        ("web", "Web pages"),
        "Reads one page of the web, or another text behind a URL.",
        &["network"],
        [tool("fetch", "Read the text behind a URL.", [("url", text("The URL, with https."))])],
    );
    [
        PluginManifest { default_enabled: true, ..built_in(calculator) },
        PluginManifest { injects_context: true, ..private(built_in(memory)) },
        built_in(web),
    ]
}

/// Those that work on what people have written and filed.
fn documents() -> Vec<PluginManifest> {
    let artifacts = plugin(
        ("artifacts", "Artifacts"),
        "Documents that are written together with an AI and stay beside the conversation.",
        &["artifacts:read", "artifacts:write"],
        [
            tool(
                "create_artifact",
                "Begin a document beside the conversation.",
                [
                    ("title", text("What it is called.")),
                    ("kind", text("What it is: markdown, code, table or diagram.")),
                    ("content", text("All of its text.")),
                ],
            ),
            tool(
                "update_artifact",
                "Replace the text of a document.",
                [("artifact_id", text("Which document.")), ("content", text("All of its new text."))],
            ),
        ],
    );
    let drive = plugin(
        ("drive", "Drive"),
        "Finds and reads files of the tenant's ScaiDrive.",
        &["drive:read"],
        [
            tool(
                "search_drive",
                "Find files by words.",
                [("query", text("What to find.")), ("limit?", number("How many at most.", 50))],
            ),
            tool("read_drive_file", "Read the text of a file.", [("file_id", text("Which file."))]),
        ],
    );
    let files = plugin(
        ("files", "Attachments"),
        "Reads files that were attached in the room.",
        &["files:read"],
        [
            tool("list_attachments", "List what is attached in the room.", []),
            tool("read_attachment", "Read the text of an attachment.", [("file_id", text("Which one."))]),
        ],
    );
    let knowledge = plugin(
        ("knowledge", "Knowledge"),
        "Looks things up in what the tenant has collected for its AIs.",
        &["knowledge:read"],
        [tool(
            "search_knowledge",
            "Find passages that answer a question.",
            [("query", text("The question.")), ("limit?", number("How many passages at most.", 20))],
        )],
    );
    let notes = plugin(
        ("notes", "Notes"),
        "Finds, reads and writes notes of the person who asks.",
        &["notes:read", "notes:write"],
        [
            tool("search_notes", "Find notes by words.", [("query", text("What to find."))]),
            tool("read_note", "Read a note.", [("note_id", text("Which note."))]),
            tool(
                "write_note",
                "Write a new note.",
                [("title", text("What it is called.")), ("content", text("All of its text, as Markdown."))],
            ),
        ],
    );
    let todos = plugin(
        ("todos", "To-dos"),
        "Keeps the list of what the person who asks has to do.",
        &["todos:read", "todos:write"],
        [
            tool("list_todos", "List what is to be done.", []),
            tool(
                "add_todo",
                "Put something on the list.",
                [("text", text("What is to be done.")), ("due?", text("By when, as a date: 2030-12-31."))],
            ),
            tool("complete_todo", "Tick something off.", [("todo_id", text("Which one."))]),
        ],
    );
    vec![artifacts, drive, files, knowledge, private(notes), private(todos)]
}

/// Those that reach other services.
fn services() -> [PluginManifest; 5] {
    let calendar = plugin(
        ("calendar", "Calendar"),
        "Reads the calendar of the person who asks, and makes appointments in it.",
        &["calendar:read", "calendar:write"],
        [
            tool(
                "list_events",
                "List appointments between two instants.",
                [("from", text("The beginning, RFC 3339.")), ("until", text("The end, RFC 3339."))],
            ),
            tool(
                "create_event",
                "Make an appointment.",
                [
                    ("title", text("What it is about.")),
                    ("starts_at", text("When it begins, RFC 3339.")),
                    ("ends_at", text("When it ends, RFC 3339.")),
                ],
            ),
        ],
    );
    let scailink = plugin(
        ("scailink", "ScaiLink"),
        "Calls what other services of the platform offer.",
        &["services:call"],
        [
            tool("list_capabilities", "List what can be called.", []),
            tool(
                "call_capability",
                "Call something that a service offers.",
                [("capability", text("What to call.")), ("arguments?", object("What it is given."))],
            ),
        ],
    );
    let skills = plugin(
        ("skills", "Skills"),
        "Carries out skills that the tenant has installed from ScaiSkills.",
        &["skills:run"],
        [
            tool("list_skills", "List the skills that there are.", []),
            tool(
                "run_skill",
                "Carry out a skill.",
                [("skill", text("Which skill.")), ("input?", object("What it is given."))],
            ),
        ],
    );
    let web_search = plugin(
        ("web_search", "Web search"),
        "Searches the web as it is just now.",
        &["network"],
        [tool(
            "search_web",
            "Search the web.",
            [("query", text("What to search for.")), ("limit?", number("How many results at most.", 20))],
        )],
    );
    let workspace_bridge = plugin(
        ("workspace_bridge", "Workspace bridge"),
        "Carries questions and results between the workspaces of the tenant.",
        &["workspaces:read", "workspaces:write"],
        [
            tool("list_workspaces", "List workspaces that can be reached from here.", []),
            tool(
                "search_workspace",
                "Find what was said or filed in another workspace.",
                [("workspace_id", text("Which workspace.")), ("query", text("What to find."))],
            ),
        ],
    );
    [private(calendar), scailink, skills, web_search, workspace_bridge]
}
