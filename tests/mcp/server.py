"""A server of the Model Context Protocol, by its official SDK for Python, for the tests.

Prints `endpoint <url>` once it listens, and on standard input takes one command a line:
`describe <text>` changes what the tool `add` says of itself.
"""

import socket
import sys
import threading

import uvicorn
from mcp.server.fastmcp import Context, FastMCP
from mcp.types import ToolAnnotations

server = FastMCP("tests", stateless_http="--stateless" in sys.argv, json_response="--json" in sys.argv)


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def add(a: int, b: int) -> dict[str, int]:
    """Adds."""
    return {"sum": a + b}


@server.tool()
def greet(name: str) -> str:
    """Greets."""
    return f"Hello, {name}"


@server.tool(structured_output=False)
def plain(text: str) -> str:
    """Gives back a text."""
    return text


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("this does not work")


@server.tool(structured_output=False, annotations=ToolAnnotations(idempotentHint=True))
def tell(context: Context) -> str:
    """Tells what came with the call."""
    request = context.request_context.request
    meta = context.request_context.meta
    key = (meta.model_extra or {}).get("scaigrid/idempotency-key") if meta else None
    authorization = request.headers.get("authorization", "") if request else ""
    identity = request.headers.get("x-scaigrid-identity", "") if request else ""
    return f"{key} {authorization.split(' ')[0]} {len(identity.split('.'))}"


def commands() -> None:
    for line in sys.stdin:
        if line.startswith("describe "):
            tool = server._tool_manager.get_tool("add")
            tool.description = line.removeprefix("describe ").strip()
            print("described", flush=True)


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(64)
print(f"endpoint http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
threading.Thread(target=commands, daemon=True).start()
uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="error")).run(sockets=[listener])
