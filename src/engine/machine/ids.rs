//! The user's ids: those that containers can have, and who could map them.

use super::read;
use super::text;
use crate::engine::ground::user;
use crate::engine::request::user::UserOption;
use crate::idmap::subid::{self, Malformed, Range};
use crate::idmap::{self, IdMap};
use crate::sys::xattr;
use nix::sys::statvfs::{FsFlags, statvfs};
use serde::Serialize;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files that grant subordinate ids.
pub const SUBUID: &str = "/etc/subuid";
/// The same for groups.
pub const SUBGID: &str = "/etc/subgid";

/// The user, and the ids that containers could have.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Login name, where files say it.
    pub name: Option<String>,
    /// The map of the namespace that bryo runs in.
    pub uid_map: Vec<IdMap>,
    /// Users granted in `/etc/subuid`.
    pub users: Vec<Range>,
    /// Groups granted in `/etc/subgid`.
    pub groups: Vec<Range>,
    /// Lines that grant nothing, with their file.
    pub malformed: Vec<(&'static str, Malformed)>,
    /// The files are not asked on this machine, but this service, which only
    /// newuidmap knows.
    pub service: Option<String>,
    /// Who could write a map with these ids, the best first.
    pub writers: Vec<Writer>,
    /// Programs that would be, but for something that they lack.
    pub unfit: Vec<Unfit>,
    /// No program can gain privileges here (`no_new_privs`).
    pub no_new_privileges: bool,
}

/// Who can write an id map with more than one's own id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub enum Writer {
    /// bryo itself, which has CAP_SETUID and CAP_SETGID.
    Itself,
    /// bryo-idmap.
    Helper(#[serde(serialize_with = "super::shown")] PathBuf),
    /// newuidmap and newgidmap.
    Shadow(
        #[serde(serialize_with = "super::shown")] PathBuf,
        #[serde(serialize_with = "super::shown")] PathBuf,
    ),
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Writer::Itself => f.write_str("bryo itself"),
            Writer::Helper(path) | Writer::Shadow(path, _) => path.display().fmt(f),
        }
    }
}

/// A helper program that cannot help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Unfit {
    /// The program.
    #[serde(serialize_with = "super::shown")]
    pub program: PathBuf,
    /// What it lacks.
    pub why: &'static str,
}

const CAP_SETGID: u64 = 1 << 6;
const CAP_SETUID: u64 = 1 << 7;

impl Ids {
    /// Looks for them.
    pub fn look() -> Ids {
        let uid = nix::unistd::geteuid().as_raw();
        let name = login_name(uid);
        let mut malformed = Vec::new();
        let mut granted = |file: &'static str| {
            let content = std::fs::read(file).unwrap_or_default();
            let (ranges, bad) = subid::ranges(&content, name.as_deref().unwrap_or(""), uid);
            malformed.extend(bad.into_iter().map(|line| (file, line)));
            ranges
        };
        let (users, groups) = (granted(SUBUID), granted(SUBGID));
        let status = read("/proc/self/status");
        let number = |key| text::status(&status, key).unwrap_or("0");
        let mut ids = Ids {
            uid,
            gid: nix::unistd::getegid().as_raw(),
            uid_map: idmap::parse(&read("/proc/self/uid_map")),
            users,
            groups,
            malformed,
            service: subid::source(&read("/etc/nsswitch.conf")),
            writers: Vec::new(),
            unfit: Vec::new(),
            no_new_privileges: number("NoNewPrivs") == "1",
            name,
        };
        let effective = u64::from_str_radix(number("CapEff"), 16).unwrap_or(0);
        if effective & CAP_SETUID != 0 && effective & CAP_SETGID != 0 {
            ids.writers.push(Writer::Itself);
        }
        ids.find_helpers();
        ids
    }

    fn find_helpers(&mut self) {
        if let Some(path) = self.fit("bryo-idmap", CAP_SETUID | CAP_SETGID) {
            self.writers.push(Writer::Helper(path));
        }
        let users = self.fit("newuidmap", CAP_SETUID);
        let groups = self.fit("newgidmap", CAP_SETGID);
        if let (Some(users), Some(groups)) = (users, groups) {
            self.writers.push(Writer::Shadow(users, groups));
        }
    }

    /// The program of that name, if it would run with these capabilities.
    fn fit(&mut self, name: &str, capabilities: u64) -> Option<PathBuf> {
        let program = find(name)?;
        let why = match privileges(&program, capabilities) {
            Ok(()) if self.no_new_privileges => "no program gains privileges here (no_new_privs)",
            Ok(()) => return Some(program),
            Err(why) => why,
        };
        self.unfit.push(Unfit { program, why });
        None
    }

    /// How many ids the namespace has that bryo runs in, if that is not the
    /// machine's first: containers can have no others.
    pub fn of_namespace(&self) -> Option<u64> {
        let map = &self.uid_map;
        (!map.is_empty() && !idmap::is_full(map)).then(|| idmap::size(map))
    }

    /// What to call the user.
    pub fn called(&self) -> String {
        let name = self.name.clone();
        name.unwrap_or_else(|| format!("user {}", self.uid))
    }
}

/// The login name of a user by `/etc/passwd`. Of one that other services
/// know, the environment says it; what depends on it is checked by programs
/// that can ask them.
pub fn login_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    if let Some(line) = user::find_by_uid(&passwd, uid) {
        return Some(line.name);
    }
    let plain = |name: &String| {
        let good = |c: char| c.is_alphanumeric() || "-_.@$\\+".contains(c);
        !name.is_empty() && !name.starts_with('.') && name.chars().all(good)
    };
    let variables = ["LOGNAME", "USER"].into_iter();
    let mut names = variables.filter_map(|variable| std::env::var(variable).ok());
    // A name that the file knows is somebody else's.
    let foreign = |name: &String| {
        let asked = name.parse::<UserOption>();
        asked.is_ok_and(|asked| user::resolve(&asked, &passwd, b"").is_ok())
    };
    names.find(plain).filter(|name| !foreign(name))
}

/// The program, beside this one or where the shell would find it.
fn find(name: &str) -> Option<PathBuf> {
    let this = std::fs::read_link("/proc/self/exe").ok();
    let beside = this.and_then(|this| Some(this.parent()?.to_owned()));
    let path = std::env::var_os("PATH").unwrap_or("/usr/local/bin:/usr/bin".into());
    beside
        .into_iter()
        .chain(std::env::split_paths(&path).filter(|directory| directory.is_absolute()))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// Whether the program would run with these capabilities: by its setuid bit
/// or its file capabilities.
fn privileges(program: &Path, wanted: u64) -> Result<(), &'static str> {
    if nix::unistd::access(program, nix::unistd::AccessFlags::X_OK).is_err() {
        return Err("it cannot be executed");
    }
    let meta = program.metadata().map_err(|_| "it cannot be found")?;
    let setuid = meta.mode() & 0o4000 != 0 && meta.uid() == 0;
    let attribute = File::open(program).ok();
    let attribute = attribute.and_then(|file| xattr::get(&file, c"security.capability").ok()?);
    let by_file = attribute.and_then(|attribute| text::file_capabilities(&attribute));
    let by_file = by_file.is_some_and(|capabilities| capabilities & wanted == wanted);
    if !setuid && !by_file {
        return Err("it has neither file capabilities nor the setuid bit");
    }
    match statvfs(program) {
        Ok(stat) if stat.flags().contains(FsFlags::ST_NOSUID) => {
            Err("its file system is mounted nosuid")
        }
        _ => Ok(()),
    }
}
