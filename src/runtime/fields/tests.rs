use super::*;
use crate::runtime::Plan;
use serde::de::{self, Deserialize, Deserializer, IntoDeserializer, Visitor};
use serde_json::json;
use std::path::Path;

/// What a type takes, as its own `Deserialize` says.
#[derive(Debug, Default, PartialEq)]
enum Shape {
    #[default]
    Plain,
    Struct(Vec<(&'static str, Shape)>),
    Map(Box<Shape>),
}

impl Shape {
    fn of<T: for<'de> Deserialize<'de>>() -> Shape {
        let mut shape = Shape::Plain;
        T::deserialize(Tracer(&mut shape, "1")).unwrap();
        shape
    }
}

/// Gives a type something of all that it asks for, and notes what that was. The
/// text is what it gets as a string.
struct Tracer<'a>(&'a mut Shape, &'static str);

type Failed = de::value::Error;

/// One value after the other, each a [`Tracer`]'s.
struct Parts<'a> {
    names: std::slice::Iter<'static, &'static str>,
    shapes: Vec<&'a mut Shape>,
}

impl<'de> de::MapAccess<'de> for Parts<'_> {
    type Error = Failed;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failed> {
        let name = self.names.next();
        name.map(|name| seed.deserialize((*name).into_deserializer()))
            .transpose()
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Failed> {
        // A number: the crate looks at lists of processors.
        seed.deserialize(Tracer(self.shapes.remove(0), "1"))
    }
}

impl<'de> de::SeqAccess<'de> for Parts<'_> {
    type Error = Failed;

    fn next_element_seed<T: de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failed> {
        let shape = (!self.shapes.is_empty()).then(|| self.shapes.remove(0));
        shape
            // The crate has a type of its own for these.
            .map(|shape| seed.deserialize(Tracer(shape, "CAP_KILL")))
            .transpose()
    }
}

