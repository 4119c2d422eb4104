/*
 * libudpx: file transfer over UDP. Licence: Apache-2.0 OR MIT.
 *
 * Every function returns a udpx_status, stores results through pointers and only on success, and takes the thing that it
 * is about first. Handles are made by a _new function or by what begins something, and freed by _free; a handle that was
 * freed is refused. All texts are UTF-8 and end in NUL, except for paths, which are the system's bytes. The guide is
 * docs/C_API.md.
 *
 * Made from ffi/src by cbindgen: do not edit.
 */

#ifndef UDPX_H
#define UDPX_H

#include <stddef.h>
#include <stdint.h>

/* The version of this header; udpx_version() is that of the library. */
#define UDPX_VERSION "0.1.0"
#define UDPX_VERSION_MAJOR 0
#define UDPX_VERSION_MINOR 1
#define UDPX_VERSION_PATCH 0


/**
 * A time-out that never comes.
 */
#define UDPX_FOREVER UINT32_MAX

/**
 * `if_exists`: replace the file in one step.
 */
#define UDPX_REPLACE 0

/**
 * `if_exists`: leave it, and call that done.
 */
#define UDPX_SKIP 1

/**
 * `if_exists`: fail.
 */
#define UDPX_FAIL 2

/**
 * `if_exists`: choose another name.
 */
#define UDPX_RENAME 3

/**
 * `policy`: its share of the path.
 */
#define UDPX_FAIR 0

/**
 * `policy`: only what others leave.
 */
#define UDPX_LOW 1

/**
 * `policy`: `rate_bps`, whatever is lost.
 */
#define UDPX_FIXED 2

/**
 * `flags`: do not encrypt bulk data; the peer must allow it too.
 */
#define UDPX_PLAIN 1

/**
 * `flags`: hand packets to the kernel one by one.
 */
#define UDPX_NO_GSO 2

/**
 * `flags`, with a daemon only: the transfer is over as soon as the daemon has accepted it as a job, which goes on.
 */
#define UDPX_DETACH 4

/**
 * `flags`, with a daemon only: a daemon that goes away, to be restarted, is waited for, and the transfer goes on with its job
 * (`UDPX_STATE_WAITING`) until it is cancelled. Without it the transfer ends within a second with `UDPX_STATUS_TRY_AGAIN`.
 */
#define UDPX_RECONNECT 8

/**
 * `state`: it has not begun to move bytes: the peer is looked for, or the daemon has no room for it yet.
 */
#define UDPX_STATE_STARTING 0

/**
 * `state`: bytes move.
 */
#define UDPX_STATE_RUNNING 1

/**
 * `state`: all bytes are there, and are made durable.
 */
#define UDPX_STATE_SYNCING 2

/**
 * `state`: the daemon waits for something before it tries again.
 */
#define UDPX_STATE_WAITING 3

/**
 * `state`: until it is resumed.
 */
#define UDPX_STATE_PAUSED 4

/**
 * `state`: over, and all is well.
 */
#define UDPX_STATE_DONE 5

/**
 * `state`: over, and something failed: `udpx_transfer_result` says what.
 */
#define UDPX_STATE_FAILED 6

/**
 * `flags` of `udpx_engine_new`: files are sent from a mapping, which costs less. The first such transfer installs a
 * SIGBUS handler in this process, which passes on every signal that is not about such a mapping. Without it a file is
 * read block by block, 64 MiB of it being in memory at most, and no handler is ever installed.
 */
#define UDPX_MAP_FILES 1

/**
 * `kind`: nothing happened in time.
 */
#define UDPX_EVENT_NONE 0

/**
 * `kind`: a peer, or the holder of the ticket, has connected.
 */
#define UDPX_EVENT_CONNECTED 1

/**
 * `kind`: a session is over; `status` and `text` say why.
 */
#define UDPX_EVENT_DISCONNECTED 2

/**
 * `kind`: somebody was refused; `text` says why.
 */
#define UDPX_EVENT_REFUSED 3

/**
 * `kind`: bytes of a file have come.
 */
#define UDPX_EVENT_ARRIVING 4

/**
 * `kind`: a file is here, verified and durable, under its name; with `on_data`, all of it was handed over.
 */
#define UDPX_EVENT_CAME 5

/**
 * `kind`: a file will not come; `status` and `text` say why. Its sender may try again.
 */
#define UDPX_EVENT_NOT_COME 6

/**
 * `kind`: a file was fetched, and is durable at the other end.
 */
#define UDPX_EVENT_WENT 7

/**
 * `kind`: it will not be; `status` and `text` say why.
 */
#define UDPX_EVENT_NOT_WENT 8

/**
 * `flags`: others may put files into the directory.
 */
#define UDPX_LISTEN_WRITE 1

/**
 * `flags`: others may get files from the directory.
 */
#define UDPX_LISTEN_READ 2

/**
 * `flags`: others may list the directory.
 */
#define UDPX_LISTEN_LIST 4

/**
 * `flags`: the ticket is for one machine, and is spent when that has moved something and gone.
 */
#define UDPX_LISTEN_ONCE 8

/**
 * `flags` of a `udpx_peer`: its bulk data may come unencrypted, if it wants that too.
 */
