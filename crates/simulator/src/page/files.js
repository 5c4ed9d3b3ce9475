// Sends a file that the person chose, as the kind of message that the official apps would make of it.

import { phonePath, post } from "/api.js";

const FILE_BYTES_MAX = 100 * 1024 * 1024;
const THUMBNAIL_PX = 96;

/** Sends the file from one phone to a chat. */
export async function sendFile(file, number, chat, caption, replyTo) {
  if (file.size > FILE_BYTES_MAX) throw new Error("The file is larger than 100 MiB.");
  const kind = ["image", "video", "audio"].find((type) => file.type.startsWith(`${type}/`) && file.type !== "image/svg+xml") ?? "document";
  const media = {
    kind,
    data: await base64(file),
    ...(file.type && { mimetype: file.type }),
    ...(kind === "document" && { filename: file.name }),
    ...(caption && kind !== "audio" && { caption }),
    ...(kind === "image" && (await picture(file))),
  };
  await post(phonePath(number, "send"), { to: chat, media, ...(replyTo && { reply_to: replyTo.id }) });
}

/** Size and small version of a picture; nothing where the browser cannot read it. */
async function picture(file) {
  const full = await createImageBitmap(file).catch(() => null);
  if (!full) return {};
  const scale = Math.min(1, THUMBNAIL_PX / Math.max(full.width, full.height));
  const [width, height] = [full.width, full.height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").drawImage(full, 0, 0, width, height);
  const small = await canvas.convertToBlob({ type: "image/jpeg", quality: 0.6 });
  return { width: full.width, height: full.height, thumbnail: await base64(small) };
}

const base64 = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onerror = () => reject(new Error("The file cannot be read."));
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.readAsDataURL(blob);
  });
