/* Everything that a caller can do wrong: each is refused with a status and a text, and nothing crashes. */
#undef NDEBUG /* the checks below are assertions */
#include <assert.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <udpx.h>

#define REFUSED(call) refused((call), #call, __LINE__)
#define OK(call) ok((call), #call, __LINE__)
#define EXPECT(status, call) expect((call), (status), #call, __LINE__)

static int failures;

static void expect(int status, int wanted, const char *what, int line)
{
    udpx_error error;
    error.size = sizeof error;
    if (status != wanted) {
        udpx_last_error(&error);
        fprintf(stderr, "line %d: %s is %d, not %d: %s\n", line, what, status, wanted, error.text);
        failures++;
    }
}

static void ok(int status, const char *what, int line)
{
    expect(status, UDPX_STATUS_OK, what, line);
}

static void refused(int status, const char *what, int line)
{
    udpx_error error;
    expect(status, UDPX_STATUS_USAGE, what, line);
    error.size = sizeof error;
    ok(udpx_last_error(&error), "udpx_last_error", line);
    if ((int)error.status != status || strcmp(error.kind, "usage") != 0 || strlen(error.text) < 5 ||
        strlen(error.remedy) < 5) {
        fprintf(stderr, "line %d: %s says nothing: %s. %s\n", line, what, error.text, error.remedy);
        failures++;
    }
}

static int take(void *userdata, const void *data, size_t bytes)
{
    (void)userdata, (void)data, (void)bytes;
    return 0;
}

static int begin(void *userdata, const udpx_event *file)
{
    (void)userdata, (void)file;
    return 0;
}

static void null_everywhere(void)
{
    REFUSED(udpx_last_error(NULL));
    REFUSED(udpx_options_init(NULL, sizeof(udpx_options)));
    REFUSED(udpx_listen_options_init(NULL, sizeof(udpx_listen_options)));
    REFUSED(udpx_transfer_wait(NULL, 0, NULL));
    REFUSED(udpx_transfer_poll(NULL, NULL));
    REFUSED(udpx_transfer_fd(NULL, NULL));
    REFUSED(udpx_transfer_result(NULL));
    REFUSED(udpx_transfer_summary(NULL, NULL));
    REFUSED(udpx_transfer_report(NULL, NULL));
    REFUSED(udpx_transfer_memory(NULL, NULL, NULL));
    REFUSED(udpx_transfer_cancel(NULL));
    REFUSED(udpx_transfer_pause(NULL));
    REFUSED(udpx_transfer_resume(NULL));
    REFUSED(udpx_transfer_job(NULL, NULL));
    REFUSED(udpx_engine_new(NULL, 0, NULL));
    REFUSED(udpx_engine_key(NULL, NULL));
    REFUSED(udpx_engine_push_file(NULL, NULL, NULL, NULL, NULL));
    REFUSED(udpx_engine_push_fd(NULL, 0, NULL, NULL, NULL, NULL));
    REFUSED(udpx_engine_push_memory(NULL, NULL, 0, NULL, NULL, NULL, NULL));
    REFUSED(udpx_engine_pull_file(NULL, NULL, NULL, NULL, NULL));
    REFUSED(udpx_engine_pull_fd(NULL, NULL, 0, NULL, NULL));
    REFUSED(udpx_engine_pull_memory(NULL, NULL, NULL, NULL));
    REFUSED(udpx_engine_pull_data(NULL, NULL, NULL, NULL, NULL, NULL));
    REFUSED(udpx_engine_list(NULL, NULL, NULL, NULL));
    REFUSED(udpx_engine_ping(NULL, NULL, 0, 0, 0, NULL, NULL));
    REFUSED(udpx_engine_listen(NULL, NULL, NULL));
    REFUSED(udpx_listener_ticket(NULL, NULL));
    REFUSED(udpx_listener_fd(NULL, NULL));
    REFUSED(udpx_listener_addresses(NULL, NULL));
    REFUSED(udpx_listener_next(NULL, 0, NULL));
    REFUSED(udpx_client_new(NULL, NULL));
    REFUSED(udpx_client_push_file(NULL, NULL, NULL, NULL, NULL));
    REFUSED(udpx_client_push_fd(NULL, 0, NULL, NULL, NULL, NULL));
    REFUSED(udpx_client_push_memory(NULL, NULL, 0, NULL, NULL, NULL, NULL));
    REFUSED(udpx_client_pull_file(NULL, NULL, NULL, NULL, NULL));
    REFUSED(udpx_client_pull_fd(NULL, NULL, 0, NULL, NULL));
    REFUSED(udpx_client_pull_memory(NULL, NULL, NULL, NULL));
    REFUSED(udpx_client_list(NULL, NULL, NULL, NULL));
    REFUSED(udpx_client_ping(NULL, NULL, 0, 0, 0, NULL, NULL));
    REFUSED(udpx_client_jobs(NULL, 0, NULL));
    REFUSED(udpx_client_show(NULL, 0, NULL));
    REFUSED(udpx_client_stats(NULL, NULL));
    REFUSED(udpx_client_version(NULL, NULL));
    REFUSED(udpx_client_cancel(NULL, 1));
    REFUSED(udpx_client_pause(NULL, 1));
    REFUSED(udpx_client_resume(NULL, 1));
    /* As with free(3). */
    OK(udpx_transfer_free(NULL));
    OK(udpx_engine_free(NULL));
    OK(udpx_listener_free(NULL));
    OK(udpx_client_free(NULL));
    udpx_string_free(NULL);
}

