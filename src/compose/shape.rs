//! What a compose file may say, as one table: which keys there are, and what each takes. It is
//! in the order in which what was read is shown.

/// What a value may be.
#[derive(Debug)]
pub enum Shape {
    /// A string.
    Text,
    /// A string, or null.
    TextOrNull,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A container's name.
    ContainerName,
    /// When an image is pulled.
    PullPolicy,
    /// A boolean, or a string that says one.
    Bool,
    /// A boolean and nothing else.
    Strict,
    /// A string or a boolean, shown as a string.
    TextOrBool,
    /// A whole number or a string of one, from the one to the other.
    Int(i64, i64),
    /// A whole number or a string, shown as a string.
    TextOrInt,
    /// A number or a string of one, of which the whole part counts.
    Number,
    /// A number or a string of one.
    Float,
    /// An amount of bytes.
    Size,
    /// An amount of bytes, as a string.
    SizeText,
    /// A duration, as a string.
    Duration,
    /// A command: words, or a string that is split into them.
    Command,
    /// A health check's command.
    Test,
    /// Permissions.
    Mode,
    /// Permissions, shown as a decimal number.
    PlainMode,
    /// How many devices.
    Count,
    /// A list of strings, with whether none may be in it twice.
    Texts(bool),
    /// A string, or a list of them.
    TextOrTexts,
    /// A list of strings and numbers.
    Scalars,
    /// Names with values, as a mapping or as `NAME=VALUE`.
    Pairs(Empty),
    /// Names with strings or numbers, as a mapping.
    Options,
    /// Options that may have several values.
    MultiOptions,
    /// Hosts with their addresses.
    Hosts,
    /// Keys for ssh.
    Ssh,
    /// A limit: a number, or two.
    Ulimit,
    /// Whether something is made elsewhere, or its name there.
    External,
    /// Files of variables.
    EnvFiles,
    /// Which devices of graphics: all, or some.
    Gpus,
    /// These keys.
    Record(&'static Record),
    /// Names of the user's with a value each.
    Each(&'static Shape),
    /// The same, or a list of the names alone.
    EachOrNames(&'static Shape),
    /// A list of these.
    List(&'static Shape),
    /// It, or a string that says it briefly.
    OrText(&'static Shape),
    /// It, or a string or number that says it briefly.
    OrScalar(&'static Shape),
    /// It, or null.
    OrNull(&'static Shape),
    /// It, which is shown also where it is no, 0 or empty.
    Kept(&'static Shape),
}

/// What a name without a value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty {
    /// None: the environment's.
    Unset,
    /// The empty string.
    Text,
}

/// Keys that go together.
#[derive(Debug)]
pub struct Record {
    /// Each with what it takes.
    pub fields: &'static [(&'static str, Shape)],
    /// Those that have to be there.
    pub required: &'static [&'static str],
    /// Whether keys with `x-` may be there, of which nothing is known.
    pub is_open: bool,
    /// Whether it is left out where it has nothing in it.
    pub is_fleeting: bool,
}

#[cfg(test)]
impl Record {
    /// The keys that there are.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|(key, _)| *key)
    }
}

const fn record(fields: &'static [(&'static str, Shape)]) -> Record {
    Record {
        fields,
        required: &[],
        is_open: true,
        is_fleeting: false,
    }
}

const fn closed(fields: &'static [(&'static str, Shape)]) -> Record {
    Record {
        is_open: false,
        ..record(fields)
    }
}

const fn needs(required: &'static [&'static str], record: Record) -> Record {
    Record { required, ..record }
}

const fn fleeting(fields: &'static [(&'static str, Shape)]) -> Record {
    Record {
        is_fleeting: true,
        ..record(fields)
    }
}

const LABELS: Shape = Shape::Pairs(Empty::Text);
const KEPT_BOOL: Shape = Shape::Kept(&Shape::Bool);
const WHOLE: Shape = Shape::Int(i64::MIN, i64::MAX);
const COUNTED: Shape = Shape::Kept(&Shape::Int(0, i64::MAX));
const KEPT_DURATION: Shape = Shape::Kept(&Shape::Duration);

