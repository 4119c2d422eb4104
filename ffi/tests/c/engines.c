/* Two engines in one process, one of which sends to the other: slow callbacks, calls from inside of them, several threads
 * on one handle, files, descriptors, memory and a pull; no handler for SIGBUS, no thread and no descriptor is left. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <udpx.h>

#include "check.h"

static int entries(const char *path)
{
    DIR *directory = opendir(path);
    int count = 0;
    CHECK(directory != NULL);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static void fill(unsigned char *data, size_t bytes)
{
    size_t i;
    for (i = 0; i < bytes; i++)
        data[i] = (unsigned char)(i * 31 ^ i >> 9);
}

static void read_back(const char *path, const unsigned char *data, size_t bytes)
{
    unsigned char *found = (unsigned char *)malloc(bytes + 1);
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL && found != NULL);
    CHECK(fread(found, 1, bytes + 1, file) == bytes && memcmp(found, data, bytes) == 0);
    fclose(file);
    free(found);
}

/* What a callback saw, and what it is about. */
struct seen {
    udpx_engine *engine;
    udpx_transfer **transfer;
    int calls, inside, last_state;
};

static void slow(void *userdata, const udpx_progress *progress)
{
    struct seen *seen = (struct seen *)userdata;
    udpx_progress now;
    CHECK(__sync_add_and_fetch(&seen->inside, 1) == 1);
    now.size = sizeof now;
    if (seen->calls++ == 0) {
        usleep(1500 * 1000);
        /* By now the handle is stored; a look is allowed, and what would wait for this callback is not. */
        OK(udpx_transfer_poll(*seen->transfer, &now));
        EXPECT(UDPX_STATUS_USAGE, udpx_transfer_wait(*seen->transfer, UDPX_FOREVER, NULL));
        EXPECT(UDPX_STATUS_USAGE, udpx_transfer_free(*seen->transfer));
        EXPECT(UDPX_STATUS_USAGE, udpx_engine_free(seen->engine));
    }
    seen->last_state = (int)progress->state;
    __sync_sub_and_fetch(&seen->inside, 1);
}

static void finish(udpx_transfer *transfer)
{
    udpx_progress progress;
    progress.size = sizeof progress;
    OK(udpx_transfer_wait(transfer, 60000, &progress));
    OK(udpx_transfer_result(transfer));
    CHECK(progress.state == UDPX_STATE_DONE && progress.bytes == progress.total);
}

static void *watch(void *argument)
{
    udpx_transfer *transfer = (udpx_transfer *)argument;
    int i;
    for (i = 0; i < 20; i++) {
        udpx_progress progress;
        progress.size = sizeof progress;
        OK(udpx_transfer_poll(transfer, &progress));
        OK(udpx_transfer_wait(transfer, 5, &progress));
    }
    return NULL;
}

/* No size is too large, and one that shrinks is an error: nothing is mapped, so there is no signal either. */
static void large_and_shrinking(udpx_engine *engine, const char *place, const char *ticket)
{
    udpx_transfer *transfer = NULL;
    udpx_progress progress;
    udpx_options options;
    char path[4096];
    int fd, tries;

    snprintf(path, sizeof path, "%s/large", place);
    fd = open(path, O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)300 << 20) == 0);
    OK(udpx_options_init(&options, sizeof options));
    options.policy = UDPX_FIXED;
    options.rate_bps = 20000000;
    OK(udpx_engine_push_file(engine, path, ticket, &options, &transfer));
    progress.size = sizeof progress;
    for (tries = 0; tries < 600; tries++) {
        OK(udpx_transfer_wait(transfer, 100, &progress));
        if (progress.bytes > 0)
            break;
    }
    CHECK(progress.total == (uint64_t)300 << 20 && progress.state == UDPX_STATE_RUNNING);
    CHECK(ftruncate(fd, 1000) == 0);
    OK(udpx_transfer_wait(transfer, 60000, NULL));
    EXPECT(UDPX_STATUS_SOURCE_CHANGED, udpx_transfer_result(transfer));
    OK(udpx_transfer_free(transfer));
    close(fd);
}

