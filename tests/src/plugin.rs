//! A plugin on this machine: an HTTP server that counts what it is asked, remembers idempotency keys, and misbehaves as it
//! is bidden. It speaks plain HTTP at `/plugin/{method}`, has an OpenAPI document at `/openapi.json` for the same, and is
//! an MCP server at `/mcp`.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

/// What it was asked.
#[derive(Debug, Clone)]
pub struct PluginCall {
    /// The method or tool.
    pub method: String,
    /// The arguments.
    pub args: Value,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The target of the request.
    pub target: String,
    /// `_meta` of a call of a tool.
    pub meta: Value,
}

impl PluginCall {
    /// The idempotency key that came with it, wherever that was.
    pub fn key(&self) -> String {
        let own = self.meta["scaigrid/idempotency-key"].as_str();
        own.map_or_else(|| self.headers.get("idempotency-key").cloned().unwrap_or_default(), str::to_owned)
    }
}

/// How a call is answered.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// With this value, and as if it had been carried out.
    Value(Value),
    /// With this status, header lines and body; nothing is carried out.
    Status(u16, String, String),
    /// Carried out, and answered with nothing until the caller goes away.
    Hang,
    /// Carried out, and the connection is closed without an answer.
    Cut,
    /// Carried out, and the connection is closed in the middle of the answer.
    Half,
    /// Carried out, and answered with what is no HTTP.
    Garbage,
    /// Carried out, and answered so late.
    Late(Duration),
}

#[derive(Debug)]
struct State {
    calls: Vec<PluginCall>,
    script: VecDeque<Behaviour>,
    /// What was carried out, by the key of the call.
    done: BTreeMap<String, Value>,
    /// How often something was carried out.
    carried_out: usize,
    /// Connections that the caller has closed while it waited.
    hung_up: usize,
    /// Requests of the MCP, by their method.
    spoken: BTreeMap<String, usize>,
    tools: Value,
    document: Value,
    /// Whether answers of the MCP come as events.
    events: bool,
}

