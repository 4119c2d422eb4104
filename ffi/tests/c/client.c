/* A client of a real daemon, A, which knows another, "b":  client PLACE SOCKET, in PLACE a directory of our own.
 * With a third argument a transfer goes on until the daemon is killed: "killed" is told so within a second, "restarted" waits
 * for it to come back. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <udpx.h>

#include "check.h"

static void has(char *json, const char *part, int line)
{
    if (strstr(json, part) == NULL) {
        fprintf(stderr, "line %d: %s is not in %s\n", line, part, json);
        exit(1);
    }
    udpx_string_free(json);
}
#define HAS(part, call) (OK(call), has(json, (part), __LINE__))

static void count(void *userdata, const udpx_progress *progress)
{
    int *seen = (int *)userdata;
    seen[0]++;
    seen[1] = (int)progress->state;
}

static void finish(udpx_transfer *transfer)
{
    udpx_progress progress;
    progress.size = sizeof progress;
    OK(udpx_transfer_wait(transfer, 60000, &progress));
    OK(udpx_transfer_result(transfer));
    CHECK(progress.state == UDPX_STATE_DONE);
    OK(udpx_transfer_free(transfer));
}

static void transfers(udpx_client *client, const char *source, const char *place)
{
    udpx_transfer *transfer = NULL;
    udpx_options options;
    udpx_summary summary;
    int seen[2] = {0, 0}, fd, pipes[2];
    const void *memory = NULL;
    size_t bytes = 0;
    uint64_t job = 0;
    char path[4096];
    char *json = NULL;

    OK(udpx_options_init(&options, sizeof options));
    options.on_progress = count;
    options.userdata = seen;
    OK(udpx_client_push_file(client, source, "b", &options, &transfer));
    OK(udpx_transfer_wait(transfer, 60000, NULL));
    OK(udpx_transfer_result(transfer));
    OK(udpx_transfer_job(transfer, &job));
    CHECK(job > 0);
    summary.size = sizeof summary;
    OK(udpx_transfer_summary(transfer, &summary));
    CHECK(summary.files == 1 && summary.bytes == 3000000 && summary.packets > 0);
    HAS("\"digest\":\"", udpx_transfer_report(transfer, &json));
    OK(udpx_transfer_free(transfer));
    CHECK(seen[0] > 0 && seen[1] == UDPX_STATE_DONE);

    fd = open(source, O_RDONLY);
    OK(udpx_client_push_fd(client, fd, "by-fd", "b:sub/", NULL, &transfer));
    close(fd);
    finish(transfer);
    OK(udpx_client_push_memory(client, "hello", 5, "memory", "b", NULL, &transfer));
    finish(transfer);

    snprintf(path, sizeof path, "%s/new/back", place);
    OK(udpx_client_pull_file(client, "b:memory", path, NULL, &transfer));
    finish(transfer);
    CHECK(access(path, R_OK) == 0);
    OK(udpx_client_pull_memory(client, "b:memory", NULL, &transfer));
    OK(udpx_transfer_wait(transfer, 60000, NULL));
    OK(udpx_transfer_memory(transfer, &memory, &bytes));
    CHECK(bytes == 5 && memcmp(memory, "hello", 5) == 0);
    OK(udpx_transfer_free(transfer));
    CHECK(pipe(pipes) == 0);
    OK(udpx_client_pull_fd(client, "b:memory", pipes[1], NULL, &transfer));
    close(pipes[1]);
    finish(transfer);
    CHECK(read(pipes[0], path + 4000, 90) == 5 && memcmp(path + 4000, "hello", 5) == 0);
    close(pipes[0]);
    OK(udpx_client_pull_file(client, "b:none", path, NULL, &transfer));
    OK(udpx_transfer_wait(transfer, 60000, NULL));
    EXPECT(UDPX_STATUS_NO_SOURCE, udpx_transfer_result(transfer));
    OK(udpx_transfer_free(transfer));
    EXPECT(UDPX_STATUS_USAGE, udpx_client_pull_file(client, "b:memory", place, NULL, &transfer));

    OK(udpx_options_init(&options, sizeof options));
    options.flags = UDPX_DETACH;
    OK(udpx_client_push_memory(client, "left", 4, "detached", "b", &options, &transfer));
    finish(transfer);
    options.timeout_ms = 5;
    EXPECT(UDPX_STATUS_USAGE, udpx_client_push_memory(client, "left", 4, "n", "b", &options, &transfer));
}

/* A push that would take minutes. */
static udpx_transfer *long_one(udpx_client *client, const char *source, uint64_t rate_bps, uint32_t flags)
{
    udpx_transfer *transfer = NULL;
    udpx_progress progress;
    udpx_options options;
    int tries;

    OK(udpx_options_init(&options, sizeof options));
    options.policy = UDPX_FIXED;
    options.rate_bps = rate_bps;
    options.flags = flags;
    OK(udpx_client_push_file(client, source, "b:slow", &options, &transfer));
    progress.size = sizeof progress;
    for (tries = 0; tries < 300; tries++) {
        OK(udpx_transfer_wait(transfer, 100, &progress));
        if (progress.state == UDPX_STATE_RUNNING)
            return transfer;
    }
    CHECK(!"it runs");
    return transfer;
}

