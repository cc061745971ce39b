//! What README tells a newcomer to type, typed.

use crate::support::Outcome;
use pgweir_tests::cluster::wait_until;
use pgweir_tests::node::SUPERUSER_PASSWORD;
use pgweir_tests::ports::free_port;
use pgweir_tests::process::Process;
use pgweir_tests::sql::Login;
use pgweir_tests::{Cluster, HarnessError, scratch, weir};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const README: &str = include_str!("../../README.md");

/// A fenced block: the heading that it stands under, its language, its text.
struct Block<'t> {
    heading: &'t str,
    language: &'t str,
    text: String,
}

/// The fenced blocks of a page, in order.
fn blocks(page: &str) -> Vec<Block<'_>> {
    let (mut blocks, mut heading, mut open): (Vec<Block<'_>>, &str, bool) = (vec![], "", false);
    for line in page.lines() {
        match line.strip_prefix("```") {
            Some(language) if !open => {
                blocks.push(Block { heading, language, text: String::new() });
                open = true;
            }
            Some(_) => open = false,
            None if open => {
                let block = blocks.last_mut().expect("a block is open");
                block.text += line;
                block.text.push('\n');
            }
            None => heading = line.strip_prefix("## ").unwrap_or(heading),
        }
    }
    blocks
}

/// A newcomer's machine: a directory, a cluster without a role for pgweir, and ports that are free.
struct Desk {
    cluster: Cluster,
    directory: PathBuf,
    port: u16,
    http_port: u16,
    /// `pgweir run`, once it has been typed.
    running: Option<Process>,
}

impl Desk {
    fn new() -> Result<Self, HarnessError> {
        let cluster = Cluster::builder().start()?;
        let root = cluster.node(0).superuser();
        root.sql("DROP OWNED BY pgweir; DROP SCHEMA IF EXISTS pgweir CASCADE; DROP ROLE pgweir")?;
        cluster.wait_caught_up()?;
        let directory = scratch::directory()?;
        // What the page calls by its path in the repository.
        std::os::unix::fs::symlink(
            concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy"),
            directory.join("deploy"),
        )
        .map_err(|e| HarnessError::failed(e.to_string()))?;
        Ok(Desk { cluster, directory, port: free_port(), http_port: free_port(), running: None })
    }

    /// The page's addresses are those of somebody else's network.
    fn localised(&self, text: &str) -> String {
        let mut text =
            text.replace("-h 10.0.0.1 ", &format!("-h 127.0.0.1 -p {} ", self.cluster.node(0).port()));
        for (index, address) in self.cluster.addresses().iter().enumerate() {
            text = text.replace(&format!("10.0.0.{}:5432", index + 1), address);
        }
        text.replace("127.0.0.1:6432", &format!("127.0.0.1:{}", self.port))
            .replace("127.0.0.1:16432", &format!("127.0.0.1:{}", self.http_port))
    }

    /// Types lines into a shell in which `pgweir` and `psql` are found; `run` is left running.
    fn shell(&mut self, text: &str) -> Result<String, HarnessError> {
        let mut said = String::new();
        for line in self.localised(text).lines() {
            if line.starts_with("pgweir run") {
                self.running = Some(self.start(line)?);
                continue;
            }
            let output = self.answer_yes(self.command(line))?;
            let text = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(output.status.success(), "{line}\n{text}");
            said += &text;
            self.move_ports()?;
        }
        Ok(said)
    }

    /// The default ports may be somebody else's on this machine.
    fn move_ports(&self) -> Outcome {
        let file = self.directory.join("pgweir.toml");
        let Ok(text) = std::fs::read_to_string(&file) else { return Ok(()) };
        std::fs::write(&file, self.localised(&text)).map_err(|e| HarnessError::failed(e.to_string()))
    }

    fn command(&self, line: &str) -> Command {
        let parent = |path: &Path| path.parent().unwrap_or(Path::new("/")).display().to_string();
        let program = weir::program().expect("pgweir is built");
        let psql = self.cluster.binaries().program("psql");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).current_dir(&self.directory);
        command.env("PATH", format!("{}:{}:{path}", parent(&program), parent(&psql)));
        command.env("PGPASSWORD", SUPERUSER_PASSWORD);
        command
    }

    fn answer_yes(&self, mut command: Command) -> Result<Output, HarnessError> {
        let failed = |e: std::io::Error| HarnessError::failed(e.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        // Who asks nothing may be gone before it could be told.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(b"y\n"));
        child.wait_with_output().map_err(failed)
    }

    fn start(&self, line: &str) -> Result<Process, HarnessError> {
        let process = Process::spawn(
            self.command(&format!("exec {line}")),
            &self.directory.join("pgweir.log"),
            "TERM",
        )?;
        let login = self.login();
        wait_until("pgweir serves", || login.value("SELECT 1").is_ok())?;
        Ok(process)
    }

    /// The superuser's, through pgweir.
    fn login(&self) -> Login {
        Login { port: self.port, ..self.cluster.node(0).superuser() }
    }

    /// What psql says to this, through pgweir, notices included.
    fn sql(&self, text: &str) -> Result<String, HarnessError> {
        let login = self.login();
        let line = format!(
            "psql -h {} -p {} -U {} -d {} -X -f query.sql",
            login.host, login.port, login.user, login.database
        );
        std::fs::write(self.directory.join("query.sql"), text)
            .map_err(|e| HarnessError::failed(e.to_string()))?;
        let output = self.answer_yes(self.command(&line))?;
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}");
        Ok(text)
    }
}

