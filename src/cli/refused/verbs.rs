//! Verbs that there are not.

use super::Row;

const fn verbs(verbs: &'static [&'static str], instead: &'static str) -> Row {
    Row {
        verbs,
        flags: &[],
        instead,
    }
}

/// Verbs, each with all that is below.
pub const VERBS: &[Row] = &[
    verbs(
        &["swarm", "service", "stack", "node", "config"],
        "bryo has no clusters: compose files describe several containers on one machine",
    ),
    verbs(
        &["context", "system connection", "system service", "machine"],
        "there is no daemon to choose or to start: containers are of the user who calls, on this machine; \
         BRYO_ROOT chooses among stores, ssh MACHINE bryo … among machines",
    ),
    verbs(
        &["plugin", "volume update", "volume reload"],
        "there are no plugins: volumes and networks are bryo's own",
    ),
    verbs(
        &["trust", "image trust", "image sign"],
        "images are named by digest (NAME@sha256:…) where it matters which they are; cosign signs them",
    ),
    verbs(
        &["checkpoint", "container checkpoint", "container restore"],
        "running containers are not saved: bryo commit keeps their files, bryo pause lets them rest",
    ),
    verbs(
        &["search", "image search"],
        "the registry's web page searches; bryo pull takes any full name",
    ),
    verbs(
        &["builder build", "image build", "buildx", "bake"],
        "bryo build",
    ),
    verbs(
        &["farm"],
        "bryo build --platform on each machine, then bryo manifest",
    ),
    verbs(
        &["pod", "kube", "generate kube", "play"],
        "--network container:NAME shares a network; compose files describe several containers",
    ),
    verbs(&["quadlet"], "bryo generate systemd writes units"),
    verbs(
        &["artifact"],
        "bryo copy carries images; oras carries other artifacts",
    ),
    verbs(&["generate spec"], "bryo inspect shows all of a container"),
    verbs(
        &["auto-update"],
        "bryo pull, then bryo run --replace; --pull newer asks at each start of a unit",
    ),
    verbs(
        &[
            "mount",
            "unmount",
            "umount",
            "container mount",
            "container unmount",
            "image mount",
            "image unmount",
            "volume mount",
            "volume unmount",
        ],
        "an ordinary user's mounts are seen in his namespace alone: bryo cp, or bryo export | tar -x; \
         the files of volumes are at the Mountpoint of bryo volume inspect",
    ),
    verbs(
        &["unshare"],
        "bryo run --rootfs DIR, or unshare -r of util-linux",
    ),
    verbs(
        &["init", "container init", "container cleanup"],
        "bryo start does all of it; what a killed container left is cleaned up by the next command",
    ),
    verbs(
        &["container clone"],
        "bryo commit, and bryo run of the image",
    ),
    verbs(
        &["container runlabel"],
        "bryo inspect -f '{{.Config.Labels.run}}' IMAGE shows the command that an image proposes",
    ),
    verbs(&["image scp"], "bryo save | ssh MACHINE bryo load"),
    verbs(
        &["image diff"],
        "bryo history, or bryo diff of a container of it",
    ),
    verbs(&["manifest exists"], "bryo manifest inspect"),
    verbs(
        &["network reload", "network update"],
        "networks are whole as long as a container is on them: \
         what is killed is replaced by itself",
    ),
    verbs(
        &["system migrate", "system renumber"],
        "the store is the same for all versions",
    ),
    verbs(&["system check"], "bryo check"),
    verbs(&["system dial-stdio"], "there is no daemon to speak to"),
    verbs(
        &["volume export", "volume import"],
        "bryo run --rm -v NAME:/v IMAGE tar -C /v -c . writes one as a tar, tar -x fills one",
    ),
];
