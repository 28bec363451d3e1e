/* A disk under PostgreSQL that honours fsync and nothing else: a library preloaded into its processes, which keeps a
   copy of each file of a tree as of its last sync. A power cut kills them all and replaces the files by the copies.

   POWER_CUT_TREE: the data directory. POWER_CUT_COPIES: the directory of the copies, with the same names.
   Names are durable at once: renames, links and removals survive the cut, with the bytes of the file's last sync; a
   file that was never synced is gone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(result, name, ...) ((result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))

/* Writes the path of a file's copy; returns 0 when the file is not in the tree. */
static int copy_of(const char *path, char *copy) {
    const char *tree = getenv("POWER_CUT_TREE"), *copies = getenv("POWER_CUT_COPIES");
    char absolute[2 * PATH_MAX];
    if (!tree || !copies) return 0;
    if (path[0] != '/') {
        /* PostgreSQL works in its data directory, by relative names. */
        char here[PATH_MAX];
        if (!getcwd(here, sizeof here)) return 0;
        snprintf(absolute, sizeof absolute, "%s/%s", here, path);
        path = absolute;
    }
    size_t length = strlen(tree);
    if (strncmp(path, tree, length) != 0 || path[length] != '/') return 0;
    return snprintf(copy, PATH_MAX, "%s%s", copies, path + length) < PATH_MAX;
}

static void make_parents(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
}

static int copy_file(const char *file, char *path) {
    static char buffer[1 << 18];
    char unfinished[PATH_MAX + 32];
    /* Several processes may sync one file at once. */
    snprintf(unfinished, sizeof unfinished, "%s.unfinished-%d", path, (int)getpid());
    int to = open(unfinished, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (to < 0) {
        make_parents(path);
        to = open(unfinished, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    }
    /* Open it by name: the synced descriptor may be write-only. */
    int from = to < 0 ? -1 : open(file, O_RDONLY);
    ssize_t length = from < 0 ? -1 : 1;
    while (length > 0 && (length = read(from, buffer, sizeof buffer)) > 0) {
        if (write(to, buffer, (size_t)length) != length) length = -1;
    }
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    return length < 0 ? -1 : REAL(int, "rename", const char *, const char *)(unfinished, path);
}

static int synced(int fd) {
    char link[64], path[PATH_MAX], copy[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    struct stat status;
    if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_nlink == 0) return 0;
    return copy_of(path, copy) ? copy_file(path, copy) : 0;
}

int fsync(int fd) {
    int failed = REAL(int, "fsync", int)(fd);
    return failed ? failed : synced(fd);
}

int fdatasync(int fd) {
    int failed = REAL(int, "fdatasync", int)(fd);
    return failed ? failed : synced(fd);
}

int unlink(const char *path) {
    char copy[PATH_MAX];
    int (*real)(const char *) = REAL(int, "unlink", const char *);
    int failed = real(path);
    if (!failed && copy_of(path, copy)) real(copy);
    return failed;
}

int rename(const char *from, const char *to) {
    char old[PATH_MAX], new[PATH_MAX];
    int (*real)(const char *, const char *) = REAL(int, "rename", const char *, const char *);
    int failed = real(from, to);
    if (failed || !copy_of(from, old) || !copy_of(to, new)) return failed;
    /* A file that was never synced has no copy under its new name either. */
    if (real(old, new) != 0) REAL(int, "unlink", const char *)(new);
    return 0;
}

int link(const char *from, const char *to) {
    char old[PATH_MAX], new[PATH_MAX];
    int (*real)(const char *, const char *) = REAL(int, "link", const char *, const char *);
    int failed = real(from, to);
    if (!failed && copy_of(from, old) && copy_of(to, new)) real(old, new);
    return failed;
}
