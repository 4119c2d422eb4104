/* Takes one file into a callback, which writes it to standard output; the ticket is printed on standard error:
 * receive [ADDRESS] > FILE */
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

/* Called on a thread of the library, piece by piece. */
static int write_out(void *userdata, const void *data, size_t bytes)
{
    FILE *out = (FILE *)userdata;
    return fwrite(data, 1, bytes, out) == bytes ? 0 : 1;
}

/* Waits for the file, and then for its sender to go. */
static int receive(udpx_listener *listener)
{
    udpx_event event;
    int has_come = 0;

    event.size = sizeof event;
    for (;;) {
        if (udpx_listener_next(listener, has_come ? 5000 : UDPX_FOREVER, &event) != UDPX_STATUS_OK)
            return failed("listening");
        switch (event.kind) {
        case UDPX_EVENT_CAME:
            fprintf(stderr, "received %llu bytes\n", (unsigned long long)event.bytes);
            has_come = 1;
            break;
        case UDPX_EVENT_NOT_COME:
            fprintf(stderr, "it did not come: %s\n", event.text);
            break;
        case UDPX_EVENT_REFUSED:
            fprintf(stderr, "somebody was refused: %s\n", event.text);
            break;
        case UDPX_EVENT_NONE:
        case UDPX_EVENT_DISCONNECTED:
            if (has_come)
                return 0;
            break;
        default:
            break;
        }
    }
}

int main(int argc, char **argv)
{
    udpx_engine *engine = NULL;
    udpx_listener *listener = NULL;
    udpx_listen_options options;
    char *ticket = NULL;
    int result;

    if (udpx_listen_options_init(&options, sizeof options) != UDPX_STATUS_OK)
        return failed("options");
    options.on_data = write_out;
    options.userdata = stdout;
    options.address = argc > 1 ? argv[1] : NULL;

    if (udpx_engine_new(NULL, 0, &engine) != UDPX_STATUS_OK)
        return failed("no engine");
    if (udpx_engine_listen(engine, &options, &listener) != UDPX_STATUS_OK ||
        udpx_listener_ticket(listener, &ticket) != UDPX_STATUS_OK) {
        result = failed("listening");
    } else {
        fprintf(stderr, "%s\n", ticket);
        result = receive(listener);
    }
    udpx_string_free(ticket);
    udpx_listener_free(listener);
    udpx_engine_free(engine);
    if (fflush(stdout) != 0)
        result = UDPX_STATUS_IO;
    return result;
}
