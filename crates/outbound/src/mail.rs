//! Mail over SMTP (RFC 5321), to the one server that the operator names.
//!
//! It is the operator's, so the guard of the way out is not asked. What a mail says is plain text.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::{AsyncSmtpTransport, Error as SmtpError};
use lettre::{Address, AsyncTransport as _, Tokio1Executor};

/// How long a mail may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// What tells it from every other one, however often it is sent: the part of `Message-ID` before the `@`.
    pub id: String,
    /// Whom it is for.
    pub to: String,
    /// What it is about, on one line.
    pub subject: String,
    /// What it says.
    pub text: String,
}

/// Why a mail was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct MailError {
    /// What the server, or the way there, said. Names no password.
    pub reason: String,
    /// Whether trying again is of no use.
    pub for_good: bool,
}

/// A way to send mail. Cheap to clone.
#[derive(Clone)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl std::fmt::Debug for Mailer {
    /// Without the server, whose URL may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer").field("from", &self.from.to_string()).finish_non_exhaustive()
    }
}

impl Mailer {
    /// A way through a server: `smtp://HOST[:PORT]`, with `?tls=required` for STARTTLS, or `smtps://HOST`; a user and a password
    /// may stand before the host. Mails come from an address such as `scaigrid <grid@example.org>`.
    ///
    /// # Errors
    /// What is wrong with the URL or the address, without what the URL holds.
    pub fn new(url: &str, from: &str) -> Result<Self, String> {
        let from = from.parse::<Mailbox>().map_err(|error| format!("the sender is no address: {error}"))?;
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url);
        let builder =
            builder.map_err(|_| "expected smtp://HOST[:PORT][?tls=required] or smtps://HOST".to_owned())?;
        Ok(Self { transport: builder.timeout(Some(PATIENCE)).build(), from })
    }

    /// Sends a mail, once.
    ///
    /// # Errors
    /// The server did not take it, or it is not known whether it did.
    pub async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let wrong = |reason: String| MailError { reason, for_good: true };
        let to = mail.to.parse::<Address>().map_err(|error| wrong(format!("{}: {error}", mail.to)))?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject.replace(['\r', '\n'], " "))
            .message_id(Some(format!("<{}@{}>", mail.id, self.from.email.domain())))
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.clone())
            .map_err(|error| wrong(error.to_string()))?;
        let sent = tokio::time::timeout(PATIENCE, self.transport.send(message)).await;
        match sent {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                let for_good = error.status().is_some_and(|code| refuses_the_mail(code.into()));
                Err(MailError { reason: told(&error), for_good })
            }
            Err(_) => {
                Err(MailError { reason: "the server does not answer in time".to_owned(), for_good: false })
            }
        }
    }
}

/// Whether an answer is about this mail or its reader. Other refusals are about the way there, like a wrong password or a missing
/// STARTTLS: an operator mends them, and then the mail is taken.
const fn refuses_the_mail(code: u16) -> bool {
    matches!(code, 501 | 521 | 550..=556)
}

/// What went wrong, and why, on one line.
fn told(error: &SmtpError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_can_mend_is_not_for_good() {
        for code in [421, 450, 451, 452, 454, 500, 502, 503, 504, 530, 534, 535, 538] {
            assert!(!refuses_the_mail(code), "{code}");
        }
        for code in [501, 550, 551, 552, 553, 554, 555, 556] {
            assert!(refuses_the_mail(code), "{code}");
        }
    }

    #[test]
    fn urls_and_senders_are_read() {
        for url in ["smtp://localhost:2525", "smtps://u:p@mail.example", "smtp://mail.example?tls=required"] {
            assert!(Mailer::new(url, "Grid <grid@example.org>").is_ok(), "{url}");
        }
        let wrong = Mailer::new("http://u:secret@mail.example", "grid@example.org").unwrap_err();
        assert!(!wrong.contains("secret"), "{wrong}");
        assert!(Mailer::new("smtp://localhost", "nobody").is_err());
        let mailer = Mailer::new("smtp://u:secret@localhost", "grid@example.org").unwrap();
        assert!(!format!("{mailer:?}").contains("secret"));
    }
}