/// A running plugin. It lives as long as the process.
#[derive(Debug, Clone)]
pub struct Plugin {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

fn object(properties: &Value, required: &Value) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

impl Plugin {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            calls: Vec::new(),
            script: VecDeque::new(),
            done: BTreeMap::new(),
            carried_out: 0,
            hung_up: 0,
            spoken: BTreeMap::new(),
            tools: Self::tools(),
            document: Self::document(),
            events: false,
        }));
        let kept = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    let _ = serve(stream, &kept);
                });
            }
        });
        Self { address, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Where it is, as an allow-list names it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint of its plain HTTP.
    pub fn http(&self) -> String {
        format!("http://{}/plugin", self.address)
    }

    /// Its OpenAPI document.
    pub fn openapi(&self) -> String {
        format!("http://{}/openapi.json", self.address)
    }

    /// The endpoint of its MCP.
    pub fn mcp(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// What it offers, for a registration of kind `http`: `echo` (idempotent), `keep` (keyed), `pay` (queryable, by
    /// `status`), `shout` (unsafe), `add` (typed: `{a, b}` → `{sum}`).
    pub fn manifest() -> Value {
        let anything = json!({"type": "object"});
        let method = |name: &str, effect: &str, schema: &Value| json!({"name": name, "description": format!("Does {name}"), "effect": effect, "input_schema": schema});
        let number = json!({"type": "integer"});
        let mut pay = method("pay", "queryable", &anything);
        pay["query_method"] = "status".into();
        let sum = object(&json!({"a": number, "b": number}), &json!(["a", "b"]));
        let mut add = method("add", "idempotent", &sum);
        add["output_schema"] = object(&json!({"sum": number}), &json!(["sum"]));
        json!({"version": "1.0.0", "methods": [
            method("echo", "idempotent", &anything),
            method("keep", "keyed", &anything),
            pay,
            method("status", "idempotent", &object(&json!({"idempotency_key": {"type": "string"}}), &json!([]))),
            method("shout", "unsafe", &anything),
            add,
        ]})
    }

    fn tools() -> Value {
        let manifest = Self::manifest();
        let tool = |method: &Value| {
            let effect = method["effect"].as_str().unwrap();
            let mut tool = json!({"name": method["name"], "description": method["description"],
                "inputSchema": method["input_schema"], "annotations": {"readOnlyHint": effect == "idempotent"}});
            if !matches!(effect, "idempotent" | "unsafe") {
                tool["_meta"] = json!({"scaigrid/effect": effect});
            }
            if let Some(query) = method.get("query_method") {
                tool["_meta"]["scaigrid/query-method"] = query.clone();
            }
            if let Some(schema) = method.get("output_schema") {
                tool["outputSchema"] = schema.clone();
            }
            tool
        };
        manifest["methods"].as_array().unwrap().iter().map(tool).collect()
    }

    fn document() -> Value {
        let body =
            |schema: &Value| json!({"required": true, "content": {"application/json": {"schema": schema}}});
        let anything = json!({"type": "object"});
        let sum = object(&json!({"sum": {"type": "integer"}}), &json!(["sum"]));
        json!({"openapi": "3.1.0", "info": {"title": "Stub", "version": "3"}, "servers": [{"url": "/plugin"}], "paths": {
            "/echo": {"put": {"operationId": "echo", "requestBody": body(&anything), "responses": {"200": {}}}},
            "/shout": {"post": {"operationId": "shout", "requestBody": body(&anything), "responses": {"200": {}}}},
            "/items/{id}": {"get": {"operationId": "getItem", "parameters": [
                {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}},
                {"name": "depth", "in": "query", "schema": {"type": "integer"}},
            ], "responses": {"200": {"content": {"application/json": {"schema": {"type": "object"}}}}}}},
            "/add": {"post": {"operationId": "add", "x-scaigrid-effect": "keyed", "requestBody": body(&anything),
                "responses": {"200": {"content": {"application/json": {"schema": sum}}}}}},
        }})
    }

    /// Has the next calls answered so, one after the other; then as usual: `add` adds, the others give back
    /// `{method, args}`.
    pub fn then(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.state().script.extend(behaviours);
    }

    /// Whether no call is left that is to be answered otherwise than as usual.
    pub fn obeyed(&self) -> bool {
        self.state().script.is_empty()
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<PluginCall> {
        self.state().calls.clone()
    }

    /// How often something was carried out: a key that came before is answered, and nothing is done.
    pub fn carried_out(&self) -> usize {
        self.state().carried_out
    }

    /// How often a caller went away while it was waiting.
    pub fn hung_up(&self) -> usize {
        self.state().hung_up
    }

    /// How often a method of the MCP was spoken, e.g. `tools/list`.
    pub fn spoken(&self, method: &str) -> usize {
        self.state().spoken.get(method).copied().unwrap_or_default()
    }

    /// Has the MCP answer by events.
    pub fn answer_by_events(&self) {
        self.state().events = true;
    }

    /// Changes what it offers as an MCP server, tool by tool; what the function leaves null is gone.
    pub fn change_tools(&self, change: impl Fn(&mut Value)) {
        let mut state = self.state();
        let tools = state.tools.as_array_mut().unwrap();
        tools.iter_mut().for_each(change);
        tools.retain(|tool| !tool.is_null());
    }

    /// Changes its OpenAPI document.
    pub fn change_document(&self, change: impl Fn(&mut Value)) {
        change(&mut self.state().document);
    }
}

struct Asked {
    verb: String,
    target: String,
    headers: BTreeMap<String, String>,
    body: Value,
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let Some(asked) = receive(&mut stream)? else { return Ok(()) };
    let path = asked.target.split('?').next().unwrap_or_default().to_owned();
    if path == "/openapi.json" {
        let document = state.lock().unwrap().document.to_string();
        return answer(&mut stream, 200, "Content-Type: application/json\r\n", &document);
    }
    if path == "/mcp" {
        return speak(stream, state, &asked);
    }
    let Some(method) = path.strip_prefix("/plugin/") else { return answer(&mut stream, 404, "", "{}") };
    let (method, args) = match method.strip_prefix("items/") {
        Some(id) => ("getItem".to_owned(), json!({"id": id})),
        None => (method.to_owned(), asked.body.clone()),
    };
    let call = PluginCall { method, args, headers: asked.headers, target: asked.target, meta: Value::Null };
    match carry_out(state, call) {
        Ok(value) => answer(&mut stream, 200, "Content-Type: application/json\r\n", &value.to_string()),
        Err(trouble) => misbehave(stream, state, trouble),
    }
}

/// The trouble that was asked for, and the value that there would be.
type Trouble = (Behaviour, Value);

fn carry_out(state: &Mutex<State>, call: PluginCall) -> Result<Value, Trouble> {
    let mut state = state.lock().unwrap();
    let behaviour = state.script.pop_front();
    let key = call.key();
    let usual = match call.method.as_str() {
        "add" => {
            let number = |name: &str| call.args[name].as_i64().unwrap_or_default();
            json!({"sum": number("a") + number("b")})
        }
        "status" => {
            let asked = call.args["idempotency_key"].as_str().unwrap_or_default();
            match state.done.get(asked) {
                Some(result) => json!({"status": "done", "result": result}),
                None => json!({"status": "unknown"}),
            }
        }
        method => json!({"method": method, "args": call.args}),
    };
    let asks = call.method == "status";
    state.calls.push(call);
    if let Some(Behaviour::Status(..)) = behaviour {
        return Err((behaviour.unwrap(), usual));
    }
    let value = match &behaviour {
        Some(Behaviour::Value(value)) => value.clone(),
        _ => usual,
    };
    let value = match state.done.get(&key) {
        Some(before) if !key.is_empty() => before.clone(),
        _ if asks => value,
        _ => {
            state.carried_out += 1;
            state.done.insert(key, value.clone());
            value
        }
    };
    match behaviour {
        None | Some(Behaviour::Value(_)) => Ok(value),
        Some(trouble) => Err((trouble, value)),
    }
}

fn misbehave(mut stream: TcpStream, state: &Mutex<State>, (trouble, value): Trouble) -> io::Result<()> {
    let text = value.to_string();
    match trouble {
        Behaviour::Status(status, headers, body) => answer(&mut stream, status, &headers, &body),
        Behaviour::Hang => {
            // Until whoever asked has gone.
            let mut rest = [0; 64];
            while stream.read(&mut rest).is_ok_and(|count| count > 0) {}
            state.lock().unwrap().hung_up += 1;
            Ok(())
        }
        Behaviour::Cut | Behaviour::Value(_) => Ok(()),
        Behaviour::Half => {
            let length = text.len() + 10;
            write!(
                stream,
                "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{text}"
            )
        }
        Behaviour::Garbage => write!(stream, "what?\r\n\r\n"),
        Behaviour::Late(time) => {
            std::thread::sleep(time);
            answer(&mut stream, 200, "Content-Type: application/json\r\n", &text)
        }
    }
}

/// The Model Context Protocol, as far as it is needed: without sessions, one message per request.
fn speak(mut stream: TcpStream, state: &Mutex<State>, asked: &Asked) -> io::Result<()> {
    if asked.verb != "POST" {
        return answer(&mut stream, 405, "", "");
    }
    let method = asked.body["method"].as_str().unwrap_or_default().to_owned();
    let (tools, events) = {
        let mut state = state.lock().unwrap();
        *state.spoken.entry(method.clone()).or_default() += 1;
        (state.tools.clone(), state.events)
    };
    let id = asked.body["id"].clone();
    let params = &asked.body["params"];
    let mut result = |result: &Value| {
        let message = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
        if events {
            let text = format!(": hello\n\nevent: message\ndata: {message}\n\n");
            answer(&mut stream, 200, "Content-Type: text/event-stream\r\n", &text)
        } else {
            answer(&mut stream, 200, "Content-Type: application/json\r\n", &message)
        }
    };
    match method.as_str() {
        "initialize" => result(&json!({
            "protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
            "serverInfo": {"name": "stub", "version": "2.0"},
        })),
        "tools/list" => {
            // Two pages, so that both are asked for.
            let all = tools.as_array().unwrap();
            let (first, second) = all.split_at(all.len().min(2));
            let page = match params["cursor"].as_str() {
                None => json!({"tools": first, "nextCursor": "more"}),
                Some(_) => json!({"tools": second}),
            };
            result(&page)
        }
        "tools/call" => {
            let name = params["name"].as_str().unwrap_or_default().to_owned();
            let call = PluginCall {
                method: name,
                args: params["arguments"].clone(),
                headers: asked.headers.clone(),
                target: asked.target.clone(),
                meta: params["_meta"].clone(),
            };
            match carry_out(state, call) {
                Ok(value) => {
                    let text = json!({"type": "text", "text": value.to_string()});
                    result(&json!({"content": [text], "structuredContent": value}))
                }
                Err((Behaviour::Late(time), value)) => {
                    std::thread::sleep(time);
                    result(&json!({"content": [], "structuredContent": value}))
                }
                Err((Behaviour::Half, _)) if events => {
                    let head =
                        "HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nContent-Length: 999\r\n\r\n";
                    write!(stream, "{head}event: message\ndata: {{\"jsonrpc\"")
                }
                Err(trouble) => misbehave(stream, state, trouble),
            }
        }
        method if method.starts_with("notifications/") => answer(&mut stream, 202, "", ""),
        _ => {
            let error =
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "no such method"}});
            answer(&mut stream, 200, "Content-Type: application/json\r\n", &error.to_string())
        }
    }
}

fn answer(stream: &mut TcpStream, status: u16, headers: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} X\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

fn receive(stream: &mut TcpStream) -> io::Result<Option<Asked>> {
    let mut read = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(None);
        }
        read.extend_from_slice(&buffer[..count]);
        let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let mut lines = head.lines();
        let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
        let (verb, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
        let named = lines.filter_map(|line| line.split_once(':'));
        let headers: BTreeMap<String, String> =
            named.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let length: usize =
            headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or_default();
        let body = &read[end + 4..];
        if body.len() >= length {
            let body = serde_json::from_slice(body).unwrap_or_default();
            return Ok(Some(Asked { verb, target, headers, body }));
        }
    }
}