macro_rules! numbers {
    ($($name:ident $visit:ident),*) => {
        $(fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
            visitor.$visit(1)
        })*
    };
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Failed;

    numbers!(
        deserialize_i8 visit_i8, deserialize_i16 visit_i16, deserialize_i32 visit_i32,
        deserialize_i64 visit_i64, deserialize_u8 visit_u8, deserialize_u16 visit_u16,
        deserialize_u32 visit_u32, deserialize_u64 visit_u64
    );

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_bool(true)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_str(self.1)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_str(self.1)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_str(self.1)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_seq(Parts {
            names: [].iter(),
            shapes: vec![self.0],
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let mut shape = Shape::Plain;
        let parts = Parts {
            names: ["1"].iter(),
            shapes: vec![&mut shape],
        };
        let value = visitor.visit_map(parts)?;
        *self.0 = Shape::Map(Box::new(shape));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let mut fields: Vec<_> = names.iter().map(|name| (*name, Shape::Plain)).collect();
        let value = visitor.visit_map(Parts {
            names: names.iter(),
            shapes: fields.iter_mut().map(|(_, shape)| shape).collect(),
        })?;
        *self.0 = Shape::Struct(fields);
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        visitor.visit_enum(variants[0].into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The fields that runtime-spec 1.3 names, by the structures that are not
/// refused as a whole.
const STANDARD: &[(&str, &str)] = &[
    (
        "",
        "ociVersion root mounts process hostname domainname hooks annotations linux solaris \
         windows vm zos freebsd",
    ),
    (".root", "path readonly"),
    (
        ".mounts",
        "destination type source options uidMappings gidMappings",
    ),
    (
        ".process",
        "terminal consoleSize user args commandLine env cwd capabilities rlimits noNewPrivileges \
         apparmorProfile oomScoreAdj scheduler selinuxLabel ioPriority execCPUAffinity",
    ),
    (".process.consoleSize", "height width"),
    (".process.user", "uid gid umask additionalGids username"),
    (
        ".process.capabilities",
        "bounding effective inheritable permitted ambient",
    ),
    (".process.rlimits", "type hard soft"),
    (
        ".hooks",
        "prestart createRuntime createContainer startContainer poststart poststop",
    ),
    (".hooks.prestart", "path args env timeout"),
    (".hooks.createRuntime", "path args env timeout"),
    (".hooks.createContainer", "path args env timeout"),
    (".hooks.startContainer", "path args env timeout"),
    (".hooks.poststart", "path args env timeout"),
    (".hooks.poststop", "path args env timeout"),
    (
        ".linux",
        "namespaces uidMappings gidMappings timeOffsets devices netDevices cgroupsPath resources \
         rootfsPropagation seccomp sysctl maskedPaths readonlyPaths mountLabel intelRdt \
         memoryPolicy personality",
    ),
    (".linux.namespaces", "type path"),
    (".linux.uidMappings", "containerID hostID size"),
    (".linux.gidMappings", "containerID hostID size"),
    (".linux.timeOffsets", "secs nanosecs"),
    (".linux.devices", "path type major minor fileMode uid gid"),
    (
        ".linux.resources",
        "devices memory cpu pids blockIO hugepageLimits network rdma unified",
    ),
    (
        ".linux.resources.memory",
        "limit reservation swap kernel kernelTCP swappiness disableOOMKiller useHierarchy \
         checkBeforeUpdate",
    ),
    (
        ".linux.resources.cpu",
        "shares quota burst period realtimeRuntime realtimePeriod cpus mems idle",
    ),
    (".linux.resources.pids", "limit"),
    (
        ".linux.resources.blockIO",
        "weight leafWeight weightDevice throttleReadBpsDevice throttleWriteBpsDevice \
         throttleReadIOPSDevice throttleWriteIOPSDevice",
    ),
    (
        ".linux.resources.blockIO.weightDevice",
        "major minor weight leafWeight",
    ),
    (
        ".linux.resources.blockIO.throttleReadBpsDevice",
        "major minor rate",
    ),
    (".linux.resources.hugepageLimits", "pageSize limit"),
    (".linux.resources.network", "classID priorities"),
    (".linux.resources.network.priorities", "name priority"),
    (".linux.resources.rdma", "hcaHandles hcaObjects"),
    (
        ".linux.seccomp",
        "defaultAction defaultErrnoRet architectures flags listenerPath listenerMetadata syscalls",
    ),
    (".linux.seccomp.syscalls", "names action errnoRet args"),
    (".linux.seccomp.syscalls.args", "index value valueTwo op"),
];

fn standard(place: &str) -> impl Iterator<Item = &'static str> {
    let rows = STANDARD.iter().filter(move |(of, _)| *of == place);
    rows.flat_map(|(_, names)| names.split_whitespace())
}

/// The table of the structure at a place.
fn table_at(place: &str) -> &'static Fields {
    place.split('.').skip(1).fold(SPEC, |table, name| {
        let row = table.iter().find(|(other, _)| *other == name);
        match row.unwrap_or_else(|| panic!("no {place}")) {
            (_, In(table) | Each(table)) => table,
            _ => panic!("{place} is not taken apart"),
        }
    })
}

/// Compares a table with the structure that it is of.
fn compare(table: &Fields, shape: &Shape, place: &str, faults: &mut Vec<String>) {
    let Shape::Struct(fields) = shape else {
        faults.push(format!("{place}: no structure, but {shape:?}"));
        return;
    };
    for (name, _) in table {
        let by_crate = fields.iter().any(|(other, _)| other == name);
        if !by_crate && !standard(place).any(|other| other == *name) {
            faults.push(format!("{place}.{name}: there is no such field"));
        }
    }
    for (name, shape) in fields {
        let place = format!("{place}.{name}");
        let row = table.iter().find(|(other, _)| other == name);
        match (row.map(|(_, field)| field), shape) {
            (None, _) => faults.push(format!("{place}: what becomes of it?")),
            (Some(In(table)), shape) => compare(table, shape, &place, faults),
            (Some(Each(table)), Shape::Map(shape)) => compare(table, shape, &place, faults),
            (Some(Each(_)), _) => faults.push(format!("{place}: no map")),
            (Some(Refused(_) | Ignored(_)), _) => {}
            (Some(Done), Shape::Plain) => {}
            (Some(Done), Shape::Map(shape)) if **shape == Shape::Plain => {}
            (Some(Done), _) => faults.push(format!("{place}: what becomes of its fields?")),
        }
    }
}

#[test]
fn the_table_has_every_field_that_the_crate_knows() {
    let mut faults = Vec::new();
    compare(SPEC, &Shape::of::<Spec>(), "", &mut faults);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_table_has_every_field_of_the_standard() {
    for (place, _) in STANDARD {
        let table = table_at(place);
        for name in standard(place) {
            let has = table.iter().any(|(row, _)| *row == name);
            assert!(has, "{place}.{name}: what becomes of it?");
        }
    }
}

#[test]
fn the_comparison_finds_what_is_missing_and_what_is_gone() {
    let table: &Fields = &[("path", Done), ("old", Done)];
    let mut faults = Vec::new();
    compare(
        table,
        &Shape::of::<oci_spec::runtime::Root>(),
        "root",
        &mut faults,
    );
    let wanted = [
        "root.old: there is no such field",
        "root.readonly: what becomes of it?",
    ];
    assert_eq!(faults, wanted);
    let mut faults = Vec::new();
    let table: &Fields = &[("height", Done), ("width", In(&[]))];
    compare(
        table,
        &Shape::of::<oci_spec::runtime::Box>(),
        "size",
        &mut faults,
    );
    assert_eq!(faults, ["size.width: no structure, but Plain"]);
}

/// A spec that asks for nothing unusual.
fn plain() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/"},
        "mounts": [
            {"destination": "/proc", "type": "proc"},
            {"destination": "/data", "type": "bind", "source": "/etc", "options": ["rbind"]}
        ],
        "linux": {"namespaces": [{"type": "mount"}]}
    })
}