/* What is served is read as well. */
static void back_again(udpx_engine *asker, const char *inbox, const char *place)
{
    static unsigned char data[1500003];
    udpx_engine *server = NULL;
    udpx_listener *listener = NULL;
    udpx_transfer *transfer = NULL;
    udpx_listen_options options;
    char to[2048], path[4096];
    char *ticket = NULL;

    OK(udpx_listen_options_init(&options, sizeof options));
    options.directory = inbox;
    options.address = "127.0.0.1";
    options.flags = UDPX_LISTEN_READ;
    OK(udpx_engine_new(NULL, 0, &server));
    OK(udpx_engine_listen(server, &options, &listener));
    OK(udpx_listener_ticket(listener, &ticket));
    snprintf(to, sizeof to, "%s:memory", ticket);
    snprintf(path, sizeof path, "%s/new/back", place);
    OK(udpx_engine_pull_file(asker, to, path, NULL, &transfer));
    finish(transfer);
    OK(udpx_transfer_free(transfer));
    fill(data, sizeof data);
    read_back(path, data, sizeof data);
    udpx_string_free(ticket);
    OK(udpx_listener_free(listener));
    OK(udpx_engine_free(server));
}

static void transfers(udpx_engine *sender, const char *ticket, const char *source, const char *inbox)
{
    static unsigned char data[1500003];
    udpx_transfer *transfer = NULL;
    udpx_options options;
    struct seen seen = {NULL, NULL, 0, 0, 0};
    struct pollfd polled;
    udpx_progress progress;
    udpx_summary summary;
    pthread_t threads[4];
    char to[2048], path[4096];
    char *json = NULL;
    FILE *file;
    int fd, i;

    fill(data, sizeof data);
    file = fopen(source, "wb");
    CHECK(file != NULL && fwrite(data, 1, sizeof data, file) == sizeof data);
    fclose(file);
    CHECK(chmod(source, 0640) == 0);

    /* A file, with a callback that takes its time. */
    OK(udpx_options_init(&options, sizeof options));
    seen.engine = sender;
    seen.transfer = &transfer;
    options.on_progress = slow;
    options.userdata = &seen;
    OK(udpx_engine_push_file(sender, source, ticket, &options, &transfer));
    for (i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, watch, transfer) == 0);
    finish(transfer);
    for (i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    summary.size = sizeof summary;
    OK(udpx_transfer_summary(transfer, &summary));
    CHECK(summary.files == 1 && summary.bytes == sizeof data && summary.packets > 0 && summary.duration_us > 0);
    OK(udpx_transfer_report(transfer, &json));
    CHECK(strstr(json, "\"digest\":\"") != NULL && strstr(json, "\"streams\":[") != NULL);
    udpx_string_free(json);
    OK(udpx_transfer_free(transfer));
    CHECK(seen.calls >= 2 && seen.inside == 0 && seen.last_state == UDPX_STATE_DONE);
    snprintf(path, sizeof path, "%s/source", inbox);
    read_back(path, data, sizeof data);

    /* A descriptor, which is closed at once, and an event descriptor. */
    snprintf(to, sizeof to, "%s:sub/", ticket);
    fd = open(source, O_RDONLY);
    CHECK(lseek(fd, 1000, SEEK_SET) == 1000);
    OK(udpx_engine_push_fd(sender, fd, "by-fd", to, NULL, &transfer));
    CHECK(lseek(fd, 0, SEEK_CUR) == 1000);
    close(fd);
    OK(udpx_transfer_fd(transfer, &polled.fd));
    polled.events = POLLIN;
    progress.size = sizeof progress;
    do {
        CHECK(poll(&polled, 1, 60000) == 1);
        OK(udpx_transfer_poll(transfer, &progress));
    } while (progress.state < UDPX_STATE_DONE);
    OK(udpx_transfer_result(transfer));
    OK(udpx_transfer_free(transfer));
    snprintf(path, sizeof path, "%s/sub/by-fd", inbox);
    read_back(path, data, sizeof data);

    /* Memory, and none. */
    OK(udpx_engine_push_memory(sender, data, sizeof data, "memory", ticket, NULL, &transfer));
    finish(transfer);
    OK(udpx_transfer_free(transfer));
    snprintf(path, sizeof path, "%s/memory", inbox);
    read_back(path, data, sizeof data);
    OK(udpx_engine_push_memory(sender, NULL, 0, "nothing", ticket, NULL, &transfer));
    finish(transfer);
    OK(udpx_transfer_free(transfer));

    /* What is there already. */
    OK(udpx_options_init(&options, sizeof options));
    options.if_exists = UDPX_FAIL;
    OK(udpx_engine_push_memory(sender, "other", 5, "memory", ticket, &options, &transfer));
    OK(udpx_transfer_wait(transfer, 60000, NULL));
    EXPECT(UDPX_STATUS_NO_SPACE, udpx_transfer_result(transfer));
    OK(udpx_transfer_free(transfer));
}