static void control(udpx_client *client, const char *source)
{
    udpx_transfer *transfer = long_one(client, source, 1000000, 0);
    udpx_progress progress;
    uint64_t job;
    char *json = NULL;
    int tries;

    OK(udpx_transfer_job(transfer, &job));
    HAS("\"state\":\"running\"", udpx_client_show(client, job, &json));
    OK(udpx_transfer_pause(transfer));
    progress.size = sizeof progress;
    for (tries = 0; tries < 100; tries++) {
        OK(udpx_transfer_wait(transfer, 100, &progress));
        if (progress.state == UDPX_STATE_PAUSED)
            break;
    }
    CHECK(progress.state == UDPX_STATE_PAUSED);
    EXPECT(UDPX_STATUS_USAGE, udpx_transfer_result(transfer));
    OK(udpx_transfer_resume(transfer));
    OK(udpx_transfer_cancel(transfer));
    OK(udpx_transfer_wait(transfer, 20000, &progress));
    EXPECT(UDPX_STATUS_INTERRUPTED, udpx_transfer_result(transfer));
    OK(udpx_transfer_free(transfer));
    EXPECT(UDPX_STATUS_USAGE, udpx_client_cancel(client, 0));
    CHECK(udpx_client_cancel(client, 999999) != UDPX_STATUS_OK);
    CHECK(udpx_client_show(client, 999999, &json) != UDPX_STATUS_OK);
}

static void asks(udpx_client *client)
{
    char *json = NULL;
    HAS("\"protocol\":1", udpx_client_version(client, &json));
    HAS("\"name\":\"memory\"", udpx_client_list(client, "b", NULL, &json));
    HAS("\"received\":2", udpx_client_ping(client, "b", 2, 10, 56, NULL, &json));
    HAS("\"state\":\"done\"", udpx_client_jobs(client, 1, &json));
    HAS("\"uptime_us\":", udpx_client_stats(client, &json));
    CHECK(udpx_client_list(client, "b:none", NULL, &json) != UDPX_STATUS_OK);
    CHECK(udpx_client_ping(client, "no.such.host.invalid", 1, 1, 56, NULL, &json) != UDPX_STATUS_OK);
}

/* Says that it is under way; the daemon is killed then and started again. */
static void restarted(udpx_client *client, const char *source, const char *place)
{
    udpx_transfer *transfer = long_one(client, source, 8000000, UDPX_RECONNECT);
    udpx_transfer *back = NULL;
    udpx_options options;
    udpx_progress progress;
    uint64_t job = 0;
    char path[4096];
    char *json = NULL;

    OK(udpx_options_init(&options, sizeof options));
    options.flags = UDPX_RECONNECT;
    options.policy = UDPX_FIXED;
    options.rate_bps = 8000000;
    snprintf(path, sizeof path, "%s/pulled", place);
    OK(udpx_client_pull_file(client, "b:memory", path, &options, &back));
    /* Before it is accepted there is nothing that could go on. */
    while (job == 0) {
        OK(udpx_transfer_wait(back, 20, NULL));
        OK(udpx_transfer_job(back, &job));
    }
    printf("under way\n");
    fflush(stdout);
    progress.size = sizeof progress;
    do {
        OK(udpx_transfer_wait(transfer, 20, &progress));
        CHECK(progress.state != UDPX_STATE_FAILED);
    } while (progress.state != UDPX_STATE_WAITING);
    printf("waits\n");
    fflush(stdout);
    OK(udpx_transfer_wait(transfer, 60000, NULL));
    OK(udpx_transfer_result(transfer));
    HAS("\"digest\":\"", udpx_transfer_report(transfer, &json));
    OK(udpx_transfer_free(transfer));
    finish(back);
    CHECK(access(path, R_OK) == 0);
    /* A descriptor cannot be handed over twice. */
    EXPECT(UDPX_STATUS_USAGE, udpx_client_pull_memory(client, "b:memory", &options, &transfer));
}

/* Says that it is under way; the daemon is killed then. */
static void killed(udpx_client *client, const char *source)
{
    udpx_transfer *transfer = long_one(client, source, 1000000, 0);
    udpx_error error;
    udpx_transfer *another = NULL;

    printf("under way\n");
    fflush(stdout);
    OK(udpx_transfer_wait(transfer, 30000, NULL));
    EXPECT(UDPX_STATUS_TRY_AGAIN, udpx_transfer_result(transfer));
    error.size = sizeof error;
    OK(udpx_last_error(&error));
    CHECK(strstr(error.text, "closed the connection") != NULL);
    printf("told\n");
    fflush(stdout);
    OK(udpx_transfer_free(transfer));
    OK(udpx_client_push_memory(client, "x", 1, "n", "b", NULL, &another));
    OK(udpx_transfer_wait(another, 30000, NULL));
    EXPECT(UDPX_STATUS_NO_DAEMON, udpx_transfer_result(another));
    OK(udpx_transfer_free(another));
}

int main(int argc, char **argv)
{
    static char data[3000000];
    udpx_client *client = NULL;
    char source[4096];
    FILE *file;

    if (argc < 3)
        return 2;
    snprintf(source, sizeof source, "%s/source", argv[1]);
    file = fopen(source, "wb");
    memset(data, 'x', sizeof data);
    CHECK(file != NULL && fwrite(data, 1, sizeof data, file) == sizeof data);
    fclose(file);

    OK(udpx_client_new(argv[2], &client));
    if (argc == 3) {
        transfers(client, source, argv[1]);
        asks(client);
        control(client, source);
    } else if (strcmp(argv[3], "restarted") == 0) {
        udpx_transfer *transfer = NULL;
        OK(udpx_client_push_memory(client, data, 2000000, "memory", "b", NULL, &transfer));
        finish(transfer);
        restarted(client, source, argv[1]);
    } else {
        killed(client, source);
    }
    OK(udpx_client_free(client));
    return 0;
}
