//! A server that speaks as OpenAI's chat completions do: it answers as it is bidden, and keeps what it is asked.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How it answers.
#[derive(Debug, Clone)]
pub enum Told {
    /// With this text, whole or in a piece per word, as it is asked; ten tokens read and a token per word written, of which
    /// there are as many as are wanted.
    Text(String),
    /// With these words, after each of which is paused so long.
    Slowly(String, Duration),
    /// With this text, all at once, after a pause.
    Late(String, Duration),
    /// With this text, and without a word about tokens.
    Uncounted(String),
    /// With so many words of a streamed text, then the connection is closed.
    Cut(String, usize),
    /// With so many words of a streamed text, then nothing until whoever has asked goes away.
    Stall(String, usize),
    /// With nothing, until whoever has asked goes away.
    Silence,
    /// With what it was asked: the last message, as a text.
    Back,
    /// With nothing: the connection is closed at once.
    Gone,
    /// With a status, further header lines, and a message.
    Status(u16, String, String),
    /// With this body, whatever it is.
    Raw(String),
}

/// What it was asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// When.
    pub at: Instant,
    /// The path.
    pub path: String,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Value,
}

#[derive(Debug, Default)]
struct State {
    asked: Mutex<Vec<Question>>,
    script: Mutex<VecDeque<Told>>,
    always: Mutex<Option<Told>>,
    /// What texts with these words in them mean; see [`ModelServer::means`].
    meanings: Mutex<Vec<(String, Vec<f64>)>>,
    /// Questions that were read whole and whose connection is open.
    open: AtomicUsize,
    /// Connections that whoever had asked has closed while it waited.
    hung_up: AtomicUsize,
}

/// A running model server.
#[derive(Debug, Clone)]
pub struct ModelServer {
    address: SocketAddr,
    state: Arc<State>,
}

impl ModelServer {
    /// A server that answers `well` until told otherwise.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let kept = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    // An error is a peer that went away.
                    let _ = serve(stream, &kept);
                });
            }
        });
        Self { address, state }
    }

    /// Where it is, as an allow-list names it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL of its API.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Has the next questions answered so, one after the other.
    pub fn then(&self, answers: impl IntoIterator<Item = Told>) {
        self.state.script.lock().unwrap().extend(answers);
    }

    /// Whether no question is left that is to be answered otherwise than always.
    pub fn obeyed(&self) -> bool {
        self.state.script.lock().unwrap().is_empty()
    }

    /// Has all questions answered so that no other answer was bidden for.
    pub fn always(&self, answer: Told) {
        *self.state.always.lock().unwrap() = Some(answer);
    }

    /// Has texts that have these words in them mean this, where nothing else was bidden for. The first that fits counts; other
    /// texts have a direction that nothing else has.
    pub fn means(&self, words: &str, vector: &[f64]) {
        self.state.meanings.lock().unwrap().push((words.to_owned(), vector.to_vec()));
    }

    /// The texts whose vectors it was asked for so far.
    pub fn embedded(&self) -> Vec<String> {
        let asked = self.asked();
        let inputs = asked.iter().filter_map(|question| question.body["input"].as_array());
        inputs.flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Question> {
        self.state.asked.lock().unwrap().clone()
    }

    /// How many that have asked have their connection open still; one that has only connected has not asked.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// How often somebody went away who was waiting for an answer, or for more of it.
    pub fn hung_up(&self) -> usize {
        self.state.hung_up.load(Ordering::SeqCst)
    }
}

