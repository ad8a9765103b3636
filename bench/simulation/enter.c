/* The command of every SSH session of the simulation: become the host that belongs to the port, and run what was asked.
 *
 * A host is a folder, /simulation/hosts/wN. Its etc, var, run, opt, root, tmp and usr/local lie over the container's
 * own in a mount namespace of the session; programs and kernel are shared. No fork and no shell of its own: an
 * Ansible run enters each host a dozen times.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define FIRST_PORT 20000

static const char *const OWN[] = {"etc", "var", "run", "opt", "root", "tmp", "usr/local"};

static void fail(const char *what) {
    fprintf(stderr, "simulated host: %s: %s\n", what, strerror(errno));
    exit(254);
}

int main(void) {
    const char *connection = getenv("SSH_CONNECTION"), *command = getenv("SSH_ORIGINAL_COMMAND");
    char name[32], from[96], to[32];
    int port = 0;
    if (!connection || sscanf(connection, "%*s %*s %*s %d", &port) != 1) fail("SSH_CONNECTION");
    snprintf(name, sizeof name, "w%d", port - FIRST_PORT);
    if (unshare(CLONE_NEWNS | CLONE_NEWUTS)) fail("unshare");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) fail("private mounts");
    for (size_t i = 0; i < sizeof OWN / sizeof *OWN; i++) {
        snprintf(from, sizeof from, "/simulation/hosts/%s/%s", name, OWN[i]);
        snprintf(to, sizeof to, "/%s", OWN[i]);
        if (mount(from, to, NULL, MS_BIND, NULL)) fail(from);
    }
    if (sethostname(name, strlen(name))) fail("host name");
    if (chdir("/root")) fail("/root");
    setenv("HOME", "/root", 1);
    execl("/bin/sh", "sh", "-c", command ? command : "exit 0", (char *)NULL);
    fail("/bin/sh");
}