#define UDPX_LISTEN_PLAIN 16

/**
 * What a call came to. The numbers are those of the table of errors of udpx (`docs/ERRORS.md`) and are never reused; a
 * later version may have more of them.
 */
typedef enum udpx_status {
  /**
   * Everything went well.
   */
  UDPX_STATUS_OK = 0,
  /**
   * Something failed that has no code of its own.
   */
  UDPX_STATUS_OTHER = 1,
  /**
   * The call is wrong: NULL, a size, a handle that was freed, a text that makes no sense.
   */
  UDPX_STATUS_USAGE = 2,
  /**
   * Some of several files failed.
   */
  UDPX_STATUS_PARTLY = 4,
  /**
   * Data did not match its digest after three tries.
   */
  UDPX_STATUS_CORRUPT = 65,
  /**
   * The source cannot be opened.
   */
  UDPX_STATUS_NO_SOURCE = 66,
  /**
   * The source changed while it was sent.
   */
  UDPX_STATUS_SOURCE_CHANGED = 67,
  /**
   * The host does not answer.
   */
  UDPX_STATUS_UNREACHABLE = 68,
  /**
   * No daemon runs on this machine.
   */
  UDPX_STATUS_NO_DAEMON = 69,
  /**
   * This is a bug of udpx.
   */
  UDPX_STATUS_BUG = 70,
  /**
   * The destination has no room, or cannot be created.
   */
  UDPX_STATUS_NO_SPACE = 73,
  /**
   * A disk or network operation failed.
   */
  UDPX_STATUS_IO = 74,
  /**
   * It took too long, or was put off.
   */
  UDPX_STATUS_TRY_AGAIN = 75,
  /**
   * The other side speaks another version, or not the protocol.
   */
  UDPX_STATUS_PROTOCOL = 76,
  /**
   * The peer or this machine does not permit it.
   */
  UDPX_STATUS_REFUSED = 77,
  /**
   * A configuration is not valid.
   */
  UDPX_STATUS_CONFIG = 78,
  /**
   * It was cancelled.
   */
  UDPX_STATUS_INTERRUPTED = 130,
} udpx_status;

/**
 * A client of a daemon. Any thread may use it, and several at once: each call and each transfer has a connection of its
 * own, of which a user may have 64.
 */
typedef struct udpx_client udpx_client;

/**
 * An engine in this process. Any thread may use it, and several at once. There may be several engines.
 *
 * Do not use one on both sides of a fork(2) without exec: its threads are in the parent only.
 */
typedef struct udpx_engine udpx_engine;

/**
 * An engine that is there for others. Any thread may use it.
 */
typedef struct udpx_listener udpx_listener;

/**
 * Something that is sent or fetched. Any thread may use it, and several at once.
 */
typedef struct udpx_transfer udpx_transfer;

/**
 * Why a call of this thread failed. Set `size` to `sizeof(udpx_error)` before the call.
 */
typedef struct udpx_error {
  /**
   * Bytes of the structure.
   */
  size_t size;
  /**
   * The status that the call returned.
   */
  enum udpx_status status;
  /**
   * Its name in the table of errors, e.g. "no-source".
   */
  const char *kind;
  /**
   * What happened, UTF-8. Control characters are escaped: it may be shown as it is.
   */
  const char *text;
  /**
   * What to do about it, UTF-8; may be empty.
   */
  const char *remedy;
} udpx_error;

/**
 * How far a transfer is. Set `size` to `sizeof(udpx_progress)` where the library is to fill it in.
 */
typedef struct udpx_progress {
  /**
   * Bytes of the structure.
   */
  size_t size;
  /**
   * One of `UDPX_STATE_...`.
   */
  uint32_t state;
  /**
   * 0.
   */
  uint32_t reserved;
  /**
   * Bytes that are staged to disk, or durable, at the receiver; never queued ones.
   */
  uint64_t bytes;
  /**
   * Bytes in all; 0 while they are not known.
   */
  uint64_t total;
  /**
   * File bits a second over the last two seconds; 0 while it is not known.
   */
  uint64_t rate_bps;
  /**
   * Smoothed round trip, microseconds.
   */
  uint64_t rtt_us;
  /**
   * For how long nothing was heard of the peer, microseconds; 0 while it answers.
   */
  uint64_t quiet_us;
  /**
   * Share of the packets lost, 0 to 1.
   */
  double loss;
} udpx_progress;

/**
 * Called when a transfer has come on, and once more when it is over.
 *
 * It is called on a thread of the library, never on two at once for one transfer. It may take its time: the transfer
 * goes on meanwhile and the states that come after each other are told as the last one. `progress` is good until it
 * returns. It may call the library, except for freeing its own transfer or engine and waiting for them, which is refused.
 */
typedef void (*udpx_progress_fn)(void *userdata, const struct udpx_progress *progress);

/**
 * How a transfer goes. Fill it by `udpx_options_init` and change what should be otherwise; NULL instead of a pointer to it
 * means all defaults.
 */