#[test]
fn the_first_steps_of_the_readme_work_as_they_are_typed() -> Outcome {
    let mut desk = Desk::new()?;
    let mut said = vec![];
    for block in blocks(README).iter().filter(|b| b.heading == "First steps") {
        match block.language {
            "sh" => said.push(desk.shell(&block.text)?),
            "sql" => {
                // The first statement has the catalog read; then it is as the page says.
                wait_until("a replica answers", || {
                    desk.sql(&block.text).is_ok_and(|text| text.contains("role=replica reason=read_only"))
                })?;
                let text = desk.sql(&block.text)?;
                let lag = text.split("lag_ms=").nth(1).and_then(|rest| rest.split_whitespace().next());
                let lag: f64 = lag.and_then(|lag| lag.parse().ok()).expect("a lag in the NOTICE");
                assert!(lag < 100.0, "nothing is written, and yet: {text}");
            }
            _ => {}
        }
    }
    let said = said.join("\n");
    for words in
        ["create the role pgweir", "is the primary", "right to monitor", "system identifier", "read_only"]
    {
        assert!(said.contains(words), "no {words:?} in\n{said}");
    }
    assert!(!said.contains("mistake ") && !said.contains("warning "), "{said}");
    Ok(())
}

#[test]
fn the_same_by_hand_works_as_it_is_typed() -> Outcome {
    let mut desk = Desk::new()?;
    for block in blocks(README).iter().filter(|b| b.heading == "The same by hand") {
        match block.language {
            "sh" => drop(desk.shell(&block.text)?),
            "toml" => std::fs::write(desk.directory.join("pgweir.toml"), desk.localised(&block.text))
                .map_err(|e| HarnessError::failed(e.to_string()))?,
            _ => {}
        }
        desk.cluster.wait_caught_up()?;
    }
    desk.shell("pgweir run --config pgweir.toml")?;
    assert_eq!(desk.login().value("SELECT 42")?, "42");
    Ok(())
}

#[test]
fn init_changes_nothing_without_a_yes_and_overwrites_nothing() -> Outcome {
    let desk = Desk::new()?;
    let line = desk.localised("pgweir init --primary 10.0.0.1:5432");
    let mut command = desk.command(&line);
    let output = command.stdin(Stdio::null()).output().map_err(|e| HarnessError::failed(e.to_string()))?;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("create the role pgweir"));
    let roles =
        desk.cluster.value(0, "postgres", "SELECT count(*) FROM pg_roles WHERE rolname = 'pgweir'")?;
    assert_eq!(roles, "0");
    assert!(!desk.directory.join("pgweir.toml").exists());
    let again = desk.answer_yes(desk.command(&format!("{line} --yes && {line} --yes")))?;
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"));
    let mode = std::fs::metadata(desk.directory.join("pgweir.toml"))
        .map_err(|e| HarnessError::failed(e.to_string()))?;
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
    Ok(())
}

#[test]
fn check_connect_names_what_is_missing_and_what_to_type() -> Outcome {
    let desk = Desk::new()?;
    let [primary, replica] = [0, 1].map(|index| desk.cluster.address(index));
    let write = |nodes: &str, more: &str| {
        let text = format!("[cluster]\nnodes = [{nodes}]\n{more}\n");
        std::fs::write(desk.directory.join("pgweir.toml"), text)
            .map_err(|e| HarnessError::failed(e.to_string()))
    };
    let check = || -> Result<(bool, String), HarnessError> {
        let output = desk.answer_yes(desk.command("pgweir check --connect --config pgweir.toml"))?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let both = format!("\"{primary}\", \"{replica}\"");
    write(&both, "")?;
    let (good, said) = check()?;
    assert!(!good && said.contains("cluster.password is not set"), "{said}");
    write(&both, "password = 'wrong'")?;
    let (good, said) = check()?;
    assert!(!good && said.contains("28P01") && said.contains("pgweir reference --form role"), "{said}");
    let root = desk.cluster.node(0).superuser();
    for sql in [
        "CREATE ROLE pgweir LOGIN PASSWORD 'right'",
        "ALTER SYSTEM SET synchronous_commit = off",
        "SELECT pg_reload_conf()",
    ] {
        root.sql(sql)?;
    }
    desk.cluster.wait_caught_up()?;
    write(&both, "password = 'right'")?;
    wait_until("the setting is in force", || {
        check().is_ok_and(|(_, said)| said.contains("synchronous_commit is off"))
    })?;
    let (good, said) = check()?;
    assert!(!good && said.contains("GRANT pg_monitor TO pgweir;"), "{said}");
    assert!(said.contains("neither pgweir.user_lookup(text) nor pg_authid"), "{said}");
    write(&format!("\"{replica}\""), "password = 'right'")?;
    let (good, said) = check()?;
    assert!(!good && said.contains("none of the nodes is a primary"), "{said}");
    write(
        &format!("\"{primary}\", \"{}\"", primary.replace("127.0.0.1", "localhost")),
        "password = 'right'",
    )?;
    let (good, said) = check()?;
    assert!(!good && said.contains("are the same server"), "{said}");
    Ok(())
}
