//! What is known of a command that `exec` runs.

use crate::engine::container::execs::{self, ExecState};
use serde::Serialize;

/// A command in a container, with docker's fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Exec {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Whether it runs.
    pub running: bool,
    /// How it ended, if it has.
    pub exit_code: Option<i32>,
    /// What it runs.
    pub process_config: ProcessConfig,
    /// Whether it reads what is sent to it.
    pub open_stdin: bool,
    /// Whether what it prints can be had.
    pub open_stdout: bool,
    /// Whether what it prints as errors can be had.
    pub open_stderr: bool,
    /// Nothing of it is left to be removed by hand.
    pub can_remove: bool,
    /// Its container's id.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Its process on the host; 0 is none.
    pub pid: i32,
}

/// What a command is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct ProcessConfig {
    pub tty: bool,
    /// The program.
    pub entrypoint: String,
    pub arguments: Vec<String>,
    pub privileged: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Exec {
    /// Of a command of the container with this id.
    pub fn of(container_id: &str, exec: &execs::Exec) -> Exec {
        let request = &exec.request;
        let (pid, exit_code) = match &exec.state {
            ExecState::Created => (0, None),
            ExecState::Running { process, .. } => (process.pid, None),
            ExecState::Exited { code, .. } => (0, Some(*code)),
        };
        let mut words = request.command.iter().cloned();
        Exec {
            id: exec.id.clone(),
            running: matches!(exec.state, ExecState::Running { .. }),
            exit_code,
            process_config: ProcessConfig {
                tty: request.tty,
                entrypoint: words.next().unwrap_or_default(),
                arguments: words.collect(),
                privileged: request.privileged,
                user: request.user.as_ref().map(ToString::to_string),
            },
            open_stdin: request.interactive,
            open_stdout: true,
            open_stderr: true,
            can_remove: false,
            container_id: container_id.to_owned(),
            pid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::request::exec::ExecRequest;
    use serde_json::json;

    #[test]
    fn a_command_has_dockers_fields() {
        let request = ExecRequest {
            command: vec!["sh".into(), "-c".into(), "exit 3".into()],
            user: Some("7:8".parse().unwrap()),
            tty: true,
            ..ExecRequest::default()
        };
        let state = ExecState::Exited {
            code: 3,
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        let exec = execs::Exec::in_memory("e".repeat(64), request, state);
        let shown = serde_json::to_value(Exec::of("c", &exec)).unwrap();
        assert_eq!(
            shown,
            json!({
                "ID": "e".repeat(64),
                "Running": false,
                "ExitCode": 3,
                "ProcessConfig": {
                    "tty": true,
                    "entrypoint": "sh",
                    "arguments": ["-c", "exit 3"],
                    "privileged": false,
                    "user": "7:8",
                },
                "OpenStdin": false,
                "OpenStdout": true,
                "OpenStderr": true,
                "CanRemove": false,
                "ContainerID": "c",
                "Pid": 0,
            })
        );
    }
}