typedef struct udpx_options {
  /**
   * Bytes of the structure: `sizeof(udpx_options)`.
   */
  size_t size;
  /**
   * What to do where the destination exists: `UDPX_REPLACE` (default), `UDPX_SKIP`, `UDPX_FAIL`, `UDPX_RENAME`.
   */
  uint32_t if_exists;
  /**
   * How the path is shared: `UDPX_FAIR` (default), `UDPX_LOW`, `UDPX_FIXED`.
   */
  uint32_t policy;
  /**
   * Bits a second on the wire, with `UDPX_FIXED`; otherwise 0.
   */
  uint64_t rate_bps;
  /**
   * `UDPX_PLAIN`, `UDPX_NO_GSO`, `UDPX_DETACH`, `UDPX_RECONNECT`.
   */
  uint32_t flags;
  /**
   * How long the peer may not answer, at first and later, milliseconds; 0 means 10 s at first and 60 s later. An
   * engine's transfers give up then. A daemon's jobs wait and try again: there it must be 0.
   */
  uint32_t timeout_ms;
  /**
   * UDP port of the host; 0 means 48379.
   */
  uint16_t port;
  /**
   * Largest IP packet, bytes, at least 1280; 0 means that the path is probed.
   */
  uint16_t mtu;
  /**
   * Streams of each file; 0 means by its size.
   */
  uint16_t streams;
  /**
   * 0.
   */
  uint16_t reserved;
  /**
   * Public key of the host, "udpxk1..."; NULL where a ticket or the daemon knows it. Read during the call only.
   */
  const char *peer_key;
  /**
   * Hears of the progress; may be NULL.
   */
  udpx_progress_fn on_progress;
  /**
   * The first argument of `on_progress`.
   */
  void *userdata;
} udpx_options;

/**
 * What a transfer that is over has done. Set `size` to `sizeof(udpx_summary)` before the call.
 */
typedef struct udpx_summary {
  /**
   * Bytes of the structure.
   */
  size_t size;
  /**
   * Files that are durable at the receiver.
   */
  uint64_t files;
  /**
   * Bytes of those files.
   */
  uint64_t bytes;
  /**
   * From the first packet until the last file was durable, microseconds.
   */
  uint64_t duration_us;
  /**
   * Packets that were sent (a pull: received).
   */
  uint64_t packets;
  /**
   * Bytes of their datagrams, UDP and IP headers left out.
   */
  uint64_t wire_bytes;
  /**
   * Packets with bytes that had been sent before.
   */
  uint64_t retransmitted;
  /**
   * Packets that the sender took for lost.
   */
  uint64_t lost;
  /**
   * Least round trip, microseconds.
   */
  uint64_t rtt_min_us;
  /**
   * Mean round trip, microseconds.
   */
  uint64_t rtt_mean_us;
} udpx_summary;

/**
 * Takes what has come, piece by piece and in order; returns 0 to go on, anything else to leave the rest: then the
 * transfer fails.
 *
 * It is called on a thread of the library, never on two at once for one listener or transfer, and may take its time: the
 * sender waits, and nothing is lost. `data` is good until it returns. It may call the library, except for what would wait
 * for it: freeing its own listener, transfer or engine.
 */
typedef int (*udpx_data_fn)(void *userdata, const void *data, size_t bytes);

/**
 * Somebody who is let in by a listener.
 */
typedef struct udpx_peer {
  /**
   * Bytes of the structure: `sizeof(udpx_peer)`.
   */
  size_t size;
  /**
   * What events call it.
   */
  const char *name;
  /**
   * Its public key, "udpxk1...": `udpx_engine_key` there, or `udpxctl key`.
   */
  const char *key;
  /**
   * With `directory`: `UDPX_LISTEN_WRITE`, `UDPX_LISTEN_READ`, `UDPX_LISTEN_LIST`, at least one; and `UDPX_LISTEN_PLAIN`.
   */
  uint32_t flags;
  /**
   * 0.
   */
  uint32_t reserved;
} udpx_peer;

/**
 * What happened at a listener. Set `size` to `sizeof(udpx_event)` before the call.
 */
typedef struct udpx_event {
  /**
   * Bytes of the structure.
   */
  size_t size;
  /**
   * One of `UDPX_EVENT_...`.
   */
  uint32_t kind;
  /**
   * Why, where something failed.
   */
  enum udpx_status status;
  /**
   * Bytes so far, or of the file.
   */
  uint64_t bytes;
  /**
   * Bytes of the file, while it comes.
   */
  uint64_t total;
  /**
   * Bits a second, while it comes.
   */
  uint64_t rate_bps;
  /**
   * The file's path here; "" where it is about none. Bytes of a file name: it may hold anything but NUL.
   */
  const char *path;
  /**
   * Why, in words, with control characters escaped; "" where nothing failed.
   */
  const char *text;
  /**
   * BLAKE3 of the content of a file that came.
   */
  uint8_t digest[32];
  /**
   * Who it was: a peer by its name, the holder of a ticket by the beginning of its key; "" where that is not known.
   */
  const char *peer;
} udpx_event;

/**
 * A file begins: `file->path` is what its sender calls it, `file->total` its bytes, 0 while they are not known. Returns 0 to
 * take it. What was handed over of a file before that did not come to its end is void then: the same file may begin once
 * more after a lost connection.
 *
 * It is called before the file's first byte, and as `udpx_data_fn` is; `file` is good until it returns.
 */
