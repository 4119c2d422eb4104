/* Bytes into callbacks, descriptors and memory; peers that are known; questions:  streams PLACE [SECONDS [MEBIBYTES]]
 * SECONDS is how long a callback keeps everybody waiting, MEBIBYTES how much is sent. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <udpx.h>

#include "check.h"

/* Bytes of what is sent: more than fits into one stripe or is sent unasked. */
static size_t LARGE = (size_t)24 << 20;

static unsigned char byte_at(size_t at)
{
    return (unsigned char)(at * 31 ^ at >> 9);
}

/* What a callback saw. */
struct seen {
    udpx_engine *engine;
    udpx_listener *listener;
    size_t bytes, wrong, files, decline_at;
    int inside, seconds;
    uint64_t total;
    char name[256];
};

static int take(void *userdata, const void *data, size_t bytes)
{
    struct seen *seen = (struct seen *)userdata;
    const unsigned char *all = (const unsigned char *)data;
    size_t at;

    CHECK(__sync_add_and_fetch(&seen->inside, 1) == 1);
    if (seen->bytes == 0 && seen->seconds > 0) {
        sleep((unsigned)seen->seconds);
        seen->seconds = 0;
        /* What would wait for this call is refused; a look is not. */
        if (seen->listener != NULL) {
            char *text = NULL;
            EXPECT(UDPX_STATUS_USAGE, udpx_listener_free(seen->listener));
            EXPECT(UDPX_STATUS_USAGE, udpx_engine_free(seen->engine));
            OK(udpx_listener_addresses(seen->listener, &text));
            udpx_string_free(text);
        }
    }
    for (at = 0; at < bytes; at++)
        seen->wrong += all[at] != byte_at(seen->bytes + at);
    seen->bytes += bytes;
    __sync_sub_and_fetch(&seen->inside, 1);
    return seen->decline_at != 0 && seen->bytes >= seen->decline_at;
}

static int start(void *userdata, const udpx_event *file)
{
    struct seen *seen = (struct seen *)userdata;
    CHECK(file->size == sizeof *file && file->kind == UDPX_EVENT_ARRIVING);
    seen->bytes = 0;
    seen->files++;
    seen->total = file->total;
    snprintf(seen->name, sizeof seen->name, "%s", file->path);
    return strcmp(file->path, "unwanted") == 0;
}

static void finish(udpx_transfer *transfer, int status)
{
    OK(udpx_transfer_wait(transfer, 120000, NULL));
    EXPECT(status, udpx_transfer_result(transfer));
}

/* What the listener has to tell about one file. */
static void expect_event(udpx_listener *listener, unsigned kind, int status)
{
    udpx_event event;
    event.size = sizeof event;
    do {
        OK(udpx_listener_next(listener, 60000, &event));
        CHECK(event.kind != UDPX_EVENT_NONE);
        CHECK(event.peer[0] != 0 || event.kind == UDPX_EVENT_REFUSED);
    } while (event.kind != UDPX_EVENT_CAME && event.kind != UDPX_EVENT_NOT_COME);
    CHECK(event.kind == kind && (int)event.status == status);
}

/* A callback that takes its time loses nothing, and one that wants no more ends the transfer. */
static void by_ticket(const unsigned char *data, const char *spool, int seconds)
{
    int declines;
    for (declines = 0; declines < 2; declines++) {
        udpx_engine *sender = NULL, *receiver = NULL;
        udpx_transfer *transfer = NULL;
        udpx_listen_options options;
        struct seen seen;
        char *ticket = NULL;
        time_t began = time(NULL);

        memset(&seen, 0, sizeof seen);
        OK(udpx_engine_new(NULL, 0, &sender));
        OK(udpx_engine_new(NULL, 0, &receiver));
        OK(udpx_listen_options_init(&options, sizeof options));
        options.on_data = take;
        options.userdata = &seen;
        options.address = "127.0.0.1";
        options.spool = spool;
        seen.engine = receiver;
        seen.seconds = declines ? 0 : seconds;
        seen.decline_at = declines ? 1 << 20 : 0;
        OK(udpx_engine_listen(receiver, &options, &seen.listener));
        OK(udpx_listener_ticket(seen.listener, &ticket));
        OK(udpx_engine_push_memory(sender, data, LARGE, "name", ticket, NULL, &transfer));
        if (declines && spool == NULL) {
            finish(transfer, UDPX_STATUS_REFUSED);
            expect_event(seen.listener, UDPX_EVENT_NOT_COME, UDPX_STATUS_REFUSED);
            CHECK(seen.bytes < LARGE);
        } else if (declines) {
            /* It is here, and that it was not taken is this end's own business. */
            finish(transfer, UDPX_STATUS_OK);
            expect_event(seen.listener, UDPX_EVENT_NOT_COME, UDPX_STATUS_REFUSED);
        } else {
            finish(transfer, UDPX_STATUS_OK);
            expect_event(seen.listener, UDPX_EVENT_CAME, UDPX_STATUS_OK);
            CHECK(seen.bytes == LARGE && seen.wrong == 0);
            CHECK(time(NULL) - began >= seconds - 1);
        }
        OK(udpx_transfer_free(transfer));
        OK(udpx_listener_free(seen.listener));
        OK(udpx_engine_free(receiver));
        OK(udpx_engine_free(sender));
        udpx_string_free(ticket);
    }
}

