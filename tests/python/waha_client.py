"""Drives a server with `waha`, an unmodified client from PyPI that was written for WAHA.

    python waha_client.py URL KEY CHAT FOLDER

Creates a session, says `scan NAME` on stdout and waits until a phone has scanned; then sends one of each kind to CHAT, with the
files `picture.jpg`, `voice.ogg`, `video.mp4` and `notes.txt` of FOLDER, and says `done` with the ids of what it sent as JSON.
"""

import base64
import json
import sys
import time
from pathlib import Path

from waha import WahaClient
from waha.types import Base64File, ContactVcard

SESSION = "python"
# Longer than linking takes on a busy machine.
PATIENCE_SECONDS = 60


def file(path: Path, mimetype: str) -> Base64File:
    data = base64.b64encode(path.read_bytes()).decode()
    return Base64File(mimetype=mimetype, filename=path.name, data=data)


def linked(client: WahaClient) -> None:
    client.sessions.create(SESSION, start=False)
    assert client.sessions.get(SESSION).status == "STOPPED"
    client.sessions.start(SESSION)
    print(f"scan {SESSION}", flush=True)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while client.sessions.get(SESSION).status != "WORKING":
        assert time.monotonic() < deadline, "nobody has scanned"
        time.sleep(0.1)
    assert client.sessions.get_me(SESSION).id.endswith("@c.us")
    assert SESSION in [session.name for session in client.sessions.list()]


def sent(client: WahaClient, chat: str, folder: Path) -> dict:
    messages = client.messages
    to = {"chat_id": chat, "session": SESSION}
    messages.start_typing(**to)
    text = messages.send_text(text="from python", **to)
    messages.stop_typing(**to)
    picture = messages.send_image(file=file(folder / "picture.jpg", "image/jpeg"), caption="a picture", **to)
    ids = {
        "text": text.id,
        "image": picture["id"],
        "file": messages.send_file(file=file(folder / "notes.txt", "text/plain"), **to)["id"],
        "voice": messages.send_voice(file=file(folder / "voice.ogg", "audio/ogg; codecs=opus"), **to)["id"],
        "video": messages.send_video(file=file(folder / "video.mp4", "video/mp4"), caption="a video", **to)["id"],
        "location": messages.send_location(latitude=38.8937255, longitude=-77.0969763, title="Our office", **to)["id"],
        "contact": messages.send_contact_vcard(
            contacts=[ContactVcard(fullName="Carol Example", phoneNumber="+1 202 555 0103")], **to
        )["id"],
        "forwarded": messages.forward_message(message_id=picture["id"], **to).id,
    }
    messages.react(message_id=text.id, reaction="👍", session=SESSION)
    messages.star(message_id=text.id, star=True, session=SESSION)
    messages.send_seen(**to)
    kept = {message.id for message in client.chats.get_messages(chat_id=chat, session=SESSION)}
    assert set(ids.values()) <= kept, f"{ids} are not all among {kept}"
    return ids


def main() -> None:
    url, key, chat, folder = sys.argv[1:]
    client = WahaClient(base_url=url, api_key=key)
    linked(client)
    print("done", json.dumps(sent(client, chat, Path(folder))), flush=True)
    client.sessions.logout(SESSION)
    client.sessions.delete(SESSION)
    assert SESSION not in [session.name for session in client.sessions.list(all=True)]
    print("gone", flush=True)


main()
