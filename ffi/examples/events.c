/* Pushes several files at once through the daemon, from one poll(2) loop:  events SOCKET HOST[:DIR/] FILE...
 * Prints "FILE STATUS" for each. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <udpx.h>

static int failed(const char *what)
{
    udpx_error error;
    error.size = sizeof error;
    udpx_last_error(&error);
    fprintf(stderr, "%s: %s. %s\n", what, error.text, error.remedy);
    return error.status;
}

int main(int argc, char **argv)
{
    udpx_client *client = NULL;
    udpx_transfer **transfers;
    struct pollfd *polled;
    udpx_progress progress;
    int files = argc - 3, open = 0, result = 0, i;

    progress.size = sizeof progress;
    if (files < 1) {
        fprintf(stderr, "usage: %s SOCKET HOST[:DIR/] FILE...\n", argv[0]);
        return UDPX_STATUS_USAGE;
    }
    if (udpx_client_new(argv[1], &client) != UDPX_STATUS_OK)
        return failed("no daemon");
    transfers = (udpx_transfer **)calloc((size_t)files, sizeof *transfers);
    polled = (struct pollfd *)calloc((size_t)files, sizeof *polled);
    if (transfers == NULL || polled == NULL)
        abort();

    for (i = 0; i < files; i++) {
        polled[i].fd = -1; /* poll(2) leaves it out */
        polled[i].events = POLLIN;
        if (udpx_client_push_file(client, argv[3 + i], argv[2], NULL, &transfers[i]) != UDPX_STATUS_OK)
            result = failed(argv[3 + i]);
        else if (udpx_transfer_fd(transfers[i], &polled[i].fd) == UDPX_STATUS_OK)
            open++;
    }
    while (open > 0 && poll(polled, (nfds_t)files, -1) >= 0) {
        for (i = 0; i < files; i++) {
            if (polled[i].fd < 0 || (polled[i].revents & POLLIN) == 0)
                continue;
            udpx_transfer_poll(transfers[i], &progress);
            if (progress.state != UDPX_STATE_DONE && progress.state != UDPX_STATE_FAILED)
                continue;
            polled[i].fd = -1;
            open--;
            if (udpx_transfer_result(transfers[i]) != UDPX_STATUS_OK)
                result = failed(argv[3 + i]);
            printf("%s %d\n", argv[3 + i], (int)udpx_transfer_result(transfers[i]));
        }
    }
    for (i = 0; i < files; i++)
        udpx_transfer_free(transfers[i]);
    free(transfers);
    free(polled);
    udpx_client_free(client);
    return result;
}
