//! Running other programs so that none of them outlives its purpose.
//!
//! Every program that is run here gets a process group of its own. A signal to xtask (Ctrl-C, a CI system that
//! gives up) is passed on to that group, so that what cargo has started stops as well. The signal handlers only
//! set a flag; all work is done by the waiting loop.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(15);
/// How often a waiting loop looks.
const TICK: Duration = Duration::from_millis(40);

/// What asks xtask to stop.
pub(crate) struct Signals {
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// Takes over the signals that would end xtask without letting it tidy up.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).context("a signal's number is positive")?;
            signal_hook::flag::register_usize(signal, Arc::clone(&received), number)
                .context("cannot install the signal handlers")?;
        }
        Ok(Self { received })
    }

    /// Whether xtask was asked to stop.
    pub(crate) fn interrupted(&self) -> bool {
        self.received.load(Ordering::Relaxed) != 0
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// By itself.
    Exited(ExitStatus),
    /// Because xtask was asked to stop.
    Interrupted,
}

impl Outcome {
    /// Whether the program ended by itself and well.
    pub(crate) fn success(self) -> bool {
        matches!(self, Self::Exited(status) if status.success())
    }
}

/// Runs a program without input to its end, in a process group of its own.
pub(crate) fn run(command: &mut Command, signals: &Signals) -> anyhow::Result<Outcome> {
    let child = command.stdin(Stdio::null()).process_group(0).spawn();
    let mut child = child.with_context(|| format!("cannot run {}", program(command)))?;
    wait(&mut child, signals, Reach::Group)
}

/// Runs a program that the developer talks to: it keeps the terminal, which brings it Ctrl-C itself.
pub(crate) fn run_interactively(command: &mut Command, signals: &Signals) -> anyhow::Result<Outcome> {
    let mut child = command.spawn().with_context(|| format!("cannot run {}", program(command)))?;
    wait(&mut child, signals, Reach::Program)
}

/// The text that a program prints, when it ends well.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", program(command)))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        anyhow::bail!("{} failed ({}): {}", program(command), output.status, complaint.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed no text", program(command)))
}

/// Asks a child to end with `signal`, and kills it if it does not.
pub(crate) fn stop(child: &mut Child, signal: Signal) -> io::Result<()> {
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    // A failure means that the child has just ended; the waiting below sees that.
    let _ = rustix::process::kill_process(Pid::from_child(child), signal);
    let deadline = Instant::now() + GRACE;
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            break;
        }
        thread::sleep(TICK);
    }
    Ok(())
}

/// The file of a program that is looked for in `PATH` and in the folders where administrators' programs are.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Whether this process may do everything.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Who hears the signals that xtask passes on.
#[derive(Clone, Copy)]
enum Reach {
    Program,
    Group,
}

fn wait(child: &mut Child, signals: &Signals, reach: Reach) -> anyhow::Result<Outcome> {
    let pid = Pid::from_child(child);
    let send = |signal| match reach {
        Reach::Program => rustix::process::kill_process(pid, signal),
        Reach::Group => rustix::process::kill_process_group(pid, signal),
    };
    let mut killed_at = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if signals.interrupted() { Outcome::Interrupted } else { Outcome::Exited(status) });
        }
        if signals.interrupted() {
            // A failure of `send` means that there is nobody left to hear it.
            match killed_at {
                None => {
                    let _ = send(Signal::TERM);
                    killed_at = Some(Instant::now());
                }
                Some(at) if at.elapsed() >= GRACE => {
                    let _ = send(Signal::KILL);
                }
                Some(_) => {}
            }
        }
        thread::sleep(TICK);
    }
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_ends_the_program_and_what_it_started() {
        let signals = Signals { received: Arc::new(AtomicUsize::new(2)) };
        let begun = Instant::now();
        let outcome = run(Command::new("sh").args(["-c", "sleep 600 & wait"]), &signals).unwrap();
        assert_eq!(outcome, Outcome::Interrupted);
        assert!(begun.elapsed() < Duration::from_mins(1));
    }

    #[test]
    fn a_program_that_fails_is_no_success() {
        let signals = Signals { received: Arc::default() };
        assert!(!run(&mut Command::new("false"), &signals).unwrap().success());
        assert!(run(&mut Command::new("true"), &signals).unwrap().success());
        assert!(output(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).is_err());
    }

    #[test]
    fn stopping_a_program_that_has_ended_is_no_error() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        stop(&mut child, Signal::TERM).unwrap();
    }
}