/// `plain` with `value` at `pointer`, whose last part need not be there.
fn with(pointer: &str, value: Value) -> Value {
    let mut spec = plain();
    let mut at = &mut spec;
    for part in pointer.split('/').skip(1) {
        at = match at {
            Value::Array(list) => &mut list[part.parse::<usize>().unwrap()],
            at => &mut at[part],
        };
    }
    *at = value;
    spec
}

fn refusal(spec: Value) -> Result<(), String> {
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let plan = Plan::new(&spec, Path::new("/bundle"));
    plan.map(drop).map_err(|error| {
        assert!(
            error.downcast_ref::<Unsupported>().is_some(),
            "not of that kind: {error:#}"
        );
        format!("{error:#}")
    })
}

#[test]
fn what_is_not_done_is_refused_by_its_name() {
    let map = json!([{"hostID": 0, "containerID": 0, "size": 1}]);
    let cases = [
        ("/solaris", json!({}), "solaris"),
        ("/windows", json!({"layerFolders": ["a"]}), "windows"),
        ("/vm", json!({"kernel": {"path": "/k"}}), "vm"),
        ("/zos", json!({}), "zos"),
        ("/uidMappings", map.clone(), "uidMappings"),
        ("/gidMappings", map.clone(), "gidMappings"),
        (
            "/mounts/1/uidMappings",
            map.clone(),
            "mounts[1].uidMappings",
        ),
        ("/mounts/1/gidMappings", map, "mounts[1].gidMappings"),
        (
            "/process/user/username",
            json!("ann"),
            "process.user.username",
        ),
        ("/process/commandLine", json!("a b"), "process.commandLine"),
        (
            "/process/apparmorProfile",
            json!("p"),
            "process.apparmorProfile",
        ),
        ("/process/selinuxLabel", json!("l"), "process.selinuxLabel"),
        ("/linux/netDevices", json!({"eth0": {}}), "linux.netDevices"),
        ("/linux/mountLabel", json!("l"), "linux.mountLabel"),
        ("/linux/intelRdt", json!({}), "linux.intelRdt"),
        (
            "/linux/personality",
            json!({"domain": "LINUX32", "flags": ["ADDR_COMPAT_LAYOUT"]}),
            "linux.personality.flags",
        ),
        (
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]
            }),
            "linux.seccomp.syscalls",
        ),
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        (
            "/annotations",
            json!({"bryo.seccomp": "defualt"}),
            "annotations.bryo.seccomp",
        ),
        (
            "/annotations",
            json!({"bryo.init": "yes"}),
            "annotations.bryo.init",
        ),
        (
            "/annotations",
            json!({"bryo.emulate-root": "maybe"}),
            "annotations.bryo.emulate-root",
        ),
    ];
    refusal(plain()).unwrap();
    let mut seen = Vec::new();
    for (pointer, value, name) in cases {
        let said = refusal(with(pointer, value)).expect_err(name);
        assert!(
            said.starts_with(&format!("{name}: not supported: ")),
            "{said}"
        );
        seen.push(name.replace("[1]", ""));
    }
    // Each row of the table that refuses is among them.
    let mut rows = Vec::new();
    refused(SPEC, "", &mut rows);
    // What the crate does not know of is for those who have the text.
    seen.push("freebsd".to_owned());
    rows.retain(|row| !seen.contains(row));
    assert_eq!(rows, Vec::<String>::new());
}

