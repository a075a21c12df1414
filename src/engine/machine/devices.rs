//! The host's device nodes, for `--privileged`.

use std::path::PathBuf;

/// The device nodes of the host that a container gets if it is privileged: all
/// but terminals and what every container has anyway.
pub fn of_privileged(privileged: bool) -> Vec<PathBuf> {
    use std::os::unix::fs::FileTypeExt;
    let mut devices = Vec::new();
    let mut directories: Vec<PathBuf> = privileged.then(|| "/dev".into()).into_iter().collect();
    while let Some(dir) = directories.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else {
                continue;
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            let own = ["pts", "shm", "mqueue", "fd", "ptmx", "console"];
            if own.contains(&name.as_str()) || name.starts_with("tty") || name.starts_with("vcs") {
                continue;
            }
            if kind.is_dir() {
                directories.push(path);
            } else if (kind.is_char_device() || kind.is_block_device())
                && !name.contains([',', ':'])
            {
                devices.push(path);
            }
        }
    }
    devices.sort();
    devices
}
