//! The processing of notes: how a tenant has it done, and the doing.
use scaigrid_http_macros::{get, post, put};

use crate::openapi::{ServiceConfig, kinds};
use actix_web::web;
use scaigrid_app::App;
use scaigrid_app::workspace::notes::{
    AskedNote, Language, Note, NoteChanges, NoteProcessing, ProcessedNote, Template,
};
use scaigrid_scope::perm;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use validator::Validate;

use crate::auth::Allowed;
use crate::body::Body;
use crate::conditional::IfMatch;
use crate::envelope::{DataOf, Reply};
use crate::error::Error;
use crate::hang_up::HangUp;
use crate::request::Origin;
use crate::routes::given::{Problems, given, nullable};

/// What is to be changed of how notes are processed; what is left out stays.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"enabled": true, "model": "echo", "suggest_tags": false, "language": "nl"}))]
#[expect(clippy::option_option, reason = "left out, null and a value are three things")]
struct NoteProcessingUpdate {
    /// Whether they are at all.
    enabled: Option<bool>,
    /// The slug of the model that is asked, which is enabled in the tenant; `null` for the tenant's default model.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::ModelSlug>)]
    model: Option<Option<String>>,
    /// Whether a category and a title are asked for.
    organise: Option<bool>,
    /// Whether a summary is.
    summarise: Option<bool>,
    /// Whether what is to be done is.
    extract_todos: Option<bool>,
    /// Whether tags are.
    suggest_tags: Option<bool>,
    /// The language of the answers, as BCP 47 names it; `null` for that of the note.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::Language>)]
    language: Option<Option<String>>,
    /// How a note is put to the model, with `{{note}}` and, where they are wanted, `{{title}}` and `{{language}}`; at most 16 KiB;
    /// `null` for the platform's own way.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<kinds::NoteTemplate>)]
    prompt_template: Option<Option<String>>,
}

/// How the tenant's notes are processed.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is switched by itself")]
struct NoteProcessingSettings {
    enabled: bool,
    #[schema(required = true, example = "echo")]
    model: Option<String>,
    organise: bool,
    summarise: bool,
    extract_todos: bool,
    suggest_tags: bool,
    #[schema(required = true)]
    language: Option<String>,
    #[schema(required = true)]
    prompt_template: Option<String>,
}

/// A note that is to be processed.
#[derive(Debug, Deserialize, Validate, ToSchema)]
#[schema(example = json!({"text": "Call the plumber on Monday; the tap in the kitchen drips."}))]
struct NewNote {
    /// What it says: at most 64 KiB.
    #[schema(value_type = kinds::NoteText)]
    text: String,
    /// What it is called.
    #[validate(length(max = 200, message = "must have at most 200 characters"))]
    #[schema(max_length = 200)]
    title: Option<String>,
    /// The language that the answer is wanted in, instead of the tenant's.
    #[schema(value_type = Option<kinds::Language>)]
    language: Option<String>,
}

/// What was used.
#[derive(Debug, Serialize, ToSchema)]
struct NoteUsage {
    input_tokens: u64,
    output_tokens: u64,
    /// In the currency of the catalogue's prices.
    #[schema(example = "0.007275")]
    cost: String,
}

/// What was said of a note; of what is switched off, nothing.
#[derive(Debug, Serialize, ToSchema)]
struct NoteResult {
    #[schema(required = true)]
    title: Option<String>,
    #[schema(required = true)]
    category: Option<String>,
    #[schema(required = true)]
    summary: Option<String>,
    todos: Vec<String>,
    tags: Vec<String>,
    /// The slug of the model that has said it.
    model: String,
    usage: NoteUsage,
}

impl NoteProcessingUpdate {
    fn read(self) -> Result<NoteChanges, Error> {
        let mut problems = Problems::default();
        let p = &mut problems;
        let changes = NoteChanges {
            enabled: self.enabled,
            model: nullable(p, "model", self.model.as_ref()),
            organise: self.organise,
            summarise: self.summarise,
            extract_todos: self.extract_todos,
            suggest_tags: self.suggest_tags,
            language: nullable::<Language>(p, "language", self.language.as_ref()),
            template: nullable::<Template>(p, "prompt_template", self.prompt_template.as_ref()),
        };
        problems.check()?;
        Ok(changes)
    }
}

