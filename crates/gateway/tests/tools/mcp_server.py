"""A server of tools over standard input and output, by the Model Context Protocol (2025-06-18): one tool, `weather`."""
import json
import sys

TOOL = {
    "name": "weather",
    "description": "The weather of a city.",
    "inputSchema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def answer(method, params):
    if method == "initialize":
        version = params["protocolVersion"]
        info = {"name": "test", "version": "1"}
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": [TOOL]}
    if method == "tools/call":
        city = params["arguments"]["city"]
        if city == "Atlantis":
            return {"content": [{"type": "text", "text": "no such city"}], "isError": True}
        return {"content": [{"type": "text", "text": f"Rain in {city}."}], "isError": False}
    return None


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    result = answer(message["method"], message.get("params") or {})
    reply = {"jsonrpc": "2.0", "id": message["id"]}
    if result is None:
        reply["error"] = {"code": -32601, "message": "no such method"}
    else:
        reply["result"] = result
    print(json.dumps(reply), flush=True)
