//! Texts that people and programs choose, under rules.
//!
//! Where a rule cannot be written as a pattern (a size in bytes, what an address or URL is) the schema admits more than is
//! taken, never less.

use std::collections::BTreeSet;

use scaigrid_catalog as catalog;
use scaigrid_cores::plugins;
use scaigrid_scope as scope;
use scaigrid_webhooks as webhooks;
use scaigrid_workspace as workspace;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, KnownFormat, OneOfBuilder, SchemaFormat, Type};
use utoipa::openapi::{ObjectBuilder, Ref};

use super::kinds;

/// White space, as it is taken off the ends of texts: `White_Space` of Unicode.
const WHITE: &str = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000";
/// Control characters that no text of one line holds.
const CONTROL: &str = r"\x00-\x1f\x7f-\x9f";
/// The same but for the end of a line.
const CONTROL_IN_LINES: &str = r"\x00-\x09\x0b-\x1f\x7f-\x9f";
/// A DNS label in lower case.
const LABEL: &str = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";

fn text(pattern: impl Into<String>, most: usize) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(most))
        .pattern(Some(pattern))
}

/// A text whose ends are trimmed, in which something is left.
fn trimmed(control: &str, most: usize) -> ObjectBuilder {
    let seen = format!("[^{WHITE}{control}]");
    text(format!("^[{WHITE}]*{seen}([^{control}]*{seen})?[{WHITE}]*$"), most)
}

/// A text without white space around it.
fn bare(most: usize) -> ObjectBuilder {
    let seen = format!("[^{WHITE}{CONTROL}]");
    text(format!("^{seen}([^{CONTROL}]*{seen})?$"), most)
}

/// A text of at most so many bytes, without U+0000. A character takes a byte at least.
fn bounded(bytes: usize) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).max_length(Some(bytes)).pattern(Some(r"^[^\x00]*$"))
}

/// The same, not blank.
fn said(bytes: usize) -> ObjectBuilder {
    bounded(bytes).min_length(Some(1)).pattern(Some(format!(r"^[^\x00]*[^\x00{WHITE}][^\x00]*$")))
}

/// A text of at most so many bytes in which something is seen.
fn seen(bytes: usize) -> ObjectBuilder {
    text(format!("[^{WHITE}]"), bytes)
}

fn of_format(name: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::Custom(name.to_owned())))
}

fn url(most: usize) -> ObjectBuilder {
    text("^https?://[^#]+$", most).format(Some(SchemaFormat::Custom("uri".to_owned())))
}

/// Base64 in its one spelling: no bits are left over in the last character.
fn signing_secret() -> ObjectBuilder {
    let four = "[A-Za-z0-9+/]{4}";
    let one_more = format!("({four}){{8,21}}([A-Za-z0-9+/][AQgw]==)?");
    let two_more = format!("({four}){{8,20}}[A-Za-z0-9+/]{{2}}[AEIMQUYcgkosw048]=");
    let pattern = format!("^(whsec_({one_more}|{two_more})|(?!whsec_)[!-~]{{16,}})$");
    text(pattern, webhooks::Secret::MAX_CHARS).min_length(Some(webhooks::Secret::MIN_CHARS))
}

/// Somebody to ask: by the id or e-mail address of a user, by the id or slug of a group, or by a built-in role.
fn assignee() -> ObjectBuilder {
    let id = |prefix: &str| format!("{prefix}[0-7][0-9A-HJKMNP-TV-Z]{{25}}");
    let roles: Vec<&str> = scope::Role::ALL.iter().map(|role| role.as_str()).collect();
    let user = format!(r"user:[{WHITE}]*({}|[^\s@]+@[^\s@]+)", id(scope::UserId::PREFIX));
    let group = format!("group:[{WHITE}]*({}|{LABEL})", id(scope::GroupId::PREFIX));
    let role = format!("role:[{WHITE}]*({})", roles.join("|"));
    text(format!("^[{WHITE}]*({user}|{group}|{role})[{WHITE}]*$"), 512)
}