impl NewNote {
    fn read(self) -> Result<AskedNote, Error> {
        let mut problems = Problems::default();
        if self.text.trim().is_empty() || self.text.len() > Note::MAX_BYTES {
            let rule = format!("must be a text of at most {} bytes, and not empty", Note::MAX_BYTES);
            problems.note("text", rule);
        }
        let language = problems.maybe("language", self.language.as_deref());
        problems.check()?;
        Ok(AskedNote { text: self.text, title: self.title, language })
    }
}

impl From<NoteProcessing> for NoteProcessingSettings {
    fn from(settings: NoteProcessing) -> Self {
        Self {
            enabled: settings.enabled,
            model: settings.model.map(|model| model.to_string()),
            organise: settings.organise,
            summarise: settings.summarise,
            extract_todos: settings.extract_todos,
            suggest_tags: settings.suggest_tags,
            language: settings.language.map(|language| language.to_string()),
            prompt_template: settings.template.map(|template| template.as_str().to_owned()),
        }
    }
}

impl From<ProcessedNote> for NoteResult {
    fn from(processed: ProcessedNote) -> Self {
        let ProcessedNote { answer, model, used } = processed;
        Self {
            title: answer.title,
            category: answer.category,
            summary: answer.summary,
            todos: answer.todos,
            tags: answer.tags,
            model: model.to_string(),
            usage: NoteUsage {
                input_tokens: used.input_tokens,
                output_tokens: used.output_tokens,
                cost: used.cost.normalize().to_string(),
            },
        }
    }
}

fn shown((settings, revision): (NoteProcessing, u64)) -> Reply<NoteProcessingSettings> {
    Reply::ok(NoteProcessingSettings::from(settings)).with_etag(revision)
}

/// Get how the tenant's notes are processed.
#[utoipa::path(
    tag = "workspace",
    operation_id = "get_note_processing",
    responses((status = 200, body = DataOf<NoteProcessingSettings>))
)]
#[get("/v1/admin/note-processing")]
async fn get_note_processing(
    caller: Allowed<perm::AdminAccess>,
    app: web::Data<App>,
) -> Result<Reply<NoteProcessingSettings>, Error> {
    Ok(shown(app.note_processing(&caller).await?))
}

/// Change how the tenant's notes are processed. To be switched on it needs something to ask for, and a model that is enabled in
/// the tenant, be it the tenant's default.
#[utoipa::path(
    tag = "workspace",
    operation_id = "update_note_processing",
    request_body = NoteProcessingUpdate,
    responses((status = 200, body = DataOf<NoteProcessingSettings>))
)]
#[put("/v1/admin/note-processing")]
async fn update_note_processing(
    caller: Allowed<perm::AdminAccess>,
    condition: IfMatch,
    origin: Origin,
    body: Body<NoteProcessingUpdate>,
    app: web::Data<App>,
) -> Result<Reply<NoteProcessingSettings>, Error> {
    let changes = body.read().await?.read()?;
    let (request, expected) = (origin.context(), condition.revisions());
    Ok(shown(app.update_note_processing(&caller, &request, expected, changes).await?))
}

/// Have a note processed as the tenant has set it. Nothing is kept of it but the usage.
#[utoipa::path(
    tag = "workspace",
    operation_id = "process_note",
    request_body = NewNote,
    responses((status = 200, body = DataOf<NoteResult>))
)]
#[post("/v1/notes/process")]
async fn process_note(
    caller: Allowed<perm::ModelsUse>,
    body: Body<NewNote>,
    client: HangUp,
    app: web::Data<App>,
) -> Result<Reply<NoteResult>, Error> {
    let note = body.read().await?.read()?;
    Ok(Reply::ok(client.or(app.process_note(&caller, note)).await?.into()))
}

pub(super) fn routes(config: &mut ServiceConfig<'_>) {
    config.service(get_note_processing).service(update_note_processing).service(process_note);
}
