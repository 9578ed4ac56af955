"""Drives every command of a WebSocket call with nothing but Python's standard library.

Usage: drive.py HOST PORT NEIGHBOUR DESK SECOND. The server at PORT offers the synthesizer `fake` and the file `tone.wav`,
and calls to DESK, a SIP URI, wait there for a client. The server at NEIGHBOUR places calls, and answers those to SECOND.
Ends with status 0 when every command had its effect, and prints the names of those that were driven; else tells the one
that had not.
"""

import base64
import hashlib
import json
import os
import socket
import struct
import sys
import time
import urllib.parse
import urllib.request

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

    driven = set()

    def __init__(self, host, port, path):
        self.socket = WebSocket(host, port, path)
        self.sound = b""

    def do(self, command, **fields):
        Call.driven.add(command)
        self.socket.send(TEXT, json.dumps({"command": command, **fields}).encode())

    def until(self, name, **wanted):
        """The next event of this name with these values."""
        while True:
            opcode, data = self.socket.receive()
            if opcode == BINARY:
                self.sound += data
            elif opcode == CLOSE:
                raise AssertionError(f"closed before {name} {wanted}")
            elif opcode == TEXT:
                event = json.loads(data)
                if event["event"] == name and all(event.get(k) == v for k, v in wanted.items()):
                    return event

    def marked(self):
        """Waits until the call has done all that it was told, and all sound before that is here."""
        mark = f"mark {time.monotonic()}"
        self.do("history", speaker="user", text=mark)
        self.until("addHistory", speaker="user", text=mark)

    def closed(self):
        while True:
            opcode, data = self.socket.receive()
            if opcode == CLOSE:
                return struct.unpack(">H", data[:2])[0]


def loudest(sound):
    """The largest sample of s16le sound."""
    return max((abs(sample) for (sample,) in struct.iter_unpack("<h", sound)), default=0)


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
    call.sound = b""
    call.do("play", url="tone.wav", playId="tone")
    call.until("trackStart", playId="tone")
    call.until("trackEnd", playId="tone")
    assert loudest(call.sound) > 1000
    call.do("play", url="tone.wav")
    call.until("trackStart", playId="tone.wav")
    call.do("pause")
    call.marked()
    time.sleep(1.5)
    call.sound = b""
    call.marked()
    assert len(call.sound) < 32000, f"{len(call.sound)} bytes of a second came while it was paused"
    call.do("resume")
    call.until("trackEnd", playId="tone.wav")
    assert loudest(call.sound) > 1000
    call.do("play", url="tone.wav")
    call.until("trackStart", playId="tone.wav")
    call.do("interrupt", fadeOutMs=20)
    assert call.until("trackEnd", playId="tone.wav")["duration"] < 1000
    call.do("play", url="missing.wav")
    call.until("error", code=404)


def quiet(call):
    for command, muted in (("mute", True), ("unmute", False)):
        call.do(command, trackId="server-side-track")
        call.marked()
        call.sound = b""
        call.do("play", url="tone.wav")
        call.until("trackEnd", playId="tone.wav")
        assert (loudest(call.sound) == 0) == muted, f"{command}: {loudest(call.sound)}"


def recordings(call):
    for action, state in (("start", "started"), ("pause", "paused"), ("resume", "resumed"), ("stop", "stopped")):
        call.do("record", action=action)
        call.until("recording", state=state)


def second_party(call, second):
    options = {"moh": "tone.wav", "autoHangup": False}
    call.do("refer", caller="sip:py@127.0.0.1", callee=second, options=options)
    call.until("trackStart", playId="tone.wav")
    call.until("answer", refer=True)
    call.do("hangup", refer=True)
    call.until("hangup", refer=True)


def refused(call):
    for command, fields, code in (
        ("accept", {"option": {}}, 409),
        ("ringing", {"earlyMedia": True}, 409),
        ("candidate", {"candidates": ["candidate:1 1 UDP 1 192.0.2.1 9 typ host"]}, 501),
        ("dance", {}, 400),
    ):
        call.do(command, **fields)
        call.until("error", code=code)
    Call.driven.remove("dance")
    call.socket.send(BINARY, bytes(641))


class Desk:
    """Calls that come in and wait for a client."""

    def __init__(self, host, port, neighbour, uri):
        self.host, self.port, self.neighbour, self.uri = host, port, neighbour, uri

    def ring(self):
        """A call that waits: its caller, and the client that has it."""
        caller = Call(self.host, self.neighbour, "/call/sip")
        caller.do("invite", option={"callee": self.uri})
        deadline = time.monotonic() + 20
        waiting = []
        while not waiting:
            assert time.monotonic() < deadline, "the call has not come"
            time.sleep(0.05)
            with urllib.request.urlopen(f"http://{self.host}:{self.port}/api/v1/calls") as answer:
                calls = json.load(answer)["calls"]
            waiting = [call["id"] for call in calls if call["callType"] == "sip" and call["state"] != "up"]
        client = Call(self.host, self.port, "/call/sip?id=" + urllib.parse.quote(waiting[0]))
        client.until("incoming")
        return caller, client

    def refuses(self):
        caller, client = self.ring()
        client.do("reject", reason="Busy Here", code=486)
        caller.until("reject", code=486)
        client.until("hangup", reason="rejected")
        assert client.closed() == caller.closed() == 1000

    def answers(self):
        caller, client = self.ring()
        client.do("ringing", ringtone="tone.wav")
        caller.until("ringing", earlyMedia=True)
        client.do("accept", option={})
        client.until("answer")
        caller.until("answer")
        client.do("dtmf", digits="4#")
        caller.until("dtmf", digit="4")
        caller.until("dtmf", digit="#")
        for command, on in (("hold", True), ("unhold", False)):
            client.do(command)
            client.until("hold", onHold=on, by="system")
            caller.until("hold", onHold=on, by="remote")
        client.do("hangup", headers={"X-Result": "ok"})
        caller.until("hangup", initiator="callee")
        client.until("hangup", initiator="system")


def main():
    host, port, neighbour, desk, second = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
    option = {"codec": "pcm", "sampleRate": 16000, "tts": {"provider": "fake"}}
    for invite in ("invite", "start"):
        call = Call(host, port, f"/call?id=py-{invite}")
        call.do(invite, option=option)
        call.until("trackStart", trackId=f"py-{invite}")
        call.until("answer")
        if invite == "invite":
            speech(call)
            files(call)
            quiet(call)
            recordings(call)
            second_party(call, second)
            refused(call)
        call.do("hangup", reason="done", initiator="caller")
        call.until("hangup")
        assert call.closed() == 1000
    desk = Desk(host, port, neighbour, desk)
    desk.refuses()
    desk.answers()
    print("\n".join(sorted(Call.driven)))


main()
