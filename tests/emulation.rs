//! Root emulation: what package managers and daemons do as root, with one id.

use super::common::{Output, Sandbox, debian_tar, repository, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A sandbox whose store has the image `debian`.
fn with_debian() -> Sandbox {
    let sandbox = Sandbox::new();
    let import = sandbox.bryo(["import"]).arg(debian_tar());
    import.arg("debian").output().expect(0);
    sandbox
}

/// Runs a shell script in a container of the image, which is kept by the name
/// `c`.
#[track_caller]
fn script(sandbox: &Sandbox, flags: &[&str], image: &str, script: &str) -> Output {
    let run = sandbox.bryo(["run", "--name", "c", "--root-emulation", "on"]);
    let run = run.args(["--network", "none"]).args(flags);
    run.args([image, "sh", "-ec", script]).output()
}

/// What `tar tv` says of the files in an export of the container, by name:
/// mode, owner, and size or device number.
#[track_caller]
fn exported(sandbox: &Sandbox, container: &str, archive: &Path) -> BTreeMap<String, String> {
    let export = sandbox.bryo(["export", container, "-o"]).arg(archive);
    export.output().expect(0);
    listing(sandbox, archive)
}

fn listing(sandbox: &Sandbox, archive: &Path) -> BTreeMap<String, String> {
    let tar = sandbox.command("tar").args(["--numeric-owner", "-tvf"]);
    let text = tar.arg(archive).stdout();
    let mut files = BTreeMap::new();
    for line in text.lines() {
        // Mode, owner, size, date, time, name.
        let mut rest = line;
        let mut words = Vec::new();
        for _ in 0..5 {
            let (word, more) = rest.split_once(' ').unwrap_or((rest, ""));
            words.push(word);
            rest = more.trim_start();
        }
        let name = rest.split(" -> ").next().unwrap_or_default();
        let about = format!("{} {} {}", words[0], words[1], words[2]);
        files.insert(name.to_owned(), about);
    }
    files
}

#[track_caller]
fn check(files: &BTreeMap<String, String>, wanted: &[(&str, &str)]) {
    for (name, about) in wanted {
        let found = files.get(*name).map_or("nothing", String::as_str);
        assert!(found.contains(about), "{name}: {about:?} is not {found:?}");
    }
}

/// The program with the system calls, in an image of busybox.
fn calls_tree(sandbox: &Sandbox) -> String {
    let tree = sandbox.busybox_tree("tree");
    let source = repository().join("tests/emulation/calls.c");
    let gcc = sandbox.command("gcc").args(["-static", "-no-pie", "-w"]);
    let gcc = gcc.args(["-pthread", "-o"]).arg(tree.join("calls"));
    gcc.arg(source).output().expect(0);
    format!("dir:{}", tree.display())
}

/// Runs one part of the program and compares what came of each call.
#[track_caller]
fn calls(part: &str, wanted: &str) -> (Sandbox, BTreeMap<String, String>) {
    let sandbox = Sandbox::new();
    let image = calls_tree(&sandbox);
    let command = format!("cd /; touch file; /calls {part}");
    let output = script(&sandbox, &[], &image, &command).expect(0);
    let wanted: Vec<&str> = wanted.lines().map(str::trim).collect();
    let found: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(found, wanted);
    let archive = sandbox.work().join("export.tar");
    let files = exported(&sandbox, "c", &archive);
    (sandbox, files)
}

#[test]
fn packages_install_as_root() {
    let sandbox = with_debian();
    // The machine's own configuration finds its mirror. It is copied, since
    // packages add to it.
    let mut flags = vec!["-v", "/etc/apt:/mnt/apt:ro"];
    let authorities = "/etc/ssl/certs/ca-certificates.crt";
    let bound = format!("{authorities}:/mnt/authorities:ro");
    let mut options = "";
    if Path::new(authorities).exists() {
        flags.extend(["-v", &bound]);
        options = "-o Acquire::https::CAInfo=/mnt/authorities";
    }
    let install = format!(
        "cp -r /mnt/apt/. /etc/apt/ || true
        apt-get {options} update
        apt-get {options} install -y nginx openssh-client postgresql"
    );
    let run = sandbox.bryo(["run", "--name", "c", "--network", "host"]);
    let run = run.args(["--userns", "single"]);
    let run = run
        .args(flags)
        .args(["-e", "DEBIAN_FRONTEND=noninteractive"]);
    let run = run.args(["debian", "sh", "-ec", &install]);
    let installed = run.output_within(Duration::from_secs(600)).expect(0);
    for fault in ["Operation not permitted", "Invalid argument"] {
        let said = installed.stderr.contains(fault) || installed.stdout.contains(fault);
        assert!(!said, "{installed}");
    }

    let archive = sandbox.work().join("export.tar");
    let files = exported(&sandbox, "c", &archive);
    let user = |name: &str| {
        let tar = sandbox.command("tar").arg("-xOf").arg(&archive);
        let passwd = tar.arg("etc/passwd").stdout();
        let line = passwd.lines().find(|l| l.starts_with(&format!("{name}:")));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{passwd}"));
        let parts: Vec<&str> = line.split(':').collect();
        format!("{}/{}", parts[2], parts[3])
    };
    let postgres = user("postgres");
    let www_data = user("www-data").split('/').next().unwrap().to_owned() + "/4 ";
    check(
        &files,
        &[
            ("usr/bin/ssh-agent", "-rwxr-sr-x 0/"),
            ("var/lib/postgresql/", &postgres),
            ("var/log/nginx/access.log", &www_data),
            ("etc/hosts", "-rw-r--r-- 0/0 0"),
        ],
    );
    let group = files["usr/bin/ssh-agent"].split(['/', ' ']).nth(2);
    assert_ne!(group, Some("0"), "{}", files["usr/bin/ssh-agent"]);

    // What comes in again is what went out.
    let import = sandbox.bryo(["import"]).arg(&archive).arg("installed");
    import.output().expect(0);
    let run = sandbox.bryo(["run", "--name", "again", "--network", "none"]);
    run.args(["--userns", "single", "installed", "true"])
        .output()
        .expect(0);
    let second = sandbox.work().join("again.tar");
    assert_eq!(exported(&sandbox, "again", &second), files);

    // Postgres wants to own its files: it does as the user of the container.
    let postgres = "PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
        initdb -D /tmp/db >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
        pg_ctl -D /tmp/db -l /tmp/log -o '-k /tmp -h \"\"' -w start >/dev/null
        psql -h /tmp -d postgres -Atc 'select current_user'
        pg_ctl -D /tmp/db -w stop >/dev/null";
    let single = ["--rm", "--network", "none", "--userns", "single"];
    let run = sandbox
        .bryo(["run"])
        .args(single)
        .args(["--user", "postgres"]);
    let said = run.args(["installed", "sh", "-ec", postgres]).stdout();
    assert_eq!(said, "postgres");

    // As root's child it does not (docs/root-emulation.md): it finds them to
    // be root's.
    let dropped = "su postgres -c '/usr/lib/postgresql/*/bin/initdb -D /tmp/db'";
    let run = sandbox.bryo(["run"]).args(single).arg("installed");
    let refused = run.args(["sh", "-ec", dropped]).output();
    assert!(refused.code != 0, "{refused}");
    assert!(refused.stderr.contains("wrong ownership"), "{refused}");

    // Told that they are its own, it does.
    let cluster = "version=$(ls /usr/lib/postgresql)
        pg_createcluster $version full >/dev/null 2>&1
        pg_ctlcluster $version full start >/dev/null 2>&1
        pg_lsclusters -h | tr -s ' ' | cut -d ' ' -f 2,4,5";
    let run = sandbox.bryo(["run"]).args(single);
    let run = run.args(["--root-emulation", "full", "installed"]);
    assert_eq!(
        run.args(["sh", "-ec", cluster]).stdout(),
        "full online postgres"
    );
}

#[test]
fn tools_of_root_work() {
    let sandbox = with_debian();
    let output = script(
        &sandbox,
        &[],
        "debian",
        "cd /root
        useradd -m anna
        su anna -c 'id -un; id -un'
        runuser -u anna -- id -u
        setpriv --reuid=5 --regid=6 --groups=7,8 id -G
        setpriv --reuid=anna --regid=anna --init-groups --inh-caps=-all id -gn
        su anna -c 'su -c id' </dev/null && exit 1
        su anna -c 'chown 5 ~' 2>&1 && exit 1
        setpriv --reuid=5 --regid=6 --clear-groups setpriv --reuid=0 id 2>&1 && exit 1
        id -u
        perl -e '$> = 33; print qq($>\\n); $> = 0; print qq($>\\n);
            ($<, $>) = (33, 33); print qq($< $>\\n);'
        touch file; chown 33:44 file; chown :45 file
        ln -s file link; chown -h 1:2 link; chown -h :3 link
        mkdir tree; cp -a file link tree/
        tar -cf tree.tar --numeric-owner --owner=30 --group=31 tree
        mkdir out; tar -C out -xf tree.tar
        install -o 20 -g 21 -m 751 file installed
        install -d -o 22 -g 23 directory
        chown -R 10:11 out/tree; chown -h 12 out/tree/link
        mv link renamed
        mknod null c 1 3; mknod -m 600 sda b 8 0
        mknod null c 1 3 2>&1 && exit 1
        chown 5 /dev/stdout; chown 5 /dev/null
        mkdir -p deb/DEBIAN deb/opt
        printf 'Package: x\\nVersion: 1\\nArchitecture: all\\nMaintainer: x <x@x>\\n' >deb/DEBIAN/control
        printf 'Description: x\\n x\\n' >>deb/DEBIAN/control
        printf '#!/bin/sh\\nset -e\\nadduser --system --group packaged\\nchown packaged /opt/x\\n' >deb/DEBIAN/postinst
        chmod 755 deb/DEBIAN/postinst
        echo x >deb/opt/x
        dpkg-deb -b deb x.deb >/dev/null
        dpkg -i x.deb >/dev/null 2>&1",
    )
    .expect(0);
    let said: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(
        said,
        [
            "anna",
            "anna",
            "1000",
            "6 7 8",
            "anna",
            "chown: changing ownership of '/home/anna': Operation not permitted",
            "setpriv: activate capabilities: Operation not permitted",
            "0",
            "33",
            "0",
            "33 33",
            "mknod: null: File exists",
        ]
    );
    let archive = sandbox.work().join("export.tar");
    let files = exported(&sandbox, "c", &archive);
    check(
        &files,
        &[
            ("home/anna/", " 1000/1000 "),
            ("home/anna/.profile", " 1000/1000 "),
            ("root/file", "-rw-r--r-- 33/45 "),
            ("root/renamed", "lrwxrwxrwx 1/3 "),
            ("root/installed", "-rwxr-x--x 20/21 "),
            ("root/directory/", " 22/23 "),
            ("root/out/tree/file", " 10/11 "),
            ("root/out/tree/link", " 12/11 "),
            ("root/null", "crw-r--r-- 0/0 1,3"),
            ("root/sda", "brw------- 0/0 8,0"),
        ],
    );
    // Its user was the first of the system's users to be free.
    let owner = files["opt/x"].split(' ').nth(1).unwrap();
    let uid: u32 = owner.split('/').next().unwrap().parse().unwrap();
    assert!((100..1000).contains(&uid), "{owner}");
    // Nothing is read from a container that is gone.
    sandbox.bryo(["rm", "c"]).output().expect(0);
    let gone = sandbox.bryo(["export", "c"]).output().expect(1);
    assert!(gone.stderr.contains("No such container: c"), "{gone}");
}

#[test]
fn what_an_image_says_of_links_and_pipes_stays_where_nothing_else_is_said() {
    let sandbox = with_debian();
    let made = "ln -s x /l; ln -s x /m; mkfifo /p; chown -h 5:6 /l /m /p";
    script(&sandbox, &[], "debian", made).expect(0);
    sandbox
        .bryo(["commit", "-q", "c", "made"])
        .output()
        .expect(0);
    sandbox.bryo(["rm", "c"]).output().expect(0);
    let said = "chown -h :9 /l; chown 9 /p; chown -h root:root /m";
    script(&sandbox, &[], "made", said).expect(0);
    sandbox
        .bryo(["commit", "-q", "c", "again"])
        .output()
        .expect(0);
    sandbox.bryo(["rm", "c"]).output().expect(0);
    script(&sandbox, &[], "again", "true").expect(0);
    let files = exported(&sandbox, "c", &sandbox.work().join("export.tar"));
    check(&files, &[("l", " 5/9 "), ("p", " 9/6 "), ("m", " 0/0 ")]);
}

/// What programs do that look at an owner after they have set it.
const LOOKING_AFTER: &str = "cd /root
    useradd -m bob
    su bob -c 'test -O ~ && test -G ~ && echo his'
    userdel -r bob; test -e /home/bob || echo gone
    mkdir tree; echo x >tree/file; ln -s file tree/link
    chown 33:44 tree/file; chown -h 5:6 tree/link; chown 7:8 tree
    stat -c '%u:%g %n' tree tree/file tree/link
    stat -L -c '%u:%g' tree/link
    ls -nd tree | cut -d ' ' -f 3,4
    find . -user 33 -group 44; find tree -newer /nothing 2>&1 | grep -c 'No such file'
    chown :45 tree/file; stat -c %u:%g tree/file
    cp -a tree copy; stat -c %u:%g copy/file copy/link
    tar -cf tree.tar tree && tar -df tree.tar && echo same
    chown 34 tree/file; tar -df tree.tar
    chroot --userspec=33:44 --groups=5 / sh -c 'id -u; id -g; id -G'
    perl -e '@s = stat shift; print qq($s[4] $s[5]\n);
        open F, shift; @s = stat F; print qq($s[4] $s[5]\n)' tree tree/file
    dpkg-statoverride --update --add www-data adm 2750 /root/copy
    stat -c '%U %G %a' copy";

/// What that says with further ids, which are real.
const LOOKED_AFTER: &str = "his
gone
7:8 tree
33:44 tree/file
5:6 tree/link
33:44
7 8
./tree/file
1
33:45
33:45
5:6
same
tree/file: Uid differs
33
44
44 5
7 8
34 45
www-data adm 2750";

#[test]
fn full_emulation_says_what_it_was_told() {
    let sandbox = Sandbox::with_busybox();
    let import = sandbox.bryo(["import"]).arg(debian_tar());
    import.arg("debian").output().expect(0);
    let mut maps = vec![vec!["--root-emulation", "full"]];
    // Whoever has further ids sees the same there.
    if super::ids::granted(&sandbox).is_some() {
        maps.push(vec!["--userns", "range"]);
    }
    for flags in maps {
        let run = sandbox.bryo(["run", "--rm", "--network", "none"]);
        let run = run.args(&flags).args(["debian", "sh", "-c", LOOKING_AFTER]);
        let output = run.output().expect(0);
        assert_eq!(
            output.stdout.trim_end(),
            LOOKED_AFTER,
            "{flags:?}: {output}"
        );
    }
}

#[test]
fn what_a_containers_user_writes_about_his_files_is_not_believed() {
    let sandbox = Sandbox::with_busybox();
    if super::ids::granted(&sandbox).is_none() {
        // All files are one user's then.
        return;
    }
    calls_tree(&sandbox);
    let pack = sandbox
        .command("tar")
        .args(["-C", "tree", "-cf", "tree.tar"]);
    pack.args(["--owner=0", "--group=0", "."])
        .output()
        .expect(0);
    sandbox
        .bryo(["import", "tree.tar", "tree"])
        .output()
        .expect(0);
    let run = sandbox.bryo(["run", "-d", "--name", "c", "--network", "none"]);
    let run = run.args(["--userns", "range", "tree", "sh", "-c"]);
    run.arg("mkdir -m 1777 /w; exec sleep 1000")
        .output()
        .expect(0);
    let exec = sandbox.bryo([
        "exec",
        "-u",
        "1000:1000",
        "-w",
        "/w",
        "c",
        "/calls",
        "pretend",
    ]);
    let said = exec.output().expect(0).stdout;
    assert_eq!(
        said.lines().filter(|line| line.ends_with(" 0")).count(),
        6,
        "{said}"
    );
    sandbox
        .bryo(["commit", "-q", "c", "made"])
        .output()
        .expect(0);
    sandbox
        .bryo(["create", "--name", "d", "made", "true"])
        .output()
        .expect(0);
    let cp = format!("{} cp c:/w - >cp.tar", super::common::bryo().display());
    sandbox.command("sh").args(["-c", &cp]).output().expect(0);
    for container in ["c", "d"] {
        let export = sandbox.bryo(["export", container, "-o"]);
        export.arg(format!("{container}.tar")).output().expect(0);
    }
    for name in ["c.tar", "d.tar", "cp.tar"] {
        let archive = sandbox.work().join(name);
        check(
            &listing(&sandbox, &archive),
            &[
                ("w/mine", "-rwsr-xr-x 1000/1000 "),
                ("w/device", "-rw-r--r-- 1000/1000 "),
                ("w/directory/", "drwxr-xr-x 1000/1000 "),
            ],
        );
        let bytes = fs::read(&archive).unwrap();
        let capability = bytes
            .windows(32)
            .any(|part| part == b"SCHILY.xattr.security.capability");
        assert!(!capability, "{name}");
    }
    sandbox.bryo(["rm", "-f", "c", "d"]).output().expect(0);
}

#[test]
fn full_emulation_tells_devices_and_capabilities() {
    let sandbox = Sandbox::new();
    let image = calls_tree(&sandbox);
    let bound = sandbox.work().join("bound");
    fs::create_dir(&bound).unwrap();
    // What others recorded on files of the host says nothing here.
    let foreign = bound.join("foreign");
    fs::write(&foreign, "").unwrap();
    let set = "import os, sys; os.setxattr(sys.argv[1], sys.argv[2], b'5:6:0644:file')";
    let set = sandbox.command("python3").args(["-c", set]).arg(&foreign);
    set.arg("user.containers.override_stat").output().expect(0);
    let volume = format!("{}:/bound", bound.display());
    let run = sandbox.bryo([
        "run",
        "--rm",
        "--network",
        "none",
        "--root-emulation",
        "full",
    ]);
    let run = run.args(["-v", &volume, &image, "sh", "-c"]);
    let said = run.arg(
        "mknod null c 1 3; mknod -m 600 sda b 8 0; stat -c '%F %t:%T %a' null sda
        touch file; /calls capabilities file
        mkfifo pipe; chown 3:4 pipe; stat -c '%u:%g %F' pipe
        stat -c '%u:%g' /bound/foreign /proc/self /dev/null; stat /none 2>&1 | tail -n 1",
    );
    let wanted = "character special file 1:3 644
block special file 8:0 600
none yet ENODATA
set 0
size 20
get 20
the same 1
too small ERANGE
bad pointer EFAULT
another name ENODATA
removed 0
gone ENODATA
removed again ENODATA
set again 0
gone with the owner ENODATA
3:4 fifo
0:0
65534:65534
65534:65534
stat: can't stat '/none': No such file or directory";
    assert_eq!(said.stdout(), wanted);
}

#[test]
fn files_get_owners() {
    let (sandbox, files) = calls(
        "files",
        "through links 0
        the link 0
        pipe 0
        dangling ENOENT
        dangling itself 0
        loop ELOOP
        at 0
        only the group 0
        empty path 0
        empty path without flag ENOENT
        file as directory ENOTDIR
        unknown flag EINVAL
        O_PATH by AT_EMPTY_PATH 0
        no descriptor EBADF
        missing ENOENT
        below a file ENOTDIR
        proc 0
        standard output 0
        device 0
        socket 0
        setuid bits 0
        left of them 755
        char 0
        block 0
        char again EEXIST
        over a link EEXIST
        device owner 0
        in proc EPERM
        no parent ENOENT
        real fifo 0
        capability 0
        capability, wrong size EINVAL
        capability, missing file ENOENT
        acl 0
        user attribute 0",
    );
    check(
        &files,
        &[
            ("file", "-rwxr-xr-x 14/15 "),
            ("link", "lrwxrwxrwx 0/0 "),
            ("link2", "lrwxrwxrwx 3/4 "),
            ("dangling", "lrwxrwxrwx 7/8 "),
            ("pipe", "prw------- 5/6 "),
            ("dir/", " 12/13 "),
            ("dir/below", " 9/11 "),
            ("char", "crw------- 0/5 4,300"),
            ("dir/block", "brw-r----- 0/0 259,70000"),
        ],
    );
    assert!(!files.contains_key("socket"), "{files:?}");
    let tar = sandbox
        .command("tar")
        .args(["--xattrs", "--xattrs-include=*", "-tvvf"]);
    let list = tar.arg(sandbox.work().join("export.tar")).stdout();
    assert!(list.contains("x: 20 security.capability"), "{list}");
    assert!(list.contains("x: 1 user.x"), "{list}");
    assert!(
        !list.contains("user.bryo") && !list.contains("user.containers"),
        "{list}"
    );
}

#[test]
fn bad_arguments_are_refused() {
    let (_sandbox, files) = calls(
        "pointers",
        "chown EFAULT
        fchownat EFAULT
        mknod EFAULT
        xattr name EFAULT
        xattr value EFAULT
        xattr path EFAULT
        setgroups EFAULT
        setgroups, huge EINVAL
        setgroups, -1 EINVAL
        setgroups, 65537 EINVAL
        capset EFAULT
        unterminated EFAULT
        at the end of a page 0
        PATH_MAX with its end 0
        longer ENAMETOOLONG
        long name ENAMETOOLONG
        long name for a device ENAMETOOLONG
        setgroups of one 0
        getresuid EFAULT
        getgroups EFAULT
        getgroups, no room EINVAL",
    );
    check(&files, &[("file", " 23/24 ")]);
}

#[test]
fn who_dropped_root_does_not_get_it_back() {
    calls(
        "ids",
        "setgroups 0
        getgroups 3
        setgroups of 65536 0
        getgroups of 65536 65536
        setgroups 0
        setresgid 0
        groups 40 41 42
        seteuid 0
        effective 33
        real 0
        chown as 33 EPERM
        and back 0
        chown as root 0
        setfsuid 0
        setfsuid again 7
        setresuid 0
        users 50 51 52
        to the saved one 0
        to root EPERM
        to root, effective EPERM
        to root, all EPERM
        to group 0 EPERM
        groups EPERM
        chown dropped EPERM
        capability dropped EPERM
        child 52
        child to root EPERM
        executed as 50 52
        executed, to root EPERM",
    );
}

#[test]
fn those_who_are_killed_while_they_wait_disturb_nobody() {
    let (_sandbox, files) = calls("killed", "still answered 0\nstill root 0");
    check(&files, &[("file", " 31/32 ")]);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_of_32_bits() {
    let (_sandbox, files) = calls(
        "i386",
        "chown of 16 bits 0
        chown32 0
        setgroups of 16 bits 0
        getgroups32 2
        groups 3 4
        bad pointer EFAULT
        setuid32 0
        getuid32 70000
        geteuid by the other ABI 70000
        getuid of 16 bits 65534
        setuid of 16 bits EPERM",
    );
    check(&files, &[("file", " 74565/62 ")]);
}

#[test]
fn it_can_be_off() {
    let sandbox = Sandbox::with_busybox();
    let chown = "touch /tmp/f; chown 5 /tmp/f 2>&1; mknod /tmp/d c 1 3 2>&1";
    let refused = "chown: /tmp/f: Invalid argument\nmknod: /tmp/d: Operation not permitted";
    for flags in [["--root-emulation", "off"], ["--user", "1000"]] {
        let run = sandbox.bryo(["run", "--rm", "--network", "none"]);
        let run = run.args(flags).args(["--userns", "single"]);
        let output = run.args(["busybox", "sh", "-c", chown]).output();
        assert_eq!(output.stdout.trim_end(), refused, "{output}");
    }
    let user = sandbox.shell(&["--user", "1000"], "id -u");
    assert_eq!(user, "1000");
    sandbox.shell(&["--root-emulation", "on"], "chown 5 /bin");
}

#[test]
fn commands_of_exec_are_emulated_too() {
    let sandbox = Sandbox::with_busybox();
    let running = sandbox.start("web", &["--root-emulation", "on"]);
    // The second is done when the exec is over.
    let command = "cd /root; touch f g; ln -s f l
        chown 5:6 f; chown -h 7:8 l
        (sleep 0.5; chown 9:9 g && touch done) >/dev/null 2>&1 &";
    let exec = sandbox.bryo(["exec", "web", "sh", "-ec", command]);
    exec.output().expect(0);
    wait_for("the command in the background", || {
        let test = sandbox.bryo(["exec", "web", "test", "-e", "/root/done"]);
        (test.output().code == 0).then_some(())
    });
    // While it runs.
    let archive = sandbox.work().join("export.tar");
    let files = exported(&sandbox, "web", &archive);
    check(
        &files,
        &[
            ("root/f", " 5/6 "),
            ("root/g", " 9/9 "),
            ("root/l", " 7/8 "),
        ],
    );
    running.signal(Signal::SIGTERM);
    running.wait().expect(0);
}

#[test]
fn a_killed_supervisor_takes_the_container_with_it() {
    let sandbox = Sandbox::with_busybox();
    let command = "echo ready; while :; do chown 5 /bin/sh; done";
    let run = sandbox.bryo(["run", "--name", "c", "--network", "none"]);
    let run = run.args(["--root-emulation", "on", "busybox", "sh", "-c", command]);
    let mut running = run.spawn();
    running.expect_line("ready");
    let container = Pid::from_raw(sandbox.pid("c"));
    let children = format!("/proc/{0}/task/{0}/children", running.pid());
    let supervisor = fs::read_to_string(children).unwrap();
    let supervisor = Pid::from_raw(supervisor.trim().parse().unwrap());
    kill(supervisor, Signal::SIGKILL).unwrap();
    running.wait().expect(125);
    wait_for("the end of the container", || kill(container, None).err());
    sandbox.bryo(["rm", "c"]).output().expect(0);
}

#[test]
fn an_export_is_whole_or_nothing_and_always_the_same() {
    let sandbox = Sandbox::with_busybox();
    let long = "d".repeat(200);
    let command = format!(
        "cd /root; mkdir -p {long}/{long}; echo x >{long}/{long}/file
        ln {long}/{long}/file second; chmod 0 {long}/{long}/file
        rm -r /home; mkdir -m 0 closed; ln -s {long}/{long} link"
    );
    script(&sandbox, &[], "busybox", &command).expect(0);
    let first = sandbox.work().join("1.tar");
    let files = exported(&sandbox, "c", &first);
    let name = format!("root/{long}/{long}/file");
    check(
        &files,
        &[(&name, "---------- 0/0 2"), ("root/closed/", "d---------")],
    );
    assert!(
        files
            .keys()
            .any(|k| k.starts_with("root/second link to root/ddd"))
    );
    assert!(!files.contains_key("home/"), "{files:?}");
    let second = sandbox
        .bryo(["export", "c"])
        .into_command()
        .output()
        .unwrap();
    assert!(second.stdout == fs::read(&first).unwrap(), "they differ");
    // It may not write there.
    let nowhere = sandbox.work().join("no/such.tar");
    let failed = sandbox.bryo(["export", "c", "-o"]).arg(&nowhere).output();
    let failed = failed.expect(1);
    assert!(failed.stderr.contains("no/such.tar"), "{failed}");
    let full = sandbox.bryo(["export", "c", "-o", "/dev/full"]).output();
    let full = full.expect(1);
    assert!(full.stderr.contains("No space left"), "{full}");
    let names: Vec<_> = fs::read_dir(sandbox.work()).unwrap().flatten().collect();
    let names: Vec<_> = names.iter().map(|e| e.file_name()).collect();
    assert_eq!(names, ["1.tar"]);
}
