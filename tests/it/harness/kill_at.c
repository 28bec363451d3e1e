/* A library preloaded into a process, which kills it (SIGKILL) right before its Nth disk operation; a write is half done
   first. KILL_AT: N. KILL_TRACE: a file that gets a line for each operation: its name and its path. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long steps;

#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

static void note(const char *what, const char *path, const char *to) {
    const char *trace = getenv("KILL_TRACE");
    int fd = trace ? REAL(open)(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (fd < 0) return;
    dprintf(fd, "%s\t%s\t%s\n", what, path, to);
    close(fd);
}

static int is_last(void) {
    const char *at = getenv("KILL_AT");
    return atomic_fetch_add(&steps, 1) + 1 == (at ? atol(at) : 0);
}

static void step(const char *what, const char *path, const char *to) {
    note(what, path, to);
    if (is_last()) kill(getpid(), SIGKILL);
}

int rename(const char *from, const char *to) { step("rename", from, to); return REAL(rename)(from, to); }
int symlink(const char *target, const char *path) { step("symlink", path, target); return REAL(symlink)(target, path); }
int linkat(int d, const char *from, int e, const char *to, int flags) { step("link", to, from); return REAL(linkat)(d, from, e, to, flags); }
int unlink(const char *path) { step("unlink", path, ""); return REAL(unlink)(path); }
int unlinkat(int d, const char *path, int flags) { step("unlink", path, ""); return REAL(unlinkat)(d, path, flags); }
int mkdir(const char *path, mode_t mode) { step("mkdir", path, ""); return REAL(mkdir)(path, mode); }

int fsync(int fd) {
    char link[64], path[PATH_MAX] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0) path[length] = 0;
    step("sync", path, "");
    return REAL(fsync)(fd);
}

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    if (flags & O_CREAT) step("create", path, "");
    return real(path, flags, mode);
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(REAL(open), path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return opened(REAL(open64), path, flags, mode);
}

ssize_t write(int fd, const void *bytes, size_t length) {
    struct stat found;
    if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode)) {
        note("write", "", "");
        if (is_last()) {
            REAL(write)(fd, bytes, length / 2);
            kill(getpid(), SIGKILL);
        }
    }
    return REAL(write)(fd, bytes, length);
}