fn refused(table: &Fields, place: &str, rows: &mut Vec<String>) {
    for (name, field) in table {
        let place = match place {
            "" => (*name).to_owned(),
            place => format!("{place}.{name}"),
        };
        match field {
            In(table) | Each(table) => refused(table, &place, rows),
            Refused(_) => rows.push(place),
            Done | Ignored(_) => {}
        }
    }
}

#[test]
fn what_asks_for_nothing_is_not_refused() {
    for (pointer, value) in [
        ("/process/apparmorProfile", json!("")),
        ("/process/selinuxLabel", Value::Null),
        ("/hooks", json!({})),
        ("/hooks", json!({"prestart": []})),
        ("/mounts/1/uidMappings", json!([])),
        ("/linux/rootfsPropagation", json!("")),
        ("/linux/rootfsPropagation", json!("rslave")),
        ("/ociVersion", json!("1.0.0-rc5")),
        (
            "/annotations",
            json!({"bryo.init": "false", "com.example": "x"}),
        ),
    ] {
        refusal(with(pointer, value)).unwrap();
    }
}

#[test]
fn a_process_by_itself_is_looked_at_too() {
    let process = |extra: Value| {
        let mut json = json!({"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/"});
        json.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        check_process(&serde_json::from_value(json).unwrap())
    };
    process(json!({})).unwrap();
    let said = process(json!({"apparmorProfile": "p"})).unwrap_err();
    let said = said.downcast::<Unsupported>().unwrap();
    assert_eq!(said.field, "process.apparmorProfile");
}

#[test]
fn a_field_that_is_new_is_refused_and_one_of_a_newer_file_is_told() {
    let mut config = with("/linux/novelty", json!({"deep": 1}));
    let said = refuse(&config, SPEC, "").unwrap_err().to_string();
    assert_eq!(said, "linux.novelty: not supported: it is not known");

    config["mounts"][1]["future"] = json!(true);
    config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1, "weeks": 2}});
    config["linux"]["resources"] = json!({"devices": [{"allow": false}]});
    // What asks for nothing is not told of.
    config["linux"]["hollow"] = json!([]);
    config["hollow"] = json!("");
    config["nothing"] = json!(null);
    let told = unheeded(&config).unwrap();
    let mut told: Vec<_> = told.into_iter().map(|u| u.field).collect();
    told.sort();
    let wanted = [
        "linux.novelty",
        "linux.resources.devices",
        "linux.timeOffsets.boottime.weeks",
        "mounts[1].future",
    ];
    assert_eq!(told, wanted);
    assert_eq!(unheeded(&plain()).unwrap(), []);
    // Whatever a file holds.
    for odd in [
        json!(null),
        json!([1]),
        json!({"mounts": {"type": 1}, "linux": 3, "process": [[{"user": 1.5}]]}),
    ] {
        assert_eq!(unheeded(&odd).unwrap(), []);
    }
}

#[test]
fn what_a_file_asks_for_is_refused_though_the_crate_forgets_it() {
    for (place, value) in [
        ("freebsd", json!({"jail": {"host": "new"}})),
        ("linux", json!({"intelRdt": {}})),
    ] {
        let mut config = plain();
        config[place] = value;
        let said = unheeded(&config).unwrap_err();
        let said = said.downcast::<Unsupported>().unwrap();
        assert!(said.field.starts_with(place), "{said}");
    }
}
