//! What bryo has and what the machine offers: `info`, `version`.

use crate::engine::container::containers::Containers;
use crate::engine::container::record::State;
use crate::engine::ids::userns::{Base, is_remote};
use crate::engine::machine::text::CgroupLayout;
use crate::engine::machine::{Machine, Tried};
use crate::image::store::Store;
use serde::Serialize;
use std::path::Path;

/// What bryo has and what the machine offers: docker's names, and all that was
/// found of the machine.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Info {
    /// bryo's version.
    pub server_version: &'static str,
    /// How many containers there are; nothing where the store cannot be read.
    pub containers: Option<usize>,
    /// Those of them that run.
    pub containers_running: Option<usize>,
    /// Those that do not.
    pub containers_stopped: Option<usize>,
    /// How many images there are.
    pub images: Option<usize>,
    /// What keeps the changes of containers.
    pub driver: &'static str,
    /// Where the store is.
    pub docker_root_dir: String,
    /// The version of control groups; empty where there are none.
    pub cgroup_version: &'static str,
    /// What keeps containers apart, as `name=seccomp`.
    pub security_options: Vec<String>,
    /// The kernel's release.
    pub kernel_version: String,
    /// The distribution.
    pub operating_system: String,
    /// There is one: `linux`.
    #[serde(rename = "OSType")]
    pub os_type: &'static str,
    /// The processor's architecture, in the kernel's words.
    pub architecture: &'static str,
    /// Processors.
    #[serde(rename = "NCPU")]
    pub ncpu: usize,
    /// Bytes of memory.
    pub mem_total: Option<u64>,
    /// The host's name.
    pub name: String,
    /// The map of ids that containers have by default: `range` or `single`.
    pub id_mapping: &'static str,
    /// The settings; nothing where they cannot be read.
    pub config: Option<Vec<Setting>>,
    /// All that was found.
    pub machine: Machine,
}

/// A setting with its value and where that is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Its value; nothing if it has none.
    pub value: Option<String>,
    /// The file, the variable, or that it is built in.
    pub from: String,
}

/// How many of what there are; nothing where the store cannot be read.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// All containers, and those that run.
    containers: Option<(usize, usize)>,
    images: Option<usize>,
}

impl Counts {
    fn of(root: &Path) -> Counts {
        let Ok(store) = Store::open(root) else {
            return Counts::default();
        };
        let containers = Containers::open(&store).list().ok().map(|all| {
            let running = |c: &&_| matches!(c, State::Running { .. });
            let states = all.iter().map(|c| &c.state);
            (all.len(), states.filter(running).count())
        });
        Counts {
            containers,
            images: store.list().ok().map(|images| images.len()),
        }
    }
}

impl Info {
    /// Looks at the machine and at the store in `root`, which is made if it is
    /// missing. The caller must have one thread.
    pub fn look(root: &Path, config: Option<Vec<Setting>>) -> Info {
        let machine = Machine::look(root);
        Info::of(machine, Counts::of(root), config)
    }

    fn of(machine: Machine, counts: Counts, config: Option<Vec<Setting>>) -> Info {
        let system = &machine.system;
        let names = security_options(&machine).into_iter();
        Info {
            server_version: env!("CARGO_PKG_VERSION"),
            containers: counts.containers.map(|(all, _)| all),
            containers_running: counts.containers.map(|(_, running)| running),
            containers_stopped: counts.containers.map(|(all, running)| all - running),
            images: counts.images,
            driver: driver(&machine),
            docker_root_dir: machine.storage.root.display().to_string(),
            cgroup_version: cgroup_version(machine.cgroups.layout),
            security_options: names.map(|name| format!("name={name}")).collect(),
            kernel_version: system.kernel.clone(),
            operating_system: system.operating_system.clone(),
            os_type: "linux",
            architecture: system.architecture,
            ncpu: system.processors,
            mem_total: system.memory,
            name: system.host_name.clone(),
            id_mapping: id_mapping(&machine),
            config,
            machine,
        }
    }
}

fn driver(machine: &Machine) -> &'static str {
    match machine.trial.overlay {
        _ if machine.trial.overlay_works() => "overlay",
        Tried::Unknown => "unknown",
        _ => "copy",
    }
}

fn id_mapping(machine: &Machine) -> &'static str {
    match Base::find() {
        _ if is_remote(&machine.storage.root) => "single",
        Base::Here(_) => "range",
        Base::Granted(_) if !machine.ids.writers.is_empty() => "range",
        Base::Granted(_) | Base::Single => "single",
    }
}

/// What keeps containers apart, by docker's names.
pub fn security_options(machine: &Machine) -> Vec<&'static str> {
    let mut options = Vec::new();
    if machine.system.seccomp {
        options.push("seccomp");
    }
    if machine.limits.apparmor_restricts == Some(true) {
        options.push("apparmor");
    }
    options.extend(["rootless", "userns"]);
    options
}

fn cgroup_version(layout: CgroupLayout) -> &'static str {
    match layout {
        CgroupLayout::V2 => "2",
        CgroupLayout::Hybrid | CgroupLayout::V1 => "1",
        CgroupLayout::None => "",
    }
}

/// bryo's version, and what it was built for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Version {
    /// Who asks.
    pub client: Component,
    /// Who answers, which is the same program.
    pub server: Component,
    /// bryo's version.
    pub version: &'static str,
    /// The system and the processor.
    pub os_arch: String,
    /// The version of the OCI's specification of containers.
    pub oci_runtime_spec: &'static str,
}

/// A program, with docker's fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Component {
    /// Its version.
    pub version: &'static str,
    /// There is one: `linux`.
    pub os: &'static str,
    /// The processor, in Go's words.
    pub arch: &'static str,
    /// Both.
    pub os_arch: String,
}

/// The processor's architecture in Go's words, which docker and images have.
fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl Version {
    /// That of this program.
    pub fn of_this() -> Version {
        let component = Component {
            version: env!("CARGO_PKG_VERSION"),
            os: "linux",
            arch: arch(),
            os_arch: format!("linux/{}", arch()),
        };
        Version {
            client: component.clone(),
            server: component,
            version: env!("CARGO_PKG_VERSION"),
            os_arch: format!("linux/{}", std::env::consts::ARCH),
            oci_runtime_spec: "1.2.0",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, to_value};

    #[test]
    fn dockers_names_are_there() {
        let setting = Setting {
            name: "run.pull",
            value: None,
            from: "built in".into(),
        };
        assert_eq!(
            to_value(setting).unwrap(),
            json!({"Name": "run.pull", "Value": null, "From": "built in"})
        );
        let version = to_value(Version::of_this()).unwrap();
        assert_eq!(version["OciRuntimeSpec"], "1.2.0");
        assert_eq!(version["Version"], env!("CARGO_PKG_VERSION"));
        let of = |layout| cgroup_version(layout);
        assert_eq!(
            [
                of(CgroupLayout::V2),
                of(CgroupLayout::Hybrid),
                of(CgroupLayout::V1),
                of(CgroupLayout::None)
            ],
            ["2", "1", "1", ""]
        );
    }
}
