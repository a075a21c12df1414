/* System calls that root emulation answers, with arguments good and bad; each
 * prints its name and what came of it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define BAD ((void *)0x10)

static void say(const char *name, long result) {
  if (result == -1)
    printf("%s %s\n", name, strerrorname_np(errno));
  else
    printf("%s %ld\n", name, result);
  fflush(stdout);
}

static void files(void) {
  close(open("file", O_CREAT | O_WRONLY, 0644));
  mkdir("dir", 0755);
  close(open("dir/below", O_CREAT | O_WRONLY, 0644));
  symlink("/file", "link");
  symlink("link", "link2");
  symlink("nowhere", "dangling");
  symlink("loop", "loop");
  mkfifo("pipe", 0600);
  int dir = open("dir", O_RDONLY | O_DIRECTORY), path = open("file", O_PATH);
  int file = open("file", O_RDONLY);
  say("through links", chown("link2", 1, 2));
  say("the link", lchown("link2", 3, 4));
  say("pipe", chown("pipe", 5, 6));
  say("dangling", chown("dangling", 1, 1));
  say("dangling itself", lchown("dangling", 7, 8));
  say("loop", chown("loop", 1, 1));
  say("at", fchownat(dir, "below", 9, 10, 0));
  say("only the group", fchownat(dir, "below", -1, 11, 0));
  say("empty path", fchownat(dir, "", 12, 13, AT_EMPTY_PATH));
  say("empty path without flag", fchownat(dir, "", 12, 13, 0));
  say("file as directory", fchownat(file, "x", 1, 1, 0));
  say("unknown flag", fchownat(dir, "below", 1, 1, 1 << 20));
  say("O_PATH by AT_EMPTY_PATH", fchownat(path, "", 14, 15, AT_EMPTY_PATH));
  say("no descriptor", fchown(99, 1, 1));
  say("missing", chown("missing", 1, 1));
  say("below a file", chown("file/x", 1, 1));
  say("proc", chown("/proc/self/fd/1", 1, 1));
  say("standard output", fchown(1, 1, 1));
  say("device", chown("/dev/null", 1, 1));
  int server = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un address = {AF_UNIX, "socket"};
  bind(server, (struct sockaddr *)&address, sizeof address);
  say("socket", chown("socket", 1, 1));
  chmod("file", 06755);
  say("setuid bits", chown("file", 14, 15));
  struct stat st;
  stat("file", &st);
  printf("left of them %o\n", st.st_mode & 07777);
  say("char", mknod("char", S_IFCHR | 0620, makedev(4, 300)));
  say("block", mknodat(dir, "block", S_IFBLK | 0660, makedev(259, 70000)));
  say("char again", mknod("char", S_IFCHR | 0620, makedev(4, 300)));
  say("over a link", mknod("dangling", S_IFCHR | 0620, 0));
  say("device owner", chown("char", 0, 5));
  say("in proc", mknod("/proc/self/x", S_IFCHR | 0600, 0));
  say("no parent", mknod("no/x", S_IFCHR | 0600, 0));
  say("real fifo", mknod("fifo", S_IFIFO | 0600, 0));
  char capability[20] = {0, 0, 0, 2, 0, 4};
  const char *name = "security.capability";
  say("capability", setxattr("link", name, capability, 20, 0));
  say("capability, wrong size", setxattr("link", name, capability, 7, 0));
  say("capability, missing file", setxattr("missing", name, capability, 20, 0));
  say("acl", setxattr("file", "system.posix_acl_access", capability, 4, 0));
  say("user attribute", setxattr("file", "user.x", "y", 1, 0));
}

static void pointers(void) {
  say("chown", chown(BAD, 1, 1));
  say("fchownat", fchownat(AT_FDCWD, BAD, 1, 1, 0));
  say("mknod", mknod(BAD, S_IFCHR, 1));
  say("xattr name", setxattr("/file", BAD, "", 1, 0));
  say("xattr value", setxattr("/file", "security.capability", BAD, 20, 0));
  say("xattr path", setxattr(BAD, "security.capability", BAD, 20, 0));
  say("setgroups", syscall(SYS_setgroups, 3, BAD));
  say("setgroups, huge", syscall(SYS_setgroups, (size_t)1 << 40, BAD));
  say("setgroups, -1", syscall(SYS_setgroups, -1, BAD));
  say("setgroups, 65537", syscall(SYS_setgroups, 65537, BAD));
  say("capset", syscall(SYS_capset, BAD, BAD));
  char *end = (char *)mmap(0, 8192, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 4096;
  munmap(end, 4096);
  memset(end - 100, 'a', 100);
  say("unterminated", chown(end - 100, 1, 1));
  strcpy(end - 6, "/file");
  say("at the end of a page", chown(end - 6, 21, 22));
  char long_path[PATH_MAX + 10];
  for (int i = 0; i < PATH_MAX; i += 2) memcpy(long_path + i, "./", 2);
  strcpy(long_path + PATH_MAX - 6, "/file");
  say("PATH_MAX with its end", chown(long_path, 23, 24));
  memset(long_path, '/', sizeof long_path - 1);
  strcpy(long_path + PATH_MAX, "file");
  say("longer", chown(long_path, 1, 1));
  memset(long_path, 'a', 300);
  strcpy(long_path + 300, "");
  say("long name", chown(long_path, 1, 1));
  say("long name for a device", mknod(long_path, S_IFCHR | 0600, 1));
  uid_t id;
  say("setgroups of one", setgroups(1, (gid_t[]){9}));
  say("getresuid", syscall(SYS_getresuid, BAD, &id, &id));
  say("getgroups", syscall(SYS_getgroups, 5, BAD));
  say("getgroups, no room", syscall(SYS_getgroups, -1, BAD));
}

static void ids(void) {
  uid_t r, e, s;
  gid_t groups[70000];
  say("setgroups", setgroups(3, (gid_t[]){5, 6, 7}));
  say("getgroups", getgroups(70000, groups));
  for (int i = 0; i < 65536; i++) groups[i] = i;
  say("setgroups of 65536", setgroups(65536, groups));
  say("getgroups of 65536", getgroups(0, 0));
  say("setgroups", setgroups(1, (gid_t[]){8}));
  say("setresgid", setresgid(40, 41, 42));
  getresgid(&r, &e, &s);
  printf("groups %u %u %u\n", r, e, s);
  say("seteuid", seteuid(33));
  say("effective", geteuid());
  say("real", getuid());
  say("chown as 33", chown("/file", 1, 1));
  say("and back", seteuid(0));
  say("chown as root", chown("/file", 0, 0));
  say("setfsuid", setfsuid(7));
  say("setfsuid again", setfsuid(-1));
  say("setresuid", setresuid(50, 51, 52));
  getresuid(&r, &e, &s);
  printf("users %u %u %u\n", r, e, s);
  say("to the saved one", seteuid(52));
  say("to root", setuid(0));
  say("to root, effective", seteuid(0));
  say("to root, all", setresuid(0, 0, 0));
  say("to group 0", setgid(0));
  say("groups", setgroups(0, 0));
  say("chown dropped", chown("/file", 1, 1));
  say("capability dropped",
      setxattr("/file", "security.capability", "01234567890123456789", 20, 0));
  pid_t child = fork();
  if (child == 0) {
    say("child", geteuid());
    say("child to root", setuid(0));
    execl("/proc/self/exe", "calls", "whoami", NULL);
  }
  waitpid(child, 0, 0);
}

static void whoami(void) {
  printf("executed as %u %u\n", getuid(), geteuid());
  say("executed, to root", setuid(0));
}

static void *ask(void *nothing) {
  for (;;) {
    lchown("/file", 1, 1);
    (void)!setuid(getuid());
  }
  return nothing;
}

/* Ends threads and processes while they wait for an answer. */
static void killed(void) {
  for (int n = 0; n < 200; n++) {
    pid_t child = fork();
    if (child == 0) {
      pthread_t thread;
      for (int i = 0; i < 3; i++) pthread_create(&thread, NULL, ask, NULL);
      ask(NULL);
    }
    usleep(n * 37 % 3000);
    kill(child, SIGKILL);
    waitpid(child, 0, 0);
  }
  say("still answered", chown("/file", 31, 32));
  say("still root", getuid());
}