/// A whole file.
pub const PROJECT: Record = record(&[
    ("version", Shape::Text),
    ("name", Shape::Text),
    (
        "include",
        Shape::List(&Shape::OrText(&Shape::Record(&INCLUDE))),
    ),
    ("services", Shape::Each(&Shape::Record(&SERVICE))),
    (
        "networks",
        Shape::Each(&Shape::OrNull(&Shape::Record(&NETWORK))),
    ),
    (
        "volumes",
        Shape::Each(&Shape::OrNull(&Shape::Record(&VOLUME))),
    ),
    ("secrets", Shape::Each(&Shape::Record(&SECRET))),
    ("configs", Shape::Each(&Shape::Record(&CONFIG))),
    ("models", Shape::Each(&Shape::Record(&MODEL))),
]);

const INCLUDE: Record = closed(&[
    ("path", Shape::TextOrTexts),
    ("project_directory", Shape::Text),
    ("env_file", Shape::TextOrTexts),
]);

/// A service.
pub const SERVICE: Record = record(&[
    ("profiles", Shape::Texts(true)),
    ("annotations", LABELS),
    ("attach", KEPT_BOOL),
    ("build", Shape::OrText(&Shape::Record(&BUILD))),
    ("develop", Shape::OrNull(&Shape::Record(&DEVELOP))),
    ("blkio_config", Shape::Record(&BLKIO)),
    ("cap_add", Shape::Texts(true)),
    ("cap_drop", Shape::Texts(true)),
    ("cgroup_parent", Shape::Text),
    ("cgroup", Shape::Choice(&["host", "private"])),
    ("cpu_count", Shape::Int(0, i64::MAX)),
    ("cpu_percent", Shape::Int(0, 100)),
    ("cpu_period", Shape::Number),
    ("cpu_quota", Shape::Number),
    ("cpu_rt_period", Shape::Number),
    ("cpu_rt_runtime", Shape::Number),
    ("cpus", Shape::Float),
    ("cpuset", Shape::Text),
    ("cpu_shares", Shape::Number),
    ("command", Shape::Command),
    (
        "configs",
        Shape::List(&Shape::OrText(&Shape::Record(&FILE))),
    ),
    ("container_name", Shape::ContainerName),
    ("credential_spec", Shape::Record(&CREDENTIALS)),
    (
        "depends_on",
        Shape::EachOrNames(&Shape::Record(&DEPENDENCY)),
    ),
    ("deploy", Shape::OrNull(&Shape::Record(&DEPLOY))),
    ("device_cgroup_rules", Shape::Texts(true)),
    (
        "devices",
        Shape::List(&Shape::OrText(&Shape::Record(&DEVICE))),
    ),
    ("dns", Shape::TextOrTexts),
    ("dns_opt", Shape::Texts(true)),
    ("dns_search", Shape::TextOrTexts),
    ("domainname", Shape::Text),
    ("entrypoint", Shape::Command),
    ("provider", Shape::Record(&PROVIDER)),
    ("environment", Shape::Pairs(Empty::Unset)),
    ("env_file", Shape::EnvFiles),
    ("expose", Shape::Scalars),
    ("extends", Shape::OrText(&Shape::Record(&EXTENDS))),
    ("external_links", Shape::Texts(true)),
    ("extra_hosts", Shape::Hosts),
    ("group_add", Shape::Scalars),
    ("gpus", Shape::Gpus),
    ("hostname", Shape::Text),
    ("healthcheck", Shape::Record(&HEALTHCHECK)),
    ("image", Shape::Text),
    ("init", KEPT_BOOL),
    ("ipc", Shape::Text),
    ("isolation", Shape::Text),
    ("labels", LABELS),
    ("label_file", Shape::TextOrTexts),
    ("links", Shape::Texts(true)),
    ("logging", Shape::Record(&LOGGING)),
    ("mem_limit", Shape::Size),
    ("mem_reservation", Shape::Size),
    ("memswap_limit", Shape::Size),
    ("mem_swappiness", Shape::Size),
    ("mac_address", Shape::Text),
    (
        "models",
        Shape::EachOrNames(&Shape::OrNull(&Shape::Record(&SERVICE_MODEL))),
    ),
    ("network_mode", Shape::Text),
    (
        "networks",
        Shape::EachOrNames(&Shape::OrNull(&Shape::Record(&SERVICE_NETWORK))),
    ),
    ("oom_kill_disable", Shape::Bool),
    ("oom_score_adj", Shape::Int(-1000, 1000)),
    ("pid", Shape::TextOrNull),
    ("pids_limit", Shape::Number),
    ("platform", Shape::Text),
    (
        "ports",
        Shape::List(&Shape::OrScalar(&Shape::Record(&PORT))),
    ),
    ("privileged", Shape::Bool),
    ("pull_policy", Shape::PullPolicy),
    ("pull_refresh_after", Shape::Text),
    ("read_only", Shape::Bool),
    ("restart", Shape::Text),
    ("runtime", Shape::Text),
    ("scale", Shape::Kept(&WHOLE)),
    (
        "secrets",
        Shape::List(&Shape::OrText(&Shape::Record(&FILE))),
    ),
    ("security_opt", Shape::Texts(true)),
    ("shm_size", Shape::Size),
    ("stdin_open", Shape::Bool),
    ("stop_grace_period", KEPT_DURATION),
    ("stop_signal", Shape::Text),
    ("storage_opt", Shape::Options),
    ("sysctls", LABELS),
    ("tmpfs", Shape::TextOrTexts),
    ("tty", Shape::Bool),
    ("ulimits", Shape::Each(&Shape::Ulimit)),
    ("use_api_socket", Shape::Strict),
    ("user", Shape::Text),
    ("userns_mode", Shape::Text),
    ("uts", Shape::Text),
    (
        "volumes",
        Shape::List(&Shape::OrText(&Shape::Record(&MOUNT))),
    ),
    ("volumes_from", Shape::Texts(true)),
    ("working_dir", Shape::Text),
    ("pre_start", Shape::List(&Shape::Record(&HOOK))),
    ("post_start", Shape::List(&Shape::Record(&HOOK))),
    ("pre_stop", Shape::List(&Shape::Record(&HOOK))),
]);