typedef int (*udpx_start_fn)(void *userdata, const struct udpx_event *file);

/**
 * What to be there for. Fill it by `udpx_listen_options_init`. Exactly one of `directory`, `file` and `on_data` is set.
 */
typedef struct udpx_listen_options {
  /**
   * Bytes of the structure: `sizeof(udpx_listen_options)`.
   */
  size_t size;
  /**
   * A directory that exists, used as `flags` say; or NULL.
   */
  const char *directory;
  /**
   * One file is taken and gets this path, whatever it is called there; or NULL.
   */
  const char *file;
  /**
   * One file is taken and its bytes are handed to this as they come, straight from memory; or NULL. That the whole is
   * what was sent is told by `UDPX_EVENT_CAME`; with `spool` it is known before.
   */
  udpx_data_fn on_data;
  /**
   * The first argument of `on_data` and `on_start`.
   */
  void *userdata;
  /**
   * A directory in which what comes is kept until it is whole and verified, and handed to `on_data` only then; or NULL.
   */
  const char *spool;
  /**
   * The address at which others find this machine; NULL means its own addresses.
   */
  const char *address;
  /**
   * For how long the ticket can be used, seconds; 0 means as long as the listener lives.
   */
  uint32_t lifetime_s;
  /**
   * With `directory`: `UDPX_LISTEN_WRITE` and the others, at least one right; otherwise 0.
   */
  uint32_t flags;
  /**
   * The UDP port; 0 means any that is free.
   */
  uint16_t port;
  /**
   * 0.
   */
  uint16_t reserved[3];
  /**
   * Those who are let in, `peers_count` of them; NULL means whoever has the ticket. With `directory`, where each has the
   * rights of its own `flags` (those of the options are 0 then), or with `on_data` and `on_start`: they may send one file
   * after the other. Read during the call only.
   */
  const struct udpx_peer *peers;
  /**
   * How many.
   */
  size_t peers_count;
  /**
   * Told of each file that begins, before its first byte; may be NULL. Only with `on_data`. Without it one file can
   * come, and only once.
   */
  udpx_start_fn on_start;
} udpx_listen_options;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Tells why the last call of this thread that failed did.
 *
 * The texts belong to the library and are good until the next call of this thread that fails. If none has failed yet the
 * status is `UDPX_STATUS_OK` and the texts are empty.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: `error` is NULL or its size is wrong.
 *
 * The caller's part:
 * `error` is NULL or points to a structure of `error->size` bytes.
 */
enum udpx_status udpx_last_error(struct udpx_error *error);

/**
 * What a status means, as a sentence. The text is static; a number that is none of ours gives that of
 * `UDPX_STATUS_OTHER`.
 */
const char *udpx_strerror(int32_t status);

/**
 * The version of the library that is loaded, e.g. "0.1.0"; static. `UDPX_VERSION` is that of the header.
 */
const char *udpx_version(void);

/**
 * Frees a text that the library has handed over. NULL is nothing to free.
 *
 * The caller's part:
 * `text` is NULL, or came from a function that says to free it by this one, and is not used any more.
 */
void udpx_string_free(char *text);

/**
 * Fills in the defaults. `size` is `sizeof(udpx_options)`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: NULL, or a size that this library does not know.
 *
 * The caller's part:
 * `options` is NULL or points to `size` bytes that may be written.
 */
enum udpx_status udpx_options_init(struct udpx_options *options, size_t size);

/**
 * Waits until the transfer is over, `timeout_ms` milliseconds at most (`UDPX_FOREVER`; 0 does not wait), and tells how far
 * it is. `progress` may be NULL. That it is not over in time is no error: `progress->state` says so, and so does
 * `udpx_transfer_result`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: the handle or the size is wrong, or it is called from inside the transfer's own callback.
 *
 * The caller's part:
 * `progress` is NULL or points to a structure of `progress->size` bytes.
 */
enum udpx_status udpx_transfer_wait(const struct udpx_transfer *transfer,
                                    uint32_t timeout_ms,
                                    struct udpx_progress *progress);

/**
 * Tells how far the transfer is, without waiting, and resets the event descriptor.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`.
 *
 * The caller's part:
 * As `udpx_transfer_wait`; `progress` may not be NULL.
 */
enum udpx_status udpx_transfer_poll(const struct udpx_transfer *transfer, struct udpx_progress *progress);

/**
 * The transfer's event descriptor, for poll(2) and epoll(7): readable when there is something that
 * `udpx_transfer_poll` has not told yet. Do not read, write or close it; it is closed by `udpx_transfer_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`.
 *
 * The caller's part:
 * `fd` is NULL or may be written.
 */
enum udpx_status udpx_transfer_fd(const struct udpx_transfer *transfer,
                                  int *fd);

/**
 * What a transfer that is over came to: `UDPX_STATUS_OK`, or why it failed, which `udpx_last_error` then tells in words.
 *
 * Errors:
 * That of the transfer; `UDPX_STATUS_USAGE` also if it is not over.
 */
