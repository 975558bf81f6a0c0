"""An SMTP server for tests: says where it is, tells of every mail on one line of JSON, and refuses as it is told on its input.

A line of input is the answer to the next mail, such as `451 4.3.0 later`; where none was told, it is taken."""

import asyncio
import email
import email.policy
import json
import queue
import sys
import threading

from aiosmtpd.smtp import SMTP

answers = queue.SimpleQueue()


class Handler:
    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        try:
            answer = answers.get_nowait()
        except queue.Empty:
            answer = "250 2.0.0 taken"
        told = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "id": message["Message-ID"],
            "subject": message["Subject"],
            "text": message.get_content(),
            "answer": answer,
        }
        print("mail " + json.dumps(told), flush=True)
        return answer


def listen():
    for line in sys.stdin:
        answers.put(line.strip())
        print("noted", flush=True)


async def serve():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), hostname="localhost", loop=loop), "127.0.0.1", 0)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    threading.Thread(target=listen, daemon=True).start()
    await server.serve_forever()


asyncio.run(serve())