static unsigned short port_of(udpx_listener *listener)
{
    char *addresses = NULL;
    unsigned short port;
    OK(udpx_listener_addresses(listener, &addresses));
    CHECK(strncmp(addresses, "127.0.0.1:", 10) == 0);
    port = (unsigned short)atoi(addresses + 10);
    udpx_string_free(addresses);
    CHECK(port != 0);
    return port;
}

/* Peers that are named beforehand put files into a callback, one after the other. */
static void by_peers(const unsigned char *data, const char *place)
{
    udpx_engine *alice = NULL, *eve = NULL, *bob = NULL;
    udpx_transfer *transfer = NULL;
    udpx_listen_options options;
    udpx_options how;
    udpx_peer peers[2];
    struct seen seen;
    char identity[4096];
    char *keys[3] = {NULL, NULL, NULL};
    char *ticket = NULL;

    memset(&seen, 0, sizeof seen);
    snprintf(identity, sizeof identity, "%s/alice", place);
    OK(udpx_engine_new(identity, 0, &alice));
    OK(udpx_engine_new(NULL, 0, &eve));
    OK(udpx_engine_new(NULL, 0, &bob));
    OK(udpx_engine_key(alice, &keys[0]));
    OK(udpx_engine_key(eve, &keys[1]));
    OK(udpx_engine_key(bob, &keys[2]));
    memset(peers, 0, sizeof peers);
    peers[0].size = peers[1].size = sizeof *peers;
    peers[0].name = peers[1].name = "alice";
    peers[0].key = keys[0];
    peers[1].key = keys[2];
    OK(udpx_listen_options_init(&options, sizeof options));
    options.on_data = take;
    options.userdata = &seen;
    options.address = "127.0.0.1";
    options.peers = peers;
    options.peers_count = 1;
    EXPECT(UDPX_STATUS_USAGE, udpx_engine_listen(bob, &options, &seen.listener));
    options.on_start = start;
    options.peers_count = 2;
    EXPECT(UDPX_STATUS_USAGE, udpx_engine_listen(bob, &options, &seen.listener));
    options.peers_count = 1;
    peers[0].flags = UDPX_LISTEN_READ;
    EXPECT(UDPX_STATUS_USAGE, udpx_engine_listen(bob, &options, &seen.listener));
    peers[0].flags = 0;
    peers[0].key = "udpxk1";
    EXPECT(UDPX_STATUS_USAGE, udpx_engine_listen(bob, &options, &seen.listener));
    peers[0].key = keys[0];
    OK(udpx_engine_listen(bob, &options, &seen.listener));
    EXPECT(UDPX_STATUS_USAGE, udpx_listener_ticket(seen.listener, &ticket));

    OK(udpx_options_init(&how, sizeof how));
    how.peer_key = keys[2];
    how.port = port_of(seen.listener);
    OK(udpx_engine_push_memory(alice, data, LARGE, "first", "127.0.0.1", &how, &transfer));
    finish(transfer, UDPX_STATUS_OK);
    OK(udpx_transfer_free(transfer));
    CHECK(seen.files == 1 && strcmp(seen.name, "first") == 0);
    CHECK(seen.bytes == LARGE && seen.total == LARGE && seen.wrong == 0);
    expect_event(seen.listener, UDPX_EVENT_CAME, UDPX_STATUS_OK);
    OK(udpx_engine_push_memory(alice, NULL, 0, "empty", "127.0.0.1", &how, &transfer));
    finish(transfer, UDPX_STATUS_OK);
    OK(udpx_transfer_free(transfer));
    CHECK(seen.files == 2 && strcmp(seen.name, "empty") == 0 && seen.bytes == 0);
    OK(udpx_engine_push_memory(alice, data, 10, "unwanted", "127.0.0.1", &how, &transfer));
    finish(transfer, UDPX_STATUS_REFUSED);
    OK(udpx_transfer_free(transfer));
    OK(udpx_engine_push_memory(eve, data, 10, "other", "127.0.0.1", &how, &transfer));
    finish(transfer, UDPX_STATUS_REFUSED);
    OK(udpx_transfer_free(transfer));
    CHECK(seen.files == 3 && seen.wrong == 0);

    OK(udpx_listener_free(seen.listener));
    OK(udpx_engine_free(alice));
    OK(udpx_engine_free(eve));
    OK(udpx_engine_free(bob));
    udpx_string_free(keys[0]);
    udpx_string_free(keys[1]);
    udpx_string_free(keys[2]);
}