enum udpx_status udpx_transfer_result(const struct udpx_transfer *transfer);

/**
 * The numbers of a transfer that is over. One that failed has those of what was done all the same.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: it is not over, or an argument is wrong.
 *
 * The caller's part:
 * `summary` is NULL or points to a structure of `summary->size` bytes.
 */
enum udpx_status udpx_transfer_summary(const struct udpx_transfer *transfer, struct udpx_summary *summary);

/**
 * The report of a transfer that is over, as JSON: `files`, each with its path at the receiver and its digest, and
 * `stats` with a row for each stream (`docs/CONTROL.md`); `error` if it failed; `job` with a daemon. Free the text by
 * `udpx_string_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: it is not over, or an argument is wrong.
 *
 * The caller's part:
 * `json` is NULL or may be written.
 */
enum udpx_status udpx_transfer_report(const struct udpx_transfer *transfer,
                                      char **json);

/**
 * What was fetched into memory, by a transfer that is over and went well (`udpx_engine_pull_memory`,
 * `udpx_client_pull_memory`). The memory belongs to the transfer and is good until that is freed; it is read-only. Of an
 * empty file `*data` is not NULL and `*bytes` is 0.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: the transfer is not over, or is of another kind; that of the transfer if it failed.
 *
 * The caller's part:
 * `data` and `bytes` are NULL or may be written.
 */
enum udpx_status udpx_transfer_memory(const struct udpx_transfer *transfer,
                                      const void **data,
                                      size_t *bytes);

/**
 * Stops a transfer: it soon ends with `UDPX_STATUS_INTERRUPTED`, unless it has ended before. A daemon's job is cancelled.
 * Nothing is waited for.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`.
 */
enum udpx_status udpx_transfer_cancel(struct udpx_transfer *transfer);

/**
 * Pauses a daemon's job: the connection to the peer is closed until `udpx_transfer_resume`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: it is a transfer of an engine, which cannot be paused, or has no job yet; what the daemon says.
 */
enum udpx_status udpx_transfer_pause(struct udpx_transfer *transfer);

/**
 * Goes on with a paused job.
 *
 * Errors:
 * As `udpx_transfer_pause`.
 */
enum udpx_status udpx_transfer_resume(struct udpx_transfer *transfer);

/**
 * The number of the daemon's job; 0 while the daemon has not accepted it.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: it is a transfer of an engine.
 *
 * The caller's part:
 * `job` is NULL or may be written.
 */
enum udpx_status udpx_transfer_job(const struct udpx_transfer *transfer, uint64_t *job);

/**
 * Frees a transfer, and returns when no callback of it runs any more. An engine's transfer that is not over is
 * cancelled. A daemon's job goes on, unless it needs this process, as a pull does: that one waits for its owner; cancel
 * it first if it is not wanted. NULL is nothing to free.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: it was freed before, or this is its own callback; then it is not freed.
 */
enum udpx_status udpx_transfer_free(struct udpx_transfer *transfer);

/**
 * Makes an engine.
 *
 * `identity` is the path of the file with this end's secret key, which is made if it is not there; NULL means a key for
 * this time only, which is right with tickets. `flags` is 0 or `UDPX_MAP_FILES`. Free it by `udpx_engine_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`; `UDPX_STATUS_CONFIG`: the key cannot be read or made.
 *
 * The caller's part:
 * `identity` is NULL or terminated, `engine` is NULL or may be written.
 */
enum udpx_status udpx_engine_new(const char *identity,
                                 uint32_t flags,
                                 struct udpx_engine **engine);

/**
 * The public key of the engine, "udpxk1...": what others put into their configuration. Free it by `udpx_string_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`.
 *
 * The caller's part:
 * `key` is NULL or may be written.
 */
enum udpx_status udpx_engine_key(const struct udpx_engine *engine,
                                 char **key);

/**
 * Frees an engine: what is under way on it is cancelled, its threads are joined. Transfers and listeners of it stay to be
 * asked, and have to be freed as well. NULL is nothing to free.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: it was freed before, or this is a callback of one of its transfers; then it is not freed.
 */
enum udpx_status udpx_engine_free(struct udpx_engine *engine);

/**
 * Sends the file `path` to the place `to`, "HOST" or "HOST:PATH": HOST is a ticket, or a DNS name or address with
 * `options->peer_key`; PATH names the file there, or a directory if it ends in a slash, or is "/ROOT/path".
 *
 * Returns at once; `*transfer` is to be waited for and freed. The file may have any size; one that is changed while it is
 * sent fails with `UDPX_STATUS_SOURCE_CHANGED`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`, `UDPX_STATUS_NO_SOURCE`; what goes wrong later is the transfer's result.
 *
 * The caller's part:
 * Texts are NULL or terminated, `options` is NULL or has `options->size` bytes, `transfer` is NULL or may be written.
 */
enum udpx_status udpx_engine_push_file(struct udpx_engine *engine,
                                       const char *path,
                                       const char *to,
                                       const struct udpx_options *options,
                                       struct udpx_transfer **transfer);

