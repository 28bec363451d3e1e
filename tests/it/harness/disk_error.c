/* A disk that fails on request: a library preloaded into a process, which lets chosen calls on chosen files fail.

   DISK_ERROR_CONTROL names a file that is read before each call, so that a test can change it while the process runs. Each
   of its lines is a rule:

       OPERATION FIRST COUNT ERRNO SUFFIX

   OPERATION is read, write, short, sync, truncate, open or rename; SUFFIX is the end of the file's path (of a rename: the
   new path). Calls that match are numbered from 1 since the control file changed; COUNT of them (0: all) fail with ERRNO,
   beginning with FIRST. `short` writes half and fails from the next call on. With ERRNO 0, a call waits until no rule
   requires it any more, and then succeeds. Every failure adds a line to the file DISK_ERROR_CONTROL with ".failed"
   appended to its name. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define RULES_MAX 16
#define CONTROL_MAX_BYTES 1024

typedef int (*open_call)(const char *, int, ...);
typedef ssize_t (*write_call)(int, const void *, size_t);

/* The function of the C library. */
#define REAL(type, name) ((type)dlsym(RTLD_NEXT, name))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char control[CONTROL_MAX_BYTES];
static long seen[RULES_MAX];

/* How often a waiting call reads the rules again. */
#define LOOK_INTERVAL_US 10000
/* The error of a call that must wait. */
#define WAITS -1

static void read_control(const char *path) {
    char now[CONTROL_MAX_BYTES] = {0};
    int fd = REAL(open_call, "open")(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (REAL(ssize_t(*)(int, void *, size_t), "read")(fd, now, sizeof now - 1) < 0) now[0] = 0;
        close(fd);
    }
    if (strcmp(now, control) != 0) {
        memcpy(control, now, sizeof control);
        memset(seen, 0, sizeof seen);
    }
}

static void note(const char *path, const char *operation, const char *file) {
    char failed[PATH_MAX], line[PATH_MAX + 64];
    snprintf(failed, sizeof failed, "%s.failed", path);
    int fd = REAL(open_call, "open")(failed, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0) return;
    int length = snprintf(line, sizeof line, "%s %s\n", operation, file);
    if (REAL(write_call, "write")(fd, line, (size_t)length) != length) abort();
    close(fd);
}

/* Returns the error of a call; 0: none; WAITS: the call must wait. *half: the call does half of its work instead. */
static int rule_of(const char *operation, const char *file, int *half) {
    const char *path = getenv("DISK_ERROR_CONTROL");
    if (!path) return 0;
    int error = 0;
    pthread_mutex_lock(&lock);
    read_control(path);
    char copy[CONTROL_MAX_BYTES], *next = copy, *line;
    memcpy(copy, control, sizeof copy);
    for (int rule = 0; rule < RULES_MAX && (line = strsep(&next, "\n")); rule++) {
        char wanted[16], suffix[256];
        long first, count;
        int number;
        if (sscanf(line, "%15s %ld %ld %d %255s", wanted, &first, &count, &number, suffix) != 5) continue;
        int is_short = strcmp(wanted, "short") == 0;
        if (strcmp(is_short ? "write" : wanted, operation) != 0) continue;
        size_t length = strlen(file), end = strlen(suffix);
        if (length < end || strcmp(file + length - end, suffix) != 0) continue;
        long call = ++seen[rule];
        if (call < first || (count && call >= first + count)) continue;
        if (is_short && call == first) *half = 1;
        else error = number ? number : WAITS;
        note(path, operation, file);
        break;
    }
    pthread_mutex_unlock(&lock);
    return error;
}

static int error_of(const char *operation, const char *file, int *half) {
    int error;
    while ((error = rule_of(operation, file, half)) == WAITS) usleep(LOOK_INTERVAL_US);
    return error;
}

/* Returns whether a call on a descriptor must fail, and then sets errno. */
static int fails(const char *operation, int fd, int *half) {
    char link[64], file[PATH_MAX];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, file, sizeof file - 1);
    int error = 0;
    if (length > 0 && file[0] == '/') {
        file[length] = 0;
        error = error_of(operation, file, half);
    }
    errno = error ? error : before;
    return error != 0;
}

static size_t part(size_t length, int half) { return half && length > 1 ? length / 2 : length; }

ssize_t write(int fd, const void *bytes, size_t length) {
    int half = 0;
    if (fails("write", fd, &half)) return -1;
    return REAL(write_call, "write")(fd, bytes, part(length, half));
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) {
    int half = 0;
    if (fails("write", fd, &half)) return -1;
    return REAL(ssize_t(*)(int, const void *, size_t, off_t), "pwrite")(fd, bytes, part(length, half), at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    int half = 0;
    if (fails("write", fd, &half)) return -1;
    return REAL(ssize_t(*)(int, const void *, size_t, off64_t), "pwrite64")(fd, bytes, part(length, half), at);
}

ssize_t read(int fd, void *bytes, size_t length) {
    int half = 0;
    return fails("read", fd, &half) ? -1 : REAL(ssize_t(*)(int, void *, size_t), "read")(fd, bytes, length);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t at) {
    int half = 0;
    return fails("read", fd, &half) ? -1
                                    : REAL(ssize_t(*)(int, void *, size_t, off_t), "pread")(fd, bytes, length, at);
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t at) {
    int half = 0;
    return fails("read", fd, &half) ? -1
                                    : REAL(ssize_t(*)(int, void *, size_t, off64_t), "pread64")(fd, bytes, length, at);
}

int fsync(int fd) {
    int half = 0;
    return fails("sync", fd, &half) ? -1 : REAL(int (*)(int), "fsync")(fd);
}

int fdatasync(int fd) {
    int half = 0;
    return fails("sync", fd, &half) ? -1 : REAL(int (*)(int), "fdatasync")(fd);
}

int ftruncate(int fd, off_t length) {
    int half = 0;
    return fails("truncate", fd, &half) ? -1 : REAL(int (*)(int, off_t), "ftruncate")(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    int half = 0;
    return fails("truncate", fd, &half) ? -1 : REAL(int (*)(int, off64_t), "ftruncate64")(fd, length);
}

static int opened(const char *name, const char *file, int flags, mode_t mode) {
    int half = 0, error = error_of("open", file, &half);
    if (error) {
        errno = error;
        return -1;
    }
    return REAL(open_call, name)(file, flags, mode);
}

static mode_t mode_of(int flags, va_list rest) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; }

int open(const char *file, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return opened("open", file, flags, mode);
}

int open64(const char *file, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return opened("open64", file, flags, mode);
}

int rename(const char *from, const char *to) {
    int half = 0, error = error_of("rename", to, &half);
    if (error) {
        errno = error;
        return -1;
    }
    return REAL(int (*)(const char *, const char *), "rename")(from, to);
}
