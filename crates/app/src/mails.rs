//! The mails about checkpoints, on their way: taken up by one node at a time, put together, sent, and tried again when they were not
//! taken. A node that dies in the middle sends one twice at worst, under the same `Message-ID`.

use std::time::Duration;

use scaigrid_checkpoints::{CheckpointError, CheckpointStatus, HistoryEvent};
use scaigrid_outbound::mail::{Mail, MailError, Mailer};
use scaigrid_persistence::checkpoints::{self, StoredCheckpoint};
use scaigrid_persistence::mails::{self, Outcome, Pending};
use scaigrid_persistence::tenants;
use scaigrid_scope::{Principal, TenantScope, TenantStatus};
use tokio::sync::watch;

use crate::{App, Error};

/// How often it is looked whether there is something to send.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Mails that are taken up at once.
const AT_ONCE: i64 = 16;
/// How long a node has for a mail before another one takes it up.
const CLAIM: Duration = Duration::from_mins(1);
/// When a mail is tried again after so many attempts.
const AGAIN: [u64; 8] = [5, 30, 120, 600, 1_800, 7_200, 21_600, 43_200];
/// How long a mail waits whose reader has not been able to do anything for all that time.
const LONGEST_WAIT: Duration = Duration::from_hours(12);
/// The most characters of a prompt in a mail, and in its subject.
const PROMPT: usize = 4_000;
const SUBJECT: usize = 80;