#ifdef __x86_64__
static long call32(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(number), "b"(a), "c"(b), "d"(c)
                   : "memory", "r8", "r9", "r10", "r11");
  if (result < 0 && result > -4096) {
    errno = -result;
    return -1;
  }
  return result;
}

/* The 32-bit calls of a 64-bit processor; static data is below 4 GiB. */
static void i386(void) {
  static char path[] = "/file";
  static uint16_t small[2] = {3, 4};
  static uint32_t wide[3];
  intptr_t p = (intptr_t)path;
  say("chown of 16 bits", call32(182, p, 61, 0xffff));
  say("chown32", call32(212, p, 0x12345, 62));
  say("setgroups of 16 bits", call32(81, 2, (intptr_t)small, 0));
  say("getgroups32", call32(205, 3, (intptr_t)wide, 0));
  printf("groups %u %u\n", wide[0], wide[1]);
  say("bad pointer", call32(212, 0x10, 1, 1));
  say("setuid32", call32(213, 70000, 0, 0));
  say("getuid32", call32(199, 0, 0, 0));
  say("geteuid by the other ABI", geteuid());
  say("getuid of 16 bits", call32(24, 0, 0, 0));
  say("setuid of 16 bits", call32(23, 0, 0, 0));
}
#endif

/* File capabilities as they are told under full emulation. */
static void capabilities(void) {
  char set[20] = {1, 0, 0, 2, 0, 32}, got[64];
  memset(got, 7, sizeof got);
  say("none yet", getxattr("file", "security.capability", got, sizeof got));
  say("set", setxattr("file", "security.capability", set, sizeof set, 0));
  say("size", getxattr("file", "security.capability", NULL, 0));
  say("get", lgetxattr("file", "security.capability", got, sizeof got));
  say("the same", !memcmp(got, set, sizeof set) && got[sizeof set] == 7);
  say("too small", getxattr("file", "security.capability", got, 19));
  say("bad pointer", getxattr("file", "security.capability", BAD, 20));
  say("another name", getxattr("file", "user.none", got, sizeof got));
  say("removed", removexattr("file", "security.capability"));
  say("gone", getxattr("file", "security.capability", got, sizeof got));
  say("removed again", lremovexattr("file", "security.capability"));
  say("set again", setxattr("file", "security.capability", set, sizeof set, 0));
  chown("file", 1, 1);
  say("gone with the owner", getxattr("file", "security.capability", got, sizeof got));
}