/**
 * Sends an open file; otherwise as `udpx_engine_push_file`. `fd` is open for reading and stays the caller's, who may
 * close it at once; its offset is not used. `name` is what the file is called, without slashes.
 *
 * Errors:
 * As `udpx_engine_push_file`.
 *
 * The caller's part:
 * As `udpx_engine_push_file`.
 */
enum udpx_status udpx_engine_push_fd(struct udpx_engine *engine,
                                     int fd,
                                     const char *name,
                                     const char *to,
                                     const struct udpx_options *options,
                                     struct udpx_transfer **transfer);

/**
 * Sends `bytes` bytes of memory as a file called `name`; otherwise as `udpx_engine_push_file`. The memory is copied
 * before the call returns.
 *
 * Errors:
 * As `udpx_engine_push_file`; `UDPX_STATUS_IO`: there is not so much memory.
 *
 * The caller's part:
 * As `udpx_engine_push_file`; `data` is NULL or points to `bytes` readable bytes.
 */
enum udpx_status udpx_engine_push_memory(struct udpx_engine *engine,
                                         const void *data,
                                         size_t bytes,
                                         const char *name,
                                         const char *to,
                                         const struct udpx_options *options,
                                         struct udpx_transfer **transfer);

/**
 * Fetches the file `from`, "HOST:PATH", and stores it as `path`, whose missing directories are made. The file has its
 * name only when it is whole, verified and durable. Otherwise as `udpx_engine_push_file`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`; what goes wrong later is the transfer's result.
 *
 * The caller's part:
 * As `udpx_engine_push_file`.
 */
enum udpx_status udpx_engine_pull_file(struct udpx_engine *engine,
                                       const char *from,
                                       const char *path,
                                       const struct udpx_options *options,
                                       struct udpx_transfer **transfer);

/**
 * Fetches a file into a descriptor that is open for writing: a pipe, or a file at its position. It stays the caller's,
 * who may close it at once. What was written is not taken back if the transfer fails: that the whole is what was sent is
 * known by its result. Otherwise as `udpx_engine_push_file`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: also if nothing can be written to it; what goes wrong later is the transfer's result.
 *
 * The caller's part:
 * As `udpx_engine_push_file`.
 */
enum udpx_status udpx_engine_pull_fd(struct udpx_engine *engine,
                                     const char *from,
                                     int fd,
                                     const struct udpx_options *options,
                                     struct udpx_transfer **transfer);

/**
 * Fetches a file into memory, which `udpx_transfer_memory` tells when the transfer is over. Otherwise as
 * `udpx_engine_push_file`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`; what goes wrong later is the transfer's result.
 *
 * The caller's part:
 * As `udpx_engine_push_file`.
 */
enum udpx_status udpx_engine_pull_memory(struct udpx_engine *engine,
                                         const char *from,
                                         const struct udpx_options *options,
                                         struct udpx_transfer **transfer);

/**
 * Fetches a file and hands its bytes to `on_data` as they come. That the whole is what was sent is known by the
 * transfer's result. Otherwise as `udpx_engine_push_file`; `userdata` has to live until the transfer is freed.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`; what goes wrong later is the transfer's result.
 *
 * The caller's part:
 * As `udpx_engine_push_file`.
 */
enum udpx_status udpx_engine_pull_data(struct udpx_engine *engine,
                                       const char *from,
                                       udpx_data_fn on_data,
                                       void *userdata,
                                       const struct udpx_options *options,
                                       struct udpx_transfer **transfer);

/**
 * Lists the directory `place`, "HOST" or "HOST:PATH", as JSON, as `udpx_client_list` does. Of the options those count that
 * say how the host is reached. Waits for the answer. Free the text by `udpx_string_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`; `UDPX_STATUS_UNREACHABLE`; what the host says; `UDPX_STATUS_INTERRUPTED`: the engine was freed.
 *
 * The caller's part:
 * Texts are NULL or terminated, `options` is NULL or has `options->size` bytes, `json` is NULL or may be written.
 */
enum udpx_status udpx_engine_list(struct udpx_engine *engine,
                                  const char *place,
                                  const struct udpx_options *options,
                                  char **json);

/**
 * Asks `host` for `count` echoes of `bytes` bytes each, `interval_ms` milliseconds apart, and tells what came back as JSON, as
 * `udpx_client_ping` does. Of the options those count that say how the host is reached. Waits for them. Free the text by
 * `udpx_string_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`; `UDPX_STATUS_UNREACHABLE`; `UDPX_STATUS_INTERRUPTED`: the engine was freed.
 *
 * The caller's part:
 * As `udpx_engine_list`.
 */
enum udpx_status udpx_engine_ping(struct udpx_engine *engine,
                                  const char *host,
                                  uint32_t count,
                                  uint32_t interval_ms,
                                  uint32_t bytes,
                                  const struct udpx_options *options,
                                  char **json);

/**
 * Fills in the defaults. `size` is `sizeof(udpx_listen_options)`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: NULL, or a size that this library does not know.
 *
 * The caller's part:
 * `options` is NULL or points to `size` bytes that may be written.
 */
enum udpx_status udpx_listen_options_init(struct udpx_listen_options *options, size_t size);