const BUILD: Record = record(&[
    ("context", Shape::Text),
    ("dockerfile", Shape::Text),
    ("dockerfile_inline", Shape::Text),
    ("entitlements", Shape::Texts(false)),
    ("args", Shape::Pairs(Empty::Unset)),
    ("provenance", Shape::TextOrBool),
    ("sbom", Shape::TextOrBool),
    ("ssh", Shape::Ssh),
    ("labels", LABELS),
    ("cache_from", Shape::Texts(false)),
    ("cache_to", Shape::Texts(false)),
    ("no_cache", Shape::Bool),
    ("no_cache_filter", Shape::TextOrTexts),
    ("additional_contexts", LABELS),
    ("pull", Shape::Bool),
    ("extra_hosts", Shape::Hosts),
    ("isolation", Shape::Text),
    ("network", Shape::Text),
    ("target", Shape::Text),
    (
        "secrets",
        Shape::List(&Shape::OrText(&Shape::Record(&FILE))),
    ),
    ("shm_size", Shape::Size),
    ("tags", Shape::Texts(false)),
    ("ulimits", Shape::Each(&Shape::Ulimit)),
    ("platforms", Shape::Texts(false)),
    ("privileged", Shape::Bool),
]);

const DEVELOP: Record = record(&[("watch", Shape::List(&Shape::Record(&WATCH)))]);

const WATCH: Record = needs(
    &["path", "action"],
    record(&[
        ("path", Shape::Text),
        (
            "action",
            Shape::Choice(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]),
        ),
        ("target", Shape::Text),
        ("exec", Shape::Record(&HOOK)),
        ("include", Shape::TextOrTexts),
        ("ignore", Shape::TextOrTexts),
        ("initial_sync", Shape::Strict),
    ]),
);

const BLKIO: Record = closed(&[
    ("weight", Shape::Int(0, 65535)),
    ("weight_device", Shape::List(&Shape::Record(&WEIGHT))),
    ("device_read_bps", Shape::List(&Shape::Record(&RATE))),
    ("device_read_iops", Shape::List(&Shape::Record(&RATE))),
    ("device_write_bps", Shape::List(&Shape::Record(&RATE))),
    ("device_write_iops", Shape::List(&Shape::Record(&RATE))),
]);

const WEIGHT: Record = closed(&[("path", Shape::Text), ("weight", Shape::Int(0, 65535))]);

const RATE: Record = closed(&[("path", Shape::Text), ("rate", Shape::Size)]);

const FILE: Record = record(&[
    ("source", Shape::Text),
    ("target", Shape::Text),
    ("uid", Shape::Text),
    ("gid", Shape::Text),
    ("mode", Shape::Kept(&Shape::Mode)),
]);

const CREDENTIALS: Record = record(&[
    ("config", Shape::Text),
    ("file", Shape::Text),
    ("registry", Shape::Text),
]);

