//! What the process inside tells the one outside while it gets ready: fixed
//! messages on one [`Channel`](crate::sys::channel::Channel).

use super::fields::Unsupported;
use crate::error::{Kind, errno};
use crate::sys::channel::MAX_MESSAGE;
use crate::sys::replace::is_unwritable;
use nix::errno::Errno;
use std::fmt;

/// A step of the start; names the place of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Reading the spec.
    Plan,
    /// Looking after the container.
    Supervise,
    /// Making its control group.
    Group,
    /// Setting its limits.
    Limit,
    /// Making the process in its namespaces.
    Clone,
    /// Joining namespaces that exist.
    Join,
    /// Writing the id maps.
    Map,
    /// Setting clocks, host name and the like.
    Identity,
    /// Making its network interfaces.
    Network,
    /// Mounting an overlay as the root file system.
    Overlay,
    /// Mounting the root file system.
    Root,
    /// Making a mount.
    Mount,
    /// Making devices and terminals.
    Device,
    /// Masking paths and setting kernel parameters.
    Protect,
    /// Setting limits, ids and capabilities.
    Credentials,
    /// Entering the working directory.
    WorkingDirectory,
    /// Executing the command.
    Execute,
    /// Running a hook.
    Hook,
    /// Writing a file of ours.
    Store,
    /// Reading the spec, which asks for what is not done.
    Unsupported,
}

const STEPS: [Step; 20] = [
    Step::Plan,
    Step::Supervise,
    Step::Group,
    Step::Limit,
    Step::Clone,
    Step::Join,
    Step::Map,
    Step::Identity,
    Step::Network,
    Step::Overlay,
    Step::Root,
    Step::Mount,
    Step::Device,
    Step::Protect,
    Step::Credentials,
    Step::WorkingDirectory,
    Step::Execute,
    Step::Hook,
    Step::Store,
    Step::Unsupported,
];

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Plan | Step::Unsupported => "read the spec",
            Step::Supervise => "look after the container",
            Step::Group => "make control group",
            Step::Limit => "set limits",
            Step::Clone => "create namespaces",
            Step::Join => "join namespaces",
            Step::Map => "map ids",
            Step::Identity => "set up namespaces",
            Step::Network => "set up network",
            Step::Overlay | Step::Root => "mount root file system",
            Step::Mount => "mount",
            Step::Device => "make device",
            Step::Protect => "protect",
            Step::Credentials => "set credentials",
            Step::WorkingDirectory => "enter working directory",
            Step::Execute => "execute",
            Step::Hook => "run hooks",
            Step::Store => "write",
        }
    }
}

/// A start that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError {
    /// Where.
    pub step: Step,
    /// The kernel's answer, where a system call failed.
    pub errno: Option<Errno>,
    /// The kind that it was given where it arose.
    pub said: Option<Kind>,
    /// The object and the cause.
    pub text: String,
}

impl StartError {
    /// A failure at `step` with its cause.
    pub fn new(step: Step, error: &anyhow::Error) -> Self {
        let errno = errno(error);
        // A file of ours, whatever it was for: no limit of the kernel's.
        let mut files = error.chain().filter_map(|cause| cause.downcast_ref());
        let unwritable = files
            .find(|e| is_unwritable(e))
            .and_then(|e| e.raw_os_error());
        let unsupported = error.chain().any(|cause| cause.is::<Unsupported>());
        StartError {
            step: match unwritable {
                Some(_) => Step::Store,
                None if unsupported => Step::Unsupported,
                None => step,
            },
            errno: unwritable.map(Errno::from_raw).or(errno),
            said: Kind::said(error),
            text: format!("{error:#}"),
        }
    }
}

impl StartError {
    /// What it means to who wanted the start.
    pub fn kind(&self) -> Kind {
        match (self.step, self.said, self.errno) {
            (Step::Unsupported, ..) => Kind::Unsupported,
            // As a shell has it: there is no such command.
            (Step::Execute, _, Some(Errno::ENOTDIR | Errno::ELOOP)) => Kind::NotFound,
            (_, Some(kind), _) => kind,
            (_, None, Some(errno)) => Kind::of_errno(errno),
            (_, None, None) => Kind::Internal,
        }
    }

    /// The exit code that a container has that came no further, as docker has it: 127 for a command that is not there, 126
    /// for one that cannot be executed, 125 for bryo itself.
    pub fn exit_code(&self) -> i32 {
        match (self.step, self.errno, self.kind()) {
            (Step::Execute, Some(_), Kind::NotFound) => 127,
            (Step::Execute, Some(_), _) => 126,
            _ => 125,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step.name(), self.text)
    }
}

impl std::error::Error for StartError {}

/// A message from inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Something is less than asked for; the start goes on.
    Warning(String),
    /// The terminal's master side comes with this message.
    Console,
    /// The listener of root emulation comes with this message.
    Listener,
    /// The other end of the network interface comes with this message.
    Tap,
    /// From outside: the id maps are written.
    Mapped,
    /// All is mounted, and the root not yet entered: it is the hooks' turn.
    Mounted,
    /// From outside: the hooks have run.
    Proceed,
    /// All is ready; execve follows.
    Ready,
    /// The start failed.
    Failed(StartError),
}

