//! What happened to containers, volumes and images: one JSON object a line in the store's file
//! `events`, in docker's words. It is kept for later readers, up to two files
//! of [`MAX_SIZE`].

use crate::engine::container::containers::{Container, Containers};
use crate::engine::request::filter::EventFilter;
use crate::image::store::{Removed, Store};
use crate::sys::fs::private;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// When a file of events is full, in bytes.
pub const MAX_SIZE: u64 = 4 << 20;

/// Name of the file in the store; the one before it ends in `.1`.
pub const FILE: &str = "events";

/// What can happen to a container, by docker's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Action {
    Attach,
    Commit,
    Create,
    Destroy,
    Detach,
    Die,
    ExecCreate,
    ExecDie,
    ExecStart,
    Export,
    HealthStatus,
    Kill,
    Oom,
    Pause,
    Rename,
    Restart,
    Start,
    Stop,
    Unpause,
    Update,
}

impl Action {
    /// Docker's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Action::Attach => "attach",
            Action::Commit => "commit",
            Action::Create => "create",
            Action::Destroy => "destroy",
            Action::Detach => "detach",
            Action::Die => "die",
            Action::ExecCreate => "exec_create",
            Action::ExecDie => "exec_die",
            Action::ExecStart => "exec_start",
            Action::Export => "export",
            Action::HealthStatus => "health_status",
            Action::Kill => "kill",
            Action::Oom => "oom",
            Action::Pause => "pause",
            Action::Rename => "rename",
            Action::Restart => "restart",
            Action::Start => "start",
            Action::Stop => "stop",
            Action::Unpause => "unpause",
            Action::Update => "update",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// To what kind of thing: `container`, `image`, `volume`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What, by docker's name.
    pub action: String,
    /// The thing's id.
    pub id: String,
    /// Name, image, labels, and what else is known.
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// Whether it happened to what has this name, or an id that begins so.
    fn is(&self, name: &str) -> bool {
        self.attributes.get("name").is_some_and(|n| n == name) || self.id.starts_with(name)
    }

    /// Whether a filter holds of it.
    pub fn holds(&self, filter: &EventFilter) -> bool {
        let attribute = |key: &str| self.attributes.get(key).map(String::as_str);
        match filter {
            EventFilter::Container(name) => self.kind == "container" && self.is(name),
            EventFilter::Event(action) => self.action == *action,
            EventFilter::Image(name) if self.kind == "image" => {
                attribute("name") == Some(name) || self.id == *name
            }
            EventFilter::Image(name) => attribute("image") == Some(name),
            EventFilter::Label(label) => label.holds(attribute),
            EventFilter::Scope(scope) => scope == "local",
            EventFilter::Type(kind) => self.kind == *kind,
            EventFilter::Volume(name) => self.kind == "volume" && self.is(name),
        }
    }
}

/// Records that something happened to a container. That this fails keeps
/// nothing from happening.
pub fn emit(
    containers: &Containers,
    action: Action,
    container: &Container,
    details: &[(&str, &str)],
) {
    let record = &container.record;
    let mut attributes = record.labels.clone();
    attributes.insert("image".into(), record.image.clone());
    attributes.insert("name".into(), record.name.clone());
    for (key, value) in details {
        attributes.insert((*key).into(), (*value).into());
    }
    let event = Event {
        time: Timestamp::now(),
        kind: "container".into(),
        action: action.name().into(),
        id: record.id.clone(),
        attributes,
    };
    note(containers.root(), event);
}

/// Records that something happened to another kind of thing than a container.
pub fn emit_of(
    kind: &str,
    action: &str,
    root: &Path,
    id: &str,
    attributes: BTreeMap<String, String>,
) {
    let event = Event {
        time: Timestamp::now(),
        kind: kind.into(),
        action: action.into(),
        id: id.into(),
        attributes,
    };
    note(root, event);
}

/// Records that something happened to an image: `id` is its id, or the name by
/// which it was pulled or pushed, as with docker.
pub fn emit_of_image(store: &Store, action: &str, id: impl ToString, name: &str) {
    let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
    emit_of("image", action, store.root(), &id.to_string(), attributes);
}

/// Records what a removal did.
pub fn emit_removal(store: &Store, removed: &Removed) {
    for name in &removed.untagged {
        emit_of_image(store, "untag", name, name);
    }
    for id in &removed.deleted {
        emit_of_image(store, "delete", id, id.as_ref());
    }
}

/// Events of this process that there was no room for.
static LOST: AtomicU32 = AtomicU32::new(0);

/// How many events of this process are not recorded.
pub fn lost() -> u32 {
    LOST.load(Ordering::Relaxed)
}

/// Nothing that happens waits for being recorded. The next event that is tells
/// how many were not.
fn note(root: &Path, mut event: Event) {
    let lost = lost();
    if lost > 0 {
        let count = ("eventsLost".to_owned(), lost.to_string());
        event.attributes.extend([count]);
    }
    match append(root, &event) {
        Ok(()) => LOST.fetch_sub(lost, Ordering::Relaxed),
        Err(_) => LOST.fetch_add(1, Ordering::Relaxed),
    };
}

fn append(root: &Path, event: &Event) -> std::io::Result<()> {
    let path = root.join(FILE);
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut file = private().append(true).create(true).open(&path)?;
    // In one write: those of several processes do not mix.
    let written = file.write(&line)?;
    if written < line.len() {
        // The disk is full: half a line would spoil the next one.
        let end = file.stream_position()?;
        if file.metadata()?.len() == end {
            file.set_len(end - written as u64)?;
        }
        return Err(ErrorKind::StorageFull.into());
    }
    if file.metadata()?.len() > MAX_SIZE {
        std::fs::rename(&path, root.join(format!("{FILE}.1")))?;
    }
    Ok(())
}

/// Reads events in order, also those that are still to come.
pub struct Reader {
    root: PathBuf,
    current: Option<BufReader<File>>,
    old: bool,
    line: Vec<u8>,
}

impl Reader {
    /// Reads from the first event that is kept, or only what comes.
    pub fn open(root: &Path, from_start: bool) -> Result<Reader> {
        let mut reader = Reader {
            root: root.to_owned(),
            current: None,
            old: from_start,
            line: Vec::new(),
        };
        let name = if from_start { "events.1" } else { FILE };
        match File::open(root.join(name)) {
            Ok(mut file) => {
                if !from_start {
                    file.seek(std::io::SeekFrom::End(0))?;
                }
                reader.current = Some(BufReader::new(file));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| root.join(name).display().to_string()),
        }
        Ok(reader)
    }

    /// The next event; `None` at what is the end now.
    pub fn read(&mut self) -> Result<Option<Event>> {
        use std::os::unix::fs::MetadataExt;
        let path = self.root.join(FILE);
        let what = || path.display().to_string();
        loop {
            if let Some(file) = &mut self.current {
                file.read_until(b'\n', &mut self.line).with_context(what)?;
            }
            if self.line.ends_with(b"\n") {
                let event = serde_json::from_slice(&self.line);
                self.line.clear();
                match event {
                    Ok(event) => return Ok(Some(event)),
                    Err(_) => continue,
                }
            }
            let next = match File::open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(e).with_context(what),
            };
            if let (Some(current), false) = (&self.current, self.old) {
                let inode = current.get_ref().metadata()?.ino();
                if inode == next.metadata()?.ino() {
                    return Ok(None);
                }
            }
            self.old = false;
            self.current = Some(BufReader::new(next));
        }
    }
}
