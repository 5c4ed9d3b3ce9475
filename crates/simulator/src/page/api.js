// The control API, as the page uses it. An answer that is not a success becomes an Error with the server's own words.

async function call(path, options) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  if (answer.status === 204) return null;
  const body = await answer.json().catch(() => null);
  if (!answer.ok) throw new ApiError(body?.error ?? `the sandbox answered ${answer.status}`);
  return body;
}

export class ApiError extends Error {}

export const get = (path) => call(path);

export const post = (path, body = {}) =>
  call(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

export const phonePath = (number, action = "") =>
  `/admin/phones/${encodeURIComponent(number)}${action && `/${action}`}`;

export const messagePath = (number, chat, id, part) =>
  phonePath(number, `chats/${encodeURIComponent(chat)}/${encodeURIComponent(id)}/${part}`);
