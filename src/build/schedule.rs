//! Stages side by side: each, and each image that has to be fetched, is made by a process of
//! its own as soon as all that it needs is there.

use super::builder::{Builder, Built};
use super::dockerfile::fault::Lines;
use super::graph::{Graph, Node};
use super::report::Report;
use crate::error::refuse;
use crate::process::Beside;
use crate::sys::wait::wait;
use anyhow::{Context, Result};
use nix::poll::PollFlags;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;

/// Most processes at once, on a machine with fewer processors than this.
const FEW: usize = 4;

/// Longest text of a frame, in bytes; the rest of a longer one is left out.
const LONGEST: usize = 32 << 10;

/// What a process comes back with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Made {
    /// An image, by its id.
    Image(String),
    /// A stage.
    Stage(Box<Built>),
}

/// Makes all of a graph.
///
/// # Errors
/// That of the first process that fails; the others are ended.
pub(super) fn run(builder: &Builder<'_>, mut graph: Graph) -> Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let most = processors.max(FEW);
    let mut done = BTreeSet::new();
    let mut going: Vec<Going> = Vec::new();
    loop {
        while going.len() < most {
            let mut all = graph.iter();
            let ready = all.find(|(_, needed)| needed.waits_for.is_subset(&done));
            let Some(node) = ready.map(|(node, _)| node.clone()) else {
                break;
            };
            let lines = graph.remove(&node).map(|needed| needed.lines);
            let lines = lines.context("what was there is gone")?;
            going.push(Going::start(builder, node, lines)?);
        }
        if going.is_empty() {
            return Ok(());
        }
        let watched = going
            .iter()
            .map(|one| (one.reports.as_fd(), PollFlags::POLLIN));
        let seen = wait(watched, None).context("poll")?;
        for index in (0..going.len()).rev() {
            if seen[index].is_empty() || going[index].hear(builder)? {
                continue;
            }
            let ended = going.remove(index);
            let made = ended.beside.finish().and_then(|bytes| {
                let made = serde_json::from_slice(&bytes);
                made.context("read what a process of the build made")
            });
            match made {
                Ok(made) => builder.keep(&ended.node, made),
                Err(error) => {
                    going.into_iter().for_each(|one| one.beside.abandon());
                    return Err(error);
                }
            }
            done.insert(ended.node);
        }
    }
}

/// A process at work.
struct Going {
    node: Node,
    beside: Beside<Vec<u8>>,
    reports: PipeReader,
    /// What of a frame has come.
    came: Vec<u8>,
    /// The steps' numbers here, by those that they have there.
    numbers: HashMap<u32, usize>,
}

impl Going {
    fn start(builder: &Builder<'_>, node: Node, lines: Lines) -> Result<Going> {
        let (reports, writer) = std::io::pipe().context("pipe")?;
        let writer = std::cell::Cell::new(Some(writer));
        let beside = Beside::start(|| {
            let writer = writer.take().context("pipe")?;
            let teller = Teller(Mutex::new(writer));
            let made = builder.for_node(&node, &teller).make(&node, lines)?;
            serde_json::to_vec(&made).context("tell what was made")
        })?;
        drop(writer);
        Ok(Going {
            node,
            beside,
            reports,
            came: Vec::new(),
            numbers: HashMap::new(),
        })
    }

    /// Passes on what is told; false if nothing more is.
    fn hear(&mut self, builder: &Builder<'_>) -> Result<bool> {
        let mut buffer = [0; 8192];
        match self.reports.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => self.came.extend(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("read from a process of the build"),
        }
        while let Some((frame, length)) = Frame::read(&self.came)? {
            let known = self.numbers.entry(frame.number);
            let number = *known.or_insert_with(|| builder.number());
            let report = builder.report;
            match frame.says {
                b'b' => report.begin(number, &String::from_utf8_lossy(frame.text)),
                b'o' => report.output(number, frame.text),
                b'c' => report.cached(number),
                _ => report.done(number),
            }
            self.came.drain(..length);
        }
        Ok(true)
    }
}

/// Something that is told of a step: what (a letter), its number, and a text.
struct Frame<'a> {
    says: u8,
    number: u32,
    text: &'a [u8],
}

/// Bytes before the text: the letter, the number and the text's length.
const HEAD: usize = 9;

impl Frame<'_> {
    /// The first of what came, and its length; None if it is not there whole.
    fn read(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>> {
        let Some((head, rest)) = bytes.split_at_checked(HEAD) else {
            return Ok(None);
        };
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four"));
        let length = word(5) as usize;
        if length > LONGEST {
            refuse!(Internal, "a process of the build tells nonsense");
        }
        let frame = rest.get(..length).map(|text| Frame {
            says: head[0],
            number: word(1),
            text,
        });
        Ok(frame.map(|frame| (frame, HEAD + length)))
    }

    fn write(&self) -> Vec<u8> {
        let text = &self.text[..self.text.len().min(LONGEST)];
        let mut bytes = vec![self.says];
        bytes.extend(self.number.to_le_bytes());
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text);
        bytes
    }
}

/// Tells the process that began the build.
struct Teller(Mutex<PipeWriter>);

impl Teller {
    fn tell(&self, says: u8, number: usize, text: &[u8]) {
        let number = number as u32;
        let bytes = Frame { says, number, text }.write();
        let mut pipe = self.0.lock().expect("no thread panics");
        // Who is not heard any more is about to be ended.
        let _ = pipe.write_all(&bytes);
    }
}

impl Report for Teller {
    fn begin(&self, number: usize, what: &str) {
        self.tell(b'b', number, what.as_bytes());
    }

    fn output(&self, number: usize, text: &[u8]) {
        self.tell(b'o', number, text);
    }

    fn cached(&self, number: usize) {
        self.tell(b'c', number, &[]);
    }

    fn done(&self, number: usize) {
        self.tell(b'd', number, &[]);
    }
}
