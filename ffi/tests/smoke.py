"""A transfer inside one process, through ctypes: what every language with a foreign-function interface can do."""

import ctypes
import sys

lib = ctypes.CDLL(sys.argv[1])
lib.udpx_strerror.restype = ctypes.c_char_p
lib.udpx_version.restype = ctypes.c_char_p
assert lib.udpx_strerror(66) == b"The source cannot be opened."
assert lib.udpx_version().count(b".") == 2

DATA = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class ListenOptions(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t), ("directory", ctypes.c_char_p), ("file", ctypes.c_char_p), ("on_data", DATA),
        ("userdata", ctypes.c_void_p), ("spool", ctypes.c_char_p), ("address", ctypes.c_char_p),
        ("lifetime_s", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("port", ctypes.c_uint16),
        ("reserved", ctypes.c_uint16 * 3),
    ]


def ok(status):
    assert status == 0, (status, lib.udpx_strerror(status))


came = bytearray()


@DATA
def take(_userdata, data, size):
    came.extend(ctypes.string_at(data, size))
    return 0


engine, listener, transfer = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
ticket = ctypes.c_char_p()
ok(lib.udpx_engine_new(None, 0, ctypes.byref(engine)))
options = ListenOptions()
ok(lib.udpx_listen_options_init(ctypes.byref(options), ctypes.c_size_t(ctypes.sizeof(options))))
options.on_data, options.address = take, b"127.0.0.1"
ok(lib.udpx_engine_listen(engine, ctypes.byref(options), ctypes.byref(listener)))
ok(lib.udpx_listener_ticket(listener, ctypes.byref(ticket)))
text = b"hello from python" * 1000
ok(lib.udpx_engine_push_memory(engine, text, ctypes.c_size_t(len(text)), b"greeting", ticket, None, ctypes.byref(transfer)))
ok(lib.udpx_transfer_wait(transfer, ctypes.c_uint32(20000), None))
ok(lib.udpx_transfer_result(transfer))
ok(lib.udpx_transfer_free(transfer))
assert lib.udpx_transfer_free(transfer) == 2, "freed twice"
lib.udpx_string_free(ticket)
ok(lib.udpx_listener_free(listener))
ok(lib.udpx_engine_free(engine))
assert bytes(came) == text
