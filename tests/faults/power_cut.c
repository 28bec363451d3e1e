/* A disk that honours fsync and nothing else: a library preloaded into the server, which keeps a copy of each watched
   file as of its last sync. A power cut kills the server and replaces the files by the copies.

   POWER_CUT_WATCHED: prefix of the watched paths. POWER_CUT_DURABLE: the directory of their copies, by file name.
   Removing and renaming count as durable at once: SQLite does neither while it depends on the old file. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t copying = PTHREAD_MUTEX_INITIALIZER;

/* Writes the path of a file's copy; returns 0 when the file is not watched. */
static int durable(const char *path, char *copy, const char *suffix) {
    const char *watched = getenv("POWER_CUT_WATCHED"), *directory = getenv("POWER_CUT_DURABLE");
    if (!watched || !directory || strncmp(path, watched, strlen(watched)) != 0) return 0;
    const char *name = strrchr(path, '/');
    return snprintf(copy, PATH_MAX, "%s/%s%s", directory, name ? name + 1 : path, suffix) < PATH_MAX;
}

static int copy_file(int from, const char *path, const char *unfinished) {
    static char buffer[1 << 20];
    int to = open(unfinished, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (to < 0) return -1;
    off_t at = 0;
    ssize_t length;
    while ((length = pread(from, buffer, sizeof buffer, at)) > 0) {
        if (write(to, buffer, (size_t)length) != length) {
            close(to);
            return -1;
        }
        at += length;
    }
    close(to);
    return length < 0 ? -1 : rename(unfinished, path);
}

static int synced(int fd) {
    char link[64], path[PATH_MAX], copy[PATH_MAX], unfinished[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_nlink == 0) return 0;
    if (!durable(path, copy, "") || !durable(path, unfinished, ".unfinished")) return 0;
    /* Read by this descriptor: closing another one would drop the process's POSIX locks, which SQLite holds on the file. */
    pthread_mutex_lock(&copying);
    int failed = copy_file(fd, copy, unfinished);
    pthread_mutex_unlock(&copying);
    return failed;
}

int fsync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int failed = real(fd);
    return failed ? failed : synced(fd);
}

int fdatasync(int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int failed = real(fd);
    return failed ? failed : synced(fd);
}

int unlink(const char *path) {
    int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    char copy[PATH_MAX];
    int failed = real(path);
    if (!failed && durable(path, copy, "")) real(copy);
    return failed;
}