static void *drain(void *argument)
{
    static unsigned char buffer[1 << 16];
    struct seen *seen = (struct seen *)argument;
    ssize_t read_now;
    while ((read_now = read(seen->inside, buffer, sizeof buffer)) > 0) {
        ssize_t at;
        for (at = 0; at < read_now; at++)
            seen->wrong += buffer[at] != byte_at(seen->bytes + (size_t)at);
        seen->bytes += (size_t)read_now;
    }
    return NULL;
}

/* Peers that may fetch do so into whatever they like. */
static void fetching(const unsigned char *data, const char *place)
{
    udpx_engine *alice = NULL, *bob = NULL;
    udpx_transfer *transfer = NULL;
    udpx_listener *listener = NULL;
    udpx_listen_options options;
    udpx_options how;
    udpx_peer peer;
    struct seen seen;
    struct stat about;
    pthread_t thread;
    const void *memory = NULL;
    size_t bytes = 0, at;
    char served[4096], path[4096];
    char *keys[2] = {NULL, NULL}, *json = NULL;
    int pipes[2], fd;

    snprintf(served, sizeof served, "%s/served", place);
    CHECK(mkdir(served, 0700) == 0);
    OK(udpx_engine_new(NULL, 0, &alice));
    OK(udpx_engine_new(NULL, 0, &bob));
    OK(udpx_engine_key(alice, &keys[0]));
    OK(udpx_engine_key(bob, &keys[1]));
    memset(&peer, 0, sizeof peer);
    peer.size = sizeof peer;
    peer.name = "alice";
    peer.key = keys[0];
    peer.flags = UDPX_LISTEN_READ | UDPX_LISTEN_WRITE;
    OK(udpx_listen_options_init(&options, sizeof options));
    options.directory = served;
    options.address = "127.0.0.1";
    options.peers = &peer;
    options.peers_count = 1;
    OK(udpx_engine_listen(bob, &options, &listener));
    OK(udpx_options_init(&how, sizeof how));
    how.peer_key = keys[1];
    how.port = port_of(listener);

    OK(udpx_engine_push_memory(alice, data, LARGE, "large", "127.0.0.1", &how, &transfer));
    finish(transfer, UDPX_STATUS_OK);
    EXPECT(UDPX_STATUS_USAGE, udpx_transfer_memory(transfer, &memory, &bytes));
    OK(udpx_transfer_free(transfer));

    memset(&seen, 0, sizeof seen);
    seen.seconds = 1;
    OK(udpx_engine_pull_data(alice, "127.0.0.1:large", take, &seen, &how, &transfer));
    finish(transfer, UDPX_STATUS_OK);
    OK(udpx_transfer_free(transfer));
    CHECK(seen.bytes == LARGE && seen.wrong == 0);
    seen.bytes = 0;
    seen.decline_at = 1;
    OK(udpx_engine_pull_data(alice, "127.0.0.1:large", take, &seen, &how, &transfer));
    finish(transfer, UDPX_STATUS_REFUSED);
    OK(udpx_transfer_free(transfer));
    /* Freed in the middle of a callback: that is waited for. */
    seen.bytes = 0;
    seen.seconds = 2;
    OK(udpx_engine_pull_data(alice, "127.0.0.1:large", take, &seen, &how, &transfer));
    sleep(1);
    OK(udpx_transfer_free(transfer));
    CHECK(seen.inside == 0);

    OK(udpx_engine_pull_memory(alice, "127.0.0.1:large", &how, &transfer));
    finish(transfer, UDPX_STATUS_OK);
    OK(udpx_transfer_memory(transfer, &memory, &bytes));
    CHECK(bytes == LARGE && memcmp(memory, data, LARGE) == 0);
    OK(udpx_transfer_free(transfer));

    CHECK(pipe(pipes) == 0);
    memset(&seen, 0, sizeof seen);
    seen.inside = pipes[0];
    CHECK(pthread_create(&thread, NULL, drain, &seen) == 0);
    OK(udpx_engine_pull_fd(alice, "127.0.0.1:large", pipes[1], &how, &transfer));
    close(pipes[1]);
    finish(transfer, UDPX_STATUS_OK);
    OK(udpx_transfer_free(transfer));
    pthread_join(thread, NULL);
    close(pipes[0]);
    CHECK(seen.bytes == LARGE && seen.wrong == 0);

    snprintf(path, sizeof path, "%s/by-fd", place);
    fd = open(path, O_CREAT | O_RDWR, 0600);
    CHECK(fd >= 0 && write(fd, "12345", 5) == 5);
    OK(udpx_engine_pull_fd(alice, "127.0.0.1:large", fd, &how, &transfer));
    finish(transfer, UDPX_STATUS_OK);
    OK(udpx_transfer_free(transfer));
    CHECK(fstat(fd, &about) == 0 && (size_t)about.st_size == LARGE + 5);
    for (at = 0; at < 100; at++) {
        unsigned char found = 0;
        CHECK(pread(fd, &found, 1, (off_t)(at + 5)) == 1 && found == byte_at(at));
    }
    close(fd);
    EXPECT(UDPX_STATUS_USAGE, udpx_engine_pull_fd(alice, "127.0.0.1:large", fd, &how, &transfer));

    /* There is no right to list, and then there is. */
    OK(udpx_engine_ping(alice, "127.0.0.1", 3, 5, 56, &how, &json));
    CHECK(strstr(json, "\"received\":3") != NULL);
    udpx_string_free(json);
    EXPECT(UDPX_STATUS_USAGE, udpx_engine_ping(alice, "127.0.0.1", 0, 5, 56, &how, &json));
    EXPECT(UDPX_STATUS_USAGE, udpx_engine_ping(alice, "127.0.0.1", 1, 5, 1 << 20, &how, &json));
    EXPECT(UDPX_STATUS_REFUSED, udpx_engine_list(alice, "127.0.0.1", &how, &json));
    OK(udpx_listener_free(listener));
    peer.flags = UDPX_LISTEN_LIST;
    OK(udpx_engine_listen(bob, &options, &listener));
    how.port = port_of(listener);
    OK(udpx_engine_list(alice, "127.0.0.1", &how, &json));
    snprintf(path, sizeof path, "\"bytes\":%zu", LARGE);
    CHECK(strstr(json, "\"name\":\"large\"") != NULL && strstr(json, path) != NULL);
    udpx_string_free(json);
    OK(udpx_engine_push_memory(alice, "x", 1, "small", "127.0.0.1", &how, &transfer));
    finish(transfer, UDPX_STATUS_REFUSED);
    OK(udpx_transfer_free(transfer));
    OK(udpx_listener_free(listener));
    how.timeout_ms = 300;
    EXPECT(UDPX_STATUS_UNREACHABLE, udpx_engine_list(alice, "127.0.0.1", &how, &json));
    OK(udpx_engine_free(alice));
    OK(udpx_engine_free(bob));
    udpx_string_free(keys[0]);
    udpx_string_free(keys[1]);
}

int main(int argc, char **argv)
{
    unsigned char *data;
    size_t at;

    CHECK(argc >= 2);
    if (argc > 3)
        LARGE = (size_t)atoi(argv[3]) << 20;
    data = (unsigned char *)malloc(LARGE);
    CHECK(data != NULL);
    for (at = 0; at < LARGE; at++)
        data[at] = byte_at(at);
    by_ticket(data, NULL, argc > 2 ? atoi(argv[2]) : 1);
    by_ticket(data, argv[1], 1);
    by_peers(data, argv[1]);
    fetching(data, argv[1]);
    free(data);
    return 0;
}