impl App {
    /// Sends mails about checkpoints until told to stop: then no answer of a server is waited for any more.
    pub async fn deliver_mails(&self, mailer: Mailer, stop: impl Future<Output = ()>) {
        let (tell, stopped) = watch::channel(false);
        tokio::pin!(stop);
        loop {
            // What was begun with the database is brought to its end.
            let mut sending = std::pin::pin!(self.send_some(&mailer, &stopped));
            let sent = tokio::select! {
                sent = &mut sending => sent,
                () = &mut stop => {
                    tell.send_replace(true);
                    drop(sending.await);
                    return;
                }
            };
            let pause = match sent {
                Ok(0) => LOOK_EVERY,
                Ok(_) => Duration::ZERO,
                Err(error) => {
                    tracing::warn!(%error, "mails cannot be sent just now");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Sends what is due; how many were tried.
    async fn send_some(&self, mailer: &Mailer, stopped: &watch::Receiver<bool>) -> Result<usize, Error> {
        let mut connection = self.0.database.read().await?;
        let due = mails::due(&mut connection, &self.0.system, self.now(), AT_ONCE).await?;
        drop(connection);
        let sending = due
            .iter()
            .map(|(tenant, mail)| self.send_one(mailer, stopped, self.0.system.tenant(*tenant), mail));
        let done = futures_util::future::join_all(sending).await;
        done.into_iter().try_fold(0, |count, tried| Ok(count + usize::from(tried?)))
    }

    async fn send_one(
        &self,
        mailer: &Mailer,
        stopped: &watch::Receiver<bool>,
        scope: TenantScope,
        mail: &Pending,
    ) -> Result<bool, Error> {
        let mut tx = self.0.database.begin().await?;
        let taken = mails::claim(&mut tx, scope, mail, self.now().plus(CLAIM)).await?;
        tx.commit().await?;
        if !taken {
            return Ok(false);
        }
        let outcome = match self.letter_about(scope, mail).await? {
            Letter::Never => Outcome::Failed { reason: "nobody is asked any more".to_owned() },
            Letter::Later(reason) => {
                // For as long as the checkpoint waits: nothing was tried yet that could be hopeless.
                let wait = again(mail).unwrap_or(LONGEST_WAIT);
                Outcome::Again { at: self.now().plus(wait), reason: reason.to_owned() }
            }
            Letter::Now(letter) => match send(mailer, &letter, stopped.clone()).await {
                Ok(()) => Outcome::Sent,
                Err(error) => match again(mail).filter(|_| !error.for_good) {
                    Some(wait) => Outcome::Again { at: self.now().plus(wait), reason: error.reason },
                    None => Outcome::Failed { reason: error.reason },
                },
            },
        };
        if let Outcome::Again { reason, .. } | Outcome::Failed { reason } = &outcome {
            tracing::info!(mail = %mail.id, reason, "a mail was not sent");
        }
        let mut tx = self.0.database.begin().await?;
        if outcome == Outcome::Sent {
            self.note_sent(&mut tx, scope, mail).await?;
        }
        mails::settle(&mut tx, scope, mail.id, &outcome).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Notes in a checkpoint's history that whoever it asks was told. Of many who are told at once one is enough.
    async fn note_sent(
        &self,
        tx: &mut scaigrid_persistence::Transaction,
        scope: TenantScope,
        mail: &Pending,
    ) -> Result<(), Error> {
        let Some(mut stored) = checkpoints::lock(tx, scope, mail.checkpoint).await? else { return Ok(()) };
        let event = HistoryEvent::notification_sent(&stored.checkpoint.routing, self.now());
        let last = stored.between.last();
        if last.is_some_and(|last| last.kind == event.kind)
            || stored.checkpoint.status() != CheckpointStatus::Pending
        {
            return Ok(());
        }
        stored.between.push(event);
        checkpoints::save_moved(tx, scope, &stored).await?;
        Ok(())
    }

    /// What a mail says, if it is to say anything now.
    async fn letter_about(&self, scope: TenantScope, mail: &Pending) -> Result<Letter, Error> {
        let mut connection = self.0.database.read().await?;
        let stored = checkpoints::lookup(&mut connection, scope, mail.checkpoint).await?;
        let home = tenants::reference(&mut connection, &self.0.system, scope.tenant_id()).await?;
        drop(connection);
        let waits = |stored: &StoredCheckpoint| stored.checkpoint.status() == CheckpointStatus::Pending;
        let Some(stored) = stored.filter(waits) else { return Ok(Letter::Never) };
        if home.is_some_and(|home| home.status == TenantStatus::Suspended) {
            return Ok(Letter::Later("the tenant is suspended"));
        }
        let Some(reader) = self.person_of(scope, mail.user).await? else { return Ok(Letter::Never) };
        let checkpoint = &stored.checkpoint;
        match checkpoint.may_act(&reader, self.now()) {
            Ok(()) => {}
            // They may let go of it, and then the others are asked again.
            Err(CheckpointError::Claimed { .. }) => {
                return Ok(Letter::Later("somebody has claimed the checkpoint"));
            }
            Err(_) => return Ok(Letter::Never),
        }
        let link = if checkpoint.rules.links && self.0.remote.public_url.is_some() {
            self.link_in_mail(scope, mail).await?
        } else {
            None
        };
        Ok(Letter::Now(written(&stored, &reader, mail, link.as_deref())))
    }
}

/// What is to be done about a mail.
enum Letter {
    /// It is sent.
    Now(Mail),
    /// Its reader can do nothing at the moment, for this reason.
    Later(&'static str),
    /// Its reader is not asked any more.
    Never,
}

/// Sends a mail, unless the node is told to stop: then it is not known whether it was taken, and another node sends it.
async fn send(mailer: &Mailer, letter: &Mail, mut stopped: watch::Receiver<bool>) -> Result<(), MailError> {
    tokio::select! {
        sent = mailer.send(letter) => sent,
        () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => {
            Err(MailError { reason: "the node was stopped".to_owned(), for_good: false })
        }
    }
}

/// How long a mail waits before it is tried again; none where it was tried often enough.
fn again(mail: &Pending) -> Option<Duration> {
    let wait = usize::try_from(mail.attempts).ok().and_then(|tried| AGAIN.get(tried));
    wait.map(|seconds| Duration::from_secs(*seconds))
}

fn written(stored: &StoredCheckpoint, reader: &Principal, mail: &Pending, link: Option<&str>) -> Mail {
    let checkpoint = &stored.checkpoint;
    let cut = |text: &str, most: usize| {
        let mut cut: String = text.chars().take(most).collect();
        if cut.len() < text.len() {
            cut.push('…');
        }
        cut
    };
    let first: String =
        checkpoint.prompt.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    let beginning = if mail.reason == "reminded" { "Reminder: " } else { "" };
    let subject = format!("{beginning}{}", cut(&first, SUBJECT));
    let mut lines = vec![cut(&checkpoint.prompt, PROMPT), String::new()];
    if !checkpoint.options.is_empty() {
        lines.push(format!("To decide: {}", checkpoint.options.join(", ")));
    }
    if let Some(expiry) = &checkpoint.expiry {
        lines.push(format!("Until: {}", expiry.at));
    }
    lines.push(format!("Checkpoint: {}", checkpoint.id));
    if let Some(link) = link {
        let warning = "The link is yours alone and works once. Whoever has it decides in your name.";
        lines.extend(["", "Decide here, without logging in:", link, "", warning].map(str::to_owned));
    }
    let text = lines.join("\n") + "\n";
    Mail { id: mail.id.to_string(), to: reader.email().to_string(), subject, text }
}
