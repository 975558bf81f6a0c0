//! The guide's commands, run as they are printed.
//!
//! Blocks between `<!-- test:begin -->` and `<!-- test:end -->` go to one shell, one after the other. The one behind
//! `<!-- test:restart -->` does, too, and must end the server, which is then started again. What `make run` does is done
//! by the test with the binary at hand.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use scaigrid_tests::{Db, on};

/// Ends the output of a block.
const MARK: &str = "-- the end of a block --";

#[derive(Debug)]
enum Step {
    Run(String),
    /// Ends the server.
    Restart(String),
}

/// The steps of the guide, and the shell blocks that are not among them.
fn steps(guide: &str) -> (Vec<Step>, Vec<String>) {
    let (mut steps, mut others) = (Vec::new(), Vec::new());
    let (mut tested, mut restarts) = (false, false);
    let mut block: Option<String> = None;
    for line in guide.lines() {
        match (line.trim(), &mut block) {
            ("```", Some(text)) => {
                if std::mem::take(&mut restarts) {
                    steps.push(Step::Restart(std::mem::take(text)));
                } else if tested {
                    steps.push(Step::Run(std::mem::take(text)));
                } else {
                    others.push(text.trim().to_owned());
                }
                block = None;
            }
            (_, Some(text)) => {
                text.push_str(line);
                text.push('\n');
            }
            ("```sh", None) => block = Some(String::new()),
            ("<!-- test:begin -->", None) => tested = true,
            ("<!-- test:end -->", None) => tested = false,
            ("<!-- test:restart -->", None) => restarts = true,
            _ => {}
        }
    }
    (steps, others)
}

#[test]
fn a_step_that_fails_stops_the_steps_that_need_it() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let guide = std::fs::read_to_string(home.join("README.md")).unwrap();
    let (steps, _) = steps(&guide);
    let commands = steps.iter().filter_map(|step| match step {
        Step::Run(commands) => Some(commands.as_str()),
        Step::Restart(_) => None,
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    std::fs::write(folder.path().join("data/admin.key"), "no key").unwrap();
    // Nobody listens there once the listener is gone. Without `-e`, as at a prompt: only what is printed stops.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = Command::new("sh")
        .args(["-u", "-c", &commands.collect::<String>()])
        .current_dir(folder.path())
        .env("SERVER", format!("http://{nobody}"))
        .output()
        .unwrap();
    let (said, complaint) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(!output.status.success());
    assert!(complaint.contains("CORE: parameter"), "{complaint}");
    assert_eq!(String::from_utf8_lossy(&said).trim(), "", "{complaint}");
}

#[test]
fn the_guides_commands_work_as_they_are_printed() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let guide = std::fs::read_to_string(home.join("README.md")).unwrap();
    let (steps, others) = steps(&guide);
    assert!(steps.len() >= 7, "{steps:#?}");
    assert_eq!(steps.iter().filter(|step| matches!(step, Step::Restart(_))).count(), 1);
    assert!(others.iter().all(|block| block == "make run"), "blocks that nobody tries: {others:#?}");

    on(Db::Sqlite, |place| {
        std::os::unix::fs::symlink(home.join("examples"), place.folder().join("examples")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let launch = || place.launch().set("SCAIGRID_BIND", &address).start();
        let mut server = launch();
        let mut shell = Command::new("sh")
            .arg("-eu")
            .current_dir(place.folder())
            .env("SERVER", format!("http://{address}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = shell.stdin.take().unwrap();
        let mut output = BufReader::new(shell.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        for step in &steps {
            let (Step::Run(commands) | Step::Restart(commands)) = step;
            writeln!(input, "{commands}\necho '{MARK}'").unwrap();
            let mut answer = String::new();
            loop {
                let line = output.next().unwrap_or_else(|| panic!("{commands}\nfailed after:\n{answer}"));
                match line.unwrap() {
                    line if line == MARK => break,
                    line => answer.extend([line.as_str(), "\n"]),
                }
            }
            println!("{commands}{answer}");
            said.push(answer);
            if matches!(step, Step::Restart(_)) {
                assert!(!server.ended().success(), "it was to be killed");
                server = launch();
            }
        }
        drop(input);
        assert!(shell.wait().unwrap().success());
        // What a reader is promised to see, in this order.
        let said = said.join("");
        let mut rest = said.as_str();
        for promised in [
            "\"level\":\"platform\"",
            "hosted as core_",
            "\"status\":\"running\"",
            "\"status\":\"suspended\"",
            "Approve 1380 for Ada?",
            "\"status\":\"suspended\"",
            "\"status\":\"resolved\"",
            "\"status\":\"completed\"",
            "\"type\":\"started\"",
            "expense.booked",
            "\"text\":\"Is anybody here?\"",
            "\"participant_type\":\"model\"",
        ] {
            let at = rest.find(promised);
            assert!(at.is_some(), "{promised} is not where it should be in:\n{said}");
            rest = &rest[at.unwrap()..];
        }
        server.stop();
    });
}