const DEPENDENCY: Record = needs(
    &["condition"],
    record(&[
        (
            "condition",
            Shape::Choice(&[
                "service_started",
                "service_healthy",
                "service_completed_successfully",
            ]),
        ),
        ("restart", Shape::Bool),
        ("required", Shape::Kept(&Shape::Strict)),
    ]),
);

const DEPLOY: Record = record(&[
    ("mode", Shape::Text),
    ("replicas", Shape::Kept(&WHOLE)),
    ("labels", LABELS),
    ("update_config", Shape::Record(&UPDATE)),
    ("rollback_config", Shape::Record(&UPDATE)),
    ("resources", Shape::Record(&RESOURCES)),
    ("restart_policy", Shape::Record(&RESTART)),
    ("placement", Shape::Record(&PLACEMENT)),
    ("endpoint_mode", Shape::Text),
]);

const UPDATE: Record = record(&[
    ("parallelism", COUNTED),
    ("delay", Shape::Duration),
    ("failure_action", Shape::Text),
    ("monitor", Shape::Duration),
    ("max_failure_ratio", Shape::Float),
    ("order", Shape::Choice(&["start-first", "stop-first"])),
]);

const RESOURCES: Record = fleeting(&[
    ("limits", Shape::Record(&LIMITS)),
    ("reservations", Shape::Record(&RESERVATIONS)),
]);

const LIMITS: Record = record(&[
    ("cpus", Shape::Float),
    ("memory", Shape::SizeText),
    ("pids", WHOLE),
]);

const RESERVATIONS: Record = record(&[
    ("cpus", Shape::Float),
    ("memory", Shape::SizeText),
    (
        "devices",
        Shape::List(&Shape::Record(&NEEDED_DEVICE_REQUEST)),
    ),
    ("generic_resources", Shape::List(&Shape::Record(&GENERIC))),
]);

const GENERIC: Record = record(&[("discrete_resource_spec", Shape::Record(&DISCRETE))]);

const DISCRETE: Record = record(&[
    ("kind", Shape::Kept(&Shape::Text)),
    ("value", Shape::Kept(&Shape::Number)),
]);

const NEEDED_DEVICE_REQUEST: Record = needs(&["capabilities"], DEVICE_REQUEST);

/// Which devices a service asks for.
pub const DEVICE_REQUEST: Record = record(&[
    ("capabilities", Shape::Texts(true)),
    ("driver", Shape::Text),
    ("count", Shape::Count),
    ("device_ids", Shape::Texts(true)),
    ("options", LABELS),
]);

const RESTART: Record = record(&[
    ("condition", Shape::Text),
    ("delay", KEPT_DURATION),
    ("max_attempts", COUNTED),
    ("window", KEPT_DURATION),
]);

const PLACEMENT: Record = fleeting(&[
    ("constraints", Shape::Texts(false)),
    ("preferences", Shape::List(&Shape::Record(&PREFERENCE))),
    ("max_replicas_per_node", WHOLE),
]);

const PREFERENCE: Record = record(&[("spread", Shape::Text)]);

const DEVICE: Record = needs(
    &["source"],
    record(&[
        ("source", Shape::Text),
        ("target", Shape::Text),
        ("permissions", Shape::Text),
    ]),
);

const PROVIDER: Record = needs(
    &["type"],
    record(&[("type", Shape::Text), ("options", Shape::MultiOptions)]),
);

/// A file of variables.
pub const ENV_FILE: Record = needs(
    &["path"],
    closed(&[
        ("path", Shape::Text),
        ("required", Shape::Kept(&Shape::Bool)),
        ("format", Shape::Text),
    ]),
);

const EXTENDS: Record = needs(
    &["service"],
    closed(&[("file", Shape::Text), ("service", Shape::Text)]),
);

const HEALTHCHECK: Record = record(&[
    ("test", Shape::Test),
    ("timeout", KEPT_DURATION),
    ("interval", KEPT_DURATION),
    ("retries", Shape::Kept(&Shape::Number)),
    ("start_period", KEPT_DURATION),
    ("start_interval", KEPT_DURATION),
    ("disable", Shape::Bool),
]);

const LOGGING: Record = record(&[("driver", Shape::Text), ("options", Shape::Options)]);

const SERVICE_MODEL: Record = record(&[("endpoint_var", Shape::Text), ("model_var", Shape::Text)]);