/**
 * Listens: for the peers that `options` name, or with a ticket for whoever is to come. Free the listener by `udpx_listener_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`; `UDPX_STATUS_NO_SPACE` and others: the place cannot be used; `UDPX_STATUS_IO`: nothing can be
 * listened on.
 *
 * The caller's part:
 * `options` is NULL or has `options->size` bytes, its texts are NULL or terminated; `listener` is NULL or may be written.
 */
enum udpx_status udpx_engine_listen(struct udpx_engine *engine,
                                    const struct udpx_listen_options *options,
                                    struct udpx_listener **listener);

/**
 * The ticket of a listener: one line that lets its holder find this machine, know that it is this one and be let in. It is
 * a secret. Free it by `udpx_string_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: also if it was made for peers, who need none.
 *
 * The caller's part:
 * `ticket` is NULL or may be written.
 */
enum udpx_status udpx_listener_ticket(const struct udpx_listener *listener,
                                      char **ticket);

/**
 * The addresses that it listens on, "192.0.2.7:48379", separated by spaces. Free the text by `udpx_string_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`.
 *
 * The caller's part:
 * `addresses` is NULL or may be written.
 */
enum udpx_status udpx_listener_addresses(const struct udpx_listener *listener,
                                         char **addresses);

/**
 * The listener's event descriptor, for poll(2) and epoll(7): readable while `udpx_listener_next` has something to tell. Do
 * not read, write or close it.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`.
 *
 * The caller's part:
 * `fd` is NULL or may be written.
 */
enum udpx_status udpx_listener_fd(const struct udpx_listener *listener,
                                  int *fd);

/**
 * Waits for what happens next, `timeout_ms` milliseconds at most (`UDPX_FOREVER`; 0 does not wait); that nothing did is
 * `UDPX_EVENT_NONE`. The texts are good until this thread's next call of this function.
 *
 * Errors:
 * `UDPX_STATUS_INTERRUPTED`: the engine was freed, and nothing is left to be told; `UDPX_STATUS_USAGE`.
 *
 * The caller's part:
 * `event` is NULL or points to a structure of `event->size` bytes.
 */
enum udpx_status udpx_listener_next(struct udpx_listener *listener,
                                    uint32_t timeout_ms,
                                    struct udpx_event *event);

/**
 * Ends a listener and frees it; sessions are closed, unfinished files are removed. NULL is nothing to free.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: it was freed before, or this is its own callback; then it is not freed.
 */
enum udpx_status udpx_listener_free(struct udpx_listener *listener);

/**
 * Makes a client of a daemon, and asks it for its version.
 *
 * `socket` is the path of its control socket; NULL looks where `udpxctl` does: `$UDPX_SOCKET`, the user's own daemon, the
 * system's. Free it by `udpx_client_free`.
 *
 * Errors:
 * `UDPX_STATUS_NO_DAEMON`; `UDPX_STATUS_REFUSED`: this user may not use it; `UDPX_STATUS_PROTOCOL`: it is of a version
 * that this library does not speak; `UDPX_STATUS_TRY_AGAIN`: it hangs.
 *
 * The caller's part:
 * `socket` is NULL or terminated, `client` is NULL or may be written.
 */
enum udpx_status udpx_client_new(const char *socket,
                                 struct udpx_client **client);

/**
 * Frees a client. Its transfers go on. NULL is nothing to free.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: it was freed before.
 */
enum udpx_status udpx_client_free(struct udpx_client *client);

/**
 * Sends the file `path` to the place `to`, "HOST" or "HOST:PATH", as `udpxctl push` does: HOST is a peer of the daemon, a
 * DNS name or an address; a ticket is refused, as it is for engines. The file is opened here, with the rights of this
 * process.
 *
 * Returns at once; `*transfer` is to be waited for and freed.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`, `UDPX_STATUS_NO_SOURCE`; what goes wrong later, at the daemon too, is the transfer's result.
 *
 * The caller's part:
 * Texts are NULL or terminated, `options` is NULL or has `options->size` bytes, `transfer` is NULL or may be written.
 */
enum udpx_status udpx_client_push_file(struct udpx_client *client,
                                       const char *path,
                                       const char *to,
                                       const struct udpx_options *options,
                                       struct udpx_transfer **transfer);

/**
 * Sends an open file; otherwise as `udpx_client_push_file`. `fd` is open for reading and stays the caller's, who may close
 * it at once. `name` is what the file is called, without slashes.
 *
 * Errors:
 * As `udpx_client_push_file`.
 *
 * The caller's part:
 * As `udpx_client_push_file`.
 */
enum udpx_status udpx_client_push_fd(struct udpx_client *client,
                                     int fd,
                                     const char *name,
                                     const char *to,
                                     const struct udpx_options *options,
                                     struct udpx_transfer **transfer);

/**
 * Sends `bytes` bytes of memory as a file called `name`; otherwise as `udpx_client_push_file`. The memory is copied before
 * the call returns.
 *
 * Errors:
 * As `udpx_client_push_file`; `UDPX_STATUS_IO`: there is not so much memory.
 *
 * The caller's part:
 * As `udpx_client_push_file`; `data` is NULL or points to `bytes` readable bytes.
 */