/* What bryo would record of files itself, where it records anything. */
static void pretend(void) {
  const char *record = "user.containers.override_stat", *name = "user.bryo.security.capability";
  char set[20] = {1, 0, 0, 2, 0, 32};
  close(open("mine", O_CREAT | O_WRONLY, 0755));
  say("root's", setxattr("mine", record, "0:0:4755:file", 13, 0));
  say("capable", setxattr("mine", name, set, sizeof set, 0));
  say("mode", chmod("mine", 04755));
  close(open("device", O_CREAT | O_WRONLY, 0666));
  say("device", setxattr("device", record, "1000:1000:0666:block-8-0", 24, 0));
  mkdir("directory", 0777);
  close(open("broken", O_CREAT | O_WRONLY, 0644));
  say("broken", setxattr("broken", record, "x:y", 3, 0));
  say("directory", setxattr("directory", record, "0:0:7777:dir", 12, 0));
}

int main(int count, char **words) {
  const char *what = count > 1 ? words[1] : "";
  if (!strcmp(what, "files")) files();
  else if (!strcmp(what, "pointers")) pointers();
  else if (!strcmp(what, "ids")) ids();
  else if (!strcmp(what, "whoami")) whoami();
  else if (!strcmp(what, "killed")) killed();
  else if (!strcmp(what, "pretend")) pretend();
  else if (!strcmp(what, "capabilities")) capabilities();
#ifdef __x86_64__
  else if (!strcmp(what, "i386")) i386();
#endif
  else return 2;
}