/* The receiver is good, and what follows is not. */
static void null_behind_a_handle(udpx_engine *engine, udpx_listener *listener, const char *ticket)
{
    udpx_transfer *transfer = NULL;
    REFUSED(udpx_engine_key(engine, NULL));
    REFUSED(udpx_engine_push_file(engine, NULL, ticket, NULL, &transfer));
    REFUSED(udpx_engine_push_file(engine, "/etc/hostname", NULL, NULL, &transfer));
    REFUSED(udpx_engine_push_file(engine, "/etc/hostname", ticket, NULL, NULL));
    REFUSED(udpx_engine_push_memory(engine, NULL, 1, "n", ticket, NULL, &transfer));
    REFUSED(udpx_engine_push_memory(engine, "x", 1, NULL, ticket, NULL, &transfer));
    REFUSED(udpx_engine_pull_file(engine, ticket, NULL, NULL, &transfer));
    REFUSED(udpx_engine_pull_fd(engine, ticket, -1, NULL, &transfer));
    REFUSED(udpx_engine_pull_fd(engine, ticket, 1, NULL, NULL));
    REFUSED(udpx_engine_pull_memory(engine, ticket, NULL, NULL));
    REFUSED(udpx_engine_pull_data(engine, ticket, NULL, NULL, NULL, &transfer));
    REFUSED(udpx_engine_list(engine, ticket, NULL, NULL));
    REFUSED(udpx_engine_listen(engine, NULL, NULL));
    REFUSED(udpx_listener_ticket(listener, NULL));
    REFUSED(udpx_listener_fd(listener, NULL));
    REFUSED(udpx_listener_addresses(listener, NULL));
    REFUSED(udpx_listener_next(listener, 0, NULL));
    assert(transfer == NULL);
}

static void sizes(udpx_engine *engine, udpx_listener *listener, const char *ticket)
{
    static const size_t wrong[] = {0, 1, sizeof(udpx_options) - 1, 4097, (size_t)-1};
    struct {
        udpx_options known;
        char more[64];
    } larger;
    udpx_transfer *transfer = NULL;
    udpx_options options;
    udpx_listen_options listening;
    udpx_event event;
    udpx_listener *other = NULL;
    udpx_error error;
    size_t i;

    for (i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        REFUSED(udpx_options_init(&options, wrong[i]));
        OK(udpx_options_init(&options, sizeof options));
        options.size = wrong[i];
        REFUSED(udpx_engine_push_memory(engine, "x", 1, "n", ticket, &options, &transfer));
        OK(udpx_listen_options_init(&listening, sizeof listening));
        listening.size = wrong[i] % offsetof(udpx_listen_options, peers);
        REFUSED(udpx_engine_listen(engine, &listening, &other));
        event.size = wrong[i] % offsetof(udpx_event, peer);
        REFUSED(udpx_listener_next(listener, 0, &event));
        error.size = wrong[i] % sizeof error;
        REFUSED(udpx_last_error(&error));
    }
    /* An earlier version's structures, without what has been added since, are as good. */
    OK(udpx_listen_options_init(&listening, offsetof(udpx_listen_options, peers)));
    assert(listening.size == offsetof(udpx_listen_options, peers));
    listening.peers = (const udpx_peer *)(const void *)"never looked at";
    listening.directory = "/tmp";
    listening.address = "127.0.0.1";
    listening.flags = UDPX_LISTEN_WRITE;
    OK(udpx_engine_listen(engine, &listening, &other));
    memset(&event, 'x', sizeof event);
    event.size = offsetof(udpx_event, peer);
    OK(udpx_listener_next(other, 0, &event));
    assert(event.kind == UDPX_EVENT_NONE && memcmp(&event.peer, "xxxxxxxx", sizeof event.peer) == 0);
    OK(udpx_listener_free(other));
    other = NULL;
    /* A later version's structure, of which nothing new is used, is as good; otherwise it is not. */
    memset(&larger, 0, sizeof larger);
    OK(udpx_options_init(&larger.known, sizeof larger.known));
    larger.known.size = sizeof larger;
    larger.more[3] = 1;
    EXPECT(UDPX_STATUS_PROTOCOL, udpx_engine_push_memory(engine, "x", 1, "n", ticket, &larger.known, &transfer));
    REFUSED(udpx_engine_push_memory(engine, "x", (size_t)-1, "n", ticket, NULL, &transfer));
    assert(transfer == NULL && other == NULL);
}