/// Starts every message, so that none is as short as an errno.
const MAGIC: &[u8] = b"bryo";

impl Message {
    /// The message as bytes; long texts are cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(64);
        data.extend(MAGIC);
        match self {
            Message::Warning(text) => {
                data.push(b'W');
                data.extend(text.as_bytes());
            }
            Message::Console => data.push(b'C'),
            Message::Listener => data.push(b'L'),
            Message::Tap => data.push(b'T'),
            Message::Mapped => data.push(b'M'),
            Message::Mounted => data.push(b'H'),
            Message::Proceed => data.push(b'P'),
            Message::Ready => data.push(b'R'),
            Message::Failed(error) => {
                data.push(b'F');
                data.push(error.step as u8);
                data.extend((error.errno.map_or(0, |e| e as i32)).to_ne_bytes());
                // Behind a null byte, which no text has.
                let kind = error.said.and_then(|kind| serde_json::to_vec(&kind).ok());
                let kind = kind.map_or(Vec::new(), |kind| [&[0], &kind[..]].concat());
                let room = MAX_MESSAGE - data.len() - kind.len();
                let end = error.text.floor_char_boundary(room);
                data.extend(&error.text.as_bytes()[..end]);
                data.extend(kind);
            }
        }
        data.truncate(MAX_MESSAGE);
        data
    }

    /// Reads a message. Four bytes are the errno of a failed execve, sent by
    /// the [trampoline](crate::sys::trampoline); `program` is its name.
    /// `None` for what no process of bryo would send.
    pub fn decode(data: &[u8], program: &str) -> Option<Message> {
        if let Ok(errno) = <[u8; 4]>::try_from(data) {
            let errno = Errno::from_raw(i32::from_ne_bytes(errno));
            return Some(Message::Failed(StartError {
                step: Step::Execute,
                errno: Some(errno),
                said: None,
                text: crate::sys::Error::new("execve", program, errno).to_string(),
            }));
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match data.strip_prefix(MAGIC)?.split_first()? {
            (b'W', rest) => Some(Message::Warning(text(rest))),
            (b'C', []) => Some(Message::Console),
            (b'L', []) => Some(Message::Listener),
            (b'T', []) => Some(Message::Tap),
            (b'M', []) => Some(Message::Mapped),
            (b'H', []) => Some(Message::Mounted),
            (b'P', []) => Some(Message::Proceed),
            (b'R', []) => Some(Message::Ready),
            (b'F', rest) => {
                let (step, rest) = rest.split_first()?;
                let (errno, rest) = rest.split_first_chunk::<4>()?;
                let errno = i32::from_ne_bytes(*errno);
                let mut parts = rest.splitn(2, |byte| *byte == 0);
                let said = parts.next().map_or(String::new(), text);
                let kind = parts.next();
                Some(Message::Failed(StartError {
                    step: *STEPS.get(usize::from(*step))?,
                    errno: (errno != 0).then(|| Errno::from_raw(errno)),
                    said: kind.and_then(|kind| serde_json::from_slice(kind).ok()),
                    text: said,
                }))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::refusal;

    #[test]
    fn messages_survive_the_wire() {
        for message in [
            Message::Warning("proc is the host's".into()),
            Message::Console,
            Message::Listener,
            Message::Tap,
            Message::Mapped,
            Message::Mounted,
            Message::Proceed,
            Message::Ready,
            Message::Failed(StartError {
                step: Step::Mount,
                errno: Some(Errno::EPERM),
                said: None,
                text: "/proc".into(),
            }),
            Message::Failed(StartError::new(
                Step::Plan,
                &refusal!(Invalid, "root: missing").context("read it"),
            )),
        ] {
            let decoded = Message::decode(&message.encode(), "sh").unwrap();
            assert_eq!(decoded, message);
        }
        for (index, step) in STEPS.iter().enumerate() {
            assert_eq!(*step as usize, index);
        }
    }

    #[test]
    fn a_text_that_is_too_long_leaves_its_kind() {
        let text = "ä".repeat(MAX_MESSAGE);
        let error = StartError::new(Step::Mount, &refusal!(Invalid, "{text}"));
        let message = Message::Failed(error).encode();
        assert!(message.len() <= MAX_MESSAGE);
        let Some(Message::Failed(error)) = Message::decode(&message, "sh") else {
            panic!("not a failure");
        };
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.text.chars().all(|c| c == 'ä') && error.text.len() > 900);
    }

    #[test]
    fn four_bytes_are_a_failed_execve() {
        let data = (Errno::ENOENT as i32).to_ne_bytes();
        let Some(Message::Failed(error)) = Message::decode(&data, "/bin/x") else {
            panic!("not a failure");
        };
        assert_eq!(error.step, Step::Execute);
        assert_eq!(error.errno, Some(Errno::ENOENT));
    }

    #[test]
    fn nonsense_is_refused() {
        for data in [
            &b""[..],
            b"bryo?",
            b"bryoF",
            b"bryoF\xff\0\0\0\0x",
            b"bryoCx",
        ] {
            assert_eq!(Message::decode(data, "x"), None, "{data:?}");
        }
    }
}