const SERVICE_NETWORK: Record = record(&[
    ("aliases", Shape::Texts(true)),
    ("driver_opts", Shape::Options),
    ("gw_priority", Shape::Number),
    ("interface_name", Shape::Text),
    ("ipv4_address", Shape::Text),
    ("ipv6_address", Shape::Text),
    ("link_local_ips", Shape::Texts(true)),
    ("mac_address", Shape::Text),
    ("priority", Shape::Number),
]);

const PORT: Record = record(&[
    ("name", Shape::Text),
    ("mode", Shape::Text),
    ("host_ip", Shape::Text),
    ("target", Shape::Int(0, 65535)),
    ("published", Shape::TextOrInt),
    ("protocol", Shape::Text),
    ("app_protocol", Shape::Text),
]);

const MOUNT: Record = needs(
    &["type"],
    record(&[
        (
            "type",
            Shape::Choice(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]),
        ),
        ("source", Shape::Text),
        ("target", Shape::Text),
        ("read_only", Shape::Bool),
        ("consistency", Shape::Text),
        ("bind", Shape::Record(&BIND)),
        ("volume", Shape::Record(&MOUNTED_VOLUME)),
        ("tmpfs", Shape::Record(&TMPFS)),
        ("image", Shape::Record(&MOUNTED_IMAGE)),
    ]),
);

const BIND: Record = record(&[
    ("selinux", Shape::Choice(&["z", "Z"])),
    ("propagation", Shape::Text),
    ("create_host_path", Shape::Bool),
    (
        "recursive",
        Shape::Choice(&["enabled", "disabled", "writable", "readonly"]),
    ),
]);

const MOUNTED_VOLUME: Record = record(&[
    ("labels", LABELS),
    ("nocopy", Shape::Bool),
    ("subpath", Shape::Text),
]);

const TMPFS: Record = record(&[("size", Shape::Size), ("mode", Shape::PlainMode)]);

const MOUNTED_IMAGE: Record = record(&[("subpath", Shape::Text)]);

const HOOK: Record = needs(
    &["command"],
    record(&[
        ("command", Shape::Command),
        ("user", Shape::Text),
        ("privileged", Shape::Bool),
        ("working_dir", Shape::Text),
        ("environment", Shape::Pairs(Empty::Unset)),
    ]),
);

const NETWORK: Record = record(&[
    ("name", Shape::Text),
    ("driver", Shape::Text),
    ("driver_opts", Shape::Options),
    ("ipam", Shape::Record(&IPAM)),
    ("external", Shape::External),
    ("internal", Shape::Bool),
    ("attachable", Shape::Bool),
    ("labels", LABELS),
    ("enable_ipv4", KEPT_BOOL),
    ("enable_ipv6", KEPT_BOOL),
]);

const IPAM: Record = fleeting(&[
    ("driver", Shape::Text),
    ("config", Shape::List(&Shape::Record(&POOL))),
    ("options", Shape::Options),
]);

const POOL: Record = record(&[
    ("subnet", Shape::Text),
    ("gateway", Shape::Text),
    ("ip_range", Shape::Text),
    ("aux_addresses", Shape::Options),
]);

const VOLUME: Record = record(&[
    ("name", Shape::Text),
    ("driver", Shape::Text),
    ("driver_opts", Shape::Options),
    ("external", Shape::External),
    ("labels", LABELS),
]);

const SECRET: Record = record(&[
    ("name", Shape::Text),
    ("file", Shape::Text),
    ("environment", Shape::Text),
    ("external", Shape::External),
    ("labels", LABELS),
    ("driver", Shape::Text),
    ("driver_opts", Shape::Options),
    ("template_driver", Shape::Text),
]);

const CONFIG: Record = record(&[
    ("name", Shape::Text),
    ("file", Shape::Text),
    ("environment", Shape::Text),
    ("content", Shape::Text),
    ("external", Shape::External),
    ("labels", LABELS),
    ("template_driver", Shape::Text),
]);

const MODEL: Record = needs(
    &["model"],
    record(&[
        ("name", Shape::Text),
        ("model", Shape::Text),
        ("context_size", WHOLE),
        ("runtime_flags", Shape::Texts(false)),
    ]),
);

/// A limit of two numbers.
pub const ULIMIT: Record = needs(
    &["soft", "hard"],
    record(&[("soft", Shape::Kept(&WHOLE)), ("hard", Shape::Kept(&WHOLE))]),
);

/// The old way to name what is made elsewhere.
pub const EXTERNAL: Record = record(&[("name", Shape::Text)]);