static void values(udpx_engine *engine, const char *ticket, const char *place)
{
    static const char *const nowhere[] = {"", ":x", "a b", "2001:db8::1", "[::1", "bob:/", "\xff:x", "bob"};
    static const char *const names[] = {"", ".", "..", "a/b"};
    udpx_transfer *transfer = NULL;
    udpx_engine *other = NULL;
    udpx_options options;
    udpx_progress progress;
    char mistyped[1024];
    int closed, pipes[2], writable;
    size_t i;

    for (i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        if (strcmp(nowhere[i], "bob") != 0) {
            REFUSED(udpx_engine_push_memory(engine, "x", 1, "n", nowhere[i], NULL, &transfer));
            continue;
        }
        /* Nothing says which key it has: known when it is called. */
        OK(udpx_engine_push_memory(engine, "x", 1, "n", nowhere[i], NULL, &transfer));
        progress.size = sizeof progress;
        OK(udpx_transfer_wait(transfer, 10000, &progress));
        assert(progress.state == UDPX_STATE_FAILED);
        REFUSED(udpx_transfer_result(transfer));
        REFUSED(udpx_transfer_pause(transfer));
        OK(udpx_transfer_free(transfer));
        transfer = NULL;
    }
    for (i = 0; i < sizeof names / sizeof *names; i++)
        REFUSED(udpx_engine_push_memory(engine, "x", 1, names[i], ticket, NULL, &transfer));

    snprintf(mistyped, sizeof mistyped, "%s", ticket);
    mistyped[20] = mistyped[20] == 'a' ? 'b' : 'a';
    REFUSED(udpx_engine_push_memory(engine, "x", 1, "n", mistyped, NULL, &transfer));

    closed = dup(0);
    close(closed);
    REFUSED(udpx_engine_push_fd(engine, closed, "n", ticket, NULL, &transfer));
    REFUSED(udpx_engine_push_fd(engine, -1, "n", ticket, NULL, &transfer));
    EXPECT(UDPX_STATUS_NO_SOURCE, udpx_engine_push_file(engine, place, ticket, NULL, &transfer));
    EXPECT(UDPX_STATUS_NO_SOURCE, udpx_engine_push_file(engine, "/no/such/file", ticket, NULL, &transfer));
    EXPECT(UDPX_STATUS_NO_SOURCE, udpx_engine_push_file(engine, "/no\xff", ticket, NULL, &transfer));
    assert(pipe(pipes) == 0);
    EXPECT(UDPX_STATUS_NO_SOURCE, udpx_engine_push_fd(engine, pipes[0], "n", ticket, NULL, &transfer));
    close(pipes[0]);
    close(pipes[1]);
    writable = open("/dev/null", O_WRONLY);
    EXPECT(UDPX_STATUS_NO_SOURCE, udpx_engine_push_fd(engine, writable, "n", ticket, NULL, &transfer));
    close(writable);

    OK(udpx_options_init(&options, sizeof options));
    options.if_exists = 77;
    REFUSED(udpx_engine_push_memory(engine, "x", 1, "n", ticket, &options, &transfer));
    OK(udpx_options_init(&options, sizeof options));
    options.policy = UDPX_FIXED;
    REFUSED(udpx_engine_push_memory(engine, "x", 1, "n", ticket, &options, &transfer));
    OK(udpx_options_init(&options, sizeof options));
    options.flags = 0x8000;
    REFUSED(udpx_engine_push_memory(engine, "x", 1, "n", ticket, &options, &transfer));
    OK(udpx_options_init(&options, sizeof options));
    options.flags = UDPX_RECONNECT;
    REFUSED(udpx_engine_push_memory(engine, "x", 1, "n", ticket, &options, &transfer));
    options.flags = UDPX_DETACH;
    REFUSED(udpx_engine_push_memory(engine, "x", 1, "n", ticket, &options, &transfer));
    OK(udpx_options_init(&options, sizeof options));
    options.mtu = 100;
    REFUSED(udpx_engine_push_memory(engine, "x", 1, "n", ticket, &options, &transfer));
    REFUSED(udpx_engine_new(NULL, 0x8000, &other));
    assert(transfer == NULL && other == NULL);
}