/// One of these permissions, or one of a module that only its manifest knows.
fn permission(known: &[scope::Permission]) -> ObjectBuilder {
    let known: Vec<&str> = known.iter().map(|permission| permission.as_str()).collect();
    let all = scope::Permission::ALL.iter().map(|permission| permission.as_str());
    let areas: BTreeSet<&str> = all.filter_map(|key| key.split(':').next()).collect();
    let areas: Vec<&str> = areas.into_iter().collect();
    let others = format!("(?!({}):)[a-z][a-z0-9_-]*(:[a-z0-9_.-]+){{1,2}}", areas.join("|"));
    text(format!("^({}|{others})$", known.join("|")), 128)
}

kinds! { every_text:
    /// What people call a thing: 1 to 200 characters without control characters, trimmed.
    Name = trimmed(CONTROL, scope::Name::MAX_CHARS);
    /// A sentence or a few: 1 to 1000 characters, in lines but without other control characters, trimmed.
    Description = trimmed(CONTROL_IN_LINES, scope::Description::MAX_CHARS);
    /// A name for addresses: 1 to 63 of `a-z`, `0-9` and inner hyphens.
    Slug = text(format!("^{LABEL}$"), scope::Slug::MAX_CHARS);
    /// An e-mail address.
    EmailAddress = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Email)))
        .max_length(Some(scope::Email::MAX_CHARS));
    /// A permission: `area:verb` of the platform, or one of a module.
    Permission = permission(scope::Permission::ALL);
    /// A permission of a module.
    PermissionOfModule = permission(scope::Permission::SCAICORE);
    /// The slug of a model, such as `openai/gpt-4o`.
    ModelSlug = text("^[A-Za-z0-9][A-Za-z0-9._:@+-]*(/[A-Za-z0-9][A-Za-z0-9._:@+-]*)*$", catalog::ModelSlug::MAX);
    /// What a model is called at its backend: 1 to 200 characters, none of them white space.
    UpstreamName = text(format!("^[^{WHITE}{CONTROL}]+$"), 200);
    /// A secret to sign with: `whsec_` and the base64 of 24 to 64 bytes, or 16 to 256 visible ASCII characters without that
    /// beginning.
    SigningSecret = signing_secret();
    /// An absolute URL with a host and without a fragment; which targets may be called is the operator's to say.
    TargetUrl = url(webhooks::WebhookUrl::MAX_CHARS);
    /// The name of a plugin: 1 to 100 of `A-Z a-z 0-9 . _ - / @`, beginning with a letter or a digit.
    PluginName = text("^[A-Za-z0-9][A-Za-z0-9._/@-]*$", plugins::PluginName::MAX_CHARS);
    /// The name by which a participant is mentioned: 1 to 64 of `a-z`, `0-9`, and inner `.`, `_` and `-`.
    LocalId = text("^[a-z0-9]([a-z0-9._-]*[a-z0-9])?$", workspace::LocalId::MAX_CHARS);
    /// A participant: their id, or their local id, with or without `@`.
    ParticipantRef = text("^(par_[0-7][0-9A-HJKMNP-TV-Z]{25}|@?[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?)$", 65);
    /// What an AI is told before all else: at most 32 KiB, without U+0000.
    Prompt = bounded(workspace::Prompt::MAX_BYTES);
    /// What is said: at most 64 KiB, not blank, without U+0000.
    MessageText = said(workspace::MessageText::MAX_BYTES);
    /// A note: at most 64 KiB, not blank.
    NoteText = seen(workspace::note::Note::MAX_BYTES);
    /// A language as BCP 47 names it: `nl`, `de-AT`, `zh-Hant`.
    Language = text("^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", workspace::note::Language::MAX_CHARS);
    /// How a note is put to a model: at most 16 KiB, with `{{note}}`, and with `{{title}}` and `{{language}}` where they are wanted.
    NoteTemplate = bounded(workspace::note::Template::MAX_BYTES).pattern(Some(r"^[^\x00]*\{\{\s*note\s*\}\}[^\x00]*$"));
    /// A price: a decimal number from 0 to 1000000 with at most 9 decimal places, as a text or as a number.
    Price = OneOfBuilder::new()
        .item(text(r"^([0-9]{1,6}(\.[0-9]{1,9})?|1000000(\.0{1,9})?)$", 17))
        .item(ObjectBuilder::new().schema_type(Type::Number).minimum(Some(0)).maximum(Some(1_000_000)));
    /// Who is asked: `user:<id or e-mail>`, `group:<id or slug>` or `role:<role>`.
    Assignee = assignee();
    /// Ids of checkpoints, each once.
    CheckpointIds = ArrayBuilder::new()
        .items(Ref::from_schema_name("CheckpointId"))
        .unique_items(true)
        .min_items(Some(1))
        .max_items(Some(100));
    /// What a helper is asked on trial: at most 16 KiB, not blank.
    HelperQuestion = seen(workspace::helper::MAX_QUERY);
    /// An API key, or how the stored one is shown, which keeps it.
    StoredKey = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^(sgk_[A-Za-z0-9]{32,128}|sgk_….{0,4})$"));
    /// The name of a field: 1 to 128 characters without control characters, and no white space around it.
    FieldName = bare(128);
    /// Values by name, which is 1 to 128 of `A-Z a-z 0-9 _ . -` and begins with no digit: plain ones, or `{"type": "secret",
    /// "value": "…"}`.
    EnvironmentValues = ObjectBuilder::new().property_names(Some(
        text("^[A-Za-z_.-][A-Za-z0-9_.-]*$", 128).build(),
    ));
    /// Bytes in base64, with padding.
    Base64 = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$"));
    /// What tells a request from others: 1 to 255 visible ASCII characters.
    IdempotencyKey = text("^[!-~]+$", 255);
    /// The `next_cursor` of the page before.
    Cursor = text("^[A-Za-z0-9_-]+$", 2048);
    /// An address of the Internet Protocol, version 4 or 6.
    IpAddress = AnyOfBuilder::new().item(of_format("ipv4")).item(of_format("ipv6"));
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use scaigrid_checkpoints::{Assignee, AssigneeKind};
    use serde_json::{Value, json};
    use utoipa::PartialSchema;

    use super::*;

    /// Whether what reads the texts and what the document says of them agree on some texts.
    fn agree<K: PartialSchema, T: FromStr>(texts: &[&str]) {
        let schema = jsonschema::validator_for(&serde_json::to_value(K::schema()).unwrap()).unwrap();
        for text in texts {
            assert_eq!(schema.is_valid(&json!(text)), text.parse::<T>().is_ok(), "{text:?}");
        }
    }

    fn is_valid<K: PartialSchema>(value: &Value) -> bool {
        jsonschema::validator_for(&serde_json::to_value(K::schema()).unwrap()).unwrap().is_valid(value)
    }

    #[test]
    fn names_are_what_the_document_says() {
        let odd =
            ["", " ", "a", " a b ", "a\n", "\na", "a\nb", "\u{1f}a", "a\u{85}", "\u{7f}", "é", "\u{3000}x"];
        agree::<Name, scope::Name>(&odd);
        agree::<Name, scope::Name>(&[&"é".repeat(200), &"é".repeat(201)]);
        agree::<Description, scope::Description>(&odd);
        agree::<Slug, scope::Slug>(&[
            "",
            "a",
            "-a",
            "a-",
            "a-b",
            "A",
            "a_b",
            &"a".repeat(63),
            &"a".repeat(64),
        ]);
        agree::<LocalId, workspace::LocalId>(&[
            "",
            "a",
            "a.b",
            ".a",
            "a.",
            "A",
            "@a",
            &"a".repeat(64),
            &"a".repeat(65),
        ]);
        let participant = "par_01JZ8QZ5T0000000000000000A";
        agree::<ParticipantRef, workspace::ParticipantRef>(&[
            "",
            "a",
            "@a",
            "@@a",
            participant,
            "PAR_1",
            "a\n",
        ]);
        agree::<Language, workspace::note::Language>(&[
            "nl",
            "de-AT",
            "d",
            "",
            "de-",
            "de-abcdefghi",
            "12",
            "zh-Hant-TW",
        ]);
    }

    #[test]
    fn names_of_the_catalogue_are_what_the_document_says() {
        agree::<ModelSlug, catalog::ModelSlug>(&[
            "echo", "a/b", "", "/", "a//b", "-a", "a b", "ä", "a:b@c+d", "a/-b",
        ]);
        agree::<UpstreamName, catalog::UpstreamName>(&[
            "gpt-4o",
            "",
            "a b",
            "é",
            "a\u{a0}",
            "\0",
            &"a".repeat(201),
        ]);
        agree::<PluginName, plugins::PluginName>(&[
            "a",
            "acme/crm@2",
            ".a",
            "",
            "a b",
            "ä",
            &"a".repeat(101),
        ]);
        let price = |text: &str| (is_valid::<Price>(&json!(text)), text.parse::<catalog::Price>().is_ok());
        for text in ["0", "2.50", "1000000", "1000000.000", "0.000000001"] {
            assert_eq!(price(text), (true, true), "{text}");
        }
        for text in ["", "-1", "1000000.1", "0.0000000001", "x"] {
            assert_eq!(price(text), (false, false), "{text}");
        }
        assert!(
            is_valid::<Price>(&json!(2.5))
                && !is_valid::<Price>(&json!(-1))
                && !is_valid::<Price>(&json!(null))
        );
    }

    #[test]
    fn permissions_are_what_the_document_says() {
        let other = [
            "scaibot:bots:read",
            "scaibot:a.b",
            "weather:x",
            "a",
            "a:",
            ":a",
            "A:b",
            "a:b:c:d",
            "1a:b",
            "a:b ",
        ];
        let own = [
            "models:list",
            "models:nothing",
            "scaicore:view",
            "scaicore:view:own",
            "admin:access",
            "admin:x",
        ];
        agree::<Permission, scope::PermissionKey>(&[&other[..], &own[..]].concat());
    }

    #[test]
    fn assignees_are_what_the_document_says() {
        let of = |text: &str| {
            Assignee::parse(Some(text), None).is_ok_and(|whom| whom.kind() != AssigneeKind::Unrouted)
        };
        for text in [
            "user:usr_01JZ8QZ5T0000000000000000A",
            " user: ada@acme.example ",
            "group:approvers",
            "role:tenant_admin",
            "role:king",
            "user:",
            "group:-",
            "nobody",
            "",
        ] {
            assert_eq!(is_valid::<super::Assignee>(&json!(text)), of(text), "{text:?}");
        }
    }

    #[test]
    fn secrets_are_what_the_document_says() {
        let drawn = webhooks::Secret::of_bytes(&[7; 32]);
        let of_length = |length: usize| format!("whsec_{}", in_base64(length));
        let secrets: Vec<String> = [23, 24, 25, 26, 27, 62, 63, 64, 65].map(of_length).into();
        for text in secrets.iter().map(String::as_str).chain([
            drawn.reveal(),
            "",
            "0123456789abcde",
            "0123456789abcdef",
            "with a space, thus none",
            "whsec_",
            "whsec_not base64 at all",
        ]) {
            let valid = is_valid::<SigningSecret>(&json!(text));
            assert_eq!(valid, webhooks::Secret::parse(text).is_ok(), "{text}");
        }
    }

    fn in_base64(length: usize) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(vec![0xff; length])
    }

    #[test]
    fn long_texts_are_what_the_document_says() {
        let texts = ["", " ", "\n", "\0", "a\0", " a ", "é"];
        agree::<Prompt, workspace::Prompt>(&texts);
        agree::<MessageText, workspace::MessageText>(&texts);
        agree::<NoteTemplate, workspace::note::Template>(&[
            "",
            "{{note}}",
            "{{ note }} x",
            "{{title}}",
            "{{note}}\0",
        ]);
    }
}
