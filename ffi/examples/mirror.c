/* Sends the regular files of one directory, a push each:  mirror DIRECTORY TICKET[:DIR/] */
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

#include <udpx.h>

static int failed(const char *what)
{
    udpx_error error;
    error.size = sizeof error;
    udpx_last_error(&error);
    fprintf(stderr, "%s: %s. %s\n", what, error.text, error.remedy);
    return error.status;
}

static int push(udpx_engine *engine, const char *path, const char *to)
{
    udpx_transfer *transfer = NULL;
    int result = 0;

    if (udpx_engine_push_file(engine, path, to, NULL, &transfer) != UDPX_STATUS_OK)
        return failed(path);
    if (udpx_transfer_wait(transfer, UDPX_FOREVER, NULL) != UDPX_STATUS_OK ||
        udpx_transfer_result(transfer) != UDPX_STATUS_OK)
        result = failed(path);
    udpx_transfer_free(transfer);
    return result;
}

int main(int argc, char **argv)
{
    udpx_engine *engine = NULL;
    struct dirent *entry;
    struct stat about;
    char path[4096];
    DIR *directory;
    int result = 0, sent = 0;

    if (argc != 3) {
        fprintf(stderr, "usage: %s DIRECTORY TICKET[:DIR/]\n", argv[0]);
        return UDPX_STATUS_USAGE;
    }
    directory = opendir(argv[1]);
    if (directory == NULL) {
        perror(argv[1]);
        return UDPX_STATUS_NO_SOURCE;
    }
    if (udpx_engine_new(NULL, 0, &engine) != UDPX_STATUS_OK) {
        closedir(directory);
        return failed("no engine");
    }
    while ((entry = readdir(directory)) != NULL) {
        int length = snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        int pushed;
        if (length < 0 || (size_t)length >= sizeof path || lstat(path, &about) != 0 || !S_ISREG(about.st_mode))
            continue;
        pushed = push(engine, path, argv[2]);
        if (pushed != 0)
            result = UDPX_STATUS_PARTLY;
        else
            sent++;
    }
    printf("%d files\n", sent);
    closedir(directory);
    udpx_engine_free(engine);
    return result;
}