static void listening(udpx_engine *engine)
{
    udpx_listener *listener = NULL;
    udpx_listen_options options;
    udpx_peer peer;

    OK(udpx_listen_options_init(&options, sizeof options));
    REFUSED(udpx_engine_listen(engine, &options, &listener));
    options.directory = "/tmp";
    REFUSED(udpx_engine_listen(engine, &options, &listener));
    options.flags = UDPX_LISTEN_WRITE;
    options.file = "/tmp/x";
    REFUSED(udpx_engine_listen(engine, &options, &listener));
    OK(udpx_listen_options_init(&options, sizeof options));
    options.on_data = take;
    options.address = "no address";
    REFUSED(udpx_engine_listen(engine, &options, &listener));
    options.address = "127.0.0.1";
    options.spool = "/no/such/directory";
    EXPECT(UDPX_STATUS_NO_SPACE, udpx_engine_listen(engine, &options, &listener));
    OK(udpx_listen_options_init(&options, sizeof options));
    options.directory = "/tmp";
    options.flags = UDPX_LISTEN_WRITE;
    options.on_start = begin;
    REFUSED(udpx_engine_listen(engine, &options, &listener));
    options.on_start = NULL;
    options.peers_count = 1;
    REFUSED(udpx_engine_listen(engine, &options, &listener));
    options.peers_count = (size_t)-1;
    memset(&peer, 0, sizeof peer);
    options.peers = &peer;
    REFUSED(udpx_engine_listen(engine, &options, &listener));
    options.peers_count = 1;
    REFUSED(udpx_engine_listen(engine, &options, &listener));
    peer.size = sizeof peer;
    REFUSED(udpx_engine_listen(engine, &options, &listener));
    peer.name = "\xff";
    REFUSED(udpx_engine_listen(engine, &options, &listener));
    assert(listener == NULL);
}

static void freed(udpx_engine *engine, udpx_listener *listener, const char *ticket)
{
    udpx_transfer *transfer = NULL;
    udpx_progress progress;
    udpx_summary summary;
    char *json = NULL;
    char *key = NULL;

    OK(udpx_engine_push_memory(engine, "x", 1, "n", ticket, NULL, &transfer));
    /* Another kind of handle. */
    REFUSED(udpx_engine_key((udpx_engine *)(void *)transfer, &key));
    summary.size = sizeof summary;
    OK(udpx_transfer_cancel(transfer));
    OK(udpx_transfer_wait(transfer, UDPX_FOREVER, NULL));
    OK(udpx_transfer_summary(transfer, &summary));
    OK(udpx_transfer_report(transfer, &json));
    assert(strstr(json, "\"stats\"") != NULL || strstr(json, "\"error\"") != NULL);
    udpx_string_free(json);
    OK(udpx_transfer_free(transfer));
    progress.size = sizeof progress;
    REFUSED(udpx_transfer_poll(transfer, &progress));
    REFUSED(udpx_transfer_free(transfer));

    OK(udpx_listener_free(listener));
    REFUSED(udpx_listener_free(listener));
    OK(udpx_engine_free(engine));
    REFUSED(udpx_engine_free(engine));
    REFUSED(udpx_engine_push_memory(engine, "x", 1, "n", ticket, NULL, &transfer));
    /* What never was one. */
    REFUSED(udpx_engine_free((udpx_engine *)(void *)&progress));
}

int main(int argc, char **argv)
{
    udpx_engine *engine = NULL;
    udpx_listener *listener = NULL;
    udpx_client *client = NULL;
    udpx_listen_options options;
    char *ticket = NULL;
    char path[4096];

    assert(argc == 2);
    assert(strcmp(udpx_version(), UDPX_VERSION) == 0);
    null_everywhere();

    snprintf(path, sizeof path, "%s/no-socket", argv[1]);
    EXPECT(UDPX_STATUS_NO_DAEMON, udpx_client_new(path, &client));
    snprintf(path, sizeof path, "%s/no-socket/identity", argv[1]);
    OK(udpx_engine_new(path, 0, &engine));
    OK(udpx_engine_free(engine));
    EXPECT(UDPX_STATUS_CONFIG, udpx_engine_new("/dev/null", 0, &engine));

    OK(udpx_engine_new(NULL, 0, &engine));
    OK(udpx_listen_options_init(&options, sizeof options));
    options.directory = argv[1];
    options.flags = UDPX_LISTEN_WRITE;
    options.address = "127.0.0.1";
    OK(udpx_engine_listen(engine, &options, &listener));
    OK(udpx_listener_ticket(listener, &ticket));

    null_behind_a_handle(engine, listener, ticket);
    sizes(engine, listener, ticket);
    values(engine, ticket, argv[1]);
    listening(engine);
    freed(engine, listener, ticket);
    udpx_string_free(ticket);
    return failures == 0 ? 0 : 1;
}
