/* Sends one file, with a line of progress:  push FILE TICKET[:PATH] */
#include <inttypes.h>
#include <stdio.h>

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
    udpx_engine *engine = NULL;
    udpx_transfer *transfer = NULL;
    udpx_progress progress;
    int result = 0;

    progress.size = sizeof progress;
    if (argc != 3) {
        fprintf(stderr, "usage: %s FILE TICKET[:PATH]\n", argv[0]);
        return UDPX_STATUS_USAGE;
    }
    if (udpx_engine_new(NULL, 0, &engine) != UDPX_STATUS_OK)
        return failed("no engine");
    if (udpx_engine_push_file(engine, argv[1], argv[2], NULL, &transfer) != UDPX_STATUS_OK) {
        result = failed(argv[1]);
        udpx_engine_free(engine);
        return result;
    }
    do {
        if (udpx_transfer_wait(transfer, 250, &progress) != UDPX_STATUS_OK)
            break;
        fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " bytes, %.1f Mbit/s, rtt %" PRIu64 " us   ", progress.bytes,
                progress.total, (double)progress.rate_bps / 1e6, progress.rtt_us);
    } while (progress.state != UDPX_STATE_DONE && progress.state != UDPX_STATE_FAILED);
    fputc('\n', stderr);

    if (udpx_transfer_result(transfer) != UDPX_STATUS_OK)
        result = failed(argv[1]);
    udpx_transfer_free(transfer);
    udpx_engine_free(engine);
    return result;
}
