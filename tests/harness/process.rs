//! A server process that is watched by the reaper.

use crate::error::{Doing, HarnessError};
use crate::reaper::{self, Reach};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running child in a process group of its own, so that Ctrl-C reaches only us.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// What ends it when it is dropped, and when we die.
    end_signal: &'static str,
}

impl Process {
    /// Starts `command` with both outputs appended to the file `log`.
    pub fn spawn(mut command: Command, log: &Path, end_signal: &'static str) -> Result<Self, HarnessError> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .doing(|| format!("opening {}", log.display()))?;
        let err = out.try_clone().doing(|| "duplicating a log file".into())?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = reaper::spawn(&mut command, end_signal, Reach::Process)
            .doing(|| format!("starting {:?}", command.get_program()))?;
        Ok(Process { child, end_signal })
    }

    /// The process's number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the end, but not for ever.
    pub fn wait(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + at_most;
        loop {
            match self.ended() {
                Some(status) => return Some(status),
                None if Instant::now() >= deadline => return None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Ends it by a signal, by force after ten seconds.
    pub fn end(&mut self, signal: &str) -> Option<ExitStatus> {
        if self.ended().is_none() {
            self.signal(signal);
        }
        let status = self.wait(Duration::from_secs(10));
        if status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end(self.end_signal);
        reaper::forget(self.id(), Reach::Process);
    }
}

/// Sends a signal by its name to any process.
pub fn signal(pid: u32, name: &str) {
    // The shell's built-in: a system without procps has no /bin/kill, and `unsafe` has no place here.
    let _ = Command::new("/bin/sh")
        .args(["-c", "kill -\"$0\" \"$1\" 2>/dev/null", name, &pid.to_string()])
        .status();
}

/// Runs a program to its end and returns its standard output; its words if it fails.
pub fn run(command: Command) -> Result<String, HarnessError> {
    run_reached(command, Reach::Group)
}

/// The same for a program that takes its own children down, and must be left to it.
pub fn run_alone(command: Command) -> Result<String, HarnessError> {
    run_reached(command, Reach::Process)
}

fn run_reached(mut command: Command, reach: Reach) -> Result<String, HarnessError> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = reaper::spawn(&mut command, "TERM", reach).doing(|| format!("running {name}"))?;
    let pid = child.id();
    let output = child.wait_with_output();
    reaper::forget(pid, reach);
    let output = output.doing(|| format!("running {name}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(HarnessError::failed(format!(
        "{name} ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )))
}

/// Runs a program to its end while its words go where ours go; true if it says that all was well.
pub fn run_shown(mut command: Command) -> Result<bool, HarnessError> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null());
    let mut child = reaper::spawn(&mut command, "TERM", Reach::Group).doing(|| format!("running {name}"))?;
    let status = child.wait();
    reaper::forget(child.id(), Reach::Group);
    Ok(status.doing(|| format!("running {name}"))?.success())
}