/// Counts one more for as long as it lives.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn count(open: &'a AtomicUsize) -> Self {
        open.fetch_add(1, Ordering::SeqCst);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn serve(stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let Some(question) = read(&mut reader)? else { return Ok(()) };
    let streamed = question.body["stream"] == true;
    let texts = question.body["input"].as_array().cloned();
    let bound =
        question.body["max_tokens"].as_u64().map_or(usize::MAX, |bound| usize::try_from(bound).unwrap());
    let messages = question.body["messages"].as_array();
    let last = messages.and_then(|all| all.last()?["content"].as_str()).unwrap_or_default().to_owned();
    state.asked.lock().unwrap().push(question);
    let bidden = state.script.lock().unwrap().pop_front();
    let _open = Open::count(&state.open);
    if let (Some(texts), None) = (texts, &bidden) {
        let meanings = state.meanings.lock().unwrap().clone();
        return whole(&mut writer, &vectors(&texts, &meanings).to_string());
    }
    let told = bidden.or_else(|| state.always.lock().unwrap().clone());
    let told = match told.unwrap_or_else(|| Told::Text("well".to_owned())) {
        Told::Text(text) => Told::Text(first_words(&text, bound)),
        Told::Slowly(text, pause) => Told::Slowly(first_words(&text, bound), pause),
        other => other,
    };
    match told {
        Told::Text(text) if streamed => stream_words(&mut writer, &text, usize::MAX, Duration::ZERO, true),
        Told::Slowly(text, pause) if streamed => stream_words(&mut writer, &text, usize::MAX, pause, true),
        Told::Uncounted(text) if streamed => {
            stream_words(&mut writer, &text, usize::MAX, Duration::ZERO, false)
        }
        Told::Cut(text, words) => stream_words(&mut writer, &text, words, Duration::ZERO, true),
        Told::Stall(text, words) => {
            stream_words(&mut writer, &text, words, Duration::ZERO, true)?;
            wait(&mut reader, state)
        }
        Told::Silence => wait(&mut reader, state),
        Told::Gone => Ok(()),
        Told::Back if streamed => stream_words(&mut writer, &last, usize::MAX, Duration::ZERO, true),
        Told::Back => whole(&mut writer, &completion(&last, true).to_string()),
        Told::Late(text, pause) => {
            std::thread::sleep(pause);
            if streamed {
                return stream_words(&mut writer, &text, usize::MAX, Duration::ZERO, true);
            }
            whole(&mut writer, &completion(&text, true).to_string())
        }
        Told::Text(text) | Told::Slowly(text, _) => whole(&mut writer, &completion(&text, true).to_string()),
        Told::Uncounted(text) => whole(&mut writer, &completion(&text, false).to_string()),
        Told::Raw(body) => whole(&mut writer, &body),
        Told::Status(status, headers, message) => {
            let body = json!({"error": {"message": message, "type": "x", "code": null}}).to_string();
            write!(
                writer,
                "HTTP/1.1 {status} X\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            )
        }
    }
}

fn wait(reader: &mut BufReader<TcpStream>, state: &State) -> io::Result<()> {
    let gone = reader.read(&mut [0; 1]).map(drop);
    state.hung_up.fetch_add(1, Ordering::SeqCst);
    gone
}

fn whole(writer: &mut TcpStream, body: &str) -> io::Result<()> {
    write!(
        writer,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn vectors(texts: &[Value], meanings: &[(String, Vec<f64>)]) -> Value {
    let length = meanings.first().map_or(3, |(_, vector)| vector.len());
    let meaning = |text: &str| {
        let known = meanings.iter().find(|(words, _)| text.contains(words.as_str()));
        known.map_or_else(|| [vec![0.0; length - 1], vec![1.0]].concat(), |(_, vector)| vector.clone())
    };
    let data: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": meaning(text.as_str().unwrap())}))
        .collect();
    json!({"object": "list", "data": data, "usage": {"prompt_tokens": 3 * texts.len(), "total_tokens": 3 * texts.len()}})
}

fn words(text: &str) -> Vec<&str> {
    text.split_inclusive(' ').collect()
}

fn first_words(text: &str, most: usize) -> String {
    words(text).into_iter().take(most).collect()
}

fn usage(text: &str) -> Value {
    let words = words(text).len();
    json!({"prompt_tokens": 10, "completion_tokens": words, "total_tokens": words + 10})
}

fn completion(text: &str, counted: bool) -> Value {
    let message = json!({"role": "assistant", "content": text});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    let mut completion = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "upstream",
        "choices": [choice]});
    if counted {
        completion["usage"] = usage(text);
    }
    completion
}

fn stream_words(
    writer: &mut TcpStream,
    text: &str,
    most: usize,
    pause: Duration,
    counted: bool,
) -> io::Result<()> {
    write!(writer, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")?;
    let chunk = |delta: Value, reason: Option<&str>| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": reason});
        json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "upstream", "choices": [choice]})
    };
    let words = words(text);
    let cut = most < words.len();
    for word in words.iter().take(most) {
        let chunk = chunk(json!({"content": word}), None);
        write!(writer, "data: {chunk}\n\n")?;
        writer.flush()?;
        std::thread::sleep(pause);
    }
    if cut {
        return Ok(());
    }
    let mut rest = format!("data: {}\n\n", chunk(json!({}), Some("stop")));
    if counted {
        let mut last = chunk(json!({}), None);
        last["choices"] = json!([]);
        last["usage"] = usage(text);
        let _ = write!(rest, "data: {last}\n\n");
    }
    rest.push_str("data: [DONE]\n\n");
    writer.write_all(rest.as_bytes())
}

fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Question>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.trim().to_owned())),
            None => break,
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Some(Question { at: Instant::now(), path, headers, body }))
}
