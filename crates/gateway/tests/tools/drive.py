"""Drives every command of a WebSocket call with nothing but Python's standard library.

Usage: drive.py HOST PORT. The server offers the synthesizer `fake` and the file `tone.wav`.
Ends with status 0 when every command had its effect, else with the one that had not.
"""

import base64
import hashlib
import json
import os
import socket
import struct
import sys

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class WebSocket:
    """A client of RFC 6455 for messages that are not fragmented."""

    def __init__(self, host, port, path):
        self.stream = socket.create_connection((host, port), timeout=20)
        self.rest = b""
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self.stream.sendall(request.encode())
        while b"\r\n\r\n" not in self.rest:
            self._more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest())
        assert head.startswith(b"HTTP/1.1 101") and accept in head, head

    def send(self, opcode, data):
        size, mask = len(data), os.urandom(4)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 1 << 16:
            head += struct.pack(">BH", 0x80 | 126, size)
        else:
            head += struct.pack(">BQ", 0x80 | 127, size)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self.stream.sendall(head + mask + masked)

    def receive(self):
        """The next message as (opcode, bytes); pings are answered."""
        while True:
            first, second = self._take(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack(">H", self._take(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", self._take(8))
            data, opcode = self._take(size), first & 0x0F
            if opcode != PING:
                return opcode, data
            self.send(PONG, data)

    def _take(self, size):
        while len(self.rest) < size:
            self._more()
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def _more(self):
        data = self.stream.recv(65536)
        if not data:
            raise ConnectionError("the server has closed the connection")
        self.rest += data


class Call:
    """A call: commands out, events and sound in."""

    def __init__(self, host, port, path):
        self.socket = WebSocket(host, port, path)
        self.heard = 0

    def do(self, command, **fields):
        self.socket.send(TEXT, json.dumps({"command": command, **fields}).encode())

    def until(self, name, **wanted):
        """The next event of this name with these values."""
        while True:
            opcode, data = self.socket.receive()
            if opcode == BINARY:
                self.heard += len(data)
            elif opcode == CLOSE:
                raise AssertionError(f"closed before {name} {wanted}")
            elif opcode == TEXT:
                event = json.loads(data)
                if event["event"] == name and all(event.get(k) == v for k, v in wanted.items()):
                    return event

    def closed(self):
        while True:
            opcode, data = self.socket.receive()
            if opcode == CLOSE:
                return struct.unpack(">H", data[:2])[0]


def speech(call):
    call.do("tts", text="Hello", playId="one", endOfStream=True, cacheKey="greet", option={"speed": 1.0})
    call.until("trackStart", playId="one", trackId="server-side-track")
    call.until("metrics", key="completed.tts.fake")
    assert call.until("trackEnd", playId="one")["duration"] > 0
    for text in ("par", "tial"):
        call.do("tts", text=text, playId="two", streaming=True)
    call.do("tts", text="", playId="two", streaming=True, endOfStream=True)
    call.until("trackEnd", playId="two")
    raw = base64.b64encode(bytes(6400)).decode()
    call.do("tts", text=raw, playId="three", base64=True, endOfStream=True)
    assert call.until("trackEnd", playId="three")["duration"] == 200
    call.do("tts", text="Long enough to be cut off", playId="cut", endOfStream=True)
    call.until("trackStart", playId="cut")
    call.do("interrupt", graceful=False)
    assert call.until("interruption", playId="cut")["subtitle"] == "Long enough to be cut off"
    call.until("trackEnd", playId="cut")
    call.do("tts", text="Quiet?", playId="four", endOfStream=True, waitInputTimeout=1000)
    call.until("silence", trackId="server-side-track")


def files(call):
    before = call.heard
    call.do("play", url="tone.wav", playId="tone")
    call.until("trackStart", playId="tone")
    call.until("trackEnd", playId="tone")
    assert call.heard > before
    call.do("play", url="tone.wav")
    call.until("trackStart", playId="tone.wav")
    call.do("pause")
    call.do("resume")
    call.do("interrupt", fadeOutMs=20)
    assert call.until("trackEnd", playId="tone.wav")["duration"] < 1000
    call.do("play", url="missing.wav")
    call.until("error")


def rest(call, name):
    call.do("mute", trackId=name)
    call.do("unmute")
    call.do("history", speaker="user", text="noted")
    call.until("addHistory", speaker="user", text="noted")
    for command, fields in (
        ("accept", {"option": {}}),
        ("ringing", {"earlyMedia": True}),
        ("candidate", {"candidates": ["candidate:1 1 UDP 1 192.0.2.1 9 typ host"]}),
        ("dance", {}),
    ):
        call.do(command, **fields)
        call.until("error")
    call.socket.send(BINARY, bytes(641))


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    option = {"codec": "pcm", "sampleRate": 16000, "tts": {"provider": "fake"}}
    for invite in ("invite", "start"):
        call = Call(host, port, f"/call?id=py-{invite}")
        call.do(invite, option=option)
        call.until("trackStart", trackId=f"py-{invite}")
        call.until("answer")
        if invite == "invite":
            speech(call)
            files(call)
            rest(call, f"py-{invite}")
        call.do("hangup", reason="done", initiator="caller", headers={"X-Result": "ok"})
        call.until("hangup")
        assert call.closed() == 1000


main()