enum udpx_status udpx_client_push_memory(struct udpx_client *client,
                                         const void *data,
                                         size_t bytes,
                                         const char *name,
                                         const char *to,
                                         const struct udpx_options *options,
                                         struct udpx_transfer **transfer);

/**
 * Fetches the file `from`, "HOST:PATH", and stores it as `path`, whose missing directories are made. Otherwise as
 * `udpx_client_push_file`. The file is created by this process, with its rights: the job waits when the transfer is
 * freed before it is over.
 *
 * Errors:
 * As `udpx_client_push_file`; `UDPX_STATUS_NO_SPACE`: the directory cannot be reached.
 *
 * The caller's part:
 * As `udpx_client_push_file`.
 */
enum udpx_status udpx_client_pull_file(struct udpx_client *client,
                                       const char *from,
                                       const char *path,
                                       const struct udpx_options *options,
                                       struct udpx_transfer **transfer);

/**
 * Fetches a file into a descriptor that is open for writing: a pipe, or a file at its position. It stays the caller's,
 * who may close it at once. What was written is not taken back if the transfer fails: that the whole is what was sent is
 * known by its result. Otherwise as `udpx_client_push_file`.
 *
 * Errors:
 * As `udpx_client_push_file`; `UDPX_STATUS_USAGE` also if nothing can be written to it.
 *
 * The caller's part:
 * As `udpx_client_push_file`.
 */
enum udpx_status udpx_client_pull_fd(struct udpx_client *client,
                                     const char *from,
                                     int fd,
                                     const struct udpx_options *options,
                                     struct udpx_transfer **transfer);

/**
 * Fetches a file into memory, which `udpx_transfer_memory` tells when the transfer is over. Otherwise as
 * `udpx_client_push_file`.
 *
 * Errors:
 * As `udpx_client_push_file`.
 *
 * The caller's part:
 * As `udpx_client_push_file`.
 */
enum udpx_status udpx_client_pull_memory(struct udpx_client *client,
                                         const char *from,
                                         const struct udpx_options *options,
                                         struct udpx_transfer **transfer);

/**
 * Lists the directory `place`, "HOST" or "HOST:PATH", as JSON: `items` are its entries (`docs/CONTROL.md` 5.2). Of the
 * options only `port` and `peer_key` count. Waits for the answer. Free the text by `udpx_string_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`; what the daemon and the host say.
 *
 * The caller's part:
 * Texts are NULL or terminated, `options` is NULL or has `options->size` bytes, `json` is NULL or may be written.
 */
enum udpx_status udpx_client_list(struct udpx_client *client,
                                  const char *place,
                                  const struct udpx_options *options,
                                  char **json);

/**
 * Asks `host` for `count` echoes of `bytes` bytes each, `interval_ms` milliseconds apart, and tells what came back as JSON.
 * Of the options only `port` and `peer_key` count. Waits for them. Free the text by `udpx_string_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`; `UDPX_STATUS_UNREACHABLE`; what the daemon says.
 *
 * The caller's part:
 * As `udpx_client_list`.
 */
enum udpx_status udpx_client_ping(struct udpx_client *client,
                                  const char *host,
                                  uint32_t count,
                                  uint32_t interval_ms,
                                  uint32_t bytes,
                                  const struct udpx_options *options,
                                  char **json);

/**
 * The jobs of this user as JSON, `items`; with `ended` not 0 also those that have ended. Free the text by
 * `udpx_string_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`; what the daemon says.
 *
 * The caller's part:
 * `json` is NULL or may be written.
 */
enum udpx_status udpx_client_jobs(struct udpx_client *client, int ended, char **json);

/**
 * One job as JSON, ended or not. Free the text by `udpx_string_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: also if there is no such job of this user.
 *
 * The caller's part:
 * `json` is NULL or may be written.
 */
enum udpx_status udpx_client_show(struct udpx_client *client, uint64_t job, char **json);

/**
 * The daemon's counters and sessions as JSON; for admins and the daemon's own user. Free the text by `udpx_string_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`; `UDPX_STATUS_REFUSED`: this user may not.
 *
 * The caller's part:
 * `json` is NULL or may be written.
 */
enum udpx_status udpx_client_stats(struct udpx_client *client,
                                   char **json);

/**
 * Versions of the daemon as JSON. Free the text by `udpx_string_free`.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`; what the daemon says.
 *
 * The caller's part:
 * `json` is NULL or may be written.
 */
enum udpx_status udpx_client_version(struct udpx_client *client, char **json);

/**
 * Cancels a job, of any process of this user.
 *
 * Errors:
 * `UDPX_STATUS_USAGE`: also if there is no such job.
 */
enum udpx_status udpx_client_cancel(struct udpx_client *client, uint64_t job);

/**
 * Pauses a job.
 *
 * Errors:
 * As `udpx_client_cancel`.
 */
enum udpx_status udpx_client_pause(struct udpx_client *client, uint64_t job);

/**
 * Goes on with a job that is paused or waits.
 *
 * Errors:
 * As `udpx_client_cancel`.
 */
enum udpx_status udpx_client_resume(struct udpx_client *client, uint64_t job);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* UDPX_H */
