/* How fast bytes go through the library:
 *
 *     rate embedded MEBIBYTES             from memory of one engine into the callback of another, in this process
 *     rate daemon SOCKET HOST:PATH FILE   a push through the daemon
 *
 * Prints Gbit/s, from the first call to the durable end. `compare.sh` beside this one runs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <udpx.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void need(int status)
{
    udpx_error error;
    error.size = sizeof error;
    if (status == UDPX_STATUS_OK)
        return;
    udpx_last_error(&error);
    fprintf(stderr, "%s. %s\n", error.text, error.remedy);
    exit(status);
}

static int take(void *userdata, const void *data, size_t bytes)
{
    (void)data;
    *(size_t *)userdata += bytes;
    return 0;
}

static double finish(udpx_transfer *transfer, double began)
{
    double ended;
    need(udpx_transfer_wait(transfer, UDPX_FOREVER, NULL));
    ended = now();
    need(udpx_transfer_result(transfer));
    need(udpx_transfer_free(transfer));
    return ended - began;
}

static void embedded(size_t bytes)
{
    udpx_engine *from, *to;
    udpx_listener *listener;
    udpx_transfer *transfer;
    udpx_listen_options options;
    char *ticket, *data = (char *)malloc(bytes);
    size_t came = 0, at;
    double seconds;

    if (data == NULL)
        exit(1);
    for (at = 0; at < bytes; at++)
        data[at] = (char)(at * 31 ^ at >> 9);
    need(udpx_engine_new(NULL, 0, &from));
    need(udpx_engine_new(NULL, 0, &to));
    need(udpx_listen_options_init(&options, sizeof options));
    options.on_data = take;
    options.userdata = &came;
    options.address = "127.0.0.1";
    need(udpx_engine_listen(to, &options, &listener));
    need(udpx_listener_ticket(listener, &ticket));
    /* What is timed is the transfer, and not the copy that the call makes. */
    need(udpx_engine_push_memory(from, data, bytes, "rate", ticket, NULL, &transfer));
    seconds = finish(transfer, now());
    printf("%.3f\n", (double)came * 8 / seconds / 1e9);
    udpx_string_free(ticket);
    need(udpx_listener_free(listener));
    need(udpx_engine_free(from));
    need(udpx_engine_free(to));
    free(data);
}

static void daemon_push(const char *socket, const char *to, const char *path)
{
    udpx_client *client;
    udpx_transfer *transfer;
    struct stat about;
    double began = now(), seconds;

    need(udpx_client_new(socket, &client));
    need(udpx_client_push_file(client, path, to, NULL, &transfer));
    seconds = finish(transfer, began);
    need(udpx_client_free(client));
    if (stat(path, &about) != 0)
        exit(1);
    printf("%.3f\n", (double)about.st_size * 8 / seconds / 1e9);
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "embedded") == 0)
        embedded((size_t)atol(argv[2]) << 20);
    else if (argc == 5 && strcmp(argv[1], "daemon") == 0)
        daemon_push(argv[2], argv[3], argv[4]);
    else
        return 2;
    return 0;
}
