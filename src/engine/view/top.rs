//! The processes of containers: `top`.

use crate::engine::operate::processes::{Process, TICKS, started};
use crate::error::Kind;
use crate::error::refuse;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::Serialize;
use std::process::Command;

/// Processes, as docker shows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Top {
    /// The names of the columns.
    pub titles: Vec<String>,
    /// What is in them, a line for each process.
    pub processes: Vec<Vec<String>>,
}

const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];

impl Top {
    /// How processes are shown, as by `ps -f`.
    pub fn of(processes: &[Process]) -> Top {
        let lines = processes.iter().map(|p| line(p, started(p)));
        Top {
            titles: TITLES.map(str::to_owned).to_vec(),
            processes: lines.collect(),
        }
    }
}

fn line(process: &Process, since: Option<Timestamp>) -> Vec<String> {
    let seconds = process.ticks / TICKS;
    vec![
        process.uid.to_string(),
        process.pid.to_string(),
        process.parent.to_string(),
        "0".to_owned(),
        since.map_or_else(String::new, |time| time.strftime("%H:%M").to_string()),
        match process.terminal {
            0 => "?".to_owned(),
            // The terminals of devpts have major numbers from 136 up.
            device => format!("pts/{}", device & 0xff),
        },
        format!(
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        ),
        process.command.clone(),
    ]
}

/// Runs the host's ps(1) with these options; returns the head of what it prints
/// and the lines that are about `processes`.
///
/// # Errors
/// It fails, or its options leave out the column PID.
pub fn by_ps(options: &[String], processes: &[Process]) -> Result<Vec<String>> {
    let done = Command::new("ps").args(options).output();
    let done = done.context("run ps")?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        refuse!(Invalid, "ps: {}", said.trim());
    }
    lines_about(&String::from_utf8_lossy(&done.stdout), processes)
}

fn lines_about(text: &str, processes: &[Process]) -> Result<Vec<String>> {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|word| word == "PID");
    let invalid = || Kind::Invalid.says("ps: its options leave out the column PID");
    let column = column.ok_or_else(invalid)?;
    let is_meant = |line: &&str| {
        let pid = line.split_whitespace().nth(column);
        let pid = pid.and_then(|word| word.parse::<i32>().ok());
        processes.iter().any(|process| Some(process.pid) == pid)
    };
    let meant = std::iter::once(head).chain(lines.filter(is_meant));
    Ok(meant.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_shown_as_by_ps() {
        let process = Process {
            pid: 42,
            parent: 7,
            uid: 1000,
            terminal: (136 << 8) | 3,
            ticks: 366_100,
            command: "sleep 9".into(),
            ..Process::default()
        };
        let since = "2026-01-02T03:04:05Z".parse().ok();
        assert_eq!(
            line(&process, since),
            [
                "1000", "42", "7", "0", "03:04", "pts/3", "01:01:01", "sleep 9"
            ]
        );
        assert_eq!(line(&Process::default(), None)[4..6], ["", "?"]);
        let text = "USER PID X\na 42 1\nb 43 42\n";
        let lines = lines_about(text, &[process]).unwrap();
        assert_eq!(lines, ["USER PID X", "a 42 1"]);
        let error = lines_about("USER X\na 1\n", &[]).unwrap_err();
        assert_eq!(Kind::of(&error), Some(Kind::Invalid));
    }
}