int main(int argc, char **argv)
{
    udpx_engine *sender = NULL, *receiver = NULL;
    udpx_listener *listener = NULL;
    udpx_listen_options options;
    udpx_transfer *left = NULL;
    udpx_progress progress;
    udpx_event event;
    struct sigaction before, after;
    char inbox[2048], source[2048];
    char *ticket = NULL;
    int descriptors, threads, came = 0, status;

    CHECK(argc == 2);
    sigaction(SIGBUS, NULL, &before);
    snprintf(inbox, sizeof inbox, "%s/inbox", argv[1]);
    snprintf(source, sizeof source, "%s/source", argv[1]);
    CHECK(mkdir(inbox, 0700) == 0);
    descriptors = entries("/proc/self/fd");
    threads = entries("/proc/self/task");

    OK(udpx_engine_new(NULL, 0, &sender));
    OK(udpx_engine_new(NULL, 0, &receiver));
    OK(udpx_listen_options_init(&options, sizeof options));
    options.directory = inbox;
    options.address = "127.0.0.1";
    options.flags = UDPX_LISTEN_WRITE | UDPX_LISTEN_LIST;
    OK(udpx_engine_listen(receiver, &options, &listener));
    OK(udpx_listener_ticket(listener, &ticket));

    transfers(sender, ticket, source, inbox);
    large_and_shrinking(sender, argv[1], ticket);

    /* Nothing that happened is lost. */
    event.size = sizeof event;
    for (;;) {
        OK(udpx_listener_next(listener, 0, &event));
        if (event.kind == UDPX_EVENT_NONE)
            break;
        if (event.kind == UDPX_EVENT_CAME) {
            CHECK(strncmp(event.path, inbox, strlen(inbox)) == 0);
            came++;
        }
    }
    CHECK(came == 4);

    back_again(sender, inbox, argv[1]);
    sigaction(SIGBUS, NULL, &after);
    CHECK(before.sa_handler == after.sa_handler);

    /* An engine that is freed takes with it what is under way; the handles stay good. */
    udpx_listener_free(listener);
    OK(udpx_engine_push_memory(sender, "x", 1, "late", ticket, NULL, &left));
    OK(udpx_engine_free(sender));
    progress.size = sizeof progress;
    OK(udpx_transfer_poll(left, &progress));
    CHECK(progress.state == UDPX_STATE_FAILED);
    status = udpx_transfer_result(left);
    CHECK(status == UDPX_STATUS_INTERRUPTED || status == UDPX_STATUS_UNREACHABLE);
    OK(udpx_transfer_free(left));
    OK(udpx_engine_free(receiver));
    udpx_string_free(ticket);

    CHECK(entries("/proc/self/fd") == descriptors);
    CHECK(entries("/proc/self/task") == threads);
    return 0;
}
