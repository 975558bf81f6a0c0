//! The command line.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use super::Stop;
use super::admin::AdminTask;
use super::catalog::{self, SETTINGS};
use super::refusal::Refusal;
use super::secret::Secret;
use super::sources::Flags;

/// What the program shall do.
#[expect(clippy::large_enum_variant, reason = "there is one in the life of a process")]
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve the API (what happens without a command)
    Serve,
    /// Bring the database to this version's schema, and end
    Migrate,
    /// Print the OpenAPI document, and end
    Openapi,
    /// Administer the platform on its database, beside running servers or without one
    Admin {
        /// The API key whose owner acts.
        #[arg(
            long,
            global = true,
            value_name = "KEY",
            help = "API key to act with [env: SCAIGRID_ADMIN_KEY] [default: the one in $DATA_DIR/admin.key]"
        )]
        key: Option<Secret>,
        /// Print JSON for programs instead of text for people
        #[arg(long, global = true)]
        json: bool,
        /// What to do
        #[command(subcommand)]
        task: AdminTask,
    },
}

#[derive(Debug, Parser)]
#[command(
    name = "scaigrid-server",
    version,
    about = "Hosts agent programs durably, for many tenants, with human checkpoints",
    after_help = "A setting comes from its flag, else from its variable, else from scaigrid.toml in the working \
                  folder (or the file named by --config), else from its default.\n\nTraces are off unless \
                  OTEL_EXPORTER_OTLP_ENDPOINT is set (or OTEL_TRACES_EXPORTER=otlp); the variables of OpenTelemetry's \
                  specification say where they go, as http/protobuf, and which."
)]
struct Line {
    #[command(subcommand)]
    command: Option<Command>,
}

/// Reads the command line into the command and the flags that were given.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<(Command, Flags), Stop> {
    let matches = grammar().try_get_matches_from(arguments).map_err(|error| stop(&error))?;
    let line = Line::from_arg_matches(&matches).map_err(|error| stop(&error))?;
    let keys = SETTINGS.iter().map(|setting| setting.key).chain([catalog::CONFIG]);
    let flags = keys.filter_map(|key| Some((key, matches.get_one::<String>(key)?.clone()))).collect();
    Ok((line.command.unwrap_or(Command::Serve), flags))
}

fn grammar() -> clap::Command {
    let settings = SETTINGS.iter().map(|setting| {
        let (variable, default) = (setting.variable(), setting.default_text);
        flag(setting.key, setting.flag)
            .help(format!("{} [env: {variable}] [default: {default}]", setting.meaning))
    });
    let variable = catalog::variable(catalog::CONFIG);
    let config = flag(catalog::CONFIG, catalog::CONFIG).help(format!(
        "File of settings [env: {variable}] [default: scaigrid.toml in the working folder, if it is there]"
    ));
    Line::command().args(settings).arg(config)
}

fn flag(key: &'static str, long: &'static str) -> Arg {
    Arg::new(key).long(long).value_name("VALUE").global(true).help_heading("Settings")
}

/// Help is no refusal; a refusal is one line.
fn stop(error: &clap::Error) -> Stop {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Stop::Help(text),
        _ => {
            // What stands before the first empty line is the error; the rest explains the grammar.
            let lines = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim);
            let line = lines.collect::<Vec<_>>().join(" ");
            let rule = line.strip_prefix("error: ").unwrap_or(&line);
            let near = near(error).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            Refusal::new("command line", format!("{rule}{near} (see --help)")).into()
        }
    }
}

/// What is nearest to a word that is not known, if something is near.
fn near(error: &clap::Error) -> Option<&str> {
    let suggested =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    match suggested.into_iter().find_map(|kind| error.get(kind))? {
        ContextValue::String(one) => Some(one.as_str()),
        // The nearest comes last.
        ContextValue::Strings(all) => all.last().map(String::as_str),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        grammar().debug_assert();
    }
}
